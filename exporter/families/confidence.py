"""How far chance can move a measure: bounds by Wilson's score interval.

E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22: for a proportion
p of n rows, the values whose own standard error does not exclude p.  They stay inside 0 to 1 and mean something for 3
rows of which none is wrong.  A measure that is no proportion is given an *effective* n, of which a proportion would be
as uncertain:

- F1: (2 tp + fp + fn)^2 / 2 (tp + fp + fn), by the delta method.
- the area under a ROC curve: from the variance of J. A. Hanley and B. J. McNeil (1982), "The meaning and use of the
  area under a receiver operating characteristic (ROC) curve", Radiology 143, in the form of R. G. Newcombe (2006),
  Statistics in Medicine 25.
- the average of several: that whose variance is the average's.  Each variance is taken at (k + 1) / (n + 2), so that a
  class without an error is not taken for perfect.

`alert_rules/confidence.yml` has the same formulas in PromQL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from exporter.contracts import MetricSpec, Series

BOUND = MetricSpec(
    "model_quality_bound_ratio",
    "gauge",
    "Bounds (lower, upper) between which the measure lies with the configured confidence, of the window's accuracy, "
    "precision, recall, f1 (of the positive class, else macro) and roc_auc: Wilson's score interval over the labelled "
    "predictions in the window, of F1 by the delta method, of the area with Hanley and McNeil's variance.",
    ("window", "measure", "bound"),
)
SIDES = ("lower", "upper")


def series(*measures: str) -> list[Series]:
    """The gauges of both bounds of each of *measures*."""
    return [Series(BOUND.name, (("measure", measure), ("bound", side))) for measure in measures for side in SIDES]


def deviations(confidence: float) -> float:
    """How many standard deviations around the mean hold a share *confidence* of a normal distribution."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(ratio: float, rows: float, deviations: float) -> tuple[float, float]:
    """Lower and upper bound of a *ratio* over so many *rows*; undefined where it is."""
    if not rows > 0 or math.isnan(ratio):
        return math.nan, math.nan
    square = deviations**2 / rows
    middle, reach = ratio + square / 2, math.sqrt(square * max(0.0, ratio * (1 - ratio)) + square**2 / 4)
    return max(0.0, (middle - reach) / (1 + square)), min(1.0, (middle + reach) / (1 + square))


def rows_of_f1(hit: float, predicted: float, actual: float) -> float:
    """Effective rows of the F1 of a class: of its tp, tp + fp and tp + fn; 0 for a class that does not occur."""
    both = predicted + actual
    return both**2 / max(2 * (both - hit), 1)


def rows_of_area(area: float, positives: float, negatives: float) -> float:
    """Effective rows of an *area* under a ROC curve."""
    others = (positives + negatives) / 2 - 1
    return positives * negatives / (1 + others * ((1 - area) / (2 - area) + area / (1 + area)))


def rows_of_mean(ratios: Sequence[float], rows: Sequence[float]) -> float:
    """Effective rows of the mean of independent *ratios* over so many *rows* each."""
    if len(ratios) == 1:
        return rows[0]
    smooth = [(ratio * count + 1) / (count + 2) for ratio, count in zip(ratios, rows, strict=True)]
    mean = math.fsum(smooth) / len(smooth)
    variance = math.fsum(ratio * (1 - ratio) / count for ratio, count in zip(smooth, rows, strict=True))
    return mean * (1 - mean) * len(smooth) ** 2 / variance
