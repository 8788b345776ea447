"""The probe that measures the cgroup of a model server, of version 1, 2 or both, and the host around it.

It only measures: CPU, memory and tasks against their limits, throttling and kills for want of memory.  Counts begin
anew with the cgroup, that is with each new container.
"""

# Paths stay texts: some thirty small files are read at each look.
# ruff: noqa: PTH110, PTH116

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import Meta

from exporter.contracts import Clock, Cursor, Deadline, MetricSpec, Reading, Sight
from exporter.errors import SourceDenied, SourceUnavailable
from exporter.probes import host, resources
from exporter.probes.cgroups import kernel, places, v1, v2
from exporter.probes.cgroups.places import Place
from exporter.probes.resources import reading

_SCOPE: Final = ("scope",)
_CONTAINER: Final = (("scope", "container"),)
_VERSIONS: Final[dict[int, ModuleType]] = {1: v1, 2: v2}
_GONE: Final = {errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.ENOTDIR}

PERIODS: Final = MetricSpec(
    "model_server_cpu_periods_total", "counter", "Scheduling periods that passed under a CPU quota.", _SCOPE
)
THROTTLED: Final = MetricSpec(
    "model_server_cpu_throttled_periods_total",
    "counter",
    "Scheduling periods in which the CPU quota ran out; by all periods, the share of time under pressure.",
    _SCOPE,
)
OOM_KILLS: Final = MetricSpec(
    "model_server_oom_kills_total", "counter", "Processes killed for want of memory.", _SCOPE
)
OOMS: Final = MetricSpec(
    "model_server_oom_events_total", "counter", "Times that memory ran out at the limit; cgroup v2 only.", _SCOPE
)
TASKS: Final = MetricSpec("model_server_tasks_used", "gauge", "Processes and threads.", _SCOPE)
TASKS_LIMIT: Final = MetricSpec(
    "model_server_tasks_limit", "gauge", "Processes and threads allowed; absent without a limit.", _SCOPE
)
TASKS_REFUSED: Final = MetricSpec(
    "model_server_tasks_refused_total", "counter", "Processes and threads not started for that limit.", _SCOPE
)


class CgroupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CPU, memory and tasks of a cgroup against its limits; by default of the exporter's own."""

    pid: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Process of the model server, whose cgroup is measured.")
    ] = None
    pid_file: Annotated[str | None, Meta(description="File with the number of that process.")] = None
    path: Annotated[
        str | None, Meta(description="Path of the cgroup itself, such as /system.slice/model.service.")
    ] = None
    scopes: Annotated[
        tuple[Literal["container", "host"], ...],
        Meta(min_length=1, description="What is measured: `container` is the cgroup, `host` the machine around it."),
    ] = ("container", "host")
    root: Annotated[str, Meta(description="Where cgroups are mounted.")] = "/sys/fs/cgroup"
    proc: Annotated[str, Meta(description="Where the kernel tells of processes and of the host.")] = "/proc"

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.pid, self.pid_file, self.path)) > 1:
            raise ValueError("needs only one of pid, pid_file and path")

    @property
    def measured(self) -> dict[str, str]:
        """See `contracts.Probe`."""
        return {scope: f"scopes without {scope}" for scope in self.scopes}


