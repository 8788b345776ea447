"""What every task tells of labelled predictions, and the counters that say what corrections took back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul, truediv

from exporter.contracts import ANY, MetricSpec, Series

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


def mean_ratio(upper: Sequence[float], lower: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The mean of upper / lower over classes; undefined without any, and as soon as it is for one class."""
    if not all(lower):
        return UNDEFINED
    ratios = map(truediv, upper, lower)
    if weights is None:
        return divided(math.fsum(ratios), len(lower))
    return divided(math.fsum(map(mul, ratios, weights)), math.fsum(weights))


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
