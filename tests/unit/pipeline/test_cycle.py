"""The cycle: deliveries in, one commit, one snapshot out."""

from __future__ import annotations

import math
import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import catalogue
from exporter.contracts import Batch, Poll
from exporter.errors import StateError
from exporter.pipeline import CATALOGUE, Delivery, Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, of_model, parsed, predictions, result, sample, samples, shown


@pytest.fixture
def state():
    return State(None)


@pytest.fixture
def pipeline(state):
    return Pipeline(config(), state)


def test_rows_become_series(pipeline):
    """Predictions and labels of one cycle are joined, counted and shown."""
    pipeline.absorb([predictions(P(1, 5.0, "a"), P(2, 6.0, "b")), labels(L(1, 7.0, "a"), L(2, 9.0, "c"))])
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="a")] == 1
    assert found[sample("model_labelled_predictions_total", correct="true")] == 1
    assert found[sample("model_labelled_predictions_total", correct="false")] == 1
    assert found[sample("model_confusion_total", actual="c", predicted="b")] == 1
    assert found[sample("model_last_prediction_timestamp_seconds")] == 6.0
    assert found[sample("model_last_label_timestamp_seconds")] == 9.0
    assert found[sample("model_info", task="multiclass")] == 1
    assert found[of_model("model_joins_total", result="matched")] == 2


def test_labels_may_be_delivered_before_their_predictions(pipeline):
    """Within a cycle the order of deliveries does not matter."""
    pipeline.absorb([labels(L(1)), predictions(P(1))])
    assert (result(pipeline, "matched"), result(pipeline, "early")) == (1, 0)


def test_one_row_may_hold_both(pipeline):
    """A prediction row with its label needs no second source; one without it waits."""
    pipeline.absorb([predictions(P(1, 5.0, "a", actual="b", actual_time=8.0), P(2, 5.0, "a"))])
    found = samples(shown(pipeline))
    assert found[sample("model_confusion_total", actual="b", predicted="a")] == 1
    assert found[sample("model_last_label_timestamp_seconds")] == 8.0
    assert found[sample("model_pending_predictions")] == 1
    pipeline.absorb([predictions(P(2, 5.0, "a", actual="a", actual_time=9.0))])
    assert (result(pipeline, "duplicate"), result(pipeline, "matched")) == (1, 2)


def test_every_counter_a_config_implies_is_there_from_the_start(pipeline):
    """Joins are shown at 0 before the first row."""
    found = samples(shown(pipeline))
    assert found[of_model("model_joins_total", result="matched")] == 0
    assert found["model_orphan_labels", frozenset({("model", "m")})] == 0


def test_cursors_are_committed_with_their_rows(tmp_path):
    """A cursor comes back as it was given, per model and role; a poll without rows moves it, too."""
    setting = config(model("m"), model("n/ö"))
    state = State(tmp_path)
    pipeline = Pipeline(setting, state)
    assert pipeline.cursor("m", "labels") is None
    pipeline.absorb(
        [
            predictions(P(1), cursor={"file": "ü", "at": 7}),
            labels(L(1), model="n/ö", cursor=[1, None]),
            Delivery("m", "labels", Poll(None, {"at": 3})),
        ]
    )
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(setting, state)
    assert pipeline.cursor("m", "predictions") == {"file": "ü", "at": 7}
    assert pipeline.cursor("n/ö", "labels") == [1, None]
    assert pipeline.cursor("m", "labels") == {"at": 3}
    assert pipeline.cursor("n/ö", "predictions") is None
    state.close()


def test_several_batches_of_one_source_are_taken_in_order(pipeline):
    """Pages that came since the last cycle are one stream, whatever columns they have."""
    plain = Batch(
        role="predictions", key=predictions(P(9)).poll.batch.key, time=predictions(P(9, 1.0)).poll.batch.time
    )
    pipeline.absorb(
        [
            predictions(P(1, predicted="a")),
            predictions(P(1, predicted="b"), P(2, predicted="b", latency=0.5)),
            Delivery("m", "predictions", Poll(plain, None)),
            labels(L(2, 1.0, "a")),
            labels(L(2, 2.0, "b")),
        ]
    )
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="a")] == 1
    assert found[sample("model_predictions_total", predicted="b")] == 1
    assert (result(pipeline, "duplicate"), result(pipeline, "corrected")) == (1, 1)


