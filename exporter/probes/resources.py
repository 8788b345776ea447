"""The metrics of used and total that several probes give, each for its own scope.

`scope` says whose use it is: `process` (a tree of processes), `container` (a cgroup) or `host`.  Readings carry it
first among their labels, after the implicit `target`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from exporter.contracts import MetricSpec, Reading

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
    "model_server_memory_peak_bytes",
    "gauge",
    "Most memory ever used, of a container including its file cache.",
    _SCOPE,
)

CPU: Final = (CPU_SECONDS, CPU_LIMIT, CPU_RATIO)
MEMORY: Final = (MEMORY_USED, MEMORY_LIMIT, MEMORY_RATIO)


class Pace:
    """Share of the limit at which CPU seconds were used, between one look and the next.

    Runs on the monotonic clock, so that a step of the wall clock moves nothing.
    """

    def __init__(self) -> None:
        self._before: tuple[str, float, float] | None = None

    def ratio(self, whose: str, moment: float, seconds: float, cores: float | None) -> float | None:
        """The share since the look before, for *seconds* used in all at *moment* (monotonic seconds).

        None at the first look, when *whose* has changed, when the count began anew, and without a limit.
        """
        before, self._before = self._before, (whose, moment, seconds)
        if before is None or before[0] != whose or not cores:
            return None
        elapsed, used = moment - before[1], seconds - before[2]
        return used / (elapsed * cores) if elapsed > 0 and used >= 0 else None


def reading(spec: MetricSpec, labels: tuple[tuple[str, str], ...], value: float | None) -> Iterator[Reading]:
    """The reading of *value*, or nothing where it is not known."""
    if value is not None:
        yield Reading(spec.name, labels, float(value))


def cpu(scope: Scope, seconds: float | None, cores: float | None, ratio: float | None) -> Iterator[Reading]:
    """The readings of CPU that are known."""
    labels = (("scope", scope),)
    yield from reading(CPU_SECONDS, labels, seconds)
    yield from reading(CPU_LIMIT, labels, cores)
    yield from reading(CPU_RATIO, labels, ratio)


def memory(scope: Scope, used: float | None, limit: float | None) -> Iterator[Reading]:
    """The readings of memory that are known; a limit of zero bytes has no ratio."""
    labels = (("scope", scope),)
    yield from reading(MEMORY_USED, labels, used)
    yield from reading(MEMORY_LIMIT, labels, limit)
    yield from reading(MEMORY_RATIO, labels, used / limit if used is not None and limit else None)
