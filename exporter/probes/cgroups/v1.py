"""The files of cgroup version 1; each function gets the place in the hierarchy of its own controller."""

from __future__ import annotations

from typing import Final

from exporter.probes.cgroups import kernel, v2
from exporter.probes.cgroups.places import Place
from exporter.probes.cgroups.usage import Memory, Tasks, Throttling

_NO_LIMIT: Final = 1 << 62
"""An absent limit is written as the largest number of whole pages: 2^63 less one page."""


def seconds(place: Place) -> float | None:
    """CPU seconds used since the cgroup was made; controller cpuacct."""
    used = kernel.number(f"{place.folder}/cpuacct.usage")
    return None if used is None else used / 1e9


def throttling(place: Place) -> Throttling:
    """Controller cpu, whose counts are named as in version 2."""
    return v2.throttling(place)


def quota(place: Place) -> float | None:
    """Cores that the least quota of the cgroup and its parents allows, None without one; controller cpu."""
    return kernel.least([_quota(folder) for folder in place.upwards()])


def _quota(folder: str) -> float | None:
    quota = kernel.number(f"{folder}/cpu.cfs_quota_us")
    period = kernel.number(f"{folder}/cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def cpus(place: Place) -> int | None:
    """Cores that the cgroup may run on; controller cpuset."""
    folder = place.folder
    return kernel.cores(f"{folder}/cpuset.effective_cpus") or kernel.cores(f"{folder}/cpuset.cpus")


def memory(place: Place) -> Memory:
    """Controller memory; its statistics already hold the least limit of all parents."""
    folder = place.folder
    used = kernel.number(f"{folder}/memory.usage_in_bytes")
    if used is None:
        return Memory()
    statistics, control = f"{folder}/memory.stat", f"{folder}/memory.oom_control"
    stat = kernel.table(statistics)
    idle = kernel.entry(stat, "total_inactive_file", statistics) or 0
    limits = (
        kernel.number(f"{folder}/memory.limit_in_bytes"),
        kernel.entry(stat, "hierarchical_memory_limit", statistics),
    )
    return Memory(
        used=max(0, used - idle),
        limit=min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None),
        peak=kernel.number(f"{folder}/memory.max_usage_in_bytes"),
        oom_kills=kernel.entry(kernel.table(control), "oom_kill", control),
    )


def tasks(place: Place) -> Tasks:
    """Controller pids, whose files are named as in version 2."""
    return v2.tasks(place)
