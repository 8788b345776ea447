"""All that is known of one configured model: its names, its join, its counts; one `absorb` per cycle."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import msgspec
import numpy as np

from exporter import plugins
from exporter.config.schema import ModelConfig
from exporter.contracts import PLAIN, UNKNOWN, Batch, Family, MetricSpec, Refusals, Traffic, picked
from exporter.errors import StateDamaged
from exporter.join import Join, Joined, early_layout
from exporter.last_rows import CountWindow
from exporter.pipeline.calibrating import Calibrations
from exporter.pipeline.coding import Codebook, Rows, sides
from exporter.pipeline.matured import aged
from exporter.pipeline.tally import Arrived, Tally
from exporter.state import UNDECODABLE, State
from exporter.state.table import LARGEST
from exporter.windows import TimeWindow

log = logging.getLogger(__name__)

RESULTS = (
    "matched", "corrected", "repeated", "outdated", "late", "early", "duplicate", "expired", "evicted", "unclaimed",
)  # fmt: skip
"""What can become of a row at the join; `expired`, `evicted` and `unclaimed` are what became of nothing."""

_NEVER = -np.inf
_ALL_READ = {"predictions": False, "labels": False}


class Saved(msgspec.Struct):
    """The small part of a ledger's state."""

    signature: str
    horizon: float
    names: dict[str, list[str]]
    groups: list[tuple[int, int]]
    results: dict[str, int]
    newest: dict[str, float]
    last_prediction: list[float]
    last_label: list[float]
    clock: float | None
    watermark: float | None
    held: int
    ahead: dict[str, float] = {}
    bounds: dict[str, list[float]] = {}
    meanings: dict[str, str] = {}
    waiting: dict[str, dict[str, int]] = {}

    def meaning(self, family: str) -> str:
        """What gave the cells of *family* their meaning; an older program noted the bounds of histograms only."""
        old = repr(tuple(self.bounds[family])) if family in self.bounds else ""
        return self.meanings.get(family, old)


