"""The only place where the parts meet: build, serve, reload (build, then swap), stop."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.config.masked import masked
from exporter.config.schema import Config, ModelConfig, Stream, load
from exporter.contracts import Clock, Cursor, ModelStatus, Snapshot, Status
from exporter.errors import ConfigError, ExporterError, StateDamaged, StateError
from exporter.pipeline import Pipeline, report, servers
from exporter.scheduler import Feed, Key, Scheduler, Watcher
from exporter.sources.building import source
from exporter.state import State
from exporter.targets import Targets, dismiss
from exporter.telemetry import Telemetry
from exporter.web.negotiation import Encodings
from exporter.web.page import ReloadState
from exporter.web.routes import Routes, Site
from exporter.web.server import Server

if TYPE_CHECKING:
    from exporter.probes.supervisor import Supervisor

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""Seconds until a thread that computes lets another have the interpreter: a scrape waits behind no batch."""

RELOAD_WITHIN = 3.0
STOP_WITHIN, SERVER_STOP_WITHIN = 2.5, 1.0
"""Seconds that parts get to end; supervisors grow impatient after five."""

LAST_SCRAPE_WITHIN, LAST_LOOK_WITHIN = 5.0, 1.5
"""Seconds for which the end of the model server can still be scraped if it ended by itself, or is still counted."""

ANNOUNCE_AFTER = 10.0
"""Seconds after which it is said where to look even if the backlog is still being read."""

_RELOAD, _END = b"r", b"e"  # no numbers of signals, which are below 65
DOCUMENTATION = "https://github.com/model-exporter/model-exporter#readme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says; `state` None keeps everything in memory."""

    config: Path
    state: Path | None
    address: str = ":9884"
    telemetry_path: str = "/metrics"
    lifecycle: bool = False
    supervisor: Supervisor | None = None
    """The model server that this exporter runs as its own child, already started."""
    target: str | None = None
    """The name under which it is watched; None: that of the only target without a probe of its life."""
    announce: Callable[[int], None] = field(default=lambda port: None)  # noqa: ARG005 - its name tells callers
    """Called with the port once there is something to see on it."""


