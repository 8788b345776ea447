"""A command that the exporter runs itself: every exit is known, signals go through, restarts wait longer each time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.types import Duration
from exporter.contracts import Clock, Deadline, Probe, Sight
from exporter.errors import SourceUnavailable
from exporter.probes.endings import Exit
from exporter.probes.supervisor import BackOff, Supervisor
from tests.processes import kernel_tells_exits, until

FOREVER = Deadline(float("inf"))
SOON = {"delay": Duration(0.01), "longest_delay": Duration(0.05)}


@pytest.fixture
def supervise() -> Iterator[Callable[..., Supervisor]]:
    running: list[Supervisor] = []

    def begin(code: str, *arguments: str, **config) -> Supervisor:
        command = (sys.executable, "-c", code, *arguments)
        on_end = config.pop("on_end", lambda: None)
        config = {"grace": Duration(5), **config}
        running.append(
            Supervisor(Supervisor.Config(command=command, **config), name="server", clock=Clock(), on_end=on_end)
        )
        running[-1].start()
        return running[-1]

    yield begin
    for supervisor in running:
        supervisor.stop()
        supervisor.close()


def ends(sight: Sight) -> list[tuple[str, str]]:
    return [(end.kind, end.reason) for end in sight.endings]


def all_ends(supervisor: Supervisor) -> list[tuple[str, str]]:
    """The ends of a command that has ended for good."""
    supervisor.wait(20)
    assert not supervisor.running
    return ends(supervisor.look(None, FOREVER))


def ready(path: Path) -> None:
    until(path.exists)


WAITS = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS.replace(
    "signal.pause()", "[signal.pause() for _ in iter(int, 1)]"
)


@pytest.mark.parametrize(
    ("code", "how", "reason"),
    [
        ("pass", Exit(code=0), ("planned", "clean")),
        ("import sys; sys.exit(3)", Exit(code=3), ("crash", "exit")),
        ("import os; os.kill(os.getpid(), 9)", Exit(signal=9), ("crash", "killed")),
        ("import os; os.kill(os.getpid(), 15)", Exit(signal=15), ("planned", "stop")),
        ("import os; os.abort()", Exit(signal=6), ("crash", "SIGABRT")),
        ("import os; os.kill(os.getpid(), 11)", Exit(signal=11), ("crash", "SIGSEGV")),
    ],
)
def test_every_exit_is_known(supervise, code, how, reason):
    """Codes and signals are told exactly, on every kernel, once; then the command is down for good."""
    supervisor = supervise(code)
    seen = supervisor.wait(20)
    assert (seen.code, seen.signal) == (how.code, how.signal)
    assert all_ends(supervisor) == [reason]
    sight = supervisor.look(None, FOREVER)
    assert (sight.up, sight.endings, sight.start_time) == (False, (), None)
    assert str(seen) in sight.detail


def test_a_running_command_is_measured(supervise, tmp_path):
    """While it runs it is up, with its start and what it uses; `close` leaves it alone."""
    supervisor = supervise(WAITS, str(tmp_path / "ready"))
    assert isinstance(supervisor, Probe)
    ready(tmp_path / "ready")
    sight = supervisor.look(None, FOREVER)
    process = psutil.Process(supervisor.pid)
    assert (sight.up, sight.endings) == (True, ())
    assert sight.start_time == pytest.approx(process.create_time(), abs=0.02)
    values = {reading.metric: reading.value for reading in sight.readings}
    assert values["model_server_memory_used_bytes"] == pytest.approx(process.memory_info().rss, rel=0.05)
    assert values["model_server_processes"] == 1
    supervisor.close()
    assert supervisor.running
    assert process.is_running()
    assert supervisor.look(None, FOREVER).up


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_forwarded_stop_is_no_crash(supervise, tmp_path, number):
    """A stop that was passed on is planned, and the command is not started again."""
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); " + WAITS
    supervisor = supervise(code, str(tmp_path / "ready"), restart=True, **SOON)
    ready(tmp_path / "ready")
    supervisor.forward(number)
    assert all_ends(supervisor) == [("planned", "stop")]


def test_exit_code_of_a_stop_is_no_crash(supervise, tmp_path):
    """A server that answers a stop with an exit code of its own did as it was asked."""
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)); " + WAITS
    supervisor = supervise(code, str(tmp_path / "ready"))
    ready(tmp_path / "ready")
    assert supervisor.stop() == Exit(code=1)
    assert all_ends(supervisor) == [("planned", "stop")]


def test_stop_is_forced_after_the_grace(supervise, tmp_path):
    """Who does not stop in time is killed, which is no crash either."""
    supervisor = supervise(IGNORES, str(tmp_path / "ready"), grace=Duration(0.1))
    ready(tmp_path / "ready")
    assert supervisor.stop() == Exit(signal=signal.SIGKILL)
    assert all_ends(supervisor) == [("planned", "forced_stop")]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_other_signals_go_through(supervise, tmp_path, number):
    """SIGHUP and the user signals reach the command, which goes on, and is still started again after a crash."""
    code = (
        "import pathlib, signal, sys\n"
        "heard = lambda number, _: pathlib.Path(sys.argv[1], str(number)).touch()\n"
        f"signal.signal({int(number)}, heard)\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "while True: signal.pause()\n"
    )
    supervisor = supervise(code, str(tmp_path), restart=True, **SOON)
    ready(tmp_path / "ready")
    supervisor.forward(number)
    ready(tmp_path / str(int(number)))
    first = supervisor.pid
    assert supervisor.look(None, FOREVER).up
    os.kill(first, signal.SIGSEGV)
    until(lambda: supervisor.pid not in (None, first))
    assert supervisor.running


def test_restart_after_each_crash(supervise, tmp_path):
    """With `restart` a crashed command comes back, each crash is told once, and CPU seconds never decrease."""
    code = "import os, pathlib, sys\nwhile os.times().user < 0.05: pass\n" + WAITS
    supervisor = supervise(code, str(tmp_path / "ready"), restart=True, **SOON)
    found, seconds, starts = [], [], []

    def look() -> Sight:
        sight = supervisor.look(None, FOREVER)
        values = {reading.metric: reading.value for reading in sight.readings}
        found.extend(ends(sight))
        seconds.append(values["model_server_cpu_seconds_total"])
        return sight

    for _ in range(3):
        ready(tmp_path / "ready")
        (tmp_path / "ready").unlink()
        sight = look()
        assert sight.up
        starts.append(sight.start_time)
        pid = supervisor.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: supervisor.pid not in (None, pid))
    ready(tmp_path / "ready")
    look()
    assert found == [("crash", "killed")] * 3
    assert seconds == sorted(seconds)
    assert seconds[-1] >= 0.2
    assert starts == sorted(starts)


def test_restart_waits_and_says_so(supervise):
    """While a restart is awaited the command is down, and the detail says how it ended and how long it waits."""
    supervisor = supervise("import sys; sys.exit(3)", restart=True, delay=Duration(60))
    until(lambda: "again" in supervisor.look(None, FOREVER).detail)
    sight = supervisor.look(None, FOREVER)
    assert (sight.up, supervisor.running) == (False, True)
    assert sight.detail.endswith("ended with exit code 3; is started again after 1m")
    supervisor.stop()
    assert not supervisor.running


def test_end_for_good_is_announced(supervise):
    """Whoever started the command is called once it has ended for good."""
    called = []
    supervisor = supervise("pass", on_end=lambda: called.append(True))
    supervisor.wait(20)
    until(lambda: called)
    assert called == [True]


def test_orphans_end_with_their_server(supervise, tmp_path):
    """Workers that outlive a crashed parent are ended, so that they hold no port against the next start."""
    code = (
        "import os, pathlib, signal, sys\n"
        "kid = os.fork()\n"
        "if kid: pathlib.Path(sys.argv[1]).write_text(str(kid))\n"
        "signal.pause()\n"
    )
    supervisor = supervise(code, str(tmp_path / "kid"))
    until(lambda: (tmp_path / "kid").exists() and (tmp_path / "kid").read_text())
    kid = psutil.Process(int((tmp_path / "kid").read_text()))
    os.kill(supervisor.pid, signal.SIGKILL)
    assert all_ends(supervisor) == [("crash", "killed")]
    until(lambda: not kid.is_running() or kid.status() == psutil.STATUS_ZOMBIE)


def test_worker_of_the_command_is_watched(supervise, tmp_path):
    """A worker that crashes and is replaced counts, although the command itself lives on."""
    code = (
        "import os, pathlib, signal, sys\n"
        "for number in range(2):\n"
        "    kid = os.fork()\n"
        "    if not kid: signal.pause()\n"
        "    pathlib.Path(sys.argv[1], f'kid{number}').write_text(str(kid))\n"
        "    os.wait()\n"
        "    pathlib.Path(sys.argv[1], f'reaped{number}').touch()\n"
        "signal.pause()\n"
    )
    supervisor = supervise(code, str(tmp_path))
    until(lambda: (tmp_path / "kid0").exists() and (tmp_path / "kid0").read_text())
    supervisor.look(None, FOREVER)
    os.kill(int((tmp_path / "kid0").read_text()), signal.SIGSEGV)
    ready(tmp_path / "reaped0")
    expected = ("crash", "SIGSEGV") if kernel_tells_exits() else ("unknown", "unknown")
    assert ends(supervisor.look(None, FOREVER)) == [expected]
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: not supervisor.running)
    assert ends(supervisor.look(None, FOREVER)) == [("crash", "killed")]


def test_command_has_a_session_of_its_own(supervise, tmp_path):
    """A Ctrl-C in the exporter's terminal reaches the command only through the exporter."""
    supervisor = supervise(WAITS, str(tmp_path / "ready"))
    assert os.getsid(supervisor.pid) == supervisor.pid != os.getsid(0)