class Ledger:
    """Counts of one model entry of the config.  Everything here changes in `absorb` and is saved by `changes`."""

    def __init__(self, config: ModelConfig, state: State) -> None:
        self.config = config
        self.spec = config.spec
        self.name = self.spec.name
        self.windows = config.windows
        self.codebook = Codebook(self.spec, config.max_versions)
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self.newest: dict[str, float] = {}
        """Event time of the newest row of each role, as far as all rows before it were read."""
        self.ahead: dict[str, float] = {}
        """The same of roles whose backlog is being read, of all that was read of it; older rows may follow."""
        self.clock: float | None = None
        """Where the windows end, in event time."""
        self.watermark: float | None = None
        """The event time up to which both streams have told all; where the horizon is counted from."""
        self.revision = 0
        self.last_prediction = np.full(0, _NEVER)
        self.last_label = np.full(0, _NEVER)
        self.families = plugins.families_of(self.spec)
        self.tallies = [Tally(family, self.windows) for family in self.families]
        self.calibrations = Calibrations(self.name, self.spec.estimates, self.tallies)
        by_count = {window.name: window.rows for window in self.windows if window.rows}
        self.counted = {name: CountWindow(rows, self.spec.layout) for name, rows in by_count.items()}
        self.pending = TimeWindow(config.horizon, 1)
        self.aged = aged(config, self.families)
        self._outdated: list[str] = []
        self._prefix = f"model/{quote(self.name, safe='')}/"
        try:
            self._load(state)
        except UNDECODABLE as error:
            raise StateDamaged(f"what is kept of model {self.name} cannot be read ({type(error).__name__})") from error

    # --- one cycle -------------------------------------------------------------------------------

    def reserve(self, predictions: int, labels: int) -> None:
        """Make room for that many rows; raises StateError before anything has changed."""
        self._remembered.reserve(predictions)
        self._early.reserve(labels)

    def absorb(
        self,
        predictions: Sequence[Batch],
        labels: Sequence[Batch],
        idle: frozenset[str] = frozenset(),
        reading: Mapping[str, bool] | None = None,
    ) -> dict[str, Refusals]:
        """Take in what came of both roles; returns, by role, the rows that only now turned out to be unusable.

        *idle* names the roles whose sources have had nothing to say for a while: they no longer hold time back.
        *reading* says of roles that came whether more is waiting: until all is read, its times do not move the
        watermark, because a backlog need not be in order (several logs are read one after another).
        At most once between two commits.
        """
        refused = {"predictions": Refusals(), "labels": Refusals()}
        made = self.codebook.rows(predictions, refused["predictions"])
        told = self.codebook.rows(labels, refused["labels"])
        joined = self._join.step(*sides(made, told))
        self.results.update(joined.results)
        traffic = self._traffic(made, joined)
        self._note_times(made, told, joined, traffic)
        self._note_backlogs(_ALL_READ if reading is None else reading, idle)
        self._count(traffic, joined)
        self._move(idle)
        self.revision += 1
        return refused

    def _count(self, traffic: Traffic, joined: Joined) -> None:
        scored = joined.scored
        arrived = Arrived(traffic, scored)
        for tally in list(self.tallies):
            try:
                tally.take(arrived)
            except Exception:
                # A family may come from elsewhere; its fault ends its own series and no others.
                log.exception("a metric family failed and is left out", extra={"family": _kind(tally.family)})
                self.tallies.remove(tally)
        if len(scored):
            for name, window in self.counted.items():
                entered, left = window.push(scored)
                for tally in self.tallies:
                    tally.slide(name, window, entered, left)
        newest = float(self.last_prediction.max(initial=_NEVER))
        for one in self.aged.values():
            one.advance(self.watermark, newest)
            one.add(traffic, scored)
        made = traffic.answerable
        self.pending.add(traffic.group[made].astype(np.int64), None, traffic.time[made])
        self.pending.add(joined.answered_group.astype(np.int64), None, joined.answered_time, sign=-1.0)

    def _move(self, idle: frozenset[str]) -> None:
        """Move event time on, as far as both streams allow: windows slide, and what is too old is given up."""
        counted = float(self.last_label.max(initial=_NEVER))
        heard = self._heard(idle, counted)
        if heard is not None:
            self.watermark = _later(self.watermark, heard - self.config.allowed_lateness)
        self.clock = _later(self.clock, _later(self.watermark, _known(counted)))
        if self.clock is not None:
            for tally in self.tallies:
                tally.advance(self.clock)
        if self.watermark is None:
            return
        for one in self.aged.values():
            one.advance(self.watermark)
        self.results["expired"] += round(self.pending.advance(self.watermark))
        lost, unclaimed = self._join.forget(
            self.watermark - self.config.horizon, self.config.remembered, self.config.early_labels
        )
        self.results["evicted"] += lost
        self.results["unclaimed"] += unclaimed

    def _heard(self, idle: frozenset[str], counted: float) -> float | None:
        """The event time up to which all that is not *idle* has told; None before that can be said.

        Labels without a prediction may be of others, and dated anyhow: they tell that time has passed only as far as
        predictions do.
        """
        predictions = self.newest.get("predictions", _NEVER)
        labels = min(self.newest.get("labels", _NEVER), max(predictions, counted))
        if self.config.labels is None:
            times = [max(predictions, labels)]
        else:
            heard = {"predictions": predictions, "labels": labels}
            times = [heard[role] for role in heard.keys() - idle or heard]
        return _known(min(times))

    def _traffic(self, made: Rows, joined: Joined) -> Traffic:
        new = np.flatnonzero(made.remembered)[joined.new]
        at = np.sort(np.concatenate([new, np.flatnonzero(made.error >= 0)]))
        return Traffic(
            group=made.group[at],
            time=made.time[at],
            predicted=made.predicted[at],
            score=made.score[at],
            latency=made.latency[at],
            error=made.error[at],
            made=None if made.made is None else picked(made.made, at),
        )

    def _note_times(self, made: Rows, told: Rows, joined: Joined, traffic: Traffic) -> None:
        labelled = made.actual >= 0
        for role, times in (("predictions", made.time), ("labels", made.actual_time[labelled]), ("labels", told.time)):
            if len(times):
                self.ahead[role] = max(self.ahead.get(role, _NEVER), float(times.max()))
        missing = len(self.codebook.groups) - len(self.last_prediction)
        self.last_prediction = np.append(self.last_prediction, np.full(missing, _NEVER))
        self.last_label = np.append(self.last_label, np.full(missing, _NEVER))
        np.maximum.at(self.last_prediction, traffic.group, traffic.time)
        np.maximum.at(self.last_label, joined.scored.group, joined.scored.label_time)

    def _note_backlogs(self, reading: Mapping[str, bool], idle: frozenset[str]) -> None:
        """Let the times of roles count whose sources were read to their end, or fell silent on the way."""
        for role, time in list(self.ahead.items()):
            source = "predictions" if self.config.labels is None else role
            if not reading.get(source, True) or source in idle:
                self.newest[role] = max(self.newest.get(role, _NEVER), time)
                del self.ahead[role]

    # --- what others see -------------------------------------------------------------------------

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        return self.codebook.names

    @property
    def specs(self) -> list[MetricSpec]:
        return [spec for family in self.families for spec in family.specs]

    def labels(self, group: int) -> tuple[tuple[str, str], ...]:
        """The model and version labels of *group*."""
        return self.codebook.labels(group)

    def alive(self) -> list[int]:
        """Groups of which something was heard within `retire_after` (event time) of the newest."""
        if self.clock is None:
            return list(range(len(self.codebook.groups)))
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
        yield from ((name, None) for name in self._outdated)
        self._outdated.clear()
        yield self._prefix + "ledger", msgspec.msgpack.encode(self._saved())
        for tally in self.tallies:
            for name, blob in tally.changes():
                yield f"{self._prefix}tally/{_kind(tally.family)}/{name}", blob
        for name, one in self.aged.items():
            for key, part in one.changes():
                yield f"{self._prefix}aged/{name}/{key}", part
        for group, blob in self.calibrations.changes():
            yield f"{self._prefix}calibration/{group}", blob
        for bucket, blob in self.pending.changes():
            yield f"{self._prefix}pending/{bucket}", blob
        for name, window in self.counted.items():
            for group, rows in window.changes():
                yield f"{self._prefix}last/{quote(name, safe='')}/{group}", rows

    @property
    def _signature(self) -> str:
        """What gives the codes their meaning; a model that changes it begins anew."""
        spec = self.spec
        meaning = repr((spec.task, spec.positive, spec.classes, spec.capacity, self.config.max_versions))
        if spec.layout == PLAIN:
            return meaning
        return meaning + repr((spec.layout, spec.label_capacity, [(one.name, one.top) for one in spec.segments]))

    def _saved(self) -> Saved:
        return Saved(
            signature=self._signature,
            horizon=self.config.horizon,
            meanings={_kind(family): family.meaning for family in self.families}
            | {name: one.meaning for name, one in self.aged.items()},
            waiting=self.codebook.payload.waiting,
            names=self.codebook.save(),
            groups=self.codebook.groups,
            results=dict(self.results),
            newest=self.newest,
            last_prediction=self.last_prediction.tolist(),
            last_label=self.last_label.tolist(),
            clock=self.clock,
            watermark=self.watermark,
            held=self._join.held,
            ahead=self.ahead,
        )

    def _load(self, state: State) -> None:
        blob = state.get(self._prefix + "ledger")
        saved = None if blob is None else msgspec.msgpack.decode(blob, type=Saved)
        tables = (f"{self.name}/predictions", f"{self.name}/labels")
        if saved and saved.signature != self._signature:
            log.warning(
                "task, positive, classes, max_versions or what is remembered changed: counts begin anew, and the "
                "sources are read again from their beginning",
                extra={"model": self.name},
            )
            for table in tables:
                state.drop_table(table)
            forgotten = [self._prefix, f"cursor/{quote(self.name, safe='')}/"]
            state.commit({name: None for prefix in forgotten for name, _ in state.scan(prefix)})
            saved = None
        layout = self.spec.layout
        self._remembered = state.table(tables[0], _eighth(self.config.remembered), layout)
        self._early = state.table(tables[1], _eighth(self.config.early_labels), early_layout(layout))
        self._join = Join(self._remembered, self._early, self.config.horizon, saved.held if saved else 0, layout)
        if saved:
            self._restore(saved)
            for name, part in state.scan(self._prefix):
                if not self._take(name.removeprefix(self._prefix), part, saved):
                    self._outdated.append(name)
            self._settle(saved)

    def _restore(self, saved: Saved) -> None:
        self.codebook.restore(saved.names, saved.groups)
        self.codebook.payload.waiting = saved.waiting
        self.results.update(saved.results)
        self.newest, self.ahead = saved.newest, saved.ahead
        self.last_prediction, self.last_label = np.array(saved.last_prediction), np.array(saved.last_label)
        self.clock, self.watermark = saved.clock, saved.watermark

    def _take(self, name: str, blob: bytes, saved: Saved) -> bool:
        """Load one blob; returns false if the config has changed so that it means nothing any more."""
        kind, _, rest = name.partition("/")
        if kind == "tally":
            family, _, key = rest.partition("/")
            owners = [tally for tally in self.tallies if _kind(tally.family) == family]
            same = [tally for tally in owners if tally.family.meaning == saved.meaning(family)]
            return any(tally.load(key, blob) for tally in same)
        if kind == "aged":
            which, _, key = rest.partition("/")
            one = self.aged.get(which)
            return one is not None and one.meaning == saved.meaning(which) and one.load(key, blob)
        if kind == "calibration":
            return self.calibrations.load(rest, blob, saved.meaning("estimates"))
        if kind == "pending":
            if saved.horizon == self.config.horizon:
                self.pending.load(rest, blob)
            return saved.horizon == self.config.horizon
        if kind == "last":
            window, _, group = rest.partition("/")
            counted = {quote(name, safe=""): window for name, window in self.counted.items()}
            if window in counted:
                counted[window].load(group, blob)
            return window in counted
        return kind == "ledger"

    def _settle(self, saved: Saved) -> None:
        """Bring what was loaded up to date with the saved clock and the config."""
        for name, window in self.counted.items():
            for tally in self.tallies:
                if tally.family.feed == "scored":
                    tally.slide(name, window, window.all(), CountWindow(1, self.spec.layout).all())
        if self.clock is not None:
            for tally in self.tallies:
                tally.advance(self.clock)
        if self.watermark is not None:
            self.pending.advance(self.watermark)
            for one in self.aged.values():
                one.advance(self.watermark)
        if saved.horizon != self.config.horizon:
            for rows in self._remembered.scan():
                open_ = rows[rows["actual"] == UNKNOWN]
                self.pending.add(open_["group"].astype(np.int64), np.ones(len(open_)), open_["time"])


def _kind(family: Family) -> str:
    """The name that a family was registered under."""
    return type(family).__module__.rpartition(".")[2]


def _eighth(rows: int) -> int:
    """The size of segments of which about eight hold *rows*, so that little more than that is kept."""
    return min(LARGEST, 1 << max(13, (rows // 8).bit_length()))


def _later(time: float | None, other: float | None) -> float | None:
    return max((at for at in (time, other) if at is not None), default=None)


def _known(time: float) -> float | None:
    return time if time > _NEVER else None
