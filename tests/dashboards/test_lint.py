"""The dashboards follow the rules of the trade, and a dashboard that breaks one is found."""

from __future__ import annotations

import copy

import pytest

from tests.dashboards.grafana import panels
from tests.dashboards.lint import lint


def test_nothing_is_found(boards):
    """grafana/dashboard-linter's rules and our own hold for every dashboard."""
    assert [finding for board in boards.values() for finding in lint(board)] == []


def panel(board, title):
    return next(one for one in panels(board) if one["title"] == title)


def replaced(title, old, new, ref=0):
    """A change to the query of a panel of the model page."""

    def change(board):
        target = panel(board, title)["targets"][ref]
        assert old in target["expr"]
        target["expr"] = target["expr"].replace(old, new)
        if "increase" in old:
            target["expr"] = target["expr"].replace("[1h]", "")

    return change


def variable(name, **words):
    def change(board):
        next(one for one in board["templating"]["list"] if one["name"] == name).update(words)

    return change


def of_panel(title, **words):
    return lambda board: panel(board, title).update(words)


def without(title, *path):
    def change(board):
        place = panel(board, title)
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


CHANGES = {
    "uneditable": lambda board: board.update(editable=True),
    "uid-tags-description": lambda board: board.update(tags=[]),
    "refresh-timezone": lambda board: board.update(refresh="5s"),
    "template-datasource": variable("datasource", label="DS"),
    "template-job": variable("job", allValue=None),
    "template-reload": variable("model", refresh=1),
    "template-current": variable("model", current={"text": "x", "value": "x"}),
    "title-description": of_panel("Latency", description="Latency."),
    "datasource": of_panel("Latency", datasource={"type": "prometheus", "uid": "abc"}),
    "plugin-version": of_panel("Latency", pluginVersion=""),
    "no-targets": of_panel("Latency", targets=[]),
    "units": without("Latency", "fieldConfig", "defaults", "unit"),
    "empty-and-nan": without("Latency", "fieldConfig", "defaults", "noValue"),
    "named-colours": of_panel("Latency", colour="#ff0000"),
    "promql": replaced("Latency", "sum by (le)", "sum by (le"),
    "rate-interval": replaced("Latency", "$__rate_interval", "5m"),
    "target-job": replaced("Latency", 'job=~"$job", ', ""),
    "match-of-variable": replaced("Latency", 'model="$model"', 'model=~"$model"'),
    "counter": replaced("Crashes and restarts", "increase(", "(", ref=1),
    "division": replaced("Throttled", " > 0)", ")"),
    "table-labels": replaced("Versions", "max by (version)", "avg by (version, job)"),
}


@pytest.mark.parametrize("rule", CHANGES)
def test_what_breaks_a_rule_is_found(boards, rule):
    """One change that breaks one rule is found under its name."""
    board = copy.deepcopy(boards["model-exporter-model"])
    CHANGES[rule](board)
    assert {finding.rule for finding in lint(board)} == {rule}


def test_a_table_whose_aggregation_was_dropped_is_found(boards):
    """Taking the outermost aggregation off any one query of any table is found."""
    tried = 0
    for uid, board in boards.items():
        for at, one in enumerate(panels(board)):
            if one["type"] != "table":
                continue
            for ref, target in enumerate(one["targets"]):
                if not target["expr"].startswith(("max by", "min by")):
                    continue
                changed = copy.deepcopy(board)
                bare = panels(changed)[at]["targets"][ref]
                bare["expr"] = target["expr"].partition(") ")[2]
                found = lint(changed)
                assert any(finding.rule == "table-labels" for finding in found), (uid, one["title"], bare["expr"])
                tried += 1
    assert tried > 20
