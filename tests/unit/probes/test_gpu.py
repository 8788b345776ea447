"""What the GPU probe measures, with a stand-in for the driver's library, and with the real one where it is."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import msgspec
import pytest

from exporter.contracts import Probe, Sight
from exporter.errors import SourceDenied, SourceUnavailable
from exporter.probes.gpu import Gpu
from tests.processes import FOREVER, Ticks

GIB = 1 << 30


class NVMLError(Exception):
    """Base of the library's errors, which have a class for each kind."""


class NVMLError_NotSupported(NVMLError):  # noqa: N801 - the library's name
    pass


class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801
    pass


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801
    pass


class NVMLError_NoPermission(NVMLError):  # noqa: N801
    pass


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801
    pass


class NVMLLibraryMismatchError(Exception):
    pass


class Driver:
    """The part of the module `pynvml` that the probe uses; every call fails until it has been begun."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_FunctionNotFound = NVMLError_FunctionNotFound
    NVMLError_NoPermission = NVMLError_NoPermission
    NVMLLibraryMismatchError = NVMLLibraryMismatchError
    nvmlMemory_v2 = 0x02000028  # noqa: N815

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.begun = 0
        self.refuses: Exception | None = None
        self.lost: set[int] = set()
        self.mig = False
        self.old = False
        self.users: list[SimpleNamespace] = []

    def nvmlInit(self) -> None:
        if self.refuses:
            raise self.refuses
        self.begun += 1

    def nvmlShutdown(self) -> None:
        self.begun -= 1

    def nvmlDeviceGetCount(self) -> int:
        assert self.begun == 1
        return self.count

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        assert self.begun == 1
        return number

    def nvmlDeviceGetUUID(self, number: int) -> str:
        return f"GPU-{number}"

    def nvmlDeviceGetName(self, number: int) -> str:
        return "NVIDIA A100"

    def nvmlDeviceGetUtilizationRates(self, number: int) -> SimpleNamespace:
        if number in self.lost:
            raise NVMLError_GpuIsLost("GPU is lost")
        if self.mig:
            raise NVMLError_NotSupported("Not Supported")
        return SimpleNamespace(gpu=37, memory=12)

    def nvmlDeviceGetMemoryInfo(self, number: int, version: int | None = None) -> SimpleNamespace:
        if version is None:  # the first version counts what the driver keeps for itself as used
            return SimpleNamespace(total=40 * GIB, free=29 * GIB, used=11 * GIB)
        if self.old:
            raise NVMLError_FunctionNotFound("Function Not Found")
        return SimpleNamespace(version=version, total=40 * GIB, reserved=GIB, free=29 * GIB, used=10 * GIB)

    def nvmlDeviceGetComputeRunningProcesses(self, number: int) -> list[SimpleNamespace]:
        return self.users


@pytest.fixture
def driver(monkeypatch) -> Driver:
    stand_in = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    return stand_in


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def probe(ticks: Ticks, **config) -> Gpu:
    return Gpu(msgspec.convert(config, Gpu.Config), name="server", clock=ticks.clock())


def values(sight: Sight, gpu: str = "0") -> dict[str, float]:
    """Readings of one GPU by the name of their metric, without its prefix."""
    return {
        r.metric.removeprefix("model_server_gpu_"): r.value for r in sight.readings if dict(r.labels)["gpu"] == gpu
    }


def test_gpu_is_measured(driver, ticks):
    """Utilisation is a share of time, and used memory leaves out what the driver keeps for itself."""
    assert values(probe(ticks).look(None, FOREVER)) == {
        "info": 1,
        "utilization_ratio": 0.37,
        "memory_used_bytes": 10 * GIB,
        "memory_limit_bytes": 40 * GIB,
        "memory_utilization_ratio": 0.25,
    }


def test_every_gpu_is_measured_or_those_that_are_named(driver, ticks):
    """All that the driver shows, unless the config names some."""
    driver.count = 3
    for config, measured in (({}, "012"), ({"gpus": [2]}, "2")):
        looking = probe(ticks, **config)
        sight = looking.look(None, FOREVER)
        assert "".join(number for number in "012" if values(sight, number)) == measured
        looking.close()


def test_gpu_in_mig_mode_has_memory_but_no_utilisation(driver, ticks):
    """What a GPU does not support is absent, not zero, and no fault."""
    driver.mig = True
    sight = probe(ticks).look(None, FOREVER)
    assert "utilization_ratio" not in values(sight)
    assert values(sight)["memory_used_bytes"] == 10 * GIB
    assert sight.detail == ""


def test_older_driver_is_asked_in_its_own_words(driver, ticks):
    """A driver without the second memory call is asked by the first."""
    driver.old = True
    assert values(probe(ticks).look(None, FOREVER))["memory_used_bytes"] == 11 * GIB


# --- no GPU --------------------------------------------------------------------------------------


def test_absent_library_is_no_error(ticks, monkeypatch, caplog):
    """Without nvidia-ml-py there are no series; the log says so once, the detail how to get it."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    caplog.set_level("INFO")
    looking = probe(ticks)
    for _ in range(3):
        sight = looking.look(None, FOREVER)
        assert sight.readings == ()
        assert "pip install" in sight.detail
        ticks.monotonic += 3600
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("count", "refuses"), [(0, None), (1, NVMLError_LibraryNotFound("Library Not Found"))])
def test_absent_gpu_is_no_error_and_may_come_later(count, refuses, driver, ticks):
    """A machine without a GPU or driver gives no series; it is looked for again only now and then."""
    driver.count, driver.refuses = count, refuses
    looking = probe(ticks)
    assert looking.look(None, FOREVER).readings == ()
    driver.count, driver.refuses = 1, None
    assert looking.look(None, FOREVER).readings == ()
    ticks.monotonic += 61
    sight = looking.look(None, FOREVER)
    assert values(sight)["utilization_ratio"] == 0.37
    assert sight.detail == ""


