"""What makes panels a dashboard: rows and places, variables, annotations, links, and the JSON around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dashboards.looks import Json
from dashboards.panels import DATA_SOURCE

TAG = "model-exporter"
WIDTH = 24
SCHEMA_VERSION = 39
"""Classic JSON that Grafana 10.4 and all later ones load; newer ones bring it up to date as they do."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, from left to right; a folded one asks nothing until it is opened."""

    title: str
    panels: Sequence[Json]
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard; `panels` stand above all rows."""

    uid: str
    title: str
    description: str
    since: str
    panels: Sequence[Json] = ()
    rows: Sequence[Row]
    variables: Sequence[Json] = ()
    annotations: Sequence[Json] = field(default_factory=list)

    def json(self) -> Json:
        """Classic dashboard JSON, the same whenever it is made."""
        return {
            "annotations": {"list": [_ANNOTATIONS_OF_GRAFANA, *self.annotations]},
            "description": self.description,
            "editable": False,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "id": None,
            "links": [_LINKS],
            "panels": _placed(self.panels, self.rows),
            "refresh": "1m",
            "schemaVersion": SCHEMA_VERSION,
            "tags": [TAG],
            "templating": {"list": [_DATA_SOURCE_VARIABLE, *self.variables]},
            "time": {"from": self.since, "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "title": f"Model Exporter / {self.title}",
            "uid": self.uid,
            "version": 1,
            "weekStart": "",
        }


# --- places --------------------------------------------------------------------------------------


def _placed(above: Sequence[Json], rows: Sequence[Row]) -> list[Json]:
    """Every panel with its place and its id; panels of folded rows stand inside their row."""
    out, bottom = _flow(above, 0, 1)
    number = len(out) + 1
    for row in rows:
        heading: Json = {
            "type": "row",
            "title": row.title,
            "id": number,
            "collapsed": row.folded,
            "gridPos": {"x": 0, "y": bottom, "w": WIDTH, "h": 1},
            "panels": [],
        }
        inside, below = _flow(row.panels, bottom + 1, number + 1)
        number += 1 + len(inside)
        if row.folded:
            out.append(heading | {"panels": inside})
            bottom += 1
        else:
            out += [heading, *inside]
            bottom = below
    return out


def _flow(panels: Sequence[Json], top: int, number: int) -> tuple[list[Json], int]:
    """Panels from left to right, on a new line where one does not fit; and the y below all of them."""
    out: list[Json] = []
    x = height = 0
    for panel in panels:
        size = panel["gridPos"]
        if x + size["w"] > WIDTH:
            x, top, height = 0, top + height, 0
        out.append(panel | {"id": number + len(out), "gridPos": {"x": x, "y": top, **size}})
        x, height = x + size["w"], max(height, size["h"])
    return out, top + height


# --- variables -----------------------------------------------------------------------------------


BY_NAME, NEWEST_FIRST = 1, 8
"""Grafana's orders: alphabetical; and natural from the last to the first, so that version 1.10 comes before 1.9."""


def choice(name: str, label: str, query: str, *, sort: int = BY_NAME) -> Json:
    """A variable with one value; match it with `=`, because Grafana does not escape it for `=~`."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{name}"},
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": sort,
    }


def choices(name: str, label: str, query: str, *, every: str | None = ".+") -> Json:
    """A variable with any number of values; match it with `=~`.

    All of them stand as *every* in a query, or one by one where that is None: few names then, or a query of a mile.
    """
    variable = choice(name, label, query) | {
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
    }
    return variable if every is None else variable | {"allValue": every}


JOB = choices("job", "Job", "label_values(model_exporter_build_info, job)")
FILTERS: Json = {
    "type": "adhoc", "name": "filters", "label": "Filters", "datasource": DATA_SOURCE, "baseFilters": [],
    "filters": [], "hide": 0, "skipUrlSync": False,
}  # fmt: skip
_DATA_SOURCE_VARIABLE: Json = {
    "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {},
    "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "", "skipUrlSync": False,
}  # fmt: skip


# --- annotations and links -----------------------------------------------------------------------


def annotation(name: str, colour: str, expr: str, title: str, text: str = "", *, at_value: bool = False) -> Json:
    """Marks where *expr* has a sample; with *at_value* at the time in milliseconds that is its value."""
    return {
        "name": name,
        "datasource": DATA_SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "expr": expr,
        "step": "60s",
        "titleFormat": title,
        "textFormat": text,
        "useValueForTime": at_value,
    }


_ANNOTATIONS_OF_GRAFANA: Json = {
    "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
}  # fmt: skip
_LINKS: Json = {
    "type": "dashboards", "title": "Model Exporter", "tags": [TAG], "asDropdown": True, "icon": "external link",
    "includeVars": True, "keepTime": True, "targetBlank": False, "tooltip": "", "url": "",
}  # fmt: skip
