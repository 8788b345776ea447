"""One segment of remembered rows: a fixed-size record log and a hash index over it, both memory-mapped.

The log is append-only, the index an open-addressing table of 64-bit entries `fingerprint << 32 | row + 1` with
linear probing, at most 60 % full.  All operations are vectorised over whole batches: about ten array operations
for 10,000 keys, whatever the size of the segment.

The index holds nothing that the log does not, so that it can be rebuilt; entries of rows that were never committed
can simply be zeroed, because they were inserted after all committed ones and no committed probe path crosses them.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import RECORD, Keys, opaque

LOAD = 0.6
_ENTRY = np.dtype("<u8")
_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
_CHUNK = 65_536


class Probed(NamedTuple):
    """What became of the search for n keys; arrays of shape (n,).

    `row` is the row number, -1 of a key that is not here; `records` (as `opaque` bytes) are the rows themselves, and
    mean nothing elsewhere; `place` is where in the index the search ended: of a key that is not here, a free one.
    """

    row: NDArray[np.int64]
    records: NDArray[np.void]
    place: NDArray[np.uint64]


class Segment:
    """Rows `first .. first + rows` of a table; `capacity` is the size of the index, a power of two."""

    def __init__(
        self,
        folder: Path | None,
        first: int,
        capacity: int,
        rows: int = 0,
        newest: float = -np.inf,
        *,
        record: np.dtype[np.void] = RECORD,
    ) -> None:
        self.folder = folder
        self.record = record
        self.first = first
        self.capacity = capacity
        self.rows = rows
        self.newest = newest
        self.log = _array(self.log_path, record, self.limit)
        self.index = _array(self.index_path, _ENTRY, capacity)

    @property
    def limit(self) -> int:
        """How many rows fit before the index is too full."""
        return room(self.capacity)

    @property
    def log_path(self) -> Path | None:
        return self.folder / f"{self.first:012d}.rows" if self.folder else None

    @property
    def index_path(self) -> Path | None:
        return self._index_path(self.capacity)

    def _index_path(self, capacity: int) -> Path | None:
        return self.folder / f"{self.first:012d}.{capacity}.index" if self.folder else None

    def probe(self, keys: Keys) -> Probed:
        """Look for every key; records are copied whole, because that is faster than to read their keys in place."""
        row_of = np.full(len(keys), -1, np.int64)
        as_bytes = opaque(self.record)
        records = np.empty(len(keys), as_bytes)
        high, low = np.ascontiguousarray(keys[:, 0]), np.ascontiguousarray(keys[:, 1])
        mask = np.uint64(self.capacity - 1)
        place = high & mask
        at, fingerprint, todo = place, low >> _HIGH, np.arange(len(keys) if self.rows else 0)
        stored = self.log.view(as_bytes)
        while len(todo):
            entry = self.index[at]
            ahead = entry != 0
            near = np.flatnonzero(ahead & ((entry >> _HIGH) == fingerprint))
            if len(near):
                row = (entry[near] & _LOW).astype(np.int64) - 1
                who = todo[near]
                found = stored.take(np.minimum(row, self.rows - 1))
                key = found.view(self.record)["key"]
                same = (key[:, 0] == high[who]) & (key[:, 1] == low[who]) & (row < self.rows)
                if not same.all():
                    near, who, row, found = near[same], who[same], row[same], found[same]
                row_of[who], records[who] = row, found
                ahead[near] = False
            left = np.flatnonzero(ahead)
            at, fingerprint, todo = (at[left] + np.uint64(1)) & mask, fingerprint[left], todo[left]
            place[todo] = at
        return Probed(row_of, records, place)

    def append(self, records: NDArray[np.void], places: NDArray[np.uint64] | None = None) -> None:
        """Store *records* (dtype `record`, keys distinct and not here yet).

        *places* are those that `probe` gave for their keys, if nothing was stored since.
        """
        start, end = self.rows, self.rows + len(records)
        as_bytes = opaque(self.record)
        self.log.view(as_bytes)[start:end] = records.view(as_bytes)
        self._insert(records["key"], start, places)
        self.rows = end
        self.newest = max(self.newest, float(records["time"].max()))

    def _insert(self, keys: Keys, start: int, places: NDArray[np.uint64] | None = None) -> None:
        mask = np.uint64(self.capacity - 1)
        at = keys[:, 0] & mask if places is None else places
        entry = ((keys[:, 1] >> _HIGH) << _HIGH) | np.arange(start + 1, start + 1 + len(keys), dtype=np.uint64)
        free: slice | NDArray[np.bool_] = slice(None)
        if places is None:
            free = self.index[at] == 0
        while len(at):
            # All rows claim the free places at once; whoever finds another's claim there goes on to the next.
            self.index[at[free]] = entry[free]
            lost = np.flatnonzero(self.index[at] != entry)
            at, entry = (at[lost] + np.uint64(1)) & mask, entry[lost]
            free = self.index[at] == 0

    def reindex(self, committed: int) -> None:
        """Build the index anew from the log: committed rows first, so that later ones can be undone."""
        self.index[:] = 0
        for start, stop in ((0, min(committed, self.rows)), (committed, self.rows)):
            for at in range(start, stop, _CHUNK):
                self._insert(self.log["key"][at : min(at + _CHUNK, stop)], at)

    def undo(self, committed: int) -> bool:
        """Forget index entries of rows from *committed* on: they were written, but never committed.

        Returns whether the index then holds as many rows as it should; if not, it has to be built anew.
        """
        kept = 0
        for at in range(0, self.capacity, 1 << 20):
            part = self.index[at : at + (1 << 20)]
            part[(part & _LOW) > committed] = 0
            kept += int(np.count_nonzero(part))
        return kept == committed

    def grow(self, capacity: int, committed: int) -> Path | None:
        """Make room for more rows; returns the old index file, to be removed once the change is committed.

        Raises OSError, with nothing changed, if the disk has no room for that.
        """
        old_path, old_log = self.index_path, self.log
        log = _array(self.log_path, self.record, room(capacity))
        index = _array(self._index_path(capacity), _ENTRY, capacity)
        if self.folder is None:
            log[: self.rows] = old_log[: self.rows]
        self.capacity, self.log, self.index = capacity, log, index
        self.reindex(committed)
        return old_path

    def flush(self, start: int, stop: int) -> None:
        """Make log rows *start* to *stop* durable."""
        base = _mapping(self.log)
        if base is not None and stop > start:
            begin = start * self.record.itemsize // mmap.PAGESIZE * mmap.PAGESIZE
            base.flush(begin, min(stop * self.record.itemsize, len(base)) - begin)

    def paths(self) -> list[Path]:
        return [path for path in (self.log_path, self.index_path) if path]


def room(capacity: int) -> int:
    """How many rows an index of *capacity* entries has room for."""
    return int(capacity * LOAD)


def _array(path: Path | None, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
    """A zeroed or existing array; its blocks are reserved, so that a full disk is an error now and no SIGBUS later."""
    if path is None:
        return np.zeros(size, dtype)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        length = size * dtype.itemsize
        if os.fstat(handle).st_size < length:
            os.posix_fallocate(handle, 0, length)
        return np.frombuffer(mmap.mmap(handle, length), dtype)
    finally:
        os.close(handle)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    return array.base if isinstance(array.base, mmap.mmap) else None
