"""One family's counts of one model: over all time, and over every configured window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Cells, Codes, Family, Floats, ManyWindows, Scored, Series, Traffic, WindowSpec
from exporter.last_rows import CountWindow
from exporter.windows import Columns, Part, TimeWindow, Totals, chosen, coarser, of_rows, tabulated

Names = Mapping[str, Sequence[str]]

_LOSS = 1e6
"""What leaves a sum may be so many times what stays, before that is added up anew."""


def served(family: Family, windows: Iterable[WindowSpec]) -> list[WindowSpec]:
    """Those of *windows* that *family* has gauges of."""
    if not family.windowed:
        return []
    by_prediction = getattr(family, "by_prediction", False)
    return [window for window in windows if window.seconds is not None or not by_prediction]


class Stretches:
    """The buckets, by width, that rows fall into by their event *time*; each is found once for all families."""

    def __init__(self, time: Floats) -> None:
        self._time = time
        self._of: dict[float, NDArray[np.int64]] = {}

    def of(self, width: float) -> NDArray[np.int64]:
        if width not in self._of:
            self._of[width] = np.floor(self._time / width).astype(np.int64)
        return self._of[width]


class Arrived:
    """The rows of one cycle, and the buckets that each of their times fall into."""

    def __init__(self, traffic: Traffic, scored: Scored) -> None:
        self.traffic, self.scored = traffic, scored
        self.made, self.by_label, self.by_prediction = map(Stretches, (traffic.time, scored.label_time, scored.time))


class Tally:
    """Adds up the cells of *family*.  Windows by count are filled from outside: the rows are kept once per model."""

    def __init__(self, family: Family, windows: Sequence[WindowSpec]) -> None:
        self.family = family
        self.by_prediction = getattr(family, "by_prediction", False)
        self.totals = Totals(family.size)
        self._at_once = isinstance(family, ManyWindows)  # asking that takes as long as making the gauges
        self._calibrated: dict[int, Family] = {}
        """Families that know what the scores of a group mean, by group."""
        self.timed: dict[str, TimeWindow] = {}
        self.counted: dict[str, Totals] = {}
        self._left: Counter[str] = Counter()
        """Rows that have left a window by count since its sums were last made anew."""
        self._columns = Columns()
        self._gauges: dict[tuple[int, ...], Mapping[str, list[float]]] = {}
        """What `gauges` has made since the last change, by group and how many names there were."""
        self._gauge_series: tuple[tuple[int, ...], Sequence[Series]] | None = None
        finest = min((window.seconds for window in windows if window.seconds is not None), default=1.0)
        for window in served(family, windows):
            if window.seconds is not None:
                steps = round(window.seconds / finest)
                steps = steps if steps * finest == window.seconds else 1
                self.timed[window.name] = TimeWindow(window.seconds, family.size, self._columns, steps)
            else:
                self.counted[window.name] = Totals(family.size)

    def take(self, arrived: Arrived) -> None:
        """Count those rows of a cycle that the family is about."""
        if self.family.feed == "traffic":
            self.add(arrived.traffic, arrived.made)
        else:
            self.add(arrived.scored, arrived.by_prediction if self.by_prediction else arrived.by_label)

    def add(self, rows: Traffic | Scored, stretches: Stretches) -> None:
        """Count *rows* into the totals and the windows by time, at those *stretches* of it."""
        if not len(rows):
            return
        self.clear_gauges()
        cells = self.family.cells(rows)
        parts = self._parts(cells, rows.group)
        if cells.weight is not None or cells.more:
            for window in self.timed.values():
                window.whole = False
        if not len(cells.local):
            return
        back = np.empty(0, np.intp)
        if isinstance(rows, Scored):
            sign = of_rows(rows.sign, cells)
            back = np.flatnonzero(sign < 0)
        if len(back):
            sides = [self._columns.sums(chosen(parts, at)) for at in (np.flatnonzero(sign > 0), back)]
            parts = [(column, sign.astype(float) if weight is None else weight * sign) for column, weight in parts]
            self._add_to_windows(parts, cells, stretches)
        else:
            whole = self._add_to_windows(parts, cells, stretches)
            sides = [self._columns.sums(parts) if whole is None else whole.sum(axis=0)]
        self.totals.add(self._columns.cells, *sides)

    def _parts(self, cells: Cells, group: Codes) -> list[Part]:
        start = of_rows(group, cells).astype(np.int64) * self.family.size
        parts = ((cells.local, cells.weight), *cells.more)
        return [(self._columns.of(start + local), weight) for local, weight in parts]

    def _add_to_windows(self, parts: list[Part], cells: Cells, stretches: Stretches) -> Floats | None:
        """Add rows to all windows by time; returns sums of all of them by bucket and column, if those were made.

        They are tabulated for one window, and the tables of those that are a multiple as long are made of that one.
        """
        tables: list[tuple[float, int, tuple[int, Floats]]] = []
        for window in sorted(self.timed.values(), key=lambda window: window.steps):
            base, steps = window.base, window.steps
            known = next((one for one in tables if one[0] == base and steps % one[1] == 0), None)
            if known is None:
                bucket = of_rows(stretches.of(base), cells)
                bucket = bucket // steps if steps > 1 else bucket
                table = tabulated(bucket, parts, len(self._columns))
                if table is None:
                    window.add_rows(bucket, parts)
                    continue
                tables.append((base, steps, table))
            else:
                table = coarser(*known[2], steps // known[1])
            window.take(*table)
        return tables[0][2][1] if tables else None

    def slide(self, name: str, window: CountWindow, entered: Scored, left: Scored) -> None:
        """Count rows in that entered, and out that left, the *window* by count called *name*."""
        if name not in self.counted:
            return
        self.clear_gauges()
        sums, columns = self.counted[name], self._columns
        parts = [self._parts(self.family.cells(rows), rows.group) for rows in (entered, left)]
        came, gone = map(columns.sums, parts)
        sums.add(columns.cells, came, gone)
        if not len(left) or all(weight is None for _, weight in parts[1]):
            return
        # Sums of other than whole numbers lose what is small beside what was taken off: they are made anew in time.
        self._left[name] += len(left)
        rest = (sums.added - sums.retracted).reshape(-1)[columns.cells]
        if self._left[name] > window.rows or (gone > _LOSS * rest).any():
            self._left[name] = 0
            self.counted[name] = Totals(self.family.size)
            inside = window.all()
            parts = [self._parts(self.family.cells(inside), inside.group)]
            self.counted[name].add(columns.cells, columns.sums(parts[0]))

    def advance(self, now: float) -> None:
        self.clear_gauges()
        for window in self.timed.values():
            window.fall(now)

    def calibrate(self, group: int, family: Family) -> None:
        """Make all values of *group* by *family* from now on: the same as this one's, by another calibration."""
        self.clear_gauges()
        self._calibrated[group] = family

    def _of_group(self, group: int) -> Family:
        return self._calibrated.get(group, self.family)

    # --- values ----------------------------------------------------------------------------------

    def series(self, names: Names, windows: Sequence[WindowSpec]) -> list[Series]:
        """All series of one group: counters first, then the gauges of each window."""
        gauges = self.gauge_series(names)
        return [
            *self.family.series(names),
            *(
                Series(gauge.metric, (("window", window.name), *gauge.labels), gauge.suffix)
                for window in served(self.family, windows)
                for gauge in gauges
            ),
        ]

    def values(self, names: Names, windows: Sequence[WindowSpec], group: int) -> list[float]:
        """Values in the order of `series`."""
        out = list(self._of_group(group).values(names, *self.totals.of(group)))
        if windows and (self.timed or self.counted):
            made = self._all_gauges(names, group)
            for window in windows:
                out += made.get(window.name, ())
        return out

    def clear_gauges(self) -> None:
        """Forget what `gauges` has made: something has changed."""
        self._gauges.clear()

    def gauge_series(self, names: Names) -> Sequence[Series]:
        """The gauges of one window, without its label; they change only with how many names there are."""
        known = tuple(map(len, names.values()))
        if self._gauge_series is None or self._gauge_series[0] != known:
            self._gauge_series = known, self.family.window_series(names)
        return self._gauge_series[1]

    def gauges(self, names: Names, window: str, group: int) -> list[float]:
        """Values of one window in the order of `gauge_series`; made once for all who ask."""
        return self._all_gauges(names, group)[window]

    def make_gauges(self, names: Names, groups: Sequence[int]) -> None:
        """Make the gauges of those *groups* that have none yet; at once, where that is less work than one by one."""
        known = tuple(map(len, names.values()))
        windows = [*self.timed, *self.counted]
        missing = [group for group in groups if (group, *known) not in self._gauges]
        together = [group for group in missing if group not in self._calibrated] if self._at_once and windows else []
        if together:
            counts = np.array([self.inside(window, group) for group in together for window in windows])
            rows = iter(cast(ManyWindows, self.family).all_window_values(names, counts))
            self._gauges.update({(group, *known): {window: next(rows) for window in windows} for group in together})
            missing = [group for group in missing if group in self._calibrated]
        for group in missing:
            family = self._of_group(group)
            one = {window: list(family.window_values(names, self.inside(window, group))) for window in windows}
            self._gauges[group, *known] = one

    def _all_gauges(self, names: Names, group: int) -> Mapping[str, list[float]]:
        """Those of every window, by its name."""
        self.make_gauges(names, [group])
        return self._gauges[group, *map(len, names.values())]

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
            quoted = quote(name, safe="")
            for bucket, part in window.changes():
                yield f"{quoted}/{bucket}", part

    def load(self, name: str, blob: bytes) -> bool:
        """Take back what `changes` gave; returns false for a window that is no longer configured."""
        self.clear_gauges()
        kind, _, key = name.partition("/")
        owners = {quote(window, safe=""): sums for window, sums in self.timed.items()} | {"total": self.totals}
        if kind in owners:
            owners[kind].load(key, blob)
        return kind in owners
