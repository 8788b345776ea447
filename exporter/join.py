"""When a label meets its prediction, or does not: one vectorised pass per cycle over what came.

The rules, each counted under a `result`:

    matched     the first label of a prediction: counted
    corrected   a different label, not older than the last one: the old result is taken back, the new one counted
    repeated    the same label again: no effect
    outdated    a different label, but older than the one that stands: no effect
    late        a label that came more than `horizon` after its prediction (event time): no effect
    early       a label whose prediction is not known yet: held, and joined when the prediction comes
    duplicate   a prediction whose id is known: the first one stands

The outcome does not depend on how the rows were cut into batches, only on their order; with one exception.  Of
labels that wait, one is held per id, by the same rules.  Should it turn out to be late when its prediction comes,
no other label of that id is known any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import PLAIN, UNKNOWN, Codes, Floats, Keys, Layout, Remembered, Scored, picked

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Predictions that were made; columns of shape (n,), codes of known names; `extra` is `Layout.made`."""

    key: Keys
    time: Floats
    group: Codes
    predicted: Codes
    score: Floats
    extra: NDArray[np.void] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Labels that were told; columns of shape (n,); `truth` is `Layout.truth`."""

    key: Keys
    time: Floats
    actual: Codes
    truth: NDArray[np.void] | None = None

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What one pass gave.

    `new` are the positions of the predictions that were new; `scored` is what families count; `answered_group`
    and `answered_time` (event time of the prediction) belong to the predictions that got their first label.
    """

    new: Index
    scored: Scored
    answered_group: Codes
    answered_time: Floats
    results: Counter[str]


class Join:
    """Joins by key over what is *remembered*; *early* holds labels that wait for their prediction.

    At most one `step` between two commits of the state: a step does not see the labels of one before it.
    """

    def __init__(
        self, remembered: Remembered, early: Remembered, horizon: float, held: int = 0, layout: Layout = PLAIN
    ) -> None:
        self.remembered = remembered
        self.early = early
        self.horizon = horizon
        self.layout = layout
        self.held = held
        """How many labels wait for their prediction."""

    def step(self, made: Made, told: Told) -> Joined:
        """Take in predictions, then labels."""
        results: Counter[str] = Counter()
        new = self._remember(made, results)
        waiting = self._waiting(made.key[new])
        labels = _both(waiting, told)
        slot, record = self.remembered.look(labels.key)
        known = slot >= 0
        if not known.all():
            self._hold(_at(labels, np.flatnonzero(~known)), results)
            labels, slot, record = _at(labels, np.flatnonzero(known)), slot[known], picked(record, known)
        scored, group, time = self._score(labels, slot, record, results)
        return Joined(new=new, scored=scored, answered_group=group, answered_time=time, results=results)

    # --- predictions -----------------------------------------------------------------------------

    def _remember(self, made: Made, results: Counter[str]) -> Index:
        records = np.zeros(len(made.key), self.layout.record)
        for name in ("key", "time", "group", "predicted", "score"):
            records[name] = getattr(made, name)
        if made.extra is not None:
            records["made"] = made.extra
        records["actual"] = UNKNOWN
        fresh = self.remembered.remember(records)
        results["duplicate"] += len(records) - len(fresh)
        return fresh

    def _waiting(self, keys: Keys) -> Told:
        """Labels that waited for predictions of *keys*; they wait no longer."""
        if not self.held or not len(keys):
            none = np.empty(0, self.layout.truth_dtype) if self.layout.truth else None
            return Told(key=keys[:0], time=np.empty(0), actual=np.empty(0, np.int32), truth=none)
        slot, record = self.early.look(keys)
        alive = np.flatnonzero(slot >= 0)
        alive = alive[record["actual"][alive] != UNKNOWN]
        slot, record = slot[alive], picked(record, alive)
        gone = np.zeros(len(slot), self.layout.change)
        gone["slot"], gone["actual"] = slot, UNKNOWN
        self.early.relabel(gone)
        self.held -= len(slot)
        # A label that was repeated while it waited is told twice, so that it stands as it would have without waiting.
        again = record["confirmed"] > 0
        told = picked(record, np.concatenate([np.arange(len(record)), np.flatnonzero(again)]))
        time = np.concatenate([record["label_time"], (record["label_time"] + record["confirmed"])[again]])
        truth = told["truth"] if self.layout.truth else None
        return Told(key=told["key"], time=time, actual=told["actual"].astype(np.int32), truth=truth)

    # --- labels ----------------------------------------------------------------------------------

    def _score(
        self, labels: Told, slot: NDArray[np.int64], record: NDArray[np.void], results: Counter[str]
    ) -> tuple[Scored, Codes, Floats]:
        late = labels.time - record["time"] > self.horizon
        if late.any():
            results["late"] += int(late.sum())
            labels, slot, record = _at(labels, np.flatnonzero(~late)), slot[~late], picked(record, ~late)
        settled = _settle(self.remembered, slot, record, labels)
        results.update(settled.results)
        answered, first = settled.record, settled.first
        return settled.scored(), answered["group"][first].astype(np.int32), answered["time"][first]

    def _hold(self, labels: Told, results: Counter[str]) -> None:
        """Keep labels until their predictions come, under the same rules."""
        records = np.zeros(len(labels), early_layout(self.layout).record)
        records["key"], records["time"], records["actual"] = labels.key, labels.time, UNKNOWN
        self.early.remember(records)
        settled = _settle(self.early, *self.early.look(labels.key), labels)
        self.held += len(settled.first)
        results["early"] += settled.results.pop("matched", 0) + settled.results.pop("corrected", 0)
        results.update(settled.results)

    def forget(self, before: float, most: int, most_early: int) -> tuple[int, int]:
        """Let go of what is older than *before*, or too much; returns predictions and labels lost for room.

        Lost predictions are those without a label; a label that waited in vain counts as lost only if it was
        not older than *before*.
        """
        lost = lost_early = 0
        for rows, due in self.remembered.forget(before, most):
            if not due:
                lost += int(((rows["actual"] == UNKNOWN) & (rows["time"] >= before)).sum())
        for rows, _ in self.early.forget(before, most_early):
            alive = rows["actual"] != UNKNOWN
            self.held -= int(alive.sum())
            lost_early += int((alive & (rows["time"] >= before)).sum())
        return lost, lost_early


