"""What became of estimates: quality by the time of prediction, beside what was expected of the same predictions.

Estimate minus realised over the same labelled predictions is what a concept drift leaves behind: scores no longer mean
what they did.  A shift of the inputs alone leaves it near 0.  Formulas are those of `estimates`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from operator import sub
from typing import ClassVar, Literal, Self

import numpy as np

from exporter.contracts import Calibration, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families.bins import Bins, bins_of
from exporter.families.estimates import (
    MEASURES,
    expected_classes,
    measures,
    of_positive,
    serves,
    shown,
    since,
    weights,
)
from exporter.families.labelled import UNDEFINED, both, twin
from exporter.families.quality import OUTCOMES
from exporter.families.scores import positive_code, rows_with_score

_COUNTERS = ("model_checked_estimated_outcomes", "model_checked_realised_outcomes")
_ONCE_LABELLED = "for the positive class of the predictions with a score whose label came after calibration was first "


class Realised:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *twin("model_checked_estimated_outcomes_total", f"Expected outcomes (tp, fp, fn, tn; not whole numbers) "
              f"{_ONCE_LABELLED}fitted: sums of calibrated probabilities.", ("class", "outcome")),
        *twin("model_checked_realised_outcomes_total", f"Outcomes (tp, fp, fn, tn) {_ONCE_LABELLED}fitted, by label: "
              "what model_checked_estimated_outcomes_total expected of the same.", ("class", "outcome")),
        MetricSpec("model_realised_ratio", "gauge", "Measure (accuracy, precision, recall, f1, roc_auc) of the "
                   "predictions with a score made inside the window, as far as they are labelled; computed each "
                   "cycle.", ("window", "measure")),
        MetricSpec("model_estimation_error", "gauge", "Estimated minus realised measure, both over the "
                   "predictions with a score made inside the window that are labelled: near 0 while scores mean what "
                   "they meant when calibration was fitted; computed each cycle.", ("window", "measure")),
        MetricSpec("model_window_realised_predictions", "gauge", "Labelled predictions with a score made inside the "
                   "window: what its realised measures and estimation errors rest on.", ("window",)),
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = frozenset({"binary"})
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True
    by_prediction: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.bins = bins_of(model.score_edges)
        self.size = 4 * self.bins.count if serves(model) else 0
        self.positive = positive_code(model)
        self.meaning = repr(model.score_edges)
        self.calibration = Calibration()
        self.weights = _weights(self.bins, self.calibration)

    def calibrated(self, calibration: Calibration) -> Self:
        other = copy.copy(self)
        other.calibration = calibration
        other.weights = _weights(self.bins, calibration)
        return other

    def cells(self, rows: Scored) -> Cells:
        """Cells are by actual class, predicted class (negative first) and bin."""
        row, score, actual = rows_with_score(rows)
        predicted = rows.predicted if row is None else rows.predicted[row]
        block = 2 * (actual == self.positive) + (predicted == self.positive)
        return Cells(row=row, local=self.bins.of(score) + block * self.bins.count)

    def history(self, counts: Floats) -> tuple[Floats, Floats]:
        """Positives and all labelled predictions in each bin of *counts*, whose last axis is cells; (..., bins)."""
        by_actual = counts.reshape(*counts.shape[:-1], 2, 2, -1).sum(axis=-2)
        return by_actual[..., 1, :], by_actual.sum(axis=-2)

    def expected(self, sums: Floats) -> Floats:
        """Expected outcomes, then realised ones; shape (2, 8)."""
        return since(self.calibration, sums, self.weights)

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        return [one for name in _COUNTERS for one in both(name, *of_positive(names, self.positive))]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        expected = self.expected(np.array((added, retracted)))
        sides = [*expected[:, :4], *np.rint(expected[:, 4:]).astype(np.int64)]
        return [value for side in sides for value in shown(names, self.positive, side)]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        gauges = [
            Series(metric, (("measure", measure),))
            for metric in ("model_realised_ratio", "model_estimation_error")
            for measure in MEASURES
        ]
        return [Series("model_window_realised_predictions"), *gauges]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        labelled = int(counts.sum())
        if not labelled:
            return [0, *[UNDEFINED] * (2 * len(MEASURES))]
        negative, positive = counts.reshape(2, 2, -1).sum(axis=1)
        outcomes = counts @ self.weights
        realised = measures(outcomes[4:], positive, negative)
        estimated = measures(outcomes[:4], *expected_classes(self.calibration, positive + negative))
        return [labelled, *realised, *map(sub, estimated, realised)]


def _weights(bins: Bins, calibration: Calibration) -> Floats:
    """What a labelled prediction adds to expected and realised outcomes, by actual class, predicted class and bin."""
    by_class = np.zeros((2, 2, bins.count, 8))
    by_class[..., :4] = weights(bins, calibration).reshape(2, -1, 4)
    for actual, predicted, outcome in ((1, 1, "tp"), (0, 1, "fp"), (1, 0, "fn"), (0, 0, "tn")):
        by_class[actual, predicted, :, 4 + OUTCOMES.index(outcome)] = 1
    return by_class.reshape(-1, 8)
