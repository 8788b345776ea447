"""A label column with a million distinct values: a wrong field was mapped, and the exporter must survive it."""

from __future__ import annotations

import time

import numpy as np

from exporter.contracts import Batch, Categorical, Poll
from exporter.pipeline import Delivery, Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, keys, labels, model, predictions, sample, samples, shown

MILLION = 1_000_000


def test_the_cap_on_classes_holds():
    """What is beyond `max_classes` is refused and counted, the series stay few, and the rest goes on as ever."""
    pipeline = Pipeline(config(model(classes=(), max_classes=8, windows=["60s"])), State(None))
    pipeline.absorb([predictions(P(1), P(2, predicted="b")), labels(L(1))])
    numbers = np.arange(MILLION, dtype=np.uint64)
    batch = Batch(
        role="labels",
        key=np.stack([numbers, numbers], axis=1),
        time=np.zeros(MILLION),
        actual=Categorical(np.arange(MILLION, dtype=np.int32), [f"value {number}" for number in range(MILLION)]),
    )
    begun = time.process_time()
    refused = pipeline.absorb([Delivery("m", "labels", Poll(batch, None))])
    assert time.process_time() - begun < 20
    assert refused["m", "labels"].counts == {"too_many_classes": MILLION - 6}
    assert len(refused["m", "labels"].examples) == 1
    assert pipeline.ledgers["m"].held == 6
    assert len(samples(shown(pipeline))) < 500
    pipeline.absorb([labels(L(2, 1.0, "b"))])
    assert samples(shown(pipeline))[sample("model_labelled_predictions_total", correct="true")] == 2


def test_many_versions_and_reasons_are_capped_as_well():
    """Every text that data control has a cap; what is beyond counts as `other`."""
    count = 20_000
    codes, names = np.arange(count, dtype=np.int32), [f"text {number}" for number in range(count)]
    batch = Batch(
        role="predictions",
        key=keys(range(count)),
        time=np.zeros(count),
        model=Categorical(codes % 7, names),
        version=Categorical(codes, names),
        predicted=Categorical(np.zeros(count, np.int32), ["a"]),
        error=Categorical(np.where(codes % 2, codes, -1).astype(np.int32), names),
    )
    pipeline = Pipeline(config(model(max_versions=4)), State(None))
    pipeline.absorb([Delivery("m", "predictions", Poll(batch, None))])
    found = samples(shown(pipeline))
    made = [value for (name, _), value in found.items() if name == "model_predictions_total"]
    failed = [value for (name, _), value in found.items() if name == "model_prediction_errors_total"]
    assert (sum(made), sum(failed)) == (count / 2, count / 2)
    assert pipeline.folded("m") == {"model": 0, "version": count - 3, "reason": count / 2 - 31}
    assert len(made) <= 7 * 4 * 3
    assert len(failed) <= 7 * 4 * 32
