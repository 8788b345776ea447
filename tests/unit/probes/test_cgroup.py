"""What the cgroup probe measures, against the files that it reads."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from exporter.contracts import Probe, Sight
from exporter.errors import SourceDataError, SourceDenied, SourceUnavailable
from exporter.probes.cgroup import Cgroup
from tests import cgroups
from tests.processes import FOREVER, Ticks, cost_of_a_look

MIB = 1 << 20
HOST_BYTES = 1_000_000 * 1024


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def probe(tree: cgroups.Tree, ticks: Ticks, **config) -> Cgroup:
    own = {"path": tree.path} if tree.path else {"pid": tree.pid}
    if config.keys() & {"pid", "pid_file", "path"}:
        own = {}
    whole = Cgroup.Config(root=str(tree.root), proc=str(tree.proc), **own, **config)
    return Cgroup(whole, name="server", clock=ticks.clock())


def values(sight: Sight, scope: str = "container") -> dict[str, float]:
    """Readings of one scope by the name of their metric, without its prefix."""
    found = {
        r.metric.removeprefix("model_server_"): r.value for r in sight.readings if dict(r.labels)["scope"] == scope
    }
    assert len(found) == sum(dict(r.labels)["scope"] == scope for r in sight.readings)
    return found


# --- agreement with the files --------------------------------------------------------------------


@pytest.fixture(params=["recorded v2", "recorded v1", *(f"real {version}" for version in cgroups.possible())])
def tree(request, tmp_path):
    """Each kind of cgroup that there is to measure: always the recorded ones, and real ones where we may make them."""
    with ExitStack() as stack:
        kind, version = request.param.split()
        if kind == "real":
            yield stack.enter_context(cgroups.real(version))
        else:
            yield {"v1": cgroups.recorded_v1, "v2": cgroups.recorded_v2}[version](tmp_path)


def test_values_are_those_of_the_files(tree, ticks):
    """Seconds, periods, tasks and kills are what the files of the cgroup say, and absent where there is no file."""
    seen = values(probe(tree, ticks).look(None, FOREVER))
    nanoseconds, microseconds = tree.read("cpuacct.usage"), tree.entry("cpu.stat", "usage_usec")
    seconds = int(nanoseconds) / 1e9 if nanoseconds else microseconds / 1e6
    assert seen["cpu_seconds_total"] == pytest.approx(seconds, abs=0.005)
    assert seconds >= 0.1
    assert seen.get("cpu_periods_total", 0) == (tree.entry("cpu.stat", "nr_periods") or 0)
    assert seen.get("cpu_throttled_periods_total", 0) == (tree.entry("cpu.stat", "nr_throttled") or 0)
    kills = tree.entry("memory.oom_control", "oom_kill")
    assert seen.get("oom_kills_total") == (tree.entry("memory.events", "oom_kill") if kills is None else kills)
    assert seen.get("tasks_used") == (float(tree.read("pids.current")) if tree.read("pids.current") else None)


def test_memory_is_that_of_the_files_without_idle_file_cache(tree, ticks):
    """Used is current less inactive file cache; its ratio is that of the two numbers beside it."""
    seen = values(probe(tree, ticks).look(None, FOREVER))
    current = tree.read("memory.current") or tree.read("memory.usage_in_bytes")
    if current is None:  # a hierarchy without the controller says nothing of memory
        assert not [name for name in seen if name.startswith("memory")]
        return
    idle = tree.entry("memory.stat", "total_inactive_file")
    idle = tree.entry("memory.stat", "inactive_file") if idle is None else idle
    assert seen["memory_used_bytes"] == pytest.approx(int(current) - idle, rel=0.02)
    assert seen["memory_utilization_ratio"] == seen["memory_used_bytes"] / seen["memory_limit_bytes"]
    assert 0 < seen["memory_utilization_ratio"] < 1
    assert seen["memory_peak_bytes"] >= seen["memory_used_bytes"]


@pytest.mark.parametrize("version", ["recorded", *(version for version in cgroups.possible() if version == "v1")])
def test_limits_that_were_set_are_the_limits(version, tmp_path, ticks):
    """A quota, a memory limit and a task limit written into a cgroup are read back, also from its parents."""
    with ExitStack() as stack:
        if version == "recorded":
            tree, expected = cgroups.recorded_v1(tmp_path), (0.5, 64 * MIB, 100)
        else:
            tree, expected = stack.enter_context(cgroups.real(version)), (0.25, 256 * MIB, 9)
        seen = values(probe(tree, ticks).look(None, FOREVER))
    assert (seen["cpu_limit_cores"], seen["memory_limit_bytes"], seen["tasks_limit"]) == expected


# --- the recorded life of a cgroup ---------------------------------------------------------------


def test_file_cache_that_can_go_is_not_used_memory(tmp_path, ticks):
    """After 30 MiB of file writes a limit of 64 MiB is used by 5.4 %, not by 52 %."""
    seen = values(probe(cgroups.recorded_v2(tmp_path, "30M of file writes"), ticks).look(None, FOREVER))
    assert seen["memory_used_bytes"] == 35_065_856 - 31_457_280
    assert seen["memory_limit_bytes"] == 64 * MIB
    assert round(seen["memory_utilization_ratio"], 3) == 0.054
    assert seen["memory_peak_bytes"] == 36_438_016


def test_files_in_memory_are_used_memory(tmp_path, ticks):
    """What was written to a tmpfs cannot go, and counts."""
    seen = values(probe(cgroups.recorded_v2(tmp_path, "tmpfs"), ticks).look(None, FOREVER))
    assert seen["memory_used_bytes"] == 56_279_040 - 31_457_280
    assert seen["memory_used_bytes"] > 20 * MIB


def test_two_busy_loops_use_half_a_core_whole(tmp_path, ticks):
    """Between two looks a quota of half a core was used up: a ratio of 1, and 31 of 32 periods throttled."""
    tree = cgroups.recorded_v2(tmp_path, "tmpfs")
    looking = probe(tree, ticks)
    before = values(looking.look(None, FOREVER))
    assert "cpu_utilization_ratio" not in before
    cgroups.write(tree.folders[0], cgroups.moment("busy loops"))
    ticks.monotonic += 3.2
    after = values(looking.look(None, FOREVER))
    assert after["cpu_limit_cores"] == 0.5
    assert after["cpu_utilization_ratio"] == pytest.approx(1.567668 / (3.2 * 0.5))
    assert after["cpu_utilization_ratio"] == pytest.approx(1.0, abs=0.05)
    assert after["cpu_periods_total"] - before["cpu_periods_total"] == 32
    assert after["cpu_throttled_periods_total"] - before["cpu_throttled_periods_total"] == 31


@pytest.mark.parametrize(
    ("words", "kills", "events"), [("fresh", 0, 0), ("2 OOM kills", 2, 2), ("oom.group=1", 5, 3), ("pids.max", 5, 3)]
)
def test_kills_are_told_from_incidents(words, kills, events, tmp_path, ticks):
    """A kill of a whole group is several killed processes, and one time that memory ran out."""
    seen = values(probe(cgroups.recorded_v2(tmp_path, words), ticks).look(None, FOREVER))
    assert (seen["oom_kills_total"], seen["oom_events_total"]) == (kills, events)


def test_forks_that_failed_are_counted(tmp_path, ticks):
    """A limit of 20 tasks that was met shows as a refusal, and as the limit."""
    seen = values(probe(cgroups.recorded_v2(tmp_path, "hitting pids.max"), ticks).look(None, FOREVER))
    assert (seen["tasks_refused_total"], seen["tasks_limit"], seen["tasks_used"]) == (1, 20, 0)


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "parent", "limit"),
    [
        ("max", "max", HOST_BYTES),
        ("max", str(32 * MIB), 32 * MIB),
        (str(48 * MIB), str(32 * MIB), 32 * MIB),
        (str(16 * MIB), str(32 * MIB), 16 * MIB),
        (str(1 << 40), "max", HOST_BYTES),
    ],
)
def test_least_memory_limit_applies(own, parent, limit, tmp_path, ticks):
    """The limit is the least of the cgroup, its parents and the host."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.folders[0], {"memory.max": f"{own}\n"})
    cgroups.write(tree.folders[0].parent, {"memory.max": f"{parent}\n"})
    assert values(probe(tree, ticks).look(None, FOREVER))["memory_limit_bytes"] == limit


