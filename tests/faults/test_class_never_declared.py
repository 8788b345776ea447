"""A class that the config does not know: refused and told where classes are declared or full, learned where not."""

from __future__ import annotations

from exporter.contracts import Status
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import OWN, L, P, config, labels, model, predictions, result, sample, samples, shown


def test_declared_classes_are_all_there_are():
    """Rows of another class are refused with a reason and a hint, and all other rows are counted."""
    pipeline = Pipeline(config(model()), State(None))
    refused = pipeline.absorb(
        [
            predictions(P(1), P(2, predicted="zebra"), P(3, predicted="b")),
            labels(L(1, actual="zebra"), L(3, actual="b"), L(1, actual="a")),
        ]
    )
    for role in ("predictions", "labels"):
        assert refused["m", role].counts == {"too_many_classes": 1}
        assert "declare `classes`" in refused["m", role].examples[0].detail
    found = samples(shown(pipeline))
    assert found[sample("model_labelled_predictions_total", correct="true")] == 2
    assert not any("zebra" in dict(pairs).values() for _, pairs in found)


def test_a_binary_model_has_two_classes():
    """With the positive class alone declared, the first other one is the negative; a third is refused."""
    pipeline = Pipeline(config(model(task="binary", positive="fraud", classes=())), State(None))
    pipeline.absorb([predictions(P(1, predicted="ok"), P(2, predicted="fraud")), labels(L(1, actual="ok"))])
    refused = pipeline.absorb(
        [predictions(P(3, predicted="maybe"), P(4, predicted="ok")), labels(L(2, actual="maybe"))]
    )
    assert [refused["m", role].counts for role in ("predictions", "labels")] == [{"unknown_class": 1}] * 2
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="ok")] == 2
    assert found[sample("model_class_info", **{"class": "fraud", "positive": "true"})] == 1
    assert found[sample("model_class_info", **{"class": "ok", "positive": "false"})] == 1


def test_a_class_is_learned_at_zero():
    """Where nothing is declared, a class seen later has all its counters at 0 for one scrape."""
    pipeline = Pipeline(config(model(classes=(), max_classes=4)), State(None))
    pipeline.absorb([predictions(P(1)), labels(L(1))])
    shown(pipeline)
    pipeline.exposition.ready = True
    pipeline.absorb([predictions(P(2, predicted="new")), labels(L(2, actual="new"))])
    at = sample("model_predictions_total", predicted="new")
    snapshot = pipeline.snapshot(0.0, OWN, Status())
    assert samples(snapshot)[at] == 0
    assert samples(snapshot)[sample("model_outcomes_total", **{"class": "new", "outcome": "tp"})] == 0
    assert samples(snapshot)[sample("model_outcomes_total", **{"class": "a", "outcome": "tp"})] == 1
    snapshot.served = True
    assert samples(shown(pipeline))[at] == 1


def test_an_odd_class_is_a_class():
    """Empty, quoted, newlined or overlong class names are counted and shown as clean texts."""
    pipeline = Pipeline(config(model(classes=(), max_classes=8)), State(None))
    odd = ["", '"', "a\nb", "x" * 2**20, "\ud800"]
    pipeline.absorb(
        [
            predictions(*(P(one, predicted=name) for one, name in enumerate(odd))),
            labels(*(L(one, actual=name) for one, name in enumerate(odd))),
        ]
    )
    found = samples(shown(pipeline))
    shown_classes = {dict(pairs)["predicted"] for name, pairs in found if name == "model_predictions_total"}
    assert len(shown_classes) == len(odd)
    assert result(pipeline, "matched") == len(odd)
    assert max(map(len, shown_classes)) == 128
