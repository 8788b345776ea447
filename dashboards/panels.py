"""Panels: one function for each kind that the dashboards use, all of them part of Grafana itself.

Each returns a panel of classic JSON with its size in `gridPos`; the layout gives it a place and an id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Unpack

from dashboards.looks import Json, Look, defaults

DATA_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
PLUGIN_VERSION = "11.6.0"
"""On every panel: from one without it Grafana 11.1 and later take an XY chart for an old one, and spoil it."""

PLACE = "Region"
"""What the places of a map are called."""
ONE_PER_NAME = "palette-classic-by-name"
"""The colours of lines hang on their names, and not on their order."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query over time; `legend` is a template such as `{{model}}`."""

    expr: str
    legend: str = "__auto"

    def target(self, index: int) -> Json:
        return _target(index, self.expr, legendFormat=self.legend, instant=False, range=True, format="time_series")


@dataclass(frozen=True, slots=True)
class Now(Query):
    """One query for the end of the time range."""

    def target(self, index: int) -> Json:
        return _target(index, self.expr, legendFormat=self.legend, instant=True, range=False, format="time_series")


@dataclass(frozen=True, slots=True)
class Rows(Query):
    """One query for the end of the time range, as a table: a column per label, and one for the value."""

    def target(self, index: int) -> Json:
        return _target(index, self.expr, legendFormat=self.legend, instant=True, range=False, format="table")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures in a table: its name, and a query that ends in `by (labels)`."""

    name: str
    expr: str
    hidden: bool = False
    """Whether its labels are wanted, and not its figures."""


def _target(index: int, expr: str, **words: object) -> Json:
    return {"refId": chr(ord("A") + index), "datasource": DATA_SOURCE, "editorMode": "code", "expr": expr, **words}


def _panel(
    kind: str, title: str, description: str, queries: Sequence[Query], *, size: tuple[int, int], look: Look,
    options: Json, colours: str = "thresholds", custom: Json | None = None, transformations: Sequence[Json] = (),
) -> Json:  # fmt: skip
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATA_SOURCE,
        "pluginVersion": PLUGIN_VERSION,
        "gridPos": {"w": width, "h": height},
        "targets": [query.target(index) for index, query in enumerate(queries)],
        "transformations": list(transformations),
        "fieldConfig": {"defaults": defaults(look, colours, custom), "overrides": look.get("overrides", [])},
        "options": options,
    }


# --- one number ----------------------------------------------------------------------------------


def stat(title: str, description: str, *queries: Query, size: tuple[int, int] = (4, 4), **look: Unpack[Look]) -> Json:
    """Big numbers; coloured all over where `steps` judge them."""
    options = {
        "colorMode": "background" if "steps" in look else "none",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    return _panel("stat", title, description, queries, size=size, look=look, options=options)


# --- over time -----------------------------------------------------------------------------------


def timeseries(
    title: str, description: str, *queries: Query, size: tuple[int, int] = (8, 8), stacked: bool = False,
    **look: Unpack[Look],
) -> Json:  # fmt: skip
    """Lines over time with their last, least and largest value below them."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 40 if stacked else 8,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    options = {
        "legend": {
            "displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "min", "max"]
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }  # fmt: skip
    return _panel(
        "timeseries",
        title,
        description,
        queries,
        size=size,
        look=look,
        colours=ONE_PER_NAME,
        options=options,
        custom=custom,
    )


def timeline(
    title: str, description: str, *queries: Query, size: tuple[int, int] = (12, 9), **look: Unpack[Look]
) -> Json:
    """One bar of states per series."""
    options = {
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"fillOpacity": 75, "lineWidth": 0}
    return _panel(
        "state-timeline",
        title,
        description,
        queries,
        size=size,
        look=look,
        options=options,
        custom=custom,
    )


def heatmap(title: str, description: str, buckets: str, unit: str, size: tuple[int, int] = (8, 8)) -> Json:
    """A distribution over time, from the rates of a histogram's *buckets* by `le`."""
    query = Query(buckets, "{{le}}").target(0) | {"format": "heatmap"}
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "exponent": 0.5, "fill": "dark-blue", "mode": "scheme", "reverse": False, "scale": "exponential",
            "scheme": "Blues", "steps": 64,
        },
        "exemplars": {"color": "text"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }  # fmt: skip
    panel = _panel("heatmap", title, description, [], size=size, look={"unit": "cps"}, options=options)
    return panel | {"targets": [query]}


# --- tables and bars -----------------------------------------------------------------------------


