"""Errors of predicted numbers: sums from which PromQL gives MAE, MSE, RMSE, R2, MAPE, bias and pinball loss.

Definitions are scikit-learn's (User Guide 3.4.6).  The error of a prediction is predicted - actual: where it is
positive the model was `over`, else `under`.  The sums of both sides give more than one measure each:

    mean absolute error   (over + under) / n
    bias                  (over - under) / n
    pinball loss of q     (q under + (1 - q) over) / n

R2 = 1 - SSE / SST with SST = S2 - S1^2 / n, where S1 and S2 are the sums of (y - c) and (y - c)^2, and c is the
configured `center`.  The center is one number for all replicas and versions, so that their sums add up.  SST cannot
be told from 0 where it is less than 1e-9 of S2: R2 is undefined then, as it is for a constant target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import ANY, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import labelled
from exporter.families.labelled import UNDEFINED, both, twin

CONSTANT = 1e-9
"""The share of S2 under which SST is taken for 0."""

_EPSILON = float(np.finfo(np.float64).eps)
_COUNT, _OVER, _UNDER, _SQUARED, _RATIO, _ZERO, _ABOVE, _BELOW, _SPREAD = range(9)
_RESIDUALS = 9
"""Where the cells of the histogram begin: one for each bucket, one for all that is larger."""


def _gauge(name: str, formula: str, labels: tuple[str, ...] = ()) -> MetricSpec:
    text = f"{formula}, over the labelled predictions whose label falls into the window; computed each cycle."
    return MetricSpec(f"model_{name}", "gauge", text, ("window", *labels))


class Regression:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *labelled.LABELLED,
        *twin("model_absolute_error_sum_total", "Sum of abs(predicted - actual) over labelled predictions, by "
              "direction: over (predicted > actual) or under. Divided by their number, over + under is the mean "
              "absolute error, "
              "over - under the bias, q under + (1 - q) over the pinball loss of quantile q.", ("direction",)),
        *twin("model_squared_error_sum_total", "Sum of (predicted - actual)^2 over labelled predictions; over their "
              "number it is the mean squared error."),
        *twin("model_absolute_percentage_error_sum_total", "Sum of abs(predicted - actual) / abs(actual) over "
              "labelled predictions whose actual value is not 0."),
        *twin("model_zero_targets_total", "Labelled predictions whose actual value is 0: without a percentage error."),
        *twin("model_target_deviation_sum_total", "Sum of abs(actual - center) over labelled predictions, by side of "
              "the center: above or below; their difference is S1 of R2.", ("side",)),
        *twin("model_target_squared_deviation_sum_total", "Sum of (actual - center)^2 over labelled predictions, S2 "
              "of R2 = 1 - squared errors / (S2 - S1^2 / labelled predictions)."),
        MetricSpec("model_target_center", "gauge", "The configured center of target deviations: their sums only add "
                   "up over replicas and versions that have the same."),
        *twin("model_residuals_total", "Labelled predictions whose residual actual - predicted is at most "
              "`at_most`: a cumulative histogram. As `le` is kept for histograms, which have no negative buckets, "
              "copy the label to le for histogram_quantile.", ("at_most",)),
        _gauge("mean_absolute_error", "Mean of abs(predicted - actual)"),
        _gauge("mean_squared_error", "Mean of (predicted - actual)^2"),
        _gauge("root_mean_squared_error", "Root of the mean of (predicted - actual)^2"),
        _gauge("bias", "Mean of predicted - actual: above 0 the model predicts too much"),
        _gauge("r2_score", "1 - sum of (predicted - actual)^2 / sum of (actual - mean actual)^2, absent for a "
               "constant target"),
        _gauge("mean_absolute_percentage_error", "Mean of abs(predicted - actual) / abs(actual), absent "
               "with a zero target"),
        _gauge("mean_pinball_loss", "Mean of q (actual - predicted) where that is positive, else of (1 - q) "
               "(predicted - actual), for q = alpha", ("alpha",)),
        labelled.IN_WINDOW,
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.bounds = np.array(model.regression.residual_buckets)
        self.quantiles = model.regression.quantiles
        self.center = model.regression.center
        self.meaning = repr((model.regression.residual_buckets, self.center))
        self.size = _RESIDUALS + len(self.bounds) + bool(len(self.bounds)) if model.task in self.tasks else 0

    def cells(self, rows: Scored) -> Cells:
        actual, predicted = _pairs(rows)
        error, deviation = predicted - actual, actual - self.center
        zero = actual == 0
        weights = {
            _OVER: np.maximum(error, 0.0),
            _UNDER: np.maximum(-error, 0.0),
            _SQUARED: error * error,
            _RATIO: np.where(zero, 0.0, np.abs(error) / np.maximum(np.abs(actual), _EPSILON)),
            _ABOVE: np.maximum(deviation, 0.0),
            _BELOW: np.maximum(-deviation, 0.0),
            _SPREAD: deviation * deviation,
            _COUNT: np.ones(len(rows)),
            _ZERO: zero.astype(np.float64),
        }
        locals_ = [np.full(len(rows), local) for local in weights]
        columns = list(weights.values())
        if len(self.bounds):
            locals_.append(_RESIDUALS + np.searchsorted(self.bounds, -error, side="left"))
            columns.append(weights[_COUNT])
        return Cells(
            row=np.tile(np.arange(len(rows)), len(columns)),
            local=np.concatenate(locals_).astype(np.int64),
            weight=np.concatenate(columns),
        )

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        bounds = [repr(bound) for bound in self.bounds.tolist()] + ["+Inf"] if len(self.bounds) else []
        return [
            *both("model_labelled_predictions", (("correct", ANY),)),
            *both("model_absolute_error_sum", (("direction", "over"),), (("direction", "under"),)),
            *both("model_squared_error_sum", ()),
            *both("model_absolute_percentage_error_sum", ()),
            *both("model_zero_targets", ()),
            *both("model_target_deviation_sum", (("side", "above"),), (("side", "below"),)),
            *both("model_target_squared_deviation_sum", ()),
            *both("model_residuals", *((("at_most", bound),) for bound in bounds)),
            Series("model_target_center"),
        ]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names
        out: list[float] = []
        sides = [side.tolist() for side in (added, retracted)]
        for cells in ((_COUNT,), (_OVER, _UNDER), (_SQUARED,), (_RATIO,), (_ZERO,), (_ABOVE, _BELOW), (_SPREAD,)):
            whole = cells[0] in {_COUNT, _ZERO}
            out += [int(side[at]) if whole else side[at] for side in sides for at in cells]
        for side in (added, retracted):
            out += np.cumsum(side[_RESIDUALS:]).astype(np.int64).tolist()
        return [*out, self.center]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return [
            Series("model_window_labelled_predictions"),
            Series("model_mean_absolute_error"),
            Series("model_mean_squared_error"),
            Series("model_root_mean_squared_error"),
            Series("model_bias"),
            Series("model_r2_score"),
            Series("model_mean_absolute_percentage_error"),
            *(Series("model_mean_pinball_loss", (("alpha", repr(q)),)) for q in self.quantiles),
        ]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        sums: list[float] = counts[:_RESIDUALS].tolist()
        total = sums[_COUNT]
        if not total:
            return [0, *[UNDEFINED] * (6 + len(self.quantiles))]
        over, under, squared = sums[_OVER], sums[_UNDER], max(0.0, sums[_SQUARED])
        return [
            int(total),
            (over + under) / total,
            squared / total,
            (squared / total) ** 0.5,
            (over - under) / total,
            _r2(total, squared, sums[_ABOVE] - sums[_BELOW], sums[_SPREAD]),
            UNDEFINED if sums[_ZERO] else sums[_RATIO] / total,
            *((q * under + (1 - q) * over) / total for q in self.quantiles),
        ]


def _pairs(rows: Scored) -> tuple[Floats, Floats]:
    """Actual and predicted values, shape (n,) each."""
    assert rows.truth is not None  # noqa: S101 - the layout of a regression has it
    return np.ascontiguousarray(rows.truth["value"]), rows.score


def _r2(total: float, squared: float, deviation: float, spread: float) -> float:
    """1 - SSE / SST; undefined where the target is constant, or nearly so for its distance from the center."""
    around = spread - deviation * deviation / total
    return 1 - squared / around if around > CONSTANT * spread else UNDEFINED
