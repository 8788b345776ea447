"""The model servers of a config: who watches them, and the one that the exporter runs as its own child."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from exporter import plugins
from exporter.config.faults import listed
from exporter.config.resolved import Config, ProbeConfig, TargetConfig
from exporter.config.targets import needs_life
from exporter.contracts import Clock, MetricSpec, Snapshot, WindowSpec
from exporter.errors import ConfigError, ExporterError, Fault
from exporter.pipeline import Pipeline
from exporter.scheduler import Watcher
from exporter.telemetry import Telemetry

if TYPE_CHECKING:
    from exporter.probes.endings import Exit
    from exporter.probes.supervisor import Supervisor

RUN: Final = "run"
"""Stands for the probe of the model server that the exporter runs."""

_NAME: Final = "server"
_WINDOWS: Final = (WindowSpec(name="1h", seconds=3600.0), WindowSpec(name="24h", seconds=86400.0))


class Targets:
    """What must be known beside the config to watch its targets: which of them is run by *supervisor*, if any.

    Without a *name* that is the only target without a probe of its life.  Raises ConfigError, naming the file *path*,
    for targets whose life nothing tells, and ExporterError if it is not clear which target is run.
    """

    def __init__(self, path: Path, config: Config, supervisor: Supervisor | None, name: str | None) -> None:
        self.supervisor = supervisor
        self._path = path
        self._name = None if supervisor is None else name or _only_free(config)
        self.check(config)

    def check(self, config: Config) -> None:
        """Raise ConfigError unless just one probe tells the life of every target."""
        faults = []
        for name, target in config.targets.items():
            if name == self._name and target.life is not None:
                message = f"is run by the exporter: remove {target.life.kind}, or name another with --target NAME"
            elif name != self._name and target.life is None:
                message = needs_life(name)
            else:
                continue
            faults.append(Fault(str(self._path), 1, 1, f"targets.{name}", message))
        if faults:
            raise ConfigError(faults)

    def effective(self, config: Config) -> Config:
        """*config* with the model server that the exporter runs as one of its targets."""
        if self._name is None:
            return config
        target = config.targets.get(self._name) or TargetConfig(name=self._name, windows=_WINDOWS)
        target = replace(target, life=ProbeConfig(kind=RUN, settings=None))
        return replace(config, targets={**config.targets, target.name: target})

    # --- probes ----------------------------------------------------------------------------------

    def specs(self, effective: Config) -> list[MetricSpec]:
        """Every metric that the probes of an `effective` config give."""
        probes = [probe for target in effective.targets.values() for probe in target.probes]
        return list({spec.name: spec for probe in probes for spec in _kind(probe).specs}.values())

    def try_out(self, config: Config, clock: Clock) -> None:
        """Build all probes of *config* once, so that one that cannot be built is known before anything is stopped."""
        for target in config.targets.values():
            for probe in target.probes:
                self._probe(target, probe, clock).close()

    def watchers(
        self, pipeline: Pipeline, telemetry: Telemetry, clock: Clock, before: Sequence[Watcher]
    ) -> list[Watcher]:
        """One watcher for every probe of the pipeline's config; those of *before* whose probe stays the same go on."""
        watchers = []
        for target in pipeline.config.targets.values():
            for probe in target.probes:
                same = (one for one in before if one.target == target.name and one.config == probe)
                watcher = next(same, None) or Watcher(
                    target=target.name,
                    config=probe,
                    probe=self._probe(target, probe, clock),
                    telemetry=telemetry.probe(target.name, probe.kind),
                    interval=target.interval,
                    timeout=target.timeout,
                    cursor=pipeline.targets[target.name].cursor(probe),
                )
                watcher.interval, watcher.timeout, watcher.ahead = target.interval, target.timeout, 0
                watchers.append(watcher)
        return watchers

    def _probe(self, target: TargetConfig, probe: ProbeConfig, clock: Clock) -> Any:
        if probe.kind == RUN:
            return self.supervisor
        return _kind(probe)(probe.settings, name=target.name, clock=clock)

    # --- the child -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the model server that the exporter is to run, unless it runs; raises SourceUnavailable."""
        if self.supervisor is not None and not self.supervisor.running:
            self.supervisor.start()

    def forwarded(self) -> frozenset[int]:
        """The signals that are for the child, too."""
        if self.supervisor is None:
            return frozenset()
        from exporter.probes.supervisor import FORWARDED  # noqa: PLC0415

        return frozenset(FORWARDED)

    def forward(self, number: int) -> None:
        """Pass a signal on to the model server that the exporter runs, if there is one."""
        if self.supervisor is not None:
            self.supervisor.forward(number)

    def stop(self) -> Exit | None:
        """Stop the model server that the exporter runs, and tell how it has ended, if that is known."""
        if self.supervisor is None:
            return None
        return self.supervisor.stop() if self.supervisor.running else self.supervisor.wait(0)

    def end_is_shown(self, snapshot: Snapshot | None, *, served: bool) -> bool:
        """Whether *snapshot* tells of the end of the child, and has been scraped if it must have been *served*."""
        if snapshot is None or (served and not snapshot.served):
            return False
        return any(one.target == self._name and one.up is False for one in snapshot.status.probes)


def dismiss(before: Sequence[Watcher], now: Sequence[Watcher], telemetry: Telemetry) -> None:
    """Let go of watchers that are there no more."""
    names = {watcher.name for watcher in now}
    for watcher in before:
        if watcher not in now:
            watcher.close()
            if watcher.name not in names:
                telemetry.remove_probe(watcher.target, watcher.config.kind)


def _only_free(config: Config) -> str:
    free = [name for name, target in config.targets.items() if target.life is None]
    if len(free) > 1:
        raise ExporterError(f"{listed(free)}: none of them has a probe of its life; say which is run: --target NAME")
    return free[0] if free else _NAME


def _kind(probe: ProbeConfig) -> Any:
    if probe.kind != RUN:
        return plugins.probe(probe.kind)
    from exporter.probes.supervisor import Supervisor  # noqa: PLC0415 - psutil is for who watches processes

    return Supervisor
