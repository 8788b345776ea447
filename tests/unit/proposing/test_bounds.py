"""Limits for a wanted rate of alarms: against SciPy, against other histories of the same kind, and at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proposing import bounds
from exporter.proposing.alarms import Watch
from exporter.proposing.bounds import ARCSINE, LOG, PLAIN, NoLimitError
from tests.histories import DAY, episodes, noise

STEP = 600.0
MONTH = 1 / 30


def exact(limit, spread):
    return limit


def watched(values, wait=1200.0, keep=1800.0):
    return Watch(np.atleast_2d(np.asarray(values, float)), wait, keep, STEP)


def hourly(days, seed):
    """Shares over the last hour."""
    return 0.95 + 0.008 * noise(days, seed, window=6, step=600)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40, 400])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_upper_limit_is_garwoods(count, confidence):
    """As SciPy's chi-square says; without an event, the rule of three."""
    stats = pytest.importorskip("scipy.stats")
    assert bounds.upper_limit(count, confidence) == pytest.approx(stats.chi2.ppf(confidence, 2 * count + 2) / 2)
    assert bounds.upper_limit(0) == pytest.approx(-np.log(0.05))


def test_days_are_counted_by_what_a_day_usually_holds():
    """A model that is judged by day only has whole days, a gap of half a day is none of it."""
    seen = np.zeros(round(10 * DAY / STEP), bool).reshape(10, -1)
    seen[:, 48:96] = True
    assert bounds.days_of(seen.ravel(), STEP) == 10
    seen[3, 48:72] = False
    seen[5] = False
    assert bounds.days_of(seen.ravel(), STEP) == 8.5
    assert bounds.days_of(np.zeros(100, bool), STEP) == 0


