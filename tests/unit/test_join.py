"""What becomes of a label or a prediction at the join, one rule at a time."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.contracts import UNKNOWN
from exporter.join import Join, Made, Told
from exporter.state import State
from tests.ledgers import keys

HORIZON = 1000.0


class Joining:
    def __init__(self) -> None:
        self.state = State(None)
        self.join = Join(self.state.table("made"), self.state.table("early"), HORIZON)

    def step(self, made=(), told=()):
        """Predictions and labels, (id, time, class) each; returns scored rows and the results that occurred."""
        joined = self.join.step(
            Made(
                key=keys(row[0] for row in made),
                time=np.array([row[1] for row in made], float),
                group=np.zeros(len(made), np.int32),
                predicted=np.array([row[2] for row in made], np.int32),
                score=np.array([0.25 * row[2] for row in made], float),
            ),
            Told(
                key=keys(row[0] for row in told),
                time=np.array([row[1] for row in told], float),
                actual=np.array([row[2] for row in told], np.int32),
            ),
        )
        self.state.commit({})
        scored = joined.scored
        rows = list(zip(scored.sign.tolist(), scored.actual.tolist(), scored.label_time.tolist(), strict=True))
        return rows, dict(+joined.results), joined


@pytest.fixture
def joining():
    return Joining()


def test_the_first_label_is_counted(joining):
    """A label counts once, with all that its prediction was made with."""
    rows, results, _ = joining.step([("x", 5.0, 2)])
    assert (rows, results) == ([], {})
    rows, results, joined = joining.step(told=[("x", 8.0, 1)])
    assert (rows, results) == ([(1, 1, 8.0)], {"matched": 1})
    assert (joined.scored.predicted[0], joined.scored.score[0], joined.scored.time[0]) == (2, 0.5, 5.0)
    assert joined.answered_time.tolist() == [5.0]


def test_a_different_label_corrects(joining):
    """The old result is taken back with its own label time, before the new one is counted."""
    joining.step([("x", 5.0, 2)], [("x", 8.0, 1)])
    rows, results, joined = joining.step(told=[("x", 9.0, 0)])
    assert (rows, results) == ([(-1, 1, 8.0), (1, 0, 9.0)], {"corrected": 1})
    assert not len(joined.answered_time)


def test_a_correction_may_be_as_old_as_the_label(joining):
    """Of two labels of the same time the one that came last stands."""
    joining.step([("x", 5.0, 2)], [("x", 8.0, 1)])
    assert joining.step(told=[("x", 8.0, 0)])[1] == {"corrected": 1}


def test_a_repeated_label_has_no_effect(joining):
    """The same label again counts as repeated only, however old it is."""
    joining.step([("x", 5.0, 2)], [("x", 8.0, 1)])
    rows, results, _ = joining.step(told=[("x", 9.0, 1), ("x", 7.0, 1)])
    assert (rows, results) == ([], {"repeated": 2})


def test_an_older_label_is_outdated(joining):
    """A different label that is older than the one that stands, or than its last repetition, is passed over."""
    joining.step([("x", 5.0, 2)], [("x", 8.0, 1), ("x", 20.0, 1)])
    rows, results, _ = joining.step(told=[("x", 19.0, 0)])
    assert (rows, results) == ([], {"outdated": 1})


@pytest.mark.parametrize("gap", [0.1, 1 / 3, 1234.567891, 987654.4321])
def test_a_confirmed_label_can_be_corrected_at_the_very_time_of_its_confirmation(gap):
    """The time of a repetition is remembered coarsely, but never as later than it was."""
    joining = Joining()
    joining.join.horizon = np.inf
    since = 1.7e9 + 0.123
    joining.step([("x", since, 2)], [("x", since, 1), ("x", since + gap, 1)])
    assert joining.step(told=[("x", since + gap, 0)])[1] == {"corrected": 1}


def test_a_label_after_the_horizon_is_late(joining):
    """A label is late by event time, to the second; at the horizon itself it still counts."""
    joining.step([("x", 5.0, 2), ("y", 5.0, 2)])
    rows, results, _ = joining.step(told=[("x", 5.0 + HORIZON, 1), ("y", 5.5 + HORIZON, 1)])
    assert (rows, results) == ([(1, 1, 5.0 + HORIZON)], {"matched": 1, "late": 1})


def test_a_label_before_its_prediction_waits(joining):
    """It is held, and counted in the very step that brings the prediction."""
    assert joining.step(told=[("x", 8.0, 1)])[1] == {"early": 1}
    assert joining.join.held == 1
    rows, results, _ = joining.step([("x", 5.0, 2)])
    assert (rows, results) == ([(1, 1, 8.0)], {"matched": 1})
    assert joining.join.held == 0


def test_a_waiting_label_can_be_corrected_and_repeated(joining):
    """Labels that wait obey the same rules, and stand as they would have without waiting."""
    _, results, _ = joining.step(told=[("x", 8.0, 1), ("x", 9.0, 0), ("x", 12.0, 0), ("x", 10.0, 2)])
    assert results == {"early": 2, "repeated": 1, "outdated": 1}
    assert joining.join.held == 1
    rows, results, _ = joining.step([("x", 5.0, 2)])
    assert (rows, results) == ([(1, 0, 9.0)], {"matched": 1, "repeated": 1})
    assert joining.step(told=[("x", 11.0, 1)])[1] == {"outdated": 1}


def test_a_waiting_label_may_turn_out_to_be_late(joining):
    """A held label that is out of its prediction's horizon is dropped when the prediction comes."""
    joining.step(told=[("x", 5000.0, 1)])
    assert joining.step([("x", 5.0, 2)])[:2] == ([], {"late": 1})
    assert joining.join.held == 0


