"""The metrics of used and total that several probes give, each for its own scope.

`scope` says whose use it is: `process` (a tree of processes), `container` (a cgroup) or `host`.  Readings carry it
first among their labels, after the implicit `target`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from exporter.contracts import MetricSpec

Scope: TypeAlias = Literal["process", "container", "host"]

_SCOPE = ("scope",)

CPU_SECONDS: Final = MetricSpec(
    "model_server_cpu_seconds_total", "counter", "CPU seconds used, user and system together.", _SCOPE
)
CPU_LIMIT: Final = MetricSpec(
    "model_server_cpu_limit_cores",
    "gauge",
    "CPU cores that may be used: the least of the CPU quota and the cores allowed.",
    _SCOPE,
)
CPU_RATIO: Final = MetricSpec(
    "model_server_cpu_utilization_ratio",
    "gauge",
    "CPU seconds used per second and core of the limit, between the last two looks.  Bursts may pass 1.",
    _SCOPE,
)
MEMORY_USED: Final = MetricSpec(
    "model_server_memory_used_bytes",
    "gauge",
    "Memory used: of a container without its inactive file cache, of the host all that is not available.",
    _SCOPE,
)
MEMORY_LIMIT: Final = MetricSpec(
    "model_server_memory_limit_bytes",
    "gauge",
    "Memory that may be used: the least limit that applies, or the memory of the host where there is none.",
    _SCOPE,
)
MEMORY_RATIO: Final = MetricSpec(
    "model_server_memory_utilization_ratio", "gauge", "Memory used by the memory that may be used.", _SCOPE
)
MEMORY_PEAK: Final = MetricSpec(
    "model_server_memory_peak_bytes", "gauge", "Most memory ever used, of a container including its file cache.", _SCOPE
)

CPU: Final = (CPU_SECONDS, CPU_LIMIT, CPU_RATIO)
MEMORY: Final = (MEMORY_USED, MEMORY_LIMIT, MEMORY_RATIO)
