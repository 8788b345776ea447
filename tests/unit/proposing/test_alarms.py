"""When an alert would have fired: as Prometheus' own states say, evaluation by evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.proposing.alarms import Watch
from tests.histories import DAY, episodes

NAN = np.nan
VALUES = st.sampled_from([NAN, 0.0, 1.0, 2.0, 3.0, np.inf, -np.inf])


def watch(*rows, wait=0.0, keep=0.0, step=60.0):
    return Watch(np.array(rows, float), wait, keep, step)


@given(
    st.lists(VALUES, min_size=1, max_size=60),
    st.sampled_from([0.0, 30.0, 60.0, 90.0, 180.0]),
    st.sampled_from([0.0, 30.0, 60.0, 90.0, 180.0]),
    st.sampled_from([0.5, 1.0, 2.5, 10.0]),
)
def test_alarms_are_those_of_prometheus(values, wait, keep, limit):
    """Of one series: the same starts and ends as its states give, whatever the waits, gaps and values."""
    expected = episodes([value < limit for value in values], wait, keep, 60.0)
    assert watch(values, wait=wait, keep=keep).alarms(limit) == expected


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40), st.sampled_from([0.0, 60.0, 120.0]))
def test_several_series_are_one_alert_of_the_model(pairs, wait):
    """Somebody is told once while any series fires."""
    rows = list(zip(*pairs, strict=True))
    fires = np.zeros(len(pairs) + 1, bool)
    for row in rows:
        for start, end in episodes([value < 2 for value in row], wait, 60.0, 60.0):
            fires[start:end] = True
    starts = np.flatnonzero(np.diff(np.r_[False, fires].astype(int)) == 1)
    ends = np.flatnonzero(np.diff(np.r_[False, fires].astype(int)) == -1)
    found = watch(*rows, wait=wait, keep=60.0).alarms(2)
    assert found == list(zip(starts.tolist(), ends.tolist(), strict=True))


@given(st.lists(VALUES, min_size=1, max_size=60), st.sampled_from([0.0, 60.0, 180.0]))
def test_no_alarm_up_to_the_lowest_level(values, wait):
    """The lowest level is the highest limit without an alarm."""
    seen = watch(values, wait=wait)
    lowest = seen.levels.min()
    assert seen.alarms(lowest) == []
    if lowest < np.inf:
        assert seen.alarms(np.nextafter(lowest, np.inf)) != []


def test_gaps_are_neither_good_nor_bad():
    """An alert does not wait on over a gap, and a gap is no evaluation that was seen."""
    seen = watch([0, 0, NAN, 0, 0], wait=120)
    assert seen.alarms(1) == []
    assert seen.seen.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize(("days", "count"), [(0.5, 1), (1.0, 1), (1.01, 2), (3.5, 4)])
def test_an_alarm_that_lasts_for_days_counts_each_day(days, count):
    """Else a limit that everything is below would be one alarm, and a good limit."""
    values = np.ones(round(5 * DAY / 600))
    values[: round(days * DAY / 600)] = 0
    assert watch(values, step=600.0).count(0.5) == count
