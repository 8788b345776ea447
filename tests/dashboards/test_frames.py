"""Panels through Grafana's own data library: names it knows, rows that join, and fields that exist."""

from __future__ import annotations

import copy
import itertools
import re

import pytest

from tests.dashboards import scored
from tests.dashboards.asking import answers
from tests.dashboards.conftest import LIVE
from tests.dashboards.grafana import panels

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the week to be filled, and perhaps for packages."""

NAMES = ["every", "tumour", LIVE]
DIMENSIONS = ("x", "y", "size")
ROUNDING = 1e-9


def by_panel(found):
    """Answers as `draw` wants them: those of one panel together."""
    out = {}
    for answer in found:
        out.setdefault((answer.asked.dashboard, answer.asked.panel["id"]), []).append((answer.asked, answer.found))
    return list(out.values())


@pytest.fixture(scope="module")
def drawn(week, boards, draw):
    """Every panel as Grafana would draw it, by the name of what was chosen."""
    chosen = {name: week.every if name == "every" else week.choice(name) for name in NAMES}
    found = {
        name: by_panel(answer for board in boards.values() for answer in answers(week.prometheus, board, choice))
        for name, choice in chosen.items()
    }
    shown = iter(draw([panel for panels in found.values() for panel in panels]))
    return {name: [next(shown) for _ in panels] for name, panels in found.items()}


def named(panel):
    """Fields that the options and the overrides of a panel name."""
    options = panel["options"]
    names = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
    names |= {one["displayName"] for one in options.get("sortBy", [])}
    names |= {options[key] for key in ("xField",) if key in options}
    return names | {one[key]["matcher"]["options"] for one in series(panel) for key in DIMENSIONS if key in one}


def series(panel):
    """Series of an XY chart."""
    return panel["options"]["series"] if panel["type"] == "xychart" else []


def faults_of_table(shown):
    """What is wrong with a table: one row for each set of labels is wanted, and no column that no row fills."""
    if len(shown.frames) != 1:
        return [f"{len(shown.frames)} tables"]
    [frame] = shown.frames
    fields = [field for field in frame["fields"] if field["name"] != "Time"]
    keys = list(zip(*(field["values"] for field in fields if field["type"] == "string"), strict=True))
    empty = [field["name"] for field in fields if all(value is None for value in field["values"])]
    faults = ["__name__"] if "__name__" in shown.names else []
    faults += [f"{len(keys)} rows for {len(set(keys))} sets of labels"] if len(set(keys)) != len(keys) else []
    return faults + [f"{name} is empty" for name in empty]


def faults_of_chart(shown):
    """What is wrong with an XY chart: one frame is wanted, whose rows are whole, and in the order of their labels."""
    if len(shown.frames) != 1:
        return [f"{len(shown.frames)} frames"]
    [frame] = shown.frames
    fields = {field["name"]: field for field in frame["fields"]}
    texts = [field["values"] for field in fields.values() if field["type"] == "string"]
    faults = [f"{len(texts)} labels"] if len(texts) != 1 else []
    faults += ["not in order"] if any(column != sorted(set(column), reverse=True) for column in texts) else []
    panel = shown.asked[0].panel
    for name in sorted({one[key]["matcher"]["options"] for one in series(panel) for key in DIMENSIONS if key in one}):
        values = fields[name]["values"] if name in fields else [None]
        faults += [f"{name} is half empty"] if None in values else []
        faults += [f"{name} is no number"] if name in fields and fields[name]["type"] != "number" else []
    return faults + faults_of_series(panel, fields)


def points_only(panel):
    """Fields that a chart draws without lines."""
    shown = {"id": "custom.show", "value": "points"}
    return {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"] if shown in one["properties"]}


def faults_of_series(panel, fields):
    """What keeps Grafana from drawing a series, or from drawing it from one side to the other."""
    faults = [] if panel["options"]["mapping"] == "manual" else ["mapped by chance"]
    for one in series(panel):
        if not {"frame", "x", "y"} <= set(one) or one["x"] == one["y"]:
            faults.append("a series without a place")
            continue
        across, up = (fields.get(one[key]["matcher"]["options"], {"values": []})["values"] for key in ("x", "y"))
        if across == up or one["y"]["matcher"]["options"] in points_only(panel):
            continue  # nothing is drawn between the points, or all of it lies on the diagonal
        steps = [] if None in across else [after - before for before, after in itertools.pairwise(across)]
        faults += ["to and fro"] if min(steps, default=0) < -ROUNDING and max(steps) > ROUNDING else []
    return faults


def tables(shown):
    return [one for one in shown if one.asked[0].panel["type"] in {"table", "barchart"}]


def charts(shown):
    return [one for one in shown if one.asked[0].panel["type"] == "xychart"]


def test_the_library_knows_every_name(drawn):
    """Units, colours, ways to colour, transformations, calculations and matchers are all in its registries."""
    assert [(one.asked[0].place, one.unknown) for shown in drawn.values() for one in shown if one.unknown] == []


def test_fields_that_a_panel_names_exist(drawn):
    """What an override, an axis or an order names is there, for one choice at least, once the data is transformed."""
    missing, there = {}, {}
    for one in itertools.chain(*drawn.values()):
        panel = one.asked[0].panel
        missing.setdefault(one.asked[0].place, set()).update(named(panel))
        there.setdefault(one.asked[0].place, set()).update(one.names)
    assert {place: left for place, names in missing.items() if (left := names - there[place])} == {}


@pytest.mark.parametrize("name", NAMES)
def test_tables_join(drawn, name):
    """One row per model, server, source, class or version; every query fills a column of it."""
    faults = {one.asked[0].place: faults_of_table(one) for one in tables(drawn[name]) if one.frames}
    assert {place: found for place, found in faults.items() if found} == {}
    assert len(faults) >= 7


@pytest.mark.parametrize("name", NAMES)
def test_points_of_charts_are_whole(drawn, name):
    """Every row of an XY chart has a number for x, for y and for the size, and lines go from one side to the other."""
    faults = {one.asked[0].place: faults_of_chart(one) for one in charts(drawn[name])}
    assert {place: found for place, found in faults.items() if found} == {}
    assert len(faults) == 3


def test_curves_are_those_of_the_scores(drawn):
    """What is drawn follows from how the made-up scores lie in bins, over two replicas of unequal weight."""
    roc, precision, calibration = [
        {field["name"]: field["values"] for field in one.frames[0]["fields"]} for one in charts(drawn["tumour"])
    ]
    shares, means = scored.bins("1", empty_top=False), scored.middles("1")
    rates = {actual: list(itertools.accumulate(reversed(of))) for actual, of in shares.items()}
    assert roc["True positive rate"] == pytest.approx([0, *rates["positive"]], abs=1e-6)
    assert roc["False positive rate"] == roc["Chance"] == pytest.approx([0, *rates["negative"]], abs=1e-6)
    assert precision["Recall"] == roc["True positive rate"][1:]
    assert precision["Share of positives"] == pytest.approx([0.4] * len(means), abs=1e-4)
    hits = [0.4 * rate for rate in rates["positive"]]
    expected = [hit / (hit + 0.6 * rate) for hit, rate in zip(hits, rates["negative"], strict=True)]
    assert precision["Precision"] == pytest.approx(expected, abs=1e-4)
    assert calibration["Mean score"] == pytest.approx(means[::-1], abs=1e-6)
    pairs = [(0.4 * p, 0.6 * n) for p, n in zip(shares["positive"], shares["negative"], strict=True)][::-1]
    assert calibration["Share of positives"] == pytest.approx([p / (p + n) for p, n in pairs], abs=1e-4)
    counts = calibration["Number of scores"]
    assert [one / sum(counts) for one in counts] == pytest.approx([p + n for p, n in pairs], abs=1e-4)


def test_the_map_has_places(drawn):
    """Degrees become numbers, every field that the layer names is there, and no tile is fetched from anywhere."""
    [shown] = [one for one in drawn["tumour"] if one.asked[0].panel["type"] == "geomap"]
    [frame] = shown.frames
    fields = {field["name"]: field for field in frame["fields"]}
    assert sorted(fields["latitude"]["values"]) == [-33.9, 59.3]
    assert {fields[name]["type"] for name in ("latitude", "longitude", "Lowest accuracy", "Predictions")} == {"number"}
    options = shown.asked[0].panel["options"]
    [layer] = options["layers"]
    style = layer["config"]["style"]
    named = {layer["location"][name] for name in ("latitude", "longitude")}
    named |= {style[name]["field"] for name in ("color", "size", "text")}
    assert named == set(fields)
    assert "://" not in str(options)
    assert (options["basemap"]["type"], options["basemap"]["config"]["src"]) == (
        "geojson", "public/maps/countries.geojson",
    )  # fmt: skip


def test_links_name_fields_that_exist(drawn):
    """`${__data.fields.X}` of a link is a column, and the dashboard that it opens has the variables it sets."""
    links = 0
    for one in drawn["every"]:
        panel = one.asked[0].panel
        raw = {field["raw"] for frame in one.frames for field in frame["fields"]}
        for url in re.findall(r"'url': '([^']+)'", str(panel["fieldConfig"]["overrides"])):
            links += 1
            assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= raw
            assert url.startswith("/d/model-exporter-model?${datasource:queryparam}&")
            assert set(re.findall(r"var-(\w+)=", url)) <= {"job", "model"}
    assert links == 2


# --- changes that have to be noticed -------------------------------------------------------------


@pytest.mark.parametrize("change", ["aggregation", "merge", "rename"])
def test_a_table_that_was_spoilt_is_noticed(week, boards, draw, change):
    """Without one aggregation, without the join, or with another name of a column, the fleet's table is faulty."""
    board = copy.deepcopy(boards["model-exporter-fleet"])
    [panel] = [one for one in panels(board) if one["title"] == "Models, worst first"]
    if change == "aggregation":
        panel["targets"][4]["expr"] = panel["targets"][4]["expr"].removeprefix("max by (job, model) ")
    if change == "merge":
        del panel["transformations"][0]
    if change == "rename":
        panel["transformations"][1]["options"]["renameByName"]["Value #B"] = "Distance"
    found = [one for one in answers(week.prometheus, board, week.every) if one.asked.panel is panel]
    [shown] = draw(by_panel(found))
    assert bool(faults_of_table(shown)) == (change != "rename")
    assert (named(panel) <= shown.names) == (change != "rename")


