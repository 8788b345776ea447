"""The probe that asks a container engine, Docker's or Podman's, over its API.

How a container ended is in the engine's events, which are read in windows of whole seconds of the engine's own
clock, each event in just one of them.  A window ends a little before now, because what explains an end (a stop, a
want of memory) may be told just after it.  The engine forgets old events: where they do not explain the state of the
container, its state tells what it can, and the rest is of unknown cause.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from exporter.contracts import Clock, Cursor, Deadline, Ending, MetricSpec, Reading, Sight
from exporter.errors import SourceError
from exporter.probes import resources
from exporter.probes.asking import Answer, address, decode, expect, get
from exporter.probes.endings import Exit, ending
from exporter.probes.engine import Container, Death, Event, Signs, Stats, deaths, events
from exporter.probes.observing import Stopwatch, UnknownIsCrash, unknown

_SETTLE: Final = 2  # seconds
_NANO: Final = 10**9
_WAY_OUT: Final = (
    "add the exporter's user to the group of the socket, or give it a proxy of the socket that only reads"
)


class DockerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container of Docker or Podman: up, ends and their causes, CPU and memory against their limits."""

    container: Annotated[str, Meta(description="Name or id of the container.", pattern="^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]
    socket: Annotated[str, Meta(description="Socket of the engine, or its address as tcp://HOST:PORT.")] = (
        "/var/run/docker.sock"
    )
    stats: Annotated[
        bool, Meta(description="Whether to ask for CPU and memory as well; not beside `cgroup`, which tells more.")
    ] = True
    unknown_is_crash: UnknownIsCrash = False

    def __post_init__(self) -> None:
        address(self.socket)

    @property
    def measured(self) -> dict[str, str]:
        """See `contracts.Probe`."""
        return {"container": "stats: false"} if self.stats else {}


class _State(msgspec.Struct, kw_only=True):
    """What the cursor says.

    Events before `until` (seconds of the engine's clock) have been read; `asked` and `starved` are their signs.
    `started`, `restarts` and `up` are the container's at the last look, at `looked`.
    """

    until: int
    looked: float
    asked: int | None = None
    starved: int | None = None
    started: float | None = None
    restarts: int = 0
    up: bool = False


class Docker:
    """A Probe of one container; see the module for how it counts."""

    Config: ClassVar[type[msgspec.Struct]] = DockerConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = (*resources.CPU, *resources.MEMORY)

    def __init__(self, config: DockerConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._server = address(config.socket)
        self._stopwatch = Stopwatch(clock)
        self._pace = resources.Pace()

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """See what happened to the container; raises a SourceError when the engine does not answer."""
        state = msgspec.convert(cursor, _State) if cursor is not None else None
        container, now = self._inspect(deadline)
        until = now if state is None else max(state.until, now - _SETTLE)
        endings: list[Ending] = []
        signs = Signs()
        if state is not None and now < state.until:  # the engine's clock was set back
            until = now
            endings = self._told_by_state(state, container)
        elif state is not None:
            happened = self._events(state.until, now, deadline)
            settled = [event for event in happened if event.nanoseconds < until * _NANO]
            before = Signs(state.asked, state.starved)
            found, _ = deaths(happened, container.stop_signal, before)
            _, signs = deaths(settled, container.stop_signal, before)
            endings = [self._judged(death, container) for death in found if death.nanoseconds < until * _NANO]
            endings += self._forgotten(state, container, settled, until)
        readings, detail = self._readings(container, deadline) if container.up else ((), container.detail)
        observed, looked = self._stopwatch.lap(state.looked if state else None)
        after = _State(
            until=until,
            looked=looked,
            asked=signs.asked,
            starved=signs.starved,
            started=container.started,
            restarts=container.restart_count,
            up=container.up,
        )
        return Sight(
            up=container.up,
            start_time=container.started if container.up else None,
            endings=tuple(endings),
            observed=observed,
            readings=tuple(readings),
            cursor=msgspec.to_builtins(after),
            detail=detail,
        )

    def close(self) -> None:
        """Nothing: no connection outlives a look."""

    # --- asking ------------------------------------------------------------------------------------

    def _get(self, target: str, deadline: Deadline) -> Answer:
        return get(self._server, target, deadline, way_out=_WAY_OUT)

    def _inspect(self, deadline: Deadline) -> tuple[Container, int]:
        """The container (one that is down where there is none of the name), and the engine's time in seconds."""
        target = f"/containers/{quote(self._config.container)}/json"
        answer = self._get(target, deadline)
        now = int(self._clock.wall() if answer.date is None else answer.date)
        if answer.status == 404:
            return Container.absent(f"there is no container {self._config.container}"), now
        return decode(expect(answer, self._server, target).body, Container, self._server), now

    def _events(self, since: int, until: int, deadline: Deadline) -> list[Event]:
        """What happened to the container from *since* on, in order."""
        filters = json.dumps({"type": ["container"], "container": [self._config.container]})
        target = "/events?" + urlencode({"since": since, "until": until, "filters": filters})
        body = expect(self._get(target, deadline), self._server, target).body
        return [event for event in events(body, self._server) if event.nanoseconds >= since * _NANO]

    def _readings(self, container: Container, deadline: Deadline) -> tuple[tuple[Reading, ...], str]:
        """CPU and memory, or why they are not known: that is no reason to miss an end."""
        if not self._config.stats:
            return (), container.detail
        target = f"/containers/{quote(self._config.container)}/stats?stream=false&one-shot=true"
        try:
            answer = self._get(target, deadline)
            if answer.status in {404, 409}:  # it ended since
                return (), container.detail
            stats = decode(expect(answer, self._server, target).body, Stats, self._server)
        except SourceError as error:
            return (), f"no CPU and memory: {error}"
        return tuple(self._used(container, stats)), container.detail

    def _used(self, container: Container, stats: Stats) -> Iterator[Reading]:
        seconds, cores = stats.cpu_seconds, container.cores or stats.cores
        ratio = None
        if seconds is not None:
            ratio = self._pace.ratio(f"{container.id} {container.started}", self._clock.monotonic(), seconds, cores)
        yield from resources.cpu("container", seconds, cores, ratio)
        yield from resources.memory("container", stats.memory_used, stats.memory_limit)

    # --- judging -----------------------------------------------------------------------------------

    def _judged(self, death: Death, container: Container) -> Ending:
        moment = death.nanoseconds / _NANO
        last = container.finished is not None and abs(container.finished - moment) < 1
        out_of_memory = death.out_of_memory or (last and container.out_of_memory)
        return ending(
            None if death.code is None else Exit(code=death.code),
            moment,
            stop_requested=death.stop_requested,
            oom_killed=out_of_memory,
        )

    def _forgotten(self, state: _State, container: Container, settled: list[Event], until: int) -> list[Ending]:
        """The ends in the window up to *until* that the container's state shows, and no event any more."""
        changed = container.started if container.up else container.finished
        known = {"start", "die", "died"} if container.up else {"die", "died"}
        if changed is None or not state.until <= changed < until or any(event.action in known for event in settled):
            return []
        return self._told_by_state(state, container)

    def _told_by_state(self, state: _State, container: Container) -> list[Ending]:
        """The end that the state of the container still shows, or one of unknown cause per restart."""
        if container.started == state.started and container.up == state.up:
            return []
        if not container.up:
            if container.finished is None:
                return []
            asked = state.asked is not None
            how = Exit(code=container.exit_code)
            return [ending(how, container.finished, stop_requested=asked, oom_killed=container.out_of_memory)]
        count = max(int(state.up), container.restart_count - state.restarts)
        moment = self._clock.wall() if container.started is None else container.started
        return [unknown(moment, crash=self._config.unknown_is_crash)] * count
