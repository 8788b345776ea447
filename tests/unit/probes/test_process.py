"""A real server with real workers, seen by the process probe: what ended, how, and what it uses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from exporter.contracts import Deadline, Probe, Sight
from exporter.probes import tree as trees
from exporter.probes.process import Process
from tests.processes import Server, Ticks, kernel_tells_exits, until

FOREVER = Deadline(float("inf"))
INTERVAL = 15.0


@pytest.fixture(scope="module")
def told() -> bool:
    return kernel_tells_exits()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[[int], Server]]:
    servers: list[Server] = []

    def start(workers: int) -> Server:
        servers.append(Server.start(tmp_path / f"server{len(servers)}.py", workers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class Watch:
    """A probe, and the cursor between its looks."""

    def __init__(self, ticks: Ticks, **config) -> None:
        self.ticks = ticks
        self.probe = Process(Process.Config(**config), name="server", clock=ticks.clock())
        self.cursor = None

    def look(self, later: float = INTERVAL) -> Sight:
        self.ticks.pass_by(later)
        sight = self.probe.look(self.cursor, FOREVER)
        self.cursor = msgspec.json.decode(msgspec.json.encode(sight.cursor))
        return sight


@pytest.fixture
def watch(ticks) -> Iterator[Callable[..., Watch]]:
    watches: list[Watch] = []

    def begin(**config) -> Watch:
        watches.append(Watch(ticks, **config))
        return watches[-1]

    yield begin
    for each in watches:
        each.probe.close()


def ends(sight: Sight) -> list[tuple[str, str]]:
    return [(end.kind, end.reason) for end in sight.endings]


def values(sight: Sight) -> dict[str, float]:
    assert len({(r.metric, r.labels) for r in sight.readings}) == len(sight.readings)
    return {reading.metric.removeprefix("model_server_"): reading.value for reading in sight.readings}


def by_command(server: Server) -> str:
    return re.escape(server.process.args[1])


def by_file(server: Server, tmp_path) -> str:
    (tmp_path / "server.pid").write_text(f"{server.pid}\n")
    return str(tmp_path / "server.pid")


def known(reason: tuple[str, str], told: bool) -> tuple[str, str]:
    """The *reason* where the kernel tells it."""
    return reason if told else ("unknown", "unknown")


# --- finding it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pid_file", "command", "port"])
def test_server_is_found(how, serve, watch, tmp_path):
    """The parent of three workers is found by its pid file, by a pattern that all four match, and by their port."""
    server = serve(3)
    config = {"pid_file": by_file(server, tmp_path), "command": by_command(server), "port": server.port}
    seen = watch(**{how: config[how]})
    assert isinstance(seen.probe, Probe)
    sight = seen.look()
    assert (sight.up, sight.endings, sight.observed) == (True, (), 0.0)
    assert sight.start_time == pytest.approx(psutil.Process(server.pid).create_time(), abs=0.02)
    assert f"process {server.pid} " in sight.detail
    assert values(sight)["processes"] == 4


def test_workers_that_share_a_port_belong_to_their_parent(watch, tmp_path):
    """Workers that each listen by themselves (SO_REUSEPORT) are watched as one server."""
    script = tmp_path / "reuse.py"
    script.write_text(
        "import os, signal, socket\n"
        "first = socket.socket()\n"
        "first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "first.bind(('127.0.0.1', 0))\n"
        "address = first.getsockname()\n"
        "first.close()\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        "        own = socket.socket()\n"
        "        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n"
        "        own.bind(address)\n"
        "        own.listen()\n"
        "        os.write(1, b'%d\\n' % address[1])\n"
        "        signal.pause()\n"
        "signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=-1, text=True, start_new_session=True)
    ports = {int(process.stdout.readline()) for _ in range(2)}
    sight = watch(port=ports.pop()).look()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert f"process {process.pid} " in sight.detail
    assert values(sight)["processes"] == 3


def test_several_servers_of_one_name_are_told(watch, tmp_path):
    """Of unrelated processes that match, the oldest is watched, and people are told."""
    script = tmp_path / "twin.py"
    script.write_text("import signal; signal.pause()")
    twins = [subprocess.Popen([sys.executable, str(script)]) for _ in range(2)]
    until(lambda: len({psutil.Process(twin.pid).exe() for twin in twins}) == 1)
    sight = watch(command=str(script)).look()
    for twin in twins:
        twin.kill()
        twin.wait()
    assert sight.detail.endswith(f"the oldest of 2 processes that match '{script}'")


@pytest.mark.parametrize("config", [{}, {"port": 1, "command": "x"}, {"command": "("}, {"command": ""}])
def test_config_names_exactly_one_way(config):
    """Neither none nor two ways to find a process, nor a broken pattern, are accepted."""
    with pytest.raises(ValueError, match=r"exactly one|no regular expression|must not be empty"):
        Process.Config(**config)


# --- what ended ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, ("crash", "killed")),
        (signal.SIGSEGV, ("crash", "SIGSEGV")),
        (signal.SIGABRT, ("crash", "SIGABRT")),
        (signal.SIGTERM, ("planned", "clean")),  # the server's own handler exits with 0
        (signal.SIGINT, ("crash", "exit")),  # KeyboardInterrupt: Python exits with 1 or by the signal
    ],
)
def test_end_of_the_server(number, reason, serve, watch, told):
    """The end of the parent is one ending, of the right kind and reason, once; then the server is down."""
    server = serve(2)
    seen = watch(command=by_command(server))
    seen.look()
    server.end(number)
    if number == signal.SIGINT and server.process.returncode == -signal.SIGINT:
        reason = ("planned", "stop")
    sight = seen.look()
    assert sight.up is False
    assert sight.start_time is None
    assert ends(sight) == [known(reason, told)]
    assert sight.endings[0].time == seen.ticks.wall
    assert (sight.observed, sight.cursor) == (INTERVAL, {})
    assert "no command line matches" in sight.detail
    assert ends(seen.look()) == []


def test_end_is_told_once_it_is_reaped(serve, watch, told, tmp_path):
    """A zombie is down at once; how it ended is told when its parent has reaped it, with the time of the end."""
    server = serve(0)
    seen = watch(pid_file=by_file(server, tmp_path))
    seen.look()
    os.kill(server.pid, signal.SIGSEGV)
    until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE)
    sight = seen.look()
    noticed = seen.ticks.wall
    assert sight.up is False
    assert "waits to be reaped" in sight.detail
    if told:
        assert (ends(sight), sight.cursor["pid"]) == ([], server.pid)
    server.process.wait()
    later = seen.look()
    assert ends(sight) + ends(later) == [known(("crash", "SIGSEGV"), told)]
    assert (*sight.endings, *later.endings)[0].time == noticed


def test_zombie_that_nobody_reaps_is_unknown(serve, watch, tmp_path):
    """After a minute without a record the end is told without a reason."""
    server = serve(0)
    seen = watch(pid_file=by_file(server, tmp_path))
    seen.look()
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE)
    assert [end for _ in range(6) for end in ends(seen.look())] == [("unknown", "unknown")]
    server.process.wait()
    assert ends(seen.look()) == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGKILL, ("crash", "killed")),
        (signal.SIGSEGV, ("crash", "SIGSEGV")),
        (signal.SIGTERM, ("planned", "stop")),
        (signal.SIGUSR1, ("planned", "clean")),
        (signal.SIGUSR2, ("crash", "exit")),
    ],
)
def test_worker_is_replaced(number, reason, serve, watch, told):
    """The end of a worker counts while its parent lives on, and the one that follows it is watched in turn."""
    server = serve(2)
    seen = watch(command=by_command(server))
    seen.look()
    for lost in (1, 2):
        server.lose_worker(server.workers[-1], number)
        server.await_workers(2 + lost)
        sight = seen.look()
        assert (sight.up, ends(sight)) == (True, [known(reason, told)])
        assert values(sight)["processes"] == 3
    assert ends(seen.look()) == []


def test_several_workers_end_at_once(serve, watch, told):
    """Each worker's end counts by itself."""
    server = serve(3)
    seen = watch(port=server.port)
    seen.look()
    first, second, _ = server.workers
    server.lose_worker(first, signal.SIGKILL)
    server.lose_worker(second, signal.SIGTERM)
    found = ends(seen.look())
    assert sorted(found) == sorted([known(("crash", "killed"), told), known(("planned", "stop"), told)])


