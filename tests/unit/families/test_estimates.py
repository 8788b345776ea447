"""Estimates against NannyML's own, realised measures against scikit-learn, and what counters must keep."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from exporter.config.edges import FIXED
from exporter.contracts import Calibration, EstimatesSpec, Traffic
from exporter.families.estimates import MEASURES, Estimates
from exporter.families.isotonic import shares
from exporter.families.realised import Realised
from tests import scored
from tests.estimating import drawn

NANNYML = Path(__file__).parents[2] / "data" / "nannyml"
NAMES = {"class": ["no", "yes"], "error": []}


def families(edges=FIXED, probability=None):
    spec = scored.model(edges, estimates=EstimatesSpec())
    known = Calibration()
    if probability is not None:
        known = Calibration(probability=np.asarray(probability, float), labelled=1)
    return Estimates(spec).calibrated(known), Realised(spec).calibrated(known)


def traffic(score, predicted=None):
    count = len(score)
    return Traffic(
        group=np.zeros(count, np.int32),
        time=np.zeros(count),
        predicted=(np.nan_to_num(score) >= 0.5).astype(np.int32) if predicted is None else predicted,
        score=np.asarray(score, float),
        latency=np.full(count, np.nan),
        error=np.full(count, -1, np.int32),
    )


def fit(realised, counts):
    positive, labelled = realised.history(counts)
    middle = (realised.bins.lower + realised.bins.upper) / 2
    return shares(middle.tolist(), positive.tolist(), labelled.tolist())


def rows(columns):
    """Score, predicted and actual of recorded counts, one row per prediction."""
    columns = np.repeat(columns[:, :-1], columns[:, -1], axis=0)
    return columns[:, -3] / 100, columns[:, -2].astype(np.int32), columns[:, -1].astype(bool)


# --- against others ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["car_loan", "work_home"])
def test_estimates_are_those_of_nannyml(name):
    """Fitted to the reference of its data sets, estimates of every chunk are within 0.005 of NannyML's CBPE."""
    recorded = json.loads((NANNYML / f"{name}.json").read_text())
    score, _, actual = rows(np.array(recorded["reference"]))
    _, realised = families()
    probability = fit(realised, scored.sums(realised, scored.rows(actual, score)))
    estimates, _ = families(probability=probability)
    analysis = np.array(recorded["analysis"])
    for chunk in range(len(recorded["estimated"]["accuracy"])):
        score, predicted, _ = rows(analysis[analysis[:, 0] == chunk])
        found = scored.gauges(estimates, scored.sums(estimates, traffic(score, predicted)))
        assert found["model_window_estimated_predictions"] == 5000
        for measure in MEASURES:
            expected = recorded["estimated"][measure][chunk]
            assert found[f"model_estimated_{measure}_ratio"] == pytest.approx(expected, abs=0.005), (chunk, measure)


def test_realised_measures_are_those_of_scikit_learn():
    """Accuracy, precision, recall and F1 of the labelled rows are exact, ROC AUC as exact as its bins."""
    score, outcome = drawn(4000)
    _, realised = families()
    found = scored.gauges(realised, scored.sums(realised, scored.rows(outcome, score)))
    predicted = score >= 0.5
    expected = {
        "accuracy": metrics.accuracy_score(outcome, predicted),
        "precision": metrics.precision_score(outcome, predicted),
        "recall": metrics.recall_score(outcome, predicted),
        "f1": metrics.f1_score(outcome, predicted),
    }
    for measure, value in expected.items():
        assert found["model_realised_ratio", measure] == pytest.approx(value, abs=1e-12)
    assert found["model_realised_ratio", "roc_auc"] == pytest.approx(metrics.roc_auc_score(outcome, score), abs=0.01)


# --- what they tell ------------------------------------------------------------------------------


def test_a_shift_of_inputs_moves_the_estimate_and_no_error():
    """Where only the mix of scores changes, the estimate follows what becomes of it."""
    score, outcome = drawn(40_000)
    _, realised = families()
    probability = fit(realised, scored.sums(realised, scored.rows(outcome, score)))
    _, realised = families(probability=probability)
    hard = np.abs(score - 0.5) < 0.2
    found = scored.gauges(realised, scored.sums(realised, scored.rows(outcome[hard], score[hard])))
    assert found["model_realised_ratio", "accuracy"] < 0.65
    for measure in MEASURES:
        assert abs(found["model_estimation_error", measure]) < 0.02


def test_a_change_of_what_is_true_shows_as_error():
    """Where scores no longer mean what they did, the estimate stays too high by what accuracy has lost."""
    score, outcome = drawn(40_000)
    _, realised = families()
    probability = fit(realised, scored.sums(realised, scored.rows(outcome, score)))
    _, realised = families(probability=probability)
    _, changed = drawn(40_000, power=6.0)
    found = scored.gauges(realised, scored.sums(realised, scored.rows(changed, score)))
    lost = np.mean((score >= 0.5) == outcome) - np.mean((score >= 0.5) == changed)
    assert lost > 0.05
    assert found["model_estimation_error", "accuracy"] == pytest.approx(lost, abs=0.01)


