"""Remembered rows against a dictionary, and a whole pipeline against the rules, through restarts and kills."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.contracts import CHANGE, RECORD, UNKNOWN
from exporter.pipeline import Pipeline
from exporter.state import State, table
from tests.ledgers import L, P, config, keys, labels, model, of_model, predictions, sample, samples, shown, stored
from tests.oracle import Oracle

NAMES = st.integers(0, 60)


class TableMachine(RuleBasedStateMachine):
    """A table of tiny segments in a state folder, beside a dictionary of what is committed and one of what is not."""

    @initialize(largest=st.sampled_from([8, 16, 64]), smallest=st.sampled_from([4, 8]))
    def begin(self, largest, smallest):
        self.folder = tempfile.TemporaryDirectory()
        self.largest = largest
        self.usual, table.SMALLEST = table.SMALLEST, smallest
        self.state = State(Path(self.folder.name))
        self.rows: dict = {}
        self.waiting: dict = {}
        self.committed: dict = {}
        self.gone: set = set()

    @property
    def table(self):
        return self.state.table("t", self.largest)

    @rule(names=st.lists(NAMES, max_size=20, unique=True), time=st.integers(0, 100))
    def append(self, names, time):
        new = [name for name in names if name not in self.rows]
        records = np.zeros(len(new), RECORD)
        records["key"], records["time"], records["actual"] = keys(new), time, UNKNOWN
        slots = stored(self.table, records)
        for name, slot in zip(new, slots.tolist(), strict=True):
            self.rows[name] = [slot, float(time), UNKNOWN]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), actual=st.integers(0, 5))
    def relabel(self, data, actual):
        names = data.draw(st.lists(st.sampled_from(sorted(set(self.rows) - set(self.waiting)) or [None]), unique=True))
        names = [name for name in names if name is not None]
        change = np.zeros(len(names), CHANGE)
        change["slot"], change["actual"] = [self.rows[name][0] for name in names], actual
        self.table.relabel(change)
        for name in names:
            self.waiting[name] = actual

    @rule(rows=st.integers(0, 40))
    def reserve(self, rows):
        self.table.reserve(rows)

    @rule(before=st.integers(0, 110), most=st.integers(5, 60))
    def forget(self, before, most):
        labels = {row[0]: self.waiting.get(name, row[2]) for name, row in self.rows.items()}
        names = {row[0]: name for name, row in self.rows.items()}
        slot = min(names, default=0)
        for rows, due in self.table.forget(float(before), most):
            for row in rows:
                assert row["actual"] == labels[slot]
                assert not due or row["time"] < before
                del self.rows[names[slot]]
                self.waiting.pop(names[slot], None)
                slot += 1
        assert self.table.rows == len(self.rows)

    @rule()
    def commit(self):
        for name, actual in self.waiting.items():
            self.rows[name][2] = actual
        self.waiting.clear()
        self.state.commit({})
        self.committed = {name: list(row) for name, row in self.rows.items()}

    @rule(kill=st.booleans())
    def restart(self, kill):
        if kill:
            self.state._database.close()
            os.close(self.state._lock)
            self.state._lock = None
        else:
            self.state.close()
        self.state = State(Path(self.folder.name))
        assert self.state.damaged is None
        self.rows = {name: list(row) for name, row in self.committed.items()}
        self.waiting.clear()

    @invariant()
    def all_is_found_as_it_is(self):
        if not hasattr(self, "state"):
            return
        slots, read = self.table.look(keys(range(62)))
        assert slots.tolist() == [self.rows[name][0] if name in self.rows else -1 for name in range(62)]
        known = [name for name in range(62) if name in self.rows]
        read = read[slots >= 0]
        assert read["key"].tolist() == keys(known).tolist()
        assert read["time"].tolist() == [self.rows[name][1] for name in known]
        for name, actual in zip(known, read["actual"].tolist(), strict=True):
            assert actual in {self.rows[name][2], self.waiting.get(name)}

    def teardown(self):
        if hasattr(self, "state"):
            table.SMALLEST = self.usual
            self.state._let_go()
            self.folder.cleanup()


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


IDS = st.integers(0, 7)
CLASSES = st.sampled_from("abc")
CYCLE = st.tuples(
    st.lists(st.tuples(IDS, st.integers(0, 60), st.sampled_from("12"), CLASSES), max_size=8),
    st.lists(st.tuples(IDS, st.integers(0, 120), CLASSES), max_size=8),
    st.sampled_from(["go on", "go on", "close", "kill"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CYCLE, max_size=10), st.sampled_from([50.0, 1e6]))
def test_a_pipeline_shows_what_the_rules_say(cycles, horizon):
    """Counters, retractions, joins and windows are those of the oracle, and no restart ever changes a byte of them."""
    setting = config(model(windows=["60s", "last 3"], horizon=horizon, retire_after=1e9))
    oracle = Oracle(horizon)
    with tempfile.TemporaryDirectory() as name:
        state = State(Path(name))
        pipeline, undisturbed = Pipeline(setting, state), Pipeline(setting, State(None))
        for number, (made, told, end) in enumerate(cycles):
            oracle.step([(one, time, group, predicted) for one, time, group, predicted in made], told)
            deliveries = [
                predictions(*(P(one, time, predicted, group) for one, time, group, predicted in made), cursor=number),
                labels(*(L(*row) for row in told), cursor=number),
            ]
            pipeline.absorb(deliveries)
            undisturbed.absorb(deliveries)
            before = shown(pipeline)
            assert before.text == shown(undisturbed).text
            if end != "go on":
                _end(state, end)
                state = State(Path(name))
                pipeline = Pipeline(setting, state)
                assert shown(pipeline).text == before.text
                assert pipeline.cursor("m", "labels") == number
            _check(samples(before), oracle)
            _check_windows(samples(before), oracle, pipeline.ledgers["m"].clock)
        state.close()


def _end(state, how):
    if how == "close":
        state.close()
    else:
        state._database.close()
        os.close(state._lock)
        state._lock = None


def _check(found, oracle):
    for group in {group for _, group, _ in oracle.made.values()}:
        for side, counts in (("", oracle.added), ("_retracted", oracle.retracted)):
            for actual in "abc":
                for predicted in "abc":
                    at = sample(f"model_confusion{side}_total", version=group, actual=actual, predicted=predicted)
                    assert found[at] == counts[group, actual, predicted]
    for word in ("matched", "corrected", "repeated", "outdated", "late", "early", "duplicate"):
        assert found[of_model("model_joins_total", result=word)] == oracle.results[word]
    assert found["model_orphan_labels", frozenset({("model", "m")})] == len(oracle.early)
    if oracle.horizon > 1e5:
        for group in {group for _, group, _ in oracle.made.values()}:
            assert found[sample("model_pending_predictions", version=group)] == oracle.pending[group]


def _check_windows(found, oracle, clock):
    """Windows hold the labels that stand: by the bucket of their time, or the three newest of their version."""
    for group in {group for _, group, _ in oracle.made.values()}:
        standing: list = []
        for sign, one, actual, time in oracle.scored:
            if oracle.made[one][1] == group:
                standing = [row for row in standing if row[0] != one]
                standing += [(one, actual, time)] if sign > 0 else []
        width = 60 / 360
        inside = [row for row in standing if math.floor(row[2] / width) > math.floor(clock / width) - 360]
        for name, rows in (("60s", inside), ("last 3", sorted(standing, key=lambda row: row[2])[-3:])):
            assert found[sample("model_window_labelled_predictions", version=group, window=name)] == len(rows)
            if rows:
                right = sum(oracle.made[one][2] == actual for one, actual, _ in rows)
                at = sample("model_accuracy_ratio", version=group, window=name)
                assert math.isclose(found[at], right / len(rows), abs_tol=1e-12)
