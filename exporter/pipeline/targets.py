"""All that is known of one watched model server: whether it is up, how it ended and how often, and what it uses.

Ends, observed seconds and the cursors behind them are settled together: added to the counts, to be made durable by one
commit.  An end is settled at once, seconds without one only every SETTLE_AFTER, so that an idle target costs no commit
per look.  What is not settled is not shown either: after a kill, a counter would fall back.

Windows move on a time of their own, which begins at the wall clock and goes on as the monotonic one does: a step of
the wall clock neither empties a window nor stretches it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
import numpy as np
import xxhash

from exporter.config.resolved import ProbeConfig, TargetConfig
from exporter.contracts import Cursor, Ending, Floats, MetricSpec, Reading, Sight
from exporter.errors import StateDamaged
from exporter.state import UNDECODABLE, State
from exporter.windows import RESOLUTION, TimeWindow

SETTLE_AFTER = 10.0
"""Seconds for which observed time may wait for its commit."""

CRASHES = ("exit", "killed", "oom", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV", "unknown")
RESTARTS = ("clean", "stop", "forced_stop", *CRASHES)
"""The reasons that are shown at 0 from the first scrape on."""

SPECS = (
    MetricSpec(
        "model_server_target_info", "gauge", "A watched model server and the model it serves; always 1.",
        ("target", "model"),
    ),
    MetricSpec(
        "model_server_up", "gauge", "Whether the model server is up: 1 or 0; 0 also if nobody can tell.",
        ("target",),
    ),
    MetricSpec("model_server_start_time_seconds", "gauge", "When the model server was started.", ("target",)),
    MetricSpec(
        "model_server_restarts_total", "counter", "Ends, planned or not, after which it was up again, by reason.",
        ("target", "reason"),
    ),
    MetricSpec("model_server_crashes_total", "counter", "Ends that nobody asked for.", ("target", "reason")),
    MetricSpec(
        "model_server_observed_seconds_total", "counter",
        "Time for which crashes are known: crashes by observed time is the crash rate.", ("target",),
    ),
    MetricSpec(
        "model_server_crashes_per_hour", "gauge",
        "Crashes by observed time, times 3600, over the window that ends with the newest look.", ("target", "window"),
    ),
    MetricSpec(
        "model_server_threshold", "gauge",
        "Bound that the config sets for a measure of a model server; rules compare with it.",
        ("target", "measure", "severity"),
    ),
)  # fmt: skip

_CRASH, _SECOND = 0, 1
_LEAST = 1e-6
"""Observed seconds below this are what sums leave behind when all of a window has fallen out."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look of the probe *kind* at *target* gave at a moment on both clocks; no sight if it failed."""

    target: str
    kind: str
    wall: float
    monotonic: float
    sight: Sight | None
    problem: str = ""


class Saved(msgspec.Struct):
    """The small part of the state; `ended` counts ends after which the target was not seen up yet, by reason."""

    cursors: dict[str, Cursor | None]
    restarts: dict[str, int]
    crashes: dict[str, int]
    ended: dict[str, int]
    observed: float
    clock: float | None


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """Seconds observed up to `moment`, and ends with the moments at which they came."""

    moment: float
    observed: float
    endings: tuple[tuple[float, Ending], ...]
    up: bool


