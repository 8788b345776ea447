"""Rows from the future: the row is refused and named, and neither windows nor watermark follow it."""

from __future__ import annotations

import time

from tests.apps import config, label, predict, running, write


def test_future_timestamps(monkeypatch, tmp_path, caplog):
    """More than five minutes ahead is refused on both sides, a little is allowed, and the others are counted."""
    now = time.time()
    predict(tmp_path, 1)
    write(tmp_path, "m-predictions.jsonl", {"id": "ahead", "t": now + 3600, "p": "a", "v": "1"})
    write(tmp_path, "m-predictions.jsonl", {"id": "a little", "t": now + 60, "p": "a", "v": "1"})
    write(tmp_path, "m-labels.jsonl", {"id": 1, "t": now + 86400 * 365, "y": "b"})
    label(tmp_path, 1)
    with running(monkeypatch, tmp_path, config(tmp_path, windows="1h")) as exporter:
        exporter.ready()
        values = exporter.once(lambda v: v.sum("model_labelled_predictions_total") == 1)
        assert values.one("model_predictions_total", predicted="a") == 2
        assert values.one("model_accuracy_ratio", window="1h") == 1
        for role in ("predictions", "labels"):
            refused = {"role": role, "reason": "future_time"}
            assert values.one("model_exporter_source_rows_rejected_total", **refused) == 1
        assert values.one("model_joins_total", result="expired") == 0
        places = [record.place for record in caplog.records if record.message == "row refused"]
        assert any("m-predictions.jsonl, byte " in place for place in places)
        assert any("m-labels.jsonl, byte " in place for place in places)
