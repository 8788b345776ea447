"""How processes that are not our children ended, as the kernel tells it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from exporter.probes.endings import Exit
from exporter.probes.pidfd import Pidfd
from tests.processes import Server, kernel_tells_exits, until


@pytest.fixture(scope="module")
def told() -> bool:
    return kernel_tells_exits()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT])
def test_end_by_a_signal(number, told):
    """The record appears once the process is reaped, and names the signal; before, it is worth asking again."""
    process = subprocess.Popen(["sleep", "60"])
    held = Pidfd(process.pid)
    assert not held.ended
    assert held.exit()[0] is None
    process.send_signal(number)
    until(lambda: held.ended)
    before, again = held.exit()
    assert before is None
    assert again or not told
    process.wait()
    how, again = held.exit()
    assert not again
    if told:
        assert (how.signal, how.code) == (number, None)
    else:
        assert how is None
    held.close()


@pytest.mark.parametrize("code", [0, 3])
def test_end_by_an_exit_code(code, told):
    """An exit code is told as such."""
    process = subprocess.Popen([sys.executable, "-c", f"import sys; sys.stdin.read(); sys.exit({code})"], stdin=-1)
    held = Pidfd(process.pid)
    process.communicate()
    assert held.exit()[0] == (Exit(code=code) if told else None)
    held.close()
    held.close()  # once more does no harm


def test_end_of_a_grandchild(tmp_path, told):
    """A process that another one starts and reaps is told of as well."""
    server = Server.start(tmp_path / "server.py", 1)
    held = Pidfd(server.workers[0])
    server.lose_worker(server.workers[0], signal.SIGSEGV)
    how, _ = held.exit()
    assert (how.signal if how else None) == (signal.SIGSEGV if told else None)
    held.close()
    server.close()


def test_no_process():
    """A process that is gone cannot be held."""
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError):
        Pidfd(process.pid)
