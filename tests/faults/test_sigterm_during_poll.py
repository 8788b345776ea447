"""SIGTERM while a poll is under way: the process ends in time with what it has, and the next start goes on."""

from __future__ import annotations

import socket
import time

from tests.apps import config, label, predict
from tests.running import Exporter, wait_for


def test_sigterm_during_poll(tmp_path):
    """A source that accepted and does not answer delays nothing: exit code 0 within 5 s, counts saved."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        labels = f"http: {{url: 'http://127.0.0.1:{silent.getsockname()[1]}/'}}"
        stuck = config(tmp_path, "n", labels=labels)
        exporter = Exporter(tmp_path, config(tmp_path) + stuck.removeprefix("models:\n"))
        predict(tmp_path, 1, 2)
        label(tmp_path, 1)
        predict(tmp_path, 1, model="n")
        try:
            exporter.start()
            exporter.values_once(lambda values: values.sum("model_labelled_predictions_total", model="m") == 1)
            silent.settimeout(10)
            asked, _ = silent.accept()
            with asked:
                predict(tmp_path, 3)
                begun = time.monotonic()
                exporter.process.terminate()
                assert exporter.process.wait(5) == 0
                assert time.monotonic() - begun < 5
            assert "Traceback" not in exporter.log.read_text()
            label(tmp_path, 2, 3)
            exporter.start()
            values = exporter.values_once(
                lambda values: values.sum("model_labelled_predictions_total", model="m") == 3
            )
            assert values.sum("model_predictions_total", model="m") == 3
            assert values.one("model_joins_total", model="m", result="duplicate") == 0
            assert values.one("model_exporter_source_rows_total", model="m", role="labels") == 2
        finally:
            exporter.kill()


def test_sigterm_at_any_moment_of_the_start(tmp_path):
    """Whenever it comes once the port is said, the end is orderly."""
    predict(tmp_path, *range(1000))
    exporter = Exporter(tmp_path, config(tmp_path))
    try:
        exporter.start()
        wait_for(lambda: "listening" in exporter.log.read_text(), 20)
        exporter.process.terminate()
        assert exporter.process.wait(5) == 0
        assert "Traceback" not in exporter.log.read_text()
    finally:
        exporter.kill()