def test_versions_and_models_have_series_of_their_own(pipeline):
    """A column may name the model; a row without a version has the version `unknown`."""
    pipeline.absorb(
        [predictions(P(1, version="2", model="x"), P(2, version="2", model="y"), P(3, version="2", model="x"))]
    )
    found = samples(shown(pipeline))
    assert found["model_predictions_total", frozenset({("model", "x"), ("version", "2"), ("predicted", "a")})] == 2
    assert found["model_predictions_total", frozenset({("model", "y"), ("version", "2"), ("predicted", "a")})] == 1


def test_versions_beyond_the_cap_are_other(state):
    """The cap holds, and nothing is lost."""
    pipeline = Pipeline(config(model(max_versions=3)), state)
    pipeline.absorb([predictions(*(P(one, version=f"v{one}") for one in range(10)))])
    found = samples(shown(pipeline))
    by_version = {
        dict(at[1])["version"]: value
        for at, value in found.items()
        if at[0] == "model_predictions_total" and ("predicted", "a") in at[1]
    }
    assert by_version == {"v0": 1, "v1": 1, "other": 8}


def test_many_versions_of_many_models_keep_their_groups(state):
    """However large the cap, the groups fit into what a row remembers of its group."""
    pipeline = Pipeline(config(model(max_versions=10_000)), state)
    rows = [P((one, other), version=f"v{one}", model=f"m{other}") for one in range(300) for other in range(12)]
    pipeline.absorb([predictions(*rows), labels(*(L(row.id) for row in rows))])
    ledger = pipeline.ledgers["m"]
    assert len(ledger.codebook.groups) <= 65_535
    assert ledger.results["matched"] == len(rows)
    assert sum(ledger.tallies[0].totals.of(group)[0].sum() for group in range(len(ledger.codebook.groups))) == len(
        rows
    )


def test_a_failed_prediction_waits_for_no_label(pipeline):
    """An error row counts under its reason; it is not pending, also if it names a class."""
    pipeline.absorb([predictions(P(1, error="timeout", predicted=None), P(2, error="timeout"), P(3))])
    found = samples(shown(pipeline))
    assert found[sample("model_prediction_errors_total", reason="timeout")] == 2
    assert found[sample("model_pending_predictions")] == 1


def test_predictions_expire_by_event_time(state):
    """A prediction that is older than the horizon, by the time of both streams, is given up and told."""
    pipeline = Pipeline(config(model(horizon=360.0)), state)
    pipeline.absorb([predictions(P(1, 0.0), P(2, 100.0)), labels(L(9, 50.0))])
    pipeline.absorb([predictions(P(3, 1000.0)), labels(L(9, 399.0))])
    found = samples(shown(pipeline))
    assert (result(pipeline, "expired"), found[sample("model_pending_predictions")]) == (1, 2)


def test_a_restart_keeps_the_watermark(tmp_path):
    """Rows that come after a restart are as old as they would have been without it."""
    setting = config(model(horizon=360.0))
    first = [predictions(P(1, 5000.0)), labels(L(1, 5000.0))]
    old = [predictions(P(2, 100.0), P(3, 4900.0))]
    undisturbed = Pipeline(setting, State(None))
    state = State(tmp_path)
    Pipeline(setting, state).absorb(first)
    state.close()
    state = State(tmp_path)
    restarted = Pipeline(setting, state)
    undisturbed.absorb(first)
    for pipeline in (undisturbed, restarted):
        pipeline.absorb(old)
        assert (result(pipeline, "expired"), samples(shown(pipeline))[sample("model_pending_predictions")]) == (0, 1)
    state.close()


def test_a_silent_stream_holds_time_back_until_it_is_idle(state):
    """The watermark is that of the slower stream, unless that one has nothing more to say."""
    pipeline = Pipeline(config(model(horizon=360.0)), state)
    pipeline.absorb([predictions(P(1, 0.0)), labels(L(9, 10.0))])
    pipeline.absorb([predictions(P(2, 1000.0))])
    assert result(pipeline, "expired") == 0
    pipeline.absorb([], {"m": frozenset({"labels"})}, touched=["m"])
    assert result(pipeline, "expired") == 1


