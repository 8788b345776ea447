"""Where a table has been read to, and which of its newest rows were delivered already.

Rows are read in the order of their keys (cursor column, tie-break).  A transaction that commits late puts rows behind
rows that were read before it, so each sweep over a table starts again a little before the end of the last one;
rows that were delivered then are known by 64-bit digests, which the cursor carries for that overlap only.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cursor

Position: TypeAlias = list[Any]
"""The key values of one row, as JSON: [cursor] or [cursor, tie-break]."""

Digests: TypeAlias = NDArray[np.uint64]

LARGEST = 200_000
"""Most rows that an overlap remembers, at most 2.1 MB of cursor each way; beyond it the look-back shrinks."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back a sweep starts: by time where the cursor is one (`seconds`), else by a number of `rows`."""

    seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Delivered rows behind the position *start*, in key order; *end* is the time of the last, if it has one."""

    start: Position | None
    end: float | None
    digests: Digests


@dataclass(frozen=True, slots=True)
class Overlap:
    """One sweep on its way through a table.

    *after* is the position of the last row read, *first* the time from which a first start reads, *seen* the rows
    of the overlap that the last sweep delivered, *fresh* those that the next one will meet again.  *shrunk* says that
    the last page made the overlap larger than can be remembered, so that its oldest rows will not be met again.
    """

    after: Position | None = None
    first: float | None = None
    seen: tuple[Segment, ...] = ()
    fresh: tuple[Segment, ...] = ()
    shrunk: bool = False

    @classmethod
    def of(cls, cursor: Cursor) -> Overlap:
        return cls(cursor["after"], cursor["first"], _unpack(cursor["seen"]), _unpack(cursor["fresh"]))

    def cursor(self) -> Cursor:
        return {"after": self.after, "first": self.first, "seen": _pack(self.seen), "fresh": _pack(self.fresh)}

    def unseen(self, digests: Digests) -> NDArray[np.bool_]:
        """Which of *digests* were not delivered by the last sweep; shape (n,)."""
        if not self.seen:
            return np.ones(len(digests), np.bool_)
        return np.isin(digests, np.concatenate([segment.digests for segment in self.seen]), invert=True)

    def advance(
        self, digests: Digests, times: Sequence[float] | None, position: Callable[[int], Position], reach: Reach
    ) -> Overlap:
        """The sweep behind a page of n > 0 rows, given their digests, ascending times and positions."""
        count = len(digests)
        if times is None:
            end, cut = None, max(0, count - reach.rows)
        else:
            end = float(times[-1])
            cut = int(np.searchsorted(np.asarray(times, np.float64), end - reach.seconds))
        shrunk = count - cut > LARGEST
        cut = max(cut, count - LARGEST)
        fresh: tuple[Segment, ...] = (Segment(position(cut - 1) if cut else self.after, end, digests[cut:]),)
        if not cut:
            fresh, shrunk = _trim((*self.fresh, *fresh), reach)
        return Overlap(position(count - 1), self.first, self.seen, fresh, shrunk)

    def restart(self) -> Overlap:
        """The next sweep: it starts where the overlap does."""
        after = self.fresh[0].start if self.fresh else self.after
        return Overlap(after, self.first, self.fresh, ())


def _trim(segments: tuple[Segment, ...], reach: Reach) -> tuple[tuple[Segment, ...], bool]:
    """*segments* without the oldest ones that the look-back does not reach, and whether others had to go too."""
    total = sum(len(segment.digests) for segment in segments)
    newest = segments[-1].end
    shrunk = False
    first = 0
    while first < len(segments) - 1:
        oldest = segments[first]
        rest = total - len(oldest.digests)
        late = rest >= reach.rows if newest is None or oldest.end is None else oldest.end < newest - reach.seconds
        if not late and total <= LARGEST:
            break
        shrunk = shrunk or not late
        total, first = rest, first + 1
    return segments[first:], shrunk


def _pack(segments: tuple[Segment, ...]) -> list[list[Any]]:
    return [[s.start, s.end, base64.b64encode(s.digests.astype("<u8").tobytes()).decode()] for s in segments]


def _unpack(packed: list[list[Any]]) -> tuple[Segment, ...]:
    return tuple(
        Segment(start, end, np.frombuffer(base64.b64decode(digests), "<u8")) for start, end, digests in packed
    )
