"""What the disk probe measures, against `df`, and what it does with file systems that are missing or hang."""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from exporter.contracts import Clock, Deadline, Probe, Sight
from exporter.errors import SourceDenied, SourceUnavailable
from exporter.probes import disk
from exporter.probes.disk import Disk
from tests.processes import FOREVER, cost_of_a_look

MOUNTED = [path for path in ("/", "/dev/shm") if os.path.ismount(path)]


def probe(*mountpoints: str, clock: Clock | None = None, timeout: float = 2.0) -> Disk:
    config = msgspec.convert({"mountpoints": mountpoints}, Disk.Config)
    return Disk(msgspec.structs.replace(config, timeout=timeout), name="server", clock=clock or Clock())


def values(sight: Sight, mountpoint: str) -> dict[str, float]:
    """Readings of one mount point by the name of their metric, without its prefix."""
    labels = (("mountpoint", mountpoint),)
    return {r.metric.removeprefix("model_server_disk_"): r.value for r in sight.readings if r.labels == labels}


def df(path: str, *options: str) -> list[int]:
    """Total, used, available and percent, as `df` prints them."""
    shown = subprocess.run(["df", *options, path], capture_output=True, text=True, check=True).stdout
    return [int(word.rstrip("%")) for word in shown.splitlines()[-1].split()[-5:-1]]


@pytest.mark.parametrize("path", MOUNTED)
def test_bytes_agree_with_df(path):
    """Size, used, available and the rounded-up ratio are those of `df -B1`; others may write meanwhile."""
    before = values(probe(path).look(None, FOREVER), path)
    size, used, available, percent = df(path, "-B1")
    after = values(probe(path).look(None, FOREVER), path)
    assert before["size_bytes"] == size
    for name, shown in (("used_bytes", used), ("available_bytes", available)):
        low, high = sorted((before[name], after[name]))
        assert low - (8 << 20) <= shown <= high + (8 << 20)
    assert before["utilization_ratio"] == before["used_bytes"] / (before["used_bytes"] + before["available_bytes"])
    assert percent - 1.01 <= 100 * before["utilization_ratio"] <= percent + 0.01


@pytest.mark.parametrize("path", [path for path in MOUNTED if os.statvfs(path).f_files])
def test_inodes_agree_with_df(path):
    """Inodes are those of `df -i`."""
    seen = values(probe(path).look(None, FOREVER), path)
    total, used, _, percent = df(path, "-i")
    assert seen["inodes_limit"] == pytest.approx(total, rel=0.001)
    assert seen["inodes_used"] == pytest.approx(used, abs=200)
    assert percent - 1.01 <= 100 * seen["inodes_utilization_ratio"] <= percent + 0.01


def test_file_system_of_no_fixed_inodes_has_no_inode_series():
    """No number of inodes is not zero inodes; /proc has neither blocks nor inodes, and no ratio of them."""
    assert set(values(probe("/proc").look(None, FOREVER), "/proc")) == {"size_bytes", "used_bytes", "available_bytes"}


@pytest.mark.parametrize(("name", "why"), [("none", "there is no such folder"), ("plain", "nothing is mounted there")])
def test_missing_mount_is_absent_and_said(name, why, tmp_path):
    """A mount point that is not there, or bare, is never measured as the file system around it; others go on."""
    (tmp_path / "plain").mkdir()
    missing = str(tmp_path / name)
    sight = probe(missing, "/").look(None, FOREVER)
    assert values(sight, missing) == {}
    assert values(sight, "/")["size_bytes"] > 0
    assert f"{missing}: {why}" in sight.detail


def test_mount_without_any_answer_is_unavailable(tmp_path):
    """When no mount point can be measured, the look has failed, and says so of each."""
    with pytest.raises(SourceUnavailable, match=r"/a: there is no such folder; .*/b: there is no such folder"):
        probe(str(tmp_path / "a"), str(tmp_path / "b")).look(None, FOREVER)