def test_absent_limit_of_version_1_is_the_host(tmp_path, ticks):
    """9223372036854771712 is how version 1 writes that there is no limit."""
    tree = cgroups.recorded_v1(tmp_path)
    cgroups.write(tree.root, cgroups.v1_tree(parent_limit=9223372036854771712))
    assert values(probe(tree, ticks).look(None, FOREVER))["memory_limit_bytes"] == HOST_BYTES


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000\n"}, 2),
        ({"cpu.max": "max 100000\n", "cpuset.cpus.effective": "0,2-4\n"}, 4),
        ({"cpu.max": "150000 100000\n", "cpuset.cpus.effective": "0\n"}, 1),
        ({"cpu.max": "50000 100000\n", "../cpu.max": "20000 100000\n"}, 0.2),
    ],
)
def test_least_cpu_limit_applies(files, cores, tmp_path, ticks):
    """Without a quota the cores are those of the cpuset, else those that the process may run on."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.folders[0], files)
    assert values(probe(tree, ticks).look(None, FOREVER))["cpu_limit_cores"] == cores


def test_used_memory_is_never_negative(tmp_path, ticks):
    """The two files are read one after the other, and cache may have grown between."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.folders[0], {"memory.current": "4096\n"})
    assert values(probe(tree, ticks).look(None, FOREVER))["memory_used_bytes"] == 0


