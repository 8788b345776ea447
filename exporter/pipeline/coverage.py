"""Label coverage by age: how many of the predictions that have reached an age were labelled within it.

A prediction counts once the watermark has passed its time plus the age.  Until then it waits in a bucket of prediction
time: what falls out has reached the age.  A label that is read later than that is added at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats, MetricSpec, Scored, Series, Traffic, WindowSpec
from exporter.windows import Columns, Part, TimeWindow, Totals

SPECS = (
    MetricSpec(
        "model_aged_predictions_total",
        "counter",
        "Predictions that have reached an age: the watermark has passed their time plus the age. Counted up to a "
        "tenth of the age later. Failed ones are left out.",
        ("model", "version", "age"),
    ),
    MetricSpec(
        "model_aged_labelled_predictions_total",
        "counter",
        "Those of model_aged_predictions_total whose first label is dated no more than the age after the prediction: "
        "divided by them, it is the label coverage by age.",
        ("model", "version", "age"),
    ),
)
_BEHIND = 4.0
"""While a backlog is read the watermark waits: rows are taken to have reached an age when they are so many times older
than the newest prediction is, so that buckets stay few."""


class Waiting(TimeWindow):
    """Rows in buckets of their time until they are *age* seconds old, which is when they fall out."""

    def __init__(self, age: float, size: int, columns: Columns) -> None:
        # A bucket is as wide as the age exceeds the others, so that none falls out too soon.
        super().__init__(age * self.resolution / (self.resolution - 1), size, columns)
        self.age = age

    def add_until(self, time: Floats, parts: Sequence[Part]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Let rows wait; returns the positions of those that have reached the age already, and their buckets."""
        bucket = np.floor(time / self.width).astype(np.int64)
        of_age = np.flatnonzero(bucket <= self.gone)
        self.add_rows(bucket, parts)
        return of_age, bucket[of_age]

    def reached(self, watermark: float | None, newest: float) -> list[tuple[int, Floats]]:
        """The buckets that have reached the age by the *watermark*, or by far by the time of the *newest* row."""
        now = newest - _BEHIND * self.age
        now = now if watermark is None else max(now, watermark)
        return self.fall(now) if np.isfinite(now) else []


class Coarse(Waiting):
    """Buckets that few commits touch: coverage needs no finer ones."""

    resolution: ClassVar[int] = 30


