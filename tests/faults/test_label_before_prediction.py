"""A label that comes first waits, over restarts, and is counted when its prediction comes."""

from __future__ import annotations

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, of_model, predictions, result, sample, samples, shown

ORPHANS = "model_orphan_labels", frozenset({("model", "m")})


def test_it_waits_for_its_prediction(tmp_path):
    """Held and shown as an orphan until then; the restart between changes nothing."""
    state = State(tmp_path)
    pipeline = Pipeline(config(), state)
    pipeline.absorb([labels(L(1, 9.0, "b"), L(2, 9.0, "a"))])
    assert samples(shown(pipeline))[ORPHANS] == 2
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(config(), state)
    assert samples(shown(pipeline))[ORPHANS] == 2
    pipeline.absorb([predictions(P(1, 10.0, "a"))])
    found = samples(shown(pipeline))
    assert found[ORPHANS] == 1
    assert found[sample("model_confusion_total", actual="b", predicted="a")] == 1
    assert found[of_model("model_joins_total", result="early")] == 2
    assert found[sample("model_pending_predictions")] == 0
    state.close()


def test_labels_of_others_do_not_pile_up_for_ever(monkeypatch):
    """A shared label table is mostly of others' predictions: what is held is bounded, and what goes is told."""
    monkeypatch.setattr("exporter.state.table.SMALLEST", 64)
    monkeypatch.setattr("exporter.pipeline.ledger._eighth", lambda rows: 64)
    pipeline = Pipeline(config(model(early_labels=100)), State(None))
    for turn in range(20):
        pipeline.absorb(
            [predictions(P(("mine", turn), 10.0 * turn)), labels(*(L((turn, one), 10.0 * turn) for one in range(20)))]
        )
        assert samples(shown(pipeline))[ORPHANS] <= 100 + 38
    assert result(pipeline, "unclaimed") >= 400 - 138
    assert result(pipeline, "unclaimed") + samples(shown(pipeline))[ORPHANS] == 400
