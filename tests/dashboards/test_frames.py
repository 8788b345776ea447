"""Panels through Grafana's own data library: names it knows, rows that join, and fields that exist."""

from __future__ import annotations

import copy
import itertools
import re

import pytest

from tests.dashboards.asking import answers
from tests.dashboards.conftest import LIVE
from tests.dashboards.grafana import panels

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the week to be filled, and perhaps for packages."""

NAMES = ["every", "tumour", LIVE]


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
    return names | {options[key] for key in ("xField",) if key in options}


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


def tables(shown):
    return [one for one in shown if one.asked[0].panel["type"] in {"table", "barchart"}]


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