def without_aggregation(panel):
    target = panel["targets"][0]
    target["expr"] = target["expr"].removeprefix("avg by (threshold) ")


def without_the_other(panel):
    """The first coordinate, of points of which the second is not defined."""
    target = panel["targets"][0]
    target["expr"] = re.sub(r" and on \(job, model, version, class, threshold\) [^}]*}", "", target["expr"])


def of_all_versions(panel):
    for target in panel["targets"]:
        target["expr"] = target["expr"].replace(', version="$version"', "")


CHANGES = {
    "aggregation": without_aggregation,
    "half": without_the_other,
    "versions": of_all_versions,
    "merge": lambda panel: panel["transformations"].pop(0),
    "sort": lambda panel: panel["transformations"].pop(1),
    "name": lambda panel: panel["transformations"][2]["options"]["renameByName"].update({"Value #A": "X"}),
    "auto": lambda panel: panel["options"].update(mapping="auto"),
    "frame": lambda panel: panel["options"]["series"][0].pop("frame"),
    "text": lambda panel: panel["options"]["series"][0]["y"]["matcher"].update(options="Scores from"),
}


def test_a_chart_that_was_spoilt_is_noticed(week, boards, draw):
    """Any of these changes to the precision-recall curve, alone, leaves a chart that is faulty."""
    changed = {}
    for name, change in CHANGES.items():
        board = copy.deepcopy(boards["model-exporter-model"])
        [panel] = [one for one in panels(board) if one["title"].startswith("Precision and recall")]
        change(panel)
        board["panels"] = [panel]
        changed[name] = by_panel(answers(week.prometheus, board, week.every))[0]
    shown = dict(zip(changed, draw(list(changed.values())), strict=True))
    assert [name for name, one in shown.items() if not faults_of_chart(one)] == []
