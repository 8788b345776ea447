"""Remembered rows of one model: a few large segments, found by id, dropped whole when they are old.

Changes follow one rule: what is appended lies beyond the committed length and is undone by forgetting that
length; what is changed in place (a label) waits in `relabelled` until the transaction that names it is durable.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.contracts import PLAIN, Keys, Layout, opaque
from exporter.errors import StateError
from exporter.state.segment import Segment, room

SMALLEST = 1 << 13
LARGEST = 1 << 23


class SegmentMeta(msgspec.Struct, frozen=True):
    """What a commit says of a segment."""

    first: int
    capacity: int
    rows: int
    newest: float


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    """What a commit says of a table."""

    next: int
    segments: list[SegmentMeta]
    layout: Layout | None = None


@dataclass(slots=True)
class Table:
    """Rows by id.  A *slot* is a row's number since the table began; it never changes and is never used again.

    `folder` None keeps all in memory.  `largest` is the index size at which a new segment is begun.
    """

    folder: Path | None = None
    largest: int = LARGEST
    layout: Layout = PLAIN
    segments: list[Segment] = field(default_factory=list)
    relabelled: list[NDArray[np.void]] = field(default_factory=list)
    obsolete: list[Path] = field(default_factory=list)
    _committed: int = 0
    _next: int = 0

    @property
    def rows(self) -> int:
        """How many rows are remembered."""
        return sum(segment.rows for segment in self.segments)

    @property
    def size(self) -> int:
        """Bytes of all rows and indexes."""
        return sum(segment.log.nbytes + segment.index.nbytes for segment in self.segments)

    def look(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]:
        """Slot of every key, shape (n,), and copies of the rows (dtype `layout.record`).

        Of a key that is not remembered the slot is -1, and the row means nothing.  Newest segments are asked first.
        """
        record = self.layout.record
        if len(self.segments) == 1:
            row, records, _ = self.segments[0].probe(keys)
            return np.where(row < 0, -1, row + self.segments[0].first), records.view(record)
        slot, records = np.full(len(keys), -1, np.int64), np.empty(len(keys), opaque(record))
        todo = np.arange(len(keys))
        for segment in reversed(self.segments):
            row, found, _ = segment.probe(keys[todo])
            hit = row >= 0
            slot[todo[hit]], records[todo[hit]] = row[hit] + segment.first, found[hit]
            todo = todo[~hit]
            if not len(todo):
                break
        return slot, records.view(record)

    def reserve(self, rows: int) -> None:
        """Make room for *rows* more rows, so that to `remember` so many cannot fail.

        Raises StateError if the disk is full; no row is lost then.
        """
        try:
            if rows and not self.segments:
                self._begin(min(SMALLEST, self.largest))
            while self._room < rows:
                last = self.segments[-1]
                if last.capacity < self.largest:
                    self._grow(last, rows - self._room)
                else:
                    self._begin(self.largest)
        except OSError as error:
            raise StateError(f"cannot make room for remembered rows: {error.strerror}: free some disk") from error

    def remember(self, records: NDArray[np.void]) -> NDArray[np.intp]:
        """Append those *records* (of `layout`) whose key is not known, of equal keys the first; returns which."""
        self.reserve(len(records))
        if not len(records):
            return np.empty(0, np.intp)
        keys = records["key"]
        filling = self._filling
        row, _, places = self.segments[filling].probe(keys)
        new = np.flatnonzero(row < 0)
        for segment in reversed(self.segments[:filling]):
            new = new[segment.probe(keys[new]).row < 0]
        new = new[_first_of_each(keys[new])]
        if len(new) == len(records):
            self._append(records, places)
        else:
            self._append(records[new], places[new])
        return new

    def _append(self, records: NDArray[np.void], places: NDArray[np.uint64]) -> None:
        """Store new *records*, for which there is room; *places* are free ones of the segment that is filled next."""
        done = 0
        while done < len(records):
            filling = self.segments[self._filling]
            part = slice(done, done + filling.limit - filling.rows)
            filling.append(records[part], None if done else places[part])
            self._next += len(records[part])
            done = part.stop

    def relabel(self, change: NDArray[np.void]) -> None:
        """Set labels (dtype `layout.change`), each slot named once between two commits.

        A row that was appended since the last commit changes at once, an older one when the commit is durable.
        """
        new = change["slot"] >= self._committed
        if not new.any():
            self.relabelled.append(change)
            return
        self.apply(change[new])
        if not new.all():
            self.relabelled.append(change[~new])

    def apply(self, change: NDArray[np.void]) -> None:
        """Write label changes (of `layout`) into their rows; rows that were dropped meanwhile are passed over."""
        for segment, here in self._by_segment(change["slot"]):
            _relabel(segment.log, change["slot"][here] - segment.first, change[here])

    def forget(self, before: float, most: int) -> list[tuple[NDArray[np.void], bool]]:
        """Drop whole segments that are older than time *before*, and the oldest ones while over *most* rows.

        The segment that is being filled stays.  Returns what was dropped, labels that still wait for the commit
        included, and whether it was due by its age; read it before the next commit.
        """
        dropped = []
        while self.segments and self._filling > 0:
            oldest = self.segments[0]
            due = oldest.newest < before
            if not due and self.rows <= most:
                break
            dropped.append((self._as_labelled(oldest), due))
            self.obsolete.extend(oldest.paths())
            del self.segments[0]
        return dropped

    def scan(self) -> Iterator[NDArray[np.void]]:
        """Views of all rows, segment by segment."""
        for segment in self.segments:
            yield segment.log[: segment.rows]

    # --- the two sides of a commit ---------------------------------------------------------------

    def prepare(self) -> tuple[bytes, bytes]:
        """Make appended rows durable; returns the description and the label changes that the commit must hold."""
        for segment in self.segments:
            start = max(0, self._committed - segment.first)
            segment.flush(start, segment.rows)
        meta = [SegmentMeta(s.first, s.capacity, s.rows, s.newest) for s in self.segments]
        changes = np.concatenate(self.relabelled).tobytes() if self.relabelled else b""
        # Without a layout of its own a table is described as older programs do, and read, it.
        of_layout = [] if self.layout == PLAIN else [self.layout]
        return msgspec.msgpack.encode([self._next, meta, *of_layout]), changes

    def committed(self) -> None:
        """The commit is durable: write the waiting labels, remove files that nothing names any more."""
        for change in self.relabelled:
            self.apply(change)
        self.relabelled.clear()
        self._committed = self._next
        for path in self.obsolete:
            path.unlink(missing_ok=True)
        self.obsolete.clear()

    def restore(self, meta: bytes, *, trust_index: bool) -> None:
        """Open the segments that a commit named and undo what was written after it.

        Raises StateError if a file is missing or too short.
        """
        saved = msgspec.msgpack.decode(meta, type=_Meta)
        self._next = self._committed = saved.next
        self.layout = saved.layout or PLAIN
        for item in saved.segments:
            self._require(item)
            segment = self._segment(item.first, item.capacity, item.rows, item.newest)
            self.segments.append(segment)
            if not (trust_index and segment.undo(item.rows)):
                segment.reindex(item.rows)
        self._sweep()

    def flush(self) -> None:
        """Make all label changes that were applied durable in their rows."""
        for segment in self.segments:
            segment.flush(0, segment.rows)

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _filling(self) -> int:
        """Position of the segment that takes the next row; those behind it are empty, and reserved."""
        at = len(self.segments) - 1
        while at > 0 and not self.segments[at].rows and self.segments[at - 1].rows < self.segments[at - 1].limit:
            at -= 1
        return at

    @property
    def _room(self) -> int:
        """How many rows can be appended as it is."""
        return sum(segment.limit - segment.rows for segment in self.segments[max(0, self._filling) :])

    def _grow(self, last: Segment, missing: int) -> None:
        """Let the *last* segment have room for as many rows as are *missing*, or as it may."""
        capacity = min(8 * last.capacity, self.largest)
        while capacity < self.largest and room(capacity) < last.limit + missing:
            capacity *= 2
        old = last.grow(capacity, max(0, self._committed - last.first))
        if old:
            self.obsolete.append(old)

    def _begin(self, capacity: int) -> None:
        """Begin a new segment behind the last one, in new files: a kill may have left some of these names."""
        first = self.segments[-1].first + self.segments[-1].limit if self.segments else self._next
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.glob(f"{first:012d}.*"):
                path.unlink()
        self.segments.append(self._segment(first, capacity))

    def _segment(self, first: int, capacity: int, rows: int = 0, newest: float = -np.inf) -> Segment:
        return Segment(self.folder, first, capacity, rows, newest, record=self.layout.record)

    def _as_labelled(self, segment: Segment) -> NDArray[np.void]:
        """The rows of *segment* as they will be once the commit is durable; the files keep what they hold."""
        rows: NDArray[np.void] = segment.log[: segment.rows]
        for change in self.relabelled:
            here = change[(change["slot"] >= segment.first) & (change["slot"] < segment.first + segment.rows)]
            if len(here):
                rows = rows.copy()
                _relabel(rows, here["slot"] - segment.first, here)
        return rows

    def _by_segment(self, slots: NDArray[np.int64]) -> list[tuple[Segment, Any]]:
        if len(self.segments) == 1 and (not len(slots) or slots.min() >= self.segments[0].first):
            return [(self.segments[0], slice(None))]
        parts = []
        for segment in self.segments:
            here = np.flatnonzero((slots >= segment.first) & (slots < segment.first + segment.rows))
            if len(here):
                parts.append((segment, here))
        return parts

    def _require(self, item: SegmentMeta) -> None:
        log = self.folder / f"{item.first:012d}.rows" if self.folder else None
        needed = item.rows * self.layout.record.itemsize
        if log is None or not log.is_file() or log.stat().st_size < needed:
            raise StateError(f"{log} is missing or too short for {item.rows} rows")

    def _sweep(self) -> None:
        """Remove files that the commit does not name: a segment or an index begun just before a kill."""
        if self.folder and self.folder.is_dir():
            known = {path for segment in self.segments for path in segment.paths()}
            for path in self.folder.iterdir():
                if path not in known:
                    path.unlink()


@functools.cache
def _label_bytes(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """A view of *dtype* that shows only its label, as mere bytes; its fields stand side by side at the end."""
    start = dtype.fields["label_time"][1] if dtype.fields else 0
    size = dtype.itemsize - start
    return np.dtype({"names": ["label"], "formats": [f"V{size}"], "offsets": [start], "itemsize": dtype.itemsize})


def _relabel(rows: NDArray[np.void], at: NDArray[np.int64], change: NDArray[np.void]) -> None:
    """Set the labels of *change* in the *rows* at *at*."""
    rows.view(_label_bytes(rows.dtype))["label"][at] = change.view(_label_bytes(change.dtype))["label"]


def _first_of_each(keys: Keys) -> NDArray[np.intp]:
    """Positions of the first occurrence of every key, in order; the usual case of no repeat costs one sort."""
    ordered = np.sort(keys[:, 0])
    if not (ordered[1:] == ordered[:-1]).any():
        return np.arange(len(keys))
    whole = np.ascontiguousarray(keys).view([("high", "<u8"), ("low", "<u8")]).ravel()
    _, first = np.unique(whole, return_index=True)
    return np.sort(first)