class TargetLedger:
    """Counts of one target.  Looks are taken in by `absorb`, counted by `settle` and saved by `changes`.

    *known* are the names of the metrics that its probes may give.
    """

    def __init__(self, config: TargetConfig, state: State, known: Iterable[str] = ()) -> None:
        self.config = config
        self.name = config.name
        self.revision = 0
        self.up: bool | None = None
        self.start_time: float | None = None
        self.down_since: float | None = None
        self.details: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.readings: dict[str, tuple[Reading, ...]] = {}
        self.restarts: Counter[str] = Counter(dict.fromkeys(RESTARTS, 0))
        self.crashes: Counter[str] = Counter(dict.fromkeys(CRASHES, 0))
        self.observed = 0.0
        self.windows = {window.name: TimeWindow(window.seconds or 0.0, 2) for window in config.windows}
        self._known = frozenset(known)
        self._ended: Counter[str] = Counter()
        self._cursors: dict[str, Cursor | None] = {}
        self._clock: float | None = None
        self._ahead: float | None = None
        """How far the time of the windows is ahead of the monotonic clock."""
        self._unsettled: list[_Unsettled] = []
        self._urgent = False
        self._waiting_since: float | None = None
        self._outdated: list[str] = []
        self._prefix = f"target/{quote(self.name, safe='')}/"
        try:
            self._load(state)
        except UNDECODABLE as error:
            raise StateDamaged(
                f"what is kept of target {self.name} cannot be read ({type(error).__name__})"
            ) from error

    # --- looks -----------------------------------------------------------------------------------

    def absorb(self, look: Look) -> None:
        """Take in what one look gave."""
        moment = self._moment(look)
        for window in self.windows.values():
            window.advance(moment)
        self.revision += 1
        tells_life = self.config.life is not None and look.kind == self.config.life.kind
        if look.sight is None:
            self.problems[look.kind] = look.problem
            self.readings.pop(look.kind, None)
            if tells_life:
                self._stand(look, up=False, start_time=None)
            return
        sight = look.sight
        self.problems.pop(look.kind, None)
        self.details[look.kind] = sight.detail
        self.readings[look.kind] = tuple(one for one in sight.readings if one.metric in self._known)
        probe = next(probe for probe in self.config.probes if probe.kind == look.kind)
        self._cursors[_cursor_name(probe)] = sight.cursor
        if tells_life:
            self._stand(look, up=sight.up, start_time=sight.start_time)
            endings = tuple((moment - max(0.0, look.wall - one.time), one) for one in sight.endings)
            self._unsettled.append(_Unsettled(moment, max(0.0, sight.observed), endings, bool(sight.up)))
            self._urgent |= bool(endings)
        if self._waiting_since is None:
            self._waiting_since = look.monotonic

    def _stand(self, look: Look, *, up: bool | None, start_time: float | None) -> None:
        if up is False and self.up is not False:
            self.down_since = look.wall
        self._urgent |= look.sight is not None and (up, start_time) != (self.up, self.start_time)
        self.up, self.start_time = up, start_time

    def _moment(self, look: Look) -> float:
        if self._ahead is None:
            begun = look.wall if self._clock is None else max(look.wall, self._clock)
            self._ahead = begun - look.monotonic
        self._clock = self._ahead + look.monotonic
        return self._clock

    # --- counts ----------------------------------------------------------------------------------

    def due(self, now: float) -> bool:
        """Whether it is time, at *now* on the monotonic clock, to settle."""
        return self._urgent or (self._waiting_since is not None and now - self._waiting_since >= SETTLE_AFTER)

    def settle(self) -> None:
        """Count what was taken in, to be saved with the cursors behind it."""
        for one in self._unsettled:
            self.observed += one.observed
            for window in self.windows.values():
                _spread(window, one.moment, one.observed)
            for moment, ending in one.endings:
                self._ended[ending.reason] += 1
                if ending.kind == "crash":
                    self.crashes[ending.reason] += 1
                    for window in self.windows.values():
                        window.add(np.array([_CRASH]), np.ones(1), np.array([moment]))
            if one.up:
                self.restarts.update(self._ended)
                self._ended.clear()
        self._unsettled.clear()
        self._urgent = False
        self._waiting_since = None
        self.revision += 1

    def crashes_per_hour(self) -> Iterator[tuple[str, float]]:
        """The crash rate of every window, by its name; NaN without observed time."""
        for name, window in self.windows.items():
            crashes, seconds = window.of(0).tolist()
            yield name, round(crashes) / seconds * 3600 if seconds > _LEAST else np.nan

    # --- state -----------------------------------------------------------------------------------

    def cursor(self, probe: ProbeConfig) -> Cursor | None:
        """The cursor of *probe*; None after the config has changed what it watches."""
        return self._cursors.get(_cursor_name(probe))

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        """Blobs that a commit must hold, by name."""
        yield from ((name, None) for name in self._outdated)
        self._outdated.clear()
        current = {_cursor_name(probe) for probe in self.config.probes}
        saved = Saved(
            cursors={name: cursor for name, cursor in self._cursors.items() if name in current},
            restarts=dict(self.restarts),
            crashes=dict(self.crashes),
            ended=dict(self._ended),
            observed=self.observed,
            clock=self._clock,
        )
        yield self._prefix + "ledger", msgspec.msgpack.encode(saved)
        for name, window in self.windows.items():
            for bucket, blob in window.changes():
                yield f"{self._prefix}window/{quote(name, safe='')}/{bucket}", blob

    def _load(self, state: State) -> None:
        blob = state.get(self._prefix + "ledger")
        if blob is None:
            return
        saved = msgspec.msgpack.decode(blob, type=Saved)
        self._cursors = saved.cursors
        self.restarts.update(saved.restarts)
        self.crashes.update(saved.crashes)
        self._ended.update(saved.ended)
        self.observed, self._clock = saved.observed, saved.clock
        windows = {quote(name, safe=""): window for name, window in self.windows.items()}
        for name, part in state.scan(self._prefix + "window/"):
            window, _, bucket = name.removeprefix(self._prefix + "window/").partition("/")
            if window in windows:
                windows[window].load(bucket, part)
            else:
                self._outdated.append(name)
        if self._clock is not None:
            for one in self.windows.values():
                one.advance(self._clock)


def _cursor_name(probe: ProbeConfig) -> str:
    """A cursor is of no use to a probe that watches something else."""
    return f"{probe.kind}/{xxhash.xxh3_64_hexdigest(repr(probe.settings).encode())}"


def _spread(window: TimeWindow, moment: float, seconds: float) -> None:
    """Add *seconds* that ended at *moment* to the buckets in which they passed."""
    if seconds <= 0:
        return
    last = int(np.floor(moment / window.width))
    first = max(int(np.floor((moment - seconds) / window.width)), last - RESOLUTION + 1)
    bounds: Floats = np.arange(first, last + 2, dtype=np.float64) * window.width
    bounds[0], bounds[-1] = max(bounds[0], moment - seconds), moment
    middles: Floats = (np.arange(first, last + 1, dtype=np.float64) + 0.5) * window.width
    window.add(np.full(len(middles), _SECOND), np.diff(bounds), middles)
