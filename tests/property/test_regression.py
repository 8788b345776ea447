"""Regression measures against scikit-learn, for any numbers; where it answers by convention, ours is undefined."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, RegressionSpec, Scored
from exporter.families.regression import CONSTANT, Regression

sklearn = pytest.importorskip("sklearn.metrics")

numbers = st.floats(-1e6, 1e6, allow_subnormal=False) | st.integers(-3, 3).map(float)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=40)
QUANTILES = (0.05, 0.5, 0.9)
NAMES = {"class": ["any"], "error": []}


def family(center=0.0, buckets=()):
    settings_ = RegressionSpec(center=center, quantiles=QUANTILES, residual_buckets=buckets)
    return Regression(ModelSpec(name="m", task="regression", regression=settings_))


def scored(rows):
    actual, predicted = (np.array(side, float) for side in zip(*rows, strict=True))
    count = len(actual)
    truth = np.zeros(count, [("value", "<f8")])
    truth["value"] = actual
    zero = np.zeros(count, np.int32)
    return Scored(
        sign=np.ones(count, np.int8), slot=np.arange(count), group=zero, actual=zero, predicted=zero,
        score=predicted, time=np.zeros(count), label_time=np.zeros(count), truth=truth,
    )  # fmt: skip


def sums(one, rows):
    cells = one.cells(scored(rows))
    return np.bincount(cells.local, cells.weight, minlength=one.size)


def gauges(one, rows):
    values = one.window_values(NAMES, sums(one, rows))
    series = one.window_series(NAMES)
    return {(of.metric.removeprefix("model_"), *of.labels): value for of, value in zip(series, values, strict=True)}


def counters(one, added, retracted=None):
    retracted = np.zeros(one.size) if retracted is None else retracted
    values = one.values(NAMES, added, retracted)
    return {(of.metric, *of.labels): value for of, value in zip(one.series(NAMES), values, strict=True)}


@settings(max_examples=200, deadline=None)
@given(pairs)
@example([(0.0, 0.0)])
@example([(1.0, 2.0), (1.0, 3.0)])
def test_errors_are_scikit_learns(rows):
    """MAE, MSE, RMSE, MAPE and pinball loss are scikit-learn's; a zero target leaves no percentage error."""
    actual, predicted = zip(*rows, strict=True)
    found = gauges(family(), rows)
    expected = {
        ("window_labelled_predictions",): len(rows),
        ("mean_absolute_error",): sklearn.mean_absolute_error(actual, predicted),
        ("mean_squared_error",): sklearn.mean_squared_error(actual, predicted),
        ("root_mean_squared_error",): sklearn.root_mean_squared_error(actual, predicted),
        ("bias",): float(np.mean(np.array(predicted) - np.array(actual))),
    }
    for q in QUANTILES:
        loss = sklearn.mean_pinball_loss(actual, predicted, alpha=q)
        expected["mean_pinball_loss", ("alpha", repr(q))] = loss
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    percentage = found["mean_absolute_percentage_error",]
    if 0 in actual:
        assert math.isnan(percentage)
    else:
        assert percentage == pytest.approx(sklearn.mean_absolute_percentage_error(actual, predicted), rel=1e-9)


@settings(max_examples=200, deadline=None)
@given(pairs, st.floats(-1e9, 1e9))
@example([(0.1, 0.1), (0.1, 0.2), (0.1, 0.3)], 0.0)
@example([(1e8, 1e8), (1e8 + 1, 1e8)], 1e8)
def test_r2_is_scikit_learns_or_undefined(rows, offset):
    """With the center near the values R2 is scikit-learn's, wherever they are; that of a constant is undefined."""
    rows = [(actual + offset, predicted + offset) for actual, predicted in rows]
    actual, predicted = (np.array(side) for side in zip(*rows, strict=True))
    found = gauges(family(center=offset), rows)["r2_score",]
    # Far from 0 the mean that scikit-learn takes is rounded to the spacing of the values: it is asked near 0.
    actual, predicted = actual - offset, predicted - offset
    spread = np.sum(actual**2)
    around = np.sum((actual - actual.mean()) ** 2)
    if math.isnan(found):
        assert around <= 2 * CONSTANT * spread or around == 0
        return
    tolerance = 1e-13 * spread / around
    assert 1 - found == pytest.approx(1 - sklearn.r2_score(actual, predicted), rel=max(1e-9, tolerance), abs=1e-9)


def test_r2_far_from_the_center_is_undefined_rather_than_wrong():
    """Values so far from the center that their spread is lost in rounding have no R2."""
    rows = [(1e9 + value, 1e9) for value in (0.0, 1.0, 2.0)]
    assert math.isnan(gauges(family(center=0.0), rows)["r2_score",])
    assert gauges(family(center=1e9), rows)["r2_score",] == pytest.approx(1 - 5 / 2)


@settings(max_examples=100, deadline=None)
@given(pairs, pairs, st.floats(-10, 10))
def test_counters_hold_what_the_measures_need(rows, back, center):
    """Rates of counters, less those of their twins, give the same measures as the rows that are left."""
    one = family(center, (-1.0, 0.0, 2.5))
    seen = counters(one, sums(one, rows + back), sums(one, back))

    def net(name, *labels):
        return seen[f"model_{name}_total", *labels] - seen[f"model_{name}_retracted_total", *labels]

    actual, predicted = (np.array(side) for side in zip(*rows, strict=True))
    error, away = predicted - actual, actual - center
    over, under = (net("absolute_error_sum", ("direction", way)) for way in ("over", "under"))
    scale = 1e-9 * max(1.0, float(np.max(np.abs([*rows, *back]))) ** 2)
    assert net("labelled_predictions", ("correct", "any")) == len(rows)
    assert over + under == pytest.approx(np.abs(error).sum(), abs=scale)
    assert over - under == pytest.approx(error.sum(), abs=scale)
    assert net("squared_error_sum") == pytest.approx((error**2).sum(), abs=scale)
    assert net("zero_targets") == np.sum(actual == 0)
    above, below = (net("target_deviation_sum", ("side", side)) for side in ("above", "below"))
    assert above - below == pytest.approx(away.sum(), abs=scale)
    assert net("target_squared_deviation_sum") == pytest.approx((away**2).sum(), abs=scale)
    for most in ("-1.0", "0.0", "2.5", "+Inf"):
        assert net("residuals", ("at_most", most)) == np.sum(actual - predicted <= float(most))
    assert seen["model_target_center",] == center
