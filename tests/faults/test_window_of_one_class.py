"""A window in which only one class occurs: what can be told is told, and what cannot is absent."""

from __future__ import annotations

import pytest

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, sample, samples, shown


def gauges(task, *rows):
    """Ratios of a window with *rows* (actual, predicted), as "measure average"."""
    words = {"task": "binary", "positive": "a", "classes": ("a", "b")} if task == "binary" else {}
    pipeline = Pipeline(config(model(windows=["60s"], **words)), State(None))
    pipeline.absorb(
        [
            predictions(*(P(one, 1.0, predicted) for one, (_, predicted) in enumerate(rows))),
            labels(*(L(one, 2.0, actual) for one, (actual, _) in enumerate(rows))),
        ]
    )
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == len(rows)
    return {
        f"{name.removeprefix('model_').removesuffix('_ratio')} {dict(pairs).get('average', '')}".strip(): value
        for (name, pairs), value in found.items()
        if name.endswith("_ratio")
    }


def test_only_the_positive_class():
    """All right, all positive: every ratio is 1."""
    assert set(gauges("binary", ("a", "a"), ("a", "a")).values()) == {1}


def test_only_the_negative_class():
    """Nothing can be said of the positive class, so its series are absent; the averages are about the other."""
    seen = gauges("binary", ("b", "b"), ("b", "b"))
    assert not [name for name in seen if name.endswith("binary")]
    assert (seen["accuracy"], seen["f1 macro"], seen["recall weighted"]) == (1, 1, 1)


def test_one_actual_class_and_another_predicted():
    """Recall of a class that never occurred is undefined, and so is every average that needs it."""
    seen = gauges("multiclass", ("a", "b"), ("a", "a"))
    assert seen == {
        "accuracy": 0.5, "precision micro": 0.5, "recall micro": 0.5, "f1 micro": 0.5,
        "precision macro": 0.5, "precision weighted": 1.0,
        "f1 macro": pytest.approx(1 / 3), "f1 weighted": pytest.approx(2 / 3),
    }  # fmt: skip


def test_an_empty_window():
    """No row, no ratio: no data is not zero."""
    pipeline = Pipeline(config(model(windows=["60s"])), State(None))
    pipeline.absorb([predictions(P(1))])
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == 0
    assert not [name for name, _ in found if name.endswith("_ratio")]
