"""`model-exporter thresholds` on a real Prometheus: what it states is what Prometheus' own alerts do."""

from __future__ import annotations

import io
import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from exporter import proposing
from exporter.config.schema import parse
from exporter.proposing import NOTHING_PROPOSED, Wish
from tests.apps import command
from tests.dashboards.backfill import openmetrics
from tests.dashboards.prometheus import Prometheus
from tests.histories import DAY, STEP, courses, noise
from tests.running import ROOT

DAYS, YOUNG = 8, 2
RULES = [ROOT / "alert_rules" / f"{name}.yml" for name in ("links", "recording", "alerts", "segments", "losses")]
CONFIG = """
    positive: a
    classes: [a, b]
    predictions: {files: {path: p.jsonl}, fields: {id: id, predicted: p}}
    labels: {files: {path: l.jsonl}, fields: {id: id, actual: y}}
"""
QUALITY, ERRORS = "model:model_quality_judged:upper", "model:model_prediction_errors_judged:ratio"
ODD = "spam: {eu}"
LATENCY = "model:model_prediction_latency_judged:seconds"


def looked(days=DAYS):
    """What alerts look at of two models; NaN where there is a gap."""
    hole = 0.95 + 0.01 * noise(days, 1)
    hole[7000:7500] = np.nan
    return [
        (QUALITY, {"model": "fraud", "measure": "accuracy", "window": "1h"}, hole),
        (QUALITY, {"model": "fraud", "measure": "recall", "window": "1d"}, 0.8 + 0.03 * noise(days, 2)),
        (LATENCY, {"model": "fraud", "measure": "latency_p95"}, 0.12 * np.exp(0.2 * noise(days, 3, window=5))),
        (ERRORS, {"model": ODD}, 0.004 * np.exp(0.3 * noise(days, 4, window=5))),
    ]


def young(of):
    """A model with two days of whatever alerts of all other kinds look at; labels are too few in the first of them."""
    half = np.where(np.arange(YOUNG * 1440) < YOUNG * 720, 50.0, 500.0)
    ones, rising = np.ones(YOUNG * 1440), np.arange(YOUNG * 1440, dtype=float)
    level = "model:model"
    series = {
        "model_info": (of, ones),
        "model_predictions_total": ({"predicted": "a", "version": "1", "instance": "a:9884"}, rising),
        "model_baseline_ratio": ({"measure": "f1"}, 0.95 * ones),
        f"{level}_quality_judged:ratio": ({"measure": "f1", "window": "1h"}, 0.9 + 0.01 * noise(YOUNG, 9)),
        QUALITY: ({"measure": "f1", "window": "1h"}, 0.9 + 0.01 * noise(YOUNG, 9)),
        f"{level}_loss_judged:lower": ({"measure": "bias", "window": "1h"}, ones),
        f"{level}_label_coverage:ratio": ({}, 0.9 * ones),
        f"{level}_label_lateness:seconds": ({"measure": "label_delay"}, 60 * ones),
        f"{level}_labels_unmatched:ratio_increase1h": ({}, 0.01 * ones),
        f"{level}_labels:increase1h": ({}, half),
        f"{level}_min_samples:effective": ({}, 100 * ones),
        f"{level}_predictions:increase30m": ({}, 600 * ones),
        "model_group:model_segment_gap:lower_bound1d": ({"attribute": "a", "group": "g", "measure": "f1"}, 0.1 * ones),
        "model_attribute:model_disparate_impact:upper_bound1d": ({"attribute": "a"}, 0.9 * ones),
        LATENCY: ({"measure": "latency_p99"}, ones),
    }
    return [(name, {"model": "young", **labels}, values) for name, (labels, values) in series.items()]


@dataclass(frozen=True)
class Past:
    """A Prometheus with a past, and its address."""

    server: Prometheus
    end: int

    @property
    def url(self) -> str:
        return f"http://{self.server.address}"


