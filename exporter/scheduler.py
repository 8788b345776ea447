"""Who runs when, and who notices that they did not: one thread per source, one for the cycle.

A source thread polls, hands its rows over and goes on to the next page while the cycle joins and saves; it may be
at most `AHEAD` rows ahead.  Whatever a source does, the others and the cycle go on: a poll that does not return
costs its own source only, and is never started twice.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.contracts import Clock, Cursor, Deadline, Poll, Refusals, Source, SourceStatus
from exporter.errors import SourceError, StateError
from exporter.pipeline import Delivery, Pipeline
from exporter.telemetry import RefusalLog, SourceTelemetry, Telemetry

log = logging.getLogger(__name__)

AHEAD = 1 << 16
TICK = 1.0
QUIET_TICKS = 5
"""How many ticks a snapshot may live while nothing changes."""
LONGEST_BACKOFF = 300.0
IDLE_AFTER = 60.0
STUCK_FACTOR = 2.0
HEALTH_BOUND = 600.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """A poll that did not work."""

    reason: str
    message: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a source thread tells the cycle after a poll."""

    feed: Feed
    seconds: float
    outcome: Poll | Failure


@dataclass(slots=True, eq=False)
class Feed:
    """One source with its schedule; `after` is the feed that must have caught up first."""

    key: Key
    source: Source
    telemetry: SourceTelemetry
    interval: float
    timeout: float
    stale_after: float
    note: str | None = None
    cursor: Cursor | None = None
    after: Feed | None = None
    attempted: threading.Event = field(default_factory=threading.Event)
    """Set once the backlog has been read, or could not be."""
    committed: Cursor | None = None
    failures: int = 0
    polling_since: float | None = None
    reported_stuck: bool = False
    quiet_since: float | None = None
    heard: float | None = None
    ahead: int = 0

    @property
    def idle_after(self) -> float:
        return max(IDLE_AFTER, 10 * self.interval)


