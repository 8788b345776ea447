"""How well scores rank and how far they can be taken at their word: ROC, precision-recall, calibration.

Per actual class and bin of scores two sums are kept, how many scores there are and what they add up to; all else is
made of those.  A pair of scores in one bin is ranked by its means: see `_ranked_right`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Codes, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import confidence
from exporter.families.bins import Bins, bins_of
from exporter.families.labelled import UNDEFINED, both, twin

ACTUAL = ("negative", "positive")
_LABELS = ("actual", "threshold", "next")
_GAUGES = ("model_roc_auc_ratio", "model_average_precision_ratio", "model_expected_calibration_error_ratio")
_OF_WINDOW = "over the labelled predictions with a score whose label falls into the window; computed each cycle."
_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(6)[at] for at in (0, 1))
_NODES, _WEIGHTS = (_NODES[:, None] + 1) / 2, _WEIGHTS / 2
"""Gauss-Legendre quadrature over 0 to 1."""


class Scores:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *twin("model_score_at_least_total", "Labelled predictions with a score of threshold or more, by whether they "
              "were of the positive class; next is the threshold above, so that a rule can subtract neighbours. By "
              "the lowest threshold's, which counts all: true and false positive rate.", _LABELS),
        *twin("model_score_sum_total", "Sum of the scores from threshold up to next, by whether they were of the "
              "positive class: by their number, the mean score.", _LABELS),
        MetricSpec("model_score_edge", "gauge", "The threshold of the same label, as a number.",
                   ("threshold", "next")),
        MetricSpec("model_roc_auc_ratio", "gauge", "Area under the ROC curve, the chance that a random positive has a "
                   f"higher score than a random negative, from bins and the mean scores in them, {_OF_WINDOW}",
                   ("window",)),
        MetricSpec("model_average_precision_ratio", "gauge", "Precision averaged over recall from 0 to 1, from bins "
                   f"and the mean scores in them, {_OF_WINDOW}", ("window",)),
        MetricSpec("model_expected_calibration_error_ratio", "gauge", "Absolute difference between mean score and "
                   "share of positives in each bin of scores, averaged with the bins' numbers of scores as weights, "
                   f"{_OF_WINDOW}", ("window",)),
        confidence.BOUND,
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = frozenset({"binary"})
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.bins = bins_of(model.score_edges)
        self.size = 4 * self.bins.count if model.score_edges and model.task in self.tasks else 0
        self.positive = positive_code(model)
        self.meaning = repr(model.score_edges)
        self.deviations = confidence.deviations(model.confidence)

    def cells(self, rows: Scored) -> Cells:
        row, score, actual = rows_with_score(rows)
        local = self.bins.of(score) + (actual == self.positive) * self.bins.count
        return Cells(row=row, local=local, more=((local + 2 * self.bins.count, score),))

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        texts = self.bins.texts
        between = [(("threshold", low), ("next", high)) for low, high in itertools.pairwise(texts)]
        pairs = [(("actual", actual), *ends) for actual in ACTUAL for ends in between]
        counters = [*both("model_score_at_least", *pairs), *both("model_score_sum", *pairs)]
        return [*counters, *(Series("model_score_edge", ends) for ends in between)]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names
        out: list[float] = []
        for side in (added, retracted):
            count = side.reshape(2, 2, -1)[0, :, ::-1]
            out += count.cumsum(axis=1)[:, ::-1].ravel().astype(np.int64).tolist()
        half = len(added) // 2
        return [*out, *added[half:].tolist(), *retracted[half:].tolist(), *self.bins.lower.tolist()]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return [*(Series(name) for name in _GAUGES), *confidence.series("roc_auc")]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        (negative, positive), (of_negative, of_positive) = counts.reshape(2, 2, -1)
        negatives, positives = float(negative.sum()), float(positive.sum())
        if not negatives + positives:
            return [UNDEFINED] * (len(_GAUGES) + 2)
        gap = np.abs(of_negative + of_positive - positive)[negative + positive > 0].sum()
        error = min(1.0, float(gap) / (negatives + positives))
        if not positives:
            return [UNDEFINED, UNDEFINED, error, UNDEFINED, UNDEFINED]
        right, tied = _ranked_right(self.bins, counts.reshape(2, 2, -1))
        average = _average_precision(positive[::-1], negative[::-1], right[::-1], tied[::-1]) / positives
        if not negatives:
            return [UNDEFINED, average, error, UNDEFINED, UNDEFINED]
        below = negative.cumsum() - negative
        area = min(1.0, float(positive @ (below + right * negative)) / (positives * negatives))
        rows = confidence.rows_of_area(area, positives, negatives)
        return [area, min(1.0, average), error, *confidence.wilson(area, rows, self.deviations)]


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


def _ranked_right(bins: Bins, sums: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """How likely a positive has the higher score of a pair that shares a bin, and where all scores are the lower edge.

    *sums* has shape (2, 2, bins): counts and sums of scores, of negatives and positives.  With u and v the mean
    scores of positives and negatives as parts of the bin's width, and m halfway between them, it is
    1/2 + (u - v) / 4 m (1 - m): to first order right for densities that rise or fall linearly across the bin (there
    m is near 1/2, and the quotient u - v), and exact for those that decay exponentially from either edge, as they do
    in wide outer bins (m near 0: u / (u + v)).
    """
    counts, scores = sums
    both_there = counts.all(axis=0)
    mean = scores / np.maximum(counts, 1.0)
    v, u = np.clip((mean - bins.lower) / (bins.upper - bins.lower), 0.0, 1.0)
    m = (u + v) / 2
    spread = 4 * m * (1 - m)
    right = 0.5 + (u - v) / np.where(spread > 0, spread, 1.0)
    at_edge = both_there & (m < 1e-9)
    return np.where(both_there & (spread > 1e-9), np.clip(right, 0.0, 1.0), 0.5), at_edge


def _average_precision(positive: Floats, negative: Floats, right: Floats, tied: NDArray[np.bool_]) -> float:
    """The sum of the precision at every positive, from the highest bin down; arrays of shape (bins,).

    From the top of a bin down, a part y of its positives comes with a part y^k of its negatives, where k = right /
    (1 - right) makes the area between them `right`; the precision is integrated over y, and every positive counts
    itself, which is a half more than lie above its middle.  Scores that are all equal (*tied*) come at once.
    """
    used = positive > 0
    alarms = (negative.cumsum() - negative)[used]
    positive, negative, right, tied = positive[used], negative[used], np.clip(right[used], 0.02, 0.98), tied[used]
    hits = positive.cumsum() - positive
    part = np.where(tied, 1.0, _NODES)
    hit = hits + part * positive + np.where(tied, 0.0, 0.5)
    precision = hit / (hit + alarms + part ** (right / (1 - right)) * negative)
    return float(_WEIGHTS @ precision @ positive)
