"""A classic Prometheus histogram as cells: one per bucket, one for all that is larger, one for the sum."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Floats, Series
from exporter.families.counters import CountersOnly

_SHIFT = 48
_CELLS = 0x7FF0_0000_0000_0000 >> _SHIFT
"""Each power of two up to the largest number is cut into 16 cells."""


class Histogram(CountersOnly):
    """A family that is one histogram, called *metric*, with upper *bounds*; none, and no cells, without bounds."""

    def __init__(self, metric: str, bounds: Sequence[float]) -> None:
        self.metric = metric
        self.bounds = bounds
        self.meaning = repr(bounds)
        self.size = len(bounds) + 2 if bounds else 0
        self._bounds = np.asarray(bounds, np.float64)
        self._next = np.append(self._bounds, np.inf)
        starts = (np.arange(_CELLS + 1, dtype=np.int64) << _SHIFT).view(np.float64)
        below = np.searchsorted(self._bounds, starts, side="left")
        self._first = below[:-1].astype(np.int16)
        several = np.diff(below) > 1
        self._several = several if several.any() else None

    def increments(self, row: NDArray[np.intp] | None, value: Floats) -> Cells:
        """Increments of finite *value*s (shape (m,)), none negative, that stand in *row*s (None: in all, in order)."""
        return Cells(row=row, local=self._bucket(value), more=((len(self.bounds) + 1, value),))

    def _bucket(self, value: Floats) -> NDArray[np.int64]:
        """The first bucket whose bound is not below the *value*: by the value's upper bits, then by one comparison."""
        cell = (value + 0.0).view(np.int64) >> _SHIFT  # + 0.0 makes 0 of -0
        bucket: NDArray[np.int64] = self._first[cell].astype(np.int64)
        bucket += value > self._next[bucket]
        if self._several is not None:
            crowded = np.flatnonzero(self._several[cell])
            bucket[crowded] = np.searchsorted(self._bounds, value[crowded], side="left")
        return bucket

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        """`_bucket` for every bound and +Inf, `_count` and `_sum`."""
        del names
        texts = [repr(float(bound)) for bound in self.bounds] + ["+Inf"]
        buckets = [Series(self.metric, (("le", text),), "_bucket") for text in texts]
        return [*buckets, Series(self.metric, suffix="_count"), Series(self.metric, suffix="_sum")]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        """Values in the order of `series`; what a correction takes back stays counted."""
        del names, retracted
        *counts, total = added.tolist()
        cumulative = list(itertools.accumulate(map(int, counts)))
        return [*cumulative, cumulative[-1], total]