def test_fault_of_a_worker_explains_the_end_of_the_server(serve, watch, told):
    """A worker's fault and the orderly end of the parent that follows are one crash."""
    server = serve(2)
    seen = watch(command=by_command(server))
    seen.look()
    server.lose_worker(server.workers[0], signal.SIGSEGV)
    server.end(signal.SIGTERM)
    assert ends(seen.look()) == [("crash", "SIGSEGV") if told else ("unknown", "unknown")]


def test_want_of_memory_is_told(serve, watch, told, tmp_path, monkeypatch):
    """SIGKILL with a risen count of the kernel is `oom`; the next one without is not."""
    counts = tmp_path / "memory.events"
    counts.write_text("low 0\noom 4\noom_kill 4\n")
    monkeypatch.setattr("exporter.probes.oomkills._cgroup_files", lambda pid: [str(counts)])
    server = serve(3)
    seen = watch(command=by_command(server))
    seen.look()
    found = []
    for worker, killed in zip(server.workers[:3], (5, 5, 5), strict=True):
        counts.write_text(f"low 0\noom 4\noom_kill {killed}\n")
        server.lose_worker(worker, signal.SIGKILL)
        found += ends(seen.look())
    assert found == [known(("crash", reason), told) for reason in ("oom", "killed", "killed")]