def test_windows_slide_with_label_time(state):
    """Labels that are out of the window leave the gauges; a window without labels shows its count only."""
    pipeline = Pipeline(config(model(windows=["60s", "last 2"])), state)
    pipeline.absorb([predictions(*(P(one) for one in range(4))), labels(L(0, 5.0), L(1, 6.0, "b"), L(2, 7.0))])
    found = samples(shown(pipeline))
    assert found[sample("model_accuracy_ratio", window="60s")] == 2 / 3
    assert found[sample("model_accuracy_ratio", window="last 2")] == 0.5
    pipeline.absorb([predictions(P(9, 900.0)), labels(L("orphan", 800.0))])
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == 0
    assert sample("model_accuracy_ratio", window="60s") not in found
    assert found[sample("model_accuracy_ratio", window="last 2")] == 0.5


def test_gauges_of_stale_models_are_left_out(state):
    """Window gauges end with their source and come back with it; counters stay."""
    pipeline = Pipeline(config(model(windows=["60s"])), state)
    pipeline.absorb([predictions(P(1)), labels(L(1))])
    at = sample("model_accuracy_ratio", window="60s")
    assert at in samples(shown(pipeline))
    stale = samples(pipeline.snapshot(0.0, (b"", b""), shown(pipeline).status, stale=["m"]))
    assert at not in stale
    assert stale[sample("model_labelled_predictions_total", correct="true")] == 1
    assert at in samples(shown(pipeline))


def test_a_silent_version_is_retired_and_comes_back(state):
    """A version without news ends; its counters go on where they were when it is heard of again."""
    pipeline = Pipeline(config(model(retire_after=100.0)), state)
    pipeline.absorb([predictions(P(1, 0.0), P(2, 0.0, version="2")), labels(L(1, 1.0), L(2, 1.0))])
    pipeline.exposition.ready = False
    shown(pipeline)
    pipeline.exposition.ready = True
    pipeline.absorb([predictions(P(3, 500.0)), labels(L(3, 500.0))])
    at = sample("model_predictions_total", version="2", predicted="a")
    assert at not in samples(shown(pipeline))
    pipeline.absorb([predictions(P(4, 510.0, version="2"))])
    assert samples(shown(pipeline))[at] == 2


def test_a_class_first_seen_in_the_data_is_refused_when_classes_are_declared(pipeline):
    """Such rows are refused under a reason, and the rest is counted."""
    refused = pipeline.absorb(
        [predictions(P(1), P(2, predicted="z"), P(3)), labels(L(1, actual="z"), L(3), L(1, actual="b"))]
    )
    assert refused["m", "predictions"].counts == {"too_many_classes": 1}
    assert refused["m", "labels"].counts == {"too_many_classes": 1}
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="a")] == 2
    assert result(pipeline, "matched") == 2


def test_a_new_version_is_born_at_zero(state):
    """Once ready, a version first seen in the data shows zero counters for one scrape, and its gauges at once."""
    pipeline = Pipeline(config(model(windows=["60s"])), state)
    pipeline.exposition.ready = True
    shown(pipeline)
    pipeline.absorb([predictions(P(1)), labels(L(1))])
    at = sample("model_predictions_total", predicted="a")
    snapshot = shown(pipeline)
    assert samples(snapshot)[at] == 0
    assert samples(snapshot)[sample("model_accuracy_ratio", window="60s")] == 1
    snapshot.served = True
    assert samples(shown(pipeline))[at] == 1


def test_nothing_is_shown_that_is_not_saved(tmp_path, monkeypatch):
    """If the disk refuses, the snapshot stays as it was, no more is taken in, and later all is there, once."""
    state = State(tmp_path)
    pipeline = Pipeline(config(), state)
    pipeline.absorb([predictions(P(1))])
    before = shown(pipeline).text
    state._database.execute("PRAGMA query_only = ON")
    with pytest.raises(StateError):
        pipeline.absorb([predictions(P(2), cursor=2), labels(L(1))])
    assert pipeline.unsaved
    assert shown(pipeline).text == before
    with pytest.raises(StateError):
        pipeline.absorb([predictions(P(3), cursor=3)])
    state._database.execute("PRAGMA query_only = OFF")
    pipeline.save()
    assert not pipeline.unsaved
    assert pipeline.cursor("m", "predictions") == 2
    pipeline.absorb([predictions(P(3), cursor=3)])
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="a")] == 3
    assert found[of_model("model_joins_total", result="matched")] == 1
    state.close()


