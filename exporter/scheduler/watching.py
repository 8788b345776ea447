"""A probe in a thread of its own: it looks at its target at intervals, and hands over what it saw.

A look that does not return costs its own probe only, and is never started twice.  What was seen is told only once by
some probes, and so is kept until it has been handed over, also across a reload.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

from exporter.config.resolved import ProbeConfig
from exporter.contracts import Clock, Cursor, Deadline, Probe, Sight
from exporter.errors import SourceError
from exporter.pipeline import Look
from exporter.scheduler.feed import AHEAD, Failure, Inbox, taken
from exporter.telemetry import ProbeTelemetry

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Watcher:
    """One probe of one target with its schedule."""

    target: str
    config: ProbeConfig
    probe: Probe
    telemetry: ProbeTelemetry
    interval: float
    timeout: float
    cursor: Cursor | None = None
    """Behind all that was seen."""
    attempted: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever looks."""
    wake: threading.Event = field(default_factory=threading.Event)
    """Set for the next look to come at once."""
    unsent: list[Seen] = field(default_factory=list)
    looking_since: float | None = None
    told_stuck: float | None = None
    ahead: int = 0

    @property
    def name(self) -> str:
        return f"{self.target}/{self.config.kind}"

    def stuck_for(self, now: float) -> float:
        """Seconds that the look under way has taken; 0 if there is none."""
        since = self.looking_since
        return 0.0 if since is None else now - since

    def close(self) -> None:
        """Let go of what the probe holds, unless a look that does not return holds the probe."""
        if self.turn.acquire(timeout=0.1):
            try:
                self.probe.close()
            except Exception:  # nothing depends on it any more
                log.exception("a probe could not be closed", extra={"probe": self.name})
            finally:
                self.turn.release()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a probe's thread tells after a look that ended at these moments."""

    feed: Watcher
    seconds: float
    outcome: Sight | Failure
    wall: float
    monotonic: float
    weight: int = AHEAD
    """One at a time: while the disk is full, nobody looks."""

    @property
    def look(self) -> Look:
        outcome = self.outcome
        sight, problem = (None, outcome.message) if isinstance(outcome, Failure) else (outcome, "")
        return Look(self.feed.target, self.feed.config.kind, self.wall, self.monotonic, sight, problem)


def watch(watcher: Watcher, inbox: Inbox, clock: Clock, stop: threading.Event) -> None:
    """Look at intervals until *stop* is set: what a probe's thread does."""
    while not stop.is_set():
        watcher.wake.clear()
        delay = glance(watcher, inbox, clock, stop)
        if not stop.is_set():
            watcher.wake.wait(delay)


def glance(watcher: Watcher, inbox: Inbox, clock: Clock, stop: threading.Event) -> float:
    """Look once and hand over what was seen; returns how many seconds to wait before the next look."""
    if watcher.looking_since is None:
        watcher.looking_since = clock.monotonic()
    if not taken(watcher.turn, stop):
        return 0.0
    try:
        started = watcher.looking_since = clock.monotonic()
        outcome = _look(watcher, Deadline(started + watcher.timeout, clock))
        ended = clock.monotonic()
        watcher.looking_since = None
        watcher.unsent.append(Seen(watcher, ended - started, outcome, clock.wall(), ended))
        while watcher.unsent and inbox.put(watcher.unsent[0], stop):
            del watcher.unsent[0]
    finally:
        watcher.looking_since = None
        watcher.turn.release()
    return max(0.0, watcher.interval - (ended - started))


def _look(watcher: Watcher, deadline: Deadline) -> Sight | Failure:
    try:
        sight = watcher.probe.look(watcher.cursor, deadline)
    except SourceError as error:
        return Failure(error.reason, str(error), watcher.interval)
    except Exception as error:  # a fault in one probe must not end the others
        log.exception("a probe failed in an unforeseen way", extra={"probe": watcher.name})
        return Failure("error", f"unforeseen {type(error).__name__}; the log says where", watcher.interval)
    watcher.cursor = sight.cursor
    return sight
