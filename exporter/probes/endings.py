"""Tells crashes from planned stops: the exit of a process, and what else is known of it, becomes an `Ending`.

| evidence                                                        | kind    | reason           |
|-----------------------------------------------------------------|---------|------------------|
| exit code 0, nobody having asked for it                         | planned | `clean`          |
| SIGTERM, SIGINT, SIGHUP, SIGQUIT; exit code 143, 130, 129, 131  | planned | `stop`           |
| any other exit code                                             | crash   | `exit`           |
| SIGKILL or 137, and the kernel's count of OOM kills rose        | crash   | `oom`            |
| SIGKILL or 137 soon after a request to stop                     | planned | `forced_stop`    |
| SIGKILL or 137 otherwise                                        | crash   | `killed`         |
| any other signal; 128 + that of a fault                         | crash   | `SIGSEGV`, ...   |
| none                                                            | unknown | `unknown`        |

A process that was asked to stop and then ended with any exit code did as it was asked: `stop`.  A fault stays a crash.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Final

from exporter.contracts import Ending, Kind

_STOPS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_FAULTS: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
_BY_SHELL: Final = 128
"""Shells and container engines report the end by signal n as exit code 128 + n."""

FAULTS: Final = frozenset({"oom", *(fault.name for fault in _FAULTS)})
"""The reasons of crashes that no other process can have meant."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: by an exit code, or by a signal (then `code` is None).

    The exit code of a container may be 128 + n, for signal n: `Exit(code=137)`.
    """

    code: int | None = None
    signal: int | None = None
    core_dumped: bool = False

    @classmethod
    def of_wait_status(cls, status: int) -> Exit:
        """From the status that the kernel hands to wait(2)."""
        if os.WIFSIGNALED(status):
            return cls(signal=os.WTERMSIG(status), core_dumped=os.WCOREDUMP(status))
        return cls(code=os.WEXITSTATUS(status))

    @property
    def by(self) -> int | None:
        """The signal that ended the process, also where an exit code stands for it."""
        if self.code is None:
            return self.signal
        number = self.code - _BY_SHELL
        return number if number in _STOPS | _FAULTS | {signal.SIGKILL} else None

    @property
    def exit_code(self) -> int:
        """What a shell would end with after this."""
        return _BY_SHELL + (self.signal or 0) if self.code is None else self.code

    def __str__(self) -> str:
        if self.code is None:
            return f"ended by {_name(self.signal or 0)}{' (core dumped)' if self.core_dumped else ''}"
        return f"ended with exit code {self.code}"


def ending(how: Exit | None, time: float, *, stop_requested: bool = False, oom_killed: bool = False) -> Ending:
    """The end noticed at *time* (epoch seconds); *how* is None where nothing tells.

    *stop_requested*: someone asked for this end shortly before.  *oom_killed*: the kernel's count of processes killed
    for want of memory has risen since the process was last seen alive.
    """
    kind, reason = _judged(how, stop_requested, oom_killed)
    return Ending(kind, reason, time)


def _judged(how: Exit | None, stop_requested: bool, oom_killed: bool) -> tuple[Kind, str]:
    by = how.by if how else None
    if by == signal.SIGKILL and oom_killed:
        return "crash", "oom"
    if by == signal.SIGKILL:
        return ("planned", "forced_stop") if stop_requested else ("crash", "killed")
    if by is not None and by not in _STOPS:
        return "crash", _name(by)
    if by in _STOPS or stop_requested:
        return "planned", "stop"
    if how is None:
        return "unknown", "unknown"
    return ("planned", "clean") if how.code == 0 else ("crash", "exit")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
