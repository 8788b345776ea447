"""Scores of several classes, each against the rest, against scikit-learn on the same rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics
from sklearn.preprocessing import label_binarize

from exporter.config.edges import COARSE
from exporter.contracts import ModelSpec
from exporter.families.losses import Losses
from exporter.families.scores import Scores
from tests.scored import gauges, rows, sums

CLASSES = ("a", "b", "c", "d", "e")


def model(edges=COARSE):
    return ModelSpec(
        name="m", task="multiclass", classes=CLASSES, probabilities=len(CLASSES), score_edges=tuple(edges)
    )


def drawn(count=40_000, scale=2.0, classes=(0, 1, 2, 3, 4)):
    """True classes, of which some are rare, and the probabilities that a model gives all of them."""
    rng = np.random.default_rng(1)
    share = np.array([0.5, 0.3, 0.1, 0.08, 0.02])[list(classes)]
    actual = rng.choice(classes, count, p=share / share.sum())
    odds = rng.normal(0, 1, (count, len(CLASSES)))
    odds[np.arange(count), actual] += 2
    weight = np.exp(scale * odds)
    return actual, weight / weight.sum(axis=1, keepdims=True)


def scored(actual, probabilities):
    found = rows(actual, np.full(len(actual), np.nan))
    made = np.zeros(len(actual), [("probabilities", "<f8", (len(CLASSES),))])
    made["probabilities"] = probabilities
    object.__setattr__(found, "made", made)
    return found


def seen(kind, actual, probabilities):
    family = kind(model())
    return gauges(family, sums(family, scored(actual, probabilities)))


@pytest.mark.parametrize("scale", [1.0, 2.0, 5.0])
def test_areas_are_averaged_as_scikit_learn_does(scale):
    """Macro and weighted means over the classes, from 20 bins of each: to 0.001, average precision to 0.005."""
    actual, probabilities = drawn(scale=scale)
    got = seen(Scores, actual, probabilities)
    truth = label_binarize(actual, classes=range(len(CLASSES)))
    for average in ("macro", "weighted"):
        area = metrics.roc_auc_score(actual, probabilities, multi_class="ovr", average=average)
        assert got["model_roc_auc_ratio", average] == pytest.approx(area, abs=1e-3)
        precision = metrics.average_precision_score(truth, probabilities, average=average)
        assert got["model_average_precision_ratio", average] == pytest.approx(precision, abs=5e-3)


def test_calibration_errors_are_averaged_over_all_classes():
    """The error of each class over its bins, by the definition; weighted by how often the class is true."""
    actual, probabilities = drawn(5000)
    got = seen(Scores, actual, probabilities)
    errors = []
    for each in range(len(CLASSES)):
        where = np.searchsorted(COARSE, probabilities[:, each], side="right")
        gap = np.bincount(where, probabilities[:, each]) - np.bincount(where, actual == each)
        errors.append(np.abs(gap).sum() / len(actual))
    shares = np.bincount(actual) / len(actual)
    assert got["model_expected_calibration_error_ratio", "macro"] == pytest.approx(np.mean(errors), abs=1e-12)
    assert got["model_expected_calibration_error_ratio", "weighted"] == pytest.approx(errors @ shares, abs=1e-12)


def test_classes_that_do_not_occur_are_not_averaged():
    """As for precision and recall: what is not in the window has no area."""
    actual, probabilities = drawn(5000, classes=(0, 1, 3))
    got = seen(Scores, actual, probabilities)
    areas = [metrics.roc_auc_score(actual == each, probabilities[:, each]) for each in (0, 1, 3)]
    assert got["model_roc_auc_ratio", "macro"] == pytest.approx(np.mean(areas), abs=1e-3)


def test_one_class_alone_has_no_area():
    """There is nothing to hold it against; without any rows nothing is defined."""
    actual, probabilities = drawn(100, classes=(2,))
    got = seen(Scores, actual, probabilities)
    assert math.isnan(got["model_roc_auc_ratio", "macro"])
    assert got["model_average_precision_ratio", "macro"] == 1
    assert all(map(math.isnan, seen(Scores, actual[:0], probabilities[:0]).values()))


def test_losses_are_those_of_scikit_learn():
    """Log loss, and the Brier score summed over classes, to 1e-9; certain mistakes are clipped."""
    actual, probabilities = drawn(20_000, scale=5.0)
    probabilities[:2] = np.eye(len(CLASSES))[[(actual[0] + 1) % 5, actual[1]]]
    got = seen(Losses, actual, probabilities)
    assert got["model_window_scored_predictions"] == 20_000
    assert got["model_log_loss"] == pytest.approx(metrics.log_loss(actual, probabilities), abs=1e-9)
    assert got["model_brier_score"] == pytest.approx(metrics.brier_score_loss(actual, probabilities), abs=1e-9)


def test_rows_without_probabilities_are_not_scored():
    """A row that carries none, and one whose true class has none, count nowhere."""
    actual, probabilities = drawn(10)
    probabilities[3] = np.nan
    actual[5] = len(CLASSES)
    for kind in (Losses, Scores):
        family = kind(model())
        kept = np.delete(np.arange(10), [3, 5])
        expected = sums(family, scored(actual[kept], probabilities[kept]))
        np.testing.assert_allclose(sums(family, scored(actual, probabilities)), expected, atol=1e-12)
    assert seen(Losses, actual, probabilities)["model_window_scored_predictions"] == 8


def test_counters_are_of_each_class():
    """The counters of a class are those of its own probabilities, against all other classes."""
    actual, probabilities = drawn(3000)
    family = Scores(model((0.2, 0.7)))
    counts = sums(family, scored(actual, probabilities))
    told = {
        (one.metric, *(value for _, value in one.labels)): value
        for one, value in zip(family.series({}), family.values({}, counts, np.zeros_like(counts)), strict=True)
    }
    for each, name in enumerate(CLASSES):
        score, outcome = probabilities[:, each], actual == each
        for low, high, text, further in (
            (0, 0.2, "0.000000", "0.200000"), (0.2, 0.7, "0.200000", "0.700000"), (0.7, 2, "0.700000", "+Inf"),
        ):  # fmt: skip
            here = (score >= low) & (score < high)
            for word, side in (("positive", outcome), ("negative", ~outcome)):
                labels = (name, word, text, further)
                assert told["model_score_at_least_total", *labels] == (side & (score >= low)).sum()
                assert told["model_score_sum_total", *labels] == pytest.approx(score[side & here].sum(), abs=1e-9)
