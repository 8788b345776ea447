"""Bins of scores between 0 and 1: which bin a score falls into, and how an edge is written in a label."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats, fixed_width

END = "+Inf"
"""The label of what lies above the last bin."""

_HALVINGS, _FINE = 48, 7
"""How often the distance to 0 or 1 is halved, and into how many parts (as a power of 2) each such stretch is cut."""
_CELLS = (_HALVINGS << _FINE) + 1
_SHIFT = 52 - _FINE
_LEAST = ((1023 - 1) << _FINE) - (_HALVINGS << _FINE)
"""The upper bits of the float64 0.5 ** (_HALVINGS + 1)."""

_NOTHING: tuple[Callable[[], Floats | None], NDArray[np.int64]] = (lambda: None), np.empty(0, np.int64)


class Bins:
    """Bins between ascending inner *edges* (0 < edge < 1): bin k holds the scores from edge k - 1 up to edge k.

    A score is looked up in a fixed grid that is as fine near 1 as it is near 0, and compared with the one edge that
    may lie inside its grid cell; only where several do, it is searched for.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = np.asarray(edges, np.float64)
        self.count = len(self.edges) + 1
        self.lower = np.concatenate([[0.0], self.edges])
        self.upper = np.concatenate([self.edges, [1.0]])
        self.width = self.upper - self.lower
        starts, stops = _grid()
        self._first = np.searchsorted(self.edges, starts, side="right").astype(np.int64)
        several = np.searchsorted(self.edges, stops, side="right") - self._first > 1
        self._several = several if several.any() else None
        self._next = np.concatenate([self.edges, [np.inf]])
        self._last = _NOTHING
        """The scores that were asked for last, and their bins: several families are given the same ones."""

    def of(self, score: Floats) -> NDArray[np.int64]:
        """The bin of every *score* from 0 to 1; shape (n,), read-only: the next who asks gets the same."""
        known, bins = self._last
        if known() is score:
            return bins
        bins = self._find(score)
        bins.setflags(write=False)
        self._last = weakref.ref(score, self._forget), bins
        return bins

    def _forget(self, scores: weakref.ref[Floats]) -> None:
        if self._last[0] is scores:
            self._last = _NOTHING

    def _find(self, score: Floats) -> NDArray[np.int64]:
        near = np.minimum(score, 1.0 - score)
        cell = (near.view(np.int64) >> _SHIFT) - _LEAST
        np.maximum(cell, 0, out=cell)
        cell += (score >= 0.5) * _CELLS  # the grid of the upper half lies behind that of the lower one
        bin_: NDArray[np.int64] = self._first[cell]
        bin_ += score >= self._next[bin_]
        if self._several is not None:
            crowded = np.flatnonzero(self._several[cell])
            bin_[crowded] = np.searchsorted(self.edges, score[crowded], side="right")
        return bin_

    @property
    def texts(self) -> list[str]:
        """The lower ends of the bins as texts of one width, which sort as the numbers do, and END."""
        return [*fixed_width(self.lower.tolist()), END]


@functools.lru_cache(maxsize=64)
def bins_of(edges: tuple[float, ...]) -> Bins:
    """The bins between *edges*, the same ones for all who ask."""
    return Bins(edges)


def _grid() -> tuple[Floats, Floats]:
    """Where the cells of the grid begin and end: those of the lower half, then those of the upper one, by distance."""
    low = (np.arange(_CELLS, dtype=np.int64) + _LEAST << _SHIFT).view(np.float64)
    high = np.append(low[1:], 0.5)
    low[0] = 0.0
    return np.concatenate([low, 1.0 - high]), np.concatenate([high, 1.0 - low])
