"""What a container engine answers: a container, its resources, its events; and which ends the events tell of."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import msgspec

from exporter.errors import SourceDataError
from exporter.probes.asking import Address

_STOPS: Final = {signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM}
_PATIENCE: Final = 300 * 10**9  # nanoseconds that a container may take to stop
_OOM_DELAY: Final = 10 * 10**9
_DIES: Final = {"die", "died"}


class _Health(msgspec.Struct, rename="pascal"):
    status: str = ""


class _State(msgspec.Struct, rename="pascal"):
    running: bool
    paused: bool = False
    restarting: bool = False
    out_of_memory: bool = msgspec.field(default=False, name="OOMKilled")
    exit_code: int = 0
    started_at: str = ""
    finished_at: str = ""
    health: _Health | None = None


class _Limits(msgspec.Struct, rename="pascal"):
    nano_cpus: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0


class _Settings(msgspec.Struct, rename="pascal"):
    stop_signal: str = ""


class Container(msgspec.Struct):
    """The answer to `GET /containers/{name}/json`; `problem` is ours, for a container that is not there."""

    id: str = msgspec.field(name="Id")
    state: _State = msgspec.field(name="State")
    restart_count: int = msgspec.field(default=0, name="RestartCount")
    limits: _Limits = msgspec.field(default_factory=_Limits, name="HostConfig")
    settings: _Settings = msgspec.field(default_factory=_Settings, name="Config")
    problem: str = ""

    @classmethod
    def absent(cls, problem: str) -> Container:
        return cls(id="", state=_State(running=False), problem=problem)

    @property
    def up(self) -> bool:
        """Docker says Running also while it waits to restart the container, and while it is frozen."""
        return self.state.running and not self.state.restarting and not self.state.paused

    @property
    def detail(self) -> str:
        """What is wrong, for people."""
        if self.problem or self.up:
            health = self.state.health.status if self.state.health else ""
            return self.problem or ("the health check fails" if health == "unhealthy" else "")
        if self.state.paused:
            return "the container is paused"
        waiting = ", the engine waits to restart it" if self.state.restarting else ""
        return f"the container ended with exit code {self.state.exit_code}{waiting}"

    @property
    def started(self) -> float | None:
        return _epoch(self.state.started_at)

    @property
    def finished(self) -> float | None:
        return _epoch(self.state.finished_at)

    @property
    def exit_code(self) -> int:
        return self.state.exit_code

    @property
    def out_of_memory(self) -> bool:
        return self.state.out_of_memory

    @property
    def stop_signal(self) -> str:
        return self.settings.stop_signal

    @property
    def cores(self) -> float | None:
        """The quota of CPU, in cores."""
        if self.limits.nano_cpus > 0:
            return self.limits.nano_cpus / 1e9
        return self.limits.cpu_quota / (self.limits.cpu_period or 100_000) if self.limits.cpu_quota > 0 else None


class _CpuUsage(msgspec.Struct):
    total_usage: int | None = None


class _Cpu(msgspec.Struct):
    cpu_usage: _CpuUsage = msgspec.field(default_factory=_CpuUsage)
    online_cpus: int = 0


class _Memory(msgspec.Struct):
    usage: int | None = None
    limit: int | None = None
    stats: dict[str, int] | None = None


class Stats(msgspec.Struct):
    """The answer to `GET /containers/{name}/stats`: CPU in nanoseconds, memory in bytes."""

    cpu: _Cpu = msgspec.field(default_factory=_Cpu, name="cpu_stats")
    memory: _Memory = msgspec.field(default_factory=_Memory, name="memory_stats")

    @property
    def cpu_seconds(self) -> float | None:
        total = self.cpu.cpu_usage.total_usage
        return None if total is None else total / 1e9

    @property
    def cores(self) -> float | None:
        return float(self.cpu.online_cpus) or None

    @property
    def memory_used(self) -> float | None:
        """Without the inactive file cache, as `docker stats` shows it (its name in cgroup v2, then in v1)."""
        if self.memory.usage is None:
            return None
        stats = self.memory.stats or {}
        return max(0, self.memory.usage - stats.get("inactive_file", stats.get("total_inactive_file", 0)))

    @property
    def memory_limit(self) -> float | None:
        return self.memory.limit or None


# --- events ----------------------------------------------------------------------------------------


class _Actor(msgspec.Struct):
    attributes: dict[str, str] = msgspec.field(default_factory=dict, name="Attributes")


class Event(msgspec.Struct):
    """One line of the answer to `GET /events`."""

    action: str = msgspec.field(default="", name="Action")
    actor: _Actor = msgspec.field(default_factory=_Actor, name="Actor")
    seconds: int = msgspec.field(default=0, name="time")
    nano: int = msgspec.field(default=0, name="timeNano")

    @property
    def nanoseconds(self) -> int:
        return self.nano or self.seconds * 10**9

    @property
    def exit_code(self) -> int | None:
        """Podman of some versions writes only the second name."""
        text = self.actor.attributes.get("exitCode") or self.actor.attributes.get("containerExitCode") or ""
        return int(text) if text.isdecimal() else None

    def asks_to_stop(self, stop_signal: str) -> bool:
        """Whether it makes the container end: Docker tells of the signal, Podman of the restart or stop.

        Other signals, such as a SIGHUP to read a config again, do not.  Docker tells of a restart when it is done.
        """
        if self.action == "kill":
            return _number(self.actor.attributes.get("signal", "9")) in {*_STOPS, _number(stop_signal)}
        return self.action in {"restart", "stop"} and "podId" in self.actor.attributes


@dataclass(frozen=True, slots=True)
class Death:
    nanoseconds: int
    code: int | None
    stop_requested: bool
    out_of_memory: bool


@dataclass(frozen=True, slots=True)
class Signs:
    """When a stop was asked for, and when memory ran out, if the container has not ended since; nanoseconds."""

    asked: int | None = None
    starved: int | None = None

    def death(self, event: Event) -> Death:
        """The end that *event* tells of; signs too long ago do not explain it."""
        moment = event.nanoseconds
        asked = self.asked is not None and moment - self.asked <= _PATIENCE
        starved = self.starved is not None and moment - self.starved <= _OOM_DELAY
        return Death(moment, event.exit_code, asked, starved)


_decoder: Final = msgspec.json.Decoder(Event)


def events(body: bytes, server: Address) -> list[Event]:
    """The events of *body*, one a line, in order of time; raises SourceDataError."""
    try:
        return sorted(_decoder.decode_lines(body), key=lambda event: event.nanoseconds)
    except (msgspec.DecodeError, UnicodeError):
        raise SourceDataError(f"{server}: the events cannot be read") from None


def deaths(happened: Sequence[Event], stop_signal: str, signs: Signs) -> tuple[list[Death], Signs]:
    """The ends that *happened* tells of, in order, and the signs behind it; *signs* are those before.

    What explains an end may come after it, until the container starts again: Podman tells of a stop when it is done.
    Its `restart` after an end, though, is only that of the restart policy.
    """
    found: list[Death] = []
    dead = False
    for event in happened:
        if event.action in _DIES:
            found.append(signs.death(event))
            dead, signs = True, Signs()
        elif event.action == "start":
            dead, signs = False, Signs()
        elif event.action == "oom":
            if dead:
                found[-1] = replace(found[-1], out_of_memory=True)
            else:
                signs = replace(signs, starved=event.nanoseconds)
        elif dead and event.action == "stop":
            found[-1] = replace(found[-1], stop_requested=True)
        elif not dead and event.asks_to_stop(stop_signal):
            signs = replace(signs, asked=event.nanoseconds)
    return found, signs


def _number(name: str) -> int:
    """A signal by its number or name, as engines write either; 0 for neither."""
    try:
        return int(name) if name.isdecimal() else int(signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"])
    except KeyError:
        return 0


def _epoch(text: str) -> float | None:
    """Seconds since 1970 of an RFC 3339 time; None for the year 1, by which Go says never."""
    try:
        moment = datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
    return moment if moment > 0 else None
