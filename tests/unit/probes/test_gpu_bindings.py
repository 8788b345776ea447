"""The GPU probe through the real nvidia-ml-py, on a library of C functions that answers as NVIDIA's does."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess

import msgspec
import pynvml
import pytest

from exporter.contracts import Clock, Deadline
from exporter.errors import SourceUnavailable
from exporter.probes.gpu import Gpu

FOREVER = Deadline(float("inf"))
GIB = 1 << 30
SUCCESS, NOT_SUPPORTED, TOO_SMALL, LOST = 0, 3, 7, 15
MEMORY_2 = 0x02000028
"""Version of a structure that the caller writes into it, in nvml.h: the size, 40, and the number."""


class Library:
    """Functions by the names that libnvidia-ml.so.1 exports; what is left out is not exported.

    Answers are written into the caller's memory byte by byte, as the structures of nvml.h lay them out.
    """

    def __init__(self, users: list[tuple[int, int]] | None = None, *, old: bool = False) -> None:
        self.users = users or []
        self.begun = 0
        self.rates = SUCCESS
        called = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)
        self.nvmlInitWithFlags = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint)(self._begin)
        self.nvmlShutdown = ctypes.CFUNCTYPE(ctypes.c_int)(self._end)
        self.nvmlDeviceGetCount_v2 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(
            lambda count: _write(count, "I", 1)
        )
        self.nvmlDeviceGetHandleByIndex_v2 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)(
            lambda number, handle: _write(handle, "P", 0xA100 + number)
        )
        told = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint)
        self.nvmlDeviceGetUUID = told(lambda handle, text, size: _write(text, "6s", b"GPU-7\0"))
        self.nvmlDeviceGetName = told(lambda handle, text, size: _write(text, "12s", b"NVIDIA A100\0"))
        two = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2)
        self.nvmlDeviceGetUtilizationRates = two(self._rates)
        self.nvmlDeviceGetMemoryInfo = two(
            lambda handle, memory: _write(memory, "QQQ", 40 * GIB, 29 * GIB, 11 * GIB)  # total, free, used
        )
        if not old:
            self.nvmlDeviceGetMemoryInfo_v2 = two(self._memory_2)
            self.nvmlDeviceGetComputeRunningProcesses_v3 = called(self._processes)

    def _begin(self, flags: int) -> int:
        self.begun += 1
        return SUCCESS

    def _end(self) -> int:
        self.begun -= 1
        return SUCCESS

    def _rates(self, handle: int, rates: int) -> int:
        assert handle == 0xA100
        return self.rates or _write(rates, "II", 37, 12)

    def _memory_2(self, handle: int, memory: int) -> int:
        assert struct.unpack("I", ctypes.string_at(memory, 4)) == (MEMORY_2,)
        return _write(memory, "IQQQQ", MEMORY_2, 40 * GIB, GIB, 29 * GIB, 10 * GIB)

    def _processes(self, handle: int, count: int, found: int | None) -> int:
        room = struct.unpack("I", ctypes.string_at(count, 4))[0]
        _write(count, "I", len(self.users))
        if not self.users:
            return SUCCESS
        if found is None or room < len(self.users):
            return TOO_SMALL
        return _write(found, "IQII" * len(self.users), *(one for pid, used in self.users for one in (pid, used, 0, 0)))


def _write(place: int, layout: str, *values: object) -> int:
    content = struct.pack(layout, *values)
    ctypes.memmove(place, content, len(content))
    return SUCCESS


@pytest.fixture
def load(monkeypatch):
    """`load(library)` is what nvidia-ml-py takes for libnvidia-ml.so.1."""

    def loaded(library: Library) -> Library:
        monkeypatch.setattr(pynvml, "nvmlLib", library)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        return library

    return loaded


def probe(**config: object) -> Gpu:
    return Gpu(msgspec.convert(config, Gpu.Config), name="server", clock=Clock())


def values(looking: Gpu) -> dict[str, float]:
    return {one.metric.removeprefix("model_server_gpu_"): one.value for one in looking.look(None, FOREVER).readings}


MEASURED = {
    "info": 1,
    "utilization_ratio": 0.37,
    "memory_used_bytes": 10 * GIB,
    "memory_limit_bytes": 40 * GIB,
    "memory_utilization_ratio": 0.25,
}


def test_values_are_those_that_the_driver_wrote(load):
    """Shares, bytes and names are read where nvml.h puts them, and the library is begun and ended once."""
    library = load(Library())
    looking = probe()
    assert values(looking) == MEASURED
    assert values(looking) == MEASURED
    about = dict(looking.look(None, FOREVER).readings[0].labels)
    assert about == {"gpu": "0", "uuid": "GPU-7", "name": "NVIDIA A100"}
    assert library.begun == 1
    looking.close()
    assert library.begun == 0


def test_memory_of_the_server_and_its_workers(load):
    """Of all that use the GPU only the configured process and its children count."""
    workers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    try:
        one, two = (worker.pid for worker in workers)
        library = load(Library(users=[(os.getpid(), 3 * GIB), (one, GIB), (two, GIB)]))
        assert values(probe(pid=os.getpid()))["process_memory_bytes"] == 5 * GIB
        assert values(probe(pid=one))["process_memory_bytes"] == GIB
        library.users = []
        assert values(probe(pid=one))["process_memory_bytes"] == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_old_driver(load):
    """A driver without the newer calls gives what it has, and no error."""
    load(Library(old=True))
    found = values(probe(pid=os.getpid()))
    assert found == MEASURED | {"memory_used_bytes": 11 * GIB, "memory_utilization_ratio": 11 / 40}


def test_refusals_of_the_driver(load):
    """What is not supported is absent; a lost GPU is an error that names it, and is back when it is."""
    library = load(Library())
    looking = probe()
    library.rates = NOT_SUPPORTED
    assert "utilization_ratio" not in values(looking)
    library.rates = LOST
    with pytest.raises(SourceUnavailable, match=r"GPU 0: .*look at nvidia-smi"):
        looking.look(None, FOREVER)
    assert library.begun == 0
    library.rates = SUCCESS
    assert values(looking) == MEASURED
    looking.close()
