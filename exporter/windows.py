"""Sums of cells: over all time, over a sliding stretch of label time, and over the last rows of a group.

A *cell* is one additive number of one group: `group * size + local`.  All sums grow by new rows only; none is ever
computed again, so that a window of a day costs what a window of a minute does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import PLAIN, Cells, Floats, Layout, Scored

RESOLUTION = 360
"""Buckets of a time window: one of an hour moves in steps of 10 s."""

_DENSE = 1 << 20
_Scalar = TypeVar("_Scalar", bound=np.generic)


class Totals:
    """What was counted since the counters began: `added`, and `retracted` by corrections; shape (groups, size)."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.added = np.zeros((1, size))
        self.retracted = np.zeros((1, size))
        self.dirty: set[int] = set()

    def add(self, cell: NDArray[np.int64], weight: Floats, sign: NDArray[np.int8] | None = None) -> None:
        """Add *weight* (shape (m,), not negative) to every cell, on the side that its *sign* says."""
        if not len(cell):
            return
        groups = int(cell.max()) // self.size + 1
        self.added, self.retracted = _grown(self.added, groups), _grown(self.retracted, groups)
        sides: list[tuple[Floats, slice | NDArray[np.bool_]]] = [(self.added, slice(None))]
        if sign is not None and (sign < 0).any():
            sides = [(self.added, sign > 0), (self.retracted, sign < 0)]
        for side, rows in sides:
            sums = np.bincount(cell[rows], weight[rows], minlength=side.size).reshape(side.shape)
            np.add(side, sums, out=side)
            self.dirty.update(np.flatnonzero(sums.any(axis=1)).tolist())

    def of(self, group: int) -> tuple[Floats, Floats]:
        """Added and retracted sums of *group*, shape (size,) each."""
        if group >= len(self.added):
            return np.zeros(self.size), np.zeros(self.size)
        return self.added[group], self.retracted[group]

    def changes(self) -> Iterator[tuple[str, bytes]]:
        """Blobs of the groups that changed since the last call, by name."""
        for group in sorted(self.dirty):
            used = np.flatnonzero((self.added[group] != 0) | (self.retracted[group] != 0))
            yield str(group), _packed(used, self.added[group][used], self.retracted[group][used])
        self.dirty.clear()

    def load(self, name: str, blob: bytes) -> None:
        group = int(name)
        self.added, self.retracted = _grown(self.added, group + 1), _grown(self.retracted, group + 1)
        used, added, retracted = _unpacked(blob, 3)
        self.added[group][used], self.retracted[group][used] = added, retracted

    def clear(self, group: int) -> None:
        if group < len(self.added):
            self.added[group] = self.retracted[group] = 0
            self.dirty.add(group)