def test_the_first_prediction_stands(joining):
    """A repeated id is a duplicate, within a step and between steps."""
    _, results, joined = joining.step([("x", 5.0, 2), ("y", 5.0, 0), ("x", 5.0, 1)])
    assert (joined.new.tolist(), results) == ([0, 1], {"duplicate": 1})
    _, results, joined = joining.step([("x", 6.0, 0)], [("x", 7.0, 1)])
    assert (joined.new.tolist(), results) == ([], {"duplicate": 1, "matched": 1})
    assert joined.scored.predicted.tolist() == [2]


def test_many_labels_of_one_prediction_in_one_step(joining):
    """They are taken one after the other, each told from the one before."""
    labels = [("x", float(time), time % 2) for time in range(10, 20)]
    rows, results, _ = joining.step([("x", 5.0, 2)], labels)
    assert results == {"matched": 1, "corrected": 9}
    assert sum(sign for sign, *_ in rows) == 1
    assert rows[-1] == (1, 1, 19.0)


def test_ids_are_told_apart_by_all_bits(joining):
    """Keys that share one half are different ids."""
    key = np.array([[7, 1], [7, 2], [8, 1], [7, 1]], np.uint64)
    made = Made(
        key=key, time=np.zeros(4), group=np.zeros(4, np.int32), predicted=np.zeros(4, np.int32), score=np.zeros(4)
    )
    none = Told(key=key[:0], time=np.empty(0), actual=np.empty(0, np.int32))
    assert joining.join.step(made, none).new.tolist() == [0, 1, 2]


def test_nothing_in_nothing_out(joining):
    """An empty step is harmless."""
    assert joining.step()[:2] == ([], {})


def test_what_is_forgotten_is_told(monkeypatch):
    """Unlabelled predictions given up for room count as lost, answered or due ones do not."""
    monkeypatch.setattr("exporter.state.table.SMALLEST", 8)
    joining = Joining()
    joining.join.remembered = joining.state.table("small", 8)
    many = [(at, float(at), 0) for at in range(12)]  # 4 rows fit into a segment
    joining.step(many, [(0, 1.0, 1), (5, 6.0, 1)])
    assert joining.join.remembered.rows == 12
    lost, _ = joining.join.forget(before=2.0, most=5, most_early=100)
    assert joining.join.remembered.rows == 4
    assert lost == 5  # 2, 3, 4, 6 and 7: 0 and 5 had labels, 1 was due
    assert joining.step(told=[(7, 8.0, 1)])[1] == {"early": 1}


def test_labels_of_the_same_cycle_are_seen_when_rows_are_forgotten(monkeypatch):
    """A prediction answered, or a held label taken, since the last commit does not count as lost."""
    monkeypatch.setattr("exporter.state.table.SMALLEST", 8)
    joining = Joining()
    joining.join.remembered, joining.join.early = joining.state.table("one", 8), joining.state.table("two", 8)
    joining.step([(at, 10.0, 0) for at in range(6)], [(at, 10.0, 1) for at in range(10, 16)])
    commit, joining.state.commit = joining.state.commit, lambda blobs: None
    joining.step([(at, 10.0, 0) for at in range(10, 14)], [(at, 10.0, 1) for at in range(3)])
    assert joining.join.held == 2
    assert joining.join.forget(before=0.0, most=4, most_early=2) == (3, 0)  # 3, 4 and 5
    assert joining.join.held == 2
    commit({})
    assert joining.join.early.rows == 2
    assert UNKNOWN not in joining.join.early.look(keys([14, 15]))[1]["actual"]


def test_lost_waiting_labels_are_told(monkeypatch):
    """Held labels that go for room count as unclaimed and are held no more."""
    monkeypatch.setattr("exporter.state.table.SMALLEST", 8)
    joining = Joining()
    joining.join.early = joining.state.table("two", 8)
    joining.step(told=[(at, 10.0, 1) for at in range(10)])
    assert joining.join.forget(before=0.0, most=100, most_early=3) == (0, 8)
    assert joining.join.held == 2
