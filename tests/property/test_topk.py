"""Top-k accuracy against scikit-learn, for any probabilities, also equal ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, Scored
from exporter.families.topk import TopK

sklearn = pytest.importorskip("sklearn.metrics")


@st.composite
def cases(draw):
    classes = draw(st.integers(3, 7))
    share = st.sampled_from([0.0, 0.1, 0.25, 0.5]) | st.floats(0, 1)
    weights = st.lists(share, min_size=classes, max_size=classes)
    rows = draw(st.lists(st.tuples(weights, st.integers(0, classes - 1)), min_size=1, max_size=30))
    return classes, np.array([weights for weights, _ in rows]), np.array([actual for _, actual in rows], np.int32)


def scored(probabilities, actual):
    count, width = probabilities.shape
    made = np.zeros(count, [("probabilities", "<f8", (width,))])
    made["probabilities"] = probabilities
    zero = np.zeros(count)
    return Scored(
        sign=np.ones(count, np.int8), slot=np.arange(count), group=actual, actual=actual, predicted=actual,
        score=zero, time=zero, label_time=zero, made=made,
    )  # fmt: skip


def family(classes, *ks):
    names = tuple(map(str, range(classes)))
    return TopK(ModelSpec(name="m", task="multiclass", classes=names, probabilities=classes, top_k=ks))


def sums(one, *rows):
    return np.bincount(one.cells(scored(*rows)).local, minlength=one.size).astype(float)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_it_is_scikit_learns(case):
    """For every k below the number of classes, with ties taken as scikit-learn takes them."""
    classes, probabilities, actual = case
    one = family(classes, *range(1, classes))
    counts = sums(one, probabilities, actual)
    values = one.values({}, counts, np.zeros(one.size))
    counters = {of.labels: value for of, value in zip(one.series({}), values, strict=True) if "retr" not in of.metric}
    for k, ours in zip(range(1, classes), one.window_values({}, counts), strict=True):
        theirs = sklearn.top_k_accuracy_score(actual, probabilities, k=k, labels=range(classes))
        assert ours == pytest.approx(theirs, abs=1e-12)
        right = counters[("k", str(k)), ("correct", "true")]
        assert right + counters[("k", str(k)), ("correct", "false")] == len(actual)
        assert right == pytest.approx(theirs * len(actual))


def test_rows_without_probabilities_are_not_counted():
    """Neither right nor wrong; with no row at all the share is undefined."""
    one = family(3, 2)
    rows = np.full((2, 3), np.nan), np.zeros(2, np.int32)
    assert not sums(one, *rows).any()
    assert math.isnan(one.window_values({}, sums(one, *rows))[0])
