"""The disk is full for a while: nothing is lost or doubled, scrapes go on, and so does all else when there is room."""

from __future__ import annotations

import resource

from tests.apps import config, label, predict
from tests.running import Exporter


def test_disk_full_while_running(tmp_path):
    """While no file may grow, state_up is 0 and no unsaved count is shown; then each row is counted once."""
    exporter = Exporter(tmp_path, config(tmp_path))
    predict(tmp_path, *range(10))
    label(tmp_path, *range(5))
    try:
        exporter.start().ready()
        pid = exporter.process.pid
        exporter.values_once(lambda values: values.sum("model_labelled_predictions_total") == 5)
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))

        predict(tmp_path, *range(10, 20))
        label(tmp_path, *range(5, 20))
        values = exporter.values_once(lambda values: values.one("model_exporter_state_up") == 0)
        assert values.sum("model_labelled_predictions_total") == 5
        assert values.sum("model_predictions_total") == 10
        assert exporter.get("/-/healthy")[0]

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        values = exporter.values_once(lambda values: values.sum("model_labelled_predictions_total") == 20)
        assert values.sum("model_predictions_total") == 20
        assert values.one("model_exporter_state_up") == 1
        assert values.one("model_joins_total", result="duplicate") == 0
        assert values.one("model_joins_total", result="repeated") == 0
        exporter.kill()

        values = exporter.start().ready().values_once(lambda v: v.sum("model_labelled_predictions_total") == 20)
        assert values.one("model_joins_total", result="duplicate") == 0
    finally:
        exporter.kill()


def test_killed_while_the_disk_is_full(tmp_path):
    """Rows that could not be saved are read again by the next start, and counted once."""
    exporter = Exporter(tmp_path, config(tmp_path))
    predict(tmp_path, *range(10))
    try:
        exporter.start().ready()
        pid = exporter.process.pid
        exporter.values_once(lambda values: values.sum("model_predictions_total") == 10)
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        predict(tmp_path, *range(10, 20))
        label(tmp_path, *range(20))
        values = exporter.values_once(lambda values: values.one("model_exporter_state_up") == 0)
        assert values.sum("model_predictions_total") == 10
        exporter.kill()
        values = exporter.start().ready().values_once(lambda v: v.sum("model_labelled_predictions_total") == 20)
        assert values.sum("model_predictions_total") == 20
        assert values.one("model_joins_total", result="duplicate") == 0
    finally:
        exporter.kill()