def _step(transformation: str, **options: object) -> Json:
    return {"id": transformation, "options": options}


def _grouped(rows: str, columns: str, missing: Literal["zero", "null"] = "zero") -> Json:
    """One label's values as rows, another's as columns; in the corner stands the heading `rows\\columns`."""
    return _step("groupingToMatrix", rowField=rows, columnField=columns, valueField="Value", emptyValue=missing)


def table(
    title: str, description: str, labels: Mapping[str, str], columns: Sequence[Column], *,
    worst: Sequence[tuple[str, Literal["high", "low"]]] = (),
    size: tuple[int, int] = (24, 10), **look: Unpack[Look],
) -> Json:  # fmt: skip
    """One row for each combination of *labels* (label: heading), one column for each query.

    Every query of *columns* has to end in an aggregation by exactly these labels, or the rows do not join.  *worst*
    names the columns to sort by.
    """
    values = [f"Value #{chr(ord('A') + index)}" if len(columns) > 1 else "Value" for index in range(len(columns))]
    order = [*labels, *values]
    organise = {
        "excludeByName": {"Time": True}
        | {value: True for value, one in zip(values, columns, strict=True) if one.hidden},
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": dict(labels) | dict(zip(values, (one.name for one in columns), strict=True)),
    }
    options = {
        "cellHeight": "sm",
        "showHeader": True,
        "sortBy": [{"displayName": name, "desc": which == "high"} for name, which in worst],
    }
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    return _panel(
        "table", title, description, [Rows(one.expr) for one in columns], size=size, look=look, options=options,
        custom=custom, transformations=[_step("merge"), _step("organize", **organise)],
    )  # fmt: skip


def matrix(
    title: str, description: str, query: Rows, *, rows: str, columns: str, size: tuple[int, int] = (8, 9),
    **look: Unpack[Look],
) -> Json:  # fmt: skip
    """A table of one label's values by another's, the larger the darker."""
    options = {"cellHeight": "sm", "showHeader": True}
    custom = {"align": "auto", "cellOptions": {"type": "color-background", "mode": "gradient"}, "inspect": False}
    return _panel(
        "table", title, description, [query], size=size, look=look, colours="continuous-blues", options=options,
        custom=custom, transformations=[_grouped(rows, columns)],
    )  # fmt: skip


def bars(
    title: str, description: str, query: Rows, *, by: str, columns: str, heading: str, stacked: bool = True,
    size: tuple[int, int] = (8, 9), **look: Unpack[Look],
) -> Json:  # fmt: skip
    """Bars for each value of the label *by*, under *heading*: by the label *columns*, as parts or side by side."""
    options = {
        "barRadius": 0,
        "barWidth": 0.8,
        "fullHighlight": False,
        "groupWidth": 0.7,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "orientation": "auto",
        "showValue": "auto",
        "stacking": "normal" if stacked else "none",
        "tooltip": {"mode": "multi", "sort": "none"},
        "xField": heading,
        "xTickLabelRotation": 0,
        "xTickLabelSpacing": 100,
    }
    custom = {"fillOpacity": 80, "gradientMode": "none", "lineWidth": 1}
    return _panel(
        "barchart", title, description, [query], size=size, look=look, options=options, colours=ONE_PER_NAME,
        custom=custom, transformations=[
            _grouped(by, columns, "zero" if stacked else "null"),
            _step("organize", renameByName={rf"{by}\{columns}": heading}),
        ],
    )  # fmt: skip


