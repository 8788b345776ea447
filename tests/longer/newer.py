"""What only a Prometheus 3 can be asked about scrapes; tests/longer/pinned.py runs it, no suite collects it."""

from __future__ import annotations

import json
import re

import pytest

from tests.running import Exporter
from tests.scraping import scraping

CONFIG = """\
models:
  fraud:
    positive: fraud
    classes: [fraud, legit]
    latency_buckets: [0.05, 1]
    predictions:
      files: {path: predictions.jsonl}
      fields: {id: id, time: time, predicted: class, score: score, latency: seconds}
    labels:
      files: {path: labels.jsonl}
      fields: {id: id, time: time, actual: class}
"""
PROTOCOLS = ("PrometheusProto", "OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0",
             "PrometheusText0.0.4")  # fmt: skip
WISHES = {
    "default": {},
    **{one: {"scrape_protocols": [one]} for one in PROTOCOLS},
    "native": {"scrape_native_histograms": True},
    "both": {"convert_classic_histograms_to_nhcb": True, "always_scrape_classic_histograms": True},
    "underscores": {"metric_name_validation_scheme": "legacy", "metric_name_escaping_scheme": "underscores"},
}
"""By job, how it differs from a scrape config that says nothing of formats."""


@pytest.fixture(scope="module")
def exporter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exporter")
    classes = ("fraud", "legit", "legit")
    predictions = [
        {"id": one, "time": 1700000000 + one, "class": classes[one % 3], "score": one % 10 / 10, "seconds": one / 100}
        for one in range(200)
    ]
    labels = [{"id": one, "time": 1700001000 + one, "class": classes[one % 2]} for one in range(200)]
    for name, lines in (("predictions.jsonl", predictions), ("labels.jsonl", labels)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    running = Exporter(folder, CONFIG)
    try:
        yield running.start().ready()
    finally:
        running.kill()


@pytest.fixture(scope="module")
def prometheus(exporter, tmp_path_factory, debian):
    """A server with a job for each of the wishes."""
    target = [{"targets": [exporter.address]}]
    jobs = [{"job_name": name, "static_configs": target, **wish} for name, wish in WISHES.items()]
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
    folder = tmp_path_factory.mktemp("prometheus")
    with scraping(debian("prometheus", "prometheus"), folder, json.dumps(config), len(jobs)) as server:
        yield server


def stored(prometheus, job):
    """Value by name and labels of all that the models of *job* have, without native histograms."""
    found = prometheus.query(f'{{job="{job}", __name__=~"model_.*", __name__!~"model_exporter_.*"}} > -Inf')
    return {frozenset(labels.items() - {("job", job)}): value for labels, value in found}


@pytest.mark.parametrize("job", WISHES)
def test_every_scrape_gives_the_same_series(prometheus, job):
    """Whatever format or escaping it asks for, Prometheus takes the answer, and stores the same."""
    everything = stored(prometheus, "default")
    assert len(everything) > 100
    assert stored(prometheus, job) == everything


def test_bounds_are_stored_as_they_are_told(prometheus, exporter):
    """Prometheus 3 writes le="1" as le="1.0"; the exporter does so by itself, so that 2 and 3 have the same series."""
    for accept in ("text/plain", "application/openmetrics-text"):
        text, _ = exporter.get("/metrics", Accept=accept)
        told = set(re.findall(r'\bmodel_prediction_latency_seconds_bucket\{[^}]*\ble="([^"]*)"', text))
        assert told == {"0.05", "1.0", "+Inf"}
        found = prometheus.query('model_prediction_latency_seconds_bucket{job="default"}')
        assert {labels["le"] for labels, _ in found} == told


def test_no_series_of_creation_times(prometheus):
    """There are no `_created` series, which Prometheus 3 would take for times of counters, or store as gauges."""
    assert prometheus.query('{job="default", __name__=~".*_created"}') == []
