"""Accuracy, precision, recall and F1 from one matrix of counts: actual class by predicted class.

Definitions are scikit-learn's (User Guide 3.4.4, `precision_recall_fscore_support`): per class against the rest,
averaged as `binary` (the positive class alone), `micro`, `macro` or `weighted` by support, over the classes that
occur in the window.  Where scikit-learn warns that a value is ill-defined and answers 0, ours is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import truediv
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import CLASSIFICATION, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import agreement, confidence, labelled
from exporter.families.agreement import Agreement, Counts
from exporter.families.labelled import UNDEFINED, mean_ratio

OUTCOMES = ("tp", "fp", "fn", "tn")
MEASURES = ("precision", "recall", "f1")
OTHER = "other"

_Ratio = tuple[list[float], list[float]]


class Quality:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *labelled.LABELLED,
        *labelled.OUTCOMES,
        *labelled.twin("model_confusion_total", "Labelled predictions by actual and by predicted class.",
                       ("actual", "predicted")),
        MetricSpec("model_class_info", "gauge", "Known classes; positive says which one binary measures are about.",
                   ("class", "positive")),
        labelled.ACCURACY,
        labelled.PRECISION,
        labelled.RECALL,
        labelled.F1,
        labelled.IN_WINDOW,
        *agreement.SPECS,
        confidence.BOUND,
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    meaning = ""
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.classes = model.capacity
        self.size = self.classes**2 if model.task in self.tasks else 0
        self.positive = model.positive
        self.shown = model.confusion_classes
        binary = ("binary",) if model.task == "binary" else ()
        self.averages = (*binary, "micro", "macro", "weighted")
        self.agreement = Agreement(model)
        self.deviations = confidence.deviations(model.confidence)

    def cells(self, rows: Scored) -> Cells:
        local = rows.actual.astype(np.int64) * self.classes + rows.predicted
        return Cells(row=None, local=local)

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        classes = names["class"]
        shown = self._shown(classes)
        labels: list[tuple[str, list[tuple[tuple[str, str], ...]]]] = [
            ("model_labelled_predictions", [(("correct", word),) for word in ("true", "false")]),
            ("model_outcomes", [(("class", c), ("outcome", o)) for c in classes for o in OUTCOMES]),
            ("model_confusion", [(("actual", a), ("predicted", p)) for a in shown for p in shown]),
        ]
        counters = [one for name, all_pairs in labels for one in labelled.both(name, *all_pairs)]
        positive = self.positive if "binary" in self.averages else None
        infos = [(("class", c), ("positive", "true" if c == positive else "false")) for c in classes]
        return [*counters, *(Series("model_class_info", pairs) for pairs in infos), *self.agreement.cost_series()]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        classes = len(names["class"])
        sides = np.stack([self._matrix(side, classes) for side in (added, retracted)])
        hit, predicted, actual = sides.diagonal(axis1=1, axis2=2), sides.sum(axis=1), sides.sum(axis=2)
        right, total = hit.sum(axis=1), actual.sum(axis=1)
        negative = total[:, np.newaxis] - actual
        outcomes = [hit, predicted - hit, actual - hit, negative - predicted + hit]
        parts = [np.stack([right, total - right], axis=1), np.stack(outcomes, axis=2), *map(self._folded, sides)]
        counts = np.concatenate(parts, axis=None).astype(np.int64)
        return [*counts.tolist(), *[1] * classes, *self.agreement.cost_values()]

    def _shown(self, classes: Sequence[str]) -> list[str]:
        if len(classes) <= self.shown:
            return list(classes)
        return [*classes[: self.shown], OTHER] if self.shown else []

    def _folded(self, matrix: Floats) -> Floats:
        """The confusion matrix with all classes beyond the shown ones added up into one."""
        if not self.shown:
            return np.empty(0)
        if len(matrix) > self.shown:
            edges = np.arange(self.shown + 1)
            matrix = np.add.reduceat(np.add.reduceat(matrix, edges, axis=0), edges, axis=1)
        return matrix.ravel()

    def _matrix(self, sums: Floats, classes: int) -> Floats:
        return sums.reshape(self.classes, self.classes)[:classes, :classes]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        averaged = [
            Series(f"model_{measure}_ratio", (("average", average),))
            for measure in MEASURES
            for average in self.averages
        ]
        return [
            Series("model_window_labelled_predictions"),
            Series("model_accuracy_ratio"),
            *averaged,
            *self.agreement.window_series(),
            *confidence.series("accuracy", *MEASURES),
        ]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        classes = names["class"]
        one = classes.index(self.positive) if self.positive in classes else None
        found = Counts.of(self._matrix(counts, len(classes)), one)
        if not found.total:
            return [0, *[UNDEFINED] * (len(self.window_series(names)) - 1)]
        accuracy = math.fsum(found.hit) / found.total
        every = _ratios(found.hit, found.predicted, found.actual)
        averages = {
            "micro": [accuracy] * len(MEASURES),
            "macro": [mean_ratio(*parts) for parts in every],
            "weighted": [mean_ratio(*parts, found.actual) for parts in every],
        }
        binary = "binary" in self.averages
        classes_of = found.averaged_over(binary=binary)
        heads = _ratios(*classes_of) if binary else every
        if binary:
            averages["binary"] = [mean_ratio(*parts) for parts in heads]
        by_measure = zip(*(averages[average] for average in self.averages), strict=True)
        return [
            int(found.total),
            accuracy,
            *(value for values in by_measure for value in values),
            *self.agreement.window_values(classes, found),
            *confidence.wilson(accuracy, found.total, self.deviations),
            *self._bounds(averages["binary" if binary else "macro"], heads, classes_of),
        ]

    def _bounds(self, means: list[float], ratios: list[_Ratio], classes: tuple[list[float], ...]) -> list[float]:
        """Lower and upper bounds of the *means* of the MEASURES, which are the *ratios* of these *classes*."""
        _, predicted, actual = classes
        rows = (predicted, actual, list(map(confidence.rows_of_f1, *classes)))
        out: list[float] = []
        for measure, mean, (upper, lower), of_classes in zip(MEASURES, means, ratios, rows, strict=True):
            effective = 0.0
            if not math.isnan(mean):
                effective = confidence.rows_of_mean(list(map(truediv, upper, lower)), of_classes)
            if measure == "f1" and len(upper) > 1:
                effective /= 2  # an error between two classes touches the F1 of both
            out += confidence.wilson(mean, effective, self.deviations)
        return out


def _ratios(hit: list[float], predicted: list[float], actual: list[float]) -> list[_Ratio]:
    """What is divided by what for each of MEASURES, from tp, tp + fp and tp + fn of classes."""
    both = [p + a for p, a in zip(predicted, actual, strict=True)]
    return [(hit, predicted), (hit, actual), ([2 * h for h in hit], both)]
