"""One process that is watched, told from a later one with the same number, and what processes use."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from exporter.probes.endings import Exit
from exporter.probes.pidfd import Pidfd

_TICKS = os.sysconf("SC_CLK_TCK")
_DIGITS = re.compile(r"\d+")


def uptime() -> float:
    """Seconds since boot, suspended or not: the clock that the kernel dates the starts of processes by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Stat:
    """The state letter, the parent and the start (clock ticks since boot) of a process."""

    state: str
    parent: int
    started: int

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def stat(pid: int) -> Stat | None:
    """What /proc tells of *pid*, None if there is no such process; raises PermissionError if that is hidden."""
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = content[content.rindex(b")") + 2 :].split()  # the name before may hold anything
    return Stat(fields[0].decode(), int(fields[1]), int(fields[19]))


class Member:
    """The process that has the number *pid* now.

    Raises ProcessLookupError if none lives, and PermissionError if /proc hides it.
    `started` are clock ticks since boot, and with the pid tell this process from any other until the machine boots.
    """

    def __init__(self, pid: int) -> None:
        try:
            self.process = psutil.Process(pid)
        except psutil.NoSuchProcess:
            raise ProcessLookupError(pid) from None
        self.pid = pid
        self._fd = _pidfd(pid)
        try:
            seen = stat(pid)  # after the pidfd: both are of one process unless it has ended
        except PermissionError:
            self.close()
            raise
        self.started = seen.started if seen else 0
        if self.ended:
            self.close()
            raise ProcessLookupError(pid)
        self.files_limit = _files_limit(self.process)
        self.name, self.command = _command(self.process)

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.started

    @property
    def role(self) -> str:
        """The command line without its numbers, in which workers of one kind differ."""
        return _DIGITS.sub("", self.command)

    @property
    def born(self) -> float:
        """Seconds between boot and start."""
        return self.started / _TICKS

    @property
    def ended(self) -> bool:
        """Whether the process has ended, reaped or not."""
        if self._fd is not None:
            return self._fd.ended
        seen = stat(self.pid)
        return seen is None or not seen.alive or seen.started != self.started

    def exit(self) -> tuple[Exit | None, bool]:
        """How the process ended, if that is known, and whether it is worth asking again later."""
        return (None, False) if self._fd is None else self._fd.exit()

    def children(self) -> list[int]:
        """The children of its first thread: a quick look, which misses those of other threads."""
        return _children(self.pid, self.pid)

    def close(self) -> None:
        if self._fd is not None:
            self._fd.close()


def _children(pid: int, thread: int | str) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{thread}/children").read_bytes().split()]
    except OSError:  # ended, or a kernel without this file
        return []


def descendants(pid: int) -> list[int]:
    """The children of *pid* and theirs, without a look at any other process; costs a file per thread."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
    except OSError:
        return []
    below = [child for thread in threads for child in _children(pid, thread)]
    return [*below, *(deeper for child in below for deeper in descendants(child))]


def _pidfd(pid: int) -> Pidfd | None:
    try:
        return Pidfd(pid)
    except ProcessLookupError:
        raise
    except OSError:  # an old kernel, or a sandbox that forbids it: the process is watched by its number
        return None


def _files_limit(process: psutil.Process) -> int | None:
    try:
        soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
    except (psutil.Error, OSError):
        return None
    return None if soft == psutil.RLIM_INFINITY else soft


def _command(process: psutil.Process) -> tuple[str, str]:
    try:
        name = process.name()
        return name, " ".join(process.cmdline()) or name
    except psutil.AccessDenied:
        return "", ""
    except psutil.NoSuchProcess:
        raise ProcessLookupError(process.pid) from None


@dataclass(slots=True)
class Usage:
    """What processes use together.  The open files are those of the process that is nearest to its own limit."""

    cpu: float = 0.0
    resident: int = 0
    processes: int = 0
    threads: int = 0
    files: int | None = None
    files_limit: int | None = None


def usage(members: Iterable[Member], ended: Iterable[Member]) -> Usage:
    """What *members* use, with the CPU seconds of *ended* ones that no parent has reaped yet.

    CPU seconds include those of children that were reaped.  While one process passes from the living to its parent's
    account it may be missed in both, so that all are read again.
    """
    living, dead = list(members), list(ended)
    for _ in range(3):
        found = Usage()
        gone = [member for member in living if not _add(member, found)]
        gone += [member for member in dead if not _add_cpu(member, found)]
        if not gone:
            break
        living = [member for member in living if member not in gone]
        dead = [member for member in dead if member not in gone]
    return found


def _add(member: Member, found: Usage) -> bool:
    process = member.process
    try:
        with process.oneshot():
            found.cpu += sum(process.cpu_times()[:4])
            found.resident += process.memory_info().rss
            found.threads += process.num_threads()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # a sandbox that shows only its existence
        return True
    found.processes += 1
    try:
        files = process.num_fds()
    except psutil.Error:  # of another user, which leaves the rest to be told
        return True
    limit = member.files_limit
    if found.files is None or _share(files, limit) > _share(found.files, found.files_limit):
        found.files, found.files_limit = files, limit
    return True


def _add_cpu(member: Member, found: Usage) -> bool:
    seen = stat(member.pid)
    if seen is None or seen.started != member.started:
        return False
    try:
        found.cpu += sum(member.process.cpu_times()[:4])
    except psutil.NoSuchProcess:
        return False
    return True


def _share(files: int, limit: int | None) -> tuple[float, int]:
    return (files / limit if limit else 0.0), files


def proportional(members: Iterable[Member]) -> int | None:
    """The memory of *members* with every shared page counted once; None where /proc does not show it."""
    total = 0
    for member in members:
        try:
            lines = Path(f"/proc/{member.pid}/smaps_rollup").read_bytes().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
        except OSError:
            return None
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))
    return total
