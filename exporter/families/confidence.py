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

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats, MetricSpec, Series

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


def wilson(ratio: Floats | float, rows: Floats | float, deviations: float) -> tuple[Floats, Floats]:
    """Lower and upper bounds of *ratio*s over so many *rows* each, NaN where undefined; all of one shape.

    To be called where NumPy does not warn.
    """
    half = np.divide(deviations**2 / 2, rows)
    spread = ratio * (1 - ratio)
    middle, reach, whole = ratio + half, np.sqrt(half * (spread + spread + half)), 1 + (half + half)
    return np.maximum((middle - reach) / whole, 0.0), np.minimum((middle + reach) / whole, 1.0)


def rows_of_f1(hit: Floats, both: Floats) -> Floats:
    """Effective rows of the F1 of classes: of their tp and 2 tp + fp + fn; 0 for one that does not occur."""
    return both * both / np.maximum(2 * (both - hit), 1)


def rows_of_area(area: Floats, positives: Floats, negatives: Floats) -> Floats:
    """Effective rows of *area*s under ROC curves."""
    others = (positives + negatives) / 2 - 1
    return positives * negatives / (1 + others * ((1 - area) / (2 - area) + area / (1 + area)))


def rows_of_mean(ratios: Floats, rows: Floats, there: NDArray[np.bool_]) -> Floats:
    """Effective rows of the mean of those independent *ratios* that are *there*, over so many *rows* each.

    Shapes (..., classes) to (...).  To be called where NumPy does not warn.
    """
    count = there.sum(axis=-1)
    smooth = np.where(there, (ratios * rows + 1) / (rows + 2), 0.0)
    mean = smooth.sum(axis=-1) / count
    variance = np.where(there, smooth * (1 - smooth) / rows, 0.0).sum(axis=-1)
    several = mean * (1 - mean) * count**2 / variance
    effective: Floats = np.where(count == 1, np.where(there, rows, 0.0).sum(axis=-1), several)
    return effective
