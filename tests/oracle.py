"""The rules of the join as one would write them down: dictionaries, one row after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Standing:
    """The label that stands, since when, and when it was last repeated."""

    actual: Any
    since: float
    until: float


@dataclass
class Oracle:
    """What should have come of all rows so far: predictions (id, time, group, class) and labels (id, time, class)."""

    horizon: float = float("inf")
    made: dict[Any, tuple[float, Any, Any]] = field(default_factory=dict)
    known: dict[Any, Standing] = field(default_factory=dict)
    early: dict[Any, Standing] = field(default_factory=dict)
    added: Counter[Any] = field(default_factory=Counter)
    retracted: Counter[Any] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    scored: list[tuple[int, Any, Any, float]] = field(default_factory=list)
    """Sign, id, label and label time, in order."""

    @property
    def net(self) -> dict[Any, int]:
        """Counts by (group, actual, predicted) with what was taken back subtracted."""
        left = Counter(self.added)
        left.subtract(self.retracted)
        return {cell: count for cell, count in left.items() if count}

    @property
    def pending(self) -> Counter[Any]:
        """Predictions without a label, by group."""
        return Counter(group for one, (_, group, _) in self.made.items() if one not in self.known)

    def step(self, predictions: Iterable[tuple[Any, ...]], labels: Iterable[tuple[Any, ...]]) -> None:
        """One cycle: predictions first, then the labels that waited for them, then the labels that came."""
        waited = []
        for one, time, group, predicted in predictions:
            if one in self.made:
                self.results["duplicate"] += 1
                continue
            self.made[one] = time, group, predicted
            if one in self.early:
                held = self.early.pop(one)
                waited.append((one, held.since, held.actual))
                if held.until > held.since:
                    waited.append((one, held.until, held.actual))
        for one, time, actual in [*waited, *labels]:
            if one not in self.made:
                word = _told(self.early, one, time, actual)
                self.results["early" if word in {"matched", "corrected"} else word] += 1
            elif time - self.made[one][0] > self.horizon:
                self.results["late"] += 1
            else:
                self._count(one, time, actual)

    def _count(self, one: Any, time: float, actual: Any) -> None:
        _, group, predicted = self.made[one]
        old = self.known.get(one)
        before = None if old is None else (old.actual, old.since)
        word = _told(self.known, one, time, actual)
        self.results[word] += 1
        if word == "corrected" and before is not None:
            self.retracted[group, before[0], predicted] += 1
            self.scored.append((-1, one, *before))
        if word in {"matched", "corrected"}:
            self.added[group, actual, predicted] += 1
            self.scored.append((1, one, actual, time))


def _told(standing: dict[Any, Standing], one: Any, time: float, actual: Any) -> str:
    """Give *one* a label; returns what became of it."""
    old = standing.get(one)
    if old is None:
        standing[one] = Standing(actual, time, time)
        return "matched"
    if old.actual == actual:
        old.until = max(old.until, time)
        return "repeated"
    if time < old.until:
        return "outdated"
    standing[one] = Standing(actual, time, time)
    return "corrected"
