"""Debian's real Prometheus on running exporters: what it stores is the truth, over replicas, births and deaths."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from tests.running import Exporter, wait_for
from tests.scraping import scraping

CONFIG = """\
models:
  fraud:
    positive: fraud
    classes: [fraud, legit]
    predictions:
      files: {path: predictions.jsonl}
      fields: {id: id, time: time, predicted: class, version: version}
      interval: 1s
    labels:
      files: {path: labels.jsonl}
      fields: {id: id, time: time, actual: class}
      interval: 1s
      stale_after: 2s
"""
SCRAPE = """\
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
"""
ACCEPT_OF_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What 2.42 sends; it has no `scrape_protocols` to ask for another one."""

NET = "(sum({name}_total{{{of}}}) - sum({name}_retracted_total{{{of}}}))"


def net(name, of):
    """PromQL of a counter less what corrected labels took back, over all replicas."""
    return NET.format(name=name, of=of)


def rows(seed, count, right):
    """(actual, predicted) of *count* rows, of which a share of *right* is right."""
    chance = random.Random(seed)
    actual = ["fraud" if chance.random() < 0.3 else "legit" for _ in range(count)]
    other = {"fraud": "legit", "legit": "fraud"}
    return [(one, one if chance.random() < right else other[one]) for one in actual]


SHARDS = {"big": rows(1, 950, 0.95), "small": rows(2, 50, 0.2)}
POOLED = [row for shard in SHARDS.values() for row in shard]
GROWN = rows(3, 120, 0.8)


def append(folder, pairs, version="1", between=lambda: None):
    """Log *pairs* as predictions and then as their labels; every tenth label is first told wrongly, and corrected."""
    logged, told = [], []
    for at, (actual, predicted) in enumerate(pairs):
        of = {"id": f"{version}-{at}"}
        logged.append({**of, "time": 1700000000 + at, "class": predicted, "version": version})
        if at % 10 == 0:
            wrong = "legit" if actual == "fraud" else "fraud"
            told.append({**of, "time": 1700000500 + at, "class": wrong})
        told.append({**of, "time": 1700001000 + at, "class": actual})
    for name, lines, then in (("predictions.jsonl", logged, between), ("labels.jsonl", told, lambda: None)):
        with (folder / name).open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        then()


@pytest.fixture(scope="module")
def exporters(tmp_path_factory):
    """By name: the replicas `big` and `small`, and `grown` and `dying`, which only Prometheus may scrape."""
    running = {}
    try:
        for name in (*SHARDS, "grown", "dying"):
            folder = tmp_path_factory.mktemp(name)
            append(folder, SHARDS.get(name, SHARDS["small"]))
            running[name] = Exporter(folder, CONFIG).start()
        for one in running.values():
            one.ready()
        yield running
    finally:
        for one in running.values():
            one.kill()


@pytest.fixture(scope="module")
def prometheus(exporters, tmp_path_factory, debian):
    """A Prometheus that scrapes all of them every second and has done so at least once."""
    program = debian("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    jobs = [
        f"  - {{job_name: {'replicas' if name in SHARDS else name}-{name}, "
        f"static_configs: [{{targets: ['{one.address}'], "
        f"labels: {{kind: {'replica' if name in SHARDS else name}}}}}]}}\n"
        for name, one in exporters.items()
    ]
    with scraping(program, folder, SCRAPE + "".join(jobs), len(exporters)) as server:
        yield server


def test_counters_tell_the_truth_over_replicas(prometheus):
    """Sums over two replicas are the counts of all rows, and the targets are up."""
    truth = Counter(POOLED)
    positive = {
        "tp": truth["fraud", "fraud"],
        "fp": truth["legit", "fraud"],
        "fn": truth["fraud", "legit"],
        "tn": truth["legit", "legit"],
    }
    prometheus.once(net("model_labelled_predictions", 'kind="replica"'), len(POOLED))
    for outcome, count in positive.items():
        of = f'kind="replica",class="fraud",outcome="{outcome}"'
        assert prometheus.value(net("model_outcomes", of)) == count
    assert prometheus.value('sum(model_predictions_total{kind="replica"})') == len(POOLED)
    assert prometheus.value('sum(model_labelled_predictions_retracted_total{kind="replica"})') == 100
    assert prometheus.query('up{kind="replica"} != 1') == []
    assert prometheus.query('scrape_samples_scraped{kind="replica"} < 100') == []


