"""Counts the processes that the kernel killed for want of memory, next to one process: its cgroup, else the machine.

The file of a cgroup is held open, for it may only be reachable through the /proc folder of the process (that of
another container), which goes with it.
"""

# The path comes as text out of /proc, and an open file as a number is all that is wanted.
# ruff: noqa: PTH123

from __future__ import annotations

import os
from typing import Final

from exporter.probes.cgroups.places import memberships, mounts, places

_KEY: Final = b"oom_kill"
_MACHINE: Final = "/proc/vmstat"
_LARGEST: Final = 1 << 16


class OomKills:
    """The kills in the memory cgroup of the process *pid*, both of version 1 and of version 2."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._membership = _membership(pid)
        self._fd = _open(pid)
        self._before = self._count()

    def risen(self) -> int:
        """How many kills there were since the last time; 0 if nothing tells."""
        count = self._count()
        risen = max(0, count - self._before)
        self._before = count
        membership = _membership(self._pid)
        if membership and membership != self._membership:  # it has moved, or is moved by what starts it
            self.close()
            self._membership, self._fd = membership, _open(self._pid)
            self._before = self._count()
        return risen

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _count(self) -> int:
        if self._fd is None:
            return 0
        try:
            content = os.pread(self._fd, _LARGEST, 0)
        except OSError:  # the cgroup is gone, and its count with it
            return 0
        return _number(content) or 0


def _open(pid: int) -> int | None:
    for path in (*_cgroup_files(pid), _MACHINE):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        if _number(os.pread(fd, _LARGEST, 0)) is not None:
            return fd
        os.close(fd)
    return None


def _membership(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cgroup") as file:
            return file.read()
    except OSError:
        return ""


def _cgroup_files(pid: int) -> list[str]:
    """Where the memory cgroup of *pid* is seen: in our own mounts, or in those of the process."""
    files = []
    for viewer, seen_from in (("self", ""), (str(pid), f"/proc/{pid}/root")):
        try:
            with open(f"/proc/{viewer}/mountinfo") as mountinfo:
                seen = mounts(mountinfo.read(), "/sys/fs/cgroup", seen_from)
            place = places(memberships(_membership(pid)), seen).get("memory")
        except OSError:
            continue
        if place is not None:
            files.append(f"{place.folder}/{'memory.oom_control' if place.version == 1 else 'memory.events'}")
    return files


def _number(content: bytes) -> int | None:
    for line in content.splitlines():
        key, _, value = line.partition(b" ")
        if key == _KEY:
            return int(value)
    return None
