"""Sums of cells: over all time, and over a sliding stretch of it.

A *cell* is one additive number of one group: `group * size + local`.  All sums grow by new rows only; none is ever
computed again, so that a window of a day costs what a window of a minute does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Floats

RESOLUTION = 360
"""Buckets of a time window: one of an hour moves in steps of 10 s."""

TOGETHER = 8
"""Buckets that are saved in one blob: a backlog changes hundreds of them at once, a live stream one or two."""

_BEFORE_ALL = -(1 << 62)
_DENSE, _SPARSE = 1 << 20, 1 << 16
"""How many sums a table of many rows may have, and one of few."""
_KEPT = 0.75
"""The least share of a table's rows that must become buckets for these to be views of it, which keep all of it."""
Part: TypeAlias = tuple[NDArray[np.int64], Floats | None]
"""Columns of some rows and what each adds to its column, 1 where None; shapes (m,)."""
_Scalar = TypeVar("_Scalar", bound=np.generic)


class Columns:
    """The cells that were ever used, in the order of their first use: few, however many there could be."""

    def __init__(self) -> None:
        self.cells = np.empty(0, np.int64)
        self._of = np.full(0, -1)

    def __len__(self) -> int:
        return len(self.cells)

    def of(self, cell: NDArray[np.int64]) -> NDArray[np.int64]:
        """The columns of *cell*s; a cell that was never used gets one."""
        if not len(cell):
            return cell
        try:
            column: NDArray[np.int64] = self._of.take(cell)
        except IndexError:
            grown = np.full(2 * int(cell.max()) + 1, -1)
            grown[: len(self._of)] = self._of
            self._of = grown
            column = self._of.take(cell)
        if column.min() < 0:
            new = np.flatnonzero(np.bincount(cell[column < 0]))
            self._of[new] = np.arange(len(self.cells), len(self.cells) + len(new))
            self.cells = np.concatenate([self.cells, new])
            column = self._of.take(cell)
        return column

    def sums(self, parts: Sequence[Part]) -> Floats:
        """What *parts* add up to in every column; shape (columns,)."""
        sums = np.zeros(len(self))
        for column, weight in parts:
            sums += np.bincount(column, weight, len(self))
        return sums


