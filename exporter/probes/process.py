"""Watches a process of this machine and its workers: by its pid file, a pattern of its command line, or its port.

A process is known by its number and its start, so that a later one with the same number is no mistake.  How one ended
that is not our child is told by the kernel (Linux 6.15 and later); without that, an end is of reason `unknown`.  What
looks cannot see: a process that comes and goes between two of them, and who asked for an end.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from exporter.contracts import Clock, Cursor, Deadline, Ending, MetricSpec, Sight
from exporter.errors import SourceDenied, SourceError
from exporter.probes.observing import UnknownIsCrash, unknown
from exporter.probes.usages import SPECS, Account

if TYPE_CHECKING:
    from exporter.probes.locating import Found
    from exporter.probes.tree import Tree

_CHECK_INTERVAL = 60.0
"""Seconds between searches of all processes for the right one, while the one that was found lives."""


class ProcessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model server as a process of this machine: exactly one of pid_file, command and port."""

    pid_file: Annotated[str | None, Meta(description="File in which the model server writes its process number.")] = (
        None
    )
    command: Annotated[
        str | None,
        Meta(description="Regular expression found in the command line, such as `bentoml serve fraud`. "
             "Workers that match too are told from their parent."),
    ] = None  # fmt: skip
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None, Meta(description="TCP port that the model server listens on.")
    ] = None
    unknown_is_crash: UnknownIsCrash = False

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.pid_file, self.command, self.port)) != 1:
            raise ValueError("needs exactly one of pid_file, command and port")
        if self.command is not None:
            try:
                re.compile(self.command)
            except re.error as error:
                raise ValueError(f"command is no regular expression: {error}") from None
            if not self.command:
                raise ValueError("command must not be empty: every process would match")


class Process:
    """A Probe of one process and its workers; see the module for what it can tell.

    The cursor names the process whose end is yet to be told, so that a restart while nobody looked is noticed.
    """

    Config: ClassVar = ProcessConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = SPECS

    def __init__(self, config: ProcessConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._tree: Tree | None = None
        self._leaving: list[Tree] = []
        self._untold: list[Ending] = []
        self._account = Account()
        self._note = ""
        self._located = clock.monotonic()
        self._looked: float | None = None
        self._uptime: float | None = None
        self._began = False

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """What has ended since the look before, and what the process uses; it is down if it cannot be found.

        Raises SourceDenied if /proc or the pid file is not for us, SourceDataError for a pid file without a number.
        """
        del deadline  # /proc answers at once
        now = self._clock.monotonic()
        before, self._looked = self._looked, now
        self._notice()
        if not self._began:
            self._began = True
            self._untold += self._missed(cursor)
        missing = self._follow(now)
        self._uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        tree = self._tree
        readings = self._account.readings(tree, now) if tree else self._account.absent()
        from exporter.probes.tree import remembered  # noqa: PLC0415

        last = tree or (self._leaving[0] if self._leaving else None)
        sight = Sight(
            up=tree is not None and not missing,
            start_time=tree.start_time if tree else None,
            endings=tuple(map(self._counted, self._untold)),
            observed=0.0 if before is None else now - before,
            readings=tuple(readings),
            cursor=remembered(last) if last else {},
            detail=missing or (self._told(tree) if tree else ""),
        )
        self._untold = []
        return sight

    def close(self) -> None:
        for tree in [*self._leaving, *([self._tree] if self._tree else [])]:
            tree.close()
        self._leaving, self._tree = [], None

    def _told(self, tree: Tree) -> str:
        workers = f" and {tree.workers} below it" if tree.workers else ""
        return f"process {tree.root.pid} ({tree.root.name}){workers}" + (f"; {self._note}" if self._note else "")

    def _counted(self, ending: Ending) -> Ending:
        return unknown(ending.time, crash=self._config.unknown_is_crash) if ending.kind == "unknown" else ending

    # --- what has ended --------------------------------------------------------------------------

    def _notice(self) -> None:
        for tree in [*self._leaving]:
            self._untold += tree.endings()
            if tree.root_ending is not None:
                self._leaving.remove(tree)
                tree.close()
        if self._tree is None:
            return
        self._untold += self._tree.endings()
        if not self._tree.alive:
            self._leave()

    def _leave(self) -> None:
        """Follow the tree of the moment no more, but for the end of its root."""
        tree = self._tree
        assert tree is not None  # noqa: S101 - the callers have asked
        self._account.end(tree)
        if tree.root_ending is None:
            self._leaving.append(tree)
        else:
            tree.close()
        self._tree = None

    def _missed(self, cursor: Cursor | None) -> list[Ending]:
        """The end of the process of *cursor*, if it came while nobody looked."""
        from exporter.probes.tree import lives  # noqa: PLC0415 - psutil is for who watches processes

        return [] if not cursor or lives(cursor) else [unknown(self._clock.wall(), crash=False)]

    # --- which process it is ---------------------------------------------------------------------

    def _follow(self, now: float) -> str:
        """Find the process if need be; returns why it is down, or nothing."""
        from exporter.probes.locating import NotFound  # noqa: PLC0415

        lives, missing = self._tree is not None, ""
        if lives and self._config.pid_file is None and now - self._located < _CHECK_INTERVAL:
            return ""
        try:
            found = self._locate()
        except NotFound as reason:
            if not lives or self._config.port is not None:
                return str(reason)
        except SourceError:
            if not lives:
                raise
        else:
            self._note = found.note
            missing = self._adopt(found.pid)
        self._located = now
        return missing

    def _locate(self) -> Found:
        from exporter.probes import locating  # noqa: PLC0415

        config = self._config
        if config.pid_file is not None:
            return locating.by_pid_file(Path(config.pid_file))
        if config.command is not None:
            return locating.by_command(re.compile(config.command))
        assert config.port is not None  # noqa: S101 - the config has exactly one
        return locating.by_port(config.port)

    def _adopt(self, pid: int) -> str:
        from exporter.probes.tree import Tree  # noqa: PLC0415

        if self._tree is not None and self._tree.root.pid == pid:  # it lives, and so its number is its own
            return ""
        back = [tree for tree in self._leaving if tree.alive and tree.root.pid == pid]
        try:
            tree = back[0] if back else Tree(pid, self._clock)
        except ProcessLookupError:
            return f"process {pid} ended as soon as it was found"
        except PermissionError:
            raise SourceDenied(f"process {pid} is hidden by /proc from user {os.geteuid()} (hidepid)") from None
        if self._tree is not None:
            self._leave()
        if back:
            self._leaving.remove(tree)
        self._account.begin(tree, new=self._uptime is None or tree.root.born > self._uptime)
        self._tree = tree
        return ""
