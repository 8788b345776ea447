"""Areas under ROC and precision-recall curves, and calibration, from counts and sums of scores in bins.

A pair of scores that shares a bin is ranked by the mean scores of the two classes in it, so that the areas are far
closer to those of single scores than bins of that width would allow: see `_ranked_right`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats
from exporter.families.bins import Bins

_NODES = np.array([
    0.03376524289842403, 0.16939530676686776, 0.38069040695840156,
    0.6193095930415985, 0.8306046932331322, 0.9662347571015759,
])  # fmt: skip
_WEIGHTS = np.array([
    0.08566224618958514, 0.18038078652406936, 0.23395696728634552,
    0.23395696728634552, 0.18038078652406936, 0.08566224618958514,
])  # fmt: skip
"""Gauss-Legendre quadrature over 0 to 1, of order 6; written out, because numpy.polynomial takes a megabyte."""
_LEAST = 1e-9
"""Nearer than this to an edge of a bin, in parts of its width, is on the edge."""


class Areas(NamedTuple):
    """Measures of the scores of classes, each against the rest, NaN where undefined; all of one shape."""

    positives: Floats
    negatives: Floats
    roc_auc: Floats
    average_precision: Floats
    expected_calibration_error: Floats


def areas(bins: Bins, sums: Floats) -> Areas:
    """The measures, shape (...), of *sums*, shape (2, 2, ..., bins): counts and sums of scores, each by outcome.

    The first of either two is of negatives, the second of positives.  To be called where NumPy does not warn.
    """
    counts, scores = sums
    negative, positive = counts
    negatives, positives = whole = counts.sum(axis=-1)
    up_to = counts.cumsum(axis=-1)
    right, tied = _ranked_right(bins, sums)
    precision = _precision(counts, whole[..., np.newaxis] - up_to, right, tied)
    ranked = np.vecdot(positive, up_to[0] - negative + right * negative)
    gap = np.abs(scores[0] + scores[1] - positive).sum(axis=-1)
    parts = np.array([ranked, np.vecdot(positive, precision), gap])
    wholes = np.array([positives * negatives, positives, positives + negatives])
    shares = np.where(wholes > 0, parts / wholes, np.nan)
    return Areas(positives, negatives, *np.minimum(shares, 1.0))


def _ranked_right(bins: Bins, sums: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """How likely a positive has the higher score of a pair that shares a bin, and where all scores are one edge.

    With u and v the mean scores of positives and negatives as parts of the bin's width, and m halfway between them, it
    is 1/2 + (u - v) / 4 m (1 - m): to first order right for densities that rise or fall linearly across the bin (there
    m is near 1/2, and the quotient u - v), and exact for those that decay exponentially from either edge, as they do
    in wide outer bins (m near 0: u / (u + v)).
    """
    counts, scores = sums
    v, u = _between((scores / np.maximum(counts, 1.0) - bins.lower) / bins.width, 0.0, 1.0)
    both = u + v  # 2 m
    rest = 2 - both
    at_edge = np.minimum(both, rest) < _LEAST
    right = _between(0.5 + (u - v) / np.maximum(both * rest, _LEAST), 0.0, 1.0)
    if not at_edge.any():
        return right, at_edge
    return np.where(at_edge, 0.5, right), at_edge & (counts[0] * counts[1] > 0)


def _precision(counts: Floats, above: Floats, right: Floats, tied: NDArray[np.bool_]) -> Floats:
    """The mean precision at the positives of each bin; shape (..., bins).

    *counts* and those in all bins *above*, shapes (2, ..., bins), are of negatives and positives.  From the top of a
    bin down, a part y of its positives comes with a part y^q of its negatives, where q = right / (1 - right) makes the
    area between them `right`; the precision is integrated over y, and every positive counts itself, which is a half
    more than lie above its middle.  Scores that are all equal (*tied*) come at once.
    """
    (negative, positive), (alarms, hits) = counts, above
    right = _between(right, 0.02, 0.98)
    part = _NODES.reshape(-1, *[1] * tied.ndim)
    hit = part * positive + (hits + 0.5)
    ratios = hit / (hit + (alarms + part ** (right / (1 - right)) * negative))
    precision: Floats = (_WEIGHTS @ ratios.reshape(len(ratios), -1)).reshape(positive.shape)
    if tied.any():
        hit = hits + positive
        precision = np.where(tied, hit / np.maximum(hit + alarms + negative, 1.0), precision)
    return precision


def _between(values: Floats, low: float, high: float) -> Floats:
    """numpy.clip, in a fraction of its time for few values."""
    clipped: Floats = np.minimum(np.maximum(values, low), high)
    return clipped
