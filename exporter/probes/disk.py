"""The probe that measures disks: bytes and inodes of the configured mount points, in the arithmetic of `df`.

Each file system is asked by a thread of its own, because one that hangs (a network mount whose server is gone) never
answers, and nothing can interrupt the question.  It is left alone, and said to hang, until that thread comes back;
the others go on.
"""

# Paths stay texts, as in the labels.

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from exporter.config.types import Duration, duration_text
from exporter.contracts import Clock, Cursor, Deadline, MetricSpec, Reading, Sight
from exporter.errors import SourceDenied, SourceUnavailable

_MOUNTPOINT: Final = ("mountpoint",)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")

USED: Final = MetricSpec("model_server_disk_used_bytes", "gauge", "Bytes used in the file system.", _MOUNTPOINT)
AVAILABLE: Final = MetricSpec(
    "model_server_disk_available_bytes", "gauge", "Bytes that ordinary users may still write.", _MOUNTPOINT
)
SIZE: Final = MetricSpec(
    "model_server_disk_size_bytes", "gauge", "Bytes of the file system, those reserved for root included.", _MOUNTPOINT
)
RATIO: Final = MetricSpec(
    "model_server_disk_utilization_ratio",
    "gauge",
    "Bytes used by bytes used and available, as df prints.",
    _MOUNTPOINT,
)
INODES_USED: Final = MetricSpec("model_server_disk_inodes_used", "gauge", "Inodes used.", _MOUNTPOINT)
INODES_LIMIT: Final = MetricSpec(
    "model_server_disk_inodes_limit",
    "gauge",
    "Inodes in all; absent where a file system makes them at need.",
    _MOUNTPOINT,
)
INODES_RATIO: Final = MetricSpec(
    "model_server_disk_inodes_utilization_ratio", "gauge", "Inodes used by inodes in all.", _MOUNTPOINT
)


class DiskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes and inodes of file systems, by the folders at which they are mounted."""

    mountpoints: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Folders at which the file systems are mounted, such as / or /var/lib/models."),
    ]
    timeout: Annotated[
        Duration, Meta(description="After this time a file system is said to hang.", extra={"gt": 0})
    ] = Duration(2)

    def __post_init__(self) -> None:
        for path in self.mountpoints:
            if not path.startswith("/"):
                raise ValueError(f"{path}: a mount point begins with /")
        if len(set(self.mountpoints)) < len(self.mountpoints):
            raise ValueError("mountpoints names one twice")


class Disk:
    """A Probe of mount points; `look` raises only if none of them can be measured."""

    Config: ClassVar = DiskConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = (USED, AVAILABLE, SIZE, RATIO, INODES_USED, INODES_LIMIT, INODES_RATIO)

    def __init__(self, config: DiskConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._asked: dict[str, _Question] = {}

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:  # noqa: ARG002 - disks have no past
        """All mount points now; `detail` says which are not measured, and why."""
        asked = [self._ask(path) for path in self._config.mountpoints]
        patience = min(float(self._config.timeout), deadline.remaining())
        until = self._clock.monotonic() + patience
        readings: list[Reading] = []
        faults: list[str] = []
        denied = 0
        for question in asked:
            answer = question.wait(until)
            if isinstance(answer, os.statvfs_result):
                readings += _readings(question.path, answer)
            else:
                denied += isinstance(answer, PermissionError)
                faults.append(f"{question.path}: {_fault(answer, self._clock.monotonic() - question.since)}")
        detail = "; ".join(faults)
        if denied == len(asked):
            raise SourceDenied(detail)
        if not readings:
            raise SourceUnavailable(detail)
        return Sight(readings=tuple(readings), detail=detail)

    def close(self) -> None:
        """Leaves threads that hang to the end of the process, which does not wait for them."""

    def _ask(self, path: str) -> _Question:
        """The question to a file system: a new one, unless the last one still waits for its answer."""
        waiting = self._asked.get(path)
        if waiting is None or waiting.answered:
            self._asked[path] = waiting = _Question(path, self._clock)
        return waiting


class _Question:
    """One question to one file system, asked in a thread of its own."""

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self.since = clock.monotonic()
        self._clock = clock
        self._late = False
        self._answer: os.statvfs_result | OSError | None = None
        self._thread = threading.Thread(target=self._run, name=f"disk {path}", daemon=True)
        self._thread.start()

    @property
    def answered(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, until: float) -> os.statvfs_result | OSError | None:
        """The answer, None if there is none at *until*; a question that has been late once is not waited for again."""
        self._thread.join(0.0 if self._late else max(0.0, until - self._clock.monotonic()))
        self._late = self._thread.is_alive()
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = measure(self.path)
        except OSError as error:
            self._answer = error


class _NotMounted(OSError):
    """The folder is there, but no file system is mounted at it."""


def measure(path: str) -> os.statvfs_result:
    """What the kernel says of the file system mounted at *path*; raises OSError."""
    statistics = os.statvfs(path)
    real = os.path.realpath(path)
    if not os.path.ismount(real) and real not in _mounted():
        raise _NotMounted
    return statistics


def _mounted() -> set[str]:
    """Folders at which something is mounted; also finds what `ismount` cannot, a folder of the same file system."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        return {_OCTAL.sub(lambda code: chr(int(code[1], 8)), line.split(" ", 5)[4]) for line in file}


def _readings(path: str, of: os.statvfs_result) -> Iterator[Reading]:
    labels = (("mountpoint", path),)
    unit = of.f_frsize
    used = (of.f_blocks - of.f_bfree) * unit
    available = of.f_bavail * unit
    yield Reading(USED.name, labels, float(used))
    yield Reading(AVAILABLE.name, labels, float(available))
    yield Reading(SIZE.name, labels, float(of.f_blocks * unit))
    if used + available:
        yield Reading(RATIO.name, labels, used / (used + available))
    if of.f_files:
        inodes = of.f_files - of.f_ffree
        yield Reading(INODES_USED.name, labels, float(inodes))
        yield Reading(INODES_LIMIT.name, labels, float(of.f_files))
        yield Reading(INODES_RATIO.name, labels, inodes / of.f_files)


def _fault(answer: OSError | None, waited: float) -> str:
    if answer is None:
        return f"has not answered for {duration_text(round(waited))}; it is asked again once it does"
    if isinstance(answer, FileNotFoundError):
        return "there is no such folder"
    if isinstance(answer, _NotMounted):
        return "nothing is mounted there; name the mount point as df prints it"
    if isinstance(answer, PermissionError):
        return "permission denied; let the exporter's user enter the folders above"
    return str(answer.strerror or answer).lower()
