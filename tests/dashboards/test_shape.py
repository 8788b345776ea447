"""The files are dashboards that Grafana can read: its own Python SDK loses nothing of them, and their parts fit."""

from __future__ import annotations

import copy
import json
import warnings
from collections import Counter

import pytest

from tests.dashboards.grafana import panels

KNOWN_TO_BE_LOST = {".id", ".templating.list[].baseFilters", ".templating.list[].filters"}
"""`id` is null, which the SDK leaves out; and it does not know the fields of ad hoc filters."""


def through_the_sdk(board):
    """*board* read and written by grafana-foundation-sdk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it prefers the dashboards of Grafana 13
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.cog.plugins import register_default_plugins
        from grafana_foundation_sdk.models.dashboard import Dashboard

        register_default_plugins()
        return json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(board)), cls=JSONEncoder))


def lost(before, after, path=""):
    """Paths of *before* that *after* does not have, or has otherwise."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from lost(value, after[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from lost(one, other, f"{path}[]")
    elif before != after:
        yield path


def test_the_sdk_knows_every_key(boards):
    """Nothing is lost on the way through Grafana's own types."""
    for board in boards.values():
        assert set(lost(board, through_the_sdk(board))) - KNOWN_TO_BE_LOST == set()


@pytest.mark.parametrize("key", ["unit", "noValue"])
def test_a_misspelt_key_is_noticed(boards, key):
    """A key that Grafana does not know is lost on that way."""
    board = copy.deepcopy(boards["model-exporter-fleet"])
    defaults = panels(board)[0]["fieldConfig"]["defaults"]
    defaults[f"{key}s"] = defaults.pop(key)
    assert set(lost(board, through_the_sdk(board))) - KNOWN_TO_BE_LOST


def test_ids_are_unique(boards):
    """A uid names one dashboard, an id one panel, a ref id one query, and a title one panel of a row's worth."""
    assert all(uid.startswith("model-exporter-") and len(uid) <= 40 for uid in boards)
    for board in boards.values():
        rows = [one for one in board["panels"] if one["type"] == "row"]
        ids = Counter(one["id"] for one in [*panels(board), *rows])
        assert set(ids.values()) == {1}
        titles = Counter(one["title"] for one in panels(board))
        assert set(titles.values()) == {1}, titles
        for panel in panels(board):
            refs = [target["refId"] for target in panel.get("targets", [])]
            assert len(refs) == len(set(refs))


def test_versions(boards):
    """The classic schema that Grafana 10.4 reads, and on every panel the version that keeps XY charts whole."""
    for board in boards.values():
        assert (board["schemaVersion"], board["id"], board["version"]) == (39, None, 1)
        assert {panel["pluginVersion"] for panel in panels(board)} == {"11.6.0"}


def test_panels_fit_and_do_not_overlap(boards):
    """Within 24 columns every cell belongs to one panel; folded rows hold their panels, others do not."""
    for board in boards.values():
        taken = Counter()
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            for x in range(place["x"], place["x"] + place["w"]):
                taken.update((x, y) for y in range(place["y"], place["y"] + place["h"]))
            if panel["type"] == "row":
                assert bool(panel["panels"]) == panel["collapsed"]
        assert set(taken.values()) == {1}


def test_no_leftovers(boards):
    """No fixed data source, no input to be asked for, nothing that its author had chosen."""
    text = json.dumps(list(boards.values()))
    assert "__inputs" not in text
    assert "${DS_" not in text
    assert '"uid": null' not in text
