"""What goes wrong around a watched process: it is missing, its number is another's, it is hidden, the clock steps."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from exporter.contracts import Deadline, Sight
from exporter.errors import SourceDataError, SourceDenied, SourceError
from exporter.probes import members, tree
from exporter.probes.process import Process
from tests.processes import Server, Ticks, until

FOREVER = Deadline(float("inf"))
NOBODY = 65534


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def watch(ticks) -> Iterator[Callable[..., Process]]:
    probes: list[Process] = []

    def begin(**config) -> Process:
        probes.append(Process(Process.Config(**config), name="server", clock=ticks.clock()))
        return probes[-1]

    yield begin
    for probe in probes:
        probe.close()


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    started = Server.start(tmp_path / "server.py", 1)
    yield started
    started.close()


@contextlib.contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def ends(sight: Sight) -> list[tuple[str, str]]:
    return [(end.kind, end.reason) for end in sight.endings]


# --- missing -------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_target_is_missing(watch, tmp_path):
    """A server that is not there is down, with what was looked for; nothing is claimed of it, and it is no error."""
    cases = {
        "pid_file": (str(tmp_path / "none.pid"), "does not exist"),
        "command": ("no such [c]ommand line", "no command line matches"),
        "port": (free_port(), "no process listens on TCP port"),
    }
    for key, (value, detail) in cases.items():
        probe = watch(**{key: value})
        for _ in range(2):
            sight = probe.look(None, FOREVER)
            assert (sight.up, sight.start_time, sight.endings) == (False, None, ())
            assert detail in sight.detail
            assert [(r.metric, r.value) for r in sight.readings] == [("model_server_processes", 0.0)]


def test_server_that_comes_later(watch, tmp_path, ticks):
    """A server is found when it comes, and the wait for it is observed time without an ending."""
    probe = watch(command=str(tmp_path))
    assert not probe.look(None, FOREVER).up
    started = Server.start(tmp_path / "server.py", 1)
    ticks.pass_by(15)
    sight = probe.look(None, FOREVER)
    started.close()
    assert (sight.up, sight.endings, sight.observed) == (True, (), 15.0)


def test_pid_file_of_a_dead_process(watch, tmp_path):
    """A pid file that was left behind is down, and says so."""
    with sleeper() as process:
        (tmp_path / "pid").write_text(str(process.pid))
    sight = watch(pid_file=str(tmp_path / "pid")).look(None, FOREVER)
    assert (sight.up, sight.endings) == (False, ())
    assert sight.detail.endswith("which does not live; the file is left from a server that is down")


@pytest.mark.parametrize("content", ["", "none", "-1", "0", "12 13", "99999999999", "\0" * 300, "1.5"])
def test_pid_file_without_a_number(content, watch, tmp_path):
    """A pid file that holds no process number is an error that names the file, not what it holds."""
    (tmp_path / "pid").write_text(content)
    with pytest.raises(SourceDataError, match=r"pid holds no process number; it must hold nothing else$"):
        watch(pid_file=str(tmp_path / "pid")).look(None, FOREVER)


def test_port_that_is_closed(watch, tmp_path, ticks):
    """A process that no longer listens is down within a minute, although it lives; its end is told all the same."""
    server = Server.start(tmp_path / "server.py", 0)
    probe = watch(port=server.port)
    assert probe.look(None, FOREVER).up
    os.kill(server.pid, signal.SIGHUP)
    server.tell("deaf")
    ticks.pass_by(61)
    sight = probe.look(None, FOREVER)
    assert (sight.up, sight.endings) == (False, ())
    assert "no process listens" in sight.detail
    server.close()
    assert len(probe.look(None, FOREVER).endings) == 1


# --- another process with the same number --------------------------------------------------------


def test_number_of_a_process_that_came_later(watch, tmp_path):
    """A process that started long after its pid file was written is not the one that wrote it."""
    with sleeper() as process:
        (tmp_path / "pid").write_text(str(process.pid))
        os.utime(tmp_path / "pid", (time.time() - 3600, time.time() - 3600))
        sight = watch(pid_file=str(tmp_path / "pid")).look(None, FOREVER)
    assert sight.up is False
    assert "another with the same number; remove the file" in sight.detail


def test_number_that_is_reused_between_two_looks(watch, tmp_path, monkeypatch):
    """The same number with another start is an end and a new process, with and without pidfds."""
    monkeypatch.setattr(members, "_pidfd", lambda pid: None)
    with sleeper() as process:
        (tmp_path / "pid").write_text(str(process.pid))
        probe = watch(pid_file=str(tmp_path / "pid"))
        assert ends(probe.look(None, FOREVER)) == []
        probe._tree.root.started -= 1  # as if the process that was seen had been an older one
        probe._tree._members = {probe._tree.root.identity: probe._tree.root}
        sight = probe.look(None, FOREVER)
        assert (sight.up, ends(sight)) == (True, [("unknown", "unknown")])
        assert ends(probe.look(None, FOREVER)) == []


def test_number_that_is_reused_while_nobody_looked(watch, tmp_path):
    """After a restart of the exporter the same number with another start is one end of unknown reason, told once."""
    with sleeper() as process:
        (tmp_path / "pid").write_text(str(process.pid))
        cursor = watch(pid_file=str(tmp_path / "pid")).look(None, FOREVER).cursor
        same = watch(pid_file=str(tmp_path / "pid")).look(cursor, FOREVER)
        assert (same.up, same.endings, same.observed) == (True, (), 0.0)
        later = watch(pid_file=str(tmp_path / "pid"))
        sight = later.look({**cursor, "started": cursor["started"] - 1}, FOREVER)
        assert (sight.up, ends(sight)) == (True, [("unknown", "unknown")])
        assert ends(later.look(sight.cursor, FOREVER)) == []
        rebooted = watch(pid_file=str(tmp_path / "pid")).look({**cursor, "boot": "before"}, FOREVER)
        assert ends(rebooted) == [("unknown", "unknown")]


def test_end_while_nobody_looked(watch, tmp_path):
    """A server that ended while the exporter was down is one unknown end, and down."""
    with sleeper() as process:
        (tmp_path / "pid").write_text(str(process.pid))
        cursor = watch(pid_file=str(tmp_path / "pid")).look(None, FOREVER).cursor
    sight = watch(pid_file=str(tmp_path / "pid")).look(cursor, FOREVER)
    assert (sight.up, ends(sight), sight.cursor) == (False, [("unknown", "unknown")], {})


def test_number_of_a_thread(watch, tmp_path):
    """A number that now belongs to a thread of another process is no process."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    (tmp_path / "pid").write_text(str(thread.native_id))
    sight = watch(pid_file=str(tmp_path / "pid")).look(None, FOREVER)
    done.set()
    thread.join()
    assert sight.up is False
    assert "does not live" in sight.detail


