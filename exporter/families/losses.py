"""Log loss and Brier score of labelled predictions that carry the probability of the positive class, or of all.

Definitions are scikit-learn's (`log_loss`, `brier_score_loss`; User Guide 3.4.4.11 and 3.4.4.15): natural logarithm,
probabilities clipped to [eps, 1 - eps] of float64, so that one certain and wrong prediction costs 36 and not infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families.labelled import UNDEFINED, both, twin
from exporter.families.scores import (
    TASKS,
    positive_code,
    rows_with_probabilities,
    rows_with_score,
    scored_classes,
)

COUNTERS = ("model_scored_predictions", "model_log_loss_sum", "model_brier_sum")
_EPS = float(np.finfo(np.float64).eps)
_OF_WINDOW = "over the labelled predictions with a score whose label falls into the window; computed each cycle."


class Losses:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *twin("model_scored_predictions_total", "Labelled predictions that carried a score: what log loss, Brier "
              "score and the curves rest on."),
        *twin("model_log_loss_sum_total", "Sum of -ln(probability given to the true class) over the labelled "
              "predictions with a score; by model_scored_predictions_total it is the log loss."),
        *twin("model_brier_sum_total", "Sum of (score - outcome)^2, the outcome being 1 for the positive class and "
              "else 0, over the labelled predictions with a score (of several classes, summed over them: up to 2); by "
              "model_scored_predictions_total it is the Brier score."),
        MetricSpec("model_log_loss", "gauge", f"Mean of -ln(probability given to the true class), {_OF_WINDOW}",
                   ("window",)),
        MetricSpec("model_brier_score", "gauge", "Mean of (score - outcome)^2, of several classes summed over them, "
                   f"{_OF_WINDOW}", ("window",)),
        MetricSpec("model_window_scored_predictions", "gauge", "Labelled predictions inside the window that carried "
                   "a score: what the measures of scores rest on.", ("window",)),
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = TASKS
    meaning = ""
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.size = len(COUNTERS) if scored_classes(model) else 0
        self.binary = model.task == "binary"
        self.positive = positive_code(model)

    def cells(self, rows: Scored) -> Cells:
        if self.binary:
            row, score, actual = rows_with_score(rows)
            outcome = (actual == self.positive).astype(np.float64)
            # |1 - outcome - score| is the probability of the true class, without a branch per row.
            own, squared = np.abs(1.0 - outcome - score), np.square(score - outcome)
        else:
            row, scores, actual = rows_with_probabilities(rows)
            own = scores[np.arange(len(scores)), actual]
            # the sum of (p - outcome)^2 over the classes, multiplied out
            squared = np.maximum(np.einsum("ij,ij->i", scores, scores) - 2 * own + 1, 0.0)
        loss = np.abs(np.log(np.clip(own, _EPS, 1.0 - _EPS)))
        return Cells(row=row, local=np.zeros(len(own), np.int64), more=((1, loss), (2, squared)))

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return [one for name in COUNTERS for one in both(name, ())]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names
        (count, log_loss, brier), (less, less_log_loss, less_brier) = added.tolist(), retracted.tolist()
        return [int(count), int(less), log_loss, less_log_loss, brier, less_brier]

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return [Series("model_window_scored_predictions"), Series("model_log_loss"), Series("model_brier_score")]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        count, log_loss, brier = counts.tolist()
        if not count:
            return [0, UNDEFINED, UNDEFINED]
        return [int(count), log_loss / count, brier / count]
