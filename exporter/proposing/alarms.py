"""When an alert would have fired: Prometheus' own states, over a recorded history and for any limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats

Spans: TypeAlias = list[tuple[int, int]]
"""From which evaluation an alarm fires, and the first at which it does so no more."""

DAY = 86_400.0


@dataclass(frozen=True)
class Watch:
    """What an alert looked at, evaluation by evaluation: `values` (series, evaluations), turned so that low is bad.

    NaN is where there was nothing to look at.  `wait` and `keep` are the alert's `for` and `keep_firing_for`, `step`
    the time between evaluations, in seconds.
    """

    values: Floats
    wait: float
    keep: float
    step: float

    @cached_property
    def seen(self) -> NDArray[np.bool_]:
        """Evaluations at which any series was there (evaluations)."""
        return np.asarray((~np.isnan(self.values)).any(axis=0))

    @cached_property
    def levels(self) -> Floats:
        """The limit above which a series fires at an evaluation if nothing fired before (series, evaluations).

        An alert fires once all evaluations of `wait` have been below the limit: above the largest of these.
        """
        held = np.where(np.isnan(self.values), np.inf, self.values)
        many = math.ceil(self.wait / self.step)
        padded = np.pad(held, ((0, 0), (many, 0)), constant_values=np.inf)
        largest: Floats = np.lib.stride_tricks.sliding_window_view(padded, many + 1, axis=1).max(axis=2)
        return largest

    def alarms(self, limit: float) -> Spans:
        """The times in which any series would have fired, had the limit been *limit*: those that touch are one."""
        merged: Spans = []
        for start, end in sorted(span for row in range(len(self.values)) for span in self._fired(row, limit)):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged

    def _fired(self, row: int, limit: float) -> Iterator[tuple[int, int]]:
        """The same of one series.

        What fires goes on while gaps are shorter than `keep`, and needs no new `wait` (rules/alerting.go, Eval).
        """
        below = np.flatnonzero(self.values[row] < limit)
        if not len(below):
            return
        kept = math.ceil(self.keep / self.step)
        ends = np.flatnonzero(np.diff(below) > kept + 1)
        fires = np.flatnonzero(self.levels[row] < limit)
        for first, last in zip(below[np.r_[0, ends + 1]], below[np.r_[ends, len(below) - 1]], strict=True):
            at = np.searchsorted(fires, first)
            if at < len(fires) and fires[at] <= last:
                yield int(fires[at]), min(int(last) + 1 + kept, self.values.shape[1])

    def count(self, limit: float) -> int:
        """How many alarms a person would have had: one that lasts for days is one on each day."""
        return sum(math.ceil((end - start) * self.step / DAY) for start, end in self.alarms(limit))
