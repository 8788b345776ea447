"""A source that worked and is gone: its gauges end in time, all else stays, and it recovers by itself."""

from __future__ import annotations

from tests.apps import config, label, predict, running


def test_source_dies_later(monkeypatch, tmp_path):
    """Window gauges hold until stale_after; counters, up and times stay; the other model never notices."""
    labels = f"files: {{path: {tmp_path}/deep/labels.jsonl}}"
    text = config(tmp_path, "m", labels=labels) + config(tmp_path, "n").removeprefix("models:\n")
    (tmp_path / "deep").mkdir()
    for model in ("m", "n"):
        predict(tmp_path, 1, 2, model=model)
        label(tmp_path, 1, model=model)
    (tmp_path / "m-labels.jsonl").rename(tmp_path / "deep/labels.jsonl")
    dead = {"model": "m", "role": "labels"}
    with running(monkeypatch, tmp_path, text) as exporter:
        exporter.ready()
        values = exporter.once(lambda v: v.one("model_accuracy_ratio", model="m") == 1)
        success = values.one("model_exporter_source_last_success_timestamp_seconds", **dead)
        (tmp_path / "deep").rename(tmp_path / "away")

        values = exporter.once(lambda v: v.one("model_exporter_source_up", **dead) == 0)
        assert values.one("model_accuracy_ratio", model="m") == 1
        assert values.one("model_exporter_source_poll_failures_total", reason="unavailable", **dead) >= 1

        exporter.leaps.ahead = 61
        values = exporter.once(lambda v: not v.of("model_accuracy_ratio", model="m"))
        assert values.of("model_window_labelled_predictions", model="m") == []
        assert values.sum("model_labelled_predictions_total", model="m") == 1
        assert values.one("model_exporter_source_last_success_timestamp_seconds", **dead) >= success
        assert values.one("model_exporter_source_newest_record_timestamp_seconds", **dead) > 0
        exporter.once(lambda v: v.one("model_accuracy_ratio", model="n") == 1)
        assert "deep/labels.jsonl" in exporter.get("/")[1]

        (tmp_path / "away").rename(tmp_path / "deep")
        with (tmp_path / "deep/labels.jsonl").open("a") as file:
            file.write('{"id": 2, "t": 1700000001, "y": "b"}\n')
        values = exporter.once(lambda v: v.one("model_accuracy_ratio", model="m") == 0.5)
        assert values.one("model_exporter_source_up", **dead) == 1
        assert values.sum("model_labelled_predictions_total", model="m") == 2
        assert values.one("model_joins_total", model="m", result="repeated") == 0
