"""A hundred reloads within a second: a healthy process, right counts, and no thread or file more than before."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from tests.apps import config, label, predict
from tests.running import Exporter, wait_for


def held(pid):
    """How many threads and open files a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_hundred_reloads(tmp_path):
    """SIGHUPs rain while the config changes back and forth and rows come in; each row is counted once."""
    texts = [config(tmp_path, windows="last 5"), config(tmp_path, "m", "n", windows="last 9, 1h")]
    predict(tmp_path, "first")
    label(tmp_path, "first")
    exporter = Exporter(tmp_path, texts[0])
    try:
        pid = exporter.start().ready().process.pid
        exporter.values_once(lambda values: values.sum("model_labelled_predictions_total") == 1)
        before = held(pid)

        def reload(text):
            (tmp_path / "new.yml").write_text(text)
            (tmp_path / "new.yml").rename(tmp_path / "model-exporter.yml")
            os.kill(pid, signal.SIGHUP)

        for number in range(100):
            reload(texts[number % 2])
            predict(tmp_path, number)
            label(tmp_path, number)
            time.sleep(0.008)
        reload(texts[0])
        values = exporter.values_once(
            lambda values: (
                values.sum("model_labelled_predictions_total", model="m") == 101
                and not values.of("model_joins_total", model="n")
            )
        )
        assert values.sum("model_predictions_total", model="m") == 101
        assert values.one("model_joins_total", model="m", result="duplicate") == 0
        assert values.one("model_exporter_config_last_reload_successful") == 1
        assert exporter.get("/-/healthy")[0]
        wait_for(lambda: held(pid) <= before, 5, f"{held(pid)} after {before}")
        exporter.process.terminate()
        assert exporter.process.wait(5) == 0
        assert not [line for line in exporter.said() if line["level"] == "error"]
    finally:
        exporter.kill()


def test_signals_without_a_pause_between_them(tmp_path):
    """Three hundred SIGHUPs at once, and a SIGTERM right behind one, are all heard: the process ends, and well."""
    exporter = Exporter(tmp_path, config(tmp_path))
    try:
        for hangups in (300, 1, 1, 1):
            process = exporter.start().ready().process
            for _ in range(hangups):
                process.send_signal(signal.SIGHUP)
            process.terminate()
            assert process.wait(5) == 0
    finally:
        exporter.kill()


def test_signals_that_another_thread_gets(tmp_path):
    """The kernel may give a signal to any thread: it is heard at once all the same."""
    exporter = Exporter(tmp_path, config(tmp_path))
    call = ctypes.CDLL(None, use_errno=True).tgkill

    def give(number):
        others = {int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()} - {pid}
        assert call(pid, min(others), number) == 0

    try:
        pid = exporter.start().ready().process.pid
        give(signal.SIGHUP)
        wait_for(lambda: [line for line in exporter.said() if line["msg"] == "the config was reloaded"], 5)
        give(signal.SIGTERM)
        assert exporter.process.wait(5) == 0
    finally:
        exporter.kill()
