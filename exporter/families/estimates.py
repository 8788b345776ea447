"""Quality before labels come: what is expected of predictions whose scores are calibrated probabilities.

Confidence-based performance estimation (CBPE, as NannyML documents it under "Estimation of performance of the
monitored model"): of a prediction whose calibrated probability of the positive class is p, p of a positive and 1 - p
of a negative is expected.  Added up over all predictions, that is an expected confusion matrix, and every measure
that is made of one.  It holds as long as scores mean what they meant when calibration was fitted: of new inputs it
tells what they cost, of a change in what is true it knows nothing.  That is what `realised` is for.

Predictions are counted by bin of scores, and bins are weighed when a value is asked for, so that a new fit speaks of
all that a window holds, and costs nothing per prediction.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import FITS, Calibration, Cells, Floats, MetricSpec, ModelSpec, Series, Traffic
from exporter.families.bins import Bins, bins_of
from exporter.families.labelled import UNDEFINED, divided
from exporter.families.quality import OUTCOMES
from exporter.families.scores import positive_code

MEASURES = ("accuracy", "precision", "recall", "f1", "roc_auc")
_OF_WINDOW = (
    "expected of the predictions with a score made inside the window, labelled or not, by calibrated probabilities "
    "(CBPE, see NannyML's documentation); computed each cycle."
)
_FORMULAS = {
    "accuracy": "Share of right predictions",
    "precision": "tp / (tp + fp)",
    "recall": "tp / (tp + fn)",
    "f1": "2 tp / (2 tp + fp + fn)",
    "roc_auc": "Area under the ROC curve",
}


class Estimates:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec("model_estimated_outcomes_total", "counter",
                   "Expected outcomes (tp, fp, fn, tn; not whole numbers) for the positive class of all predictions "
                   "with a score since calibration was first fitted, labelled or not: sums of calibrated "
                   "probabilities.", ("class", "outcome")),
        MetricSpec("model_calibration_fits_total", "counter", "Fits of calibration by how they ended: fitted, "
                   "crashed, timeout, invalid (an answer that is no calibration).", ("result",)),
        MetricSpec("model_calibration_labelled_predictions", "gauge", "Labelled predictions that the calibration in "
                   "use was fitted to; 0 before the first fit."),
        MetricSpec("model_calibration_timestamp_seconds", "gauge", "Event time of the newest label that the "
                   "calibration in use was fitted to."),
        *(MetricSpec(f"model_estimated_{measure}_ratio", "gauge", f"{formula}, {_OF_WINDOW}", ("window",))
          for measure, formula in _FORMULAS.items()),
        MetricSpec("model_window_estimated_predictions", "gauge", "Predictions with a score made inside the window: "
                   "what its estimates rest on.", ("window",)),
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = frozenset({"binary"})
    feed: ClassVar[Literal["traffic", "scored"]] = "traffic"
    windowed: ClassVar[bool] = True
    by_prediction: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.bins = bins_of(model.score_edges)
        self.size = 2 * self.bins.count if serves(model) else 0
        self.positive = positive_code(model)
        self.meaning = repr(model.score_edges)
        self.calibration = Calibration()
        self.weights = weights(self.bins, self.calibration)

    def calibrated(self, calibration: Calibration) -> Self:
        other = copy.copy(self)
        other.calibration = calibration
        other.weights = weights(self.bins, calibration)
        return other

    def cells(self, rows: Traffic) -> Cells:
        counted = ~np.isnan(rows.score) & (rows.error < 0)
        row = None if counted.all() else np.flatnonzero(counted)
        score, predicted = (rows.score, rows.predicted) if row is None else (rows.score[row], rows.predicted[row])
        return Cells(row=row, local=self.bins.of(score) + (predicted == self.positive) * self.bins.count)

    def expected(self, sums: Floats) -> Floats:
        return since(self.calibration, sums, self.weights)

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        expected = [Series("model_estimated_outcomes_total", pairs) for pairs in of_positive(names, self.positive)]
        fits = [Series("model_calibration_fits_total", (("result", result),)) for result in FITS]
        about = [Series("model_calibration_labelled_predictions"), Series("model_calibration_timestamp_seconds")]
        return [*expected, *fits, *about]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        known = self.calibration
        counts, _ = self.expected(np.array((added, retracted)))  # a prediction is never taken back
        newest = known.newest if known.labelled else UNDEFINED
        fits = [known.fits.get(result, 0) for result in FITS]
        return [*shown(names, self.positive, counts), *fits, known.labelled, newest]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        gauges = [Series(f"model_estimated_{measure}_ratio") for measure in MEASURES]
        return [Series("model_window_estimated_predictions"), *gauges]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        made = counts.reshape(2, -1).sum(axis=0)
        total = int(made.sum())
        if not total:
            return [0, *[UNDEFINED] * len(MEASURES)]
        return [total, *measures(counts @ self.weights, *expected_classes(self.calibration, made))]


def serves(model: ModelSpec) -> bool:
    """Whether predictions carry probabilities of which estimates are wanted."""
    return bool(model.score_edges) and model.estimates is not None and model.task == "binary"


def of_positive(names: Mapping[str, Sequence[str]], positive: int) -> list[tuple[tuple[str, str], ...]]:
    """Labels of the outcomes of the positive class, once it is known."""
    return [(("class", name), ("outcome", outcome)) for name in names["class"][positive:][:1] for outcome in OUTCOMES]


def shown(names: Mapping[str, Sequence[str]], positive: int, counts: NDArray[Any]) -> list[float]:
    """The values of what `of_positive` labels."""
    return list(counts.tolist()) if len(names["class"]) > positive else []


def weights(bins: Bins, calibration: Calibration) -> Floats:
    """What a prediction adds to the expected OUTCOMES, by predicted class (negative first) and bin.

    Shape (2 * bins, 4); NaN before the first fit.  None is negative, and nothing is ever taken off: rounding alone
    would let a counter fall, which is a restart to Prometheus.
    """
    probability = np.full(bins.count, np.nan) if calibration.probability is None else calibration.probability
    by_class = np.zeros((2, bins.count, len(OUTCOMES)))
    for predicted, actual, outcome in ((1, 1, "tp"), (1, 0, "fp"), (0, 1, "fn"), (0, 0, "tn")):
        by_class[predicted, :, OUTCOMES.index(outcome)] = probability if actual else 1 - probability
    return by_class.reshape(-1, len(OUTCOMES))


def since(calibration: Calibration, sums: Floats, weights: Floats) -> Floats:
    """What all fits together expected of *sums*, added and retracted; shapes (2, cells), (cells, k) and (2, k).

    Each fit speaks of what came while it was in use, so that a counter never falls when a new one comes.
    """
    if calibration.sums is None or calibration.before is None:
        return np.zeros((2, weights.shape[1]))
    expected: Floats = calibration.before + (sums - calibration.sums) @ weights
    return expected


def expected_classes(calibration: Calibration, made: Floats) -> tuple[Floats, Floats]:
    """Positives and negatives expected of *made* predictions by bin; shapes (bins,), NaN before the first fit."""
    if calibration.probability is None:
        return np.full_like(made, np.nan), np.full_like(made, np.nan)
    positive = made * calibration.probability
    return positive, made - positive


def measures(outcomes: Floats, positive: Floats, negative: Floats) -> list[float]:
    """The MEASURES of OUTCOMES, and of positives and negatives by bin, shapes (4,) and (bins,); UNDEFINED where so.

    Pairs that share a bin count one half for the area under the ROC curve.
    """
    tp, fp, fn, tn = outcomes.tolist()
    ranked = float(positive @ (negative.cumsum() - negative / 2))
    return [
        _ratio(tp + tn, tp + fp + fn + tn),
        _ratio(tp, tp + fp),
        _ratio(tp, tp + fn),
        _ratio(2 * tp, 2 * tp + fp + fn),
        _ratio(ranked, (tp + fn) * (tn + fp)),
    ]


def _ratio(upper: float, lower: float) -> float:
    return min(divided(upper, lower), 1.0)  # NaN stays NaN
