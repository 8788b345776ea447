"""Predictions by group of an attribute, labelled or not: they tell of demographic parity before labels come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import ANY, TASKS, Cells, Floats, MetricSpec, ModelSpec, Series, Traffic
from exporter.families.counters import CountersOnly


class SegmentTraffic(CountersOnly):
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(
            "model_segment_predictions_total",
            "counter",
            "Predictions read, by attribute and group, by predicted class; all that were made, with or without a "
            f"label. Of a task without classes predicted is `{ANY}`.",
            ("attribute", "group", "predicted"),
        ),
    )
    tasks: ClassVar[frozenset[str]] = TASKS
    feed: ClassVar[Literal["traffic", "scored"]] = "traffic"
    meaning = ""

    def __init__(self, model: ModelSpec) -> None:
        self.attributes = model.segments
        self.classes = model.capacity
        ends = np.cumsum([0, *(one.capacity * self.classes for one in self.attributes)])
        self.starts: NDArray[np.int64] = ends[:-1].astype(np.int64)
        self.size = int(ends[-1])

    def cells(self, rows: Traffic) -> Cells:
        assert rows.made is not None  # noqa: S101 - the layout of a model with segments has it
        row = np.flatnonzero(rows.error < 0)
        base = rows.made["segments"][row].astype(np.int64) * self.classes + self.starts
        local = (base + rows.predicted[row, None]).ravel()
        return Cells(row=np.repeat(row, len(self.attributes)), local=local)

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        return [
            Series("model_segment_predictions_total", (("attribute", one.name), ("group", group), ("predicted", name)))
            for one in self.attributes
            for group in names[one.vocabulary]
            for name in names["class"]
        ]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del retracted  # a prediction is never taken back
        out: list[float] = []
        for one, start in zip(self.attributes, self.starts.tolist(), strict=True):
            groups = len(names[one.vocabulary])
            block = added[start : start + groups * self.classes].reshape(groups, self.classes)
            out += block[:, : len(names["class"])].ravel().astype(np.int64).tolist()
        return out
