"""Further measures of one matrix of counts: what a false alarm or a miss costs, agreement beyond chance.

Definitions are scikit-learn's (User Guide 3.4.4): `fbeta_score`, `balanced_accuracy_score`, `matthews_corrcoef` and
`cohen_kappa_score`; specificity is the recall of all other classes.  Where scikit-learn answers 0 for what is
undefined, such as the correlation with a constant, ours is undefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats, MetricSpec, ModelSpec, Series
from exporter.families.labelled import averaged


class Counts(NamedTuple):
    """Matrices of counts, actual class by predicted class, shape (n, k, k), and their sums.

    `total` and `hits` have shape (n,); `hit`, `predicted`, `actual` and `both`, the sum of the last two, have shape
    (n, k), and `there` says which classes occur.
    """

    matrix: Floats
    total: Floats
    hits: Floats
    hit: Floats
    predicted: Floats
    actual: Floats
    both: Floats
    there: NDArray[np.bool_]

    @classmethod
    def of(cls, matrix: Floats) -> Self:
        hit, predicted, actual = matrix.diagonal(axis1=1, axis2=2), matrix.sum(axis=1), matrix.sum(axis=2)
        both = predicted + actual
        return cls(matrix, actual.sum(axis=1), hit.sum(axis=1), hit, predicted, actual, both, both > 0)


def _gauge(name: str, meaning: str, *labels: str) -> MetricSpec:
    population = "over the labelled predictions whose label falls into the window; computed each cycle."
    return MetricSpec(name, "gauge", f"{meaning}, {population}", ("window", *labels))


SPECS = (
    averaged("specificity", "tn / (tn + fp)"),
    averaged("false_positive", "fp / (fp + tn)"),
    averaged("false_negative", "fn / (fn + tp)"),
    _gauge("model_f_beta_ratio", "(1 + beta^2) tp / ((1 + beta^2) tp + beta^2 fn + fp)", "average", "beta"),
    _gauge("model_balanced_accuracy_ratio", "Mean recall of the classes that occur"),
    _gauge("model_matthews_correlation_coefficient", "Correlation of actual and predicted class, -1 to 1 (MCC; of "
           "several classes Gorodkin's)"),
    _gauge("model_cohen_kappa", "(accuracy - p) / (1 - p), p being the accuracy that chance would give"),
    _gauge("model_expected_cost", "Mean cost of a prediction, in the unit of the config's `costs`"),
    MetricSpec("model_confusion_cost", "gauge", "Cost of a prediction by actual and by predicted class, as the config "
               "says; rules multiply model_confusion_total with it.", ("actual", "predicted")),
)  # fmt: skip


class Agreement:
    """The further gauges of one model, of a window and of its config."""

    def __init__(self, model: ModelSpec) -> None:
        self.averages = ("binary",) if model.task == "binary" else ("macro", "weighted")
        self.betas = model.betas
        self.costs = model.costs

    def cost_series(self) -> list[Series]:
        """The costs that the config gives."""
        pairs = [(actual, predicted) for actual, costs in self.costs.items() for predicted in costs]
        return [Series("model_confusion_cost", (("actual", a), ("predicted", p))) for a, p in pairs]

    def cost_values(self) -> list[float]:
        """Values in the order of `cost_series`."""
        return [cost for costs in self.costs.values() for cost in costs.values()]

    def window_series(self) -> list[Series]:
        rates = [
            Series(f"model_{rate}_ratio", (("average", average),))
            for rate in ("specificity", "false_positive", "false_negative")
            for average in self.averages
        ]
        betas = [
            Series("model_f_beta_ratio", (("average", average), ("beta", f"{beta:g}")))
            for beta in self.betas
            for average in self.averages
        ]
        whole = ["model_balanced_accuracy_ratio", "model_matthews_correlation_coefficient", "model_cohen_kappa"]
        return [*rates, *betas, *map(Series, [*whole, *(["model_expected_cost"] if self.costs else [])])]

    def ratios(self, counts: Counts) -> list[tuple[Floats, Floats]]:
        """What is divided by what for recall, specificity and each F-beta of every class; shapes (n, k)."""
        hit, predicted, actual = counts.hit, counts.predicted, counts.actual
        negatives = counts.total[:, np.newaxis] - actual
        squares = [beta**2 for beta in self.betas]
        betas = [((1 + square) * hit, square * actual + predicted) for square in squares]
        return [(hit, actual), (negatives - predicted + hit, negatives), *betas]

    def window_values(self, classes: Sequence[str], counts: Counts, recalls: Floats, averaged: Floats) -> list[Floats]:
        """Values in the order of `window_series`, in parts of shape (gauges, n).

        *averaged* are the `ratios` in every average, shape (ratios, averages, n), *recalls* those of every class.
        """
        recall, specificity, *betas = averaged
        balanced = np.fmax(recalls, 0.0).sum(axis=1) / (counts.actual > 0).sum(axis=1)
        cost = [self._cost(classes, counts)[np.newaxis]] if self.costs else []
        rates = [specificity, 1 - specificity, 1 - recall]
        return [*rates, *betas, np.array([balanced, *_beyond_chance(counts)]), *cost]

    def _cost(self, classes: Sequence[str], counts: Counts) -> Floats:
        at = {name: place for place, name in enumerate(classes)}
        each = np.zeros((len(classes), len(classes)))
        for actual, costs in self.costs.items():
            for predicted, cost in costs.items():
                if actual in at and predicted in at:
                    each[at[actual], at[predicted]] = cost
        whole: Floats = (counts.matrix * each).sum(axis=(1, 2))
        return whole / counts.total


def _beyond_chance(counts: Counts) -> tuple[Floats, Floats]:
    """Matthews' correlation coefficient and Cohen's kappa: 0 / 0, and so undefined, if one class is all there is."""
    total, hits, actual, predicted = counts.total, counts.hits, counts.actual, counts.predicted
    square, by_chance = total * total, np.vecdot(actual, predicted)
    spread = (square - np.vecdot(actual, actual)) * (square - np.vecdot(predicted, predicted))
    correlation = (hits * total - by_chance) / np.sqrt(spread)
    kappa = 1 - (total - hits) * total / (square - by_chance)
    return np.maximum(np.minimum(correlation, 1.0), -1.0), kappa