class TimeWindow:
    """Sums over the last *seconds* of event time, in RESOLUTION buckets that fall out one by one.

    The window that ends at time t holds the rows of the bucket of t and of the RESOLUTION - 1 before it.  A bucket
    is an array over the cells that were ever used, in the order of their first use: few, however many there could be.
    """

    def __init__(self, seconds: float, size: int) -> None:
        self.size = size
        self.width = seconds / RESOLUTION
        self.whole = True
        """Whether all weights are whole numbers, so that nothing is lost when they are taken off again."""
        self.newest: int | None = None
        self.total = np.zeros((1, size))
        self.buckets: dict[int, Floats] = {}
        self.dirty: set[int] = set()
        self._cells = np.empty(0, np.int64)
        self._columns = np.full(size, -1)

    def advance(self, now: float) -> float:
        """Move the end of the window to event time *now*, never back; returns the sum of all that fell out."""
        bucket = int(np.floor(now / self.width))
        if self.newest is not None and bucket <= self.newest:
            return 0.0
        self.newest = bucket
        fallen = 0.0
        flat = self.total.reshape(-1)
        for old in [at for at in self.buckets if at <= self.newest - RESOLUTION]:
            sums = self.buckets.pop(old)
            flat[self._cells[: len(sums)]] -= sums
            fallen += float(sums.sum())
            self.dirty.add(old)
        if fallen and not self.whole:
            self._sum_anew()
        return fallen

    def _sum_anew(self) -> None:
        """Add all buckets up: after a large weight has come and gone, the difference would hold its rounding only."""
        sums = np.zeros(len(self._cells))
        for bucket in self.buckets.values():
            sums[: len(bucket)] += bucket
        self.total.reshape(-1)[self._cells] = sums

    def add(self, cell: NDArray[np.int64], weight: Floats, time: Floats) -> None:
        """Add signed *weight* to cells at event *time*; what is older than the window is left out.  Shapes (m,)."""
        bucket = np.floor(time / self.width).astype(np.int64)
        if self.newest is not None:
            inside = bucket > self.newest - RESOLUTION
            if not inside.all():
                cell, weight, bucket = cell[inside], weight[inside], bucket[inside]
        if not len(cell):
            return
        column = self._column(cell)
        first, last = int(bucket.min()), int(bucket.max())
        if (last - first + 1) * len(self._cells) <= _DENSE:
            self._add_span(first, last - first + 1, bucket - first, column, weight)
            return
        for at in sorted(set(bucket.tolist())):
            here = np.flatnonzero(bucket == at)
            self._add_span(at, 1, np.zeros(len(here), np.int64), column[here], weight[here])

    def _add_span(
        self, first: int, span: int, row: NDArray[np.int64], column: NDArray[np.int64], weight: Floats
    ) -> None:
        """Add *weight*s to *column*s of the buckets *first* + *row*, of which there are *span*."""
        cells = len(self._cells)
        sums = np.bincount(row * cells + column, weight, minlength=span * cells).reshape(span, cells)
        self.total.reshape(-1)[self._cells] += sums.sum(axis=0)
        for at in np.flatnonzero(sums.any(axis=1)).tolist():
            kept = self.buckets.get(first + at)
            if kept is None or len(kept) < cells:
                grown = sums[at].copy()
                grown[: 0 if kept is None else len(kept)] += 0.0 if kept is None else kept
                self.buckets[first + at] = grown
            else:
                kept += sums[at]
            self.dirty.add(first + at)

    def _column(self, cell: NDArray[np.int64]) -> NDArray[np.int64]:
        """The columns of *cell*s; a cell that was never used gets one."""
        most = int(cell.max())
        if most >= len(self._columns):
            self.total = _grown(self.total, most // self.size + 1)
            grown = np.full(self.total.size, -1)
            grown[: len(self._columns)] = self._columns
            self._columns = grown
        column = self._columns[cell]
        if (column < 0).any():
            new = np.array(sorted(set(cell[column < 0].tolist())))
            self._columns[new] = np.arange(len(self._cells), len(self._cells) + len(new))
            self._cells = np.concatenate([self._cells, new])
            column = self._columns[cell]
        return column

    def of(self, group: int) -> Floats:
        """Sums of *group* inside the window, shape (size,)."""
        return self.total[group] if group < len(self.total) else np.zeros(self.size)

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Blobs of the buckets that changed since the last call, by name; None for one that is empty or fell out."""
        for bucket in sorted(self.dirty):
            sums = self.buckets.get(bucket, np.empty(0))
            used = slice(len(sums)) if sums.all() else np.flatnonzero(sums)
            cells = self._cells[used]
            yield str(bucket), _packed(cells, sums[used]) if len(cells) else None
        self.dirty.clear()

    def load(self, name: str, blob: bytes) -> None:
        """Take back a bucket; the clock is moved by `advance` afterwards."""
        cell, weight = _unpacked(blob, 2)
        self.whole = self.whole and bool((weight == np.rint(weight)).all())
        if len(cell):
            self.add(cell, weight, np.full(len(cell), (int(name) + 0.5) * self.width))
        self.dirty.discard(int(name))


_ROW: list[tuple[str, Any]] = [
    ("slot", "<i8"),
    ("time", "<f8"),
    ("label_time", "<f8"),
    ("score", "<f8"),
    ("group", "<i4"),
    ("actual", "<i4"),
    ("predicted", "<i4"),
    ("sign", "<i1"),
]


class CountWindow:
    """The *rows* labelled predictions of every group whose labels are the newest by their own time."""

    def __init__(self, rows: int, layout: Layout = PLAIN) -> None:
        self.rows = rows
        made = [("made", layout.made_dtype)] if layout.made else []
        truth = [("truth", layout.truth_dtype)] if layout.truth else []
        self.row = np.dtype([*_ROW, *made, *truth])
        self.groups: dict[int, NDArray[np.void]] = {}
        self.dirty: set[int] = set()

    def push(self, scored: Scored) -> tuple[Scored, Scored]:
        """Take *scored* in; returns the rows that entered and those that left.

        A row that is taken back leaves, and its corrected result enters.  Of equal label times the later row is newer.
        """
        entered, left = [], []
        for group in np.flatnonzero(np.bincount(scored.group)).tolist():
            mine = scored.group == group
            kept = self.groups.get(group, np.empty(0, self.row))
            taken_back = scored.slot[mine & (scored.sign < 0)]
            gone = np.isin(kept["slot"], taken_back)
            at = np.flatnonzero(mine & (scored.sign > 0))
            if len(taken_back):
                # Of several results for one prediction within these rows only the last one stands.
                at = at[_last_of_each(scored.slot[at])]
            new = _rows(scored, at[_newest(scored.label_time[at], self.rows)], self.row)
            merged = np.concatenate([kept[~gone], new])
            merged = merged[_newest(merged["label_time"], len(merged))]
            over = max(0, len(merged) - self.rows)
            left += [kept[gone], merged[:over]]
            entered.append(new)
            self.groups[group] = merged[over:]
            self.dirty.add(group)
        return _scored(entered, self.row), _scored(left, self.row)

    def changes(self) -> Iterator[tuple[str, bytes]]:
        for group in sorted(self.dirty):
            yield str(group), self.groups[group].tobytes()
        self.dirty.clear()

    def load(self, name: str, blob: bytes) -> None:
        self.groups[int(name)] = np.frombuffer(blob, self.row)

    def all(self) -> Scored:
        """Every row inside, to count them anew after a start."""
        return _scored(list(self.groups.values()), self.row)


def increments(cells: Cells, group: NDArray[np.int32], size: int) -> tuple[NDArray[np.int64], Floats]:
    """The global cells and weights of a family's *cells*, for rows that belong to *group*; shapes (m,)."""
    cell = of_rows(group, cells).astype(np.int64) * size + cells.local
    return cell, np.ones(len(cell)) if cells.weight is None else cells.weight


def of_rows(column: NDArray[_Scalar], cells: Cells) -> NDArray[_Scalar]:
    """The values in *column* of the rows that *cells* came from; shape (m,)."""
    return column if cells.row is None else column[cells.row]


def _rows(scored: Scored, at: NDArray[np.intp], row: np.dtype[np.void]) -> NDArray[np.void]:
    out = np.empty(len(at), row)
    for name in row.names or ():
        out[name] = getattr(scored, name)[at]
    return out


def _scored(parts: list[NDArray[np.void]], row: np.dtype[np.void]) -> Scored:
    rows = np.concatenate(parts) if parts else np.empty(0, row)
    return Scored(**{name: np.ascontiguousarray(rows[name]) for name in row.names or ()})


def _newest(time: Floats, most: int) -> NDArray[np.intp]:
    """Positions of the *most* latest times, in the order of time; of equal ones the last."""
    if len(time) <= most:
        return np.argsort(time, kind="stable")
    late = np.flatnonzero(time >= np.partition(time, -most)[-most])
    return late[np.argsort(time[late], kind="stable")][-most:]


def _last_of_each(slot: NDArray[np.int64]) -> NDArray[np.intp]:
    """Positions of the last occurrence of every value, in order."""
    _, from_end = np.unique(slot[::-1], return_index=True)
    return np.sort(len(slot) - 1 - from_end)


def _grown(array: Floats, groups: int) -> Floats:
    if groups <= len(array):
        return array
    grown = np.zeros((max(groups, 2 * len(array)), array.shape[1]))
    grown[: len(array)] = array
    return grown


def _packed(cell: NDArray[np.int64], *sums: Floats) -> bytes:
    columns = [cell.astype("<i8", copy=False), *(part.astype("<f8", copy=False) for part in sums)]
    return b"".join([column.tobytes() for column in columns])


def _unpacked(blob: bytes, parts: int) -> tuple[NDArray[Any], ...]:
    columns = np.frombuffer(blob, "<i8").reshape(parts, -1)
    return columns[0], *(column.view("<f8") for column in columns[1:])
