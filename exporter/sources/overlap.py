"""Where a table has been read to, and which of its newest rows were delivered already.

Rows are read in the order of their keys (cursor column, tie-break).  A transaction that commits late puts rows behind
rows that were read before it, so each sweep over a table starts again a little before the end of the last one;
rows that were delivered then are known by 64-bit digests, which the cursor carries for that overlap only.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from exporter.contracts import Cursor
from exporter.sources.records import Column

Position: TypeAlias = list[Any]
"""The key values of one row, as JSON: [cursor] or [cursor, tie-break]."""

Digests: TypeAlias = NDArray[np.uint64]


class Keyed(Protocol):
    """A page of rows in key order, of which an overlap needs no more than this."""

    @property
    def count(self) -> int: ...

    @property
    def times(self) -> Sequence[float] | None: ...

    def position(self, row: int) -> Position: ...


LARGEST = 200_000
"""Most rows that an overlap remembers, at most 2.1 MB of cursor each way; beyond it the look-back shrinks."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a sweep starts: by time where the cursor is one (`seconds`), else by a number of `rows`."""

    seconds: float
    rows: int

    def floor(self, end: float, anchor: float | None) -> float:
        """The time from which the next sweep reads, when this one has come to *end*.

        It lies before the *anchor*, the newest time as this sweep began: what is committed during the sweep, behind
        the position, is late against that.
        """
        return (end if anchor is None else min(end, anchor)) - self.seconds

    def first(self, page: Keyed, anchor: float | None) -> int:
        """Which row of a *page* of at least one is the first that the next sweep must meet again."""
        if page.times is None:
            return max(0, page.count - self.rows)
        times = np.asarray(page.times, np.float64)
        return int(np.searchsorted(times, self.floor(float(times[-1]), anchor)))


@dataclass(frozen=True, slots=True)
class Segment:
    """Delivered rows behind the position *start*, in key order; *end* is the time of the last, if it has one.

    *packed* are their digests in base64, as the cursor holds them.
    """

    start: Position | None
    end: float | None
    packed: str

    def __len__(self) -> int:
        return len(self.packed) * 3 // 32

    @property
    def digests(self) -> Digests:
        return np.frombuffer(base64.b64decode(self.packed), "<u8")


@dataclass(frozen=True, slots=True)
class Overlap:
    """One sweep on its way through a table.

    *after* is the position of the last row read, *first* the time from which a first start reads, *anchor* the
    newest time of the table as the sweep began, *seen* the rows of the overlap that the last sweep delivered, *fresh*
    those that the next one will meet again.  *shrunk* says that the last page made the overlap larger than can be
    remembered, so that its oldest rows will not be met again.
    """

    after: Position | None = None
    first: float | None = None
    anchor: float | None = None
    seen: tuple[Segment, ...] = ()
    fresh: tuple[Segment, ...] = ()
    shrunk: bool = False

    @classmethod
    def of(cls, cursor: Cursor) -> Overlap:
        seen, fresh = _unpack(cursor["seen"]), _unpack(cursor["fresh"])
        return cls(cursor["after"], cursor["first"], cursor["anchor"], seen, fresh)

    def cursor(self) -> Cursor:
        segments = {"seen": _pack(self.seen), "fresh": _pack(self.fresh)}
        return {"after": self.after, "first": self.first, "anchor": self.anchor} | segments

    def unseen(self, digests: Digests) -> NDArray[np.bool_]:
        """Which of *digests* were not delivered by the last sweep; shape (n,)."""
        if not self.seen:
            return np.ones(len(digests), np.bool_)
        return np.isin(digests, np.concatenate([segment.digests for segment in self.seen]), invert=True)

    def advance(self, digests: Digests, page: Keyed, reach: Reach) -> Overlap:
        """The sweep behind a *page*, given the *digests* of its last rows: those that the look-back holds."""
        shrunk = len(digests) > LARGEST
        digests = digests[-LARGEST:]
        cut = page.count - len(digests)
        end = None if page.times is None else float(page.times[-1])
        start = page.position(cut - 1) if cut else self.after
        fresh: tuple[Segment, ...] = (Segment(start, end, base64.b64encode(digests.astype("<u8").tobytes()).decode()),)
        if not cut:
            fresh, shrunk = _trim((*self.fresh, *fresh), reach, self.anchor)
        return replace(self, after=page.position(page.count - 1), fresh=fresh, shrunk=shrunk)

    def restart(self) -> Overlap:
        """The next sweep: it starts where the overlap does."""
        if not self.fresh:
            return replace(self, seen=())
        return Overlap(self.fresh[0].start, self.first, self.fresh[-1].end, self.fresh)


def row_digests(columns: Sequence[Column]) -> Digests:
    """The 64-bit xxhash of each row of *columns*; shape (n,)."""

    def hashed(encode: Callable[[Any], bytes]) -> Digests:
        rows = map(encode, zip(*columns, strict=True))
        return np.fromiter(map(xxhash.xxh3_64_intdigest, rows), np.uint64, len(columns[0]))

    try:
        return hashed(_ENCODE)
    except OverflowError:  # an integer of more than 64 bits
        return hashed(_encode_any)


_ENCODE = msgspec.msgpack.Encoder(enc_hook=str).encode


def _encode_any(row: tuple[Any, ...]) -> bytes:
    try:
        return _ENCODE(row)
    except OverflowError:
        return repr(row).encode()


def _trim(segments: tuple[Segment, ...], reach: Reach, anchor: float | None) -> tuple[tuple[Segment, ...], bool]:
    """*segments* without the oldest ones that the look-back does not reach, and whether others had to go too."""
    total = sum(map(len, segments))
    newest = segments[-1].end
    shrunk = False
    first = 0
    while first < len(segments) - 1:
        oldest = segments[first]
        rest = total - len(oldest)
        late = rest >= reach.rows if newest is None or oldest.end is None else oldest.end < reach.floor(newest, anchor)
        if not late and total <= LARGEST:
            break
        shrunk = shrunk or not late
        total, first = rest, first + 1
    return segments[first:], shrunk


def _pack(segments: tuple[Segment, ...]) -> list[list[Any]]:
    return [[segment.start, segment.end, segment.packed] for segment in segments]


def _unpack(packed: list[list[Any]]) -> tuple[Segment, ...]:
    return tuple(Segment(*parts) for parts in packed)