class Totals:
    """What was counted since the counters began: `added`, and `retracted` by corrections; shape (groups, size)."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.added = np.zeros((1, size))
        self.retracted = np.zeros((1, size))
        self.dirty: set[int] = set()

    def add(self, cell: NDArray[np.int64], added: Floats, retracted: Floats | None = None) -> None:
        """Add sums, none of them negative, to *cell*s of which none stands twice; shapes (m,)."""
        if not len(cell):
            return
        groups = int(cell.max()) // self.size + 1
        self.added, self.retracted = _grown(self.added, groups), _grown(self.retracted, groups)
        for side, sums in ((self.added, added), (self.retracted, retracted)):
            if sums is not None and sums.any():
                side.reshape(-1)[cell] += sums
                self.dirty.update(np.flatnonzero(np.bincount(cell[sums != 0] // self.size)).tolist())

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


class TimeWindow:
    """Sums over the last *seconds* of event time, in `resolution` buckets that fall out one by one.

    The window that ends at time t holds the rows of the bucket of t and of the `resolution` - 1 before it.  A bucket
    is an array over the cells that were ever used, in the order of their first use: few, however many there could be.
    """

    resolution: ClassVar[int] = RESOLUTION

    def __init__(self, seconds: float, size: int, columns: Columns | None = None, steps: int = 1) -> None:
        self.size = size
        self.steps = steps
        """How many buckets of the next finer window that fits make one of this."""
        self.width = seconds / self.resolution
        self.base = seconds / steps / self.resolution
        self.whole = True
        """Whether all weights are whole numbers, so that nothing is lost when they are taken off again."""
        self.newest: int | None = None
        self.total = np.zeros((1, size))
        self.buckets: dict[int, Floats] = {}
        self.dirty: set[int] = set()
        self._saved: set[int] = set()
        self._renamed: list[str] = []
        self.columns = Columns() if columns is None else columns

    def advance(self, now: float) -> float:
        """Move the end of the window to event time *now*, never back; returns the sum of all that fell out."""
        return sum((float(sums.sum()) for _, sums in self.fall(now)), 0.0)

    def fall(self, now: float) -> list[tuple[int, Floats]]:
        """As `advance`; returns the buckets that fell out, in order, each with its sums in the first columns."""
        bucket = int(np.floor(now / self.base)) // self.steps
        if self.newest is not None and bucket <= self.newest:
            return []
        self.newest = bucket
        gone = self.gone
        fallen = [(old, self.buckets.pop(old)) for old in sorted(at for at in self.buckets if at <= gone)]
        self.dirty.update(old for old, _ in fallen)
        if fallen and self.whole:
            columns = max(len(sums) for _, sums in fallen)
            left = self._summed(sums for _, sums in fallen)[:columns]
            self.total.reshape(-1)[self.columns.cells[:columns]] -= left
        elif fallen:
            self._sum_anew()
        return fallen

    @property
    def gone(self) -> int:
        """The newest bucket that the window has left behind."""
        return _BEFORE_ALL if self.newest is None else self.newest - self.resolution

    def _sum_anew(self) -> None:
        """Add all buckets up: after a large weight has come and gone, the difference would hold its rounding only."""
        cells = self.columns.cells
        self.total = _grown(self.total, int(cells.max(initial=0)) // self.size + 1)
        self.total.reshape(-1)[cells] = self._summed(self.buckets.values())

    def _summed(self, buckets: Iterable[Floats]) -> Floats:
        """The sums of *buckets* by column."""
        sums = np.zeros(len(self.columns))
        for bucket in buckets:
            sums[: len(bucket)] += bucket
        return sums

    def add(self, cell: NDArray[np.int64], weight: Floats | None, time: Floats, sign: float = 1.0) -> None:
        """Add *sign* times *weight*s (None: 1) to cells at event *time*s, unless these are too old.  Shapes (m,)."""
        column = self.columns.of(cell)
        bucket = np.floor(time / self.base).astype(np.int64)
        self.add_rows(bucket // self.steps if self.steps > 1 else bucket, [(column, weight)], sign)

    def add_rows(self, bucket: NDArray[np.int64], parts: Sequence[Part], sign: float = 1.0) -> None:
        """Add *sign* times rows that belong into *bucket*s; shape (m,)."""
        if len(bucket) and bucket.min() <= self.gone:
            inside = np.flatnonzero(bucket > self.gone)
            bucket, parts = bucket[inside], chosen(parts, inside)
        if not len(bucket):
            return
        columns = len(self.columns)
        whole = tabulated(bucket, parts, columns)
        if whole is not None:
            self.take(whole[0], sign * whole[1])
            return
        order = np.argsort(bucket, kind="stable")
        bucket = bucket[order]
        start = 0
        while start < len(order):
            stop = int(np.searchsorted(bucket, bucket[start] + max(1, _SPARSE // columns)))
            piece = chosen(parts, order[start:stop])
            self.take(int(bucket[start]), sign * _table(bucket[start:stop] - bucket[start], piece, columns))
            start = stop

    def take(self, first: int, sums: Floats) -> None:
        """Add *sums*, shape (span, columns), to the bucket *first* and those behind it; the array may be kept."""
        made = len(sums)
        if self.newest is not None:
            gone = max(0, self.gone + 1 - first)
            first, sums = first + gone, sums[gone:]
        cells = self.columns.cells[: sums.shape[1]]
        self.total = _grown(self.total, int(cells.max(initial=0)) // self.size + 1)
        self.total.reshape(-1)[cells] += sums.sum(axis=0)
        at = np.flatnonzero(sums.any(axis=1))
        filled = (first + at).tolist()
        rows = sums if len(at) == made else sums[at]
        alone = len(filled) - sum(map(self.buckets.__contains__, filled)) < _KEPT * len(filled)
        for bucket, row in zip(filled, rows, strict=True):
            kept = self.buckets.get(bucket)
            if kept is None:
                self.buckets[bucket] = row.copy() if alone else row
            elif len(kept) == len(row):
                np.add(kept, row, out=kept)
            elif len(kept) > len(row):
                kept[: len(row)] += row  # a bucket that waited elsewhere may be older than the newest columns
            else:
                grown = self.buckets[bucket] = row.copy()
                grown[: len(kept)] += kept
        self.dirty.update(filled)

    def of(self, group: int) -> Floats:
        """Sums of *group* inside the window, shape (size,)."""
        return self.total[group] if group < len(self.total) else np.zeros(self.size)

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Blobs of the buckets that changed since the last call, by name; None for those of which none is left."""
        yield from ((name, None) for name in self._renamed)
        chunks = sorted({bucket // TOGETHER for bucket in self.dirty})
        self._renamed.clear()
        self.dirty.clear()
        for chunk, blob in zip(chunks, _packed_chunks(self.columns.cells, self.buckets, chunks), strict=True):
            if blob:
                self._saved.add(chunk)
                yield f"{chunk}x{TOGETHER}", blob
            elif chunk in self._saved:
                self._saved.remove(chunk)
                yield f"{chunk}x{TOGETHER}", None

    def load(self, name: str, blob: bytes) -> None:
        """Take back what `changes` gave; the clock is moved by `advance` afterwards.

        Buckets that another program saved otherwise, one by one say, are saved anew.
        """
        chunk, _, together = name.partition("x")
        many = int(together or 1)
        code, weight = _unpacked(blob, 2)
        self.whole = self.whole and bool((weight == np.rint(weight)).all())
        if len(code):
            cell, bucket = np.divmod(code, many)
            self.add(cell, weight, (int(chunk) * many + bucket + 0.5) * self.width)
        if many == TOGETHER:
            self._saved.add(int(chunk))
            self.dirty.difference_update(range(int(chunk) * many, int(chunk) * many + many))
        else:
            self._renamed.append(name)


def chosen(parts: Sequence[Part], at: NDArray[np.intp]) -> list[Part]:
    """The rows *at* of *parts*."""
    return [(column[at], None if weight is None else weight[at]) for column, weight in parts]


def tabulated(bucket: NDArray[np.int64], parts: Sequence[Part], columns: int) -> tuple[int, Floats] | None:
    """The first of the *bucket*s, and sums by bucket and column; None if nearly all of those would be 0."""
    first, last = int(bucket.min()), int(bucket.max())
    if (last - first + 1) * columns > min(_DENSE, _SPARSE + 16 * len(bucket)):
        return None
    return first, _table(bucket - first, parts, columns)


def _table(row: NDArray[np.int64], parts: Sequence[Part], columns: int) -> Floats:
    """Sums by row and column, of as many rows as there must be."""
    start = row * columns
    sums = np.zeros((int(row.max()) + 1) * columns)
    for column, weight in parts:
        sums += np.bincount(start + column, weight, len(sums))
    return sums.reshape(-1, columns)


def coarser(first: int, sums: Floats, steps: int) -> tuple[int, Floats]:
    """The same sums in buckets of which each holds *steps* of these."""
    bucket = np.arange(first, first + len(sums)) // steps
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    return int(bucket[0]), np.add.reduceat(sums, starts, axis=0)


def of_rows(column: NDArray[_Scalar], cells: Cells) -> NDArray[_Scalar]:
    """The values in *column* of the rows that *cells* came from; shape (m,)."""
    return column if cells.row is None else column[cells.row]


def _grown(array: Floats, groups: int) -> Floats:
    if groups <= len(array):
        return array
    grown = np.zeros((max(groups, 2 * len(array)), array.shape[1]))
    grown[: len(array)] = array
    return grown


def _packed(cell: NDArray[np.int64], *sums: Floats) -> bytes:
    out = np.empty((1 + len(sums), len(cell)), "<f8")
    out[0].view("<i8")[:] = cell
    for place, part in enumerate(sums, 1):
        out[place] = part
    return out.tobytes()


def _packed_chunks(cells: NDArray[np.int64], buckets: Mapping[int, Floats], chunks: Sequence[int]) -> list[bytes]:
    """What is not 0 in the *buckets* of each of many *chunks*, packed: `cell * TOGETHER + place in the chunk`, sum.

    The first columns of every bucket are of these *cells*.
    """
    spans = (range(chunk * TOGETHER, chunk * TOGETHER + TOGETHER) for chunk in chunks)
    inside = [bucket for bucket in itertools.chain.from_iterable(spans) if bucket in buckets]
    if not inside:
        return [b""] * len(chunks)
    kept = [buckets[bucket] for bucket in inside]
    begins = np.cumsum([0, *map(len, kept)])
    sums = np.concatenate(kept)
    used = np.flatnonzero(sums)
    counts = np.diff(np.searchsorted(used, begins))
    number = np.repeat(inside, counts)
    cell = cells[used - np.repeat(begins[:-1], counts)]
    ends = np.searchsorted(number // TOGETHER, chunks, side="right").tolist()
    code, sums = cell * TOGETHER + number % TOGETHER, sums[used]
    return [_packed(code[start:end], sums[start:end]) for start, end in itertools.pairwise([0, *ends])]


def _unpacked(blob: bytes, parts: int) -> tuple[NDArray[Any], ...]:
    columns = np.frombuffer(blob, "<i8").reshape(parts, -1)
    return columns[0], *(column.view("<f8") for column in columns[1:])
