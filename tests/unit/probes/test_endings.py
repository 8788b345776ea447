"""Which ends are crashes, which were planned, and which nobody can tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contracts import Ending
from exporter.probes.endings import Exit, ending

FAULTS = ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS"]
STOPS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"]


def judged(how: Exit | None, **evidence: bool) -> tuple[str, str]:
    end = ending(how, 5.0, **evidence)
    assert end == Ending(end.kind, end.reason, 5.0)
    return end.kind, end.reason


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_a_crash_however_it_is_reported(name):
    """The signal and the exit code 128 + n of a fault are crashes under its name, also after a request to stop."""
    number = signal.Signals[name]
    for how in (Exit(signal=number), Exit(code=128 + number)):
        for asked in (False, True):
            assert judged(how, stop_requested=asked) == ("crash", name)


@pytest.mark.parametrize("name", STOPS)
def test_stop_signal_is_planned_however_it_is_reported(name):
    """Signals that ask a process to stop, and the codes that stand for them, are no crash."""
    number = signal.Signals[name]
    assert judged(Exit(signal=number)) == judged(Exit(code=128 + number)) == ("planned", "stop")


@pytest.mark.parametrize("how", [Exit(signal=signal.SIGKILL), Exit(code=137)])
def test_sigkill_by_what_else_is_known(how):
    """SIGKILL is want of memory if the kernel counted one, forced if a stop was asked for, else a crash."""
    assert judged(how) == ("crash", "killed")
    assert judged(how, oom_killed=True) == ("crash", "oom")
    assert judged(how, stop_requested=True) == ("planned", "forced_stop")
    assert judged(how, stop_requested=True, oom_killed=True) == ("crash", "oom")


def test_exit_codes():
    """0 is clean, any other code a crash, unless the process was asked to stop; no evidence is unknown."""
    assert judged(Exit(code=0)) == ("planned", "clean")
    assert judged(Exit(code=3)) == ("crash", "exit")
    assert judged(Exit(code=255)) == ("crash", "exit")
    assert judged(Exit(code=0), stop_requested=True) == ("planned", "stop")
    assert judged(Exit(code=1), stop_requested=True) == ("planned", "stop")
    assert judged(None) == ("unknown", "unknown")
    assert judged(Exit(code=3), oom_killed=True) == ("crash", "exit")


@given(st.integers(1, 255), st.booleans())
def test_no_end_but_the_planned_ones_is_missed(code, oom_killed):
    """Every exit code but those that stand for a request to stop is a crash."""
    planned = code in {128 + signal.Signals[name] for name in STOPS}
    assert (judged(Exit(code=code), oom_killed=oom_killed)[0] == "planned") == planned


@given(st.integers(1, 64))
def test_every_signal_has_a_reason(number):
    """Every signal that can end a process gives a word for a label, also a real-time one."""
    kind, reason = judged(Exit(signal=number))
    assert (kind == "planned") == (number in {signal.Signals[name] for name in STOPS})
    assert reason.isidentifier()


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import sys; sys.exit(3)", Exit(code=3)),
        ("pass", Exit(code=0)),
        ("import os; os.kill(os.getpid(), 9)", Exit(signal=9)),
        ("import os; os.kill(os.getpid(), 15)", Exit(signal=15)),
    ],
)
def test_wait_status_of_real_children(code, how):
    """The status that the kernel hands out is read as code or signal."""
    process = subprocess.Popen([sys.executable, "-c", code])
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0  # reaped here
    assert Exit.of_wait_status(status) == how


def test_core_dump_is_told():
    """The bit of a dumped core is kept, and told to people."""
    how = Exit.of_wait_status(signal.SIGSEGV | 0x80)
    assert how == Exit(signal=signal.SIGSEGV, core_dumped=True)
    assert str(how) == "ended by SIGSEGV (core dumped)"
    assert str(Exit(code=3)) == "ended with exit code 3"
