"""NDCG, reciprocal rank and hit rate at configured depths, of rankings whose relevant items became known.

NDCG@k is scikit-learn's `ndcg_score` (gains as they are, discount 1 / log2(rank + 1)): what the first k items gained,
by what the k best of the relevant ones would have.  The reciprocal rank is 1 / rank of the first relevant item, 0 if
that is not among the first k.  A ranking without any relevant item has none of these, and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import ANY, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import labelled
from exporter.families.labelled import UNDEFINED, both, twin

_BLOCK = 1 << 21
"""How many pairs of items are compared at a time."""

_POPULATION = "over the labelled rankings with a relevant item"


def _gauge(name: str, meaning: str) -> MetricSpec:
    text = f"{meaning}, {_POPULATION} whose label falls into the window; computed each cycle."
    return MetricSpec(f"model_{name}_ratio", "gauge", text, ("window", "k"))


class Ranking:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *labelled.LABELLED,
        *twin("model_rankings_total", "Labelled rankings with a relevant item: what their sums are divided by."),
        *twin("model_ndcg_sum_total", f"Sum of NDCG@k {_POPULATION}.", ("k",)),
        *twin("model_reciprocal_rank_sum_total", f"Sum of 1 / rank of the first relevant item, 0 if it is not among "
              f"the first k, {_POPULATION}.", ("k",)),
        *twin("model_ranking_hits_total", "Labelled rankings with a relevant item among the first k.", ("k",)),
        _gauge("ndcg", "Mean of NDCG@k"),
        _gauge("mean_reciprocal_rank", "Mean of 1 / rank of the first relevant item, 0 if not among the first k"),
        _gauge("hit_rate", "Share with a relevant item among the first k"),
        labelled.IN_WINDOW,
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = frozenset({"ranking"})
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.k = np.array(model.ranking.cutoffs, np.int64)
        self.meaning = repr(model.ranking.cutoffs)
        most = max(model.ranking.depth, model.ranking.relevant)
        self.discount = 1 / np.log2(np.arange(2, most + 2))
        self.size = 2 + 3 * len(self.k) if model.task in self.tasks else 0

    def cells(self, rows: Scored) -> Cells:
        """Cell 0 counts all rows, cell 1 those with a relevant item; then NDCG, reciprocal rank and hit of each k."""
        assert rows.made is not None  # noqa: S101 - the layout of a ranking has both
        assert rows.truth is not None  # noqa: S101
        known = np.flatnonzero((rows.truth["gains"] > 0).any(axis=1))
        wanted = rows.truth[known]
        at_rank = _gains(rows.made["items"][known], wanted["items"], wanted["gains"])
        last = self.k - 1
        best = -np.sort(-wanted["gains"], axis=1)
        best = np.cumsum(best * self.discount[: best.shape[1]], axis=1)[:, np.minimum(last, best.shape[1] - 1)]
        gained = np.cumsum(at_rank * self.discount[: at_rank.shape[1]], axis=1)[:, last]
        relevant = at_rank > 0
        rank = np.where(relevant.any(axis=1), relevant.argmax(axis=1), at_rank.shape[1])[:, None]
        hit = rank < self.k
        values = np.concatenate([np.minimum(gained / best, 1.0), hit / (rank + 1), hit], axis=1)
        everyone = np.arange(len(rows))
        return Cells(
            row=np.concatenate([everyone, known, np.repeat(known, values.shape[1])]),
            local=np.concatenate([0 * everyone, 0 * known + 1, np.tile(np.arange(2, self.size), len(known))]),
            weight=np.concatenate([np.ones(len(rows) + len(known)), values.ravel()]),
        )

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        ks = [(("k", str(k)),) for k in self.k.tolist()]
        return [
            *both("model_labelled_predictions", (("correct", ANY),)),
            *both("model_rankings", ()),
            *both("model_ndcg_sum", *ks),
            *both("model_reciprocal_rank_sum", *ks),
            *both("model_ranking_hits", *ks),
        ]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        del names
        sides = [side.tolist() for side in (added, retracted)]
        out: list[float] = [int(side[cell]) for cell in (0, 1) for side in sides]
        count = len(self.k)
        for begin in (2, 2 + count):
            out += [value for side in sides for value in side[begin : begin + count]]
        return out + [int(value) for side in sides for value in side[2 + 2 * count :]]

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        measures = ("ndcg", "mean_reciprocal_rank", "hit_rate")
        ratios = [Series(f"model_{name}_ratio", (("k", str(k)),)) for name in measures for k in self.k.tolist()]
        return [Series("model_window_labelled_predictions"), *ratios]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        total, known = int(counts[0]), float(counts[1])
        if not known:
            return [total, *[UNDEFINED] * (3 * len(self.k))]
        means: list[float] = np.clip(counts[2:] / known, 0.0, 1.0).tolist()
        return [total, *means]


def _gains(ranked: np.ndarray, items: np.ndarray, gains: np.ndarray) -> Floats:
    """What each of the *ranked* items (n, depth) gained, by the relevant *items* and their *gains* (n, relevant)."""
    out = np.zeros(ranked.shape)
    step = max(1, _BLOCK // (ranked.shape[1] * items.shape[1]))
    for at in range(0, len(ranked), step):
        part = slice(at, at + step)
        same = (ranked[part, :, None] == items[part, None, :]) & (ranked[part, :, None] != 0)
        out[part] = (same * gains[part, None, :]).sum(axis=2)
    return out
