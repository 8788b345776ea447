"""A classic Prometheus histogram as cells: one per bucket, one for all that is larger, one for the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Floats, Series
from exporter.families.counters import CountersOnly


class Histogram(CountersOnly):
    """A family that is one histogram, called *metric*, with upper *bounds*; none, and no cells, without bounds."""

    def __init__(self, metric: str, bounds: Sequence[float]) -> None:
        self.metric = metric
        self.bounds = bounds
        self.meaning = repr(bounds)
        self.size = len(bounds) + 2 if bounds else 0

    def increments(self, row: NDArray[np.intp], value: Floats) -> Cells:
        """Increments of finite *value*s (shape (m,)) that stand in *row*s."""
        bucket = np.searchsorted(np.asarray(self.bounds), value, side="left")
        return Cells(
            row=np.concatenate([row, row]),
            local=np.concatenate([bucket, np.full(len(row), len(self.bounds) + 1)]).astype(np.int64),
            weight=np.concatenate([np.ones(len(row)), value]),
        )

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        """`_bucket` for every bound and +Inf, `_count` and `_sum`."""
        del names
        texts = [repr(float(bound)) for bound in self.bounds] + ["+Inf"]
        buckets = [Series(self.metric, (("le", text),), "_bucket") for text in texts]
        return [*buckets, Series(self.metric, suffix="_count"), Series(self.metric, suffix="_sum")]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        """Values in the order of `series`; what a correction takes back stays counted."""
        del names, retracted
        cumulative: list[int] = np.cumsum(added[:-1]).astype(np.int64).tolist()
        return [*cumulative, cumulative[-1], float(added[-1])]