class Coverage:
    """Predictions that have reached each of the *ages* (seconds, ascending), and those that were labelled within it.

    Rows wait for the first age, then for the next one, so that each costs the same however many ages there are.
    Cell 0 of a group counts predictions, cell 1 + i those whose first label came within age i and not within the one
    before; the last one those whose label came later still.
    """

    def __init__(self, ages: Sequence[float], texts: Sequence[str]) -> None:
        self.ages = np.array(ages, np.float64)
        self.meaning = repr(tuple(ages))
        self._texts = texts
        self._size = 2 + len(ages)
        self._columns = Columns()
        self._lines = [Coarse(age, self._size, self._columns) for age in ages]
        self.totals = Totals(2 * len(ages))
        self._stores = {"total": self.totals} | {str(age): line for age, line in enumerate(self._lines)}

    def add(self, traffic: Traffic, scored: Scored) -> None:
        """Take in new predictions, and the first labels of some."""
        made = traffic.answerable
        self._add(traffic.group[made], 0, traffic.time[made])
        first = first_labels(scored)
        time = scored.time[first]
        self._add(scored.group[first], 1 + _above(scored.label_time[first] - time, self.ages), time)

    def _add(self, group: NDArray[np.int32], local: NDArray[np.int64] | int, time: Floats) -> None:
        """Let rows wait for the first age that they have not reached, and count them as of those that they have."""
        if not len(time):
            return
        column = self._columns.of(group.astype(np.int64) * self._size + local)
        for age, here in self._reached(time):
            own, moment = column[here], time[here]
            if not len(own):
                continue
            if age < len(self._lines):
                line = self._lines[age]
                bucket = np.floor(moment / line.width).astype(np.int64)
                line.add_rows(np.maximum(bucket, line.gone + 1), [(own, None)])
            if age:
                sums = np.bincount(own).astype(np.float64)
                for before in range(age):
                    self._count(before, sums)

    def _reached(self, time: Floats) -> Iterator[tuple[int, NDArray[np.intp] | slice]]:
        """How many of the ages rows of these times have reached, and which those rows are.

        Ages ascend, so that whoever has not reached one has not reached those behind it.
        """
        before = [-(line.gone + 1) * line.width for line in self._lines]
        most, least = _above(-np.array([time.min(), time.max()]), before).tolist()
        if most == least:
            yield most, slice(None)
            return
        reached = _above(-time, before)
        for age in range(least, most + 1):
            yield age, np.flatnonzero(reached == age)

    def advance(self, watermark: float | None, newest: float = -np.inf) -> None:
        """Let rows grow older, up to the *watermark*; *newest* is the time of the newest prediction."""
        time, sums = np.empty(0), np.empty((0, 0))
        for age, line in enumerate(self._lines):
            if len(time):
                bucket = np.maximum(np.floor(time / line.width).astype(np.int64), line.gone + 1)
                first = int(bucket[0])
                table = np.zeros((int(bucket[-1]) - first + 1, sums.shape[1]))
                np.add.at(table, bucket - first, sums)
                line.take(first, table)
            fallen = line.reached(watermark, newest)
            time = np.array([(bucket + 0.5) * line.width for bucket, _ in fallen])
            sums = np.zeros((len(fallen), len(self._columns)))
            for row, (_, one) in zip(sums, fallen, strict=True):
                row[: len(one)] = one
            if len(fallen):
                self._count(age, sums.sum(axis=0))

    def _count(self, age: int, sums: Floats) -> None:
        """Count *sums* of the first columns as having reached an age."""
        group, local = np.divmod(self._columns.cells[: len(sums)], self._size)
        counted = np.flatnonzero(local <= age + 1)
        cell = group * self.totals.size + age + np.where(local > 0, len(self.ages), 0)
        total = np.bincount(cell[counted], sums[counted])
        used = np.flatnonzero(total)
        self.totals.add(used, total[used].astype(np.float64))

    def series(self, names: Mapping[str, Sequence[str]], windows: Sequence[WindowSpec]) -> list[Series]:
        del names, windows
        return [Series(spec.name, (("age", text),)) for spec in SPECS for text in self._texts]

    def values(self, names: Mapping[str, Sequence[str]], windows: Sequence[WindowSpec], group: int) -> list[float]:
        """Values in the order of `series`."""
        del names, windows
        counts: list[float] = self.totals.of(group)[0].astype(np.int64).tolist()
        return counts

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        return changes(self._stores)

    def load(self, name: str, blob: bytes) -> bool:
        return load(name, blob, self._stores)


def _above(value: Floats, bounds: Sequence[float] | Floats) -> NDArray[np.int64]:
    """How many of the few *bounds* each value is above; shape (n,)."""
    above = np.zeros(len(value), np.int8)
    for bound in bounds:
        above += (value > bound).view(np.int8)  # which NumPy adds several times faster than bools
    return above.astype(np.int64)


def first_labels(scored: Scored) -> NDArray[np.intp] | slice:
    """The rows of *scored* that are the first labels of their predictions, and not corrections."""
    if (scored.sign > 0).all():
        return slice(None)
    _, first = np.unique(scored.slot, return_index=True)
    return np.sort(first[scored.sign[first] > 0])


def changes(stores: Mapping[str, Totals | TimeWindow]) -> Iterator[tuple[str, bytes | None]]:
    """Blobs of all *stores* that changed since the last call, by store and name."""
    for store, sums in stores.items():
        quoted = quote(store, safe="")
        for name, blob in sums.changes():
            yield f"{quoted}/{name}", blob


def load(name: str, blob: bytes, stores: Mapping[str, Totals | TimeWindow]) -> bool:
    """Take back what `changes` gave; returns false for a store that is no more."""
    store, _, key = name.partition("/")
    owners = {quote(one, safe=""): sums for one, sums in stores.items()}
    if store in owners:
        owners[store].load(key, blob)
    return store in owners
