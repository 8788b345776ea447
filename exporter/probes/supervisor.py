"""Runs the model server as a child of the exporter: passes signals on, knows every exit, starts it again if asked.

The command gets a session of its own, so that a Ctrl-C reaches it once: through the exporter.  Its exit is looked at
before it is reaped, so that its number cannot be another's while signals go there.  What it leaves of its process
group is ended with it: an orphan that holds the port would keep the next start from it.  An exporter that is killed
itself leaves the model server running.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec
import psutil
from msgspec import Meta

from exporter.config.types import Duration, duration_text
from exporter.contracts import Clock, Cursor, Deadline, Ending, MetricSpec, Sight
from exporter.errors import SourceUnavailable
from exporter.probes.endings import Exit, ending
from exporter.probes.members import stat
from exporter.probes.oomkills import OomKills
from exporter.probes.tree import Tree
from exporter.probes.usages import SPECS, Account

log = logging.getLogger(__name__)

FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""The signals that are for the model server too."""
_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_POLL: Final = 0.05
_AFTER_KILL: Final = 5.0
"""Seconds in which the kernel ends what was killed, unless a driver holds it."""


class SupervisorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The command to run, and what follows when it ends."""

    command: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Program and arguments; it must stay in front.")
    ]
    restart: Annotated[
        bool, Meta(description="Start it again whenever it ends without the exporter being asked to.")
    ] = False
    delay: Annotated[Duration, Meta(description="Wait before the first restart; doubles with every next one.")] = (
        Duration(1)
    )
    longest_delay: Annotated[Duration, Meta(description="Longest wait before a restart.")] = Duration(60)
    stable_after: Annotated[Duration, Meta(description="Time up after which the wait begins anew.")] = Duration(60)
    grace: Annotated[Duration, Meta(description="Time to stop in after a request, before SIGKILL.")] = Duration(30)


class BackOff:
    """How long to wait before the next start: twice as long each time, until a run was stable."""

    def __init__(self, first: float, longest: float, stable_after: float) -> None:
        self._first, self._longest, self._stable_after = first, longest, stable_after
        self._next = first

    def delay(self, lived: float) -> float:
        """Seconds to wait after a run of *lived* seconds."""
        if lived >= self._stable_after:
            self._next = self._first
        delay = min(self._next, self._longest)
        self._next = delay * 2
        return delay


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    began: float
    kills: OomKills
    recent_kills: int = 0


class Supervisor:
    """A Probe of its own child.  `start` it, `forward` signals to it, and `stop` it; `look` from any one thread.

    `close` lets go of what looks hold, and leaves the child running.  *on_end* is called, from a thread of the
    supervisor, once the command has ended and is not started again.
    """

    Config: ClassVar = SupervisorConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = SPECS

    def __init__(
        self, config: SupervisorConfig, *, name: str, clock: Clock, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._on_end = on_end
        self._lock = threading.RLock()  # a signal handler may come while its own thread has it
        self._child: _Child | None = None
        self._stopping = threading.Event()
        self._forced = threading.Event()
        self._done = threading.Event()
        self._done.set()
        self._last: Exit | None = None
        self._endings: list[Ending] = []
        self._state = "not started yet"
        self._looked = clock.monotonic()
        self._tree: Tree | None = None
        self._account = Account()

    # --- the child -------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the command; raises SourceUnavailable if that cannot be done."""
        self._looked = self._clock.monotonic()
        self._spawn()
        self._done.clear()
        threading.Thread(target=self._run, name="supervisor", daemon=True).start()

    def forward(self, number: int) -> None:
        """Pass a signal on, from a signal handler or any thread; SIGTERM, SIGINT and SIGQUIT end the restarts too."""
        if number in _STOPS:
            self._stopping.set()
        self._signal(number)

    def stop(self) -> Exit | None:
        """Ask the command to stop, kill what has not stopped after the grace, and tell how the command ended."""
        self.forward(signal.SIGTERM)
        if not self._done.wait(self._config.grace):
            self._forced.set()
            self._signal_group(signal.SIGKILL)
            self._done.wait(_AFTER_KILL)
        return self._last

    def wait(self, timeout: float | None = None) -> Exit | None:
        """How the command ended for good; None if it has not after *timeout* seconds, or if nothing tells."""
        return self._last if self._done.wait(timeout) else None

    @property
    def running(self) -> bool:
        """Whether the command runs, or will be started again."""
        return not self._done.is_set()

    @property
    def last(self) -> Exit | None:
        """How the command ended the last time; None if it has not yet."""
        return self._last

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.process.pid if child else None

    def _spawn(self) -> None:
        program = self._config.command[0]
        with self._lock:
            try:
                process = subprocess.Popen(self._config.command, start_new_session=True)  # noqa: S603 - the user's own
            except OSError as error:
                self._state = f"{program} cannot be started: {error.strerror}"
                raise SourceUnavailable(f"{self._state}; give a program that exists and may be run") from None
            self._child = _Child(process, self._clock.monotonic(), OomKills(process.pid))
            if self._stopping.is_set():  # the request came while there was nobody to hear it
                self._signal(signal.SIGTERM)

    def _run(self) -> None:
        config = self._config
        back_off = BackOff(config.delay, config.longest_delay, config.stable_after)
        lived = 0.0
        while True:
            if self._child is not None:
                lived = self._attend(self._child)
            if not config.restart or self._stopping.is_set():
                break
            delay = back_off.delay(lived)
            self._state += f"; is started again after {duration_text(delay)}"
            log.warning("the model server is started again", extra={"target": self._name, "after_seconds": delay})
            if self._stopping.wait(delay):
                break
            try:
                self._spawn()
            except SourceUnavailable as error:
                lived = 0.0
                log.error("the model server cannot be started", extra={"target": self._name, "error": str(error)})  # noqa: TRY400
        self._done.set()
        self._on_end()

    def _attend(self, child: _Child) -> float:
        """Wait for the end of *child*, note it, clear up after it; returns for how many seconds it ran."""
        pid = child.process.pid
        how = _exit(pid)
        lived = self._clock.monotonic() - child.began
        with self._lock:
            oom_killed = child.kills.risen() + child.recent_kills > 0
            end = ending(how, self._clock.wall(), stop_requested=self._stopping.is_set(), oom_killed=oom_killed)
            self._endings.append(end)
            self._last = how
            self._state = f"process {pid} {how or 'ended, and nothing tells how'}"
        level = logging.WARNING if end.kind == "crash" else logging.INFO
        log.log(level, "the model server has ended", extra={"target": self._name, "how": str(how), "pid": pid})
        self._clear(pid)
        with self._lock:
            child.process.wait()
            child.kills.close()
            self._child = None
        return lived

    def _clear(self, group: int) -> None:
        """End what is left of a process *group* whose leader has ended; the unreaped leader keeps the number."""
        if not _others(group):
            return
        self._signal_group(signal.SIGTERM)
        until = self._clock.monotonic() + self._config.grace
        while self._clock.monotonic() < until and not self._forced.wait(_POLL):
            if not _others(group):
                return
        self._signal_group(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock:
            if self._child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child.process.pid, number)

    def _signal_group(self, number: int) -> None:
        with self._lock:
            if self._child is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.process.pid, number)

    # --- the probe -------------------------------------------------------------------------------

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """Every end since the look before, and what the command and its workers use; waits for nothing."""
        del deadline
        now = self._clock.monotonic()
        before, self._looked = self._looked, now
        with self._lock:
            child = (
                self._child if self._child is not None and _exit(self._child.process.pid, os.WNOHANG) is None else None
            )
            if child is not None:
                child.recent_kills = child.kills.risen()
            self._follow(child)
            endings, self._endings = self._endings, []
            state = self._state
        if self._tree is not None:
            of_workers = self._tree.endings()
            if self._tree.alive:
                endings += of_workers
            else:  # it ended just now; `_attend` tells how
                self._leave()
        tree = self._tree
        return Sight(
            up=tree is not None,
            start_time=tree.start_time if tree else None,
            endings=tuple(endings),
            observed=now - before,
            readings=tuple(self._account.readings(tree, now) if tree else self._account.absent()),
            cursor=cursor,
            detail=f"process {tree.root.pid} ({tree.root.name}), run by the exporter" if tree else state,
        )

    def close(self) -> None:
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def _leave(self) -> None:
        if self._tree is not None:
            self._account.end(self._tree)
        self.close()

    def _follow(self, child: _Child | None) -> None:
        """Look at the tree of *child* from now on."""
        if self._tree is not None and (child is None or child.process.pid != self._tree.root.pid):
            self._leave()
        if self._tree is None and child is not None:
            try:
                self._tree = Tree(child.process.pid, self._clock)
            except (ProcessLookupError, PermissionError):
                return
            self._account.begin(self._tree, new=True)


def _exit(pid: int, options: int = 0) -> Exit | None:
    """How the child *pid* ended, which stays unreaped; None if it has not, or if somebody else reaped it."""
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    except ChildProcessError:
        return None
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return Exit(code=info.si_status)
    return Exit(signal=info.si_status, core_dumped=info.si_code == os.CLD_DUMPED)


def _others(group: int) -> bool:
    """Whether any process but its leader lives in the process *group*."""
    for pid in psutil.pids():
        try:
            if pid == group or os.getpgid(pid) != group:
                continue
            seen = stat(pid)
        except (ProcessLookupError, PermissionError):
            continue
        if seen is not None and seen.alive:
            return True
    return False
