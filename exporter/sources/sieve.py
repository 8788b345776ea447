"""Rows on their way through the mapping: what stays, and where a refused one came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Refusals
from exporter.sources.records import Column, Records, Texts
from exporter.sources.values import Rows, take


class Sieve:
    """The rows still in: `raw` columns, finished columns (`done`), all of `count` values.

    Refusing rows costs a copy of every column, which is why nothing is copied while no row is at fault.
    """

    def __init__(self, records: Records) -> None:
        self.count = records.count
        self.done: dict[str, Any] = {}
        self.refused = Refusals()
        self.refused.extend(records.refused)
        self._raw: dict[str, Column] = dict(records.columns)
        self._place = records.place
        self._origin: Rows | None = None

    def raw(self, path: str) -> Column:
        """The raw column at *path*; all None if the format knows of none."""
        column = self._raw.get(path)
        return Texts([None]) * self.count if column is None else column

    def keep(self, rows: Rows) -> None:
        """Go on with *rows* only."""
        self._raw = {path: take(column, rows) for path, column in self._raw.items()}
        self.done = {name: take(column, rows) for name, column in self.done.items()}
        self._origin = rows if self._origin is None else self._origin[rows]
        self.count = len(rows)

    def refuse(self, faults: Mapping[str, Rows], field: str) -> None:
        """Let the rows of *faults* (rows by reason; no row twice) go, counted, for what stands in *field*."""
        out: NDArray[np.bool_] = np.zeros(self.count, np.bool_)
        for reason, rows in faults.items():
            if not len(rows):
                continue
            out[rows] = True
            shown = rows[: self.refused.room(reason)].tolist()
            for row in shown:
                record = row if self._origin is None else int(self._origin[row])
                self.refused.add(reason, self._place(record), field)
            self.refused.counts[reason] += len(rows) - len(shown)
        if out.any():
            self.keep(np.flatnonzero(~out))
