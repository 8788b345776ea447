"""Rankings on their whole way: logged items, relevant items with or without gains, corrections."""

from __future__ import annotations

import math

import pytest

from exporter.contracts import ModelSpec, RankingSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import config, model, result, sample, samples, shown
from tests.logs import Logs

SPEC = ModelSpec(name="m", task="ranking", ranking=RankingSpec(depth=3, relevant=2, cutoffs=(1, 3)))
SECOND = 1 / math.log2(3)


@pytest.fixture
def logs():
    return Logs(SPEC)


@pytest.fixture
def pipeline():
    return Pipeline(setting(), State(None))


def setting():
    return config(model("m", task="ranking", classes=(), ranking=SPEC.ranking, windows=["60s", "last 3"]))


def test_items_are_joined_and_measured(pipeline, logs):
    """Ids may be numbers or texts; relevant ones a list, a mapping to gains, or a single id."""
    pipeline.absorb(
        [
            logs.predictions(
                {"id": 1, "predicted": [7, 8, 9, 10]},
                {"id": 2, "predicted": ["a", "b"]},
                {"id": 3, "predicted": '["x", "y"]'},
                {"id": 4, "predicted": []},
            ),
            logs.labels(
                {"id": 1, "actual": {"8": 2, "10": 1}},
                {"id": 2, "actual": ["a"]},
                {"id": 3, "actual": "y"},
                {"id": 4, "actual": []},
            ),
        ]
    )
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="any")] == 4
    assert found[sample("model_labelled_predictions_total", correct="any")] == 4
    assert found[sample("model_rankings_total")] == 3
    assert found[sample("model_ranking_hits_total", k="1")] == 1
    assert found[sample("model_ranking_hits_total", k="3")] == 3
    assert found[sample("model_mean_reciprocal_rank_ratio", window="60s", k="3")] == pytest.approx((0.5 + 1 + 0.5) / 3)
    first = 2 * SECOND / (2 + SECOND)
    assert found[sample("model_ndcg_sum_total", k="3")] == pytest.approx(first + 1 + SECOND)


def test_a_corrected_label_is_recounted(pipeline, logs):
    """Other items or other gains correct; the same in another order, or of gain 0, repeat."""
    made = logs.predictions({"id": 1, "predicted": ["a", "b"]})
    pipeline.absorb([made, logs.labels({"id": 1, "actual": ["b", "c"]})])
    pipeline.absorb([logs.labels({"id": 1, "actual": {"c": 1, "b": 1, "z": 0}, "time": 1e9 + 2})])
    assert result(pipeline, "repeated") == 1
    pipeline.absorb([logs.labels({"id": 1, "actual": {"c": 2, "b": 1}, "time": 1e9 + 3})])
    pipeline.absorb([logs.labels({"id": 1, "actual": ["a"], "time": 1e9 + 4})])
    assert result(pipeline, "corrected") == 2
    found = samples(shown(pipeline))
    assert found[sample("model_rankings_total")] - found[sample("model_rankings_retracted_total")] == 1
    for window in ("60s", "last 3"):
        for measure in ("ndcg", "mean_reciprocal_rank", "hit_rate"):
            assert found[sample(f"model_{measure}_ratio", window=window, k="1")] == 1


@pytest.mark.parametrize(
    ("role", "value", "reason"),
    [
        ("predictions", ["a", "a"], "repeated_item"),
        ("predictions", "a", "bad_prediction"),
        ("predictions", {"a": 1}, "bad_prediction"),
        ("predictions", [["a"]], "bad_prediction"),
        ("predictions", [None], "bad_prediction"),
        ("predictions", None, "missing_prediction"),
        ("labels", ["a", "b", "c"], "too_many_items"),
        ("labels", {"a": -1}, "bad_label"),
        ("labels", {"a": "much"}, "bad_label"),
        ("labels", {"a": 1e300}, "bad_label"),
        ("labels", [{}], "bad_label"),
        ("labels", None, "missing_label"),
    ],
)
def test_what_is_no_ranking_is_refused(logs, role, value, reason):
    """Each under a reason of its own; the row beside it is read."""
    field = "predicted" if role == "predictions" else "actual"
    batch = logs.batch(role, {"id": 1, "time": 1e9, field: value}, {"id": 2, "time": 1e9, field: ["a", "b"]})
    assert (batch.refused.counts, len(batch)) == ({reason: 1}, 1)


def test_what_stands_behind_the_depth_is_not_read(logs):
    """Beyond the first items anything may stand, also those again."""
    batch = logs.batch("predictions", {"id": 1, "time": 1e9, "predicted": ["a", "b", "c", "a", None]})
    assert not batch.refused.counts
    assert (batch.made["items"][0] != 0).all()


def test_a_failed_prediction_ranks_nothing(logs):
    """What an error row says of items is passed over."""
    batch = logs.batch("predictions", {"id": 1, "time": 1e9, "predicted": 5, "error": "timeout"})
    assert (batch.predicted.codes.tolist(), batch.refused.counts) == ([-1], {})


def test_it_survives_a_restart(tmp_path, logs):
    """Items, early labels and windows are there again without a clean end."""
    undisturbed = Pipeline(setting(), State(None))
    cycles = [
        [logs.predictions({"id": 1, "predicted": ["a", "b"]}), logs.labels({"id": 2, "actual": {"x": 3}})],
        [logs.labels({"id": 1, "actual": ["b"]}), logs.predictions({"id": 2, "predicted": ["y", "x"]})],
        [logs.labels({"id": 1, "actual": {"a": 2, "b": 1}, "time": 1e9 + 5})],
    ]
    for cycle in cycles:
        state = State(tmp_path)
        pipeline = Pipeline(setting(), state)
        for one in (pipeline, undisturbed):
            one.absorb(cycle)
        assert samples(shown(pipeline)) == samples(shown(undisturbed))
        state._let_go()
    assert result(undisturbed, "corrected") == 1
