"""Finds the process to watch among all of this machine: by its pid file, its command line or its listening port."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from exporter.errors import SourceDataError, SourceDenied, SourceUnavailable
from exporter.probes.members import stat

_LARGEST_PID_FILE = 100
_LATER = 10.0
"""Seconds by which a process may seem to have started after its pid file was written."""
_WAY_IN = "run the exporter as the user of the model server, or as root, or with CAP_SYS_PTRACE"


class NotFound(Exception):
    """There is no such process now; the text says what was looked for, and where."""


@dataclass(frozen=True, slots=True)
class Found:
    """The process to watch, and what people should know of the choice."""

    pid: int
    note: str = ""


def by_pid_file(path: Path) -> Found:
    """The process that *path* names; raises NotFound, or a SourceError for a file that tells nothing."""
    try:
        content = path.read_bytes()[:_LARGEST_PID_FILE].strip()
        written = path.stat().st_mtime
    except FileNotFoundError:
        raise NotFound(f"the pid file {path} does not exist; the server is down, or writes it elsewhere") from None
    except PermissionError:
        raise SourceDenied(f"the pid file {path} may not be read; allow it to user {os.geteuid()}") from None
    except OSError as error:
        raise SourceUnavailable(f"the pid file {path} cannot be read: {error.strerror}") from None
    if not content.isdigit() or not 0 < int(content) <= 2**22:
        raise SourceDataError(f"the pid file {path} holds no process number; it must hold nothing else")
    pid = int(content)
    _check_alive(pid, f"the pid file {path} names process {pid}")
    started = psutil.Process(pid).create_time()
    if started > written + _LATER:
        raise NotFound(
            f"process {pid} started {started - written:.0f} s after the pid file {path} was written, so that it is "
            f"another with the same number; remove the file, or let the server write it again"
        )
    return Found(pid)


def _check_alive(pid: int, who: str) -> None:
    try:
        seen = stat(pid)
    except PermissionError:
        seen = None
    if seen is not None and not seen.alive:
        raise NotFound(f"{who}, which has ended and waits to be reaped by its parent {seen.parent}")
    if seen is not None and psutil.pid_exists(pid):  # the number of a thread does not count
        return
    if seen is None and _hidden(pid):
        raise SourceDenied(f"{who}, which /proc hides from user {os.geteuid()} (hidepid); {_WAY_IN}")
    raise NotFound(f"{who}, which does not live; the file is left from a server that is down")


def _hidden(pid: int) -> bool:
    """Whether there is a process *pid* of another user, although /proc does not show it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _own() -> set[int]:
    """The exporter and its ancestors, as far as they are shown."""
    try:
        return {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    except psutil.Error:
        return {os.getpid(), os.getppid()}


def by_command(pattern: re.Pattern[str]) -> Found:
    """Of the processes in whose command line *pattern* is found, the ancestor of the others, else the oldest.

    The exporter and its ancestors are left out, since their command lines may quote the pattern.
    """
    own = _own()
    matches = {}
    hidden = not Path("/proc/1").exists()
    for process in psutil.process_iter():
        try:
            if process.pid not in own and pattern.search(" ".join(process.cmdline())):
                matches[process.pid] = process
        except psutil.AccessDenied:
            hidden = True
        except psutil.NoSuchProcess:
            continue
    if not matches and hidden:
        what = f"no command line that user {os.geteuid()} may read matches {pattern.pattern!r}, but /proc hides some"
        raise SourceDenied(f"{what}; {_WAY_IN}")
    if not matches:
        raise NotFound(f"no command line matches {pattern.pattern!r}; the server is down, or is called otherwise")
    return _first(matches, f"match {pattern.pattern!r}")


def by_port(port: int) -> Found:
    """The process that listens on TCP *port*: of several that share it the ancestor of the others."""
    listeners = [each for each in psutil.net_connections("tcp") if _listens(each, port)]
    if not listeners:
        raise NotFound(f"no process listens on TCP port {port} in the exporter's network namespace")
    owners = {each.pid for each in listeners if each.pid}
    if not owners:
        raise SourceDenied(
            f"the process that listens on TCP port {port} is hidden from user {os.geteuid()}; {_WAY_IN}"
        )
    processes = {}
    for pid in owners:
        try:
            process = _highest(psutil.Process(pid), port)
        except psutil.NoSuchProcess:
            continue
        processes[process.pid] = process
    if not processes:
        raise NotFound(f"the process that listened on TCP port {port} has just ended")
    return _master(processes) or _first(processes, f"listen on port {port}")


def _listens(connection: Any, port: int) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port)


def _highest(process: psutil.Process, port: int) -> psutil.Process:
    """*process*, or the highest ancestor that has handed the same listening socket down."""
    try:
        parent = process.parent()
        while parent is not None and any(_listens(each, port) for each in parent.net_connections("tcp")):
            process, parent = parent, parent.parent()
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return process


def _master(workers: dict[int, psutil.Process]) -> Found | None:
    """The parent of several workers that each listen by themselves (SO_REUSEPORT), if they have one of their own."""
    parents = {seen.parent for seen in map(stat, workers) if seen is not None}
    strangers = {0, 1} | _own()
    own = len(workers) > 1 and len(parents) == 1 and not parents & strangers
    return Found(parents.pop()) if own else None


def _first(matches: dict[int, psutil.Process], what: str) -> Found:
    """The ancestor of the others, else the oldest."""
    tops = []
    for process in matches.values():
        seen = stat(process.pid)
        if seen is not None and seen.alive and seen.parent not in matches:
            tops.append((seen.started, process.pid))
    if not tops:
        raise NotFound(f"the processes that {what} have just ended")
    _, pid = min(tops)
    note = f"the oldest of {len(tops)} processes that {what}" if len(tops) > 1 else ""
    return Found(pid, note)