def test_before_the_first_fit_only_counts_are_told():
    """Without a calibration there are no estimates, what was realised is known, and counters are at 0."""
    estimates, realised = families((0.5,))
    gauges = scored.gauges(estimates, np.array([1.0, 2.0, 3.0, 4.0]))
    assert gauges.pop("model_window_estimated_predictions") == 10
    assert np.isnan(list(gauges.values())).all()
    found = scored.gauges(realised, scored.sums(realised, scored.rows([True, False], [0.9, 0.8])))
    assert found["model_realised_ratio", "precision"] == 0.5
    assert np.isnan(found["model_estimation_error", "precision"])
    values = estimates.values(NAMES, np.full(4, 5.0), np.zeros(4))
    assert values[:9] == [0] * 9
    assert np.isnan(values[9])


def test_predictions_without_a_score_or_an_answer_are_not_counted():
    """Nothing can be expected of them."""
    estimates, _ = families((0.5,))
    made = traffic(np.array([0.2, np.nan, 0.7, 0.9]))
    made.error[3] = 0
    assert estimates.cells(made).row.tolist() == [0, 2]
    assert scored.sums(estimates, made).tolist() == [1, 0, 0, 1]


def test_a_measure_without_its_denominator_is_undefined():
    """No predicted positive, no precision; one expected class, no ROC AUC."""
    estimates, _ = families((0.5,), [0.0, 0.0])
    found = scored.gauges(estimates, scored.sums(estimates, traffic(np.array([0.1, 0.2]))))
    assert found["model_estimated_accuracy_ratio"] == 1
    assert np.isnan([found[f"model_estimated_{one}_ratio"] for one in MEASURES[1:]]).all()


def test_models_without_scores_or_estimates_have_none():
    """Neither family counts anything where there is nothing to weigh, or where it is not wanted."""
    for spec in (scored.model(), scored.model((), estimates=EstimatesSpec())):
        assert (Estimates(spec).size, Realised(spec).size) == (0, 0)


def test_scores_are_put_into_bins_once():
    """Families that are given the same scores share what is found, which none of them can change."""
    score = np.array([0.2, 0.7])
    estimates, realised = families((0.5,))
    found = estimates.bins.of(score)
    assert realised.bins.of(score) is found
    assert realised.bins.of(score.copy()) is not found
    with pytest.raises(ValueError, match="read-only"):
        found += 1


# --- what counters keep --------------------------------------------------------------------------

COUNTS = st.lists(st.integers(0, 1000), min_size=6, max_size=6)
MAPS = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted)


@given(st.lists(st.tuples(COUNTS, MAPS), min_size=1, max_size=6))
def test_expected_outcomes_never_fall_and_add_up(steps):
    """Whatever fits come, counters grow, by as many as there are predictions of either class."""
    estimates, _ = families((0.3, 0.6))
    sums, known = np.zeros((2, 6)), Calibration()
    before = np.zeros(4)
    for counts, probability in steps:
        expected = estimates.calibrated(known).expected(sums)
        known = Calibration(probability=np.array(probability), sums=sums.copy(), before=expected)
        assert (expected[0] == before).all()
        sums[0] += counts
        expected, none = estimates.calibrated(known).expected(sums)
        assert not none.any()
        assert (expected >= before).all()
        tp, fp, fn, tn = expected - before
        assert tp + fp == pytest.approx(sum(counts[3:]))
        assert fn + tn == pytest.approx(sum(counts[:3]))
        before = expected


@given(st.integers(0, 2**32 - 1))
def test_rounding_never_lets_a_counter_fall(seed):
    """A fall in the last digit would be a restart to Prometheus, and all that was counted would count again."""
    rng = np.random.default_rng(seed)
    edges = tuple(np.linspace(0, 1, 52)[1:-1].tolist())
    sums, before = np.zeros((2, 4 * 51)), 0.0
    zeros = np.zeros((2, 8))
    known = Calibration(probability=np.sort(rng.random(51)), sums=sums.copy(), before=zeros)
    _, realised = families(edges)
    realised = realised.calibrated(known)
    for _ in range(50):
        sums += rng.random(sums.shape) < rng.random() ** 4
        now = realised.expected(sums)
        assert (now >= before).all()
        before = now


def test_a_correction_changes_what_was_realised_not_what_was_expected():
    """The label of a prediction that is taken back leaves as much as comes."""
    _, realised = families((0.5,), [0.25, 0.75])
    zeros = np.zeros((2, 8))
    known = Calibration(probability=np.array([0.25, 0.75]), labelled=9, sums=zeros, before=zeros)
    first, again = (scored.sums(realised, scored.rows([one], [0.9])) for one in (True, False))
    added, retracted = realised.calibrated(known).expected(np.stack((first + again, first)))
    assert (added - retracted).tolist() == [0.75, 0.25, 0, 0, 0, 1, 0, 0]
    assert len(realised.calibrated(known).values(NAMES, first + again, first)) == len(realised.series(NAMES))