# --- places --------------------------------------------------------------------------------------


def test_hybrid_reads_each_controller_where_it_is(tmp_path, ticks):
    """Memory in version 1 and CPU in version 2 make one set of readings."""
    v2, v1 = cgroups.moment("busy loops"), cgroups.v1_tree()
    root = cgroups.write(tmp_path / "cgroup", {name: text for name, text in v1.items() if name.startswith("memory")})
    cgroups.write(root, {"cgroup.controllers": "cpu pids\n"}, "unified")
    cgroups.write(root, {name: v2[name] for name in ("cpu.stat", "cpu.max", "cgroup.events")}, "unified/model")
    proc = cgroups.write(tmp_path / "proc", {**cgroups.PROC, "42/cgroup": "4:memory:/docker/abc\n0::/model\n"})
    seen = values(probe(cgroups.Tree(root, proc, 42, ()), ticks).look(None, FOREVER))
    assert seen["memory_limit_bytes"] == 64 * MIB
    assert seen["cpu_seconds_total"] == 1.885625
    assert seen["cpu_limit_cores"] == 0.5
    assert "tasks_used" not in seen


def test_root_cgroup_is_measured_by_the_host(tmp_path, ticks):
    """The root of version 2 has no memory of its own: it is the host's, and the detail says so."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.proc, {"42/cgroup": "0::/\n"})
    sight = probe(tree, ticks).look(None, FOREVER)
    assert values(sight)["memory_used_bytes"] == 400_000 * 1024
    assert values(sight)["memory_limit_bytes"] == HOST_BYTES
    assert "root" in sight.detail


def test_container_whose_namespace_hides_its_path_is_the_mount_itself(tmp_path, ticks):
    """In version 1 without a namespace the path is the host's, and the mount shows that very part."""
    tree = cgroups.recorded_v1(tmp_path)
    root = tmp_path / "seen"
    for name in ("cpu,cpuacct", "cpuset", "memory", "pids"):
        shutil.copytree(tree.root / name / "docker/abc", root / name)
    lines = [
        f"3{i} 30 0:2{i} /docker/abc {root}/{name} ro - cgroup cgroup rw,{name}\n"
        for i, name in enumerate(("cpu,cpuacct", "cpuset", "memory", "pids"))
    ]
    cgroups.write(tree.proc, {"self/mountinfo": "".join(lines)})
    seen = values(probe(cgroups.Tree(root, tree.proc, 42, ()), ticks).look(None, FOREVER))
    assert seen["memory_limit_bytes"] == 64 * MIB
    assert seen["cpu_seconds_total"] == 1.885625