# --- hidden --------------------------------------------------------------------------------------


def as_nobody(test: Callable[[], None]) -> None:
    """Run *test* in a child without privileges (as the user that we are, if that has none)."""
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            test()
        except BaseException as error:  # noqa: BLE001 - the child of a fork must not go on
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0


def denied(probe: Process, text: str) -> None:
    with pytest.raises(SourceDenied, match=text):
        probe.look(None, FOREVER)


def test_pid_file_that_may_not_be_read(watch, tmp_path):
    """A pid file of somebody else is denied, with the user that it must be allowed to."""
    (tmp_path / "pid").write_text("1")
    (tmp_path / "pid").chmod(0)
    tmp_path.chmod(0o755)
    probe = watch(pid_file=str(tmp_path / "pid"))
    as_nobody(lambda: denied(probe, r"may not be read; allow it to user \d+$|may not be read"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_listener_of_another_user(watch, server):
    """A port whose owner /proc hides is denied, with the ways to see it."""
    probe = watch(port=server.port)
    as_nobody(lambda: denied(probe, r"hidden from user 65534; run the exporter as the user of the model server"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_server_of_another_user_by_its_command(watch, server):
    """What /proc shows to all is enough to watch: only files and proportional memory are missing."""
    probe = watch(command=str(server.process.args[1]))
    tree.lives({})  # what a child without rights cannot import any more is imported here

    def test() -> None:
        sight = probe.look(None, FOREVER)
        names = {reading.metric for reading in sight.readings}
        assert sight.up
        assert "model_server_cpu_seconds_total" in names
        assert not names & {"model_server_open_files_used", "model_server_memory_proportional_bytes"}

    as_nobody(test)


def test_denied_look_loses_no_end(watch, tmp_path, monkeypatch):
    """An end that was seen by a look that then failed is told by the next one that does not."""
    with sleeper() as process:
        (tmp_path / "pid").write_text(str(process.pid))
        probe = watch(pid_file=str(tmp_path / "pid"))
        assert probe.look(None, FOREVER).up
    (tmp_path / "pid").write_text("not a number")
    with pytest.raises(SourceError):
        probe.look(None, FOREVER)
    (tmp_path / "pid").unlink()
    assert len(probe.look(None, FOREVER).endings) == 1
    assert len(probe.look(None, FOREVER).endings) == 0


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
def test_clock_step(step, watch, server, ticks):
    """A step of the wall clock ends nothing, moves no start time, and is no observed time."""
    probe = watch(command=str(server.process.args[1]))
    before = probe.look(None, FOREVER)
    ticks.pass_by(15)
    ticks.wall += step
    sight = probe.look(before.cursor, FOREVER)
    assert (sight.up, sight.endings, sight.observed) == (True, (), 15.0)
    assert (sight.start_time, sight.cursor) == (before.start_time, before.cursor)
    server.lose_worker(server.workers[0], signal.SIGKILL)
    assert probe.look(sight.cursor, FOREVER).endings[0].time == ticks.wall


# --- a machine that is busy ----------------------------------------------------------------------


def test_processes_that_come_and_go_during_a_look(watch, tmp_path):
    """Workers that end while they are counted disturb no look."""
    script = tmp_path / "churn.py"
    script.write_text(
        "import os\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for _ in range(4):\n"
        "        if not os.fork(): os._exit(0)\n"
        "    for _ in range(4): os.wait()\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=-1, start_new_session=True)
    process.stdout.readline()
    probe = watch(command=str(script))
    seconds = []
    for _ in range(60):
        sight = probe.look(None, FOREVER)
        assert sight.up
        assert {kind for kind, _ in ends(sight)} <= {"planned", "unknown"}
        seconds.append(next(r.value for r in sight.readings if r.metric == "model_server_cpu_seconds_total"))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert seconds == sorted(seconds)
    until(lambda: not probe.look(None, FOREVER).up)
