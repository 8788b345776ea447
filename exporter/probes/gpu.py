"""The probe that measures NVIDIA GPUs by NVML; where there is no library or no GPU it gives nothing, and no error.

Utilisation is the share of the last sample period (up to a second) in which some kernel ran, however small.  A GPU
in MIG mode does not tell it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from exporter.contracts import Clock, Cursor, Deadline, MetricSpec, Reading, Sight
from exporter.errors import SourceDenied, SourceError, SourceUnavailable
from exporter.probes.cgroups import kernel
from exporter.probes.resources import reading

_LOG = logging.getLogger(__name__)
_GPU: Final = ("gpu",)
_DRIVER: Final = "the NVIDIA driver"
_AGAIN: Final = 60.0
"""Seconds until an absent library or GPU is looked for again."""

INFO: Final = MetricSpec("model_server_gpu_info", "gauge", "A GPU by its number, always 1.", ("gpu", "uuid", "name"))
RATIO: Final = MetricSpec(
    "model_server_gpu_utilization_ratio", "gauge", "Share of time in which some kernel ran; absent in MIG mode.", _GPU
)
MEMORY_USED: Final = MetricSpec(
    "model_server_gpu_memory_used_bytes", "gauge", "GPU memory used by all processes, without the driver's own.", _GPU
)
MEMORY_LIMIT: Final = MetricSpec("model_server_gpu_memory_limit_bytes", "gauge", "GPU memory in all.", _GPU)
MEMORY_RATIO: Final = MetricSpec(
    "model_server_gpu_memory_utilization_ratio", "gauge", "GPU memory used by GPU memory in all.", _GPU
)
PROCESS_MEMORY: Final = MetricSpec(
    "model_server_gpu_process_memory_bytes",
    "gauge",
    "GPU memory used by the configured process and those it began; absent where a container hides who uses a GPU.",
    _GPU,
)


class GpuConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """NVIDIA GPUs, all that the driver shows."""

    gpus: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...],
        Meta(description="Numbers of the GPUs to measure, as nvidia-smi shows them; by default all."),
    ] = ()
    pid: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Process of the model server, whose share is told too.")
    ] = None
    pid_file: Annotated[str | None, Meta(description="File with the number of that process.")] = None
    proc: Annotated[str, Meta(description="Where the kernel tells of processes.")] = "/proc"

    def __post_init__(self) -> None:
        if self.pid is not None and self.pid_file is not None:
            raise ValueError("needs only one of pid and pid_file")


class Gpu:
    """A Probe of NVIDIA GPUs; `look` raises only where GPUs were found, and none of them answers any more."""

    Config: ClassVar = GpuConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        INFO,
        RATIO,
        MEMORY_USED,
        MEMORY_LIMIT,
        MEMORY_RATIO,
        PROCESS_MEMORY,
    )

    def __init__(self, config: GpuConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._nvml: Any = None
        self._absent = ""
        self._next_try = float("-inf")
        self._broken = False

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:  # noqa: ARG002 - NVML cannot be interrupted
        """All GPUs now; `detail` says which do not answer, or why there are none."""
        if self._nvml is None and not self._open():
            return Sight(detail=self._absent)
        nvml = self._nvml
        readings: list[Reading] = []
        faults: list[SourceError] = []
        try:
            for number in self._config.gpus or range(nvml.nvmlDeviceGetCount()):
                try:
                    readings += list(self._gpu(number))
                except nvml.NVMLError as error:
                    faults.append(_fault(nvml, error, f"GPU {number}"))
        except nvml.NVMLError as error:
            faults.append(_fault(nvml, error, _DRIVER))
        if faults:
            self._shut()  # a driver that lost a GPU finds it again only for those who begin anew
        if faults and not readings:
            self._broken = True
            raise faults[0]
        self._broken = False
        return Sight(readings=tuple(readings), detail="; ".join(map(str, faults)) or self._absent)

    def close(self) -> None:
        self._shut()

    # --- the library ---------------------------------------------------------------------------------

    def _open(self) -> bool:
        """Load and begin the library; False where it or its GPUs are absent.  Raises SourceError if it broke."""
        if self._clock.monotonic() < self._next_try:
            return False
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return self._none("nvidia-ml-py is not installed: pip install 'prometheus-model-exporter[gpu]'")
        try:
            nvml.nvmlInit()
            self._nvml = nvml
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self._shut()
            if self._broken or isinstance(error, nvml.NVMLError_NoPermission):
                raise _fault(nvml, error, _DRIVER) from None
            return self._none(f"{_DRIVER} is not there: {error}")
        if not count:
            self._shut()
            return self._none(f"{_DRIVER} shows no GPU")
        self._absent = ""
        return True

    def _none(self, why: str) -> bool:
        if why != self._absent:
            _LOG.info("%s: no GPU is measured: %s", self._name, why)
        self._absent = why
        self._next_try = self._clock.monotonic() + _AGAIN
        return False

    def _shut(self) -> None:
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                _LOG.debug("%s: NVML did not end: %s", self._name, error)

    # --- one GPU -------------------------------------------------------------------------------------

    def _gpu(self, number: int) -> Iterator[Reading]:
        """The readings of one GPU; what it does not support is left out.  Raises NVMLError."""
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        labels = (("gpu", str(number)),)
        about = (("uuid", nvml.nvmlDeviceGetUUID(handle)), ("name", nvml.nvmlDeviceGetName(handle)))
        yield Reading(INFO.name, labels + about, 1.0)
        rates = self._supported(nvml.nvmlDeviceGetUtilizationRates, handle)
        yield from reading(RATIO, labels, None if rates is None else rates.gpu / 100)
        memory = self._memory(handle)
        if memory is not None and memory.total:
            yield Reading(MEMORY_USED.name, labels, float(memory.used))
            yield Reading(MEMORY_LIMIT.name, labels, float(memory.total))
            yield Reading(MEMORY_RATIO.name, labels, memory.used / memory.total)
        yield from reading(PROCESS_MEMORY, labels, self._share(handle))

    def _memory(self, handle: Any) -> Any:
        """Total and used bytes; in the second version of the call *used* leaves out what the driver reserves."""
        nvml = self._nvml
        memory = self._supported(nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
        return self._supported(nvml.nvmlDeviceGetMemoryInfo, handle) if memory is None else memory

    def _supported(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What *call* gives, None where this GPU or driver does not know it."""
        nvml = self._nvml
        try:
            return call(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, nvml.NVMLLibraryMismatchError):
            return None  # the last is what nvidia-ml-py makes of the second for some calls, and no NVMLError

    def _share(self, handle: Any) -> float | None:
        """Bytes of the configured process and its descendants; None where not all users of the GPU are visible."""
        wanted = self._process()
        users = None if wanted is None else self._supported(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        if users is None:
            return None
        total = 0.0
        for user in users:
            line = self._ancestry(user.pid)
            if line is None:
                return None
            if wanted in line:
                if user.usedGpuMemory is None:
                    return None
                total += user.usedGpuMemory
        return total

    def _process(self) -> int | None:
        config = self._config
        words = [] if config.pid_file is None else (kernel.text(config.pid_file) or "").split()
        return int(words[0]) if words and words[0].isascii() and words[0].isdecimal() else config.pid

    def _ancestry(self, pid: int) -> set[int] | None:
        """A process and all that it descends from; None if it is not visible."""
        line: set[int] = set()
        while pid and pid not in line:
            content = kernel.text(f"{self._config.proc}/{pid}/stat")
            if content is None:
                return line or None
            line.add(pid)
            pid = int(content.rpartition(")")[2].split()[1])
        return line


def _fault(nvml: Any, error: Exception, what: str) -> SourceError:
    if isinstance(error, nvml.NVMLError_NoPermission):
        return SourceDenied(f"{what}: {error}; give the exporter's user access to /dev/nvidia*")
    return SourceUnavailable(f"{what}: {error}; look at nvidia-smi and the kernel's log")
