"""Remembered rows of one model: a few large segments, found by id, dropped whole when they are old.

Changes follow one rule: what is appended lies beyond the committed length and is undone by forgetting that
length; what is changed in place (a label) waits in `relabelled` until the transaction that names it is durable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.contracts import RECORD, Keys
from exporter.errors import StateError
from exporter.state.segment import Segment

SMALLEST = 1 << 13
LARGEST = 1 << 22

_OPAQUE = np.dtype(f"V{RECORD.itemsize}")
"""A record as mere bytes: copied several times faster than field by field."""


class SegmentMeta(msgspec.Struct, frozen=True):
    """What a commit says of a segment."""

    first: int
    capacity: int
    rows: int
    newest: float


@dataclass(slots=True)
class Table:
    """Rows by id.  A *slot* is a row's number since the table began; it never changes and is never used again.

    `folder` None keeps all in memory.  `largest` is the index size at which a new segment is begun.
    """

    folder: Path | None = None
    largest: int = LARGEST
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

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Slot of every key, -1 where it is not remembered; shape (n,).  Newest segments are asked first."""
        out = np.full(len(keys), -1, np.int64)
        todo = np.arange(len(keys))
        for segment in reversed(self.segments):
            row = segment.find(keys[todo])
            hit = row >= 0
            out[todo[hit]] = row[hit] + segment.first
            todo = todo[~hit]
            if not len(todo):
                break
        return out

    def reserve(self, rows: int) -> None:
        """Make room for *rows* more rows; raises StateError if the disk is full, before anything has changed."""
        try:
            while self.segments and self.segments[-1].rows + rows > self.segments[-1].limit:
                last = self.segments[-1]
                if last.capacity >= self.largest:
                    break
                old = last.grow(last.capacity * 2, max(0, self._committed - last.first))
                if old:
                    self.obsolete.append(old)
            if not self.segments or self.segments[-1].rows >= self.segments[-1].limit:
                self._begin(SMALLEST if not self.segments else self.largest)
                self.reserve(rows)
        except OSError as error:
            raise StateError(f"cannot make room for remembered rows: {error.strerror}: free some disk") from error

    def append(self, records: NDArray[np.void]) -> NDArray[np.int64]:
        """Remember *records* (dtype RECORD; keys distinct and new) and return their slots."""
        slots = np.empty(len(records), np.int64)
        done = 0
        while done < len(records):
            self.reserve(len(records) - done)
            last = self.segments[-1]
            part = records[done : done + last.limit - last.rows]
            slots[done : done + len(part)] = last.append(part) + last.first
            done += len(part)
            self._next += len(part)
        return slots

    def read(self, slots: NDArray[np.int64]) -> NDArray[np.void]:
        """Copies of the rows at *slots*, dtype RECORD."""
        out = np.empty(len(slots), _OPAQUE)
        for segment, here in self._by_segment(slots):
            out[here] = segment.log.view(_OPAQUE)[slots[here] - segment.first]
        return out.view(RECORD)

    def relabel(self, change: NDArray[np.void]) -> None:
        """Set labels (dtype CHANGE), each slot named once between two commits.

        A row that was appended since the last commit changes at once, an older one when the commit is durable.
        """
        new = change["slot"] >= self._committed
        self.apply(change[new])
        if not new.all():
            self.relabelled.append(change[~new])

    def apply(self, change: NDArray[np.void]) -> None:
        """Write label changes (dtype CHANGE) into their rows; rows that were dropped meanwhile are passed over."""
        for segment, here in self._by_segment(change["slot"]):
            row = change["slot"][here] - segment.first
            for field_ in ("label_time", "confirmed", "actual"):
                segment.log[field_][row] = change[field_][here]

    def forget(self, before: float, most: int) -> list[tuple[NDArray[np.void], bool]]:
        """Drop whole segments that are older than time *before*, and the oldest ones while over *most* rows.

        Returns views of what was dropped, and whether it was due by its age; read them before the next commit.
        """
        dropped = []
        while len(self.segments) > 1:
            oldest = self.segments[0]
            due = oldest.newest < before
            if not due and self.rows <= most:
                break
            dropped.append((oldest.log[: oldest.rows], due))
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
        return msgspec.msgpack.encode([self._next, meta]), changes

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
        self._next, segments = msgspec.msgpack.decode(meta, type=tuple[int, list[SegmentMeta]])
        self._committed = self._next
        for item in segments:
            self._require(item)
            segment = Segment(self.folder, item.first, item.capacity, item.rows, item.newest)
            self.segments.append(segment)
            if trust_index:
                segment.undo(item.rows)
            else:
                segment.reindex(item.rows)
        self._sweep()

    def flush(self) -> None:
        """Make all label changes that were applied durable in their rows."""
        for segment in self.segments:
            segment.flush(0, segment.rows)

    # --- inside ----------------------------------------------------------------------------------

    def _begin(self, capacity: int) -> None:
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.segments.append(Segment(self.folder, self._next, capacity))

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
        needed = item.rows * RECORD.itemsize
        if log is None or not log.is_file() or log.stat().st_size < needed:
            raise StateError(f"{log} is missing or too short for {item.rows} rows")

    def _sweep(self) -> None:
        """Remove files that the commit does not name: a segment or an index begun just before a kill."""
        if self.folder and self.folder.is_dir():
            known = {path for segment in self.segments for path in segment.paths()}
            for path in self.folder.iterdir():
                if path not in known:
                    path.unlink()
