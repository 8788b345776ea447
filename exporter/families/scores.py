"""How well scores rank and how far they can be taken at their word: ROC, precision-recall, calibration.

Of two classes, the scores are those of the positive one; of several, each class is held against the rest.  Per class,
outcome and bin of scores two sums are kept, how many scores there are and what they add up to; all else is made of
those.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Codes, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import confidence
from exporter.families.bins import bins_of
from exporter.families.curves import Areas, areas
from exporter.families.labelled import both, finite, over_classes, twin

TASKS = frozenset({"binary", "multiclass"})
ACTUAL = ("negative", "positive")
_LABELS = ("class", "actual", "threshold", "next")
_OF_WINDOW = (
    "over the labelled predictions with scores whose label falls into the window; of several classes, the mean over "
    "those that occur, each against the rest; computed each cycle."
)
_MEASURES = ("roc_auc", "average_precision", "expected_calibration_error")


class Scores:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *twin("model_score_at_least_total", "Labelled predictions that give the class a score of threshold or more, "
              "by whether they were of it; next is the threshold above, so that a rule can subtract neighbours. By "
              "the lowest threshold's, which counts all: true and false positive rate.", _LABELS),
        *twin("model_score_sum_total", "Sum of the class's scores from threshold up to next, by whether they were of "
              "it: by their number, the mean score.", _LABELS),
        MetricSpec("model_score_edge", "gauge", "The threshold of the same label, as a number.",
                   ("threshold", "next")),
        MetricSpec("model_roc_auc_ratio", "gauge", "Area under the ROC curve, the chance that a random positive has a "
                   f"higher score than a random negative, from bins and the mean scores in them, {_OF_WINDOW}",
                   ("window", "average")),
        MetricSpec("model_average_precision_ratio", "gauge", "Precision averaged over recall from 0 to 1, from bins "
                   f"and the mean scores in them, {_OF_WINDOW}", ("window", "average")),
        MetricSpec("model_expected_calibration_error_ratio", "gauge", "Absolute difference between mean score and "
                   "share of positives in each bin of scores, averaged with the bins' numbers of scores as weights, "
                   f"{_OF_WINDOW}", ("window", "average")),
        confidence.BOUND,
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = TASKS
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.bins = bins_of(model.score_edges)
        self.classes = scored_classes(model)
        self.binary = model.task == "binary"
        self.averages = ("binary",) if self.binary else ("macro", "weighted")
        self.size = 4 * len(self.classes) * self.bins.count
        self.positive = positive_code(model)
        self.meaning = repr(model.score_edges)
        self.deviations = confidence.deviations(model.confidence)

    def cells(self, rows: Scored) -> Cells:
        if self.binary:
            row, score, actual = rows_with_score(rows)
            local = self.bins.of(score) + (actual == self.positive) * self.bins.count
            return Cells(row=row, local=local, more=((local + self.size // 2, score),))
        found, scores, actual = rows_with_probabilities(rows)
        classes = np.arange(scores.shape[1])
        side = (actual[:, None] == classes) * len(classes) + classes
        local = self.bins.of(scores.ravel()) + (side * self.bins.count).ravel()
        row = np.repeat(np.arange(len(scores)) if found is None else found, len(classes))
        return Cells(row=row, local=local, more=((local + self.size // 2, scores.ravel()),))

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        between = [(("threshold", low), ("next", high)) for low, high in itertools.pairwise(self.bins.texts)]
        pairs = [
            (("class", name), ("actual", actual), *ends)
            for actual in ACTUAL
            for name in self.classes
            for ends in between
        ]
        counters = [*both("model_score_at_least", *pairs), *both("model_score_sum", *pairs)]
        return [*counters, *(Series("model_score_edge", ends) for ends in between)]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names
        counts, sums = np.array([added, retracted]).reshape(2, 2, -1, self.bins.count).swapaxes(0, 1)
        at_least = counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1].astype(np.int64)
        return [*at_least.ravel().tolist(), *sums.ravel().tolist(), *self.bins.lower.tolist()]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        averaged = [
            Series(f"model_{measure}_ratio", (("average", average),))
            for measure in _MEASURES
            for average in self.averages
        ]
        return [*averaged, *(confidence.series("roc_auc") if self.binary else [])]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        return self.all_window_values(names, counts[np.newaxis])[0]

    def all_window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[list[float]]:
        del names
        sums = counts.reshape(len(counts), 2, 2, len(self.classes), self.bins.count).transpose(1, 2, 0, 3, 4)
        of_windows = self._of_the_one if self.binary else self._means
        with np.errstate(divide="ignore", invalid="ignore"):
            rows: list[list[float]] = finite(of_windows(areas(self.bins, np.ascontiguousarray(sums)))).tolist()
        return rows

    def _of_the_one(self, found: Areas) -> Floats:
        """Values in the order of `window_series`, shape (windows, gauges)."""
        effective = confidence.rows_of_area(found.roc_auc, found.positives, found.negatives)
        bounds = confidence.wilson(found.roc_auc, effective, self.deviations)
        return np.concatenate([*found[2:], *bounds], axis=1)

    def _means(self, found: Areas) -> Floats:
        macro, weighted = over_classes(np.array(found[2:]), found.positives > 0, found.positives)
        macro[2] = found.expected_calibration_error.mean(axis=1)  # a class that does not occur has scores, too
        return np.array([macro, weighted]).swapaxes(0, 1).reshape(-1, macro.shape[1]).T


def scored_classes(model: ModelSpec) -> tuple[str, ...]:
    """The classes whose scores are counted: the positive one of two, or all whose probabilities are remembered."""
    if not model.score_edges or model.task not in TASKS:
        return ()
    if model.task == "binary":
        return (model.positive or "",)
    return model.classes[: model.probabilities]


def positive_code(model: ModelSpec) -> int:
    """The code of the positive class; where no classes are declared, it is the first that is known."""
    return model.classes.index(model.positive) if model.positive in model.classes else 0


def rows_with_score(rows: Scored) -> tuple[NDArray[np.intp] | None, Floats, Codes]:
    """The rows that carry a score (None: all), their scores and their true classes."""
    absent = np.isnan(rows.score)
    if not absent.any():
        return None, rows.score, rows.actual
    row = np.flatnonzero(~absent)
    return row, rows.score[row], rows.actual[row]


def rows_with_probabilities(rows: Scored) -> tuple[NDArray[np.intp] | None, Floats, Codes]:
    """The rows that carry probabilities of all classes (None: all), those, shape (n, classes), and true classes."""
    assert rows.made is not None  # noqa: S101 - the layout of a model with probabilities has it
    probabilities: Floats = np.ascontiguousarray(rows.made["probabilities"])
    there = ~np.isnan(probabilities[:, 0]) & (rows.actual < probabilities.shape[1])
    if there.all():
        return None, probabilities, rows.actual
    row = np.flatnonzero(there)
    return row, probabilities[row], rows.actual[row]