def test_tool_that_fails_is_no_worker(watch, tmp_path):
    """A child that does something else for a moment and fails is no crash of the server."""
    script = tmp_path / "caller.py"
    script.write_text(
        "import subprocess, sys\n"
        "tool = subprocess.Popen(['sh', '-c', 'read line; exit 3'], stdin=subprocess.PIPE)\n"
        "print('called', flush=True)\n"
        "sys.stdin.readline()\n"
        "tool.communicate()\n"
        "print('done', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdin=-1, stdout=-1, text=True)
    process.stdout.readline()
    seen = watch(command=str(script))
    assert values(seen.look())["processes"] == 2
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    sight = seen.look()
    process.communicate("\n")
    assert (sight.up, ends(sight), values(sight)["processes"]) == (True, [], 1)


def test_child_that_has_lived_is_a_worker(watch, tmp_path, told, monkeypatch):
    """A child of another kind counts once it is older than tools are."""
    monkeypatch.setattr(trees, "GROWN_UP", 0.0)
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sh', '-c', 'read line; exit 3'], stdin=subprocess.PIPE)\n"
        "sys.stdin.readline()\n"
        "child.communicate()\n"
        "print('done', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdin=-1, stdout=-1, text=True)
    until(lambda: psutil.Process(process.pid).children())
    seen = watch(command=str(script))
    seen.look()
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    sight = seen.look()
    process.communicate("\n")
    assert ends(sight) == [known(("crash", "exit"), told)]


def test_server_that_is_back_is_followed(serve, watch, told, tmp_path):
    """After an end the next server of the pid file is watched, with its own start."""
    first, second = serve(1), serve(1)
    seen = watch(pid_file=by_file(first, tmp_path))
    before = seen.look()
    first.end()
    by_file(second, tmp_path)
    sight = seen.look()
    assert (sight.up, ends(sight)) == (True, [known(("crash", "killed"), told)])
    assert sight.start_time >= before.start_time
    assert f"process {second.pid} " in sight.detail


def test_handover_to_a_new_server_is_no_crash(serve, watch, told, tmp_path):
    """A pid file that names another while the old one still lives: the old one's own end is told when it comes."""
    old, new = serve(1), serve(1)
    seen = watch(pid_file=by_file(old, tmp_path))
    seen.look()
    by_file(new, tmp_path)
    sight = seen.look()
    assert (sight.up, ends(sight)) == (True, [])
    assert f"process {new.pid} " in sight.detail
    old.end(signal.SIGTERM)
    assert ends(seen.look()) == [known(("planned", "clean"), told)]
    by_file(new, tmp_path)
    assert ends(seen.look()) == []


def test_unknown_ends_may_count_as_crashes(serve, watch, ticks):
    """Who says so has ends without evidence counted as crashes."""
    server = serve(0)
    seen = watch(command=by_command(server), unknown_is_crash=True)
    seen.cursor = {"boot": "of another life", "pid": server.pid, "started": 1}
    assert ends(seen.look()) == [("crash", "unknown")]


# --- what it uses --------------------------------------------------------------------------------


def test_readings_agree_with_proc_and_ps(serve, watch, debian):
    """CPU, memory, threads and files of the tree are the sums of what /proc and ps say of its processes."""
    server = serve(3)
    pids = [server.pid, *server.workers]
    found = values(watch(command=by_command(server)).look())
    ps = [str(debian("procps", "ps")), "-o", "rss=,nlwp=,cputimes=", "-p", ",".join(map(str, pids))]
    rows = [list(map(int, line.split())) for line in subprocess.check_output(ps, text=True).splitlines()]
    resident, threads, seconds = map(sum, zip(*rows, strict=True))
    assert found["memory_used_bytes"] == pytest.approx(resident * 1024, rel=0.02)
    assert found["threads"] == threads == 4
    assert seconds <= found["cpu_seconds_total"] < seconds + len(pids)
    ticks = 0
    proportional = 0
    for pid in pids:
        proc = Path(f"/proc/{pid}")
        ticks += sum(map(int, (proc / "stat").read_text().rpartition(")")[2].split()[11:15]))
        rollup = (proc / "smaps_rollup").read_text().splitlines()
        proportional += next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))
    assert found["cpu_seconds_total"] == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"), abs=0.011)
    assert found["memory_proportional_bytes"] == pytest.approx(proportional, rel=0.05)
    assert found["memory_proportional_bytes"] < found["memory_used_bytes"]
    assert found["open_files_used"] == max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    assert found["open_files_limit"] == psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)[0]
    assert found["open_files_utilization_ratio"] == found["open_files_used"] / found["open_files_limit"]
    assert found["cpu_limit_cores"] == len(os.sched_getaffinity(server.pid))
    assert found["memory_limit_bytes"] == psutil.virtual_memory().total


