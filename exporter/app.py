"""The only place where the parts meet: build, serve, reload (build, then swap), stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from exporter import __version__, plugins
from exporter.config.masked import masked
from exporter.config.schema import Config, ModelConfig, Stream, load
from exporter.contracts import Clock, ModelStatus, Snapshot, Source, Status
from exporter.errors import ConfigError, ExporterError
from exporter.pipeline import Pipeline, report
from exporter.scheduler import Feed, Scheduler
from exporter.sources.mapping import Mapper
from exporter.state import State
from exporter.telemetry import Telemetry
from exporter.web.negotiation import Encodings
from exporter.web.page import ReloadState
from exporter.web.routes import Routes, Site
from exporter.web.server import Server

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.0005
"""Seconds until a thread that computes lets another have the interpreter: a scrape waits behind no batch."""

DOCUMENTATION = "https://github.com/model-exporter/model-exporter#readme"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says; `state` None keeps everything in memory."""

    config: Path
    state: Path | None
    address: str = ":9884"
    telemetry_path: str = "/metrics"
    lifecycle: bool = False
    announce: Callable[[int], None] = field(default=lambda port: None)
    """Called with the port once it is listened on."""


def source(stream: Stream, model: ModelConfig, clock: Clock, *, keep_ids: bool = False) -> Source:
    """The source of *stream*, ready to be polled."""
    scoped = model.labels is not None and "model" in model.labels.mapping.fields
    mapper = Mapper(stream.mapping, model.spec, clock, keep_ids, scope_by_model=scoped)
    kind = plugins.source(stream.kind)
    name = f"{model.spec.name}/{stream.mapping.role}"
    built: Source = kind(stream.source, mapper, name=name, clock=clock, lookback=stream.lookback)
    return built


class App:
    """One running exporter."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self.options = options
        self.clock = clock or Clock()
        self.telemetry = Telemetry(__version__, ("limit", "duplicate"), self.clock)
        self.config = load(options.config)
        self.state = State(options.state)
        if self.state.damaged:
            self.telemetry.state_was_corrupt()
            log.error("the state was damaged and is begun anew", extra={"kept_in": str(self.state.damaged)})
        if options.state is None:
            log.warning("the state is kept in memory: a restart reads every source from its beginning again")
        self.encodings = Encodings(self.clock)
        self.snapshot: Snapshot | None = None
        self.reloaded = ReloadState(at=self.clock.wall())
        self._reload_lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        self._statuses: dict[str, tuple[int, ModelStatus]] = {}
        self._dropped: dict[str, int] = {}
        self.scheduler = self._build(self.config)
        self.telemetry.config_loaded()

    # --- life ------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code."""
        sys.setswitchinterval(SWITCH_INTERVAL)

        server = Server(Routes(self._site()), self.options.address)
        server.start()
        self.options.announce(server.port)
        log.info("listening", extra={"port": server.port, "version": __version__, "models": len(self.config.models)})
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        signal.signal(signal.SIGHUP, lambda *_: self._wake.set())
        self.scheduler.start()
        while not self._ending:
            self._wake.wait()
            self._wake.clear()
            if not self._ending:
                self.reload()
        log.info("stopping")
        server.stop()
        self.scheduler.stop()
        self.state.close()
        return 0

    def end(self) -> None:
        self._ending = True
        self._wake.set()

    def reload(self) -> str | None:
        """Read the config again and run on with it; with a faulty one, run on with the old.  Returns the faults."""
        with self._reload_lock:
            try:
                new = load(self.options.config)
                if new != self.config:
                    self._swap(new)
            except ExporterError as error:
                self.telemetry.config_refused()
                self.reloaded = ReloadState(at=self.clock.wall(), problem=str(error))
                log.error("the config was not reloaded; the old one runs on", extra={"faults": str(error)})  # noqa: TRY400
                return str(error)
            self.telemetry.config_loaded()
            self.reloaded = ReloadState(at=self.clock.wall())
            log.info("the config was reloaded")
            return None

    def _swap(self, config: Config) -> None:
        """Stop counting for a moment, and go on with *config*; with the old one if that cannot be built."""
        old = self.config
        for name, model in config.models.items():
            for stream in _streams(model):
                source(stream, model, self.clock).close()
                log.debug("source can be built", extra={"model": name, "role": stream.mapping.role})
        self.scheduler.stop()
        try:
            self.scheduler.pipeline.save()
            self.scheduler = self._build(config)
            self.config = config
        except ExporterError:
            self.scheduler = self._build(old)
            raise
        finally:
            self.scheduler.start()
        gone = {(name, role) for name, model in old.models.items() for role in _roles(model)}
        for key in gone - {(name, role) for name, model in config.models.items() for role in _roles(model)}:
            self.telemetry.remove_source(*key)

    def _build(self, config: Config) -> Scheduler:
        pipeline = Pipeline(config, self.state)
        feeds: list[Feed] = []
        for name, model in config.models.items():
            before: Feed | None = None
            for stream in _streams(model):
                role = stream.mapping.role
                cursor = pipeline.cursor(name, role)
                before = Feed(
                    key=(name, role),
                    source=source(stream, model, self.clock),
                    telemetry=self.telemetry.source(name, role, stream.kind),
                    interval=stream.interval,
                    timeout=stream.timeout,
                    stale_after=stream.stale_after,
                    note=_note(stream),
                    cursor=cursor,
                    committed=cursor,
                    after=before,
                )
                feeds.append(before)
        self._statuses.clear()
        self._dropped.clear()
        return Scheduler(pipeline, feeds, self.telemetry, self._publish, self.clock)

    # --- what is shown ---------------------------------------------------------------------------

    def _publish(self, stale: set[str]) -> None:
        pipeline = self.scheduler.pipeline
        for reason, count in pipeline.exposition.dropped.items():
            self.telemetry.series_dropped(reason, count - self._dropped.get(reason, 0))
            self._dropped[reason] = count
        status = Status(models=self._models(pipeline), sources=self.scheduler.sources())
        own = (self.telemetry.render(), self.telemetry.render_openmetrics())
        snapshot = pipeline.snapshot(self.clock.wall(), own, status, stale)
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
            healthy=lambda: self.scheduler.healthy(),
            ready=self._ready,
            config_text=lambda: masked(self.config),
            reload_state=lambda: self.reloaded,
            version=__version__,
            documentation=DOCUMENTATION,
            reload=self.reload if self.options.lifecycle else None,
            telemetry_path=self.options.telemetry_path,
            encodings=self.encodings,
        )

    def _ready(self) -> str | None:
        return self.scheduler.ready() or (None if self.snapshot else "The first cycle has not ended.")


def default_state_path() -> Path:
    """Where the state is kept unless the user says otherwise: $STATE_DIRECTORY (systemd's), else XDG's place."""
    systemd = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if systemd:
        return Path(systemd)
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home) / "model-exporter"


def _streams(model: ModelConfig) -> list[Stream]:
    return [model.predictions, *([model.labels] if model.labels else [])]


def _roles(model: ModelConfig) -> list[str]:
    return [stream.mapping.role for stream in _streams(model)]


def _note(stream: Stream) -> str | None:
    return "rows carry no time: the moment of reading stands for it" if stream.arrival_time else None


__all__ = ["App", "ConfigError", "Options", "default_state_path", "source"]
