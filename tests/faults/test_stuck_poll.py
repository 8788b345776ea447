"""A poll that never returns, as from a dead network file system: told once, left alone, and no cause to hang."""

from __future__ import annotations

import threading
import time

from exporter.contracts import Poll
from tests.apps import config, label, predict, running, script
from tests.running import wait_for


def test_stuck_poll(monkeypatch, tmp_path):
    """Others go on, one timeout is counted, health fails past the bound, the end comes at once; it recovers alone."""
    free = threading.Event()
    source = script(monkeypatch, lambda cursor: (free.wait(30), Poll(None, cursor))[1])
    stuck = {"model": "m", "role": "labels"}
    text = config(tmp_path, "m", labels="scripted: {}") + config(tmp_path, "n").removeprefix("models:\n")
    predict(tmp_path, 1)
    with running(monkeypatch, tmp_path, text) as exporter:
        wait_for(lambda: source.polls, 5)
        exporter.leaps.ahead = 61
        exporter.once(lambda v: v.one("model_exporter_source_poll_failures_total", reason="timeout", **stuck) == 1)
        exporter.ready()
        predict(tmp_path, 1, model="n")
        label(tmp_path, 1, model="n")
        values = exporter.once(lambda v: v.sum("model_labelled_predictions_total", model="n") == 1)
        assert values.one("model_exporter_source_poll_failures_total", reason="timeout", **stuck) == 1
        assert values.one("model_exporter_source_up", **stuck) == 0
        assert exporter.get("/-/healthy")[0] == 200

        exporter.leaps.ahead = 700
        wait_for(lambda: "m/labels has not returned" in exporter.get("/-/healthy")[1], 5)
        assert exporter.get("/-/healthy")[0] == 503
        assert source.polls == 1

        free.set()
        wait_for(lambda: exporter.get("/-/healthy")[0] == 200, 5)
        exporter.once(lambda v: v.one("model_exporter_source_up", **stuck) == 1)
        free.clear()
        polls = source.polls
        wait_for(lambda: source.polls > polls, 5)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    free.set()
