"""Every query of every panel, variable and annotation, asked of a real Prometheus: none fails, none is empty."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.dashboards import backfill, recorded
from tests.dashboards.asking import annotations, answered, answers, options
from tests.dashboards.conftest import LIVE
from tests.dashboards.grafana import Asked, asked
from tests.dashboards.promql import names, walk

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the week to be filled, and perhaps for packages."""

AT_THE_SERVER = r"model / (Requests|Latency) at the server / "
TWO_CLASSES = "the demo's model tells two classes"
EMPTY = {
    "every": {AT_THE_SERVER: "only the server of the model tumour tells metrics of its own"},
    "tumour": {},
    "fraud.v2+eu": {AT_THE_SERVER: "as above"},
    "risk": {
        AT_THE_SERVER: "as above",
        r"model / Difference from the champion / [ABC]": "a mean of recalls is no share: its error is not known",
        r"model / (Scores |ROC |Precision and recall|Calibration|Areas |Losses of )": "it has three classes",
        r"model / (Estimated and realised / [AC]|Estimate and truth|(Estimated less|What calibration).* / [AB])":
            "scores of three classes are not calibrated",
        r"model / (Groups, worst first / [EFG]|Predicted positive by|Differences between|Disparate impact / A)":
            "a model of many classes has no positive one",
    },
    LIVE: {
        AT_THE_SERVER: "the demo's server tells none of its own",
        r"alerts / (Firing alerts|When they fired)": "no alert fires within seconds",
        r"fleet / Models, worst first / D": "there was no week before",
        r"model / (What is normal: \$measure / [BCDE]|Significance)": "nor is anything normal yet, or a baseline set",
        r"model / (What is normal: \$loss / [ACEF]|Losses / A)": "nor of losses, and those of scores are of a day",
        r"model / Speed at which the error budget burns": "the demo has no objective",
        r"(fleet / Model servers / B|model / Crashes)": "the demo's server has not crashed yet",
        r"model / (Throttled|Tasks|Out of memory|Memory in bytes / B)": "the demo watches no scope but the host",
        r"model / GPU": "there may be none",
        r"model / Difference from the champion / [ABC]": "too few labels came within seconds",
        r"(model / (Groups|Quality by group|Predicted|Differences|Disparate)|fleet / .* by region)":
            "groups are small within seconds",
        r"model / (Errors|R² and percentage error|Residuals|Top-k accuracy|Quality of the sets)": TWO_CLASSES,
        r"model / (NDCG|Mean reciprocal rank|Hit rate)": TWO_CLASSES,
        r"model / (Latency|Failed predictions|Label coverage over time|Age of the newest record) / [A-D]":
            "the demo sets no bounds for these",
        r"model / (Estimated and realised / [AC]|Estimate and truth|Estimated less realised|What calibration)":
            "too few labels came within seconds for a fit, and the demo sets no bound for recall and others",
        r"health / Rows (refused by reason|counted as other)": "none was",
        r"health / (Failed (polls|looks)|Probes, worst first / C|Sources, worst first / .)": "none failed",
    },
}  # fmt: skip
"""Queries that may give nothing, by choice: a pattern of their places, and the reason."""
EVERY = ["every", *(model.name for model in backfill.FLEET), LIVE]
MOST_LINES = 40


def chosen(week, name):
    return week.every if name == "every" else week.choice(name)


def all_answers(week, boards, choice):
    return [answer for board in boards.values() for answer in answers(week.prometheus, board, choice)]


@pytest.mark.parametrize("name", EVERY)
def test_no_query_fails_or_is_empty(week, boards, name):
    """Whatever is chosen, Prometheus answers every query, and with data unless there can be none."""
    found = all_answers(week, boards, chosen(week, name))
    assert [(one.asked.place, one.error) for one in found if one.error] == []
    places = [one.asked.place for one in found if not one.found]
    assert [place for place in places if not any(re.match(pattern, place) for pattern in EMPTY[name])] == []
    if name != LIVE:  # what a real machine has differs
        assert all(any(re.match(pattern, place) for place in places) for pattern in EMPTY[name])


@pytest.mark.parametrize("name", ["every", LIVE])
def test_values_are_numbers(week, boards, name):
    """No panel is given NaN or an infinity, and no graph more lines than anybody can read."""
    for answer in all_answers(week, boards, chosen(week, name)):
        values = [value for series in answer.found for _, value in series.get("values", [series.get("value")])]
        assert not {"NaN", "+Inf", "-Inf"} & set(values), answer.asked.place
        assert len(answer.found) <= MOST_LINES or answer.asked.target["format"] != "time_series", answer.asked.place


@pytest.mark.parametrize("name", EVERY)
def test_variables_offer_something(week, boards, name):
    """Every variable has values to choose from, and that of the model those that there are."""
    for board in boards.values():
        offered = options(week.prometheus, board, chosen(week, name))
        assert [variable for variable, values in offered.items() if not values] == []
        if name in {"every", "risk"} and "model" in offered:
            assert {model.name for model in backfill.FLEET} <= {*offered["model"]}


