"""Bounds of measures: against scipy where it has them, and by how often they hold the truth where it has not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from exporter.contracts import ModelSpec
from exporter.families import confidence
from exporter.families.quality import Quality
from exporter.families.scores import Scores
from tests.scored import gauges, model, rows, sums

Z = confidence.deviations(0.95)
BOUND = confidence.BOUND.name


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("count", "hits"), [(1, 0), (1, 1), (3, 3), (10, 7), (1000, 0), (1000, 999), (10**7, 10**6)])
def test_bounds_of_proportions_are_scipys(count, hits, level):
    """Wilson's interval is that of `scipy.stats.binomtest`."""
    theirs = stats.binomtest(hits, count).proportion_ci(level, "wilson")
    ours = confidence.wilson(hits / count, count, confidence.deviations(level))
    np.testing.assert_allclose(ours, (theirs.low, theirs.high), atol=1e-12)


def test_nothing_has_no_bounds():
    """Over no rows, or of an undefined measure, there is nothing to say."""
    with np.errstate(divide="ignore", invalid="ignore"):
        assert all(map(math.isnan, [*confidence.wilson(0.5, 0, Z), *confidence.wilson(math.nan, 5, Z)]))


def test_three_errors_of_ten_prove_little():
    """With 3 errors of 10, an accuracy of 0.85 is still inside the bounds; with 300 of 1000 it is not."""
    assert confidence.wilson(0.7, 10, Z)[1] > 0.85
    assert confidence.wilson(0.7, 1000, Z)[1] < 0.75


def test_f1_at_its_ends_is_bounded_as_the_share_of_hits_is():
    """F1 = 2 J / (1 + J), J being the share of tp among tp + fp + fn: Wilson's bounds of J give those of F1 there."""
    for hit, errors in ((0.0, 12.0), (12.0, 0.0)):
        effective = confidence.rows_of_f1(hit, 2 * hit + errors)
        bounds = confidence.wilson(2 * hit / (2 * hit + errors), effective, Z)
        share = confidence.wilson(hit / 12, 12, Z)
        np.testing.assert_allclose(bounds, [2 * bound / (1 + bound) for bound in share], atol=1e-12)


def test_the_variance_of_the_area():
    """The example of Hanley and McNeil (1982): area 0.893, 51 positives and 58 negatives, standard error 0.032."""
    effective = confidence.rows_of_area(0.893, 51, 58)
    assert math.sqrt(0.893 * 0.107 / effective) == pytest.approx(0.032, abs=0.0005)


def quality(spec, matrix):
    family = Quality(spec)
    return gauges(family, matrix.astype(float).ravel(), {"class": list(spec.classes), "error": []})


def truths(chance, head):
    """The measures of a confusion matrix of chances, each the positive class's or the mean over all classes."""
    hit, predicted, actual = chance.diagonal(), chance.sum(axis=0), chance.sum(axis=1)
    each = {"precision": hit / predicted, "recall": hit / actual, "f1": 2 * hit / (predicted + actual)}
    return {"accuracy": hit.sum(), **{name: float(head(values)) for name, values in each.items()}}


@pytest.mark.parametrize(
    ("spec", "chance", "count"),
    [
        (model(), [[0.55, 0.05], [0.1, 0.3]], 60),
        (model(), [[0.93, 0.02], [0.02, 0.03]], 400),
        (
            ModelSpec(name="m", task="multiclass", classes=("a", "b", "c")),
            [[0.4, 0.06, 0.04], [0.05, 0.2, 0.05], [0.02, 0.03, 0.15]],
            150,
        ),
        (
            ModelSpec(name="m", task="multiclass", classes=("a", "b", "c", "d")),
            [[0.3, 0.01, 0.01, 0], [0, 0.33, 0, 0.01], [0.02, 0, 0.15, 0], [0, 0.01, 0.01, 0.15]],
            200,
        ),
    ],
    ids=["two classes", "rare positives", "three classes", "a good model"],
)
def test_bounds_hold_the_truth_as_often_as_they_say(spec, chance, count):
    """Of 1000 windows drawn from known chances, 95 % (93 to 98.5 %) have the truth between their bounds."""
    chance = np.array(chance)
    head = (lambda values: values[1]) if spec.task == "binary" else np.mean
    truth = truths(chance, head)
    drawn = np.random.default_rng(5).multinomial(count, chance.ravel(), 1000).reshape(-1, *chance.shape)
    seen = [quality(spec, matrix) for matrix in drawn]
    for measure, value in truth.items():
        bounds = [(got[BOUND, measure, "lower"], got[BOUND, measure, "upper"]) for got in seen]
        held = [lower <= value <= upper for lower, upper in bounds if not math.isnan(lower)]
        assert len(held) > 950
        assert 0.93 <= np.mean(held) <= 0.985, (measure, np.mean(held))


@pytest.mark.parametrize(
    ("distance", "positives", "negatives"), [(0.7, 30, 30), (1.5, 20, 200), (2.5, 30, 100), (0, 50, 50)]
)
def test_bounds_of_the_area_hold_the_truth(distance, positives, negatives):
    """Normal scores whose area is known: 95 % (93 to 98.5 %) of 1000 windows have it between their bounds."""
    rng = np.random.default_rng(6)
    truth = stats.norm.cdf(distance / math.sqrt(2))
    family = Scores(model(stats.norm.cdf(np.linspace(-2.5, 3.5, 40))))
    held = []
    for _ in range(1000):
        score = stats.norm.cdf(np.concatenate([rng.normal(distance, 1, positives), rng.normal(0, 1, negatives)]))
        got = gauges(family, sums(family, rows([True] * positives + [False] * negatives, score)))
        held.append(got[BOUND, "roc_auc", "lower"] <= truth <= got[BOUND, "roc_auc", "upper"])
    assert 0.93 <= np.mean(held) <= 0.985


def test_the_confidence_is_the_config_s():
    """Narrower bounds for less confidence."""
    matrix = np.array([[40, 5], [7, 30]])
    sure, unsure = (quality(model(confidence=level), matrix) for level in (0.99, 0.5))
    for measure in ("accuracy", "precision", "recall", "f1"):
        assert sure[BOUND, measure, "lower"] < unsure[BOUND, measure, "lower"]
        assert unsure[BOUND, measure, "upper"] < sure[BOUND, measure, "upper"]
