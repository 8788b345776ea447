"""What is wrong with a dashboard: grafana/dashboard-linter's rules, ported, and some of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.dashboards.grafana import Choice, Json, panels
from tests.dashboards.promql import Node, kept_labels, kind, walk

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = 1027
"""Seconds that stand for `$__rate_interval`."""
PLAIN = Choice("lint", dict.fromkeys(("job", "model", "measure", "loss", "version", "target", "instance"), "x"), 0)
OVER_TIME = ("rate", "irate", "increase", "delta", "resets", "changes", "last_over_time", "count_over_time")
RAW = ("model_exporter_state_corruptions_total",)
"""Counted before the first scrape, so that an increase would not see it."""
OF_MODEL_SERVERS = ("job:", "job_model:")
"""Their jobs are their own, and not those of the exporters."""


class Finding(NamedTuple):
    rule: str
    place: str


def lint(board: Json) -> list[Finding]:
    """All findings on *board*."""
    found = [*_head(board), *_variables(board)]
    for panel in panels(board):
        found += _panel(panel)
        for target in panel.get("targets", []):
            found += _query(board, panel, target)
        found += _table(board, panel)
    return found


# --- the dashboard -------------------------------------------------------------------------------


def _head(board: Json) -> Iterator[Finding]:
    place = board["title"]
    if board["editable"]:
        yield Finding("uneditable", place)
    if not (board["uid"] and board["tags"] and board["description"]):
        yield Finding("uid-tags-description", place)
    if board["refresh"] != "1m" or board["timezone"] != "browser":
        yield Finding("refresh-timezone", place)
    for one in board["annotations"]["list"]:
        if "expr" in one and one["datasource"] != SOURCE:
            yield Finding("datasource", f"annotation {one['name']}")


def _variables(board: Json) -> Iterator[Finding]:
    variables: Mapping[str, Json] = {one["name"]: one for one in board["templating"]["list"]}
    sources = [name for name, one in variables.items() if one["type"] == "datasource"]
    if sources != ["datasource"] or variables["datasource"]["label"] != "Data source":
        yield Finding("template-datasource", board["title"])
    job = variables.get("job", {})
    if not (job.get("multi") and job.get("includeAll") and job.get("allValue") == ".+"):
        yield Finding("template-job", board["title"])
    for name, one in variables.items():
        if one["type"] == "query" and (one["refresh"] != 2 or one["datasource"] != SOURCE):
            yield Finding("template-reload", name)
        if one.get("current") and one["current"].get("value") != ["$__all"]:
            yield Finding("template-current", name)


# --- panels --------------------------------------------------------------------------------------


def _panel(panel: Json) -> Iterator[Finding]:
    place = panel["title"]
    if not panel["title"] or len(panel.get("description", "")) < 20:
        yield Finding("title-description", place)
    if panel["datasource"] != SOURCE or any(one["datasource"] != SOURCE for one in panel.get("targets", [])):
        yield Finding("datasource", place)
    if float(panel.get("pluginVersion", "0").rpartition(".")[0] or 0) < 11.1:
        yield Finding("plugin-version", place)
    if panel["type"] == "alertlist":
        return
    if not panel["targets"]:
        yield Finding("no-targets", place)
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        yield Finding("units", place)
    if not defaults.get("noValue") or not any(one["type"] == "special" for one in defaults["mappings"]):
        yield Finding("empty-and-nan", place)
    if re.search(r"#[0-9a-fA-F]{6}", str(panel)):
        yield Finding("named-colours", place)


# --- queries -------------------------------------------------------------------------------------


def filled(board: Json, expr: str) -> str:
    """*expr* without variables, and with `RATE` seconds for the rate interval."""
    variables = {one["name"]: ["x"] for one in board["templating"]["list"]}
    return PLAIN.fill(expr.replace("$__rate_interval", f"{RATE}s"), board, variables)


def _query(board: Json, panel: Json, target: Json) -> Iterator[Finding]:
    place = f"{panel['title']} {target['refId']}"
    try:
        nodes = list(walk(filled(board, target["expr"])))
    except ValueError as error:
        yield Finding("promql", f"{place}: {error}")
        return
    for node, around in nodes:
        if kind(node) == "VectorSelector":
            yield from _selector(node, around, place)
        rated = kind(node) == "Call" and node.func.name in {"rate", "irate"} and not target["instant"]
        if rated and node.args[0].range.total_seconds() != RATE:
            yield Finding("rate-interval", place)
        if kind(node) == "BinaryExpr" and str(node.op) == "/" and not _guarded(node.rhs):
            yield Finding("division", place)
    variables = {one["name"]: one for one in board["templating"]["list"]}
    for sign, name in re.findall(r'(=~|!~|=|!=)"\$(\w+)\|?"', target["expr"]):
        if ("~" in sign) != variables[name]["multi"]:
            yield Finding("match-of-variable", f"{place}: ${name}")


def _selector(node: Node, around: tuple[Node, ...], place: str) -> Iterator[Finding]:
    labels = {one.name for one in node.matchers.matchers}
    if "job" not in labels and not (node.name or "").startswith(OF_MODEL_SERVERS):
        yield Finding("target-job", f"{place}: {node.name}")
    calls = {one.func.name for one in around if kind(one) == "Call"}
    counter = (node.name or "").endswith(("_total", "_bucket", "_count", "_sum")) and node.name not in RAW
    if counter and not calls & {*OVER_TIME}:
        yield Finding("counter", f"{place}: {node.name}")


def _guarded(node: Node) -> bool:
    """Whether a divisor is a number, or drops what is zero."""
    while kind(node) == "ParenExpr":
        node = node.expr
    return kind(node) == "NumberLiteral" or (kind(node) == "BinaryExpr" and str(node.op) == ">")


def _table(board: Json, panel: Json) -> Iterator[Finding]:
    """Queries of a table have to keep the same labels by name: a stray one, even `__name__`, and rows do not join."""
    if panel["type"] != "table":
        return
    organised = [one["options"] for one in panel["transformations"] if one["id"] == "organize"]
    hidden = {name for one in organised for name, gone in one["excludeByName"].items() if gone}
    kept = {target["refId"]: kept_labels(filled(board, target["expr"])) for target in panel["targets"]}
    alike = {labels for ref, labels in kept.items() if f"Value #{ref}" not in hidden}
    for ref, labels in kept.items():
        more = f"Value #{ref}" in hidden  # its labels are columns of their own
        if labels is None or len(alike) > 1 or (more and not labels > next(iter(alike))):
            yield Finding("table-labels", f"{panel['title']} {ref}")
