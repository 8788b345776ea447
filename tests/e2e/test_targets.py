"""Model servers as the exporter meets them: real processes that are killed, watched from beside or as its child."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from exporter.probes.pidfd import Pidfd
from tests.running import Exporter, wait_for

SERVER = "import sys, time; time.sleep(float(sys.argv[1])); sys.exit(int(sys.argv[2]))"
CONFIG = """
targets:
  server:
    {life}
    disk: {{mountpoints: [/]}}
    cgroup: {{scopes: [host]}}
    interval: 1s
    windows: [1h]
"""


class Servers:
    """One model server after the other, named by a pid file."""

    def __init__(self, folder: Path) -> None:
        self.pid_file = folder / "server.pid"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 600, code: int = 0) -> psutil.Process:
        self.process = subprocess.Popen([sys.executable, "-c", SERVER, str(seconds), str(code)])
        self.pid_file.write_text(str(self.process.pid))
        return psutil.Process(self.process.pid)

    def kill(self, number: int) -> None:
        assert self.process
        self.process.send_signal(number)
        self.process.wait()


@pytest.fixture
def servers(tmp_path):
    made = Servers(tmp_path)
    yield made
    if made.process:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def start(tmp_path):
    """`start(life, ...)` runs an exporter that watches the target `server`; see `Exporter`."""
    started: list[Exporter] = []

    def starting(life="", **words):
        started.append(Exporter(tmp_path, CONFIG.format(life=life), **words).start())
        return started[-1].ready()

    yield starting
    for one in started:
        for child in psutil.Process(one.process.pid).children() if one.process.poll() is None else ():
            child.kill()
        one.kill()


def crashes(values):
    """Crashes by reason that are not 0, and the same of restarts."""
    return tuple(
        {
            one.labels["reason"]: int(one.value)
            for one in values.samples
            if one.name == f"model_server_{what}_total" and one.value
        }
        for what in ("crashes", "restarts")
    )


def assert_rate(values):
    """The gauge is the counters' quotient."""
    observed = values.one("model_server_observed_seconds_total")
    expected = values.sum("model_server_crashes_total") / observed * 3600
    assert values.one("model_server_crashes_per_hour", window="1h") == pytest.approx(expected)


def up_since(process):
    """A condition: the very process is seen as up."""
    return lambda values: (
        values.one("model_server_up") == 1
        and abs(values.one("model_server_start_time_seconds") - process.create_time()) < 1
    )


def tells_exits():
    """Whether this kernel tells how processes of others have ended."""
    with subprocess.Popen(["true"]) as process:
        held = Pidfd(process.pid)
    how, _ = held.exit()
    held.close()
    return how is not None


needs_exits = pytest.mark.skipif(not tells_exits(), reason="the kernel must tell how processes end: Linux 6.15")


@needs_exits
def test_ends_of_a_server_beside_are_counted_by_reason(servers, start):
    """SIGKILL, SIGSEGV and exit code 3 are crashes, SIGTERM and exit code 0 are none; each is a restart, once."""
    exporter = start(f"process: {{pid_file: {servers.pid_file}}}")
    assert exporter.values().one("model_server_up") == 0
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
        exporter.values_once(up_since(servers.start()))
        servers.kill(number)
        exporter.values_once(lambda values: values.one("model_server_up") == 0)
    for code in (0, 3):
        process = servers.start(3, code)
        exporter.values_once(up_since(process))
        servers.process.wait()
        exporter.values_once(lambda values: values.one("model_server_up") == 0)
    values = exporter.values_once(up_since(servers.start()))
    assert crashes(values) == (
        {"killed": 1, "SIGSEGV": 1, "exit": 1},
        {"killed": 1, "SIGSEGV": 1, "stop": 1, "clean": 1, "exit": 1},
    )
    assert_rate(values)
    assert values.one("model_server_cpu_seconds_total", scope="process") >= 0
    assert 0 < values.one("model_server_memory_utilization_ratio", scope="host") < 1
    assert 0 < values.one("model_server_disk_utilization_ratio", mountpoint="/") <= 1
    page = exporter.get("/")[0]
    assert "SIGSEGV" in page
    assert "in 1h" in page


@needs_exits
def test_counts_survive_a_kill_of_the_exporter(servers, start):
    """After a SIGKILL counters go on where they were, and an end in the meantime is one restart of unknown cause."""
    exporter = start(f"process: {{pid_file: {servers.pid_file}}}")
    exporter.values_once(up_since(servers.start()))
    servers.kill(signal.SIGKILL)
    servers.start()
    before = exporter.values_once(lambda values: crashes(values) == ({"killed": 1}, {"killed": 1}))
    exporter.kill()
    servers.kill(signal.SIGKILL)
    process = servers.start()
    exporter.start().ready()
    values = exporter.values_once(up_since(process))
    assert crashes(values) == ({"killed": 1}, {"killed": 1, "unknown": 1})
    observed = "model_server_observed_seconds_total"
    assert values.one(observed) >= before.one(observed)
    servers.kill(signal.SIGSEGV)
    servers.start()
    values = exporter.values_once(lambda values: "SIGSEGV" in crashes(values)[1])
    assert crashes(values) == ({"killed": 1, "SIGSEGV": 1}, {"killed": 1, "SIGSEGV": 1, "unknown": 1})
    assert_rate(values)


def test_run_restarts_its_child_and_counts(start):
    """With --restart a child that is killed is there again; SIGTERM stops it first, then the exporter."""
    exporter = start(runs=[sys.executable, "-c", SERVER, "600", "0"], options=["--restart"])

    def child():
        (only,) = psutil.Process(exporter.process.pid).children()
        return only

    for count, number in enumerate((signal.SIGKILL, signal.SIGSEGV), 1):
        exporter.values_once(up_since(child()))
        child().send_signal(number)
        exporter.values_once(lambda values, count=count: values.sum("model_server_crashes_total") == count)
        wait_for(lambda: psutil.Process(exporter.process.pid).children(), 10)
    values = exporter.values_once(lambda values: values.sum("model_server_restarts_total") == 2)
    assert crashes(values) == ({"killed": 1, "SIGSEGV": 1}, {"killed": 1, "SIGSEGV": 1})
    assert_rate(values)
    last = child()
    exporter.process.terminate()
    assert exporter.process.wait(10) == 0
    assert not last.is_running()
    exporter.start().ready()
    values = exporter.values_once(lambda values: values.one("model_server_up") == 1)
    assert crashes(values) == ({"killed": 1, "SIGSEGV": 1}, {"killed": 1, "SIGSEGV": 1, "stop": 1})


@pytest.mark.parametrize(
    ("program", "code"), [("import sys; sys.exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_run_ends_as_its_child_did(start, program, code):
    """Without --restart the exporter ends with the exit code of its child, once the end has been scraped."""
    exporter = start(runs=[sys.executable, "-c", f"import time; time.sleep(3); {program}"])
    exporter.values_once(lambda values: values.one("model_server_up") == 0)
    assert exporter.process.wait(10) == code


def test_a_command_that_is_missing_is_told(tmp_path):
    """Nothing is served, and the error says what to do."""
    exporter = Exporter(tmp_path, CONFIG.format(life=""), runs=["./no-such-program"]).start()
    assert exporter.process.wait(20) == 1
    assert "give a program that exists" in exporter.log.read_text()


def test_a_target_without_a_probe_of_its_life_is_a_fault(tmp_path):
    """Only what `run` starts may be without."""
    exporter = Exporter(tmp_path, CONFIG.format(life="")).start()
    assert exporter.process.wait(20) == 3
    assert "model-exporter run" in exporter.log.read_text()
