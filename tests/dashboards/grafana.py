"""What Grafana does with a dashboard before Prometheus is asked, and with the answer before it is drawn."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.running import ROOT

Json = dict[str, Any]
FILES = sorted((ROOT / "dashboards").glob("*.json"))
VARIABLE = re.compile(r"\$([a-zA-Z_]\w*)|\$\{(\w+)(?::\w+)?\}")
SPANS = {"now-6h": 6 * 3600, "now-24h": 24 * 3600}
ALL = "$__all"
STEPS = 360
"""Points of a graph."""


def dashboards() -> dict[str, Json]:
    """Every dashboard that is checked in, by its uid."""
    found = [json.loads(path.read_text()) for path in FILES]
    return {one["uid"]: one for one in found}


def panels(dashboard: Json) -> list[Json]:
    """All panels, those of folded rows included; no rows."""
    flat = [panel for one in dashboard["panels"] for panel in (one, *one.get("panels", []))]
    return [panel for panel in flat if panel["type"] != "row"]


@dataclass(frozen=True)
class Choice:
    """What a user has chosen: a value for each variable (`ALL` for all of them), and the end of the time range.

    `single` holds the values of variables that take one only, where they differ.
    """

    name: str
    values: Mapping[str, str]
    end: float
    single: Mapping[str, str] = field(default_factory=dict)

    def fill(self, text: str, dashboard: Json, options: Mapping[str, list[str]]) -> str:
        """*text* with every variable replaced; *options* are the values that a variable offers.

        As Grafana does: values of a variable that takes several are escaped for `=~`, those of others are not.
        """
        span = SPANS[dashboard["time"]["from"]]
        built_in = {"__rate_interval": "4m", "__interval": "1m", "__range": f"{span}s"}
        variables = {one["name"]: one for one in dashboard["templating"]["list"]}

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name in built_in:
                return built_in[name]
            chosen = self.values[name]
            if not variables[name]["multi"]:
                chosen = self.single.get(name, chosen)
                return chosen.replace("\\", r"\\").replace('"', r"\"")
            if chosen != ALL:
                return _escaped(chosen)
            if "allValue" in variables[name]:
                return str(variables[name]["allValue"])
            return f"({'|'.join(map(_escaped, options[name]))})"

        return VARIABLE.sub(value, text)


def _escaped(value: str) -> str:
    """For a regular expression within the quotes of PromQL."""
    return re.sub(r"[\\^$*+?.()|\[\]{}]", r"\\\\\g<0>", value)


@dataclass(frozen=True)
class Asked:
    """A query as Prometheus gets it."""

    dashboard: str
    panel: Json
    target: Json
    expr: str

    @property
    def place(self) -> str:
        return f"{self.dashboard.removeprefix('model-exporter-')} / {self.panel['title']} / {self.target['refId']}"


def asked(dashboard: Json, choice: Choice, options: Mapping[str, list[str]]) -> Iterator[Asked]:
    """The queries of all panels of *dashboard*."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield Asked(dashboard["uid"], panel, target, choice.fill(target["expr"], dashboard, options))


def legend(target: Json, labels: Mapping[str, str]) -> str:
    """What a series is called in a graph."""
    template = target["legendFormat"]
    if template == "__auto":
        return ", ".join(f'{key}="{value}"' for key, value in labels.items()) or target["expr"]
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template)


def label_values(query: str) -> tuple[str, str]:
    """The selector and the label of `label_values(selector, label)`."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found, query
    return found[1], found[2]
