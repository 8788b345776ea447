"""Ranking measures against scikit-learn, and against their definitions where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, RankingSpec, Scored
from exporter.families.ranking import Ranking
from tests.scored import sums as added_up

sklearn = pytest.importorskip("sklearn.metrics")
DEPTH, RELEVANT, KS = 6, 5, (1, 3, 6)
UNIVERSE = range(1, 13)

some_gain = st.sampled_from([1.0, 2.0, 3.5]) | st.floats(0.1, 9)
gains = st.dictionaries(st.sampled_from(UNIVERSE), some_gain, max_size=RELEVANT)
cases = st.lists(
    st.tuples(st.lists(st.sampled_from(UNIVERSE), unique=True, max_size=DEPTH), gains), min_size=1, max_size=15
)


def family():
    spec = RankingSpec(depth=DEPTH, relevant=RELEVANT, cutoffs=KS)
    return Ranking(ModelSpec(name="m", task="ranking", ranking=spec))


def scored(rows):
    count = len(rows)
    zero, code = np.zeros(count), np.zeros(count, np.int32)
    made = np.zeros(count, [("items", "<u8", (DEPTH,))])
    truth = np.zeros(count, [("items", "<u8", (RELEVANT,)), ("gains", "<f8", (RELEVANT,))])
    for at, (ranked, wanted) in enumerate(rows):
        made["items"][at, : len(ranked)] = ranked
        truth["items"][at, : len(wanted)] = sorted(wanted)
        truth["gains"][at, : len(wanted)] = [wanted[item] for item in sorted(wanted)]
    return Scored(
        sign=np.ones(count, np.int8), slot=np.arange(count), group=code, actual=code, predicted=code, score=zero,
        time=zero, label_time=zero, made=made, truth=truth,
    )  # fmt: skip


def sums(rows):
    one = family()
    return added_up(one, scored(rows))


def ndcg(ranked, wanted, k):
    """By scikit-learn; items that were not ranked stand behind all others, and have no gain among themselves."""
    padding = [-number for number in range(DEPTH)]  # what fills the places behind a short ranking gains nothing
    items = [*UNIVERSE, *padding]
    order = [*ranked, *padding, *(item for item in UNIVERSE if item not in ranked)]
    score = {item: -place for place, item in enumerate(order)}
    true = [[wanted.get(item, 0.0) for item in items]]
    return sklearn.ndcg_score(true, [[score[item] for item in items]], k=k)


def reciprocal(ranked, wanted, k):
    return next((1 / place for place, item in enumerate(ranked[:k], 1) if item in wanted), 0.0)


@settings(max_examples=100, deadline=None)
@given(cases)
@example([([], {1: 1.0})])
@example([([1, 2], {})])
@example([([1, 2, 3], {3: 1.0, 9: 2.0})])
def test_measures_are_as_defined(rows):
    """NDCG is scikit-learn's, reciprocal rank and hit rate are their definitions; all need a relevant item."""
    one, counts = family(), sums(rows)
    values = one.window_values({}, counts)
    found = {(of.metric, *of.labels): value for of, value in zip(one.window_series({}), values, strict=True)}
    known = [(ranked, wanted) for ranked, wanted in rows if wanted]
    assert found["model_window_labelled_predictions",] == len(rows)
    totals = one.values({}, counts, np.zeros(one.size))
    counters = {(of.metric, *of.labels): value for of, value in zip(one.series({}), totals, strict=True)}
    assert counters["model_labelled_predictions_total", ("correct", "any")] == len(rows)
    assert counters["model_rankings_total",] == len(known)
    for k in KS:
        label = ("k", str(k))
        measures = {
            ("model_ndcg_ratio", "model_ndcg_sum_total"): [ndcg(*row, k) for row in known],
            ("model_mean_reciprocal_rank_ratio", "model_reciprocal_rank_sum_total"): [
                reciprocal(*row, k) for row in known
            ],
            ("model_hit_rate_ratio", "model_ranking_hits_total"): [reciprocal(*row, k) > 0 for row in known],
        }
        for (gauge, counter), expected in measures.items():
            assert counters[counter, label] == pytest.approx(sum(expected), abs=1e-9)
            if known:
                assert found[gauge, label] == pytest.approx(np.mean(expected), abs=1e-9)
            else:
                assert math.isnan(found[gauge, label])


def test_many_rows_are_compared_in_blocks(monkeypatch):
    """The outcome does not depend on how many pairs are compared at a time."""
    rng = np.random.default_rng(3)
    rows = [
        (rng.permutation(UNIVERSE)[:DEPTH].tolist(), dict.fromkeys(rng.permutation(UNIVERSE)[:RELEVANT].tolist(), 1.0))
        for _ in range(50)
    ]
    whole = sums(rows)
    monkeypatch.setattr("exporter.families.ranking._BLOCK", 100)
    np.testing.assert_allclose(sums(rows), whole)
