"""Areas under ROC and precision-recall curves, and calibration, from counts and sums of scores in bins.

A pair of scores that shares a bin is ranked by the mean scores of the two classes in it, so that the areas are far
closer to those of single scores than bins of that width would allow: see `_ranked_right`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats
from exporter.families.bins import Bins

_NODES, _WEIGHTS = (np.polynomial.legendre.leggauss(6)[at] for at in (0, 1))
_NODES, _WEIGHTS = (_NODES[:, None, None] + 1) / 2, _WEIGHTS / 2
"""Gauss-Legendre quadrature over 0 to 1."""


@dataclass(frozen=True, slots=True)
class Areas:
    """Measures of the scores of k classes, each against the rest, NaN where undefined; shapes (k,)."""

    positives: Floats
    negatives: Floats
    roc: Floats
    average_precision: Floats
    calibration_error: Floats


def areas(bins: Bins, sums: Floats) -> Areas:
    """The measures of *sums*, shape (2, 2, k, bins): counts and sums of scores, each of negatives and positives."""
    (negative, positive), total = sums[0], sums[1].sum(axis=0)
    negatives, positives = negative.sum(axis=1), positive.sum(axis=1)
    gap = np.where(negative + positive > 0, np.abs(total - positive), 0.0).sum(axis=1)
    right, tied = _ranked_right(bins, sums)
    below = negative.cumsum(axis=1) - negative
    ranked = (positive * (below + right * negative)).sum(axis=1)
    precision = _precision(positive[:, ::-1], negative[:, ::-1], right[:, ::-1], tied[:, ::-1])
    return Areas(
        positives=positives,
        negatives=negatives,
        roc=_share(ranked, positives * negatives),
        average_precision=_share((positive[:, ::-1] * precision).sum(axis=1), positives),
        calibration_error=_share(gap, positives + negatives),
    )


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, at most 1, and undefined over nothing."""
    share: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return np.minimum(share, 1.0)


def _ranked_right(bins: Bins, sums: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """How likely a positive has the higher score of a pair that shares a bin, and where all scores are the lower edge.

    With u and v the mean scores of positives and negatives as parts of the bin's width, and m halfway between them, it
    is 1/2 + (u - v) / 4 m (1 - m): to first order right for densities that rise or fall linearly across the bin (there
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


def _precision(positive: Floats, negative: Floats, right: Floats, tied: NDArray[np.bool_]) -> Floats:
    """The mean precision at the positives of each bin, bins from the highest down; shapes (k, bins).

    From the top of a bin down, a part y of its positives comes with a part y^q of its negatives, where q = right /
    (1 - right) makes the area between them `right`; the precision is integrated over y, and every positive counts
    itself, which is a half more than lie above its middle.  Scores that are all equal (*tied*) come at once.
    """
    hits, alarms = positive.cumsum(axis=1) - positive, negative.cumsum(axis=1) - negative
    right = np.clip(right, 0.02, 0.98)
    part = np.where(tied, 1.0, _NODES)
    hit = hits + part * positive + np.where(tied, 0.0, 0.5)
    precision: Floats = np.tensordot(_WEIGHTS, hit / (hit + alarms + part ** (right / (1 - right)) * negative), 1)
    return precision
