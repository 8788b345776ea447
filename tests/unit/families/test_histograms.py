"""Latency and label delay: the right bucket, cumulative counts, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, Scored, Traffic
from exporter.families.delay import LabelDelay
from exporter.families.latency import Latency
from tests.scored import sums

SPEC = ModelSpec(name="m", latency_buckets=(0.1, 1.0), delay_buckets=(60.0, 3600.0))
NAMES = {"class": [], "error": []}


def told(family, rows):
    series = family.series(NAMES)
    values = family.values(NAMES, sums(family, rows), np.zeros(family.size))
    return {
        one.suffix + "".join(value for _, value in one.labels): value
        for one, value in zip(series, values, strict=True)
    }


def traffic(*latency):
    code = np.zeros(len(latency), np.int32)
    return Traffic(
        group=code, time=np.zeros(len(latency)), predicted=code, score=np.zeros(len(latency)),
        latency=np.array(latency, float), error=code - 1,
    )  # fmt: skip


def labelled(*delay):
    code, number = np.zeros(len(delay), np.int32), np.full(len(delay), 1000.0)
    return Scored(
        sign=np.ones(len(delay), np.int8), slot=np.arange(len(delay)), group=code, actual=code, predicted=code,
        score=number, time=number, label_time=number + np.array(delay, float),
    )  # fmt: skip


def test_a_value_at_the_bound_is_inside():
    """Prometheus' `le` is less or equal; buckets are cumulative, and `+Inf` is the count."""
    seen = told(Latency(SPEC), traffic(0.1, 0.100001, 1.0, 7.0))
    assert seen == {
        "_bucket0.1": 1, "_bucket1.0": 3, "_bucket+Inf": 4, "_count": 4, "_sum": pytest.approx(8.200001),
    }  # fmt: skip


def test_a_row_without_latency_is_not_timed():
    """No latency is not a latency of zero."""
    assert told(Latency(SPEC), traffic(np.nan, 0.05))["_count"] == 1


def test_a_label_older_than_its_prediction_has_no_delay():
    """Clocks differ: a negative delay counts as none, so that the sum never falls."""
    seen = told(LabelDelay(SPEC), labelled(-30.0, 30.0))
    assert (seen["_bucket60.0"], seen["_sum"]) == (2, 30.0)


POSITIVE = st.floats(0, 1e300) | st.sampled_from([0.0, -0.0, 0.1, 0.25, 0.5, 1.0, 5e-324])


@settings(deadline=None)
@given(
    st.lists(POSITIVE.filter(bool), min_size=1, max_size=30, unique=True).map(sorted),
    st.lists(POSITIVE, min_size=1, max_size=30),
)
def test_a_value_is_found_in_its_bucket(bounds, values):
    """Every value falls where a search puts it, at the bounds and right beside them, too."""
    near = np.concatenate([values, bounds, np.nextafter(bounds, 0), np.nextafter(bounds, np.inf)])
    family = Latency(ModelSpec(name="m", latency_buckets=tuple(bounds)))
    found = family.cells(traffic(*near)).local
    assert found.tolist() == np.searchsorted(bounds, near, side="left").tolist()


@pytest.mark.parametrize("kind", [Latency, LabelDelay])
def test_without_buckets_there_is_no_histogram(kind):
    """A model without bounds has no such family."""
    assert kind(ModelSpec(name="m")).size == 0
