"""A source in a thread of its own: it polls, hands its rows over, and goes on to the next page while they are counted.

A poll that does not return costs its own source only, and is never started twice.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from dataclasses import dataclass, field
from typing import Protocol

from exporter.contracts import Clock, Cursor, Deadline, Poll, Source
from exporter.errors import SourceError
from exporter.telemetry import SourceTelemetry

log = logging.getLogger(__name__)

AHEAD = 1 << 17
"""How many rows a source may be ahead of what is saved."""
LEAST = AHEAD >> 6
"""Rows that a poll counts for at least: polls without rows must not pile up either while the disk is full."""
LONGEST_BACKOFF = 300.0
IDLE_AFTER = 60.0

_jitter = random.Random()  # noqa: S311 - no secret; of our own, so that drawing disturbs nobody's seed


Key = tuple[str, str]
"""Model and role."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A poll that did not work."""

    reason: str
    message: str
    retry_in: float


@dataclass(slots=True, eq=False)
class Feed:
    """One source with its schedule; `after` is the feed that must have caught up first."""

    key: Key
    source: Source
    telemetry: SourceTelemetry
    interval: float
    timeout: float
    stale_after: float
    heard: float
    """Moment (monotonic) of the last poll that worked; before the first, of the start."""
    note: str | None = None
    cursor: Cursor | None = None
    """Behind all that was handed over."""
    after: Feed | None = None
    attempted: threading.Event = field(default_factory=threading.Event)
    """Set once the backlog has been read, or could not be."""
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever polls; it outlives a reload, so that no second poll joins one that was left behind."""
    failures: int = 0
    complained: tuple[str, float] | None = None
    """What was last said of a failure, and when (monotonic); None if the last poll worked."""
    polling_since: float | None = None
    told_stuck: float | None = None
    quiet_since: float | None = None
    ahead: int = 0

    def __post_init__(self) -> None:
        self.telemetry.stale_after(self.stale_after)

    @property
    def name(self) -> str:
        return "/".join(self.key)

    @property
    def idle_after(self) -> float:
        """Seconds without a row after which the source no longer holds event time back."""
        return max(IDLE_AFTER, 10 * self.interval)

    def take_over(self, before: Feed) -> None:
        """Go on in the place of *before*, which read the same source until a reload."""
        self.turn, self.heard, self.failures = before.turn, before.heard, before.failures
        self.complained = before.complained
        begins_anew = self.cursor is None and before.cursor is not None
        if before.attempted.is_set() and not begins_anew:
            self.attempted.set()

    def stuck_for(self, now: float) -> float:
        """Seconds that the poll under way has taken; 0 if there is none."""
        since = self.polling_since
        return 0.0 if since is None else now - since


@dataclass(frozen=True, slots=True)
class Report:
    """What a source thread tells after a poll; `moved` if there is something to save."""

    feed: Feed
    seconds: float
    outcome: Poll | Failure
    moved: bool
    weight: int


class Ahead(Protocol):
    """Who leaves reports: `ahead` is what those weigh together that are not done yet."""

    ahead: int


class Told(Protocol):
    """A report of a source or a probe."""

    @property
    def feed(self) -> Ahead: ...

    @property
    def weight(self) -> int: ...


class Inbox:
    """Where threads leave their reports for the cycle; each waits while it is too far ahead."""

    def __init__(self) -> None:
        self._reports: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._room = threading.Condition()

    def put(self, report: Told, stop: threading.Event) -> bool:
        """Leave *report* as soon as there is room; returns false, and leaves nothing, if *stop* is set before."""
        feed, weight = report.feed, report.weight
        with self._room:
            self._room.wait_for(lambda: feed.ahead == 0 or feed.ahead + weight <= AHEAD or stop.is_set())
            if stop.is_set():
                return False
            feed.ahead += weight
            self._reports.put(report)
            return True

    def take(self, timeout: float) -> list[Told]:
        """All reports that are there, after waiting for the first for *timeout* seconds at most."""
        taken: list[Told] = []
        try:
            report = self._reports.get(timeout=timeout)
            while True:
                taken += [report] if report else []
                report = self._reports.get_nowait()
        except queue.Empty:
            return taken

    def done(self, report: Told) -> None:
        """Give the room that *report* took to the next."""
        with self._room:
            report.feed.ahead -= report.weight
            self._room.notify_all()

    def wake(self) -> None:
        """Let everyone who waits look around."""
        with self._room:
            self._room.notify_all()
        self._reports.put(None)


def follow(feed: Feed, inbox: Inbox, clock: Clock, stop: threading.Event) -> None:
    """Poll *feed* at its intervals until *stop* is set: what a source thread does."""
    if feed.after is not None:
        while not feed.after.attempted.wait(0.1):
            if stop.is_set():
                return
    while not stop.is_set():
        stop.wait(step(feed, inbox, clock, stop))
    with feed.turn:
        try:
            feed.source.close()
        except Exception:  # nothing depends on it any more
            log.exception("a source could not be closed", extra={"source": feed.name})


def taken(turn: threading.Lock, stop: threading.Event) -> bool:
    """Wait for one's *turn*; false, without it, if *stop* is set before."""
    while not turn.acquire(timeout=0.1):
        if stop.is_set():
            return False
    return True


def step(feed: Feed, inbox: Inbox, clock: Clock, stop: threading.Event) -> float:
    """Poll once and hand over what came; returns how many seconds to wait before the next poll."""
    if feed.polling_since is None:
        feed.polling_since = clock.monotonic()
    if not taken(feed.turn, stop):
        return 0.0
    try:
        started = feed.polling_since = clock.monotonic()
        outcome = _poll(feed, Deadline(started + feed.timeout, clock))
    finally:
        feed.polling_since = None
        feed.turn.release()
    seconds = clock.monotonic() - started
    batch = outcome.batch if isinstance(outcome, Poll) else None
    moved = isinstance(outcome, Poll) and (bool(batch) or outcome.cursor != feed.cursor)
    if not inbox.put(Report(feed, seconds, outcome, moved, max(LEAST, len(batch or ()))), stop):
        return 0.0
    if isinstance(outcome, Failure):
        feed.failures += 1
        return outcome.retry_in
    feed.failures = 0
    feed.cursor = outcome.cursor
    return 0.0 if outcome.more and moved else max(0.0, feed.interval - seconds)


def _poll(feed: Feed, deadline: Deadline) -> Poll | Failure:
    try:
        return feed.source.poll(feed.cursor, deadline)
    except SourceError as error:
        return _failed(feed, error.reason, str(error))
    except Exception as error:  # a fault in one source must not end the others
        log.exception("a source failed in an unforeseen way", extra={"source": feed.name})
        return _failed(feed, "error", f"unforeseen {type(error).__name__}; the log says where")


def _failed(feed: Feed, reason: str, message: str) -> Failure:
    longest = min(LONGEST_BACKOFF, feed.interval * 2 ** min(feed.failures + 1, 16))
    return Failure(reason, message, _jitter.uniform(longest / 2, longest))