def neighbour(tree: cgroups.Tree) -> str:
    """Make process 42 live in another container, whose cgroup is seen only through its own root; gives that."""
    root = str(tree.root)
    through = f"42/root{root}"
    cgroups.write(
        tree.proc,
        {
            "42/cgroup": "0::/../other\n",
            "self/mountinfo": f"30 29 0:28 / {root} ro - cgroup2 cgroup rw\n",
            "42/mountinfo": f"40 39 0:28 /../other {root} ro - cgroup2 cgroup rw\n",
        },
    )
    cgroups.write(tree.proc, cgroups.moment("tmpfs"), through)
    return through


def test_cgroup_of_another_container_is_seen_through_its_process(tmp_path, ticks):
    """Containers that share a process namespace are measured through /proc/PID/root."""
    tree = cgroups.recorded_v2(tmp_path)
    through = neighbour(tree)
    sight = probe(tree, ticks).look(None, FOREVER)
    assert values(sight)["memory_used_bytes"] == 56_279_040 - 31_457_280
    assert through in sight.detail


def test_cgroup_can_be_named(tmp_path, ticks):
    """A path needs no process, and names the same cgroup in every hierarchy."""
    for make, path in ((cgroups.recorded_v2, "/system.slice/model.service"), (cgroups.recorded_v1, "/docker/abc")):
        tree = make(tmp_path / make.__name__)
        assert values(probe(tree, ticks, path=path).look(None, FOREVER)) == values(
            probe(tree, ticks).look(None, FOREVER)
        )


