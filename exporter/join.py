"""When a label meets its prediction, or does not: one vectorised pass per cycle over what came.

The rules, each counted under a `result`:

    matched     the first label of a prediction: counted
    corrected   a different label, not older than the last one: the old result is taken back, the new one counted
    repeated    the same label again: no effect
    outdated    a different label, but older than the one that stands: no effect
    late        a label that came more than `horizon` after its prediction (event time): no effect
    early       a label whose prediction is not known yet: held, and joined when the prediction comes
    duplicate   a prediction whose id is known: the first one stands

The outcome does not depend on how the rows were cut into batches, only on their order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import CHANGE, RECORD, UNKNOWN, Codes, Floats, Keys, Remembered, Scored

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Predictions that were made; columns of shape (n,), codes of known names."""

    key: Keys
    time: Floats
    group: Codes
    predicted: Codes
    score: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Labels that were told; columns of shape (n,)."""

    key: Keys
    time: Floats
    actual: Codes

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

    def __init__(self, remembered: Remembered, early: Remembered, horizon: float, held: int = 0) -> None:
        self.remembered = remembered
        self.early = early
        self.horizon = horizon
        self.held = held
        """How many labels wait for their prediction."""

    def step(self, made: Made, told: Told) -> Joined:
        """Take in predictions, then labels."""
        results: Counter[str] = Counter()
        new = self._remember(made, results)
        waiting = self._waiting(made.key[new])
        labels = _both(waiting, told)
        slot = self.remembered.find(labels.key)
        known = slot >= 0
        if not known.all():
            self._hold(_at(labels, np.flatnonzero(~known)), results)
            labels, slot = _at(labels, np.flatnonzero(known)), slot[known]
        scored, group, time = self._score(labels, slot, results)
        return Joined(new=new, scored=scored, answered_group=group, answered_time=time, results=results)

    # --- predictions -----------------------------------------------------------------------------

    def _remember(self, made: Made, results: Counter[str]) -> Index:
        fresh = np.flatnonzero(self.remembered.find(made.key) < 0)
        fresh = fresh[_first_of_each(made.key[fresh])]
        results["duplicate"] += len(made.key) - len(fresh)
        if len(fresh):
            records = np.zeros(len(fresh), RECORD)
            for name in ("key", "time", "group", "predicted", "score"):
                records[name] = getattr(made, name)[fresh]
            records["actual"] = UNKNOWN
            self.remembered.append(records)
        return fresh

    def _waiting(self, keys: Keys) -> Told:
        """Labels that waited for predictions of *keys*; they wait no longer."""
        if not self.held or not len(keys):
            return Told(key=keys[:0], time=np.empty(0), actual=np.empty(0, np.int32))
        slot = self.early.find(keys)
        slot = slot[slot >= 0]
        record = self.early.read(slot)
        alive = record["actual"] != UNKNOWN
        slot, record = slot[alive], record[alive]
        self.early.relabel(_change(slot, record["label_time"], np.full(len(slot), UNKNOWN)))
        self.held -= len(slot)
        return Told(key=record["key"], time=record["label_time"], actual=record["actual"].astype(np.int32))

    # --- labels ----------------------------------------------------------------------------------

    def _score(self, labels: Told, slot: NDArray[np.int64], results: Counter[str]) -> tuple[Scored, Codes, Floats]:
        record = self.remembered.read(slot)
        late = labels.time - record["time"] > self.horizon
        if late.any():
            results["late"] += int(late.sum())
            labels, slot, record = _at(labels, np.flatnonzero(~late)), slot[~late], record[~late]
        first, place, turns = _turns(slot)
        record = record[first]
        before = record["actual"].copy()
        taken: list[tuple[int, Index, NDArray[np.void]]] = []
        for turn in turns:
            self._turn(turn, place[turn], labels, record, taken, results)
        changed = (record["actual"] != before) | (record["confirmed"] > 0)
        touched = record[changed]
        self.remembered.relabel(
            _change(slot[first][changed], touched["label_time"], touched["actual"], touched["confirmed"])
        )
        answered = record[before == UNKNOWN]
        return _scored(taken, slot[first]), answered["group"].astype(np.int32), answered["time"].copy()

    def _turn(
        self,
        turn: Index,
        place: Index,
        labels: Told,
        record: NDArray[np.void],
        taken: list[tuple[int, Index, NDArray[np.void]]],
        results: Counter[str],
    ) -> None:
        """Give each record at *place* the label at *turn*; every record is met at most once in a turn."""
        actual, time = labels.actual[turn], labels.time[turn]
        standing = record["actual"][place]
        newest = record["label_time"][place] + record["confirmed"][place]
        unknown = standing == UNKNOWN
        same = standing == actual
        corrected = ~unknown & ~same & (time >= newest)
        confirmed = same & (time > newest)
        counted = unknown | corrected
        results["matched"] += int(unknown.sum())
        results["corrected"] += int(corrected.sum())
        results["repeated"] += int(same.sum())
        results["outdated"] += int((~counted & ~same).sum())
        if corrected.any():
            taken.append((-1, place[corrected], record[place[corrected]]))
        at = place[confirmed]
        record["confirmed"][at] = time[confirmed] - record["label_time"][at]
        at = place[counted]
        record["actual"][at], record["label_time"][at], record["confirmed"][at] = actual[counted], time[counted], 0
        if len(at):
            taken.append((1, at, record[at]))

    def _hold(self, labels: Told, results: Counter[str]) -> None:
        """Keep the newest label of every key until its prediction comes."""
        order = np.lexsort((np.arange(len(labels)), labels.time))
        labels = _at(labels, np.sort(order[_last_of_each(labels.key[order])]))
        slot = self.early.find(labels.key)
        there = np.flatnonzero(slot >= 0)
        if len(there):
            record = self.early.read(slot[there])
            dead = record["actual"] == UNKNOWN
            newer = dead | ((record["label_time"] <= labels.time[there]) & (record["actual"] != labels.actual[there]))
            at = there[newer]
            self.early.relabel(_change(slot[at], labels.time[at], labels.actual[at]))
            self.held += int(dead.sum())
            results["early"] += len(at)
            results["repeated"] += len(there) - len(at)
        fresh = np.flatnonzero(slot < 0)
        if len(fresh):
            records = np.zeros(len(fresh), RECORD)
            records["key"], records["actual"] = labels.key[fresh], labels.actual[fresh]
            records["time"] = records["label_time"] = labels.time[fresh]
            self.early.append(records)
            self.held += len(fresh)
            results["early"] += len(fresh)

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


def _both(first: Told, then: Told) -> Told:
    if not len(first):
        return then
    return Told(
        key=np.concatenate([first.key, then.key]),
        time=np.concatenate([first.time, then.time]),
        actual=np.concatenate([first.actual, then.actual]),
    )


def _at(told: Told, at: Index) -> Told:
    return Told(key=told.key[at], time=told.time[at], actual=told.actual[at])


def _change(
    slot: NDArray[np.int64], label_time: Floats, actual: NDArray, confirmed: NDArray | float = 0.0
) -> NDArray[np.void]:
    change = np.empty(len(slot), CHANGE)
    change["slot"], change["label_time"], change["actual"] = slot, label_time, actual
    change["confirmed"] = confirmed
    return change


def _scored(taken: list[tuple[int, Index, NDArray[np.void]]], slot: NDArray[np.int64]) -> Scored:
    record = np.concatenate([part for _, _, part in taken]) if taken else np.empty(0, RECORD)
    place = np.concatenate([at for _, at, _ in taken]) if taken else np.empty(0, np.intp)
    return Scored(
        sign=np.repeat(np.array([sign for sign, _, _ in taken], np.int8), [len(at) for _, at, _ in taken]),
        slot=slot[place],
        group=record["group"].astype(np.int32),
        actual=record["actual"].astype(np.int32),
        predicted=record["predicted"].astype(np.int32),
        score=np.ascontiguousarray(record["score"]),
        time=np.ascontiguousarray(record["time"]),
        label_time=np.ascontiguousarray(record["label_time"]),
    )


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


def _repeats(values: NDArray) -> bool:
    ordered = np.sort(values)
    return bool((ordered[1:] == ordered[:-1]).any())


def _first_of_each(keys: Keys) -> Index:
    """Positions of the first occurrence of every key, in order; the usual case of no repeat costs one sort."""
    if not _repeats(keys[:, 0]):
        return np.arange(len(keys))
    _, first = np.unique(_whole(keys), return_index=True)
    return np.sort(first)


def _last_of_each(keys: Keys) -> Index:
    if not _repeats(keys[:, 0]):
        return np.arange(len(keys))
    _, from_end = np.unique(_whole(keys)[::-1], return_index=True)
    return len(keys) - 1 - from_end


def _whole(keys: Keys) -> NDArray[np.void]:
    return np.ascontiguousarray(keys).view([("high", "<u8"), ("low", "<u8")]).ravel()