class Scheduler:
    """Drives *feeds* into *pipeline*; *publish* gets every snapshot's ingredients when it is time for one."""

    def __init__(
        self,
        pipeline: Pipeline,
        feeds: list[Feed],
        telemetry: Telemetry,
        publish: Callable[[set[str]], None],
        clock: Clock,
    ) -> None:
        self.pipeline = pipeline
        self.feeds = feeds
        self.telemetry = telemetry
        self.publish = publish
        self.clock = clock
        self._refusals = RefusalLog(clock)
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._room = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._waiting: list[Report] = []
        self._counted: list[Report] = []
        self._idle: dict[str, frozenset[str]] = {}
        self._published = -float("inf")
        self._changed = True
        self._ticked = clock.monotonic()
        self._problem: str | None = None

    # --- for others ------------------------------------------------------------------------------

    def start(self) -> None:
        for feed in self.feeds:
            thread = threading.Thread(target=self._follow, args=(feed,), name="/".join(feed.key), daemon=True)
            self._threads.append(thread)
        cycle = threading.Thread(target=self._run, name="cycle", daemon=True)
        self._threads.append(cycle)
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 3.0) -> None:
        """End all threads; what was handed over is still counted and saved.  A stuck poll is left behind."""
        self._stop.set()
        with self._room:
            self._room.notify_all()
        end = self.clock.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.1, end - self.clock.monotonic()))
        for feed in self.feeds:
            if feed.polling_since is None:
                feed.source.close()

    def healthy(self) -> str | None:
        """Why this process can no longer do its job, or None."""
        silent = self.clock.monotonic() - self._ticked
        if silent > 60:
            return f"The cycle has not run for {silent:.0f} s."
        for feed in self.feeds:
            stuck = self._stuck_for(feed)
            if stuck > max(HEALTH_BOUND, 10 * feed.timeout):
                return f"A poll of {'/'.join(feed.key)} has not returned for {stuck:.0f} s."
        return self._problem

    def ready(self) -> str | None:
        """What is still awaited before the counts can be trusted, or None."""
        awaited = ["/".join(feed.key) for feed in self.feeds if not feed.attempted.is_set()]
        return f"Still reading the backlog of {', '.join(awaited)}." if awaited else None

    def sources(self) -> tuple[SourceStatus, ...]:
        return tuple(feed.telemetry.status(feed.note) for feed in self.feeds)

    def stale(self) -> set[str]:
        """Models whose labels have not been heard of for so long that their gauges no longer hold."""
        now = self.clock.monotonic()
        telling = {feed.key[0]: feed for feed in self.feeds}  # the labels' feed stands behind the predictions'
        return {
            model
            for model, feed in telling.items()
            if feed.heard is not None and now - feed.heard > feed.stale_after
        }

    # --- source threads --------------------------------------------------------------------------

    def _follow(self, feed: Feed) -> None:
        if feed.after is not None:
            while not feed.after.attempted.wait(0.1):
                if self._stop.is_set():
                    return
        while not self._stop.is_set():
            started = self.clock.monotonic()
            feed.polling_since, feed.reported_stuck = started, False
            outcome = self._poll(feed, started)
            feed.polling_since = None
            if self._stop.is_set():
                return
            wait = self._hand_over(feed, outcome, self.clock.monotonic() - started)
            self._stop.wait(wait)

    def _poll(self, feed: Feed, started: float) -> Poll | Failure:
        try:
            poll = feed.source.poll(feed.cursor, Deadline(started + feed.timeout, self.clock))
        except SourceError as error:
            return self._failed(feed, error.reason, str(error))
        except Exception as error:  # a fault in one source must not end the others
            log.exception("a source failed in an unforeseen way", extra={"source": "/".join(feed.key)})
            return self._failed(feed, "error", f"unforeseen {type(error).__name__}; the log says where")
        feed.failures = 0
        feed.cursor = poll.cursor
        return poll

    def _failed(self, feed: Feed, reason: str, message: str) -> Failure:
        feed.failures += 1
        longest = min(LONGEST_BACKOFF, feed.interval * 2 ** min(feed.failures, 16))
        return Failure(reason, message, random.uniform(longest / 2, longest))  # noqa: S311 - jitter is no secret

    def _hand_over(self, feed: Feed, outcome: Poll | Failure, seconds: float) -> float:
        """Give *outcome* to the cycle; returns how long to wait before the next poll."""
        rows = len(outcome.batch) if isinstance(outcome, Poll) and outcome.batch is not None else 0
        with self._room:
            self._room.wait_for(lambda: feed.ahead == 0 or feed.ahead + rows <= AHEAD or self._stop.is_set())
            feed.ahead += rows
        self._reports.put(Report(feed, seconds, outcome))
        if isinstance(outcome, Failure):
            return outcome.retry_in
        return 0.0 if outcome.more else max(0.0, feed.interval - seconds)

    # --- the cycle -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            self._collect()
            self.cycle()
        self._drain()
        self.cycle()

    def _collect(self) -> None:
        """Wait for something to do, for a tick at most, then take all that is there."""
        try:
            self._waiting.append(self._reports.get(timeout=TICK))
        except queue.Empty:
            return
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._waiting.append(self._reports.get_nowait())
            except queue.Empty:
                return

    def cycle(self) -> None:
        """Take in what has been handed over, and publish a snapshot if it is time."""
        started = self.clock.monotonic()
        if self._problem is None:
            self._absorb_safely()
        self._watch()
        self._refusals.sweep()
        self._ticked = self.clock.monotonic()
        self.telemetry.ticked()
        age = started - self._published
        if (self._changed and age >= TICK) or age >= QUIET_TICKS * TICK or self._stop.is_set():
            self.pipeline.exposition.ready = self.ready() is None
            self._changed = False
            self._published = started
            self.publish(self.stale())
            self.telemetry.cycle_ended(self.clock.monotonic() - started, self.pipeline.exposition.series)

    def _absorb_safely(self) -> None:
        try:
            self._absorb()
        except StateError as error:
            self.telemetry.commit_failed()
            log.error("%s", error)  # noqa: TRY400 - the message says all
            self._stop.wait(TICK)
        except Exception as error:
            # What is in memory is no longer known to be what is on disk: count nothing more, and let a restart
            # begin at the last commit.
            self._problem = f"The cycle failed with {type(error).__name__}; the log says where."
            log.exception("the cycle failed; nothing more is counted until a restart")

    def _absorb(self) -> None:
        self._save()
        reports = self._waiting
        idle = self._idle_roles()
        deliveries = [Delivery(*report.feed.key, poll) for report in reports if (poll := _moved(report)) is not None]
        if deliveries or idle != self._idle:
            touched = {model for model in idle if idle[model] != self._idle.get(model)}
            late = self.pipeline.count(deliveries, idle, touched)
            self._idle = idle
            self._changed = True
            for feed in self.feeds:
                if feed.key in late:
                    self._refuse(feed, late[feed.key])
        self._counted, self._waiting = reports, []
        self._save()

    def _save(self) -> None:
        """Make what was counted durable, and only then say so."""
        if self.pipeline.unsaved:
            begun = self.clock.monotonic()
            self.pipeline.save()
            self.telemetry.committed(self.clock.monotonic() - begun, self.pipeline.state.size)
        for report in self._counted:
            self._note(report)
        self._counted = []

    def _idle_roles(self) -> dict[str, frozenset[str]]:
        now = self.clock.monotonic()
        idle: dict[str, frozenset[str]] = {}
        for feed in self.feeds:
            model, role = feed.key
            quiet = feed.quiet_since is not None and now - feed.quiet_since >= feed.idle_after
            idle[model] = idle.get(model, frozenset()) | ({role} if quiet else frozenset())
        return idle

    def _note(self, report: Report) -> None:
        """Say of a poll, once its rows are saved, how it went."""
        feed, outcome, now = report.feed, report.outcome, self.clock.monotonic()
        if isinstance(outcome, Failure):
            feed.telemetry.failed(outcome.reason, report.seconds, outcome.message, outcome.retry_in)
            log.warning(
                "a poll failed",
                extra={"source": "/".join(feed.key), "reason": outcome.reason, "problem": outcome.message},
            )
            feed.quiet_since = now if feed.quiet_since is None else feed.quiet_since
            feed.attempted.set()
            self._changed = True
            return
        batch = outcome.batch
        feed.heard, feed.committed = now, outcome.cursor
        feed.telemetry.polled(report.seconds)
        if batch is not None:
            feed.telemetry.rows(len(batch), batch.skipped)
            if len(batch):
                feed.telemetry.newest(float(batch.time.max()))
            self._refuse(feed, batch.refused)
            with self._room:
                feed.ahead -= len(batch)
                self._room.notify_all()
        if batch is not None and len(batch):
            feed.quiet_since = None
        elif feed.quiet_since is None:
            feed.quiet_since = now
        if not outcome.more:
            feed.attempted.set()

    def _refuse(self, feed: Feed, refused: Refusals) -> None:
        if refused.counts:
            feed.telemetry.refused(refused.counts)
            self._refusals.note(*feed.key, refused)
            self._changed = True

    def _stuck_for(self, feed: Feed) -> float:
        since = feed.polling_since
        return 0.0 if since is None else self.clock.monotonic() - since

    def _watch(self) -> None:
        """Say once of a poll that it does not return."""
        for feed in self.feeds:
            stuck = self._stuck_for(feed)
            if stuck > STUCK_FACTOR * feed.timeout and not feed.reported_stuck:
                feed.reported_stuck = True
                feed.attempted.set()
                message = f"the poll has not returned for {stuck:.0f} s; it is left alone until it does"
                feed.telemetry.failed("timeout", stuck, message)
                log.warning("a poll is stuck", extra={"source": "/".join(feed.key), "seconds": round(stuck)})
                self._changed = True


def _moved(report: Report) -> Poll | None:
    """The poll of *report*, if it has anything to save."""
    poll = report.outcome
    if isinstance(poll, Failure):
        return None
    return poll if poll.batch or poll.cursor != report.feed.committed else None
