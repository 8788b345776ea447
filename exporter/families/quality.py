"""Accuracy, precision, recall and F1 from one matrix of counts: actual class by predicted class.

Definitions are scikit-learn's (User Guide 3.4.4, `precision_recall_fscore_support`): per class against the rest,
averaged as `binary` (the positive class alone), `micro`, `macro` or `weighted` by support, over the classes that
occur in the window.  Where scikit-learn warns that a value is ill-defined and answers 0, ours is undefined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import CLASSIFICATION, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import labelled
from exporter.families.labelled import UNDEFINED

OUTCOMES = ("tp", "fp", "fn", "tn")
MEASURES = ("precision", "recall", "f1")
OTHER = "other"


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
        return counters + [Series("model_class_info", pairs) for pairs in infos]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        classes = len(names["class"])
        sides = [self._matrix(side, classes) for side in (added, retracted)]
        parts = [_correct(side) for side in sides]
        parts += [_outcomes(side) for side in sides]
        parts += [self._folded(side) for side in sides]
        return [*(count for part in parts for count in part.astype(np.int64).tolist()), *[1] * classes]

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
        return [Series("model_window_labelled_predictions"), Series("model_accuracy_ratio"), *averaged]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        classes = names["class"]
        matrix = self._matrix(counts, len(classes))
        total = float(matrix.sum())
        if not total:
            return [0, *[UNDEFINED] * (1 + len(MEASURES) * len(self.averages))]
        hit, predicted, actual = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
        accuracy = float(hit.sum()) / total
        here = (predicted + actual) > 0
        per_class = {
            "precision": (hit, predicted),
            "recall": (hit, actual),
            "f1": (2 * hit, predicted + actual),
        }
        averaged: list[float] = []
        for upper, lower in per_class.values():
            for average in self.averages:
                if average == "binary":
                    averaged.append(self._of_positive(classes, upper, lower))
                elif average == "micro":
                    averaged.append(accuracy)
                else:
                    weights = actual[here] if average == "weighted" else None
                    averaged.append(mean_ratio(upper[here], lower[here], weights))
        return [int(total), accuracy, *averaged]

    def _of_positive(self, classes: Sequence[str], upper: Floats, lower: Floats) -> float:
        if self.positive not in classes:
            return UNDEFINED
        at = classes.index(self.positive)
        return float(upper[at] / lower[at]) if lower[at] else UNDEFINED


def mean_ratio(upper: Floats, lower: Floats, weights: Floats | None) -> float:
    """The mean of upper / lower over classes; undefined without any, and as soon as it is for one class."""
    if not len(lower) or not lower.all() or (weights is not None and not weights.sum()):
        return UNDEFINED
    ratio = upper / lower
    return float(ratio.mean() if weights is None else ratio @ weights / weights.sum())


def _correct(matrix: Floats) -> Floats:
    hit = matrix.trace()
    return np.array([hit, matrix.sum() - hit])


def _outcomes(matrix: Floats) -> Floats:
    """tp, fp, fn and tn of every class, flat."""
    hit = matrix.diagonal()
    false_positive, false_negative = matrix.sum(axis=0) - hit, matrix.sum(axis=1) - hit
    rest = matrix.sum() - hit - false_positive - false_negative
    return np.stack([hit, false_positive, false_negative, rest], axis=1).ravel()