def test_deliveries_can_be_given_again_if_there_was_no_room(tmp_path, monkeypatch):
    """A disk too full to grow changes nothing: the same rows count once when there is room again."""
    state = State(tmp_path)
    pipeline = Pipeline(config(), state)
    pipeline.absorb([predictions(P(1))])
    deliveries = [
        predictions(*(P(one) for one in range(20_000)), cursor=1),
        labels(*(L(one) for one in range(20_000))),
    ]

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StateError, match="free some disk"):
            pipeline.absorb(deliveries)
    assert not pipeline.unsaved
    assert result(pipeline, "duplicate") == 0
    pipeline.absorb(deliveries)
    assert (result(pipeline, "matched"), result(pipeline, "duplicate")) == (20_000, 1)
    state.close()


def test_what_a_config_change_keeps(tmp_path):
    """Other windows, buckets or horizon keep all other counts; other classes begin anew."""
    rows = [
        predictions(*(P(one, 10.0 * one, latency=0.2) for one in range(30))),
        labels(*(L(one, 300.0) for one in range(9))),
    ]

    def restarted(**words):
        state = State(tmp_path)
        pipeline = Pipeline(
            config(model(**{"latency_buckets": (0.1, 1.0), "delay_buckets": (60.0, 600.0), **words})), state
        )
        return state, pipeline

    at = {
        "labelled": sample("model_labelled_predictions_total", correct="true"),
        "window": sample("model_window_labelled_predictions", window="360s"),
        "timed": sample("model_prediction_latency_seconds_count"),
        "pending": sample("model_pending_predictions"),
    }

    def seen(words, more=()):
        state, pipeline = restarted(**words)
        for deliveries in more:
            pipeline.absorb(deliveries)
        found = samples(shown(pipeline))
        state.close()
        return {name: found.get(key) for name, key in at.items()}

    usual = {"windows": ["360s"], "horizon": 3600.0}
    nothing = [labels(L("nobody", 300.0))]
    assert seen(usual, [rows]) == {"labelled": 9, "window": 9, "timed": 30, "pending": 21}
    assert seen({**usual, "windows": ["720s"]}, [nothing]) == {
        "labelled": 9,
        "window": None,
        "timed": 30,
        "pending": 21,
    }
    assert seen(usual, [nothing]) == {"labelled": 9, "window": 0, "timed": 30, "pending": 21}
    assert seen({**usual, "latency_buckets": (0.5,)}, [nothing]) == {
        "labelled": 9,
        "window": 0,
        "timed": 0,
        "pending": 21,
    }
    assert seen({**usual, "latency_buckets": (0.5,)}) == {"labelled": 9, "window": 0, "timed": 0, "pending": 21}
    shorter = {**usual, "horizon": 180.0}
    assert seen(shorter, [nothing]) == {"labelled": 9, "window": 0, "timed": 0, "pending": 18}
    assert seen(shorter) == {"labelled": 9, "window": 0, "timed": 0, "pending": 18}
    assert seen({**usual, "horizon": 3600.0}) == {"labelled": 9, "window": 0, "timed": 0, "pending": 21}
    assert seen({**usual, "classes": ("a", "b")}, [rows]) == {"labelled": 9, "window": 9, "timed": 30, "pending": 21}


def test_the_catalogue_is_one_list_of_unlike_names():
    """Every metric is declared once, and everything shown is declared."""
    names = [spec.name for spec in CATALOGUE]
    assert len(names) == len(set(names))
    pipeline = Pipeline(config(model(windows=["60s"], latency_buckets=(1.0,), delay_buckets=(1.0,))), State(None))
    pipeline.absorb([predictions(P(1, latency=0.5), P(2, error="x")), labels(L(1))])
    declared = {spec.name: spec for spec in catalogue.specs()}
    for family in text_string_to_metric_families(shown(pipeline).text.decode()):
        name = family.name + "_total" if family.type == "counter" else family.name
        for one in family.samples:
            assert set(one.labels) - {"le"} == set(declared[name].labels)


def test_both_formats_say_the_same(pipeline):
    """Text and OpenMetrics hold the same samples."""
    pipeline.absorb([predictions(P(1), P(2, error="x")), labels(L(1))])
    snapshot = shown(pipeline)
    assert parsed(snapshot.text.decode()) == parsed(snapshot.openmetrics.decode(), openmetrics=True)
    assert all(math.isfinite(value) for value in samples(snapshot).values())
    assert snapshot.series == len(samples(snapshot))
