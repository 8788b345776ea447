"""The shipped rules and waits in a hurry are the shipped ones but for their windows and waits."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
import yaml

from tests.hurried import hurried, milliseconds
from tests.running import ROOT

FACTOR = Fraction(100)
FILES = [
    ROOT / "alert_rules/recording.yml",
    ROOT / "alert_rules/versions.yml",
    ROOT / "alert_rules/alerts.yml",
    ROOT / "alert_rules/segments.yml",
    ROOT / "alert_rules/tasks.yml",
    ROOT / "alert_rules/losses.yml",
    ROOT / "alert_rules/links.yml",
    ROOT / "alert_rules/alertmanager.yml",
    ROOT / "deploy/prometheus/prometheus.yml",
]
WORD = re.compile(r"\w+|\W")
DURATION = re.compile(r"(?:\d+(?:ms|[wdhms]))+")
shipped = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def pairs(before, after):
    """Word by word, with what stands before it on its line; there are as many in both."""
    ours, theirs = WORD.findall(before), WORD.findall(after)
    assert len(ours) == len(theirs)
    for at, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        yield one, other, "".join(ours[max(0, at - 400) : at]).rpartition("\n")[2]


@shipped
def test_undoing_it_gives_the_shipped_text_back(path):
    """To the letter, but for a week, which comes back as seven days: nothing was lost on the way."""
    text = path.read_text()
    changed = hurried(text, FACTOR)
    assert changed != text
    assert hurried(changed, 1 / FACTOR) == re.sub(r"\b1w\b", "7d", text)


@shipped
def test_only_durations_change_and_all_by_the_same_factor(path):
    """Whatever differs is a length of time on both sides, of exactly this ratio."""
    text = path.read_text()
    for one, other, _ in pairs(text, hurried(text, FACTOR)):
        if one != other:
            assert DURATION.fullmatch(one)
            assert DURATION.fullmatch(other)
            assert milliseconds(one) == FACTOR * milliseconds(other)


@shipped
def test_no_window_and_no_wait_is_forgotten(path):
    """What looks like a length of time and stays as it is, stands in a comment, a name or a text for people."""
    text = path.read_text()
    for one, other, before in pairs(text, hurried(text, FACTOR)):
        if one == other and DURATION.fullmatch(one) and milliseconds(one):
            key = re.match(r"\s*-?\s*([a-z_]*)", before)[1]
            spared = {"name", "summary", "description", "window", "resolve_timeout"}
            assert "#" in before or key in spared or before.endswith(("{window: ", '{window="')), before + one


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rate(x[5m])", "rate(x[5s])"),
        ("max_over_time(x[1h:30s] offset 1w)", "max_over_time(x[1m:500ms] offset 10080s)"),
        ("x[1h:]", "x[1m:]"),
        ("x offset -2m", "x offset -2s"),
        ("  for: 10m\n  keep_firing_for: 30m", "  for: 10s\n  keep_firing_for: 30s"),
        ("{receiver: page, repeat_interval: 1h}", "{receiver: page, repeat_interval: 1m}"),
        ("  group_wait: 0s", "  group_wait: 0s"),
        ("record: model:x:rate5m", None),
        ("expr: time() - x > 600", None),
        ("  # for: 10m", None),
        ('window: "1h"', None),
        ("{{ $labels.interval }}: 5m", None),
    ],
)
def test_what_is_divided(text, wanted):
    """Windows and waits, and neither names nor thresholds nor texts."""
    found = hurried(text, Fraction(60))
    if wanted is None:
        assert found == text
    else:
        assert [re.sub(DURATION, "", found), *map(milliseconds, DURATION.findall(found))] == [
            re.sub(DURATION, "", wanted),
            *map(milliseconds, DURATION.findall(wanted)),
        ]


def test_a_length_that_cannot_be_divided_is_refused():
    """Rounding would change what the rules mean."""
    with pytest.raises(ValueError, match="10s divided by 7 is no whole number of milliseconds"):
        hurried("  for: 10s", Fraction(7))


def test_the_rules_still_load(tmp_path, debian):
    """promtool takes what comes out, and finds the same rules."""
    import subprocess

    for path in FILES:
        if "groups" in (document := yaml.safe_load(path.read_text())):
            hurry = tmp_path / path.name
            hurry.write_text(hurried(path.read_text(), FACTOR))
            program = debian("prometheus", "promtool")
            done = subprocess.run([program, "check", "rules", hurry], capture_output=True, text=True, check=False)
            count = sum(len(group["rules"]) for group in document["groups"])
            assert f"SUCCESS: {count} rules found" in done.stdout, done.stderr
