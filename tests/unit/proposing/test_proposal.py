"""What is proposed of one measure: on its own side, within what a config can hold, rounded so as to add nothing."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter import proposing
from exporter.config.decode import Decoder
from exporter.config.nodes import read
from exporter.config.thresholds import ModelThresholds, as_bounds, bound
from exporter.proposing import written
from exporter.proposing.prometheus import Times
from exporter.proposing.proposal import propose
from exporter.proposing.rules import MEASURES, Alert
from tests.histories import DAY, episodes, noise

STEP = 600.0
RATES = {"warning": 1 / 30, "critical": 1 / 300}
OFTEN = {"warning": 0.5, "critical": 0.05}
END = 1_795_324_200.0


def alert(measure, severity, name="Bad", wait=1200.0, keep=1800.0):
    return Alert(name, severity, bound(measure), (measure,), "", wait, keep, STEP)


def proposed(measure, *rows, rates=RATES, today=None, names=("Bad",)):
    values = np.atleast_2d(np.asarray(rows, float))
    looked = [(alert(measure, severity, name), values) for severity in rates for name in names]
    return propose(measure, looked, Times(END, STEP, values.shape[1]), rates, today or {})


def hourly(days, seed, mean=0.95, spread=0.008):
    return mean + spread * noise(days, seed, window=6, step=600)


def loaded(found):
    """What the config makes of the text of a proposal."""
    text = written.model("m", [found], [])
    root, faults = read(text, "proposed.yml", None, {})
    bounds = Decoder(faults).decode(root.at("m", "thresholds"), ModelThresholds, "thresholds")
    if faults:
        raise faults.error()
    return as_bounds(bounds)


USUAL = {
    "label_age": (7200.0, 900.0), "label_delay": (90_000.0, 7000.0), "latency_p95": (0.12, 0.01),
    "latency_p99": (0.0004, 0.00003), "traffic": (40.0, 3.0), "drop": (-0.01, 0.01), "traffic_drop": (0.0, 0.05),
    "error_ratio": (0.003, 0.0005), "labels_unmatched": (0.01, 0.002), "segment_gap": (-0.05, 0.02),
    "label_coverage": (1.3, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("rates", [RATES, OFTEN], ids=["rare", "often"])
def test_every_measure_gets_bounds_that_a_config_takes(measure, rates):
    """As printed, loaded and compared: beyond the median, critical beyond warning, with as many alarms as stated."""
    values = hourly(28, 3, *USUAL.get(measure, (0.9, 0.01)))
    found = proposed(measure, values, rates=rates)
    assert found.missing == {}
    [bounds] = loaded(found).values()
    turn = 1 if bound(measure) == "min" else -1
    assert turn * bounds["critical"] <= turn * bounds["warning"] < turn * np.median(values)
    for severity, value in bounds.items():
        fired = episodes(turn * values < turn * value, 1200, 1800, STEP)
        assert len(fired) == found.limits[severity].alarms == len(found.firing[severity])
        assert found.limits[severity].alarms <= max(0, 28 * rates[severity] - 1)


@given(st.floats(0.001, 0.999), st.floats(0.0001, 0.05), st.integers(0, 30), st.sampled_from(["f1", "error_ratio"]))
def test_stated_alarms_are_those_of_the_printed_bound(mean, spread, seed, measure):
    """Whatever a share is around, the text that is printed has the alarms that are stated, recounted."""
    values = np.clip(hourly(10, seed, mean, spread), 0, 1)
    found = proposed(measure, values, rates={"warning": 1.0, "critical": 0.2})
    turn = 1 if bound(measure) == "min" else -1
    for severity, value in loaded(found).get(measure, {}).items():
        recounted = episodes(turn * values < turn * value, 1200, 1800, STEP)
        assert sum(-(-(end - start) * STEP // DAY) for start, end in recounted) == found.limits[severity].alarms


def test_alarms_of_two_alerts_add_up():
    """A bound that two alerts compare with (drop) is told of by both."""
    one, two = hourly(28, 1), hourly(28, 1)
    single = proposed("f1", one, rates=OFTEN)
    double = proposed("f1", two, rates=OFTEN, names=("Bad", "Worse"))
    assert double.alerts == ("Bad", "Worse")
    assert double.limits["warning"].value < single.limits["warning"].value
    assert double.limits["warning"].alarms <= 13


def test_critical_is_never_more_sensitive_than_warning():
    """Also where the rules make it wait so much longer that the history would allow it; a config refuses that."""
    values = hourly(28, 6)
    looked = [(alert("f1", "warning", wait=0.0), values[None]), (alert("f1", "critical", wait=36000.0), values[None])]
    found = propose("f1", looked, Times(END, STEP, len(values)), OFTEN, {})
    assert found.bounds["critical"] == found.bounds["warning"]
    assert found.limits["critical"].alarms == 0 < found.limits["warning"].alarms
    assert loaded(found)["f1"] == found.bounds


def test_todays_bounds_are_tried_on_the_same_history():
    """So that one sees what a proposal would change."""
    values = hourly(28, 2)
    found = proposed("f1", values, today={"warning": 0.945})
    assert found.today["warning"].alarms == len(episodes(values < 0.945, 1200, 1800, STEP)) > 10
    assert "warning today, 0.945: " in written.model("m", [found], [])


@pytest.mark.parametrize(
    ("measure", "values", "words"),
    [
        ("f1", hourly(6.9, 1), "6.9 of the 7 days of history that are needed"),
        ("error_ratio", np.zeros(4032), "it never moved from 0"),
        ("traffic", np.maximum(0, hourly(28, 1, 0.02, 0.02)), "nothing could be beyond"),
        ("drop", np.minimum(1.0, hourly(28, 1, 0.7, 0.3)), "nothing could be beyond"),
    ],
)
def test_what_cannot_be_proposed_says_why(measure, values, words):
    """Too little history, one that never moved, a measure that is as bad as it can be every now and then."""
    found = proposed(measure, values)
    assert found.limits == {}
    assert all(words in why for why in found.missing.values())
    text = written.model("m", [found], [])
    assert yaml.safe_load(text) == {"m": {"thresholds": {}}}
    assert f"none proposed: {found.missing['warning']}" in text


@pytest.mark.parametrize("measure", ["rise", "drop", "estimation_error"])
def test_a_model_that_only_gets_better_gets_bounds_that_a_config_takes(measure):
    """What is always below 0 is bounded by the least that can be written, which no value comes near."""
    values = hourly(28, 3, -0.3, 0.05)
    found = proposed(measure, values)
    assert found.missing == {}
    [bounds] = loaded(found).values()
    assert 0 <= bounds["warning"] <= bounds["critical"] < 0.1
    assert [limit.alarms for limit in found.limits.values()] == [0, 0]


@pytest.mark.parametrize("measure", ["mean_absolute_error", "r2_score", "label_delay"])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_mostly_infinite_gets_no_bound(measure, sign):
    """It has no middle to be judged from; other measures are proposed all the same."""
    values = hourly(28, 3)
    values[::2] = sign * np.inf
    values[::3] = sign * np.inf
    found = proposed(measure, values)
    assert found.limits == {}
    assert yaml.safe_load(written.model("m", [found], [])) == {"m": {"thresholds": {}}}


def test_one_bad_time_is_asked_about():
    """A limit that hangs on it is told with the flag that leaves it out; what that flag gives is what was told."""
    values = hourly(28, 4)
    assert proposed("f1", values).outlier is None
    values[2000:2012] -= 0.1
    found = proposed("f1", values)
    assert found.outlier is not None
    times = Times(END, STEP, len(values))
    begun, over = (round((at - times.start) / STEP) for at in (found.outlier.start, found.outlier.end))
    assert 1990 <= begun <= 2000
    assert 2012 <= over <= 2022
    text = written.model("m", [found], [])
    [flag] = [line.split()[-1] for line in text.splitlines() if "--exclude" in line]
    assert proposing.span(flag) == (found.outlier.start, found.outlier.end)
    values[begun:over] = np.nan
    again = proposed("f1", values)
    assert again.outlier is None
    assert again.bounds["warning"] == pytest.approx(found.outlier.value, abs=0.004)
    assert again.bounds["warning"] > found.bounds["warning"] + 0.03


def test_a_model_of_any_name_is_a_key():
    """Names that YAML would take for something else stand in quotes."""
    for name in ("fraud", "on", "1.0", "a: b", "a #b", '"', "ü ber", "null", "-", "fraud.v2+eu", "a\\b"):
        assert yaml.safe_load(written.model(name, [], [])) == {name: {"thresholds": {}}}


@pytest.mark.parametrize(("text", "per_day"), [("1/month", 1 / 30), ("2/30d", 2 / 30), ("0.5/week", 0.5 / 7),
                                               ("3/d", 3), ("1/4w", 1 / 28), ("1/year", 1 / 365)])  # fmt: skip
def test_rates(text, per_day):
    """Alarms per time, in words or as durations are written."""
    assert proposing.rate(text) == pytest.approx(per_day)


@pytest.mark.parametrize("text", ["often", "1", "1/", "/week", "0/week", "-1/week", "1/0d", "nan/week", "1/fortnight"])
def test_no_rates(text):
    """Anything else is told with examples."""
    with pytest.raises(ValueError, match="is no rate; write alarms per time, such as 1/month"):
        proposing.rate(text)


def test_spans():
    """Times to leave out are UTC unless they say otherwise."""
    assert proposing.span("1970-01-02/1970-01-03T00:00") == (DAY, 2 * DAY)
    assert proposing.span("1970-01-02T01:00+01:00/1970-01-03") == (DAY, 2 * DAY)
    for text, words in [("yesterday", "is no time span"), ("1970-01-02", "is no"), ("1970-01-02/1970-01-01", "ends")]:
        with pytest.raises(ValueError, match=words):
            proposing.span(text)
