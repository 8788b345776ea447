"""State that was written before predictions could be more than a class: it opens, and goes on."""

from __future__ import annotations

import msgspec

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, result, sample, samples, shown


def as_before(state):
    """Rewrite what a model's ledger and tables say of themselves as it was written then."""
    blobs = {}
    for name, blob in state.scan("model/"):
        if name.endswith("/ledger"):
            saved = msgspec.msgpack.decode(blob)
            del saved["meanings"], saved["waiting"]
            saved["bounds"] = {"latency": [0.1, 1.0], "delay": [60.0]}
            blobs[name] = msgspec.msgpack.encode(saved)
    assert blobs
    for name, meta in state.scan("table/"):
        assert len(msgspec.msgpack.decode(meta)) == 2, f"{name} is written as it was"
    state.commit(blobs)


def test_it_goes_on_where_it_was(tmp_path):
    """Counts, histograms, windows, waiting labels and remembered rows are all there, and joins go on."""
    setting = config(model("m", latency_buckets=(0.1, 1.0), delay_buckets=(60.0,), windows=["60s", "last 5"]))
    state = State(tmp_path)
    pipeline = Pipeline(setting, state)
    pipeline.absorb([predictions(P(1, 5.0, latency=0.5), P(2, 5.0)), labels(L(1, 6.0), L(3, 6.0, "b"))])
    before = samples(shown(pipeline))
    as_before(state)
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(setting, state)
    assert samples(shown(pipeline)) == before
    pipeline.absorb([predictions(P(3, 5.0)), labels(L(2, 7.0), L(1, 8.0, "b"))])
    assert {word: result(pipeline, word) for word in ("matched", "corrected")} == {"matched": 3, "corrected": 1}
    found = samples(shown(pipeline))
    assert found[sample("model_prediction_latency_seconds_count")] == 1
    assert found[sample("model_label_delay_seconds_count")] == 4
    state.close()


def test_other_buckets_still_begin_their_histogram_anew(tmp_path):
    """The bounds that an older program noted are compared with those of now."""
    words = {"latency_buckets": (0.1, 1.0), "delay_buckets": (60.0,)}
    state = State(tmp_path)
    Pipeline(config(model("m", **words)), state).absorb([predictions(P(1, latency=0.5)), labels(L(1))])
    as_before(state)
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(config(model("m", **{**words, "latency_buckets": (0.2, 1.0)})), state)
    found = samples(shown(pipeline))
    assert found[sample("model_prediction_latency_seconds_count")] == 0
    assert found[sample("model_label_delay_seconds_count")] == 1
    state.close()
