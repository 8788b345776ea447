"""Further measures of one matrix of counts: what a false alarm or a miss costs, agreement beyond chance.

Definitions are scikit-learn's (User Guide 3.4.4): `fbeta_score`, `balanced_accuracy_score`, `matthews_corrcoef` and
`cohen_kappa_score`; specificity is the recall of all other classes.  Where scikit-learn answers 0 for what is
undefined, such as the correlation with a constant, ours is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Self

from exporter.contracts import Floats, MetricSpec, ModelSpec, Series
from exporter.families.labelled import UNDEFINED, averaged, mean_ratio


@dataclass(frozen=True, slots=True)
class Counts:
    """A matrix of counts, actual class by predicted class, shape (k, k), and its sums.

    `hit`, `predicted` and `actual` are of the classes that occur, in their order, and `one` of the class that binary
    measures are about, whether it occurs or not; None if that is not known yet.  They are lists, because arithmetic
    with the few numbers of a window takes numpy several times as long.
    """

    matrix: Floats
    total: float
    hit: list[float]
    predicted: list[float]
    actual: list[float]
    one: tuple[float, float, float] | None

    @classmethod
    def of(cls, matrix: Floats, one: int | None) -> Self:
        """The counts of *matrix*; *one* is the place of the class that binary measures are about."""
        hit, predicted, actual = matrix.diagonal().tolist(), matrix.sum(axis=0).tolist(), matrix.sum(axis=1).tolist()
        of_one = None if one is None else (hit[one], predicted[one], actual[one])
        occur = [at for at, (p, a) in enumerate(zip(predicted, actual, strict=True)) if p + a > 0]
        if len(occur) < len(hit):
            hit, predicted, actual = ([part[at] for at in occur] for part in (hit, predicted, actual))
        return cls(matrix, math.fsum(actual), hit, predicted, actual, of_one)

    def averaged_over(self, *, binary: bool) -> tuple[list[float], list[float], list[float]]:
        """hit, predicted and actual of the classes that averages are over: of the one, or of all that occur."""
        if not binary:
            return self.hit, self.predicted, self.actual
        if self.one is None:
            return [], [], []
        hit, predicted, actual = self.one
        return [hit], [predicted], [actual]


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

    def window_values(self, classes: Sequence[str], counts: Counts) -> list[float]:
        """Values in the order of `window_series`, of counts of which there are some."""
        total = counts.total
        hit, predicted, actual = counts.averaged_over(binary=self.averages == ("binary",))
        negatives = [total - a for a in actual]
        true_negatives = [n - p + h for n, p, h in zip(negatives, predicted, hit, strict=True)]
        specificity = self._averaged(true_negatives, negatives, actual)
        recall = self._averaged(hit, actual, actual)
        rates = [*specificity, *(1 - ratio for ratio in specificity), *(1 - ratio for ratio in recall)]
        betas: list[float] = []
        for square in (beta**2 for beta in self.betas):
            lower = [square * a + p for a, p in zip(actual, predicted, strict=True)]
            betas += self._averaged([(1 + square) * h for h in hit], lower, actual)
        cost = [self._cost(classes, counts)] if self.costs else []
        return [*rates, *betas, _balanced_accuracy(counts), *_beyond_chance(counts), *cost]

    def _averaged(self, upper: Sequence[float], lower: Sequence[float], weights: Sequence[float]) -> list[float]:
        macro = mean_ratio(upper, lower)
        return [macro] if len(self.averages) == 1 else [macro, mean_ratio(upper, lower, weights)]

    def _cost(self, classes: Sequence[str], counts: Counts) -> float:
        at = {name: place for place, name in enumerate(classes)}
        known = [
            (at[actual], at[predicted], cost)
            for actual, costs in self.costs.items()
            for predicted, cost in costs.items()
            if actual in at and predicted in at
        ]
        return math.fsum(counts.matrix[actual, predicted] * cost for actual, predicted, cost in known) / counts.total


def _balanced_accuracy(counts: Counts) -> float:
    there = [(h, a) for h, a in zip(counts.hit, counts.actual, strict=True) if a]
    return math.fsum(h / a for h, a in there) / len(there)


def _beyond_chance(counts: Counts) -> tuple[float, float]:
    """Matthews' correlation coefficient and Cohen's kappa."""
    hits, square = math.fsum(counts.hit), counts.total**2
    by_chance = _product(counts.actual, counts.predicted)
    spread = math.prod(square - _product(sums, sums) for sums in (counts.actual, counts.predicted))
    correlation = (hits * counts.total - by_chance) / math.sqrt(spread) if spread > 0 else UNDEFINED
    disagreement = square - by_chance
    kappa = 1 - (counts.total - hits) * counts.total / disagreement if disagreement > 0 else UNDEFINED
    return min(1.0, max(-1.0, correlation)) if spread > 0 else UNDEFINED, kappa


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(map(mul, one, other))
