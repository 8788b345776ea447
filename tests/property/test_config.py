"""Whatever stands in a config file: it gives a Config or a list of faults, and nothing else."""

import contextlib
from typing import Annotated

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter import plugins
from exporter.config.masked import masked
from exporter.config.nodes import plain_scalar
from exporter.config.schema import Config, load, parse
from exporter.config.types import Duration, Secret, duration_text, hide_passwords
from exporter.errors import ConfigError


class StubConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a source that does nothing."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    password: Secret | None = None


class Stub:
    Config = StubConfig


@pytest.fixture(autouse=True)
def _stub_source(monkeypatch):
    monkeypatch.setattr(plugins, "sources", lambda: ["files"])
    monkeypatch.setattr(plugins, "source", {"files": Stub}.__getitem__)


GOOD = """\
models:
  fraud:
    positive: fraud
    classes: {legit: [0, false], fraud: [1, true]}
    predictions:
      files: {path: a.jsonl, password: !env HOME}
      fields: {id: rid, time: ts, score: {field: s, threshold: 0.5}, latency: {field: t, unit: ms}}
      where: {event: predicted, level: {not: [debug]}}
      interval: 10s
    labels:
      files: {path: b.jsonl}
      fields: {id: rid, actual: {field: a, map: {x: fraud}}}
    windows: [1h, last 1000]
    thresholds: {accuracy: {warning: 0.9}}
limits: {series: 1000}
"""
PIECES = sorted(
    {*GOOD.split(), *"{}[]:,&*!#|>'\"%@-?~", "<<: *a", "&a", "*a", "!file x", "\n", "\n  ", "---", "1e3", ".inf"}
)
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(text):
    """The Config or the ConfigError that *text* gives."""
    try:
        return parse(text, "m.yml", environment={"HOME": "hunter2"})
    except ConfigError as error:
        return error


def judge(text):
    """Parse *text*; every fault has a place in the file and a message of one line."""
    found = outcome(text)
    if isinstance(found, ConfigError):
        assert found.faults
        assert all(fault.line >= 1 and fault.column >= 1 and fault.message for fault in found.faults)
        assert str(found).count("\n") == len(found.faults) - 1
        assert "hunter2" not in str(found)
    else:
        assert isinstance(found, Config)
        assert "hunter2" not in masked(found) + repr(found)


@FAST
@given(st.text())
def test_any_text(text):
    """Any text is a config or a list of faults."""
    judge(text)


@FAST
@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join))
def test_pieces_of_configs(text):
    """So is any mixture of what configs are made of."""
    judge(text)


@FAST
@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from([*PIECES, ""]))
def test_damaged_config(start, length, piece):
    """So is a good config with a part replaced."""
    judge(GOOD[:start] + piece + GOOD[start + length :])


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PATHS = [
    *((key,) for key in ("task", "positive", "classes", "horizon", "windows", "thresholds", "latency_buckets")),
    *((key,) for key in ("delay_buckets", "max_versions", "labels", "predictions")),
    *(("predictions", key) for key in ("fields", "where", "files", "interval", "timezone", "stale_after")),
    *(("predictions", "fields", key) for key in ("id", "score", "predicted", "latency")),
]


@FAST
@given(st.sampled_from(PATHS), YAML_VALUES)
def test_any_value_in_any_place(path, value):
    """So is a good config with any value in any place."""
    import yaml

    tree = yaml.safe_load(GOOD.replace("!env ", ""))
    place = tree["models"]["fraud"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    judge(yaml.safe_dump(tree, allow_unicode=True))


@FAST
@given(st.binary())
def test_any_bytes(tmp_path_factory, content):
    """So is a file of any bytes."""
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(load(path), Config)


def test_the_good_config_is_good():
    """The config that the tests above damage has no fault."""
    assert list(parse(GOOD, "m.yml", environment={"HOME": "x"}).models) == ["fraud"]


@FAST
@given(st.floats(0, 1e9))
def test_durations_read_back(seconds):
    """The text of a duration means the same number of seconds."""
    assert Duration.parse(duration_text(seconds)) == pytest.approx(seconds)


@FAST
@given(st.from_regex(r"[a-z]{1,9}://[a-z]{0,5}:SECRET[^\s/?#@]{0,5}@[a-z.]{1,9}(/[a-z?=&]*)?", fullmatch=True))
def test_no_password_of_a_url_is_left(url):
    """A URL's password is hidden whatever it is made of."""
    assert "SECRET" not in hide_passwords(url)


@FAST
@given(st.text(max_size=30))
def test_plain_scalars(text):
    """Any text stands for a scalar; a number found in it is the one that Python reads."""
    value = plain_scalar(text)
    assert value is None or isinstance(value, str | int | float)
    if isinstance(value, float) and not text.lstrip("+-").startswith((".i", ".I", ".n", ".N")):
        assert value == float(text)
