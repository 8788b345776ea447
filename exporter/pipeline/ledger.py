"""All that is known of one configured model: its names, its join, its counts; one `absorb` per cycle."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter import plugins
from exporter.config.schema import ModelConfig
from exporter.contracts import (
    ABSENT,
    UNKNOWN,
    Batch,
    Codes,
    Family,
    Floats,
    Keys,
    MetricSpec,
    Refusals,
    Scored,
    Traffic,
)
from exporter.families.traffic import ERRORS
from exporter.join import Join, Joined, Made, Told
from exporter.pipeline.names import OTHER, Vocabulary
from exporter.pipeline.tally import Tally
from exporter.state import State, Table
from exporter.windows import CountWindow, TimeWindow

log = logging.getLogger(__name__)

RESULTS = (
    "matched", "corrected", "repeated", "outdated", "late", "early", "duplicate", "expired", "evicted", "unclaimed",
)  # fmt: skip
"""What can become of a row at the join; `expired`, `evicted` and `unclaimed` are what became of nothing."""

MODELS = 1000
VERSION = "unknown"
_NEVER = -np.inf


class Saved(msgspec.Struct):
    """The small part of a ledger's state."""

    signature: str
    horizon: float
    bounds: dict[str, list[float]]
    classes: list[str]
    errors: list[str]
    models: list[str]
    versions: list[str]
    groups: list[tuple[int, int]]
    results: dict[str, int]
    newest: dict[str, float]
    last_prediction: list[float]
    last_label: list[float]
    clock: float | None
    held: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """A batch with our codes instead of its own."""

    key: Keys
    time: Floats
    group: Codes
    predicted: Codes
    actual: Codes
    actual_time: Floats
    score: Floats
    latency: Floats
    error: Codes