def test_promql_over_replicas_is_scikit_learns_answer(prometheus):
    """Ratios of summed counters equal scikit-learn on the pooled rows, which the mean of gauges does not."""
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    actual, predicted = zip(*POOLED, strict=True)
    prometheus.once(net("model_labelled_predictions", 'kind="replica"'), len(POOLED))

    def outcome(word):
        return net("model_outcomes", f'kind="replica",class="fraud",outcome="{word}"')

    tp, fp, fn = map(outcome, ("tp", "fp", "fn"))
    right = net("model_labelled_predictions", 'kind="replica",correct="true"')
    everything = net("model_labelled_predictions", 'kind="replica"')
    answers = {
        "accuracy": (f"{right} / {everything}", accuracy_score(actual, predicted)),
        "precision": (f"{tp} / ({tp} + {fp})", precision_score(actual, predicted, pos_label="fraud")),
        "recall": (f"{tp} / ({tp} + {fn})", recall_score(actual, predicted, pos_label="fraud")),
        "f1": (f"2 * {tp} / (2 * {tp} + {fp} + {fn})", f1_score(actual, predicted, pos_label="fraud")),
    }
    for expression, truth in answers.values():
        assert prometheus.value(expression) == pytest.approx(truth, rel=0, abs=1e-12)
    gauges = 'avg(model_accuracy_ratio{kind="replica",window="last 1000"})'
    assert abs(prometheus.value(gauges) - answers["accuracy"][1]) > 0.2


def test_the_first_events_of_a_new_series_are_not_lost(exporters, prometheus):
    """Rows of a version never seen before are scraped as 0 first, so that all of them are an increase."""
    of = 'kind="grown",version="2"'

    def predicted():  # a correction of a label that came before its prediction takes nothing back
        prometheus.once(f"sum(model_predictions_total{{{of}}})", len(GROWN))

    append(exporters["grown"].folder, GROWN, version="2", between=predicted)
    prometheus.once(net("model_labelled_predictions", of), len(GROWN))
    truth = Counter(GROWN)

    def risen(series):
        return prometheus.value(f"max_over_time({series}[5m]) - min_over_time({series}[5m])")

    for class_ in ("fraud", "legit"):
        series = f'model_predictions_total{{{of},predicted="{class_}"}}'
        count = sum(found for (_, predicted), found in truth.items() if predicted == class_)
        assert risen(series) == count
        # `increase` extrapolates to the window's edges, by up to 1.1 scrape intervals; a second has passed at least.
        assert 0.999 * count <= prometheus.value(f"increase({series}[5m])") <= 2.2 * count
    back = f"sum(max_over_time(model_labelled_predictions_retracted_total{{{of}}}[5m]))"
    prometheus.once(back, len(GROWN) / 10)  # corrections may be read in a later cycle than what they correct


def test_gauges_of_dead_labels_go_and_counters_stay(exporters, prometheus):
    """Once the labels' file is gone for `stale_after`, no window gauge is left to be believed; all else goes on."""
    dead = exporters["dying"]
    counter = net("model_labelled_predictions", 'kind="dying"')
    gauges = 'count({__name__=~"model_(accuracy|precision|recall|f1)_ratio|model_window_.*",kind="dying"})'
    prometheus.once(counter, len(SHARDS["small"]))
    assert prometheus.value(gauges)
    (dead.folder / "labels.jsonl").unlink()
    prometheus.once(gauges, None)
    assert prometheus.value(counter) == len(SHARDS["small"])
    assert prometheus.value('up{kind="dying"}') == 1
    assert prometheus.value('model_exporter_source_up{kind="dying",role="labels"}') == 0
    assert prometheus.value('model_exporter_source_up{kind="dying",role="predictions"}') == 1
    assert (
        prometheus.value('time() - model_exporter_source_last_success_timestamp_seconds{role="labels",kind="dying"}')
        > 2
    )
    assert prometheus.value('model_last_label_timestamp_seconds{kind="dying"}') > 1.7e9


def test_promtool_has_nothing_to_say(exporters, debian):
    """`promtool check metrics` is quiet about the text format."""
    text, _ = exporters["big"].get("/metrics")
    command = [debian("prometheus", "promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def model_samples(families):
    """Samples by name and labels, without the exporter's own, which go on while a test reads."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.startswith("model_exporter_")
    }


def test_both_formats_are_served(exporters):
    """The Accept header decides: OpenMetrics for Prometheus, text for others, and both hold the same samples."""
    exporter = exporters["small"]

    def equal():  # once both were taken from one snapshot
        openmetrics, its_type = exporter.get("/metrics", Accept=ACCEPT_OF_PROMETHEUS)
        assert its_type.startswith("application/openmetrics-text; version=1.0.0")
        text, its_type = exporter.get("/metrics", Accept="text/plain")
        assert its_type.startswith("text/plain; version=0.0.4")
        found = model_samples(text_families(text))
        assert len(found) > 50
        return found == model_samples(openmetrics_families(openmetrics))

    wait_for(equal, 20)
