"""What every task tells of labelled predictions, and the counters that say what corrections took back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import ANY, Floats, MetricSpec, Series

UNDEFINED = float("nan")


def twin(name: str, help_: str, labels: tuple[str, ...] = ()) -> tuple[MetricSpec, MetricSpec]:
    """A counter and the counter of what corrected labels took back from it."""
    back = f"What corrected labels took back from {name}: subtract its increase."
    retracted = name.removesuffix("_total") + "_retracted_total"
    return MetricSpec(name, "counter", help_, labels), MetricSpec(retracted, "counter", back, labels)


def both(name: str, *all_pairs: tuple[tuple[str, str], ...]) -> list[Series]:
    """The series of a counter called *name* (without `_total`) and of its twin, one for each of *all_pairs*."""
    return [Series(f"{name}{kind}_total", pairs) for kind in ("", "_retracted") for pairs in all_pairs]


def divided(upper: float, lower: float) -> float:
    """*upper* / *lower*, undefined over nothing."""
    return upper / lower if lower else UNDEFINED


def over_classes(ratios: Floats, there: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """The means over the classes that are *there*, plain and weighted, of *ratios*; shapes (..., classes) to (...).

    Undefined (NaN) without any, and as soon as the ratio of one of them is.  *weights* are 0 for classes that are not
    there.  To be called where NumPy does not warn.
    """
    inside = np.where(there, ratios, 0.0)
    return inside.sum(axis=-1) / there.sum(axis=-1), np.vecdot(inside, weights) / weights.sum(axis=-1)


def finite(values: Floats) -> Floats:
    """These very *values*, undefined (NaN) from now on where infinite: something was divided by nothing.

    A window that the config adds is empty, and corrections take back from it what was counted before.
    """
    values[np.isinf(values)] = UNDEFINED
    return values


LABELLED = twin(
    "model_labelled_predictions_total",
    f"Predictions that met their label, right or wrong; correct is `{ANY}` where a task knows no right and wrong "
    "(regression, ranking).",
    ("correct",),
)
OUTCOMES = twin(
    "model_outcomes_total",
    "Labelled predictions by outcome, for every class (or label) against the rest: tp, fp, fn, tn.",
    ("class", "outcome"),
)
ACCURACY = MetricSpec(
    "model_accuracy_ratio",
    "gauge",
    "Share of right predictions among the labelled ones whose label falls into the window (of label sets: those that "
    "are right as a whole); computed each cycle.",
    ("window",),
)
IN_WINDOW = MetricSpec(
    "model_window_labelled_predictions",
    "gauge",
    "Labelled predictions inside the window: what the measures of that window rest on.",
    ("window",),
)


def averaged(measure: str, formula: str) -> MetricSpec:
    """The gauge of a *measure* that is averaged over classes, or over the labels of multilabel predictions."""
    text = f"{formula}, over the labelled predictions whose label falls into the window; computed each cycle."
    return MetricSpec(f"model_{measure}_ratio", "gauge", text, ("window", "average"))


PRECISION = averaged("precision", "tp / (tp + fp)")
RECALL = averaged("recall", "tp / (tp + fn)")
F1 = averaged("f1", "2 tp / (2 tp + fp + fn)")
