"""The join against its rules written as a loop over dictionaries, for any stream, cut into cycles anywhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import UNKNOWN
from exporter.join import Join, Made, Told
from exporter.state import State, table
from tests.ledgers import keys
from tests.oracle import Oracle

# Few ids and few moments, so that rows meet.
IDS = st.integers(0, 4)
PREDICTIONS = st.tuples(st.just("p"), IDS, st.integers(0, 3), st.integers(0, 1), st.integers(0, 2))
LABELS = st.tuples(st.just("l"), IDS, st.integers(0, 6), st.integers(0, 2))
STREAMS = st.lists(st.one_of(PREDICTIONS, LABELS, LABELS), max_size=40)
CUTS = st.lists(st.integers(1, 12), min_size=1, max_size=12)


class Joining:
    """A Join over tables of tiny segments, with its scored rows added up."""

    def __init__(self, horizon: float) -> None:
        self.state = State(None)
        self.join = Join(self.state.table("made", 16), self.state.table("early", 8), horizon)
        self.net: Counter = Counter()
        self.retracted: Counter = Counter()
        self.pending: Counter = Counter()
        self.results: Counter = Counter()
        self.scored: list = []

    def step(self, made, told):
        group = np.array([row[2] for row in made], np.int32)
        joined = self.join.step(
            Made(
                key=keys(row[0] for row in made),
                time=np.array([row[1] for row in made], float),
                group=group,
                predicted=np.array([row[3] for row in made], np.int32),
                score=np.zeros(len(made)),
            ),
            Told(
                key=keys(row[0] for row in told),
                time=np.array([row[1] for row in told], float),
                actual=np.array([row[2] for row in told], np.int32),
            ),
        )
        scored = joined.scored
        for sign, *cell in zip(
            *(column.tolist() for column in (scored.sign, scored.group, scored.actual, scored.predicted)), strict=True
        ):
            self.net[tuple(cell)] += sign
            self.retracted[tuple(cell)] += sign < 0
        self.scored += list(zip(scored.sign.tolist(), scored.actual.tolist(), scored.label_time.tolist(), strict=True))
        self.pending.update(group[joined.new].tolist())
        self.pending.subtract(joined.answered_group.tolist())
        self.results.update(joined.results)
        self.state.commit({})

    def label(self, one):
        slot, row = self.join.remembered.look(keys([one]))
        actual = int(row["actual"][0]) if slot[0] >= 0 else UNKNOWN
        return None if actual == UNKNOWN else actual


def cycles(stream, cuts):
    """The stream as (predictions, labels) of each cycle, with the sizes in *cuts* over and over."""
    at = turn = 0
    while at < len(stream):
        part = stream[at : at + cuts[turn % len(cuts)]]
        at, turn = at + len(part), turn + 1
        yield [row[1:] for row in part if row[0] == "p"], [row[1:] for row in part if row[0] == "l"]


@pytest.fixture(autouse=True)
def tiny_segments(monkeypatch):
    monkeypatch.setattr(table, "SMALLEST", 8)


@settings(max_examples=300, deadline=None)
@given(STREAMS, CUTS, st.sampled_from([2.0, 4.0, np.inf]))
def test_the_join_does_what_its_rules_say(stream, cuts, horizon):
    """Counts, retractions, pending, held, final labels and results are those of the rules, row by row."""
    joining, oracle = Joining(horizon), Oracle(horizon)
    for made, told in cycles(stream, cuts):
        joining.step(made, told)
        oracle.step(made, told)
        assert joining.join.held == len(oracle.early)
    assert +joining.net == oracle.net
    assert +joining.retracted == +oracle.retracted
    assert +joining.pending == oracle.pending
    assert +joining.results == +oracle.results
    assert {one: joining.label(one) for one in range(5)} == {
        one: oracle.known[one].actual if one in oracle.known else None for one in range(5)
    }


@settings(deadline=None)
@given(STREAMS, CUTS, CUTS)
def test_cuts_do_not_matter(stream, one_way, another):
    """Without a horizon, counts, pending, held and labels are the same however the stream is cut into cycles."""
    results = []
    for cuts in (one_way, another, [1], [len(stream) or 1]):
        joining = Joining(np.inf)
        for made, told in cycles(stream, cuts):
            joining.step(made, told)
        results.append((+joining.net, +joining.pending, joining.join.held, [joining.label(one) for one in range(5)]))
    assert all(result == results[0] for result in results)


@settings(deadline=None)
@given(STREAMS, CUTS)
def test_what_is_taken_back_was_counted_with_the_same_label_and_time(stream, cuts):
    """Every row of sign -1 undoes one of sign +1 with the very label and label time that it was counted with."""
    joining = Joining(np.inf)
    for made, told in cycles(stream, cuts):
        joining.step(made, told)
    standing: Counter = Counter()
    for sign, *what in joining.scored:
        standing[tuple(what)] += sign
        assert standing[tuple(what)] >= 0
