"""Scores on their whole way: counted once, taken back, kept over a restart, begun anew by other edges."""

from __future__ import annotations

import pytest

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, sample, samples, shown

EDGES = (0.25, 0.5)
AREA = sample("model_roc_auc_ratio", window="60s", average="binary")


def settings(edges=EDGES):
    words = {"task": "binary", "positive": "yes", "classes": ("no", "yes"), "windows": ["60s", "last 3"]}
    return config(model("m", score_edges=edges, **words))


def at_least(actual, threshold, following, kind=""):
    labels_ = {"class": "yes", "actual": actual, "threshold": threshold, "next": following}
    return sample(f"model_score_at_least{kind}_total", **labels_)


def started(state, edges=EDGES):
    pipeline = Pipeline(settings(edges), state)
    rows = [P(1, 5.0, "yes", score=0.9), P(2, 5.0, "no", score=0.2), P(3, 5.0, "no", score=0.4), P(4, 5.0, "no")]
    told = [L(1, 6.0, "yes"), L(2, 6.0, "no"), L(3, 6.0, "yes"), L(4, 6.0, "no")]
    pipeline.absorb([predictions(*rows), labels(*told)])
    return pipeline


def test_scores_of_labelled_predictions_are_counted():
    """Every threshold counts what lies above it; a prediction without a score counts nowhere."""
    found = samples(shown(started(State(None))))
    assert [found[at_least("positive", *ends)] for ends in (
        ("0.000000", "0.250000"), ("0.250000", "0.500000"), ("0.500000", "+Inf"),
    )] == [2, 2, 1]  # fmt: skip
    assert found[at_least("negative", "0.000000", "0.250000")] == 1
    assert found[sample("model_scored_predictions_total")] == 3
    assert found[AREA] == 1


def test_a_correction_takes_its_score_back():
    """The score moves to the other side, in the counters by their twins, in windows by being taken out."""
    pipeline = started(State(None))
    pipeline.absorb([labels(L(3, 7.0, "no"))])
    found = samples(shown(pipeline))
    assert found[at_least("positive", "0.250000", "0.500000")] == 2
    assert found[at_least("positive", "0.250000", "0.500000", "_retracted")] == 1
    assert found[at_least("negative", "0.250000", "0.500000")] == 1
    brier = [found[sample("model_brier_score", window=window)] for window in ("60s", "last 3")]
    assert brier[0] == pytest.approx((0.1**2 + 0.2**2 + 0.4**2) / 3, abs=1e-15)
    assert brier[1] == pytest.approx((0.2**2 + 0.4**2) / 2, abs=1e-15)  # the fourth row has no score


def test_scores_are_kept_over_a_restart(tmp_path):
    """Counters and windows say after a start what they said before it."""
    state = State(tmp_path)
    before = samples(shown(started(state)))
    state.close()
    state = State(tmp_path)
    after = samples(shown(Pipeline(settings(), state)))
    assert after.keys() == before.keys()
    assert all(after[one] == pytest.approx(value, abs=1e-12) for one, value in before.items())
    state.close()


def test_other_edges_begin_the_curves_anew(tmp_path):
    """Bins between other edges mean something else; what has no bins goes on."""
    state = State(tmp_path)
    started(state)
    state.close()
    state = State(tmp_path)
    found = samples(shown(Pipeline(settings((0.3, 0.5)), state)))
    assert found[at_least("positive", "0.000000", "0.300000")] == 0
    assert found[sample("model_scored_predictions_total")] == 3
    assert found[sample("model_brier_score", window="60s")] == pytest.approx((0.1**2 + 0.2**2 + 0.6**2) / 3)
    assert AREA not in found
    state.close()