def test_pid_file_is_followed(tmp_path, ticks):
    """When the number in the file changes, the cgroup of the new process is measured, with no ratio across the two."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.root, cgroups.moment("2 OOM kills"), "system.slice/second.service")
    cgroups.write(tree.proc, {"43/cgroup": "0::/system.slice/second.service\n"})
    pid_file = tmp_path / "server.pid"
    pid_file.write_text("42\n")
    looking = probe(tree, ticks, pid_file=str(pid_file))
    assert values(looking.look(None, FOREVER))["oom_kills_total"] == 0
    pid_file.write_text("43\n")
    ticks.monotonic += 10
    seen = values(looking.look(None, FOREVER))
    assert seen["oom_kills_total"] == 2
    assert "cpu_utilization_ratio" not in seen


# --- time ----------------------------------------------------------------------------------------


def test_step_of_the_wall_clock_moves_nothing(tmp_path, ticks):
    """The ratio is per monotonic second, whatever the wall clock does between."""
    tree = cgroups.recorded_v2(tmp_path, "tmpfs")
    looking = probe(tree, ticks)
    looking.look(None, FOREVER)
    cgroups.write(tree.folders[0], cgroups.moment("busy loops"))
    ticks.monotonic += 3.2
    ticks.wall -= 86400
    assert values(looking.look(None, FOREVER))["cpu_utilization_ratio"] == pytest.approx(1.567668 / 1.6)


def test_count_that_begins_anew_has_no_ratio(tmp_path, ticks):
    """A cgroup that was made again has used less than before: no ratio, and a right one at the next look."""
    tree = cgroups.recorded_v2(tmp_path, "busy loops")
    looking = probe(tree, ticks)
    looking.look(None, FOREVER)
    cgroups.write(tree.folders[0], cgroups.moment("fresh"))
    ticks.monotonic += 10
    assert "cpu_utilization_ratio" not in values(looking.look(None, FOREVER))
    cgroups.write(tree.folders[0], cgroups.moment("tmpfs"))
    ticks.monotonic += 10
    assert values(looking.look(None, FOREVER))["cpu_utilization_ratio"] == pytest.approx(0.317957 / 5)


def test_two_looks_at_one_moment_have_no_ratio(tmp_path, ticks):
    """No time has passed, so that there is nothing to divide by."""
    looking = probe(cgroups.recorded_v2(tmp_path), ticks)
    looking.look(None, FOREVER)
    assert "cpu_utilization_ratio" not in values(looking.look(None, FOREVER))


# --- the host ------------------------------------------------------------------------------------


def test_host_is_measured_beside_it(tmp_path, ticks):
    """Busy seconds leave out idle time and waiting for disks, and do not count guests twice."""
    tree = cgroups.recorded_v2(tmp_path)
    looking = probe(tree, ticks)
    before = values(looking.look(None, FOREVER), "host")
    assert before["cpu_seconds_total"] == pytest.approx(1600 / os.sysconf("SC_CLK_TCK"))
    assert (before["cpu_limit_cores"], before["memory_used_bytes"]) == (2, 400_000 * 1024)
    assert before["memory_utilization_ratio"] == 0.4
    cgroups.write(tree.proc, {"stat": cgroups.PROC["stat"].replace("cpu  1000", "cpu  2000")})
    ticks.monotonic += 10
    after = values(looking.look(None, FOREVER), "host")
    assert after["cpu_utilization_ratio"] == pytest.approx(1000 / os.sysconf("SC_CLK_TCK") / 20)


def test_host_agrees_with_the_kernel(ticks):
    """On this very machine memory in all is what /proc/meminfo says, and cores are those of the kernel."""
    looking = Cgroup(Cgroup.Config(scopes=("host",)), name="server", clock=ticks.clock())
    seen = values(looking.look(None, FOREVER), "host")
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    assert seen["memory_limit_bytes"] == total
    assert seen["memory_used_bytes"] == pytest.approx(total - available, abs=64 * MIB)
    assert seen["cpu_limit_cores"] == os.sysconf("SC_NPROCESSORS_ONLN")
    assert "cpu_utilization_ratio" not in seen


def test_scopes_can_be_left_out(tmp_path, ticks):
    """Only what was asked for is measured: the host needs no cgroup."""
    tree = cgroups.recorded_v2(tmp_path)
    assert not values(probe(tree, ticks, scopes=("container",)).look(None, FOREVER), "host")
    shutil.rmtree(tree.root)
    assert not values(probe(tree, ticks, scopes=("host",)).look(None, FOREVER), "container")


# --- trouble -------------------------------------------------------------------------------------


def test_cgroup_that_vanished_is_unavailable_until_it_is_back(tmp_path, ticks):
    """A container that has ended takes its cgroup along; when it is made again, it is measured again."""
    tree = cgroups.recorded_v2(tmp_path)
    looking = probe(tree, ticks, path="/system.slice/model.service")
    looking.look(None, FOREVER)
    shutil.move(tree.folders[0], tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"model\.service"):
            looking.look(None, FOREVER)
    shutil.move(tmp_path / "aside", tree.folders[0])
    assert values(looking.look(None, FOREVER))["cpu_limit_cores"] == 0.5


@pytest.mark.parametrize("version", ["recorded", *cgroups.possible()])
def test_end_of_the_process_is_unavailable(version, tmp_path, ticks):
    """A process that has ended is no error of the exporter: it is said which one is missing."""
    with ExitStack() as stack:
        tree = cgroups.recorded_v2(tmp_path) if version == "recorded" else stack.enter_context(cgroups.real(version))
        looking = probe(tree, ticks)
        looking.look(None, FOREVER)
    shutil.rmtree(tmp_path / "proc" / "42", ignore_errors=True)
    with pytest.raises(SourceUnavailable, match=f"no process {tree.pid}|the cgroup or its process has ended"):
        looking.look(None, FOREVER)


def test_deleted_cgroup_of_a_zombie_is_unavailable(tmp_path, ticks):
    """The kernel marks the path of a cgroup that is gone while its last process is not yet."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.proc, {"42/cgroup": "0::/system.slice/gone.service (deleted)\n"})
    with pytest.raises(SourceUnavailable, match="has ended"):
        probe(tree, ticks).look(None, FOREVER)


