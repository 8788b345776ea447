"""Predictions as they are made, labelled or not: how many of which class, and how many failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import ANY, TASKS, Cells, Floats, MetricSpec, ModelSpec, Series, Traffic
from exporter.families.counters import CountersOnly

ERRORS = 32
"""How many error reasons of a model are told apart; later ones count as `other`."""


class TrafficFamily(CountersOnly):
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        MetricSpec(
            "model_predictions_total",
            "counter",
            "Predictions read, by predicted class; all that were made, with or without a label. Of a task without "
            f"classes (regression, ranking, multilabel) predicted is `{ANY}`.",
            ("predicted",),
        ),
        MetricSpec(
            "model_prediction_errors_total",
            "counter",
            "Predictions that failed, by the reason that the log gives; not among model_predictions_total.",
            ("reason",),
        ),
    )
    tasks: ClassVar[frozenset[str]] = TASKS
    feed: ClassVar[Literal["traffic", "scored"]] = "traffic"
    meaning = ""

    def __init__(self, model: ModelSpec) -> None:
        self.classes = model.capacity
        self.size = self.classes + ERRORS

    def cells(self, rows: Traffic) -> Cells:
        failed = rows.error >= 0
        local = np.where(failed, self.classes + rows.error, rows.predicted).astype(np.int64)
        return Cells(row=None, local=local)

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        made = [Series("model_predictions_total", (("predicted", name),)) for name in names["class"]]
        failed = [Series("model_prediction_errors_total", (("reason", name),)) for name in names["error"]]
        return made + failed

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del retracted  # a prediction is never taken back
        counts: list[int] = added.astype(np.int64).tolist()
        return [*counts[: len(names["class"])], *counts[self.classes : self.classes + len(names["error"])]]