class Cgroup:
    """A Probe of one cgroup; `look` raises SourceUnavailable if it is gone, SourceDenied if it may not be read."""

    Config: ClassVar = CgroupConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *resources.CPU,
        PERIODS,
        THROTTLED,
        *resources.MEMORY,
        resources.MEMORY_PEAK,
        OOM_KILLS,
        OOMS,
        TASKS,
        TASKS_LIMIT,
        TASKS_REFUSED,
    )

    def __init__(self, config: CgroupConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._pace = {scope: resources.Pace() for scope in config.scopes}
        self._known: tuple[str, dict[str, Place]] | None = None

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:  # noqa: ARG002 - reading memory takes no time
        """CPU, memory and tasks now; the CPU ratio is that since the look before, absent at the first."""
        readings: list[Reading] = []
        detail = ""
        try:
            if "container" in self._config.scopes:
                found = self._find()
                readings += self._container(found)
                detail = _told(found)
            if "host" in self._config.scopes:
                readings += self._host()
        except PermissionError as error:
            raise SourceDenied(f"{error.filename}: permission denied; {self._way_in(str(error.filename))}") from None
        except OSError as error:
            if error.errno not in _GONE:
                raise SourceUnavailable(f"{error.filename}: {error.strerror}") from None
            self._known = None
            raise SourceUnavailable(f"{error.filename}: the cgroup or its process has ended") from None
        return Sight(readings=tuple(readings), detail=detail)

    def close(self) -> None:
        """Nothing is held open."""

    # --- where ---------------------------------------------------------------------------------------

    def _find(self) -> dict[str, Place]:
        """The places by controller, found anew when the process has moved; all of them exist."""
        config = self._config
        if config.path is not None:
            key, found = "", self._known[1] if self._known else places.at(config.path, self._mounts("self"))
        else:
            who = self._process()
            key = f"{who}:{self._membership(who)}"
            found = self._known[1] if self._known and self._known[0] == key else self._places(who, key)
        if not found:
            raise SourceUnavailable(self._unseen())
        self._known = key, found
        return found

    def _process(self) -> str:
        config = self._config
        if config.pid_file is None:
            return "self" if config.pid is None else str(config.pid)
        content = kernel.text(config.pid_file)
        if content is None:
            raise SourceUnavailable(f"{config.pid_file}: there is no such file; is the model server running?")
        words = content.split()
        if not words or not words[0].isascii() or not words[0].isdecimal():
            raise SourceUnavailable(f"{config.pid_file}: does not begin with the number of a process")
        return words[0]

    def _membership(self, who: str) -> str:
        content = kernel.text(f"{self._config.proc}/{who}/cgroup")
        if content is None:
            raise SourceUnavailable(f"there is no process {who} in {self._config.proc}")
        return content

    def _places(self, who: str, key: str) -> dict[str, Place]:
        paths = places.memberships(key.partition(":")[2])
        found = places.places(paths, self._mounts("self"))
        if who != "self" and len(found) < len(places.CONTROLLERS):
            beyond = self._mounts(who, f"{self._config.proc}/{who}/root")
            found = places.places(paths, beyond) | found
        return found

    def _mounts(self, who: str, seen_from: str = "") -> list[places.Mount]:
        mountinfo = kernel.text(f"{self._config.proc}/{who}/mountinfo") or ""
        return places.mounts(mountinfo, self._config.root, seen_from)

    def _unseen(self) -> str:
        if self._config.path is not None:
            return f"there is no cgroup {self._config.path} below {self._config.root}"
        return (
            f"the cgroup of the process is not visible below {self._config.root}; let the containers share their "
            "process namespace, or mount the host's cgroups and name them with root"
        )

    def _way_in(self, path: str) -> str:
        if path.startswith(f"{self._config.proc}/"):
            return "run the exporter as the model server's user, or give it CAP_SYS_PTRACE"
        return "let the exporter's user read it"

    # --- what ----------------------------------------------------------------------------------------

    def _container(self, found: dict[str, Place]) -> Iterator[Reading]:
        for folder in {place.folder for place in found.values()}:
            os.stat(folder)  # a cgroup that has gone says nothing of its files, one without a controller too
        yield from self._cpu(found)
        yield from self._memory(found)
        if (place := found.get("pids")) is not None:
            tasks = _VERSIONS[place.version].tasks(place)
            yield from reading(TASKS, _CONTAINER, tasks.used)
            yield from reading(TASKS_LIMIT, _CONTAINER, tasks.limit)
            yield from reading(TASKS_REFUSED, _CONTAINER, tasks.refused)

    def _cpu(self, found: dict[str, Place]) -> Iterator[Reading]:
        counted, limited = found.get("cpuacct"), found.get("cpu")
        cores = self._cores(found)
        seconds = ratio = None
        if counted is not None:
            whose = f"{counted.folder}:{os.stat(counted.folder).st_ino}"
            moment = self._clock.monotonic()
            seconds = _VERSIONS[counted.version].seconds(counted)
            if seconds is not None:
                ratio = self._pace["container"].ratio(whose, moment, seconds, cores)
        yield from resources.cpu("container", seconds, cores, ratio)
        if limited is not None:
            throttling = _VERSIONS[limited.version].throttling(limited)
            yield from reading(PERIODS, _CONTAINER, throttling.periods)
            yield from reading(THROTTLED, _CONTAINER, throttling.throttled)

    def _cores(self, found: dict[str, Place]) -> float | None:
        """The least of the quota and the cores allowed; of a process where no cpuset says, else of the host."""
        limited, allowed = found.get("cpu"), found.get("cpuset")
        quota = None if limited is None else _VERSIONS[limited.version].quota(limited)
        cpus = None if allowed is None else _VERSIONS[allowed.version].cpus(allowed)
        if cpus is None and self._config.path is None:
            path = f"{self._config.proc}/{self._process()}/status"
            cpus = kernel.listed(kernel.table(path).get("Cpus_allowed_list", ""), path)
        return kernel.least([quota, cpus or host.cpu(self._config.proc)[1]])

    def _memory(self, found: dict[str, Place]) -> Iterator[Reading]:
        place = found.get("memory")
        if place is None:
            return
        memory = _VERSIONS[place.version].memory(place)
        used, total = host.memory(self._config.proc)
        if memory.used is None:
            if is_root(place):
                yield from resources.memory("container", used, total)
            return
        limit = kernel.least([memory.limit, total])
        yield from resources.memory("container", memory.used, limit)
        yield from reading(resources.MEMORY_PEAK, _CONTAINER, memory.peak)
        yield from reading(OOM_KILLS, _CONTAINER, memory.oom_kills)
        yield from reading(OOMS, _CONTAINER, memory.ooms)

    def _host(self) -> Iterator[Reading]:
        moment = self._clock.monotonic()
        seconds, cores = host.cpu(self._config.proc)
        ratio = None if seconds is None else self._pace["host"].ratio("host", moment, seconds, cores)
        yield from resources.cpu("host", seconds, cores, ratio)
        yield from resources.memory("host", *host.memory(self._config.proc))


def is_root(place: Place) -> bool:
    """Whether this is the root of all cgroups of version 2, which has no events and no memory of its own."""
    return place.version == 2 and not os.path.exists(f"{place.folder}/cgroup.events")


def _told(found: dict[str, Place]) -> str:
    place = found.get("memory") or next(iter(found.values()))
    root = "; this is the root of all cgroups, its memory is the host's" if is_root(place) else ""
    return f"cgroup v{place.version} {place.folder}{root}"