@dataclass(frozen=True, slots=True)
class _Labelled:
    """The labels of some records, as columns that can be changed in place."""

    actual: Codes
    since: Floats
    confirmed: NDArray[np.float32]
    truth: NDArray[np.void] | None


@dataclass(frozen=True, slots=True)
class _Taken:
    """Results taken back (`sign` -1) and counted (+1): the label's row, the record's place, the label."""

    row: Index
    sign: NDArray[np.int8]
    place: Index
    actual: Codes
    since: Floats
    truth: NDArray[np.void] | None


@dataclass(frozen=True, slots=True)
class _Settled:
    """Distinct records and what their labels did to them; `first` where it was the first label."""

    slot: NDArray[np.int64]
    record: NDArray[np.void]
    first: Index
    taken: _Taken
    results: Counter[str]

    def scored(self) -> Scored:
        taken = self.taken
        # In the usual case every record was counted once, in order, and nothing has to be gathered.
        at: Index | slice = slice(None) if np.array_equal(taken.place, np.arange(len(self.record))) else taken.place
        group, predicted = (self.record[name].astype(np.int32)[at] for name in ("group", "predicted"))
        score, time = (np.ascontiguousarray(self.record[name])[at] for name in ("score", "time"))
        return Scored(
            sign=taken.sign,
            slot=self.slot[at],
            group=group,
            actual=taken.actual,
            predicted=predicted,
            score=score,
            time=time,
            label_time=taken.since,
            made=picked(self.record["made"], at) if "made" in (self.record.dtype.names or ()) else None,
            truth=taken.truth,
        )


def _settle(table: Remembered, slot: NDArray[np.int64], record: NDArray[np.void], labels: Told) -> _Settled:
    """Give the *record*s at *slot* their *labels*, one after the other, and tell the table what has changed."""
    distinct, place, turns = _turns(slot)
    if len(turns) > 1:
        slot, record = slot[distinct], picked(record, distinct)
    truth = None if labels.truth is None else record["truth"].copy()
    now = _Labelled(record["actual"].astype(np.int32), record["label_time"].copy(), record["confirmed"].copy(), truth)
    results: Counter[str] = Counter()
    taken = [_turn(turn, place[turn], labels, now, results) for turn in turns]
    moved = (now.since != record["label_time"]) | (now.confirmed != record["confirmed"])
    moved |= now.actual != record["actual"]
    if truth is not None:
        moved |= ~_same(truth, record["truth"])
    changed = np.flatnonzero(moved)
    change = np.empty(len(changed), table.layout.change)
    if truth is not None:
        change["truth"] = truth[changed]
    change["slot"], change["label_time"] = slot[changed], now.since[changed]
    change["confirmed"], change["actual"] = now.confirmed[changed], now.actual[changed]
    table.relabel(change)
    first = np.flatnonzero((record["actual"] == UNKNOWN) & (now.actual != UNKNOWN))
    return _Settled(slot, record, first, _by_arrival(taken), results)


