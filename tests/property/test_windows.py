"""Windows against brute force over all rows, for rows in any order, taken back at any time, saved at any time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import Scored
from exporter.last_rows import CountWindow
from exporter.windows import TimeWindow, Totals

SIZE = 3
GROUPS = 3
CELLS = st.integers(0, SIZE * GROUPS - 1)
TIMES = st.one_of(st.integers(0, 12).map(float), st.floats(0, 12), st.floats(1.7e9, 1.7e9 + 12))
ROWS = st.lists(st.tuples(CELLS, st.sampled_from([1.0, -1.0, 2.0]), TIMES), max_size=20)
STEPS = st.lists(st.tuples(ROWS, st.one_of(st.none(), TIMES), st.booleans()), max_size=10)


@pytest.fixture(autouse=True)
def few_buckets(monkeypatch):
    """Five buckets make a window, so that rows fall out of it by the dozen."""
    monkeypatch.setattr(TimeWindow, "resolution", 5)


@settings(max_examples=300)
@given(STEPS, st.sampled_from([2.5, 5.0, 12.0]))
def test_a_time_window_sums_the_rows_of_its_buckets(steps, seconds):
    """Inside are the rows whose bucket is among the last ones, whatever came when, restarts included."""
    window, saved, rows, clock = TimeWindow(seconds, SIZE), {}, [], None
    width = seconds / TimeWindow.resolution
    for came, now, restart in steps:
        window.add(*(np.array([row[at] for row in came], kind) for at, kind in enumerate((int, float, float))))
        rows += came
        if now is not None:
            window.advance(now)
            clock = now if clock is None else max(clock, now)
        if restart:
            saved.update(window.changes())
            window = TimeWindow(seconds, SIZE)
            for name, blob in saved.items():
                if blob is not None:
                    window.load(name, blob)
            if clock is not None:
                window.advance(clock)
        oldest = -np.inf if clock is None else np.floor(clock / width) - TimeWindow.resolution
        expected = np.zeros(SIZE * GROUPS)
        for cell, weight, time in rows:
            expected[cell] += weight if np.floor(time / width) > oldest else 0
        got = np.concatenate([window.of(group) for group in range(GROUPS)])
        assert got.tolist() == expected.tolist()


def _signs(rows):
    weight = np.array([row[1] for row in rows], float)
    return weight > 0, weight < 0


@given(STEPS)
def test_totals_add_up_however_they_are_cut(steps):
    """Sums per cell are those of all rows at once, saved and loaded or not."""
    totals, saved, everything = Totals(SIZE), {}, []
    for came, _, restart in steps:
        everything += came
        cell, weight = np.array([row[0] for row in came], int), np.array([abs(row[1]) for row in came], float)
        sides = [np.bincount(cell, np.where(sign, weight, 0.0), SIZE * GROUPS) for sign in _signs(came)]
        totals.add(np.arange(SIZE * GROUPS), *sides)
        saved.update(totals.changes())
        if restart:
            totals = Totals(SIZE)
            for name, blob in saved.items():
                totals.load(name, blob)
    for side, sign in enumerate((1, -1)):
        expected = np.zeros(SIZE * GROUPS)
        for cell, weight, _ in everything:
            expected[cell] += max(0.0, sign * weight)
        got = np.concatenate([totals.of(group)[side] for group in range(GROUPS)])
        assert got.tolist() == expected.tolist()


def _scored(rows):
    return Scored(
        sign=np.array([row[0] for row in rows], np.int8),
        slot=np.array([row[1] for row in rows], np.int64),
        group=np.array([row[2] for row in rows], np.int32),
        actual=np.array([row[3] for row in rows], np.int32),
        predicted=np.zeros(len(rows), np.int32),
        score=np.zeros(len(rows)),
        time=np.zeros(len(rows)),
        label_time=np.array([row[4] for row in rows], float),
    )


EVENTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.integers(0, 20)), max_size=40)
"""A label (its class and time) for a prediction (its slot); a second one for the same slot, not older, corrects it."""


@given(EVENTS, st.integers(1, 5), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.booleans())
def test_the_last_n_are_those_of_a_plain_list(events, size, cuts, restart):
    """A label enters in the order of time, what it corrects leaves, the oldest leave if a group has more than N."""
    window, counts, saved = CountWindow(size), np.zeros((2, 3)), {}
    standing: dict = {}
    plain: dict[int, list] = {0: [], 1: []}
    at = turn = 0
    while at < len(events):
        rows = []
        for slot, actual, time in events[at : at + cuts[turn % len(cuts)]]:
            group, (before, since) = slot % 2, standing.get(slot, (None, 0))
            if before is not None:
                rows.append((-1, slot, group, before, since))
                plain[group] = [row for row in plain[group] if row[0] != slot]
            standing[slot] = actual, max(since, time)
            rows.append((1, slot, group, *standing[slot]))
            plain[group] = [*plain[group], (slot, *standing[slot])]
        plain = {group: sorted(kept, key=lambda row: row[2])[-size:] for group, kept in plain.items()}
        at, turn = at + cuts[turn % len(cuts)], turn + 1
        entered, left = window.push(_scored(rows))
        np.add.at(counts, (entered.group, entered.actual), 1)
        np.add.at(counts, (left.group, left.actual), -1)
        saved.update(window.changes())
        if restart:
            window = CountWindow(size)
            for name, blob in saved.items():
                window.load(name, blob)
        for group, kept in plain.items():
            inside = window.all()
            mine = inside.group == group
            assert list(zip(inside.slot[mine], inside.actual[mine], inside.label_time[mine], strict=True)) == kept
            assert counts[group].tolist() == np.bincount([row[1] for row in kept], minlength=3).tolist()


LONG = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=60)
"""The group and the time of labels of which none corrects another."""


@given(st.lists(LONG, max_size=4), st.integers(1, 3))
def test_the_last_n_of_long_batches_are_those_of_a_plain_list(batches, size):
    """Rows that are passed over without a look at their group would not have entered; ties included."""
    window = CountWindow(size)
    plain: dict[int, list] = {0: [], 1: [], 2: []}
    slot = 0
    for batch in batches:
        rows = []
        for group, time in batch:
            rows.append((1, slot, group, 0, time))
            plain[group].append((slot, time))
            slot += 1
        plain = {group: sorted(kept, key=lambda row: row[1])[-size:] for group, kept in plain.items()}
        before = set(window.all().slot.tolist())
        entered, left = window.push(_scored(rows))
        inside = window.all()
        assert (before | set(entered.slot.tolist())) - set(left.slot.tolist()) == set(inside.slot.tolist())
        for group, kept in plain.items():
            mine = inside.group == group
            assert list(zip(inside.slot[mine], inside.label_time[mine], strict=True)) == kept
