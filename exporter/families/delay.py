"""How long labels take to come: from the time of the prediction to the time of its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import TASKS, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import histogram

NAME = "model_label_delay_seconds"


class LabelDelay:
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
    windowed: ClassVar[bool] = False

    def __init__(self, model: ModelSpec) -> None:
        self.bounds = model.delay_buckets
        self.meaning = repr(self.bounds)
        self.size = histogram.size(self.bounds)

    def cells(self, rows: Scored) -> Cells:
        return histogram.cells(self.bounds, np.arange(len(rows)), np.maximum(rows.label_time - rows.time, 0.0))

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