@pytest.fixture(scope="module")
def past(tmp_path_factory, debian) -> Iterator[Past]:
    """It has loaded the shipped rules; the history was back-filled, as they would have recorded it."""
    end = int(time.time()) // STEP * STEP
    programs = debian("prometheus", "prometheus"), debian("prometheus", "promtool")
    server = Prometheus(*programs, tmp_path_factory.mktemp("past"))
    of = {"version": "1", "task": "binary", "instance": "a:9884"}
    there = [("model_info", {"model": name, **of}, np.ones(DAYS * 1440)) for name in ("fraud", ODD)]
    there += young(of)
    today = {"model": "fraud", "measure": "accuracy", "bound": "min", "severity": "warning"}
    there.append(("model:model_threshold:effective", today, np.full(60, 0.945)))
    server.backfill(openmetrics(courses(end, looked() + there)))
    server.start(RULES)
    try:
        yield Past(server, end)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def proposed(past):
    """What is printed for a warning every other day, and its YAML."""
    out = io.StringIO()
    rates = {"warning": 0.5, "critical": 0.5 / 4}
    assert proposing.run(Wish(past.url, None, [], DAYS * DAY, rates), out, io.StringIO()) == 0
    return out.getvalue(), yaml.safe_load(out.getvalue())["models"]


def test_the_output_is_thresholds_of_a_config(proposed):
    """Each model's entry, put into its config, is one that the loader takes, with the very values."""
    text, models = proposed
    assert {name: set(model["thresholds"]) for name, model in models.items()} == {
        "fraud": {"accuracy", "recall", "latency_p95"},
        ODD: {"error_ratio"},
        "young": set(),
    }
    entries = text.partition("models:\n")[2]
    for name in models:
        head = f'  "{name}":\n' if name == ODD else f"  {name}:\n"
        entries = entries.replace(head, head + CONFIG)
    config = parse("models:\n" + entries, "proposed.yml")
    for name, model in models.items():
        numbers = {measure: dict(found) for measure, found in model["thresholds"].items()}
        for severity, latency in numbers.pop("latency_p95", {}).items():
            assert config.models[name].thresholds["latency_p95"][severity] == pytest.approx(
                float(latency.removesuffix("ms")) / 1000
            )
        assert {one: config.models[name].thresholds[one] for one in numbers} == numbers


def test_evidence_stands_beside_each_proposal(proposed):
    """History, median, worst value, what was wanted, and of a model without enough history what is missing."""
    text, _ = proposed
    plain = " ".join(text.replace("\n# ", " ").split())
    assert "Wanted per measure in 30 days: 15 alarms of severity warning, 3.8 alarms of severity critical" in plain
    assert "# recall (ModelQualityBelowThreshold): 8.0 days, 11,5" in text
    assert "median 0.80" in text
    assert "warning today, 0.945: " in text
    assert "none proposed: 2.0 of the 7 days of history that are needed" in text


def test_every_alert_looks_at_what_it_looks_at(proposed):
    """Measure by measure, with the guards of the alert: labels below min_samples are not judged."""
    text = proposed[0].partition("  young:\n")[2]
    heads = re.findall(r"# (\w+) \((.*)\): .* days, ([\d,]+) evaluations", text)
    assert {measure: alerts for measure, alerts, _ in heads} == {
        "f1": "ModelQualityBelowThreshold",
        "bias": "ModelLossAboveThreshold",
        "drop": "ModelQualityBelowBaseline",
        "segment_gap": "ModelSegmentQualityLow",
        "disparate_impact": "ModelDisparateImpact",
        "label_coverage": "ModelLabelCoverageLow",
        "label_delay": "ModelLabelsLate",
        "labels_unmatched": "ModelLabelsUnmatched",
        "latency_p99": "ModelLatencyHigh",
        "traffic": "ModelTrafficLow",
    }
    seen = {measure: int(count.replace(",", "")) for measure, _, count in heads}
    for measure in ("labels_unmatched", "label_coverage"):  # enough labels, or a model_info of the day before
        assert seen.pop(measure) == pytest.approx(YOUNG * 720, abs=10)
    assert set(seen.values()) <= {*range(YOUNG * 1440 - 5, YOUNG * 1440 + 6)}
    assert "# drop (ModelQualityBelowBaseline): 2.0 days, 2,88" in text
    assert "Nothing recorded of accuracy" in text


def stated(text):
    """Alarms by model, measure and severity, as the comments say."""
    found, model, measure = {}, "", ""
    for line in text.partition("models:\n")[2].splitlines():
        words = line.split()
        if line.startswith("  ") and line[2] not in " #":
            [model] = yaml.safe_load(line)
        elif line.startswith("      ") and line[6] not in " #":
            measure = words[0].removesuffix(":")
        elif line.startswith("        ") and line[8] not in " #":
            found[model, measure, words[0].removesuffix(":")] = 0 if words[3] == "no" else int(words[3])
    return found