def test_cpu_seconds_never_decrease(watch, tmp_path):
    """What workers used stays counted when they end, when the server ends, and when another follows."""
    script = tmp_path / "burner.py"
    script.write_text(
        "import os, sys, time\n"
        "for line in sys.stdin:\n"
        "    reader, writer = os.pipe()\n"
        "    kid = os.fork()\n"
        "    if not kid:\n"
        "        while time.process_time() < 0.1: pass\n"
        "        print('burnt', flush=True)\n"
        "        os.read(reader, 1)\n"
        "        os._exit(0)\n"
        "    sys.stdin.readline()\n"
        "    os.write(writer, b'x')\n"
        "    os.waitpid(kid, 0)\n"
        "    print('reaped', flush=True)\n"
    )
    seen, counted = watch(command=str(script)), []

    def look() -> float:
        counted.append(values(seen.look())["cpu_seconds_total"])
        return counted[-1]

    def say(word: str) -> None:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{word}\n"

    for _ in range(2):
        process = subprocess.Popen([sys.executable, str(script)], stdin=-1, stdout=-1, text=True)
        until(lambda pid=process.pid: str(script) in psutil.Process(pid).cmdline())
        before = look()
        for _ in range(3):
            say("burnt")
            look()
            say("reaped")
            look()
        assert look() - before == pytest.approx(0.3, abs=0.15)
        process.communicate()
        look()
    assert counted == sorted(counted)
    assert counted[-1] > 0.5


def test_ratio_of_cpu_is_that_between_two_looks(serve, watch):
    """The share of the cores appears with the second look, and an idle server has none of them."""
    seen = watch(command=by_command(serve(1)))
    assert "cpu_utilization_ratio" not in values(seen.look())
    assert values(seen.look())["cpu_utilization_ratio"] < 0.01


def test_specs_cover_all_readings(serve, watch):
    """Every reading is of a declared metric, with the labels that it declares."""
    seen = watch(command=by_command(serve(1)))
    seen.look()
    specs = {spec.name: spec.labels for spec in Process.specs}
    readings = seen.look().readings
    assert {reading.metric for reading in readings} == set(specs)
    assert all(tuple(name for name, _ in reading.labels) == specs[reading.metric] for reading in readings)


def test_steady_look_is_cheap(serve, watch):
    """A look at ten processes costs at most 2 ms of CPU while nothing ends."""
    seen = watch(command=by_command(serve(9)))
    assert values(seen.look())["processes"] == 10

    def cost() -> float:
        before = time.process_time()
        for _ in range(20):
            seen.look(0.1)
        return (time.process_time() - before) / 20

    assert min(cost() for _ in range(5)) <= 0.002


def test_psutil_is_imported_by_need():
    """The words of the probe and its config do not wake psutil."""
    code = "import sys, exporter.probes.process; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_probe_of_an_old_kernel(serve, watch, monkeypatch):
    """Without pidfds ends are noticed all the same, and told as unknown."""
    monkeypatch.setattr("exporter.probes.members._pidfd", lambda pid: None)
    server = serve(1)
    seen = watch(command=by_command(server))
    seen.look()
    server.lose_worker(server.workers[0], signal.SIGSEGV)
    assert ends(seen.look()) == [("unknown", "unknown")]
    server.end()
    assert ends(seen.look()) == [("unknown", "unknown")]
