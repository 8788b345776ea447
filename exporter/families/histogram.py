"""A classic Prometheus histogram as cells: one per bucket, one for all that is larger, one for the sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Floats, Series


def size(bounds: Sequence[float]) -> int:
    """Cells that a histogram with upper *bounds* needs; none without bounds."""
    return len(bounds) + 2 if bounds else 0


def cells(bounds: Sequence[float], row: NDArray[np.intp], value: Floats) -> Cells:
    """Increments of finite *value*s (shape (m,)) that stand in *row*s."""
    bucket = np.searchsorted(np.asarray(bounds), value, side="left")
    return Cells(
        row=np.concatenate([row, row]),
        local=np.concatenate([bucket, np.full(len(row), len(bounds) + 1)]).astype(np.int64),
        weight=np.concatenate([np.ones(len(row)), value]),
    )


def series(metric: str, bounds: Sequence[float]) -> list[Series]:
    """`_bucket` for every bound and +Inf, `_count` and `_sum`."""
    texts = [repr(float(bound)) for bound in bounds] + ["+Inf"]
    buckets = [Series(metric, (("le", text),), "_bucket") for text in texts]
    return [*buckets, Series(metric, suffix="_count"), Series(metric, suffix="_sum")]


def values(sums: Floats) -> list[float]:
    """Values in the order of `series`, from cell sums of shape (size,)."""
    cumulative: list[int] = np.cumsum(sums[:-1]).astype(np.int64).tolist()
    return [*cumulative, cumulative[-1], float(sums[-1])]