def geomap(
    title: str, description: str, value: Column, amount: Column, *, size: tuple[int, int] = (12, 12),
    **look: Unpack[Look],
) -> Json:  # fmt: skip
    """Places on a map of the world that Grafana brings along, coloured by *value*, the larger the more their *amount*.

    Both queries have to end in `by (group, latitude, longitude)`; those two are texts, of which numbers are made.
    """
    names = {"group": PLACE, "Value #A": value.name, "Value #B": amount.name}
    style = {
        "color": {"field": value.name, "fixed": "dark-blue"},
        "opacity": 0.7,
        "rotation": {"fixed": 0, "max": 360, "min": -360, "mode": "mod"},
        "size": {"field": amount.name, "fixed": 8, "max": 24, "min": 6},
        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
        "text": {"field": PLACE, "fixed": "", "mode": "field"},
        "textConfig": {"fontSize": 12, "offsetX": 0, "offsetY": 18, "textAlign": "center", "textBaseline": "middle"},
    }
    places = {
        "name": PLACE,
        "type": "markers",
        "config": {"showLegend": True, "style": style},
        "location": {"mode": "coords", "latitude": "latitude", "longitude": "longitude"},
        "tooltip": True,
    }
    options = {
        "view": {"allLayers": True, "id": "zero", "lat": 20, "lon": 0, "zoom": 1.5},
        "basemap": {
            "name": "Countries",
            "type": "geojson",
            "config": {"rules": [], "src": "public/maps/countries.geojson",
                       "style": {"color": {"fixed": "text"}, "opacity": 0.1}},
        },
        "controls": {"mouseWheelZoom": False, "showAttribution": True, "showDebug": False, "showMeasure": False,
                     "showScale": False, "showZoom": True},
        "layers": [places],
        "tooltip": {"mode": "details"},
    }  # fmt: skip
    numbers = [{"targetField": name, "destinationType": "number"} for name in ("latitude", "longitude")]
    return _panel(
        "geomap", title, description, [Rows(value.expr), Rows(amount.expr)], size=size, look=look,
        colours="continuous-RdYlGr", options=options, transformations=[
            _step("merge"), _step("convertFieldType", conversions=numbers, fields={}),
            _step("organize", excludeByName={"Time": True}, renameByName=names),
        ],
    )  # fmt: skip


# --- one figure against another ------------------------------------------------------------------


def scatter(
    title: str, description: str, by: tuple[str, str], columns: Sequence[Column], *, lines: Sequence[str],
    diagonal: str | None = None, bubbles: str | None = None, size: tuple[int, int] = (8, 11), **look: Unpack[Look],
) -> Json:  # fmt: skip
    """An XY chart of one frame: the first of *columns* along x, each that *lines* names along y.

    Rows are joined by one label, *by* with its heading, and points are joined from its last text to its first: every
    query has to end in an aggregation by exactly that label.  *diagonal* names a further line, on which y is x;
    *bubbles* the column by whose figures the points of the first line are sized.
    """
    across = columns[0].name
    names = {f"Value #{chr(ord('A') + index)}": one.name for index, one in enumerate(columns)}
    steps = [
        _step("merge"),
        _step("sortBy", fields={}, sort=[{"field": by[0], "desc": True}]),
        _step("organize", excludeByName={"Time": True}, indexByName={}, renameByName={by[0]: by[1], **names}),
    ]
    if diagonal is not None:
        same = {"left": across, "operator": "*", "right": "1"}
        steps.append(_step("calculateField", mode="binary", alias=diagonal, binary=same, replaceFields=False))
    drawn = [_drawn(across, name) for name in [*lines, *([] if diagonal is None else [diagonal])]]
    if bubbles is not None:
        drawn[0]["size"] = _named(bubbles)
    options = {
        "mapping": "manual",
        "series": drawn,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {
        "show": "points+lines", "pointShape": "circle", "pointSize": {"fixed": 5, "min": 4, "max": 24},
        "pointStrokeWidth": 1, "fillOpacity": 50, "lineWidth": 1,
    }  # fmt: skip
    return _panel(
        "xychart", title, description, [Rows(one.expr) for one in columns], size=size, look=look,
        colours="palette-classic", options=options, custom=custom, transformations=steps,
    )  # fmt: skip


def _named(name: str) -> Json:
    return {"matcher": {"id": "byName", "options": name}}


def _drawn(across: str, name: str) -> Json:
    """A series of the only frame; Grafana draws none that leaves out one of the three."""
    first = {"matcher": {"id": "byIndex", "options": 0}}
    return {"name": {"fixed": name}, "frame": first, "x": _named(across), "y": _named(name)}


def alert_list(title: str, description: str, matcher: str, size: tuple[int, int] = (8, 10)) -> Json:
    """Rules of the data source and of Grafana itself that match labels."""
    options = {
        "alertInstanceLabelFilter": matcher,
        "alertName": "",
        "dashboardAlerts": False,
        "datasource": "${datasource}",
        "folder": "",
        "groupBy": [],
        "groupMode": "default",
        "maxItems": 50,
        "showInstances": False,
        "sortOrder": 3,
        "stateFilter": {
            "error": True, "firing": True, "noData": False, "normal": False, "pending": True, "recovering": True
        },
        "viewMode": "list",
    }  # fmt: skip
    return {
        "type": "alertlist",
        "title": title,
        "description": description,
        "datasource": DATA_SOURCE,
        "pluginVersion": PLUGIN_VERSION,
        "gridPos": {"w": size[0], "h": size[1]},
        "options": options,
    }
