"""The last rows of each group by the time of their label: a window by count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import PLAIN, Floats, Layout, Scored, opaque, picked

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


_TAIL = 2
"""How many rows at the end of a batch are looked at, per row of the windows of all groups."""


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
        back = scored.sign < 0
        corrected = bool(back.any())
        some = np.arange(len(scored)) if corrected else self._candidates(scored)
        # A record has two bytes for its group, and numbers of two bytes are sorted in linear time.
        group_of = scored.group[some].astype(np.uint16)
        order = some[np.argsort(group_of, kind="stable")]
        for mine in np.split(order, np.cumsum(np.bincount(group_of))[:-1]):
            if not len(mine):
                continue
            group = int(scored.group[mine[0]])
            kept = self.groups.get(group, np.empty(0, self.row))
            gone = np.zeros(len(kept), np.bool_)
            at = mine
            if corrected:
                gone = np.isin(kept["slot"], scored.slot[mine[back[mine]]])
                at = mine[~back[mine]]
                # Of several results for one prediction within these rows only the last one stands.
                at = at[_last_of_each(scored.slot[at])]
            if len(kept) - np.count_nonzero(gone) >= self.rows:
                at = at[scored.label_time[at] >= kept["label_time"][0]]
            new = _rows(scored, at[_newest(scored.label_time[at], self.rows)], self.row)
            merged = _together([picked(kept, ~gone), new], self.row)
            merged = picked(merged, _newest(merged["label_time"], len(merged)))
            over = max(0, len(merged) - self.rows)
            left += [picked(kept, gone), merged[:over]]
            entered.append(new)
            self.groups[group] = merged[over:]
            self.dirty.add(group)
        return _scored(entered, self.row), _scored(left, self.row)

    def _candidates(self, scored: Scored) -> NDArray[np.intp]:
        """Where rows stand that can be among the last of their group, of rows of which none is taken back.

        Not those that are older than all that a full window keeps, nor those that are older than as many of the rows
        that came last: a long batch in the order of time leaves few, and so does one whose labels are of any age.
        """
        groups = int(scored.group.max(initial=0)) + 1
        oldest = np.full(groups, -np.inf)
        for group, kept in self.groups.items():
            if group < groups and len(kept) >= self.rows:
                oldest[group] = kept["label_time"][0]
        tail = _TAIL * self.rows * groups
        if tail < len(scored) // 2:
            group_of, time = scored.group[-tail:], scored.label_time[-tail:]
            for group in range(groups):
                mine = time[group_of == group]
                if len(mine) >= self.rows:
                    oldest[group] = max(oldest[group], np.partition(mine, -self.rows)[-self.rows])
        return np.flatnonzero(scored.label_time >= oldest.take(scored.group))

    def changes(self) -> Iterator[tuple[str, bytes]]:
        for group in sorted(self.dirty):
            yield str(group), self.groups[group].tobytes()
        self.dirty.clear()

    def load(self, name: str, blob: bytes) -> None:
        self.groups[int(name)] = np.frombuffer(blob, self.row)

    def all(self) -> Scored:
        """Every row inside, to count them anew after a start."""
        return _scored(list(self.groups.values()), self.row)


def _rows(scored: Scored, at: NDArray[np.intp], row: np.dtype[np.void]) -> NDArray[np.void]:
    out = np.empty(len(at), row)
    for name in row.names or ():
        out[name] = getattr(scored, name)[at]
    return out


def _together(parts: list[NDArray[np.void]], row: np.dtype[np.void]) -> NDArray[np.void]:
    return np.concatenate([part.view(opaque(row)) for part in parts] or [np.empty(0, opaque(row))]).view(row)


def _scored(parts: list[NDArray[np.void]], row: np.dtype[np.void]) -> Scored:
    rows = _together(parts, row)
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
