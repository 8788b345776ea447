"""How long predictions took, as the log tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import TASKS, Cells, Floats, MetricSpec, ModelSpec, Series, Traffic
from exporter.families import histogram

NAME = "model_prediction_latency_seconds"


class Latency:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(NAME, "histogram", "Time that a prediction took, as its log row says; failed ones included."),
    )
    tasks: ClassVar[frozenset[str]] = TASKS
    feed: ClassVar[Literal["traffic", "scored"]] = "traffic"
    windowed: ClassVar[bool] = False

    def __init__(self, model: ModelSpec) -> None:
        self.bounds = model.latency_buckets
        self.meaning = repr(self.bounds)
        self.size = histogram.size(self.bounds)

    def cells(self, rows: Traffic) -> Cells:
        known = np.flatnonzero(~np.isnan(rows.latency))
        return histogram.cells(self.bounds, known, rows.latency[known])

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return histogram.series(NAME, self.bounds)

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names, retracted
        return histogram.values(added)

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return []

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names, counts
        return []
