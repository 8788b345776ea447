"""What the alerts look at, out of the rules that Prometheus has loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.config.thresholds import bound
from exporter.config.types import Duration
from exporter.proposing.rules import MEASURES, SEVERITIES, alerts
from tests.dashboards.promql import kind, walk

FOLDER = Path(__file__).parents[3] / "alert_rules"


def seconds(rule, key):
    return float(Duration.parse(rule[key])) if rule.get(key, "0m") != "0m" else 0.0


def loaded(path):
    """The groups of a rule file as Prometheus' API tells them."""
    groups = yaml.safe_load(path.read_text())["groups"]
    return [
        {
            "name": group["name"],
            "interval": float(Duration.parse(group["interval"])),
            "rules": [
                {"type": "alerting", "name": rule["alert"], "query": rule["expr"], "labels": rule["labels"],
                 "duration": seconds(rule, "for"), "keepFiringFor": seconds(rule, "keep_firing_for")}
                if "alert" in rule
                else {"type": "recording", "name": rule["record"], "query": rule["expr"]}
                for rule in group["rules"]
            ],
        }
        for group in groups
    ]  # fmt: skip


QUERY = 'a < ignoring (bound) model:model_threshold:effective{measure="f1", severity="warning"}'
FILES = [path for path in sorted(FOLDER.glob("*.yml")) if "- alert:" in path.read_text()]
SHIPPED = [alert for path in FILES for alert in alerts(loaded(path))]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_every_measure_has_its_alerts(severity):
    """Whatever a config can bound, some shipped alert of each severity looks at, on its own side."""
    found = [alert for alert in SHIPPED if alert.severity == severity]
    assert {measure for alert in found for measure in alert.measures} == {*MEASURES}
    assert all(alert.bound == bound(measure) for alert in found for measure in alert.measures)


def test_waits_are_the_alerts_own():
    """`for`, `keep_firing_for` and the interval come from the rule, in seconds."""
    found = {(one.name, one.severity): one for one in SHIPPED}["ModelQualityBelowThreshold", "critical"]
    assert (found.wait, found.keep, found.step) == (600, 1800, 60)


def test_the_query_is_the_expression_without_its_bound():
    """The threshold becomes one that everything is beyond; each selector is told the model; texts stay."""
    [alert] = alerts(
        [{"interval": 60, "rules": [{"type": "alerting", "name": "A", "duration": 60, "query": (
            'model:q:ratio{window="model_x"} offset 7d[7d:1m] < ignoring (bound) group_left () '
            'model:model_threshold:effective{measure="f1",severity="warning"} and model:s:sum >= sum(model_n_total)'
        )}]}]
    )  # fmt: skip
    assert alert.query('a"b') == (
        'model:q:ratio{model="a\\"b", window="model_x"} offset 7d[7d:1m] < ignoring (bound, measure) group_left () '
        '(+Inf * group without (instance, pod, container, endpoint, node, version, task) '
        '(model_info{model="a\\"b"})) and model:s:sum{model="a\\"b"} '
        '>= sum(model_n_total{model="a\\"b"})'
    )  # fmt: skip
    assert (alert.measures, alert.bound, alert.keep) == (("f1",), "min", 0)


@pytest.mark.parametrize("alert", SHIPPED, ids=lambda one: f"{one.name}-{one.severity}-{one.measures[0]}")
def test_queries_are_promql(alert):
    """Of every shipped alert, for a name with all that is awkward; no selector is left without the model."""
    name = 'frå"ud\\ \n{model_x}'
    nodes = [node for node, _ in walk(alert.query(name)) if kind(node) == "VectorSelector"]
    selected = [{one.name: one.value for one in node.matchers.matchers}.get("model") for node in nodes]
    assert len(selected) > 1
    assert {*selected} == {name}


def test_names_of_others_stay_on_their_line():
    """The name of an alert stands in a comment of YAML: it must not end it."""
    rule = {"type": "alerting", "name": "A\nmodels: {}\x1b[2J", "query": QUERY}
    [alert] = alerts([{"interval": 60, "rules": [rule]}])
    assert alert.name == "A?models: {}?[2J"


@pytest.mark.parametrize(
    "query",
    [
        "up == 0",
        'target:model_server_cpu > target:model_server_threshold:effective{measure="cpu", severity="warning"}',
        'a > model:model_threshold:effective{measure="of_tomorrow", severity="warning"}',
        'a > model:model_threshold:effective{measure="f1", severity="none"}',
        'a > model:model_threshold:effective{severity="warning"}',
    ],
)
def test_other_alerts_are_left_alone(query):
    """Of no threshold of a model, of a measure that this version cannot write, of no side."""
    assert alerts([{"interval": 60, "rules": [{"type": "alerting", "name": "A", "query": query}]}]) == []


def test_of_a_measure_of_the_first_k_the_largest_counts():
    """As for a threshold that names no k; other measures, and those without any, are as they are."""
    alert = next(one for one in SHIPPED if one.name == "ModelQualityBelowThreshold")
    names = ["ndcg@5", "ndcg@10", "accuracy", "hit_rate@1"]
    labels = [{"measure": name, "window": "1h"} for name in names]
    wanted = {"ndcg": ["ndcg@10"], "accuracy": ["accuracy"], "hit_rate": ["hit_rate@1"], "f1": []}
    assert {measure: [names[at] for at in alert.of(measure, labels)] for measure in wanted} == wanted
