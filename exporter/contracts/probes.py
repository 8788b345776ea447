"""Watching a model server: what one look at a target gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from exporter.contracts.clocks import Deadline
from exporter.contracts.metrics import MetricSpec
from exporter.contracts.rows import Cursor

Kind: TypeAlias = Literal["crash", "planned", "unknown"]


@dataclass(frozen=True, slots=True)
class Ending:
    """One end of a watched process or container, noticed at `time` (epoch seconds).

    `reason` is a short word for a metric's label, such as `exit`, `SIGSEGV`, `oom`, `killed`, `stop` or `unknown`.
    Only endings of kind "crash" count as crashes; every ending counts as a restart once the target is back.
    """

    kind: Kind
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One gauge or counter value: its metric, its labels without `target`, its value in base units."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at a target gave, since the look that gave the cursor before it.

    `up` is None from a probe that only measures.  `observed` are the seconds that this look accounts for: of a
    source that is read by cursor (Docker, Kubernetes, systemd) including those in which nobody looked, of others only
    the time between two looks of this process.  `detail` tells people what is wrong, or which process is watched.
    """

    up: bool | None = None
    start_time: float | None = None
    endings: tuple[Ending, ...] = ()
    observed: float = 0.0
    readings: tuple[Reading, ...] = ()
    cursor: Cursor | None = None
    detail: str = ""


@runtime_checkable
class Probe(Protocol):
    """One way to watch a target.  Driver errors stop at its door as a `SourceError`; it never changes its target.

    A probe is driven by one thread, and keeps no memory that must survive a restart but in its cursor.  Its Config may
    have `measured`: the scopes whose CPU and memory it gives, each with the words that leave it out.  For one target
    no two probes give the same.
    """

    Config: ClassVar[type[msgspec.Struct]]
    specs: ClassVar[tuple[MetricSpec, ...]]

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """See what has happened since *cursor* (None: the first look ever, which counts nothing old as new)."""
        ...

    def close(self) -> None: ...
