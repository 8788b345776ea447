"""The rules: accepted by Prometheus 2.42, about metrics that exist, tested alert by alert, each with its runbook."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from functools import cache
from itertools import chain, combinations
from pathlib import Path
from typing import get_args

import pytest
import yaml

from exporter import catalogue
from exporter.config.kinds import struct_type
from exporter.config.thresholds import ModelThresholds, TargetThresholds, bound
from exporter.config.written import Measure

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "alert_rules"
RUNBOOKS = ROOT / "docs/runbooks"
FILES = [
    FOLDER / f"{name}.yml"
    for name in ("links", "recording", "versions", "alerts", "segments", "estimates", "tasks", "losses")
]
OTHERS = [
    *(FOLDER / f"{name}.yml" for name in ("curves", "confidence", "agreement")),
    *(FOLDER / "servers").glob("*.yml"),
]
"""What only records, and what is read of it."""
RECORDING = [path for path in sorted(FOLDER.glob("*.yml")) if "record:" in path.read_text()]
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
REPLICA = "instance, pod, container, endpoint, node"
OF_PROMETHEUS = {"up", "ALERTS"}
TOO_NEW = (  # for Prometheus 2.42
    "mad_over_time", "sort_by_label", "limitk", "limit_ratio", "double_exponential_smoothing", "info(",
    "first_over_time", "ts_of_", "histogram_avg", "smoothed", "anchored", "query_offset",
)  # fmt: skip
CATEGORIES = {"quality", "slo", "labels", "traffic", "availability", "resources", "meta"}
ALWAYS = {"ModelExporterWatchdog"}
"""Has no guard and needs no data."""
SECTIONS = ["## What it means", "## First look", "## Likely causes", "## Silence"]


def groups(path):
    return yaml.safe_load(path.read_text())["groups"]


RULES = [rule for path in FILES for group in groups(path) for rule in group["rules"]]
EVERY = [*RULES, *(rule for path in OTHERS for group in groups(path) for rule in group["rules"])]
OF_TASKS = {f"{one}_{mean}" for one in ("precision", "recall", "f1") for mean in ("micro", "weighted", "samples")}
OF_TASKS |= {"ndcg", "mean_reciprocal_rank", "hit_rate", "top_k_accuracy"}
"""Measures whose names the rules put together; tests of tasks ask each of them."""
ALERTS = [rule for rule in RULES if "alert" in rule]
AGGREGATING = [rule for rule in RULES if "without" in rule["expr"]]
NAMES = sorted({rule["alert"] for rule in ALERTS})


def without_texts(expression):
    """*expression* without comments, strings, and what stands between the braces of a selector."""
    plain = re.sub(r'"[^"]*"', "", re.sub(r"#[^\n]*", "", expression))
    return re.sub(r"\{[^}]*\}", "", plain)


def metrics(expression):
    """The names of the metrics in *expression*."""
    words = "and|or|unless|by|without|on|ignoring|group_left|group_right|offset|bool"
    plain = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", without_texts(expression))
    plain = re.sub(r"\[[^]]*\]|\boffset\s+\w+", " ", plain)
    named = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", plain)
    return {name for name in named if not re.fullmatch(words, name)}


def promtool(debian, *words):
    command = [debian("prometheus", "promtool"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_promtool_accepts(debian):
    """Prometheus' own check finds no error, no duplicate and nothing to improve."""
    done = promtool(debian, "check", "rules", "--lint-fatal", *FILES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_unit_tests(path, debian):
    """Every figure and every alert is what the test file says."""
    done = promtool(debian, "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_metrics_that_exist():
    """Rules read what the exporter exposes, what other rules record, and nothing else."""
    known = OF_PROMETHEUS | {rule["record"] for rule in RULES if "record" in rule}
    known |= {rule["record"] for path in OTHERS for group in groups(path) for rule in group["rules"]}
    for spec in catalogue.specs():
        parts = ("_bucket", "_count", "_sum") if spec.type == "histogram" else ("",)
        known |= {spec.name + part for part in parts}
    read = {rule.get("record", rule.get("alert")): metrics(rule["expr"]) for rule in RULES}
    assert {name: found - known for name, found in read.items() if found - known} == {}
    assert "model_labelled_predictions_retracted_total" in set(chain.from_iterable(read.values()))


def test_nothing_newer_than_prometheus_2_42():
    """No function, modifier or key that the oldest version refuses, though a newer promtool lets it pass."""
    for path in FILES:
        for group in groups(path):
            assert set(group) <= {"name", "interval", "rules", "limit"}
            for rule in group["rules"]:
                allowed = {"record", "expr", "labels"} if "record" in rule else {
                    "alert", "expr", "for", "keep_firing_for", "labels", "annotations"
                }  # fmt: skip
                assert set(rule) <= allowed
                assert not [word for word in TOO_NEW if word in rule["expr"]]


def test_groups():
    """Names are short and unique, and groups small."""
    every = [group for path in FILES for group in groups(path)]
    assert len({group["name"] for group in every}) == len(every)
    for group in every:
        assert len(group["name"]) <= 40
        assert len(group["rules"]) <= 20, group["name"]
    assert all(len(name) <= 40 for name in NAMES)


def test_no_two_groups_write_one_series():
    """Each at times of its own, they would send Prometheus samples out of order.

    Measures of tasks, whose names the rules put together, are of models that have no others of those names.
    """
    owners = defaultdict(list)
    for path in RECORDING:
        for group in groups(path):
            for rule in group["rules"]:
                if "record" in rule:
                    of_tasks = {"measure": "of tasks"} if "model_label_sets_quality" in rule["expr"] else {}
                    owners[rule["record"]].append((group["name"], rule.get("labels", of_tasks)))
    shared = [
        record
        for record, written in owners.items()
        for one, other in combinations(written, 2)
        if one[0] != other[0] and all(one[1][key] == other[1][key] for key in one[1].keys() & other[1].keys())
    ]
    assert shared == []


@pytest.mark.parametrize(
    "path", sorted([*FOLDER.glob("*.yml"), *FOLDER.glob("servers/*.yml")]), ids=lambda path: path.name
)
def test_no_record_has_gaps(path):
    """A sample is seen for 5 minutes; the next one must have been written by then, by a slow evaluation too."""
    for group in (yaml.safe_load(path.read_text()) or {}).get("groups", []):
        assert group.get("interval", "15s") in {"15s", "30s", "1m", "3m"}, group["name"]


def test_records_are_named_as_the_rest():
    """level:metric:operation, with a level that the head of the file explains."""
    levels = "model|model_version|model_class|model_version_class|model_correct|model_version_correct|target"
    levels += "|model_outcome|model_age|model_attribute|model_group|model_group_class|model_group_predicted"
    levels += "|model_direction|model_side|model_measure|model_measure_class|model_measure_correct"
    for rule in RULES:
        if "record" in rule:
            assert re.fullmatch(rf"(({levels}):model_\w+|model_exporter:links):[a-z0-9_]+", rule["record"])


@pytest.mark.parametrize("rule", AGGREGATING, ids=lambda rule: rule.get("record") or rule["alert"])
def test_replicas_are_dropped_and_all_else_is_kept(rule):
    """Whoever aggregates the exporter's own series drops all labels of replicas, so that joins survive two of them."""
    own = {name for name in metrics(rule["expr"]) if ":" not in name and name != "ALERTS"}
    aggregated = re.findall(r"\b(?:sum|max|min|group|avg)\s+(without|by)\s+\(([^)]*)\)\s*\(", rule["expr"])
    assert any(words == "without" for words, _ in aggregated)
    for kind, labels in aggregated:
        if kind == "without" and own and "instance" in labels:
            assert labels.startswith(REPLICA)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_what_an_alert_carries(rule):
    """Severity, category, a fixed sentence, a page to open, figures; a comparison, a wait, and no value in a label."""
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    assert rule["labels"]["category"] in CATEGORIES
    assert not any("{{" in text for text in rule["labels"].values())
    texts = rule["annotations"]
    assert re.fullmatch(r"[A-Z][^{}]*\.", texts["summary"])
    assert "{{" in texts["description"] or rule["alert"] in ALWAYS
    assert texts["runbook_url"].endswith(f"/{rule['alert']}.md")
    assert "/d/model-exporter-" in texts["dashboard_url"]
    assert "for" in rule
    assert re.search(r"[<>]|==", without_texts(rule["expr"]))
    for word in ("vector(0)", "topk", "bottomk", "job="):
        assert word not in rule["expr"]
    if rule["labels"]["category"] in {"quality", "slo", "labels"}:
        assert rule["keep_firing_for"] == "30m"


def test_one_name_says_one_thing():
    """Both severities of an alert have one summary and one category."""
    for name in NAMES:
        same = [rule for rule in ALERTS if rule["alert"] == name]
        assert len({rule["labels"]["category"] for rule in same}) == 1
        if name != "ModelExporterDown":
            assert len({rule["annotations"]["summary"] for rule in same}) == 1


def test_every_threshold_of_the_config_has_its_rule():
    """What a user can write under `thresholds` is compared with somewhere, on its own side."""
    expressions = "\n".join(rule["expr"] for rule in ALERTS)
    measures = defaultdict(set)
    for rule in RULES:
        measures[rule.get("record")].add(rule.get("labels", {}).get("measure"))
    quality, losses = (
        {rule["labels"]["measure"] for rule in EVERY if rule.get("record") in pair and "labels" in rule}
        for pair in (
            {f"model:model_quality:ratio_increase{window}" for window in ("1h", "1d")},
            {f"model:model_loss:mean_increase{window}" for window in ("1h", "1d")},
        )
    )
    quality |= OF_TASKS
    judged = quality | losses | measures["model:model_label_lateness:seconds"]
    judged |= measures["model:model_prediction_latency_judged:seconds"]
    for field in struct_type(ModelThresholds).fields:
        name = field.name
        assert f'measure="{name}"' in expressions or name in judged, name
        assert name not in quality or bound(name) == "min"
        assert name not in losses or bound(name) == "max"
    assert {*get_args(Measure)} == (quality | losses) - {"bias"}
    for field in struct_type(TargetThresholds).fields:
        assert f'measure="{field.name}"' in expressions


# --- what is tested ------------------------------------------------------------------------------


@cache
def cases():
    """Per alert, of all tests that name it: who fires, and who is there without."""
    found = {name: (set(), set()) for name in NAMES}
    for path in TESTS:
        for group in yaml.safe_load(path.read_text())["tests"]:
            there = {
                subject
                for series in group["input_series"]
                for subject in re.findall(r'(?:model|target|job)="([^"]+)"', series["series"])
            }
            for test in group.get("alert_rule_test", ()):
                fires = {value for one in test["exp_alerts"] for value in one["exp_labels"].values()}
                found[test["alertname"]][0].update(fires)
                found[test["alertname"]][1].update(there - fires)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested(name):
    """Each fires, is right with two replicas, is quiet below its guard, and quiet without data."""
    fires, quiet = cases()[name]
    severities = {rule["labels"]["severity"] for rule in ALERTS if rule["alert"] == name}
    assert severities <= fires
    if name in ALWAYS:
        return
    kinds = {kind for kind in ("fires", "two") if any(one.endswith(kind) for one in fires)}
    kinds |= {kind for kind in ("few", "none") if any(one.endswith(kind) for one in quiet)}
    assert kinds == {"fires", "two", "few", "none"}
    assert not any(one.endswith(("few", "none")) for one in fires - {"none"})


def test_groups_of_tests_are_in_order():
    """promtool would evaluate groups in any order, so that every test file names all of them."""
    names = {group["name"] for path in (*FILES, *OTHERS) for group in groups(path)}
    for path in TESTS:
        file = yaml.safe_load(path.read_text())
        tested = {g["name"] for used in file["rule_files"] for g in groups(path.parent / used)}
        assert set(file["group_eval_order"]) == tested <= names


# --- runbooks ------------------------------------------------------------------------------------


def test_a_runbook_per_alert():
    """Each alert has its page, the index lists all of them, and no page is about an alert that is gone."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*NAMES, "README"}
    index = (RUNBOOKS / "README.md").read_text()
    assert [name for name in NAMES if f"]({name}.md)" not in index] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_runbook_is_complete(name):
    """A page says what the alert means, where to look first, what causes it and how to silence it."""
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    known = {rule.get("record") for rule in RULES} | {spec.name for spec in catalogue.specs()} | OF_PROMETHEUS
    known |= {spec.name + part for spec in catalogue.specs() for part in ("_bucket", "_count", "_sum")}
    queries = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    assert queries or name in ALWAYS
    for query in queries:
        assert metrics(query) <= known, metrics(query) - known


@pytest.mark.parametrize("name", NAMES)
def test_queries_of_runbooks_parse(name, debian, tmp_path):
    """PromQL that is copied from a page runs."""
    queries = re.findall(r"```promql\n(.*?)```", (RUNBOOKS / f"{name}.md").read_text(), re.DOTALL)
    rules = [{"record": f"q{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool(debian, "check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
