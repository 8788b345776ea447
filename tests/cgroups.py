"""Cgroups to measure: recorded ones written out as trees of files, and real ones where this machine allows it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

RECORDED = Path(__file__).parent / "data" / "cgroup_v2" / "transcript_linux_6.1.txt"
"""Every file of one cgroup, of a limit of 64 MiB, half a core and 20 tasks, at seven moments of its life."""

PROC = {
    "meminfo": "MemTotal:        1000000 kB\nMemFree:          100000 kB\nMemAvailable:     600000 kB\n",
    "stat": "cpu  1000 50 500 90000 400 0 30 20 7 0\ncpu0 500 25 250 45000 200 0 15 10 7 0\n"
    "cpu1 500 25 250 45000 200 0 15 10 0 0\nintr 42\nctxt 43\n",
    "42/status": "Name:\tpython3\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n",
}
"""A host of two CPUs and 1,000,000 kB; process 42 belongs to the model server."""

V1_MEMORY_STAT = (
    "cache 31465472\nrss 3522560\nshmem 0\nmapped_file 0\ninactive_anon 0\nactive_anon 0\ninactive_file 1048576\n"
    "active_file 8192\nhierarchical_memory_limit {limit}\nhierarchical_memsw_limit 9223372036854771712\n"
    "total_cache 31465472\ntotal_rss 3522560\ntotal_inactive_file 31457280\ntotal_active_file 8192\n"
)


def v1_tree(parent_limit: int = 67108864, limit: int = 9223372036854771712) -> dict[str, str]:
    """A cgroup /docker/abc in hierarchies of version 1, limited by its parent to half a core and some bytes."""
    cpu, memory, pids = "cpu,cpuacct/docker", "memory/docker/abc", "pids/docker/abc"
    return {
        f"{cpu}/cpu.cfs_quota_us": "50000\n",
        f"{cpu}/cpu.cfs_period_us": "100000\n",
        f"{cpu}/abc/cpu.cfs_quota_us": "-1\n",
        f"{cpu}/abc/cpu.cfs_period_us": "100000\n",
        f"{cpu}/abc/cpu.stat": "nr_periods 39\nnr_throttled 35\nthrottled_time 4703064000\n",
        f"{cpu}/abc/cpuacct.usage": "1885625000\n",
        "cpuset/docker/abc/cpuset.cpus": "0-1\n",
        "cpuset/docker/abc/cpuset.effective_cpus": "0-1\n",
        f"{memory}/memory.usage_in_bytes": "35065856\n",
        f"{memory}/memory.limit_in_bytes": f"{limit}\n",
        f"{memory}/memory.max_usage_in_bytes": "36438016\n",
        f"{memory}/memory.stat": V1_MEMORY_STAT.format(limit=min(limit, parent_limit)),
        f"{memory}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        f"{pids}/pids.current": "7\n",
        f"{pids}/pids.max": "max\n",
        "pids/docker/pids.max": "100\n",
    }


V1_MEMBERSHIP = "".join(
    f"{number}:{names}:/docker/abc\n"
    for number, names in enumerate(("name=systemd", "cpu,cpuacct", "cpuset", "memory", "pids"), 1)
)


def moments() -> dict[str, dict[str, str]]:
    """The recorded files, by name, at each moment of the transcript."""
    found: dict[str, dict[str, str]] = {}
    name = ""
    for line in RECORDED.read_text().splitlines(keepends=True):
        if line.startswith("=== "):
            files = found[line[4:].strip()] = {}
        elif line.startswith("--- "):
            name = line[4:].strip()
            files[name] = ""
        elif found and not line.startswith(("[", "Killed", "child rc", "group leader", "sh: ", "DONE")):
            files[name] += line
    return found


def moment(words: str) -> dict[str, str]:
    """The files of the one moment whose title holds *words*."""
    (files,) = (files for title, files in moments().items() if words in title)
    return files


def write(folder: Path, files: Mapping[str, str], below: str = "") -> Path:
    """Write *files* into *folder* (and *below* it), and give the folder."""
    for name, content in files.items():
        path = folder / below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@dataclass(frozen=True)
class Tree:
    """Where a probe finds cgroups and processes, and the folders that hold the files of the measured one.

    `path` is set where the process alone would lead elsewhere: to version 1, on a machine that has both.
    """

    root: Path
    proc: Path
    pid: int
    folders: tuple[Path, ...]
    path: str | None = None

    def read(self, name: str) -> str | None:
        """The content of the file called *name*, None where no folder has it."""
        paths = [folder / name for folder in self.folders if (folder / name).exists()]
        return paths[0].read_text() if paths else None

    def entry(self, name: str, key: str) -> int | None:
        """One number of a file of keys and values."""
        lines = dict(line.split() for line in (self.read(name) or "").splitlines())
        return int(lines[key]) if key in lines else None


def recorded_v2(folder: Path, words: str = "busy loops") -> Tree:
    """The recorded cgroup at the moment whose title holds *words*, as /system.slice/model.service of process 42."""
    below = "system.slice/model.service"
    root = write(folder / "cgroup", moment(words), below)
    write(root, {"cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n"})
    write(root, {"memory.max": "max\n", "cgroup.events": "populated 1\nfrozen 0\n"}, "system.slice")
    proc = write(folder / "proc", {**PROC, "42/cgroup": f"0::/{below}\n"})
    return Tree(root, proc, 42, (root / below,))


def recorded_v1(folder: Path) -> Tree:
    """The cgroup of `v1_tree`, of process 42."""
    root = write(folder / "cgroup", v1_tree())
    proc = write(folder / "proc", {**PROC, "42/cgroup": V1_MEMBERSHIP})
    names = ("cpu,cpuacct", "cpuset", "memory", "pids")
    return Tree(root, proc, 42, tuple(root / name / "docker/abc" for name in names))


# --- real ones -----------------------------------------------------------------------------------

_MOUNTED = Path("/sys/fs/cgroup")
_V1 = ("cpu", "cpuacct", "memory", "pids")
_WORK = (
    "import os, sys, time\n"
    "sys.stdin.readline()\n"  # until it has been moved
    "kept = bytearray(os.urandom(1 << 20) * 16)\n"
    "until = time.process_time() + 0.1\n"
    "while time.process_time() < until: pass\n"
    "print('done', flush=True)\n"
    "sys.stdin.read()\n"
)


def _made(version: str) -> dict[str, Path]:
    """New cgroups below those of this process, by controller; empty where that is not allowed."""
    made: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if version == "v2" and not names:
            parents = {"": _top()} if (_top() / "cgroup.controllers").exists() else {}
        elif version == "v1":
            parents = {name: _MOUNTED / name for name in names.split(",") if name in _V1}
        else:
            continue
        for name, parent in parents.items():
            folder = Path(f"{parent}{path}") / f"model-exporter-test-{os.getpid()}"
            with suppress(OSError):
                folder.mkdir(exist_ok=True)  # cpu and cpuacct may be one hierarchy
                made[name] = folder
    return made


def _top() -> Path:
    """Where version 2 is mounted: beside version 1, or alone."""
    return _MOUNTED / "unified" if (_MOUNTED / "unified").is_dir() else _MOUNTED


def _removed(made: Mapping[str, Path]) -> None:
    for folder in set(made.values()):
        with suppress(FileNotFoundError):
            folder.rmdir()


def possible() -> list[str]:
    """The versions of which this machine lets us make a cgroup."""
    found = []
    for version in ("v1", "v2"):
        made = _made(version)
        _removed(made)
        if made:
            found.append(version)
    return found


@contextmanager
def real(version: str) -> Iterator[Tree]:
    """A real cgroup of a child that used 0.1 CPU seconds and 16 MiB, and now waits.

    Where version 1 has a cpu controller, the child may use a quarter of a core, and its memory is limited to 256 MiB.
    """
    made = _made(version)
    try:
        for name, limit in (("cpu.cfs_quota_us", "25000"), ("memory.limit_in_bytes", str(1 << 28)), ("pids.max", "9")):
            for folder in made.values():
                if (folder / name).exists():
                    (folder / name).write_text(limit)
        with subprocess.Popen(
            [sys.executable, "-c", _WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for folder in set(made.values()):
                (folder / "cgroup.procs").write_text(str(child.pid))
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "done\n"
            path = f"/{made[''].relative_to(_top())}" if version == "v2" else None
            yield Tree(_top() if path else _MOUNTED, Path("/proc"), child.pid, tuple(made.values()), path)
    finally:
        _removed(made)