def test_annotations_mark_something(week, boards):
    """Alerts, new versions and starts of servers are marked, each where it happened."""
    found = {}
    for board in boards.values():
        found |= annotations(week.prometheus, board, week.every)
    assert set(found) == {"Critical alerts", "Alerts", "New versions", "Server starts"}
    assert all(found.values())
    assert [one["metric"]["version"] for one in found["New versions"]] == ["2"]
    [born] = [float(one["values"][0][0]) for one in found["New versions"]]
    assert abs(born - (week.time.end - backfill.CANARY)) <= 60
    assert {float(one["values"][-1][1]) for one in found["Server starts"]} == {(week.time.end - 7200) * 1000}


def test_rules_are_evaluated_without_error(week):
    """The shipped rules work on what the real exporter tells."""
    rules = [rule for group in week.groups for rule in group["rules"] if rule["type"] == "recording"]
    assert len(rules) == len(recorded.rules())
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"] == []


# --- the story -----------------------------------------------------------------------------------


def by_model(week, boards, title, ref):
    """Values of one column of the fleet's table, by model."""
    found = answers(week.prometheus, boards["model-exporter-fleet"], week.every)
    [answer] = [one for one in found if one.asked.place == f"fleet / {title} / {ref}"]
    ours = [one for one in answer.found if one["metric"].get("job") == backfill.JOB]
    return {one["metric"]["model"]: float(one["value"][1]) for one in ours}


def test_a_bad_model_is_red_and_first(week, boards):
    """The model that went bad two hours ago is critical, and furthest below its threshold: by how much, is said."""
    title = "Models, worst first"
    assert by_model(week, boards, title, "A") == {"fraud.v2+eu": 2, "risk": 1, "tumour": 0, "newcomer": 0}
    margins = by_model(week, boards, title, "B")
    assert min(margins, key=margins.get) == "fraud.v2+eu"
    assert margins["fraud.v2+eu"] < -0.2 < 0 < margins["tumour"]
    accuracy = by_model(week, boards, title, "C")
    assert accuracy == pytest.approx({"fraud.v2+eu": 0.6, "risk": 0.8, "tumour": 0.94}, abs=0.01)
    against_last_week = by_model(week, boards, title, "D")
    assert against_last_week == pytest.approx({"fraud.v2+eu": -0.32, "risk": -0.1, "tumour": 0}, abs=0.01)


def test_counts_of_the_first_line(week, boards):
    """One of each kind is in trouble, two have no fresh labels, and alerts of others do not count."""
    mine = dataclasses.replace(week.every, values=week.every.values | {"job": backfill.JOB})
    fleet = {
        one.asked.panel["title"]: float(one.found[0]["value"][1])
        for one in answers(week.prometheus, boards["model-exporter-fleet"], mine)
        if one.asked.panel["type"] == "stat"
    }
    assert fleet == {
        "Models": 4, "Critical": 1, "Warning": 1, "Without fresh labels": 2, "Model servers down": 1,
        "Exporters down": 1,
    }  # fmt: skip
    firing = {
        one.asked.panel["title"]: float(one.found[0]["value"][1])
        for one in answers(week.prometheus, boards["model-exporter-alerts"], mine)
        if one.asked.panel["type"] == "stat"
    }
    assert firing == {"Critical": 1, "Warning": 2, "Info": 1, "Pending": 1}


def test_the_lines_of_the_worst_models_stay_the_same(week):
    """A choice of the lowest at the end of the time range gives as many lines; a bare bottomk gives more."""
    end, series = week.time.end, 'model:model_quality:ratio_increase1h{measure="accuracy", job="model-exporter"}'
    stable = f"{series} and on (job, model) bottomk(1, {series} @ end())"
    assert len(week.prometheus.over(stable, end - 86400, end, 300)) == 1
    assert len(week.prometheus.over(f"bottomk(1, {series})", end - 86400, end, 300)) > 1


# --- changes that have to be noticed -------------------------------------------------------------


def asked_again(week, board, choice, one, expr):
    return answered(week.prometheus, Asked(one.dashboard, one.panel, one.target, expr), board, choice)


def test_a_shortened_window_is_noticed(week, boards):
    """Were the window of any one query too short for two samples, it would have no answer."""
    choice, unnoticed, tried = week.choice("tumour"), [], 0
    for board in boards.values():
        for one in asked(board, choice, options(week.prometheus, board, choice)):
            short = re.sub(r"\[\w+\]", "[1s]", one.expr)
            calls = {node.func.name for node, _ in walk(one.expr) if type(node).__name__ == "Call"}
            if not calls & {"rate", "increase"} or "or vector(0)" in one.expr:
                continue
            tried += 1
            if asked_again(week, board, choice, one, short).found:
                unnoticed.append(one.place)
    assert unnoticed == []
    assert tried > 40


def test_a_renamed_metric_is_noticed(week, boards):
    """Were any one metric of a query called otherwise, the answer would be another one."""
    choice, unnoticed, tried = dataclasses.replace(week.every, single=week.choice("tumour").values), [], 0
    for board in boards.values():
        for one in asked(board, choice, options(week.prometheus, board, choice)):
            before = answered(week.prometheus, one, board, choice).found
            for name in names(one.expr):
                tried += 1
                renamed = re.sub(rf"(?<![\w:]){re.escape(name)}(?![\w:])", f"{name}_x", one.expr)
                if asked_again(week, board, choice, one, renamed).found == before:
                    unnoticed.append((one.place, name))
    assert unnoticed == []
    assert tried > 200
