"""A source that answers slowly, or drips without an end: it alone is late."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.apps import config, label, predict, running


class Drips(BaseHTTPRequestHandler):
    """Answers with one byte now and then until `fast` is set, then at once."""

    fast: threading.Event

    def do_GET(self):
        body = json.dumps([{"id": 1, "t": 1700000001, "y": "a"}]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if self.fast.is_set():
                self.wfile.write(body)
                return
            for byte in body:
                self.fast.wait(0.05)
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        except OSError:
            return

    def log_message(self, *words): ...


@pytest.fixture
def api():
    """The address of a dripping API, and the event that heals it."""
    Drips.fast = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Drips)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", Drips.fast
    Drips.fast.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_slow_source(monkeypatch, tmp_path, api):
    """Its poll ends at its timeout as a failure; meanwhile the other model's rows are counted; later it is read."""
    url, fast = api
    labels = f"http: {{url: '{url}', retries: 0}}"
    slow = config(tmp_path, "m", labels=labels).replace("t, actual: y}", "t, actual: y}\n      timeout: 300ms")
    text = slow + config(tmp_path, "n").removeprefix("models:\n")
    predict(tmp_path, 1)
    predict(tmp_path, 1, 2, model="n")
    label(tmp_path, 1, model="n")
    with running(monkeypatch, tmp_path, text) as exporter:
        values = exporter.once(lambda v: v.sum("model_labelled_predictions_total", model="n") == 1)
        assert values.of("model_exporter_source_last_success_timestamp_seconds", model="m", role="labels") == []
        exporter.once(
            lambda v: (
                v.one("model_exporter_source_poll_failures_total", model="m", role="labels", reason="timeout") >= 1
            )
        )
        label(tmp_path, 2, model="n")
        exporter.once(lambda v: v.sum("model_labelled_predictions_total", model="n") == 2)
        exporter.ready()
        fast.set()
        exporter.once(lambda v: v.sum("model_labelled_predictions_total", model="m") == 1)
