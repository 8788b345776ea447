"""All that a dashboard asks Prometheus for one choice of its user."""

from __future__ import annotations

from dataclasses import dataclass

from tests.dashboards.grafana import SPANS, STEPS, Asked, Choice, Json, asked, label_values
from tests.dashboards.prometheus import Found, Prometheus, QueryError


@dataclass(frozen=True)
class Answer:
    """What came of one query; `error` is what Prometheus had to say against it."""

    asked: Asked
    found: Found
    error: str = ""


def options(prometheus: Prometheus, dashboard: Json, choice: Choice) -> dict[str, list[str]]:
    """What each variable of *dashboard* offers, from the first to the last: a later one may read those before."""
    offered: dict[str, list[str]] = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = label_values(variable["query"]["query"])
            match = choice.fill(selector, dashboard, offered)
            span = {"start": choice.end - SPANS[dashboard["time"]["from"]], "end": choice.end}
            offered[variable["name"]] = prometheus.get(f"label/{label}/values", **{"match[]": match}, **span)
    return offered


def answers(prometheus: Prometheus, dashboard: Json, choice: Choice) -> list[Answer]:
    """Every query of every panel with its answer."""
    offered = options(prometheus, dashboard, choice)
    return [answered(prometheus, one, dashboard, choice) for one in asked(dashboard, choice, offered)]


def answered(prometheus: Prometheus, one: Asked, dashboard: Json, choice: Choice) -> Answer:
    """One query, as an instant one or over the time range of the dashboard."""
    try:
        if one.target["instant"]:
            return Answer(one, prometheus.now(one.expr, choice.end))
        span = SPANS[dashboard["time"]["from"]]
        return Answer(one, prometheus.over(one.expr, choice.end - span, choice.end, max(60, span // STEPS)))
    except QueryError as error:
        return Answer(one, [], str(error))


def annotations(prometheus: Prometheus, dashboard: Json, choice: Choice) -> dict[str, Found]:
    """What each annotation of *dashboard* marks."""
    offered = options(prometheus, dashboard, choice)
    span = SPANS[dashboard["time"]["from"]]
    return {
        one["name"]: prometheus.over(
            choice.fill(one["expr"], dashboard, offered), choice.end - span, choice.end, int(one["step"][:-1])
        )
        for one in dashboard["annotations"]["list"]
        if "expr" in one
    }
