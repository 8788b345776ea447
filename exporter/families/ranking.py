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

_BLOCK = 8192
"""How many rankings are compared at a time: what is worked on stays near the processor."""

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
        self.meaning = repr(("rank of the first", model.ranking.cutoffs))
        self.depth = int(self.k.max(initial=0))
        """How many items of a ranking count at all."""
        most = max(self.depth, model.ranking.relevant)
        places = np.arange(1, most + 1)[:, None]
        self.discount = np.where(places <= self.k, 1 / np.log2(places + 1), 0.0)
        """What is gained at each place, by k; shape (places, ks)."""
        self.sums = self.depth + 2
        """Where sums of NDCG begin, behind the numbers of rankings: of those without a relevant item, then by the rank
        of the first, then of those that have none among `depth`."""
        rank = np.arange(self.sums)[:, None]
        hit = (rank > 0) & (rank <= self.k)
        self.by_rank = np.hstack([rank >= 0, rank > 0, hit / np.maximum(rank, 1), hit])
        """What a ranking adds by its rank cell: to all, to those with a relevant item, and by k to the sums of
        reciprocal ranks and of hits."""
        self.size = self.sums + len(self.k) if model.task in self.tasks else 0

    def cells(self, rows: Scored) -> Cells:
        assert rows.made is not None  # noqa: S101 - the layout of a ranking has both
        assert rows.truth is not None  # noqa: S101
        ranked, wanted = rows.made["items"][:, : self.depth], rows.truth
        local, ndcg = np.zeros(len(rows), np.int64), np.zeros((len(self.k), len(rows)))
        for at in range(0, len(rows), _BLOCK):
            part = slice(at, at + _BLOCK)
            gains = _columns(wanted["gains"][part])
            if len(gains):
                items, shown = wanted["items"][part, : len(gains)].T.copy(), ranked[part].T.copy()
                local[part], ndcg[:, part] = self._measured(shown, items, gains)
        return Cells(row=None, local=local, more=tuple((self.sums + at, one) for at, one in enumerate(ndcg)))

    def _measured(self, ranked: np.ndarray, items: np.ndarray, gains: Floats) -> tuple[np.ndarray, Floats]:
        """The rank cells (n) and the NDCG (ks, n) of *ranked* items (depth, n), some *items* having *gains* (m, n)."""
        there = gains > 0
        first = np.where(there[0], self.sums - 1, 0)
        numbers = np.arange(1, len(ranked) + 1, dtype=np.uint8)[:, None]
        hits: list[tuple[np.ndarray, np.ndarray, Floats]] = []
        for item, gain, relevant in zip(items, gains, there, strict=True):
            same = (ranked == item).view(np.uint8)
            same *= numbers
            place = np.add.reduce(same, axis=0, dtype=np.uint8)
            row = np.flatnonzero((place > 0) & relevant)
            rank = place[row].astype(np.intp)
            first[row] = np.minimum(first[row], rank)
            hits.append((row, rank, gain[row]))
        row, rank, gain = map(np.concatenate, zip(*hits, strict=True))
        gained = [np.bincount(row, by_place[rank - 1] * gain, len(first)) for by_place in self.discount.T]
        best = self._best(gains, there.sum(axis=0))
        return first, np.minimum(np.divide(gained, best, where=best > 0, out=np.zeros_like(best)), 1.0)

    def _best(self, gains: Floats, count: np.ndarray) -> Floats:
        """What the best order would gain, by k; shape (ks, n).  *count* of the *gains* (m, n) are above 0."""
        highest = gains.max(axis=0)
        cumulated = np.vstack([np.zeros(len(self.k)), np.cumsum(self.discount, axis=0)])
        best: Floats = cumulated[count].T * highest
        mixed = np.flatnonzero(gains.sum(axis=0) != highest * count)
        if len(mixed):
            best[:, mixed] = (-np.sort(-gains[:, mixed].T, axis=1) @ self.discount[: len(gains)]).T
        return best

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
        sides = [self._sums(side) for side in (added, retracted)]
        out: list[float] = [int(side[0][at]) for at in (0, 1) for side in sides]
        for at in (1, 2):
            out += [value for side in sides for value in side[at].tolist()]
        return out + [int(value) for side in sides for value in side[3].tolist()]

    def _sums(self, counts: Floats) -> list[Floats]:
        """Rankings, all and those with a relevant item; and by k the sums of NDCG, reciprocal rank and hits."""
        whole, reciprocal, hits = np.split(counts[: self.sums] @ self.by_rank, [2, 2 + len(self.k)])
        return [whole, counts[self.sums :], reciprocal, hits]

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        measures = ("ndcg", "mean_reciprocal_rank", "hit_rate")
        ratios = [Series(f"model_{name}_ratio", (("k", str(k)),)) for name in measures for k in self.k.tolist()]
        return [Series("model_window_labelled_predictions"), *ratios]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names
        (total, known), *sums = self._sums(counts)
        if not known:
            return [int(total), *[UNDEFINED] * (3 * len(self.k))]
        means: list[float] = np.clip(np.concatenate(sums) / known, 0.0, 1.0).tolist()
        return [int(total), *means]


def _columns(gains: Floats) -> Floats:
    """The columns of *gains* (n, relevant) as far as there are any, shape (m, n): behind the last one is 0."""
    columns = []
    for at in range(gains.shape[1]):
        column = gains[:, at].copy()
        if not column.any():
            break
        columns.append(column)
    return np.stack(columns) if columns else np.empty((0, len(gains)))