def cut(path: Path, names: set[str]) -> Path:
    """The shipped alerts called *names* as they are, but for what they tell people, in a file of their own."""
    groups = yaml.safe_load((ROOT / "alert_rules/alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["alert"] in names]
    for rule in rules:
        del rule["annotations"]
    path.write_text(yaml.safe_dump({"groups": [{"name": "cut", "interval": "1m", "rules": rules}]}))
    return path


def test_promtool_counts_the_alarms_that_are_stated(proposed, debian, tmp_path):
    """Prometheus' own rule evaluation over the same history, with the proposed bounds, fires as often as stated."""
    text, models = proposed
    config = {"accuracy": "min", "recall": "min", "latency_p95": "max", "error_ratio": "max"}
    series = [(name, labels, values) for name, labels, values in looked()]
    alarms = {}
    for (name, measure, severity), count in stated(text).items():
        value = models[name]["thresholds"][measure][severity]
        value = float(value.removesuffix("ms")) / 1000 if isinstance(value, str) else value
        labels = {"model": name, "measure": measure, "bound": config[measure], "severity": severity}
        series.append(("model:model_threshold:effective", labels, np.full(DAYS * 1440, value)))
        alarms[name, measure, severity] = count
    assert max(alarms.values()) >= 3
    alert = {"accuracy": "ModelQualityBelowThreshold", "recall": "ModelQualityBelowThreshold",
             "latency_p95": "ModelLatencyHigh", "error_ratio": "ModelPredictionErrorsHigh"}  # fmt: skip
    tests = []
    for (name, measure, severity), count in alarms.items():
        own = "" if measure == "error_ratio" else f", measure={quoted(measure)}"
        fires = f"ALERTS{{alertname={quoted(alert[measure])}, alertstate='firing', model={quoted(name)}"
        fires += f", severity='{severity}'{own}}}"
        expr = f"count_over_time(({fires} unless {fires} offset 1m)[{DAYS}d:1m]) or vector(0)"
        sample = {"labels": "{}", "value": count}
        tests.append({"expr": f"sum({expr})", "eval_time": f"{DAYS}d", "exp_samples": [sample]})
    rules = cut(tmp_path / "rules.yml", {*alert.values()})
    written = [
        {"series": f"{name}{{{', '.join(f'{key}={quoted(text)}' for key, text in {'job': 'j', **labels}.items())}}}",
         "values": " ".join("_" if np.isnan(value) else repr(float(value)) for value in values)}
        for name, labels, values in series
    ]  # fmt: skip
    case = {"interval": "1m", "input_series": written, "promql_expr_test": tests}
    whole = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "test.yml").write_text(json.dumps(whole))
    words = [debian("prometheus", "promtool"), "test", "rules", tmp_path / "test.yml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def quoted(text):
    return f'"{text}"'


def test_one_model_into_a_file(past, tmp_path, capsys):
    """--model and --output; what was wrong for a time is left out, and the exit code says that there is something."""
    path = tmp_path / "proposed.yml"
    day = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(past.end - 1.5 * DAY))
    until = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(past.end - DAY))
    words = ["--prometheus.url", past.url, "--model", "fraud", "--since", "8d", "--output", str(path)]
    assert command("thresholds", *words, "--exclude", f"{day}/{until}") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"model-exporter: thresholds of 3 measures of 1 model written to {path}\n"
    assert [*yaml.safe_load(path.read_text())["models"]] == ["fraud"]
    assert "# recall (ModelQualityBelowThreshold): 7.5 days, 10,8" in path.read_text()


def test_too_little_history_is_exit_code_4(past, capsys):
    """It is told how much is needed, and nothing is proposed."""
    assert command("thresholds", "--prometheus.url", past.url, "--model", "young") == NOTHING_PROPOSED
    said = capsys.readouterr()
    assert "needed" in said.out
    assert yaml.safe_load(said.out) == {"models": {"young": {"thresholds": {}}}}
    assert said.err == "model-exporter: thresholds of 0 measures of 1 model proposed\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--model", "frau"], "knows no model frau; did you mean fraud?"),
        (["--prometheus.url", "http://127.0.0.1:1", "--prometheus.config", "{folder}/once.yml"], "refused; is this"),
    ],
)
def test_what_cannot_be_asked_is_exit_code_1(past, capsys, tmp_path, words, told):
    """With words that help."""
    (tmp_path / "once.yml").write_text("retries: 0")
    words = [word.format(folder=tmp_path) for word in words]
    assert command("thresholds", "--prometheus.url", past.url, *words) == 1
    assert told in capsys.readouterr().err