def _turn(turn: Index, place: Index, labels: Told, now: _Labelled, results: Counter[str]) -> _Taken:
    """Give each record at *place* the label at *turn*; no record stands twice in a turn."""
    actual, time = labels.actual[turn], labels.time[turn]
    old, since = now.actual[place], now.since[place]
    truth, was = (None, None) if labels.truth is None or now.truth is None else (labels.truth[turn], now.truth[place])
    unknown = old == UNKNOWN
    counted, back = unknown, np.empty(0, np.intp)
    known = np.flatnonzero(~unknown)
    results["matched"] += len(turn) - len(known)
    if len(known):
        newest = since[known] + now.confirmed[place[known]]
        same, newer = old[known] == actual[known], time[known] >= newest
        if was is not None and truth is not None:
            same &= _same(was[known], truth[known])
        back = known[~same & newer]
        results["repeated"] += int(same.sum())
        results["corrected"] += len(back)
        results["outdated"] += int((~same & ~newer).sum())
        again = known[same & (time[known] > newest)]
        now.confirmed[place[again]] = _rounded_down(time[again] - since[again])
        counted = unknown.copy()
        counted[back] = True
    new = np.flatnonzero(counted)
    at = place[new]
    now.actual[at], now.since[at], now.confirmed[at] = actual[new], time[new], 0.0
    if truth is not None and now.truth is not None:
        now.truth[at] = truth[new]
    plus = _Taken(turn[new], np.ones(len(new), np.int8), at, actual[new], time[new], _at_rows(truth, new))
    if not len(back):
        return plus
    taken_back = np.full(len(back), -1, np.int8)
    minus = _Taken(turn[back], taken_back, place[back], old[back], since[back], _at_rows(was, back))
    return _concatenated([minus, plus])


def _rounded_down(seconds: Floats) -> NDArray[np.float32]:
    """As a record holds them, and never more: a label of the very time that was confirmed is not older than that."""
    short = seconds.astype(np.float32)
    return np.where(short > seconds, np.nextafter(short, np.float32(0)), short)


def _by_arrival(taken: list[_Taken]) -> _Taken:
    """Results of all turns in the order of their labels, what is taken back before what replaces it."""
    if len(taken) == 1:
        return taken[0]
    whole = _concatenated(taken)
    order = np.argsort(whole.row, kind="stable")
    columns = (getattr(whole, name) for name in _Taken.__slots__)
    ordered: Iterator[Any] = (None if column is None else column[order] for column in columns)
    return _Taken(*ordered)


def _concatenated(parts: list[_Taken]) -> _Taken:
    columns = ([getattr(part, name) for part in parts] for name in _Taken.__slots__)
    joined: Iterator[Any] = (None if column[0] is None else np.concatenate(column) for column in columns)
    return _Taken(*joined)


def _same(one: NDArray[np.void], other: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows are equal, byte by byte."""
    size = one.dtype.itemsize
    a, b = (np.ascontiguousarray(side).view(np.uint8).reshape(-1, size) for side in (one, other))
    equal: NDArray[np.bool_] = (a == b).all(axis=1)
    return equal


def early_layout(layout: Layout) -> Layout:
    """What a label that waits for its prediction is remembered by."""
    return Layout(truth=layout.truth)


def _both(first: Told, then: Told) -> Told:
    if not len(first):
        return then
    return Told(
        key=np.concatenate([first.key, then.key]),
        time=np.concatenate([first.time, then.time]),
        actual=np.concatenate([first.actual, then.actual]),
        truth=None if first.truth is None or then.truth is None else np.concatenate([first.truth, then.truth]),
    )


def _at(told: Told, at: Index) -> Told:
    return Told(key=told.key[at], time=told.time[at], actual=told.actual[at], truth=_at_rows(told.truth, at))


def _at_rows(column: NDArray[np.void] | None, rows: Index) -> NDArray[np.void] | None:
    return None if column is None else picked(column, rows)


def _turns(slot: NDArray[np.int64]) -> tuple[Index, Index, list[Index]]:
    """Cut rows into turns in which no slot stands twice.

    Returns the first row of every distinct slot, every row's place among those, and the rows of each turn.
    """
    rows = np.arange(len(slot))
    if not _repeats(slot):
        return rows, rows, [rows]
    _, first, place = np.unique(slot, return_index=True, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    turn = np.empty(len(slot), np.intp)
    turn[order] = rows - np.repeat(starts, np.diff(starts, append=len(slot)))
    by_turn = np.argsort(turn, kind="stable")
    return first, place, np.split(by_turn, np.cumsum(np.bincount(turn))[:-1])


def _repeats(values: NDArray[Any]) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())
