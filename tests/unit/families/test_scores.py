"""Curves, losses and calibration of scores, against scikit-learn on the same rows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn import metrics

from exporter.config.edges import FIXED, balanced
from exporter.families.losses import Losses
from exporter.families.scores import Scores
from tests.scored import DISTRIBUTIONS, drifted, gauges, model, rows, sums

AUC, AP, ECE = (
    (f"model_{measure}_ratio", "binary") for measure in ("roc_auc", "average_precision", "expected_calibration_error")
)
BOUND = "model_quality_bound_ratio"
ROWS = 100_000


def drawn(name, seed, count=ROWS):
    return DISTRIBUTIONS[name](count, np.random.default_rng(seed))


def reference_edges(name, bins=50):
    """Edges from other rows of the same distribution."""
    outcome, score = drawn(name, 1)
    return balanced(score, outcome, bins)


def seen(edges, outcome, score):
    family = Scores(model(edges))
    return gauges(family, sums(family, rows(outcome, score)))


# --- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_losses_are_those_of_scikit_learn(name):
    """Log loss and Brier score agree to 1e-9, also where scores are 0 or 1 and wrong."""
    outcome, score = drawn(name, 2, 20_000)
    score[:4] = [0, 1, 0, 1]
    outcome[:4] = [True, False, False, True]
    family = Losses(model())
    got = gauges(family, sums(family, rows(outcome, score)))
    assert got["model_window_scored_predictions"] == 20_000
    assert got["model_log_loss"] == pytest.approx(metrics.log_loss(outcome, score), abs=1e-9)
    assert got["model_brier_score"] == pytest.approx(metrics.brier_score_loss(outcome, score), abs=1e-9)


def test_one_certain_mistake_does_not_cost_infinity():
    """Probabilities are clipped as scikit-learn clips them: a certain and wrong one costs -ln(2 ** -52)."""
    family = Losses(model())
    counts = sums(family, rows([True], [0.0]))
    assert gauges(family, counts)["model_log_loss"] == pytest.approx(52 * math.log(2), abs=1e-12)


def test_rows_without_a_score_are_not_scored():
    """A missing score is neither 0 nor counted."""
    family = Losses(model())
    counts = sums(family, rows([True, False, True], [0.5, np.nan, np.nan]))
    assert gauges(family, counts)["model_window_scored_predictions"] == 1
    assert gauges(family, np.zeros(family.size))["model_log_loss"] != gauges(family, counts)["model_log_loss"]


def test_what_is_taken_back_is_told_by_the_twin():
    """Sums of both sides are told side by side, in the order of the series."""
    family = Losses(model())
    added, back = sums(family, rows([1, 0], [0.75, 0.5])), sums(family, rows([1], [0.75]))
    told = {one.metric: value for one, value in zip(family.series({}), family.values({}, added, back), strict=True)}
    assert told["model_scored_predictions_total"] == 2
    assert told["model_scored_predictions_retracted_total"] == 1
    assert told["model_brier_sum_total"] == 0.25**2 + 0.5**2
    assert told["model_brier_sum_retracted_total"] == 0.25**2
    assert told["model_log_loss_sum_retracted_total"] == -math.log(0.75)


# --- curves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_area_under_the_roc_curve(name):
    """50 bins give the exact area to 0.0001, where 0.001 is asked for."""
    outcome, score = drawn(name, 2)
    assert seen(reference_edges(name), outcome, score)[AUC] == pytest.approx(
        metrics.roc_auc_score(outcome, score), abs=1e-4
    )


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_area_after_a_drift(name, by):
    """When all scores have moved by one logit, edges of before still give it to 0.001, where 0.005 is asked for."""
    outcome, score = drawn(name, 2)
    score = drifted(score, by)
    assert seen(reference_edges(name), outcome, score)[AUC] == pytest.approx(
        metrics.roc_auc_score(outcome, score), abs=1e-3
    )


@pytest.mark.parametrize("by", [-1, 0, 1])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_fixed_edges_do_without_a_reference(name, by):
    """The edges that stand in no config give the area to 0.001, too, and average precision to 0.002."""
    outcome, score = drawn(name, 2)
    score = drifted(score, by) if by else score
    got = seen(FIXED, outcome, score)
    assert got[AUC] == pytest.approx(metrics.roc_auc_score(outcome, score), abs=1e-3)
    assert got[AP] == pytest.approx(metrics.average_precision_score(outcome, score), abs=2e-3)


@pytest.mark.parametrize("by", [-1, 0, 1])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_average_precision(name, by):
    """Average precision comes as close as the area does."""
    outcome, score = drawn(name, 2)
    score = drifted(score, by) if by else score
    assert seen(reference_edges(name), outcome, score)[AP] == pytest.approx(
        metrics.average_precision_score(outcome, score), abs=1e-3
    )


def test_scores_of_few_values_are_ranked_exactly():
    """Where every score is an edge, nothing has to be guessed: ties are ties."""
    rng = np.random.default_rng(3)
    score = rng.integers(0, 11, 5000) / 10
    outcome = rng.random(5000) < score
    got = seen(np.arange(1, 10) / 10, outcome, np.where(score == 1, 0.95, score))
    score = np.where(score == 1, 0.95, score)
    below = np.minimum(score, 0.9)  # what lies in the last bin is 0.9 and 0.95
    assert got[AUC] == pytest.approx(metrics.roc_auc_score(outcome, score), abs=2e-3)
    assert seen(np.arange(1, 10) / 10, outcome, below)[AUC] == pytest.approx(
        metrics.roc_auc_score(outcome, below), abs=1e-12
    )
    assert seen(np.arange(1, 10) / 10, outcome, below)[AP] == pytest.approx(
        metrics.average_precision_score(outcome, below), abs=1e-12
    )


@pytest.mark.parametrize("edges", [FIXED, (0.5,)])
def test_answers_without_a_doubt_are_ties(edges):
    """Scores of 0 and 1 only are two points of a curve, also where they are few."""
    outcome = np.arange(60) < 12
    score = np.where(np.arange(60) % 4 == 0, ~outcome, outcome).astype(float)
    got = seen(edges, outcome, score)
    assert got[AUC] == pytest.approx(metrics.roc_auc_score(outcome, score), abs=1e-12)
    assert got[AP] == pytest.approx(metrics.average_precision_score(outcome, score), abs=1e-12)


@pytest.mark.parametrize(
    ("outcome", "undefined"),
    [([], {AUC, AP, ECE}), ([True], {AUC}), ([False], {AUC, AP}), ([True, False], set())],
    ids=["nothing", "positives only", "negatives only", "both"],
)
def test_undefined_is_absent(outcome, undefined):
    """There is no ROC curve without both classes, no precision-recall curve without positives."""
    got = seen([0.5], outcome, [0.4] * len(outcome))
    bounds = {(BOUND, "roc_auc", side) for side in ("lower", "upper")} if AUC in undefined else set()
    assert {name for name, value in got.items() if math.isnan(value)} == undefined | bounds


def test_perfect_and_useless():
    """A model that separates the classes has area 1; one that knows nothing, 1/2."""
    outcome = np.array([False] * 50 + [True] * 50)
    assert seen(FIXED, outcome, np.where(outcome, 0.9, 0.1))[AUC] == 1
    assert seen(FIXED, outcome, np.where(outcome, 0.9, 0.1))[AP] == 1
    assert seen(FIXED, outcome, np.full(100, 0.3))[AUC] == 0.5
    assert seen(FIXED, outcome, np.where(outcome, 0.1, 0.9))[AUC] == 0


def test_counters_make_the_curve():
    """The counters of a threshold are those at or above it, and the lowest counts all: scikit-learn's own points."""
    outcome, score = drawn("beta", 4, 5000)
    edges = (0.1, 0.25, 0.5, 0.9)
    family = Scores(model(edges))
    counts = sums(family, rows(outcome, score))
    told = {
        (one.metric, *(value for _, value in one.labels)): value
        for one, value in zip(family.series({}), family.values({}, counts, np.zeros_like(counts)), strict=True)
    }
    ends = ["0.000000", "0.100000", "0.250000", "0.500000", "0.900000", "+Inf"]
    assert ends[:-1] == sorted(ends[:-1])
    for low, high in itertools.pairwise(ends):
        here = (score >= float(low)) & (score < float(high))
        assert told["model_score_edge", low, high] == float(low)
        for word, side in (("positive", outcome), ("negative", ~outcome)):
            assert told["model_score_at_least_total", "yes", word, low, high] == (side & (score >= float(low))).sum()
            assert told["model_score_sum_total", "yes", word, low, high] == pytest.approx(
                score[side & here].sum(), abs=1e-9
            )
            assert told["model_score_at_least_retracted_total", "yes", word, low, high] == 0


# --- calibration ---------------------------------------------------------------------------------


def test_calibration_error_over_equal_bins():
    """Over ten bins of equal width it is what scikit-learn's calibration curve gives, weighted by the bins' rows."""
    from sklearn.calibration import calibration_curve

    outcome, score = drawn("beta", 5, 20_000)
    share, mean = calibration_curve(outcome, score, n_bins=10)
    weight = np.histogram(score, 10, (0, 1))[0]
    assert (weight > 0).all()
    expected = (np.abs(share - mean) * weight).sum() / weight.sum()
    assert seen(np.arange(1, 10) / 10, outcome, score)[ECE] == pytest.approx(expected, abs=1e-9)


def test_honest_scores_are_calibrated():
    """Scores that are the true chances have nearly no calibration error, halved ones a large one."""
    rng = np.random.default_rng(6)
    score = rng.random(100_000)
    outcome = rng.random(100_000) < score
    assert seen(FIXED, outcome, score)[ECE] < 0.01
    assert seen(FIXED, outcome, score / 2)[ECE] == pytest.approx(0.25, abs=0.01)
