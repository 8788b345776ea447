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
from exporter.families import agreement, confidence, labelled
from exporter.families.agreement import Agreement, Counts
from exporter.families.labelled import finite, over_classes

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
        self.head = "binary" if binary else "macro"
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
        sides = self._matrices(np.array([added, retracted]), classes)
        hit, predicted, actual = sides.diagonal(axis1=1, axis2=2), sides.sum(axis=1), sides.sum(axis=2)
        outcomes = np.empty((2, classes, len(OUTCOMES)))
        outcomes[:, :, 0], outcomes[:, :, 1], outcomes[:, :, 2] = hit, predicted - hit, actual - hit
        total = actual.sum(axis=1, keepdims=True)
        outcomes[:, :, 3] = total - predicted - outcomes[:, :, 2]
        right, every = hit.sum(axis=1).tolist(), total.ravel().tolist()
        answers = [right[0], every[0] - right[0], right[1], every[1] - right[1]]
        counts = [*answers, *outcomes.ravel().tolist(), *self._folded(sides).ravel().tolist()]
        return [*map(int, counts), *[1] * classes, *self.agreement.cost_values()]

    def _shown(self, classes: Sequence[str]) -> list[str]:
        if len(classes) <= self.shown:
            return list(classes)
        return [*classes[: self.shown], OTHER] if self.shown else []

    def _folded(self, matrices: Floats) -> Floats:
        """The confusion matrices with all classes beyond the shown ones added up into one."""
        if not self.shown:
            return np.empty(0)
        if matrices.shape[1] > self.shown:
            edges = np.arange(self.shown + 1)
            matrices = np.add.reduceat(np.add.reduceat(matrices, edges, axis=1), edges, axis=2)
        return matrices

    def _matrices(self, sums: Floats, classes: int) -> Floats:
        """*sums*, shape (n, size), as matrices of the known *classes*, shape (n, classes, classes)."""
        return sums.reshape(-1, self.classes, self.classes)[:, :classes, :classes]

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
        return self.all_window_values(names, counts[np.newaxis])[0]

    def all_window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[list[float]]:
        classes = names["class"]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = self._gauges(classes, Counts.of(self._matrices(counts, len(classes))))
        rows: list[list[float]] = finite(np.concatenate(columns).T).tolist()
        for row in rows:
            row[0] = int(row[0])
        return rows

    def _gauges(self, classes: Sequence[str], found: Counts) -> list[Floats]:
        """Values in the order of `window_series`, in parts of shape (gauges, windows)."""
        hit, predicted, actual, own = found.hit, found.predicted, found.actual, len(MEASURES)
        one = classes.index(self.positive) if self.positive in classes else None
        pairs = [(hit, predicted), (hit, actual), (2 * hit, found.both), *self.agreement.ratios(found)]
        upper, lower = map(np.array, zip(*pairs, strict=True))
        ratios = upper / lower
        means = dict(zip(("macro", "weighted"), over_classes(ratios, found.there, actual), strict=True))
        means["micro"] = accuracy = found.hits / found.total
        means["binary"] = np.full_like(means["macro"], np.nan) if one is None else ratios[:, :, one]
        averages = np.empty((len(self.averages), *means["macro"].shape))
        for at, average in enumerate(self.averages):
            averages[at] = means[average]
        measures = averages[:, :own].swapaxes(0, 1).reshape(-1, len(accuracy))
        further = averages[[self.averages.index(average) for average in self.agreement.averages], own:]
        sure, rows = np.empty((2, 1 + own, len(accuracy)))
        sure[0], rows[0] = accuracy, found.total
        sure[1:], rows[1:] = means[self.head][:own], self._effective(ratios[:own], found, one)
        bounds = np.array(confidence.wilson(sure, rows, self.deviations))
        return [
            np.array([found.total, accuracy]),
            measures,
            *self.agreement.window_values(classes, found, ratios[own], further.swapaxes(0, 1)),
            bounds.swapaxes(0, 1).reshape(-1, len(accuracy)),
        ]

    def _effective(self, ratios: Floats, found: Counts, one: int | None) -> Floats:
        """Effective rows of the MEASURES that have bounds, shape (measures, windows), from *ratios* of every class."""
        rows_of_f1 = confidence.rows_of_f1(found.hit, found.both)
        rows = np.array([found.predicted, found.actual, rows_of_f1])
        if self.head == "binary":
            return np.zeros(rows.shape[:2]) if one is None else rows[:, :, one]
        effective = confidence.rows_of_mean(ratios, rows, found.there)
        # An error between two classes touches the F1 of both.
        effective[MEASURES.index("f1"), found.there.sum(axis=1) > 1] /= 2
        return effective