def test_mount_behind_a_closed_folder_is_denied():
    """A folder that may not be entered is said to be closed, with the way out."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        closed = Path(folder, "closed")
        (closed / "mount").mkdir(parents=True)
        closed.chmod(0)
        uid = os.geteuid()
        if uid == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(SourceDenied, match="let the exporter's user enter the folders above"):
                probe(str(closed / "mount")).look(None, FOREVER)
        finally:
            os.seteuid(uid)
            closed.chmod(0o755)


# --- file systems that hang ----------------------------------------------------------------------


@contextmanager
def held(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mount point whose question is not answered before the end, as the kernel would do it."""
    answer, measure = threading.Event(), disk.measure

    def hang(path: str) -> os.statvfs_result:
        if path != str(folder):
            return measure(path)
        answer.wait()
        return os.statvfs("/")

    patch.setattr(disk, "measure", hang)
    yield str(folder)
    answer.set()


@contextmanager
def silent(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real file system in user space, whose server never answers and then is gone."""
    libc = ctypes.CDLL(None, use_errno=True)
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    try:
        if libc.mount(b"silent", bytes(folder), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "mount")
        yield str(folder)
    finally:
        os.close(server)  # whoever still waits gets an error
        libc.umount2(bytes(folder), 2)


def possible() -> list:
    """The ways to hang that this machine allows: always the held question, and a real mount where we may mount."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with silent(Path(folder), pytest.MonkeyPatch()):
                return [held, silent]
        except OSError:
            return [held]


def threads(path: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"disk {path}"]


@pytest.mark.parametrize("hanging", possible())
def test_hung_mount_does_not_hang_the_others(hanging, tmp_path, monkeypatch):
    """A silent file system is waited for once, then left alone with one thread, and asked again when it is back."""
    with hanging(tmp_path, monkeypatch) as path:
        looking = probe(path, "/", timeout=0.5)
        for patience in (5.0, 0.4, 0.4):
            start = time.monotonic()
            sight = looking.look(None, FOREVER)
            assert time.monotonic() - start < patience
            assert values(sight, path) == {}
            assert values(sight, "/")["size_bytes"] > 0
            assert f"{path}: has not answered for" in sight.detail
        assert len(threads(path)) == 1
        waiting = threads(path)
    for thread in waiting:
        thread.join(10)
    assert "has not answered" not in looking.look(None, FOREVER).detail


def test_hung_mount_is_waited_for_within_the_deadline(tmp_path, monkeypatch):
    """The look's own deadline is kept, where it is shorter than the patience of the config."""
    with held(tmp_path, monkeypatch) as path:
        start = time.monotonic()
        with pytest.raises(SourceUnavailable, match="has not answered"):
            probe(path, timeout=60.0).look(None, Deadline(start + 0.05))
        assert time.monotonic() - start < 5


def test_time_of_silence_is_told(tmp_path, monkeypatch):
    """The detail says for how long a file system has been silent, on the monotonic clock."""
    now = [100.0]
    clock = Clock(wall=lambda: 0.0, monotonic=lambda: now[0])
    with held(tmp_path, monkeypatch) as path:
        looking = probe(path, "/", clock=clock, timeout=0.3)
        looking.look(None, FOREVER)
        now[0] += 90
        assert f"{path}: has not answered for 90s" in looking.look(None, FOREVER).detail


# --- shape ---------------------------------------------------------------------------------------


def test_probe_keeps_its_contract():
    """It only measures; every reading is of a spec, with exactly its labels."""
    looking = probe("/")
    assert isinstance(looking, Probe)
    specs = {spec.name: spec for spec in looking.specs}
    sight = looking.look(None, FOREVER)
    assert (sight.up, sight.endings, sight.cursor, sight.detail) == (None, (), None, "")
    assert len(sight.readings) in (4, len(specs))  # some file systems have no fixed number of inodes
    for reading in sight.readings:
        assert tuple(name for name, _ in reading.labels) == specs[reading.metric].labels
        assert isinstance(reading.value, float)
    looking.close()


@pytest.mark.parametrize(
    ("mountpoints", "fault"), [((), "length"), (("data",), "begins with /"), (("/a", "/b", "/a"), "twice")]
)
def test_config_names_mount_points(mountpoints, fault):
    """At least one, whole paths, none twice (which would be the same series twice)."""
    with pytest.raises(msgspec.ValidationError, match=fault):
        probe(*mountpoints)


def test_look_is_cheap():
    """A look costs at most a millisecond of CPU; the best of several runs, as others may share the machine."""
    assert cost_of_a_look(probe("/")) < 0.001