class Ledger:
    """Counts of one model entry of the config.  Everything here changes in `absorb` and is saved by `changes`."""

    def __init__(self, config: ModelConfig, state: State) -> None:
        self.config = config
        self.spec = config.spec
        self.name = self.spec.name
        self.windows = config.windows
        known = self.spec.classes or ((self.spec.positive,) if self.spec.positive else ())
        self.classes = Vocabulary(self.spec.capacity, known)
        self.errors = Vocabulary(ERRORS, overflow=OTHER)
        self.models = Vocabulary(MODELS, [self.name], overflow=OTHER)
        self.versions = Vocabulary(config.max_versions, overflow=OTHER)
        self.groups: list[tuple[int, int]] = []
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self.newest: dict[str, float] = {}
        self.clock: float | None = None
        self.revision = 0
        self.last_prediction = np.full(0, _NEVER)
        self.last_label = np.full(0, _NEVER)
        self.families = [family for kind in plugins.families() if (family := kind(self.spec)).size]
        self.tallies = [Tally(family, self.windows) for family in self.families]
        self.counted = {window.name: CountWindow(window.rows) for window in self.windows if window.rows}
        self.pending = TimeWindow(config.horizon, 1)
        self._prefix = f"model/{quote(self.name, safe='')}/"
        self._load(state)

    # --- one cycle -------------------------------------------------------------------------------

    def reserve(self, predictions: int, labels: int) -> None:
        """Make room for that many rows; raises StateError before anything has changed."""
        self._remembered.reserve(predictions)
        self._early.reserve(labels)

    def absorb(
        self, predictions: Sequence[Batch], labels: Sequence[Batch], idle: frozenset[str] = frozenset()
    ) -> dict[str, Refusals]:
        """Take in what came of both roles; returns, by role, the rows that only now turned out to be unusable.

        *idle* names the roles whose sources have had nothing to say for a while: they no longer hold time back.
        At most once between two commits.
        """
        refused = {"predictions": Refusals(), "labels": Refusals()}
        made = _joined_rows([self._coded(batch, refused["predictions"]) for batch in predictions])
        told = _joined_rows([self._coded(batch, refused["labels"]) for batch in labels])
        joined = self._join.step(*_sides(made, told))
        self.results.update(joined.results)
        traffic = self._traffic(made, joined)
        self._note_times(made, told, joined, traffic)
        self._count(traffic, joined)
        self._move(idle)
        self.revision += 1
        return refused

    def _count(self, traffic: Traffic, joined: Joined) -> None:
        scored = joined.scored
        for tally in list(self.tallies):
            rows = traffic if tally.family.feed == "traffic" else scored
            try:
                if len(rows):
                    tally.add(rows)
            except Exception:
                # A family may come from elsewhere; its fault ends its own series and no others.
                log.exception("a metric family failed and is left out", extra={"family": _kind(tally.family)})
                self.tallies.remove(tally)
        if len(scored):
            for name, window in self.counted.items():
                entered, left = window.push(scored)
                for tally in self.tallies:
                    tally.slide(name, entered, left)
        waiting = traffic.predicted >= 0
        group = np.concatenate([traffic.group[waiting], joined.answered_group]).astype(np.int64)
        time = np.concatenate([traffic.time[waiting], joined.answered_time])
        weight = np.ones(len(group))
        weight[int(waiting.sum()) :] = -1.0
        self.pending.add(group, weight, time)

    def _move(self, idle: frozenset[str]) -> None:
        """Move event time on, as far as both streams allow: windows slide, and what is too old is given up."""
        lateness = self.config.allowed_lateness
        streams = {"predictions", "labels"}
        awaited = streams - idle or streams
        heard = [self.newest.get(role) for role in awaited]
        if self.config.labels is None:
            heard = [max(self.newest.values(), default=None)]
        known = [time for time in heard if time is not None]
        watermark = min(known) - lateness if known and len(known) == len(heard) else None
        truth = self.newest.get("labels")
        candidates = [time for time in (truth, watermark, self.clock) if time is not None]
        if candidates:
            self.clock = max(candidates)
            for tally in self.tallies:
                tally.advance(self.clock)
        if watermark is None:
            return
        self.results["expired"] += round(self.pending.advance(watermark))
        lost, unclaimed = self._join.forget(
            watermark - self.config.horizon, self.config.remembered, self.config.early_labels
        )
        self.results["evicted"] += lost
        self.results["unclaimed"] += unclaimed

    def _traffic(self, made: _Rows, joined: Joined) -> Traffic:
        answered = np.flatnonzero((made.predicted >= 0) & (made.error < 0))[joined.new]
        at = np.sort(np.concatenate([answered, np.flatnonzero(made.error >= 0)]))
        return Traffic(
            group=made.group[at],
            time=made.time[at],
            predicted=made.predicted[at],
            latency=made.latency[at],
            error=made.error[at],
        )

    def _note_times(self, made: _Rows, told: _Rows, joined: Joined, traffic: Traffic) -> None:
        labelled = made.actual >= 0
        for role, times in (("predictions", made.time), ("labels", made.actual_time[labelled]), ("labels", told.time)):
            if len(times):
                self.newest[role] = max(self.newest.get(role, _NEVER), float(times.max()))
        missing = len(self.groups) - len(self.last_prediction)
        self.last_prediction = np.append(self.last_prediction, np.full(missing, _NEVER))
        self.last_label = np.append(self.last_label, np.full(missing, _NEVER))
        np.maximum.at(self.last_prediction, traffic.group, traffic.time)
        np.maximum.at(self.last_label, joined.scored.group, joined.scored.label_time)

    # --- codes -----------------------------------------------------------------------------------

    def _coded(self, batch: Batch, refused: Refusals) -> _Rows:
        count = len(batch)
        absent, unknown = np.full(count, ABSENT, np.int32), np.full(count, np.nan)
        predicted = self.classes.codes(batch.predicted) if batch.predicted else absent
        actual = self.classes.codes(batch.actual) if batch.actual else absent
        rows = _Rows(
            key=batch.key,
            time=batch.time,
            group=self._group(batch) if batch.role == "predictions" else absent,
            predicted=predicted,
            actual=actual,
            actual_time=batch.time if batch.actual_time is None else batch.actual_time,
            score=unknown if batch.score is None else batch.score,
            latency=unknown if batch.latency is None else batch.latency,
            error=self.errors.codes(batch.error) if batch.error else absent,
        )
        crowded = np.zeros(count, np.bool_)
        for column, codes in ((batch.predicted, predicted), (batch.actual, actual)):
            if column is not None:
                crowded |= (column.codes >= 0) & (codes == ABSENT)
        if crowded.any():
            reason = "unknown_class" if self.spec.task == "binary" else "too_many_classes"
            hint = f"more than {self.spec.capacity} classes: declare `classes`, or raise `max_classes`"
            refused.add(reason, self.name, hint, int(crowded.sum()))
            rows = _select(rows, ~crowded)
        return rows

    def _group(self, batch: Batch) -> Codes:
        """Group codes of a batch of predictions."""
        zero = np.zeros(len(batch), np.int32)
        model = self.models.codes(batch.model) if batch.model else zero
        version = self.versions.codes(batch.version) if batch.version else zero + self.versions.code(VERSION)
        pair = model.astype(np.int64) * self.config.max_versions + version
        known = {m * self.config.max_versions + v: code for code, (m, v) in enumerate(self.groups)}
        table = np.full(len(self.models.names) * self.config.max_versions, ABSENT, np.int32)
        table[list(known)] = list(known.values())
        for new in np.unique(pair[table[pair] == ABSENT]).tolist():
            table[new] = len(self.groups)
            self.groups.append(divmod(new, self.config.max_versions))
        codes: Codes = table[pair]
        return codes

    # --- what others see -------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return {"class": self.classes.names, "error": self.errors.names}

    @property
    def specs(self) -> list[MetricSpec]:
        return [spec for family in self.families for spec in family.specs]

    def labels(self, group: int) -> tuple[tuple[str, str], ...]:
        """The model and version labels of *group*."""
        model, version = self.groups[group]
        return ("model", self.models.names[model]), ("version", self.versions.names[version])

    def alive(self) -> list[int]:
        """Groups of which something was heard within `retire_after` (event time) of the newest."""
        if self.clock is None:
            return list(range(len(self.groups)))
        heard = np.maximum(self.last_prediction, self.last_label)
        return np.flatnonzero(heard >= self.clock - self.config.retire_after).tolist()

    @property
    def held(self) -> int:
        return self._join.held

    @property
    def remembered(self) -> int:
        return self._remembered.rows

    # --- state -----------------------------------------------------------------------------------

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Blobs that a commit must hold, by name."""
        yield self._prefix + "ledger", msgspec.msgpack.encode(self._saved())
        for tally in self.tallies:
            for name, blob in tally.changes():
                yield f"{self._prefix}tally/{_kind(tally.family)}/{name}", blob
        for bucket, blob in self.pending.changes():
            yield f"{self._prefix}pending/{bucket}", blob
        for name, window in self.counted.items():
            for group, rows in window.changes():
                yield f"{self._prefix}last/{quote(name, safe='')}/{group}", rows

    @property
    def _signature(self) -> str:
        """What gives the codes their meaning; a model that changes it begins anew."""
        spec = self.spec
        return repr((spec.task, spec.positive, spec.classes, spec.capacity, self.config.max_versions))

    def _saved(self) -> Saved:
        return Saved(
            signature=self._signature,
            horizon=self.config.horizon,
            bounds={"latency": list(self.spec.latency_buckets), "delay": list(self.spec.delay_buckets)},
            classes=self.classes.names,
            errors=self.errors.names,
            models=self.models.names,
            versions=self.versions.names,
            groups=self.groups,
            results=dict(self.results),
            newest=self.newest,
            last_prediction=self.last_prediction.tolist(),
            last_label=self.last_label.tolist(),
            clock=self.clock,
            held=self._join.held,
        )

    def _load(self, state: State) -> None:
        blob = state.get(self._prefix + "ledger")
        saved = msgspec.msgpack.decode(blob, type=Saved) if blob else None
        tables = (f"{self.name}/predictions", f"{self.name}/labels")
        if saved and saved.signature != self._signature:
            log.warning("task, classes or max_versions changed: counts begin anew", extra={"model": self.name})
            state.commit({name: None for name, _ in state.scan(self._prefix)})
            for table in tables:
                state.drop_table(table)
            saved = None
        self._remembered = state.table(tables[0])
        self._early = state.table(tables[1], largest=_power_of_two(self.config.early_labels // 8))
        self._join = Join(self._remembered, self._early, self.config.horizon, saved.held if saved else 0)
        if saved:
            self._restore(saved)
            for name, part in state.scan(self._prefix):
                self._take(name.removeprefix(self._prefix), part, saved)
            self._settle(saved)

    def _restore(self, saved: Saved) -> None:
        for vocabulary, names in (
            (self.classes, saved.classes),
            (self.errors, saved.errors),
            (self.models, saved.models),
            (self.versions, saved.versions),
        ):
            for name in names:
                vocabulary.code(name)
        self.groups = saved.groups
        self.results.update(saved.results)
        self.newest = saved.newest
        self.last_prediction, self.last_label = np.array(saved.last_prediction), np.array(saved.last_label)
        self.clock = saved.clock

    def _take(self, name: str, blob: bytes, saved: Saved) -> None:
        """Load one blob; counts whose buckets changed in the config are passed over."""
        kind, _, rest = name.partition("/")
        if kind == "tally":
            family, _, key = rest.partition("/")
            now = {"latency": self.spec.latency_buckets, "delay": self.spec.delay_buckets}
            for tally in self.tallies:
                same = list(now.get(family, ())) == saved.bounds.get(family, [])
                if _kind(tally.family) == family and same:
                    tally.load(key, blob)
        elif kind == "pending" and saved.horizon == self.config.horizon:
            self.pending.load(rest, blob)
        elif kind == "last":
            window, _, group = rest.partition("/")
            for own, counted in self.counted.items():
                if quote(own, safe="") == window:
                    counted.load(group, blob)

    def _settle(self, saved: Saved) -> None:
        """Bring what was loaded up to date with the saved clock and the config."""
        for name, window in self.counted.items():
            for tally in self.tallies:
                if tally.family.feed == "scored":
                    tally.slide(name, window.all(), _nothing())
        if self.clock is not None:
            for tally in self.tallies:
                tally.advance(self.clock)
        if saved.horizon != self.config.horizon:
            for rows in self._remembered.scan():
                open_ = rows[rows["actual"] == UNKNOWN]
                self.pending.add(open_["group"].astype(np.int64), np.ones(len(open_)), open_["time"])


def _sides(made: _Rows, told: _Rows) -> tuple[Made, Told]:
    """Predictions to remember, and labels from both roles: those in prediction rows first."""
    good = np.flatnonzero((made.predicted >= 0) & (made.error < 0))
    own = np.flatnonzero(made.actual >= 0)
    predictions = Made(
        key=made.key[good],
        time=made.time[good],
        group=made.group[good],
        predicted=made.predicted[good],
        score=made.score[good],
    )
    if not len(own):
        return predictions, Told(key=told.key, time=told.time, actual=told.actual)
    labels = Told(
        key=np.concatenate([made.key[own], told.key]),
        time=np.concatenate([made.actual_time[own], told.time]),
        actual=np.concatenate([made.actual[own], told.actual]),
    )
    return predictions, labels


def _joined_rows(parts: list[_Rows]) -> _Rows:
    if len(parts) == 1:
        return parts[0]
    code, number = np.empty(0, np.int32), np.empty(0)
    empty = _Rows(np.empty((0, 2), np.uint64), number, code, code, code, number, number, number, code)
    return _Rows(*(np.concatenate([getattr(rows, name) for rows in (empty, *parts)]) for name in _Rows.__slots__))


def _select(rows: _Rows, keep: NDArray[np.bool_]) -> _Rows:
    return _Rows(*(getattr(rows, name)[keep] for name in _Rows.__slots__))


def _kind(family: Family) -> str:
    """The name that a family was registered under."""
    return type(family).__module__.rpartition(".")[2]


def _nothing() -> Scored:
    return CountWindow(1).all()


def _power_of_two(number: int) -> int:
    return 1 << max(13, number.bit_length())


__all__ = ["Ledger", "Table"]