def test_cgroup_out_of_sight_says_the_way_out(tmp_path, ticks):
    """A cgroup that no mount shows is unavailable, with what to do about it."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.proc, {"42/cgroup": "0::/../other\n"})
    with pytest.raises(SourceUnavailable, match="share their process namespace"):
        probe(tree, ticks).look(None, FOREVER)


@pytest.mark.parametrize("content", ["", "x\n", "-1\n", "4²\n"])
def test_pid_file_without_a_number_is_unavailable(content, tmp_path, ticks):
    """Half-written and foreign pid files are waited out, and named."""
    pid_file = tmp_path / "server.pid"
    pid_file.write_text(content)
    with pytest.raises(SourceUnavailable, match=r"server\.pid"):
        probe(cgroups.recorded_v2(tmp_path), ticks, pid_file=str(pid_file)).look(None, FOREVER)


def test_pid_file_that_is_missing_is_unavailable(tmp_path, ticks):
    """A server that does not run yet has no pid file."""
    with pytest.raises(SourceUnavailable, match="is the model server running"):
        probe(cgroups.recorded_v2(tmp_path), ticks, pid_file=str(tmp_path / "none")).look(None, FOREVER)


@pytest.mark.parametrize(
    ("name", "content"), [("memory.current", "many\n"), ("cpu.max", "50000\n"), ("cpu.max", "a b")]
)
def test_file_that_holds_no_number_is_named(name, content, tmp_path, ticks):
    """A kernel that writes something else is a fault of the data, with the file's name."""
    tree = cgroups.recorded_v2(tmp_path)
    cgroups.write(tree.folders[0], {name: content})
    with pytest.raises(SourceDataError, match=name):
        probe(tree, ticks).look(None, FOREVER)


@pytest.fixture
def open_folder():
    """A folder whose parents any user may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_nobody():
    """Root reads everything: a test that is run by root becomes another user for the time being."""

    def become() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)

    uid = os.geteuid()
    yield become
    os.seteuid(uid)


def test_forbidden_file_is_denied(open_folder, as_nobody, ticks):
    """A file of the cgroup that may not be read is said by name, with the way out."""
    tree = cgroups.recorded_v2(open_folder)
    (tree.folders[0] / "memory.current").chmod(0)
    as_nobody()
    with pytest.raises(SourceDenied, match=r"memory\.current: permission denied; let the exporter's user read it"):
        probe(tree, ticks).look(None, FOREVER)


def test_forbidden_container_is_denied(open_folder, as_nobody, ticks):
    """Another user's /proc/PID/root is closed: the way out is that user, or a capability."""
    tree = cgroups.recorded_v2(open_folder)
    neighbour(tree)
    (tree.proc / "42/root").chmod(0)
    as_nobody()
    with pytest.raises(SourceDenied, match="as the model server's user, or give it CAP_SYS_PTRACE"):
        probe(tree, ticks).look(None, FOREVER)


# --- shape ---------------------------------------------------------------------------------------


def test_probe_keeps_its_contract(tree, ticks):
    """It only measures; every reading is of a spec, with exactly its labels."""
    looking = probe(tree, ticks)
    assert isinstance(looking, Probe)
    specs = {spec.name: spec for spec in looking.specs}
    sight = looking.look(None, FOREVER)
    assert (sight.up, sight.endings, sight.cursor) == (None, (), None)
    assert sight.readings
    for reading in sight.readings:
        assert tuple(name for name, _ in reading.labels) == specs[reading.metric].labels
        assert isinstance(reading.value, float)
    looking.close()


def test_config_names_one_cgroup():
    """A process and a path would be two answers to one question."""
    with pytest.raises(msgspec.ValidationError, match="only one of pid, pid_file and path"):
        msgspec.convert({"pid": 1, "path": "/x"}, Cgroup.Config)


def test_look_is_cheap(tree):
    """A look costs at most a millisecond of CPU; the best of several runs, as others may share the machine."""
    assert cost_of_a_look(probe(tree, Ticks())) < 0.001
