"""CPU and memory of the whole host, out of /proc."""

from __future__ import annotations

import os

from exporter.probes.cgroups import kernel

_IDLE, _IOWAIT, _STEAL = 3, 4, 7


def cpu(proc: str) -> tuple[float | None, int | None]:
    """CPU seconds since boot in which the host's CPUs were not idle, and how many CPUs are online.

    Time stolen by other guests of a hypervisor counts as used, since it cannot be used; time spent waiting for
    disks does not.
    """
    path = f"{proc}/stat"
    lines = [line.split() for line in (kernel.text(path) or "").splitlines() if line.startswith("cpu")]
    if not lines:
        return None, None
    # guest time, which follows, is part of user time already
    ticks = [kernel.whole(word, path) or 0 for word in lines[0][1 : _STEAL + 2]]
    idle = sum(ticks[_IDLE : _IOWAIT + 1])
    return (sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), len(lines) - 1


def memory(proc: str) -> tuple[int | None, int | None]:
    """Bytes that are not available for new work without swapping, and bytes in all."""
    path = f"{proc}/meminfo"
    table = kernel.table(path)
    total, available = (_bytes(table, key, path) for key in ("MemTotal", "MemAvailable"))
    used = None if total is None or available is None else max(0, total - available)
    return used, total


def _bytes(table: dict[str, str], key: str, path: str) -> int | None:
    word = table.get(key)
    kilobytes = None if word is None else kernel.whole(word.removesuffix(" kB"), path)
    return None if kilobytes is None else kilobytes * 1024
