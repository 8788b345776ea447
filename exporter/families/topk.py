"""Top-k accuracy: how often the true class is among the k likeliest.

As scikit-learn's `top_k_accuracy_score`: of classes that are equally likely the later one is taken for the likelier.
A prediction without probabilities, or a true class that has none, is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families.labelled import UNDEFINED, both, twin


class TopK:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *twin(
            "model_top_k_predictions_total",
            "Labelled predictions with probabilities; correct says whether the true class was among the k likeliest.",
            ("k", "correct"),
        ),
        MetricSpec(
            "model_top_k_accuracy_ratio",
            "gauge",
            "Share of predictions whose true class was among the k likeliest, over the labelled predictions with "
            "probabilities whose label falls into the window; computed each cycle.",
            ("window", "k"),
        ),
    )
    tasks: ClassVar[frozenset[str]] = frozenset({"multiclass"})
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        serves = model.task in self.tasks and model.probabilities
        self.k = np.array(model.top_k if serves else (), np.int64)
        self.meaning = repr(model.top_k)
        self.size = len(self.k) + 1 if len(self.k) else 0

    def cells(self, rows: Scored) -> Cells:
        """A row counts once, at the number of ks that are too small for it: cell 0 is right for each k."""
        assert rows.made is not None  # noqa: S101 - the layout of a model with probabilities has it
        probabilities = rows.made["probabilities"]
        row = np.flatnonzero(~np.isnan(probabilities[:, 0]) & (rows.actual < probabilities.shape[1]))
        probabilities, actual = probabilities[row], rows.actual[row, None]
        own = np.take_along_axis(probabilities, actual.astype(np.intp), axis=1)
        later = np.arange(probabilities.shape[1]) > actual
        place = ((probabilities > own) | ((probabilities == own) & later)).sum(axis=1)
        return Cells(row=row, local=np.searchsorted(self.k, place, side="right").astype(np.int64))

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        pairs = [(("k", str(k)), ("correct", word)) for k in self.k.tolist() for word in ("true", "false")]
        return both("model_top_k_predictions", *pairs)

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names
        out: list[float] = []
        for side in (added, retracted):
            right = np.cumsum(side)
            out += np.stack([right[:-1], right[-1] - right[:-1]], axis=1).ravel().astype(np.int64).tolist()
        return out

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return [Series("model_top_k_accuracy_ratio", (("k", str(k)),)) for k in self.k.tolist()]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        right = np.cumsum(counts)
        if not right[-1]:
            return [UNDEFINED] * len(self.k)
        shares: list[float] = (right[:-1] / right[-1]).tolist()
        return shares
