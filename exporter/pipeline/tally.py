"""One family's counts of one model: over all time, and over every configured window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import numpy as np

from exporter.contracts import Family, Floats, Scored, Series, Traffic, WindowSpec
from exporter.windows import CountWindow, TimeWindow, Totals, increments, of_rows

Names = Mapping[str, Sequence[str]]

_LOSS = 1e6
"""What leaves a sum may be so many times what stays, before that is added up anew."""


class Tally:
    """Adds up the cells of *family*.  Windows by count are filled from outside: the rows are kept once per model."""

    def __init__(self, family: Family, windows: Sequence[WindowSpec]) -> None:
        self.family = family
        self.totals = Totals(family.size)
        self.timed: dict[str, TimeWindow] = {}
        self.counted: dict[str, Totals] = {}
        self._left: Counter[str] = Counter()
        """Rows that have left a window by count since its sums were last made anew."""
        for window in windows if family.windowed else ():
            if window.seconds is not None:
                self.timed[window.name] = TimeWindow(window.seconds, family.size)
            else:
                self.counted[window.name] = Totals(family.size)

    def add(self, rows: Traffic | Scored) -> None:
        """Count *rows* into the totals and the windows by time."""
        cells = self.family.cells(rows)
        cell, weight = increments(cells, rows.group, self.family.size)
        if isinstance(rows, Traffic):
            self.totals.add(cell, weight)
            return
        if cells.weight is not None:
            for window in self.timed.values():
                window.whole = False
        sign = of_rows(rows.sign, cells)
        self.totals.add(cell, weight, sign)
        for window in self.timed.values():
            window.add(cell, weight * sign, of_rows(rows.label_time, cells))

    def slide(self, name: str, window: CountWindow, entered: Scored, left: Scored) -> None:
        """Count rows in that entered, and out that left, the *window* by count called *name*."""
        if name not in self.counted:
            return
        sums = self.counted[name]
        self._count(sums, entered, 1)
        gone, whole = self._count(sums, left, -1)
        if whole or not len(left):
            return
        # Sums of other than whole numbers lose what is small beside what was taken off: they are made anew in time.
        self._left[name] += len(left)
        rest = (sums.added - sums.retracted).reshape(-1)[: len(gone)]
        if self._left[name] > window.rows // 4 or (gone > _LOSS * rest).any():
            self._left[name] = 0
            self.counted[name] = Totals(self.family.size)
            self._count(self.counted[name], window.all(), 1)

    def _count(self, sums: Totals, rows: Scored, sign: int) -> tuple[Floats, bool]:
        """Add *rows* to *sums*; returns what each cell got, and whether those were whole numbers."""
        cells = self.family.cells(rows)
        cell, weight = increments(cells, rows.group, self.family.size)
        sums.add(cell, weight, np.full(len(cell), sign, np.int8))
        if cells.weight is None:
            return np.empty(0), True
        sums_of_rows: Floats = np.bincount(cell, weight).astype(np.float64, copy=False)
        return sums_of_rows, False

    def advance(self, now: float) -> None:
        for window in self.timed.values():
            window.advance(now)

    def clear(self, group: int) -> None:
        self.totals.clear(group)

    # --- values ----------------------------------------------------------------------------------

    def series(self, names: Names, windows: Sequence[WindowSpec]) -> list[Series]:
        """All series of one group: counters first, then the gauges of each window."""
        gauges = self.family.window_series(names)
        return [
            *self.family.series(names),
            *(
                Series(gauge.metric, (("window", window.name), *gauge.labels), gauge.suffix)
                for window in windows
                for gauge in gauges
            ),
        ]

    def values(self, names: Names, windows: Sequence[WindowSpec], group: int) -> list[float]:
        """Values in the order of `series`."""
        out = list(self.family.values(names, *self.totals.of(group)))
        for window in windows if self.family.windowed else ():
            out += self.family.window_values(names, self.inside(window.name, group))
        return out

    def inside(self, window: str, group: int) -> Floats:
        """Cell sums of *group* inside a window, shape (size,)."""
        if window in self.timed:
            return self.timed[window].of(group)
        added, retracted = self.counted[window].of(group)
        return added - retracted

    # --- state -----------------------------------------------------------------------------------

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        for group, blob in self.totals.changes():
            yield f"total/{group}", blob
        for name, window in self.timed.items():
            for bucket, part in window.changes():
                yield f"{quote(name, safe='')}/{bucket}", part

    def load(self, name: str, blob: bytes) -> bool:
        """Take back what `changes` gave; returns false for a window that is no longer configured."""
        kind, _, key = name.partition("/")
        owners = {quote(window, safe=""): sums for window, sums in self.timed.items()} | {"total": self.totals}
        if kind in owners:
            owners[kind].load(key, blob)
        return kind in owners
