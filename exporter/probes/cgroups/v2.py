"""The files of cgroup version 2.  The root cgroup lacks most of them, as does one whose controller is off."""

from __future__ import annotations

from exporter.errors import SourceDataError
from exporter.probes.cgroups import kernel
from exporter.probes.cgroups.places import Place
from exporter.probes.cgroups.usage import Memory, Tasks, Throttling


def seconds(place: Place) -> float | None:
    """CPU seconds used since the cgroup was made."""
    path = f"{place.folder}/cpu.stat"
    used = kernel.entry(kernel.table(path), "usage_usec", path)
    return None if used is None else used / 1e6


def throttling(place: Place) -> Throttling:
    path = f"{place.folder}/cpu.stat"
    stat = kernel.table(path)
    return Throttling(
        periods=kernel.entry(stat, "nr_periods", path), throttled=kernel.entry(stat, "nr_throttled", path)
    )


def quota(place: Place) -> float | None:
    """Cores that the least quota of the cgroup and its parents allows, None without one."""
    return kernel.least([_quota(f"{folder}/cpu.max") for folder in place.upwards()])


def _quota(path: str) -> float | None:
    words = (kernel.text(path) or kernel.UNLIMITED).split()
    quota = kernel.whole(words[0], path) if words else None
    if quota is None:
        return None
    period = kernel.whole(words[1], path) if len(words) == 2 else None
    if not period:
        raise SourceDataError(f"{path}: holds no quota and period")
    return quota / period


def cpus(place: Place) -> int | None:
    """Cores that the cgroup, or the nearest parent that says so, may run on."""
    return next(filter(None, (kernel.cores(f"{folder}/cpuset.cpus.effective") for folder in place.upwards())), None)


def memory(place: Place) -> Memory:
    folder = place.folder
    current = kernel.number(f"{folder}/memory.current")
    if current is None:
        return Memory()
    stat, events = f"{folder}/memory.stat", f"{folder}/memory.events"
    idle = kernel.entry(kernel.table(stat), "inactive_file", stat) or 0
    happened = kernel.table(events)
    return Memory(
        used=max(0, current - idle),
        limit=_least(place, "memory.max"),
        peak=kernel.number(f"{folder}/memory.peak"),
        oom_kills=kernel.entry(happened, "oom_kill", events),
        ooms=kernel.entry(happened, "oom", events),
    )


def tasks(place: Place) -> Tasks:
    events = f"{place.folder}/pids.events"
    return Tasks(
        used=kernel.number(f"{place.folder}/pids.current"),
        limit=_least(place, "pids.max"),
        refused=kernel.entry(kernel.table(events), "max", events),
    )


def _least(place: Place, name: str) -> int | None:
    limits = [limit for folder in place.upwards() if (limit := kernel.number(f"{folder}/{name}")) is not None]
    return min(limits, default=None)