@pytest.mark.parametrize("rate", [0.1, 0.25, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_stated_alarms_are_those_of_the_same_history(rate, seed):
    """Recounted by Prometheus' states: never more than wanted, and the next limit would have had more."""
    values = hourly(60, seed)
    found = bounds.find([watched(values)], rate, 1, ARCSINE, exact)
    assert not found.extrapolated
    assert len(episodes(values < found.value, 1200, 1800, STEP)) == found.alarms
    assert found.alarms + 1 <= 60 * rate + 1e-9
    assert found.expected == pytest.approx((found.alarms + 1) / 60)
    assert found.most == pytest.approx(bounds.upper_limit(found.alarms) / 60)
    higher = [len(episodes(values < found.value + more, 1200, 1800, STEP)) for more in (1e-4, 3e-4, 1e-3)]
    assert max(higher) > 60 * rate - 1


def promises(days, rate, kind, repeats):
    """Alarms a day in other histories of the same kind, by those that were stated; and how often `most` held."""
    ratios, held = [], []
    for seed in range(repeats):
        found = bounds.find([watched(kind(days, seed))], rate, 1, PLAIN, exact)
        later = watched(kind(200, seed + 1000)).count(found.value) / 200
        ratios.append(later / found.expected)
        held.append(later <= found.most)
    return np.mean(ratios), np.mean(held)


def test_the_future_is_as_stated():
    """Limits chosen in a history keep their promise in others: the mean is what is expected, the upper end holds."""
    ratio, held = promises(40, 0.15, hourly, 60)
    assert ratio == pytest.approx(1, abs=0.25)
    assert held >= 0.88


def test_what_is_extrapolated_is_cautious():
    """With light tails alarms beyond all that was seen come less often than stated."""
    ratio, held = promises(16, MONTH, hourly, 40)
    assert ratio <= 1
    assert held == 1


@given(st.integers(0, 50), st.sampled_from([1.0, 0.3, MONTH, MONTH / 10]), st.sampled_from([0.05, 0.01, 0.002]))
def test_rounding_never_adds_alarms(seed, rate, unit):
    """Nor does it hide any: the alarms stated are those of the rounded limit."""
    values = hourly(14, seed)
    watches = [watched(values)]
    fine = bounds.find(watches, rate, 1, ARCSINE, exact)
    found = bounds.find(watches, rate, 1, ARCSINE, lambda limit, spread: np.floor(limit / unit) * unit)
    assert found.value <= fine.value
    assert found.alarms == watches[0].count(found.value) <= max(0, 14 * rate - 1)


def test_a_rarer_alarm_has_a_lower_limit():
    """Over both ways of finding it."""
    watches = [watched(hourly(28, 3))]
    rates = [2.0, 0.5, 0.1, 1 / 28, MONTH, MONTH / 3, MONTH / 10, MONTH / 100]
    limits = [bounds.find(watches, rate, 1, ARCSINE, exact) for rate in rates]
    assert [one.value for one in limits] == sorted((one.value for one in limits), reverse=True)
    assert [one.extrapolated for one in limits] == [False] * 4 + [True] * 4


@pytest.mark.parametrize("seed", range(12))
def test_what_is_extrapolated_is_never_nearer_than_what_was_seen(seed):
    """Though a law of extremes may put it there, where one day was far worse than all others."""
    values = hourly(14, seed)
    values[700:710] -= 0.02 * seed
    found = bounds.find([watched(values)], 0.99 / 14, 1, PLAIN, exact)
    assert found.extrapolated
    assert found.alarms == 0


def test_rounding_into_two_alarms_goes_on_to_one(monkeypatch):
    """Below a limit with one long alarm may be one with two; the limit that is stated has no more than are allowed."""
    values = np.ones(2016)
    values[500:520], values[520:530], values[530:550], values[1200:] = 0.5, 0.6005, 0.6, 1.1
    watches = [watched(values)]
    assert [watches[0].count(limit) for limit in (0.55, 0.6003, 1.0)] == [1, 2, 1]
    monkeypatch.setattr(bounds, "_TRIALS", 2)  # as if so many levels lay between that those were passed over
    found = bounds.find(watches, 2 / 14, 1, PLAIN, lambda limit, spread: limit if limit < 0.61 else 0.6003)
    assert (found.alarms, watches[0].count(found.value)) == (1, 1)
    assert found.value <= 0.6


@pytest.mark.parametrize(("scale", "turn", "around"), [(LOG, -1, 0.1), (ARCSINE, -1, 0.1), (LOG, 1, 5.0)])
def test_extrapolation_stays_where_the_measure_lives(scale, turn, around):
    """No share beyond 1, no latency or traffic below 0, and never nearer than what was seen."""
    values = around * np.exp(0.2 * noise(28, 1, window=6, step=600))
    found = bounds.find([watched(turn * values)], MONTH / 10, turn, scale, exact)
    beyond = turn * found.value
    assert 0 < beyond < values.min() if turn == 1 else values.max() * 0.8 < beyond
    assert scale is not ARCSINE or beyond <= 1


def test_a_long_fault_is_not_taken_for_one_alarm():
    """Three bad days of thirty are three alarms: a limit that lets one pass lies below them."""
    values = hourly(30, 5)
    values[1000:1432] -= 0.2
    found = bounds.find([watched(values)], 2 / 30, 1, PLAIN, exact)
    assert found.value < 0.8
    assert found.alarms <= 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(2000, 1.0), "never moved from 1"),
        (np.where(np.arange(2000) % 3 == 0, 0.9, np.nan), "as long as the alert waits"),
        (np.where(np.arange(2000) < 900, -np.inf, 1.0 + np.arange(2000) // 40), "whatever the bound"),
    ],
)
def test_histories_that_give_no_limit(values, words):
    """One that never moved, one that is never there for long enough, one that is infinitely bad."""
    with pytest.raises(NoLimitError, match=words):
        bounds.find([watched(values)], MONTH, 1, PLAIN, exact)


def test_what_is_never_bad_for_long_is_held_to_its_median():
    """A limit is never on the good side of what is usual."""
    found = bounds.find([watched(1.0 + np.arange(4200) % 7, wait=4200.0)], 1.0, 1, PLAIN, exact)
    assert (found.value, found.alarms) == (4.0, 0)


def test_few_days_of_many_gaps_are_not_extrapolated():
    """The worst of a day must be known on a week of days."""
    values = np.where(np.arange(2000) < 500, 1.0 + np.arange(2000) // 40, np.nan)
    values[500::3] = 2.0
    with pytest.raises(NoLimitError, match="too few days"):
        bounds.find([watched(values)], MONTH / 10, 1, PLAIN, exact)
