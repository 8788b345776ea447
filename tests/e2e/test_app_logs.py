"""Logs that python-json-logger and structlog wrote in an application, read as predictions without converting them."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.running import ROOT, Exporter

LOGS = ROOT / "tests/data/app_logs"
LABELS = ROOT / "tests/data/bentoml/labels.csv"
BOUNDS = (0.0003, 0.0005, 0.001)
CONFIG = """\
models:
  typical:
    positive: malignant
    latency_buckets: &bounds [0.0003, 0.0005, 0.001]
    predictions:
      files: {path: pjl_typical.log}
      where:
        message: [prediction served, prediction failed]
        features.mean_radius: {not: [9.173, "10.05"]}
      fields:
        id: record_id
        time: timestamp
        predicted: prediction
        version: model_version
        latency: {field: latency_ms, unit: ms}
        error: {field: level, map: {INFO: "", ERROR: failed}}
    labels: &labels
      files: {path: labels.csv}
      fields: {id: record_id, time: labelled_at, actual: diagnosis}
      max_ahead: 3d   # these labels are dated ahead of the clock
  default:
    positive: malignant
    predictions:
      files: {path: pjl_default.log}
      where: {message: prediction served}
      fields: {id: record_id, predicted: prediction, version: model_version}
    labels: *labels
  structlog:
    positive: malignant
    latency_buckets: *bounds
    predictions:
      files: {path: structlog.log}
      where: {event: prediction_served}
      fields: {id: record_id, time: timestamp, predicted: prediction, latency: {field: latency_ms, unit: ms}}
    labels: *labels
"""
FILES = {"typical": "pjl_typical.log", "default": "pjl_default.log", "structlog": "structlog.log"}


def records(model):
    return [json.loads(line) for line in (LOGS / FILES[model]).read_text().splitlines()]


def counted(model):
    """The records that the config keeps as predictions that worked, picked here by their keys alone."""
    worked = [one for one in records(model) if "prediction" in one]
    if model == "typical":
        worked = [one for one in worked if one["features"]["mean_radius"] not in {9.173, 10.05}]
    return worked


def copy_into(folder):
    for log in LOGS.iterdir():
        shutil.copy(log, folder)
    shutil.copy(LABELS, folder)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """A scrape after all three logs have been read."""
    folder = tmp_path_factory.mktemp("app_logs")
    copy_into(folder)
    exporter = Exporter(folder, CONFIG)
    try:
        exporter.start().ready()
        return exporter.values_once(
            lambda values: all(values.sum("model_labelled_predictions_total", model=model) for model in FILES)
        )
    finally:
        exporter.kill()


def test_counts_of_every_log(values):
    """Predictions, their latency and their quality are those that json finds in the same lines."""
    with LABELS.open(newline="") as file:
        told = {row["record_id"]: row["diagnosis"] for row in csv.DictReader(file)}  # corrections stand last
    for model, version in (("typical", "1.4.2"), ("default", "1.4.2"), ("structlog", "unknown")):
        rows = counted(model)
        of = {"model": model, "version": version}
        for name, count in Counter(one["prediction"] for one in rows).items():
            assert values.one("model_predictions_total", predicted=name, **of) == count
        assert values.sum("model_predictions_total", model=model) == len(rows)
        right = Counter(told[one["record_id"]] == one["prediction"] for one in rows if one["record_id"] in told)
        assert right[True] > 10
        for correct, word in ((True, "true"), (False, "false")):
            assert values.net("model_labelled_predictions", correct=word, **of) == right[correct]
        assert values.one("model_joins_total", model=model, result="late") == 0
        assert sum(values.of("model_exporter_source_rows_rejected_total", model=model)) == 0
    for model in ("typical", "structlog"):
        assert_latency(values, model, [one["latency_ms"] / 1000 for one in counted(model)])
    assert not values.of("model_prediction_latency_seconds_count", model="default"), "that config maps no latency"


def assert_latency(values, model, seconds):
    buckets = Counter(bisect_left(BOUNDS, one) for one in seconds)
    assert values.sum("model_prediction_latency_seconds_count", model=model) == len(seconds)
    assert values.sum("model_prediction_latency_seconds_sum", model=model) == pytest.approx(sum(seconds), abs=1e-12)
    for at, bound in enumerate(BOUNDS):
        found = values.sum("model_prediction_latency_seconds_bucket", model=model, le=str(bound))
        assert found == sum(buckets[below] for below in range(at + 1))
    assert 0 < buckets[0] < len(seconds)


def test_failed_predictions(values):
    """Lines of level ERROR count as errors where `error` is mapped, and are skipped where an event filter says so."""
    assert {model: sum("prediction" not in one for one in records(model)) for model in FILES} == dict.fromkeys(
        FILES, 1
    )
    assert values.sum("model_prediction_errors_total", model="typical", reason="failed") == 1
    assert values.sum("model_prediction_errors_total") == 1
    skipped = {
        model: values.one("model_exporter_source_rows_skipped_total", model=model, role="predictions")
        for model in FILES
    }
    assert skipped == {"typical": 2, "default": 1, "structlog": 1}


def test_times(values):
    """Commas before milliseconds and times without a zone are UTC; without any time the moment of reading counts."""
    newest = {model: max(values.of("model_last_prediction_timestamp_seconds", model=model)) for model in FILES}
    served = datetime(2026, 11, 22, 5, 4, 12, tzinfo=UTC).timestamp()
    assert newest["typical"] == pytest.approx(served + 0.554, rel=0, abs=1e-6)
    assert newest["structlog"] == pytest.approx(served + 0.554112, rel=0, abs=1e-6)
    assert newest["default"] == pytest.approx(time.time(), rel=0, abs=60)


def test_check_says_that_arrival_time_is_used(tmp_path):
    """`check` names the one stream whose rows carry no time."""
    copy_into(tmp_path)
    (tmp_path / "model-exporter.yml").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    sections = {part.split()[0]: " ".join(part.split()) for part in done.stdout.split("\n\n")}
    saying = {model for model in FILES if "the moment of reading stands for it" in sections[model]}
    assert saying == {"default"}
