"""Follows a process and all that descend from it: who has ended and how, and what they use together.

An end of the first process, the root, ends the tree.  That of a child counts if the child is a worker: one with the
command line of the root or of a sibling, numbers aside, or 10 seconds old.  Of other children, such as a tool that was
called, only ends by the signal of a crash count.  What the root's own end brings with it is one incident, not several.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from exporter.contracts import Clock, Cursor, Ending
from exporter.probes.endings import FAULTS, ending
from exporter.probes.members import Member, Usage, descendants, proportional, stat, uptime, usage
from exporter.probes.oomkills import OomKills

SCAN_INTERVAL = 60.0
"""Seconds between searches of all processes for descendants; also how long they are searched at each look after an
end, and how long the record of an exit is waited for."""
GROWN_UP = 10.0
"""Seconds after which a child is a worker, whatever its command line."""
_SHARE_FOR_PSS = 1000.0
"""Proportional memory is read at most every minute, and so rarely that it takes a thousandth of a core."""


@dataclass(slots=True)
class _Ended:
    """An end whose record may still be missing."""

    member: Member
    noticed: float
    since: float
    worker: bool


class Tree:
    """The tree of the process *pid*; raises ProcessLookupError if it does not live."""

    def __init__(self, pid: int, clock: Clock) -> None:
        self.root = Member(pid)
        self.start_time: float = self.root.process.create_time()
        self.machine_memory: int = psutil.virtual_memory().total
        self.root_ending: Ending | None = None
        self._clock = clock
        self._members = {self.root.identity: self.root}
        self._ended: list[_Ended] = []
        self._held: list[Ending] = []
        self._kills = OomKills(pid)
        self._credit = 0
        self._alive_at = uptime()
        self._scan_until = self._scanned = clock.monotonic()
        self._cpu = self._lost_cpu = 0.0
        self._pss: int | None = None
        self._pss_due = self._scanned
        self._scan()

    @property
    def alive(self) -> bool:
        """Whether the root lived at the last look."""
        return self.root.identity in self._members

    @property
    def workers(self) -> int:
        return len(self._members) - 1

    def __contains__(self, identity: tuple[int, int]) -> bool:
        return identity in self._members

    def endings(self) -> list[Ending]:
        """The ends noticed since the last call, once it is known how they came; see `root_ending` for the root's.

        Those of workers that ended with the root are only told with it, as one incident.
        """
        self._notice()
        self._held += self._settle()
        if self.root_ending is not None:
            told, self._held = [_incident(self.root_ending, self._held)], []
            return told
        if not self.alive:
            return []
        told, self._held = self._held, []
        self._refresh()
        return told

    def _notice(self) -> None:
        wall, now = self._clock.wall(), self._clock.monotonic()
        for member in [member for member in self._members.values() if member.ended]:
            self._ended.append(_Ended(member, wall, now, self._is_worker(member)))
            self._scan_until = now + SCAN_INTERVAL
        for ended in self._ended:
            self._members.pop(ended.member.identity, None)
        self._alive_at = uptime()

    def _is_worker(self, member: Member) -> bool:
        if member is self.root or self._alive_at - member.born >= GROWN_UP:
            return True
        kin = [self.root, *self._members.values(), *(ended.member for ended in self._ended)]
        return any(other.role == member.role for other in kin if other is not member)

    def _settle(self) -> list[Ending]:
        """The ends of workers whose record is there, or will never be."""
        fresh = self._kills.risen()
        self._credit += fresh
        now, told, waiting = self._clock.monotonic(), [], []
        for ended in self._ended:
            how, again = ended.member.exit()
            if again and now - ended.since < SCAN_INTERVAL:
                waiting.append(ended)
                continue
            ended.member.close()
            one = ending(how, ended.noticed, oom_killed=self._credit > 0)
            self._credit -= one.reason == "oom"
            if ended.member is self.root:
                self.root_ending = one
            elif ended.worker or (one.kind == "crash" and one.reason != "exit"):
                told.append(one)
        self._ended = waiting
        if not waiting:  # a kill whose victim is not seen to end by the next look was of none of this tree
            self._credit = min(self._credit, fresh)
        return told

    def _refresh(self) -> None:
        """Search for descendants if one may have come."""
        now = self._clock.monotonic()
        known = {pid for pid, _ in self._members} | {ended.member.pid for ended in self._ended}
        due = now < self._scan_until or now - self._scanned >= SCAN_INTERVAL
        if due or any(pid not in known for member in self._members.values() for pid in member.children()):
            self._scan()

    def _scan(self) -> None:
        self._scanned = self._clock.monotonic()
        try:
            found = [child.pid for child in self.root.process.children(recursive=True)]
        except psutil.NoSuchProcess:  # its end is noticed at the next look
            return
        except (PermissionError, psutil.AccessDenied):  # /proc hides other processes, which psutil reads on its way
            found = descendants(self.root.pid)
        known = {member.pid: member for member in self._members.values()}
        keep = {self.root.identity: self.root}
        for pid in found:
            try:
                member = known.get(pid) or Member(pid)
            except (ProcessLookupError, PermissionError):
                continue
            keep[member.identity] = member
        for identity, member in self._members.items():
            if identity not in keep and not member.ended:  # it has left the tree, and lives on as another's child
                member.close()
        keep |= {identity: member for identity, member in self._members.items() if member.ended}
        self._members = keep

    # --- what they use ---------------------------------------------------------------------------

    def usage(self) -> Usage:
        """What the tree uses now.  The CPU seconds never decrease: those of the ended stay counted."""
        used = usage(self._members.values(), [ended.member for ended in self._ended])
        self._lost_cpu += max(0.0, self._cpu - self._lost_cpu - used.cpu)
        self._cpu = used.cpu = self._lost_cpu + used.cpu
        return used

    def proportional(self) -> int | None:
        """Bytes with every shared page counted once, as they were at most a minute ago; None if that is hidden."""
        now = self._clock.monotonic()
        if now >= self._pss_due:
            before = uptime()
            self._pss = proportional(self._members.values())
            self._pss_due = now + max(SCAN_INTERVAL, _SHARE_FOR_PSS * (uptime() - before))
        return self._pss

    def cores(self) -> int | None:
        """The cores that the root may run on; None once it has ended."""
        try:
            return len(os.sched_getaffinity(self.root.pid))
        except OSError:
            return None

    def close(self) -> None:
        for member in self._all():
            member.close()
        self._kills.close()

    def _all(self) -> Iterator[Member]:
        yield from self._members.values()
        yield from (ended.member for ended in self._ended)


def _incident(root: Ending, workers: list[Ending]) -> Ending:
    """The one ending that tells most of a root's end: a fault of a worker may be why the root stopped in order."""
    faults = [worker for worker in workers if worker.reason in FAULTS]
    return faults[0] if faults and root.kind != "crash" else root


def remembered(tree: Tree) -> Cursor:
    """What names the root of *tree* beyond the life of the exporter: its number, its start, and the machine's."""
    return {"boot": _boot(), "pid": tree.root.pid, "started": tree.root.started}


def lives(root: Cursor) -> bool:
    """Whether the process that was `remembered` still lives."""
    if root.get("boot") != _boot():
        return False
    try:
        seen = stat(int(root["pid"]))
    except PermissionError:  # nobody can tell
        return True
    return seen is not None and seen.alive and seen.started == root["started"]


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().decode().strip()
