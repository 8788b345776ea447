"""The cycle: takes in what the sources brought, makes it durable, and says when a snapshot is due."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence

from exporter.contracts import Clock, Poll, Refusals, SourceStatus
from exporter.errors import StateError
from exporter.pipeline import Delivery, Pipeline
from exporter.scheduler.feed import Failure, Feed, Inbox, Report, Told, follow
from exporter.scheduler.fitting import Fitted, Fitter
from exporter.scheduler.watching import Seen, Watcher, watch
from exporter.telemetry import RefusalLog, Telemetry

log = logging.getLogger(__name__)

TICK = 1.0
QUIET_TICKS = 5
"""How many ticks a snapshot may live while nothing changes."""
STUCK_FACTOR = 2.0
HEALTH_BOUND = 600.0
SILENT_BOUND = 60.0
COMPLAIN_EVERY = 60.0
REMIND_EVERY = 600.0
GRACE = 0.3
"""Seconds that the end waits for polls that are under way: what they bring would be dropped anyway."""


class Scheduler:
    """Drives *feeds* and *watchers* into *pipeline*.

    *publish* is called, with this scheduler, whenever it is time for a snapshot.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        feeds: list[Feed],
        telemetry: Telemetry,
        publish: Callable[[Scheduler], None],
        clock: Clock,
        *,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.pipeline = pipeline
        self.feeds = feeds
        self.watchers = watchers
        self.inbox = Inbox()
        self.fitter = Fitter(self.inbox, clock)
        self._telemetry = telemetry
        self._publish = publish
        self._clock = clock
        self._refusals = RefusalLog(clock)
        self._stop = threading.Event()
        self._running = threading.Lock()
        self._cycle: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._waiting: list[Told] = []
        self._counted: list[Told] = []
        self._idle: dict[str, frozenset[str]] = {}
        self._published = -math.inf
        self._changed = True
        self._ready = False
        self._ticked = clock.monotonic()
        self._retry_at = self._complained = -math.inf
        self._problem: str | None = None
        self._note_folded()  # at 0, so that `increase` sees the first

    # --- for others ------------------------------------------------------------------------------

    def start(self) -> None:
        """Run; after `stop`, run on where that left off."""
        self._stop = stop = threading.Event()
        self.fitter.start()
        self._ticked = self._clock.monotonic()
        self._cycle = threading.Thread(target=self._run, args=(stop,), name="cycle", daemon=True)
        self._threads = [
            threading.Thread(target=follow, args=(feed, self.inbox, self._clock, stop), name=feed.name, daemon=True)
            for feed in self.feeds
        ] + [
            threading.Thread(target=watch, args=(one, self.inbox, self._clock, stop), name=one.name, daemon=True)
            for one in self.watchers
        ]
        for thread in (self._cycle, *self._threads):
            thread.start()

    def stop(self, timeout: float = 3.0) -> bool:
        """End all threads; what was handed over is still counted and saved.  Returns whether the cycle has ended.

        A poll that does not return soon is left behind: what it brings is dropped, and read again by the next.
        """
        self._stop.set()
        self.fitter.stop()
        self.inbox.wake()
        self.look_now()
        if self._cycle is None:
            return True
        self._cycle.join(timeout)
        end = self._clock.monotonic() + min(timeout, GRACE)
        for thread in self._threads:
            thread.join(max(0.0, end - self._clock.monotonic()))
        self.fitter.wait(max(0.0, end - self._clock.monotonic()))
        return not self._cycle.is_alive()

    def look_now(self) -> None:
        """Let every probe look at once."""
        for watcher in self.watchers:
            watcher.wake.set()

    def healthy(self) -> str | None:
        """Why this process can no longer do its job, or None."""
        now = self._clock.monotonic()
        if self._problem:
            return self._problem
        if now - self._ticked > SILENT_BOUND:
            return f"The cycle has not run for {now - self._ticked:.0f} s."
        for feed in self.feeds:
            if feed.stuck_for(now) > max(HEALTH_BOUND, 10 * feed.timeout):
                return f"A poll of {feed.name} has not returned for {feed.stuck_for(now):.0f} s."
        return None

    def ready(self) -> str | None:
        """What is still awaited before the counts can be trusted, or None."""
        if self._ready:
            return None
        awaited = ", ".join(feed.name for feed in self.feeds if not feed.attempted.is_set())
        if awaited:
            return f"Still reading the backlog of {awaited}."
        awaited = ", ".join(watcher.name for watcher in self.watchers if not watcher.attempted.is_set())
        if awaited:
            return f"Still looking for the first time: {awaited}."
        return "The backlog is read, but not shown yet."

    def show_soon(self) -> None:
        """Something outside has changed that the next snapshot, due at the next tick, shall show."""
        self._changed = True

    def sources(self) -> tuple[SourceStatus, ...]:
        return tuple(feed.telemetry.status(feed.note) for feed in self.feeds)

    def stale(self) -> set[str]:
        """Models whose labels have not been heard of for so long that their gauges no longer hold."""
        now = self._clock.monotonic()
        telling = {feed.key[0]: feed for feed in self.feeds}  # the labels' feed stands behind the predictions'
        return {model for model, feed in telling.items() if now - feed.heard > feed.stale_after}

    # --- the cycle -------------------------------------------------------------------------------

    def _run(self, stop: threading.Event) -> None:
        with self._running:
            while not stop.is_set():
                self.cycle()
                self._waiting += self.inbox.take(TICK)
            self._waiting += self.inbox.take(0)
            self.cycle()

    def cycle(self) -> None:
        """Take in what has been handed over, and publish a snapshot if it is time."""
        started = self._clock.monotonic()
        try:
            if self._problem is None and (started >= self._retry_at or self._stop.is_set()):
                self._absorb_if_saved(started)
            self._watch(started)
            self._refusals.sweep()
            self._publish_if_due(started)
        except Exception as error:
            # What is in memory is no longer known to be what is on disk: count nothing more, and let a restart
            # begin at the last commit.
            if self._problem is None:
                self._problem = f"The cycle failed with {type(error).__name__}; the log says where. Restart it."
                log.exception("the cycle failed; nothing more is counted until a restart")
        self._ticked = self._clock.monotonic()
        self._telemetry.ticked()

    def _publish_if_due(self, started: float) -> None:
        age = started - self._published
        attempted = [*(feed.attempted for feed in self.feeds), *(watcher.attempted for watcher in self.watchers)]
        caught_up = all(event.is_set() for event in attempted)
        newly = caught_up and not self._ready
        if newly or (self._changed and age >= TICK) or age >= QUIET_TICKS * TICK or self._stop.is_set():
            self._changed = False
            self._published = started
            self._publish(self)
            self._telemetry.cycle_ended(self._clock.monotonic() - started, self.pipeline.exposition.series)
            # What is first seen after this snapshot is new; all that is in it are starting totals.
            self._ready = self.pipeline.exposition.ready = caught_up

    def _absorb_if_saved(self, started: float) -> None:
        """Absorb, unless the disk refuses: then everything waits, and is tried again."""
        try:
            self._absorb()
        except StateError as error:
            self._telemetry.commit_failed()
            self._retry_at = started + TICK
            self._changed = True
            if started - self._complained >= COMPLAIN_EVERY:
                self._complained = started
                log.error("%s", error)  # noqa: TRY400 - the message says all
        else:
            if self._complained > -math.inf:
                self._complained = -math.inf
                log.info("the state is saved again")

    def _absorb(self) -> None:
        self._save()
        reports = self._waiting
        idle = self._idle_roles()
        deliveries = [
            Delivery(*report.feed.key, report.outcome)
            for report in reports
            if isinstance(report, Report) and isinstance(report.outcome, Poll) and report.moved
        ]
        looks = [seen.look for seen in reports if isinstance(seen, Seen)]
        fits = [fit for fitted in reports if isinstance(fitted, Fitted) for fit in fitted.fits]
        if deliveries or looks or fits or idle != self._idle or self._stop.is_set():
            touched = {model for model in idle if idle[model] != self._idle.get(model)}
            now = math.inf if self._stop.is_set() else self._clock.monotonic()
            late = self.pipeline.count(deliveries, idle, touched, looks, now=now, fits=fits)
            self._idle = idle
            for feed in self.feeds:
                if feed.key in late:
                    self._refuse(feed, late[feed.key])
            self._note_folded()
        if fits:
            self.fitter.settle()
        self._counted, self._waiting = reports, []
        self._save()
        if self.fitter.free and (deliveries or fits or self.fitter.owes):
            self.fitter.make(self.pipeline.due())

    def _note_folded(self) -> None:
        for feed in self.feeds:
            model, role = feed.key
            if role == "predictions":
                feed.telemetry.folded(self.pipeline.folded(model))

    def _save(self) -> None:
        """Make what was counted durable, and only then say so."""
        if self.pipeline.unsaved:
            begun = self._clock.monotonic()
            self.pipeline.save()
            self._changed = True
            self._telemetry.committed(self._clock.monotonic() - begun, self.pipeline.state.size)
        for report in self._counted:
            self.inbox.done(report)
            if isinstance(report, Seen):
                self._note_look(report)
            elif isinstance(report, Report):
                self._note(report)
        self._counted = []

    def _idle_roles(self) -> dict[str, frozenset[str]]:
        now = self._clock.monotonic()
        idle: dict[str, frozenset[str]] = {}
        for feed in self.feeds:
            model, role = feed.key
            quiet = feed.quiet_since is not None and now - feed.quiet_since >= feed.idle_after
            idle[model] = idle.get(model, frozenset()) | ({role} if quiet else frozenset())
        return idle

    def _note(self, report: Report) -> None:
        """Say of a poll, once its rows are saved, how it went."""
        feed, outcome, now = report.feed, report.outcome, self._clock.monotonic()
        if isinstance(outcome, Failure):
            feed.telemetry.failed(outcome.reason, report.seconds, outcome.message, outcome.retry_in)
            self._complain_of(feed, outcome, now)
            feed.quiet_since = now if feed.quiet_since is None else feed.quiet_since
            feed.attempted.set()
            self._changed = True
            return
        feed.heard = now
        if feed.complained:
            feed.complained = None
            log.info("polls work again", extra={"source": feed.name})
        feed.telemetry.polled(report.seconds)
        batch = outcome.batch
        if batch is not None:
            feed.telemetry.rows(len(batch), batch.skipped)
            self._refuse(feed, batch.refused)
        if batch is not None and len(batch):
            feed.telemetry.newest(float(batch.time.max()))
            feed.quiet_since = None
        elif feed.quiet_since is None:
            feed.quiet_since = now
        if not outcome.more:
            feed.attempted.set()

    def _complain_of(self, feed: Feed, failure: Failure, now: float) -> None:
        """Log a failure when it begins and when it becomes another one, and remind of it now and then."""
        said, at = feed.complained or ("", -math.inf)
        if said != failure.message or now - at >= REMIND_EVERY:
            feed.complained = failure.message, now
            fields = {"source": feed.name, "reason": failure.reason, "problem": failure.message}
            log.warning("a poll failed", extra=fields)

    def _note_look(self, seen: Seen) -> None:
        """Say of a look, once what it told is taken in, how it went."""
        watcher, outcome = seen.feed, seen.outcome
        watcher.attempted.set()
        self._changed = True
        if isinstance(outcome, Failure):
            if watcher.telemetry.failed(outcome.reason, seen.seconds):
                fields = {"probe": watcher.name, "reason": outcome.reason, "problem": outcome.message}
                log.warning("a probe failed", extra=fields)
        else:
            watcher.telemetry.looked(seen.seconds)

    def _refuse(self, feed: Feed, refused: Refusals) -> None:
        if refused.counts:
            feed.telemetry.refused(refused.counts)
            self._refusals.note(*feed.key, refused)
            self._changed = True

    def _watch(self, now: float) -> None:
        """Say once of a poll or a look that it does not return."""
        for watcher in self.watchers:
            begun, stuck = watcher.looking_since, watcher.stuck_for(now)
            if stuck > STUCK_FACTOR * watcher.timeout and watcher.told_stuck != begun:
                watcher.told_stuck = begun
                failure = Failure("timeout", f"no answer for {stuck:.0f} s; it is left alone until there is one", 0.0)
                self._waiting.append(Seen(watcher, stuck, failure, self._clock.wall(), now, weight=0))
        for feed in self.feeds:
            since, stuck = feed.polling_since, feed.stuck_for(now)
            if stuck > STUCK_FACTOR * feed.timeout and feed.told_stuck != since:
                feed.told_stuck = since
                feed.attempted.set()
                message = f"the poll has not returned for {stuck:.0f} s; it is left alone until it does"
                feed.telemetry.failed("timeout", stuck, message)
                log.warning("a poll is stuck", extra={"source": feed.name, "seconds": round(stuck)})
                self._changed = True
