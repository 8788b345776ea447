"""Accuracy, precision, recall and F1 from one matrix of counts: actual class by predicted class.

Definitions are scikit-learn's (User Guide 3.4.4, `precision_recall_fscore_support`): per class against the rest,
averaged as `binary` (the positive class alone), `micro`, `macro` or `weighted` by support, over the classes that
occur in the window.  Where scikit-learn warns that a value is ill-defined and answers 0, ours is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import CLASSIFICATION, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import agreement, confidence, labelled
from exporter.families.agreement import Agreement, Counts, divided
from exporter.families.labelled import UNDEFINED, mean_ratio

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
        sides = [self._matrix(side, classes) for side in (added, retracted)]
        parts = [_correct(side) for side in sides]
        parts += [_outcomes(side) for side in sides]
        parts += [self._folded(side) for side in sides]
        counts = (count for part in parts for count in part.astype(np.int64).tolist())
        return [*counts, *[1] * classes, *self.agreement.cost_values()]

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
        found = Counts.of(self._matrix(counts, len(classes)))
        if not found.total:
            return [0, *[UNDEFINED] * (len(self.window_series(names)) - 1)]
        accuracy = float(found.hit.sum()) / found.total
        one = classes.index(self.positive) if self.positive in classes else None
        measures = {
            "precision": (found.hit, found.predicted),
            "recall": (found.hit, found.actual),
            "f1": (2 * found.hit, found.predicted + found.actual),
        }
        averaged = [self._averaged(found, one, accuracy, *measure) for measure in measures.values()]
        head = "binary" if "binary" in self.averages else "macro"
        heads = {name: values[head] for name, values in zip(measures, averaged, strict=True)}
        return [
            int(found.total),
            accuracy,
            *(value for values in averaged for value in values.values()),
            *self.agreement.window_values(classes, found, one),
            *self._bounds(found, one, {"accuracy": accuracy, **heads}),
        ]

    def _averaged(
        self, found: Counts, one: int | None, accuracy: float, upper: Floats, lower: Floats
    ) -> dict[str, float]:
        """upper / lower by average; micro averages of all these are the accuracy."""
        here = (found.predicted + found.actual) > 0
        values = {
            "micro": accuracy,
            "macro": mean_ratio(upper[here], lower[here]),
            "weighted": mean_ratio(upper[here], lower[here], found.actual[here]),
        }
        if "binary" not in self.averages:
            return values
        return {"binary": UNDEFINED if one is None else divided(upper[one], lower[one]), **values}

    def _bounds(self, found: Counts, one: int | None, heads: Mapping[str, float]) -> list[float]:
        """Lower and upper bounds of accuracy and of each measure of the positive class, or else of all classes."""
        here = np.flatnonzero((found.predicted + found.actual) > 0)
        if "binary" in self.averages:
            here = np.array([] if one is None else [one], np.intp)
        hit, predicted, actual = found.hit[here], found.predicted[here], found.actual[here]
        out = [*confidence.wilson(heads["accuracy"], found.total, self.deviations)]
        parts = {
            "precision": (hit, predicted, predicted),
            "recall": (hit, actual, actual),
            "f1": (2 * hit, predicted + actual, confidence.rows_of_f1(hit, predicted, actual)),
        }
        for measure, (upper, lower, rows) in parts.items():
            effective = 0.0
            if not math.isnan(heads[measure]):
                effective = confidence.rows_of_mean(upper / lower, rows)
            if measure == "f1" and len(here) > 1:
                effective /= 2  # an error between two classes touches the F1 of both
            out += confidence.wilson(heads[measure], effective, self.deviations)
        return out


def _correct(matrix: Floats) -> Floats:
    hit = matrix.trace()
    return np.array([hit, matrix.sum() - hit])


def _outcomes(matrix: Floats) -> Floats:
    """tp, fp, fn and tn of every class, flat."""
    hit = matrix.diagonal()
    false_positive, false_negative = matrix.sum(axis=0) - hit, matrix.sum(axis=1) - hit
    rest = matrix.sum() - hit - false_positive - false_negative
    return np.stack([hit, false_positive, false_negative, rest], axis=1).ravel()