def test_real_library_agrees_with_the_machine(ticks):
    """With the real library there is no error: GPUs where the driver shows some, else none and a reason."""
    sight = probe(ticks).look(None, FOREVER)
    assert bool(sight.readings) != bool(sight.detail)


def test_stand_in_names_what_the_real_library_has():
    """The stand-in for the driver promises nothing that nvidia-ml-py does not keep."""
    import pynvml

    for name in vars(Driver):
        if not name.startswith("_"):
            assert hasattr(pynvml, name), name
    assert pynvml.nvmlMemory_v2 == Driver.nvmlMemory_v2
    assert issubclass(pynvml.NVMLError_GpuIsLost, pynvml.NVMLError)


# --- trouble -------------------------------------------------------------------------------------


def test_lost_gpu_is_unavailable_and_comes_back(driver, ticks):
    """A GPU that falls off its bus is an error, each time with nothing left open, and is measured again when back."""
    looking = probe(ticks)
    looking.look(None, FOREVER)
    driver.lost = {0}
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"GPU 0: .*lost; look at nvidia-smi"):
            looking.look(None, FOREVER)
        assert driver.begun == 0
    driver.refuses = NVMLError("Driver Not Loaded")
    with pytest.raises(SourceUnavailable, match="Driver Not Loaded"):
        looking.look(None, FOREVER)
    driver.lost, driver.refuses = set(), None
    assert values(looking.look(None, FOREVER))["utilization_ratio"] == 0.37


def test_other_gpus_go_on_without_the_lost_one(driver, ticks):
    """Of several GPUs the lost one is absent whole, and said; the others are measured at each look."""
    driver.count, driver.lost = 2, {1}
    looking = probe(ticks)
    for _ in range(2):
        sight = looking.look(None, FOREVER)
        assert values(sight, "0")["utilization_ratio"] == 0.37
        assert values(sight, "1") == {}
        assert "GPU 1: " in sight.detail


def test_forbidden_driver_is_denied(driver, ticks):
    """A driver that may not be used is said to be so, with the way out."""
    driver.refuses = NVMLError_NoPermission("Insufficient Permissions")
    with pytest.raises(SourceDenied, match="/dev/nvidia"):
        probe(ticks).look(None, FOREVER)


def test_close_ends_the_library(driver, ticks):
    """Nothing is left open, however often it is closed."""
    looking = probe(ticks)
    looking.look(None, FOREVER)
    assert driver.begun == 1
    looking.close()
    looking.close()
    assert driver.begun == 0


# --- whose memory --------------------------------------------------------------------------------


def user(pid: int, used: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def test_memory_of_the_target_counts_its_descendants(driver, ticks):
    """What the model server and its workers hold is added up, what others hold is not."""
    driver.users = [user(os.getpid(), 3 * GIB), user(1, 5 * GIB)]
    for pid in (os.getpid(), os.getppid()):
        looking = probe(ticks, pid=pid)
        assert values(looking.look(None, FOREVER))["process_memory_bytes"] == 3 * GIB
        looking.close()


@pytest.mark.parametrize("strange", [user(4_194_305, GIB), user(os.getpid(), None)])
def test_memory_of_the_target_is_absent_where_it_is_hidden(strange, driver, ticks):
    """Numbers of processes of the host say nothing inside a container; what is not told is not zero."""
    driver.users = [strange]
    assert "process_memory_bytes" not in values(probe(ticks, pid=os.getpid()).look(None, FOREVER))


def test_pid_file_names_the_target(driver, ticks, tmp_path):
    """The number is read at each look; without one there is no share."""
    driver.users = [user(os.getpid(), GIB)]
    pid_file = tmp_path / "server.pid"
    looking = probe(ticks, pid_file=str(pid_file))
    assert "process_memory_bytes" not in values(looking.look(None, FOREVER))
    pid_file.write_text(f"{os.getpid()}\n")
    assert values(looking.look(None, FOREVER))["process_memory_bytes"] == GIB


def test_target_that_uses_no_gpu_holds_nothing(driver, ticks):
    """Where all users are visible and none is the target's, its share is zero."""
    assert values(probe(ticks, pid=os.getpid()).look(None, FOREVER))["process_memory_bytes"] == 0


def test_probe_keeps_its_contract(driver, ticks):
    """It only measures; every reading is of a spec, with exactly its labels."""
    driver.users = [user(os.getpid(), GIB)]
    looking = probe(ticks, pid=os.getpid())
    assert isinstance(looking, Probe)
    specs = {spec.name: spec for spec in looking.specs}
    sight = looking.look(None, FOREVER)
    assert (sight.up, sight.endings, sight.cursor) == (None, (), None)
    assert {reading.metric for reading in sight.readings} == set(specs)
    for reading in sight.readings:
        assert tuple(name for name, _ in reading.labels) == specs[reading.metric].labels
        assert isinstance(reading.value, float)


def test_config_names_one_process():
    """A number and a file would be two answers to one question."""
    with pytest.raises(msgspec.ValidationError, match="only one of pid and pid_file"):
        msgspec.convert({"pid": 1, "pid_file": "/x"}, Gpu.Config)
