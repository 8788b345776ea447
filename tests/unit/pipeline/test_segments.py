"""Attributes of predictions: which groups have a code of their own, and what families see of them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, SegmentSpec
from exporter.pipeline import Pipeline
from exporter.pipeline.segments import WAITING, Groups
from exporter.state import State
from tests.ledgers import column, config, model
from tests.logs import Logs

SEGMENTS = (SegmentSpec(name="region", top=2, min_group_size=3), SegmentSpec(name="device", min_group_size=1))
SPEC = ModelSpec(name="m", task="multiclass", classes=("a", "b", "c"), segments=SEGMENTS)


def codes(groups, *names):
    return groups.codes(column(names)).tolist()


def test_a_group_has_a_code_once_it_is_large_enough():
    """What came before stays in `other`, and the row that makes the group large enough is the first of its own."""
    groups = Groups(SEGMENTS[0])
    assert codes(groups, "DE", "FR", "DE") == [0, 0, 0]
    assert codes(groups, "DE", "FR", "DE") == [1, 0, 1]
    assert codes(groups, "FR", "DE") == [2, 1]
    assert groups.vocabulary.names == ["other", "DE", "FR"]


def test_groups_beyond_the_top_are_other():
    """The first ones that are large enough have a code; in one batch, too, in the order of their rows."""
    groups = Groups(SEGMENTS[0])
    assert codes(groups, *"ABABABCCC", "A") == [0, 0, 0, 0, 1, 2, 0, 0, 0, 1]
    assert codes(groups, *"CCCC") == [0] * 4
    assert not groups.waiting


def test_a_group_called_other_is_other():
    """It shares the code of all that have none."""
    groups = Groups(SegmentSpec(name="x", min_group_size=1))
    assert codes(groups, "other", "a", "other") == [0, 1, 0]


def test_names_that_never_grow_large_take_bounded_room():
    """Of a column of ids only some are counted at a time, and a group that is really large still gets its code."""
    groups = Groups(SegmentSpec(name="x", min_group_size=50))
    for start in range(0, 20_000, 500):
        names = [str(number) for number in range(start, start + 500)] + ["large"] * 10
        groups.codes(column(names))
        assert len(groups.waiting) <= WAITING
    assert groups.vocabulary.names == ["other", "large"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("ABCDE"), max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_codes_do_not_depend_on_how_rows_are_cut(names, cuts):
    """The same rows in any batches get the same codes."""
    at_once, in_parts = Groups(SEGMENTS[0]), Groups(SEGMENTS[0])
    edges = [0, *sorted(min(cut, len(names)) for cut in cuts), len(names)]
    parts = [codes(in_parts, *names[start:stop]) for start, stop in pairwise(edges)]
    assert codes(at_once, *names) == [code for part in parts for code in part]
    assert at_once.vocabulary.names == in_parts.vocabulary.names


@pytest.fixture
def logs():
    return Logs(SPEC, segments=("region", "device"))


def setting():
    return config(model("m", segments=SEGMENTS, windows=["60s", "last 5"]))


def seen(pipeline):
    """Counts of (sign, names of both groups) of all labelled rows that families are given."""
    found = Counter()
    names = pipeline.ledgers["m"].names
    for tally in pipeline.ledgers["m"].tallies:
        if type(tally.family).__name__ == "Quality":
            original = tally.family.cells

            def watched(rows, original=original):
                for sign, pair in zip(rows.sign.tolist(), rows.made["segments"].tolist(), strict=True):
                    found[sign, names["segment:region"][pair[0]], names["segment:device"][pair[1]]] += 1
                return original(rows)

            tally.family.cells = watched
    return found


def test_codes_reach_the_families_with_the_label(tmp_path, logs):
    """A labelled row carries the groups that its prediction was remembered with, over restarts and corrections."""
    rows = [{"id": n, "predicted": "a", "region": "DE", "device": "x" if n % 2 else None} for n in range(6)]
    state = State(tmp_path)
    pipeline = Pipeline(setting(), state)
    pipeline.absorb([logs.predictions(*rows[:4])])
    state._let_go()
    state = State(tmp_path)
    pipeline = Pipeline(setting(), state)
    pipeline.absorb([logs.predictions(*rows[4:])])
    found = seen(pipeline)
    pipeline.ledgers["m"].counted.clear()
    pipeline.ledgers["m"].tallies[0].timed.clear()
    pipeline.absorb([logs.labels({"id": 1, "actual": "a"}, {"id": 4, "actual": "a"}, {"id": 5, "actual": "a"})])
    assert found == {(1, "other", "x"): 1, (1, "DE", "unknown"): 1, (1, "DE", "x"): 1}
    pipeline.absorb([logs.labels({"id": 5, "actual": "b", "time": 1e9 + 9})])
    assert (found[-1, "DE", "x"], found[1, "DE", "x"]) == (1, 2)
    state.close()


def test_traffic_carries_groups_and_scores(logs):
    """Families of predictions see the groups, the score and the probabilities, labelled or not."""
    spec = ModelSpec(
        name="m", task="multiclass", classes=("a", "b", "c"), probabilities=3, top_k=(2,), segments=SEGMENTS
    )
    logs = Logs(spec, "probabilities", segments=("region", "device"))
    pipeline = Pipeline(config(model("m", segments=SEGMENTS, probabilities=3, top_k=(2,))), State(None))
    traffic = next(one for one in pipeline.ledgers["m"].tallies if type(one.family).__name__ == "TrafficFamily")
    given_rows = []
    cells = traffic.family.cells
    traffic.family.cells = lambda rows: given_rows.append(rows) or cells(rows)
    pipeline.absorb(
        [
            logs.predictions(
                {"id": 1, "predicted": "b", "probabilities": [0.2, 0.7, 0.1], "region": "DE", "device": "x"},
                {"id": 2, "predicted": "b", "region": "DE", "device": "y"},
                {"id": 3, "error": "timeout", "region": "DE", "device": "y"},
            )
        ]
    )
    (rows,) = given_rows
    np.testing.assert_array_equal(rows.score, [0.7, np.nan, np.nan])
    np.testing.assert_array_equal(rows.made["probabilities"][:2], [[0.2, 0.7, 0.1], [np.nan] * 3])
    assert rows.made["segments"].tolist() == [[0, 1], [0, 2], [1, 2]]


def test_other_attributes_begin_anew(tmp_path, logs):
    """Attributes are part of what is remembered: with others the counts begin anew, with other sizes they go on."""
    state = State(tmp_path)
    Pipeline(setting(), state).absorb([logs.predictions({"id": 1, "predicted": "a"})])
    state.close()
    larger = tuple(msgspec.structs.replace(one, min_group_size=100) for one in SEGMENTS)
    for segments, remembered in ((larger, 1), (SEGMENTS[:1], 0), (SEGMENTS, 0)):
        state = State(tmp_path)
        pipeline = Pipeline(config(model("m", segments=segments)), state)
        assert pipeline.ledgers["m"].remembered == remembered
        state.close()
