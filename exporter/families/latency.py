"""How long predictions took, as the log tells it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import TASKS, Cells, MetricSpec, ModelSpec, Traffic
from exporter.families.histogram import Histogram

NAME = "model_prediction_latency_seconds"


class Latency(Histogram):
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(NAME, "histogram", "Time that a prediction took, as its log row says; failed ones included."),
    )
    tasks: ClassVar[frozenset[str]] = TASKS
    feed: ClassVar[Literal["traffic", "scored"]] = "traffic"

    def __init__(self, model: ModelSpec) -> None:
        super().__init__(NAME, model.latency_buckets)

    def cells(self, rows: Traffic) -> Cells:
        absent = np.isnan(rows.latency)
        if not absent.any():
            return self.increments(None, rows.latency)
        known = np.flatnonzero(~absent)
        return self.increments(known, rows.latency[known])