@pytest.mark.parametrize("program", ["/nowhere/server", "/etc/passwd"])
def test_command_that_cannot_be_run(program):
    """A program that does not exist or may not be run is an error that names it, and nothing runs."""
    supervisor = Supervisor(Supervisor.Config(command=(program,)), name="server", clock=Clock())
    with pytest.raises(SourceUnavailable, match=rf"{program} cannot be started: .*; give a program"):
        supervisor.start()
    assert not supervisor.running
    assert supervisor.look(None, FOREVER).up is False


def test_program_that_vanishes_is_tried_again(tmp_path, supervise):
    """A program that is missing at a restart is waited for."""
    program = tmp_path / "server"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit(3)\n")
    program.chmod(0o755)
    config = Supervisor.Config(command=(str(program),), restart=True, **SOON)
    supervisor = Supervisor(config, name="server", clock=Clock())
    supervisor.start()
    until(lambda: ends(supervisor.look(None, FOREVER)))
    program.unlink()
    until(lambda: "cannot be started" in supervisor.look(None, FOREVER).detail)
    supervisor.look(None, FOREVER)
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit(3)\n")
    program.chmod(0o755)
    until(lambda: ends(supervisor.look(None, FOREVER)))
    supervisor.stop()


def test_signals_from_a_handler_of_the_exporter(tmp_path):
    """Installed as a handler, `forward` passes on what a real process gets, and a stop ends its command for good."""
    code = (
        "import signal, sys\n"
        "from exporter.contracts import Clock\n"
        "from exporter.probes.supervisor import FORWARDED, Supervisor\n"
        "config = Supervisor.Config(command=tuple(sys.argv[1:]), restart=True)\n"
        "supervisor = Supervisor(config, name='server', clock=Clock())\n"
        "for number in FORWARDED:\n"
        "    signal.signal(number, lambda number, _: supervisor.forward(number))\n"
        "supervisor.start()\n"
        "supervisor.wait()\n"
    )
    child = [sys.executable, "-c", WAITS, str(tmp_path / "ready")]
    process = subprocess.Popen([sys.executable, "-c", code, *child])
    ready(tmp_path / "ready")
    process.terminate()
    assert process.wait(20) == 0


@given(st.lists(st.floats(0, 200), max_size=30))
def test_back_off(lived):
    """Waits double up to the longest, and begin anew after a stable run."""
    back_off = BackOff(first=1, longest=60, stable_after=100)
    before = None
    for seconds in lived:
        delay = back_off.delay(seconds)
        expected = 1 if before is None or seconds >= 100 else min(60, before * 2)
        assert delay == expected
        before = delay
