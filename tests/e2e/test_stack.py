"""The stack's own configuration on Debian's real Prometheus and Alertmanager, with the real demo."""

from __future__ import annotations

import subprocess
import urllib.parse

import pytest
import yaml

from tests import stack as stacks
from tests.running import ROOT, wait_for

OWN = {
    "alert_rules/own/mine.yml": "groups: [{name: mine, rules: [{record: mine:one, expr: vector(1)}]}]\n",
    "deploy/prometheus/targets/mine.yml": '- {targets: ["exporter:9884"], labels: {team: mine}}\n',
    "alert_rules/receivers.yml": "receivers: [{name: chat, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}]\n",
}
"""Files of a user, which were there when the bundle was written."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory, debian):
    with stacks.standing(tmp_path_factory.mktemp("stack"), debian, OWN) as running:
        yield running


def query(stack, expression):
    """The answer to an instant query, with whatever Prometheus has to say about it."""
    return stack.get("prometheus:9090", f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}")


def test_targets(stack):
    """Everything is scraped, and so is a target from a file of the user's."""

    def up():
        answer = query(stack, "min by (job, team) (up)")["data"]["result"]
        return {(one["metric"]["job"], one["metric"].get("team", "")): one["value"][1] for one in answer}

    jobs = [("model-exporter", ""), ("model-exporter", "mine"), ("prometheus", ""), ("alertmanager", "")]
    # A target is told to be up a moment before its first samples can be asked for.
    wait_for(lambda: up() == dict.fromkeys(jobs, "1"), 20, "everything scraped")


def test_the_demo_arrives(stack):
    """Predictions that have met their labels can be asked for in PromQL."""

    def counted():
        found = query(stack, 'sum(model_labelled_predictions_total{model="breast-cancer", team=""})')["data"]["result"]
        return found and float(found[0]["value"][1])

    assert wait_for(counted, 60, "labelled predictions in Prometheus") > 0


def test_every_rule_is_loaded(stack):
    """The groups are those of the shipped files and of the user's, and no evaluation has failed so far."""
    files = [yaml.safe_load(path.read_text()) or {} for path in (ROOT / "alert_rules").glob("*.yml")]
    shipped = {group["name"] for file in files for group in file.get("groups", [])}
    loaded = stacks.rules(stack)
    assert {name for name, _ in loaded} == {*shipped, "mine"}
    assert [(name, rule["name"], rule.get("lastError")) for name, rule in loaded if rule["health"] == "err"] == []


def test_every_rule_can_be_evaluated(stack):
    """Prometheus answers the expression of every rule over what the demo exposes, without a warning.

    The groups' own first evaluation may take as long as their interval, which is minutes for some: see
    tests/longer/stack.py.
    """
    for _, rule in stacks.rules(stack):
        answer = query(stack, rule["query"])
        assert (answer["status"], answer.get("warnings")) == ("success", None), rule["name"]


def test_alertmanager_is_known(stack):
    """Prometheus sends to the Alertmanager, which runs the assembled configuration."""
    active = stack.get("prometheus:9090", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert [one["url"] for one in active] == [f"http://{stack.addresses['alertmanager:9093']}/api/v2/alerts"]
    running = yaml.safe_load(stack.get("alertmanager:9093", "/api/v2/status")["config"]["original"])
    receivers = {one["name"]: one for one in running["receivers"]}
    assert running["route"]["receiver"] == "mail"
    assert receivers["chat"]["webhook_configs"]  # the user's; newer versions hide the address


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_health_checks(stack, name, debian):
    """The health check of the compose file passes on a server that lives, and fails where there is none."""
    _, program, *words = stack.services[name]["healthcheck"]["test"]
    path = debian(stacks.PROGRAMS[name][0], program)
    port = stack.services[name]["ports"][0].rpartition(":")[2]
    address = stack.addresses[f"{name}:{port}"]
    for where, code in ((address, 0), ("127.0.0.1:1", 1)):
        call = [path, *(word.replace(f"localhost:{port}", where) for word in words)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