class App:
    """One running exporter."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or Clock()
        self.telemetry = Telemetry(__version__, ("limit", "duplicate"), self.clock)
        self.config = load(options.config)
        self.targets = Targets(options.config, self.config, options.supervisor, options.target)
        self.encodings = Encodings(self.clock)
        self.snapshot: Snapshot | None = None
        self.reloaded = ReloadState(at=self.clock.wall())
        self._reload_lock = threading.Lock()
        self._asked = self._asking = -1
        """While it serves, the ends of a pipe: signals write their numbers into it, others what they ask for."""
        self._asked_early = b""
        self._ending = self._stop_asked = False
        self._statuses: dict[str, tuple[int, ModelStatus]] = {}
        self._dropped: dict[str, int] = {}
        self.state = State(options.state)
        try:
            if options.state is None:
                self._warn_of_memory()
            self.scheduler = self._build_on_what_is_kept()
        except BaseException:
            self.state.close()
            raise
        self.telemetry.config_loaded()

    def _warn_of_memory(self) -> None:
        """Say what a state in memory costs."""
        log.warning(
            "the state is kept in memory: with this process, counts end, and predictions are forgotten whose labels "
            "come later; sources are read from their end on"
        )
        for name, model in self.config.models.items():
            for stream in model.streams:
                if stream.first(in_memory=True) != 0:
                    log.warning(
                        "every start reads old rows again, and counts them again",
                        extra={"source": f"{name}/{stream.mapping.role}"},
                    )

    # --- life ------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code.  Raises ListenError.  For the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        signal.signal(signal.SIGHUP, self._asked_to_reload)
        for other in self.targets.forwarded() - {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
            signal.signal(other, lambda number, _: self.targets.forward(number))
        sys.setswitchinterval(SWITCH_INTERVAL)
        with self.serving() as server:
            fields = {"port": server.port, "version": __version__, "models": len(self.config.models)}
            log.info("listening", extra=fields)
            # The kernel may give a signal to any thread; without this, the main one would sleep on.
            signal.set_wakeup_fd(self._asking, warn_on_full_buffer=False)
            try:
                self._attend(server.port)
                log.info("stopping")
                return self._see_off()
            finally:
                signal.set_wakeup_fd(-1)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Server]:
        """Run all parts while the context lasts; at its end what was read is counted and saved."""
        server = Server(Routes(self._site()), self.options.address)
        try:
            self.scheduler.cycle()  # so that the very first scrape finds a snapshot
            server.start()
            self.targets.start()
        except BaseException:
            server.stop(SERVER_STOP_WITHIN)
            self.state.close()
            raise
        self.scheduler.start()
        self._asked, self._asking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._ask(self._asked_early)
        try:
            yield server
        finally:
            self._ending = True
            self.targets.stop()
            with self._reload_lock:  # a reload that is under way would start what is stopped here
                ended = self.scheduler.stop(STOP_WITHIN)
            server.stop(SERVER_STOP_WITHIN)
            for watcher in self.scheduler.watchers:
                watcher.close()
            if ended:  # else its last commit is whole, and the next start goes on from there
                self.state.close()
            ends, self._asking = (self._asked, self._asking), -1
            for end in ends:
                os.close(end)

    def _attend(self, port: int) -> None:
        """Reload when asked, until the end; announce as soon as there is something to see."""
        announce_by = self.clock.monotonic() + ANNOUNCE_AFTER
        announced = False
        while not self._ending:
            asked = self._wait(None if announced else 0.05)
            if not announced and (self.scheduler.ready() is None or self.clock.monotonic() >= announce_by):
                self.options.announce(port)
                announced = True
            if asked and not self._ending:
                self.reload()

    def _wait(self, timeout: float | None) -> bool:
        """Wait until something is asked for; however often it was, it is one reload."""
        select.select([self._asked], [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            return _RELOAD in os.read(self._asked, 1 << 16)
        return False

    def _ask(self, what: bytes) -> None:
        if self._asking < 0:
            self._asked_early += what
            return
        with contextlib.suppress(BlockingIOError):  # it is full, and will be read
            os.write(self._asking, what)

    def end(self) -> None:
        """Stop, and the model server with it if this exporter runs it."""
        self._stop_asked = True
        self.leave()

    def leave(self) -> None:
        """Stop, because the model server that this exporter ran has ended."""
        self._ending = True
        self._ask(_END)

    def _asked_to_reload(self, number: int, _: object) -> None:
        self.targets.forward(number)
        self._ask(_RELOAD)

    def reload(self) -> str | None:
        """Read the config again and run on with it; with a faulty one, run on with the old.  Returns the faults."""
        with self._reload_lock:
            if self._ending:
                return "The exporter is being stopped."
            problem = self._try_to_reload()
            self.reloaded = ReloadState(at=self.clock.wall(), problem=problem)
            if problem is None:
                self.telemetry.config_loaded()
                log.info("the config was reloaded")
            else:
                self.telemetry.config_refused()
                log.error("the config was not reloaded; the old one runs on", extra={"faults": problem})
            self.scheduler.show_soon()
            return problem

    def _try_to_reload(self) -> str | None:
        try:
            new = load(self.options.config)
            self.targets.check(new)
            if new != self.config:
                self._swap(new)
        except ExporterError as error:
            return str(error)
        except Exception as error:  # whatever a new config brings to light, the old one runs on
            log.exception("a reload failed in an unforeseen way")
            return f"unforeseen {type(error).__name__}; the log says where"
        return None

    def _swap(self, config: Config) -> None:
        """Stop counting for a moment, and go on with *config*; with the old one if that cannot be built."""
        for model in config.models.values():
            for stream in model.streams:
                source(stream, model, self.clock).close()
        self.targets.try_out(config, self.clock)
        try:
            if not self.scheduler.stop(RELOAD_WITHIN) or self.scheduler.pipeline.unsaved:
                raise StateError("what was counted is not saved yet; ask again when it is (the log tells)")
            old = {feed.key: feed for feed in self.scheduler.feeds}
            watchers = self.scheduler.watchers
            try:
                self.scheduler = self._build(config, old, watchers)
                self.config = config
            except Exception:
                self.scheduler = self._build(self.config, old, watchers)
                raise
            dismiss(watchers, self.scheduler.watchers, self.telemetry)
        finally:
            self.scheduler.start()

    def _build_on_what_is_kept(self) -> Scheduler:
        """All parts, on a new state if what is kept cannot be understood: else no start would ever get further."""
        problem = ""
        try:
            built = self._build(self.config, {}, ())
        except StateDamaged as error:
            problem = str(error)
            self.state.begin_anew()
            built = self._build(self.config, {}, ())
        if self.state.damaged:
            self.telemetry.state_was_corrupt()
            fields = {"kept_in": str(self.state.damaged), **({"problem": problem} if problem else {})}
            log.error("the state was damaged and is begun anew", extra=fields)
        return built

    def _build(self, config: Config, before: dict[Key, Feed], watching: Sequence[Watcher]) -> Scheduler:
        """All parts of *config*; feeds whose source stays the same take over from those *before*.

        Watchers of *watching* whose probe stays the same are used again.
        """
        effective = self.targets.effective(config)
        pipeline = Pipeline(effective, self.state, self.targets.specs(effective))
        kinds = _kinds(config)
        for key, kind in _kinds(self.config).items():
            if kinds.get(key) != kind:
                self.telemetry.remove_source(*key)
        feeds: list[Feed] = []
        for name, model in config.models.items():
            after: Feed | None = None
            for stream in model.streams:
                role = stream.mapping.role
                after = self._feed(stream, model, pipeline.cursor(name, role), after)
                old = before.get(after.key)
                if old and _same_source(stream, self.config, name):
                    after.take_over(old)
                feeds.append(after)
        watchers = self.targets.watchers(pipeline, self.telemetry, self.clock, watching)
        self._statuses.clear()
        self._dropped.clear()
        return Scheduler(pipeline, feeds, self.telemetry, self._publish, self.clock, watchers=watchers)

    def _feed(self, stream: Stream, model: ModelConfig, cursor: Cursor | None, after: Feed | None) -> Feed:
        name, role = model.spec.name, stream.mapping.role
        return Feed(
            key=(name, role),
            source=source(stream, model, self.clock, in_memory=self.options.state is None),
            telemetry=self.telemetry.source(name, role, stream.kind),
            interval=stream.interval,
            timeout=stream.timeout,
            stale_after=stream.stale_after,
            heard=self.clock.monotonic(),
            note=_note(stream),
            cursor=cursor,
            after=after,
        )

    def _see_off(self) -> int:
        """Stop the model server if this exporter runs it, and let its end be seen; returns the exit code."""
        asked = self._stop_asked
        how = self.targets.stop()
        if self.targets.supervisor is None:
            return 0
        self.scheduler.look_now()
        until = self.clock.monotonic() + (LAST_LOOK_WITHIN if asked else LAST_SCRAPE_WITHIN)
        while self.clock.monotonic() < until and not self.targets.end_is_shown(self.snapshot, served=not asked):
            time.sleep(0.05)
        return 0 if asked or how is None else how.exit_code

    # --- what is shown ---------------------------------------------------------------------------

    def _publish(self, scheduler: Scheduler) -> None:
        pipeline = scheduler.pipeline
        pipeline.show(scheduler.stale())
        self.telemetry.shown(pipeline.exposition.series)
        for reason, count in pipeline.exposition.dropped.items():
            self.telemetry.series_dropped(reason, count - self._dropped.get(reason, 0))
            self._dropped[reason] = count
        status = Status(
            models=self._models(pipeline),
            sources=scheduler.sources(),
            probes=tuple(map(servers.status, pipeline.targets.values())),
        )
        own = (self.telemetry.render(), self.telemetry.render_openmetrics())
        snapshot = pipeline.exposition.render(self.clock.wall(), own, status)
        self.encodings.prepare(snapshot)
        self.snapshot = snapshot

    def _models(self, pipeline: Pipeline) -> tuple[ModelStatus, ...]:
        for name, ledger in pipeline.ledgers.items():
            known = self._statuses.get(name)
            if known is None or known[0] != ledger.revision:
                self._statuses[name] = (ledger.revision, report.status(ledger))
        return tuple(status for _, status in self._statuses.values())

    def _site(self) -> Site:
        return Site(
            current=lambda: self.snapshot,
            healthy=lambda: self.scheduler.healthy(),  # noqa: PLW0108 - a reload puts another scheduler here
            ready=lambda: self.scheduler.ready(),  # noqa: PLW0108
            config_text=lambda: masked(self.config),
            reload_state=lambda: self.reloaded,
            version=__version__,
            documentation=DOCUMENTATION,
            reload=self.reload if self.options.lifecycle else None,
            telemetry_path=self.options.telemetry_path,
            encodings=self.encodings,
        )


def default_state_path() -> Path:
    """Where the state is kept unless the user says otherwise: $STATE_DIRECTORY (systemd's), else XDG's place."""
    systemd = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if systemd:
        return Path(systemd)
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(home) / "model-exporter"


def _kinds(config: Config) -> dict[Key, str]:
    """The kind of every source."""
    return {
        (name, stream.mapping.role): stream.kind for name, model in config.models.items() for stream in model.streams
    }


def _same_source(stream: Stream, config: Config, name: str) -> bool:
    """Whether *stream* reads what the stream of its role read in the model *name* of *config*."""
    known = config.models.get(name)
    return known is not None and any(
        (one.mapping.role, one.kind, one.source) == (stream.mapping.role, stream.kind, stream.source)
        for one in known.streams
    )


def _note(stream: Stream) -> str | None:
    return "rows carry no time: the moment of reading stands for it" if stream.arrival_time else None


__all__ = ["App", "ConfigError", "Options", "default_state_path", "source"]
