"""How long labels take to come: from the time of the prediction to the time of its label."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import TASKS, Cells, MetricSpec, ModelSpec, Scored
from exporter.families.histogram import Histogram

NAME = "model_label_delay_seconds"


class LabelDelay(Histogram):
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(
            NAME,
            "histogram",
            "Event time from a prediction to its label, for every label that was counted, corrections included; "
            "a label that is older than its prediction counts as 0.",
        ),
    )
    tasks: ClassVar[frozenset[str]] = TASKS
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"

    def __init__(self, model: ModelSpec) -> None:
        super().__init__(NAME, model.delay_buckets)

    def cells(self, rows: Scored) -> Cells:
        return self.increments(None, np.maximum(rows.label_time - rows.time, 0.0))
