"""One exposition, and what it tells people: the only things that pipeline and web have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStatus:
    """Quality over one window; what is undefined is None.  `average` is "binary" or "macro".

    `measures` are what a task without classes or labels has instead of the four ratios, by name.  `estimated` is the
    accuracy expected of the predictions made inside the window, labelled or not.
    """

    name: str
    labelled: int
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    estimated: float | None = None
    average: str = "binary"
    measures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """One version of a model: rows since the state began, and event times (epoch seconds) of the newest.

    `failed` are predictions that the log calls errors; `latency` (seconds: mean, estimated 95th percentile) is None
    where the log does not tell it.
    """

    version: str
    predictions: int = 0
    failed: int = 0
    latency: tuple[float, float] | None = None
    labelled: int = 0
    pending: int = 0
    last_prediction: float | None = None
    last_label: float | None = None
    windows: tuple[WindowStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    name: str
    task: str
    orphan_labels: int = 0
    versions: tuple[VersionStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """One source; times are epoch seconds, `up` is None before the first poll has ended.

    `last_error` is the text of a `SourceError`, which holds no secret and no raw record; `note` tells what a
    reader of the numbers must know, such as that arrival time stands in for event time.
    """

    model: str
    role: str
    kind: str
    up: bool | None = None
    last_success: float | None = None
    newest_record: float | None = None
    rows: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    last_error: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeStatus:
    """One observed model server; what is not known, or not measured, is None or left out.

    `up` has been so since `since` (epoch seconds: the start, or when it was first seen down).  `crashes` counts by
    reason, `crashes_per_hour` by the name of the window.  Ratios are used by total, 0..1, of the narrowest scope that
    is measured: process before container before host; `disks` by mount point, `gpus` by number.  `detail` tells what
    is watched, `errors` what went wrong, one text for each probe that failed; neither holds a secret.
    """

    target: str
    model: str
    up: bool | None = None
    detail: str = ""
    since: float | None = None
    restarts: int | None = None
    crashes: Mapping[str, int] | None = None
    crashes_per_hour: Mapping[str, float] = field(default_factory=dict)
    cpu: float | None = None
    memory: float | None = None
    disks: Mapping[str, float] = field(default_factory=dict)
    gpus: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a snapshot says to people; it holds no secret and no raw record."""

    models: tuple[ModelStatus, ...] = ()
    sources: tuple[SourceStatus, ...] = ()
    probes: tuple[ProbeStatus, ...] = ()


@dataclass(slots=True)
class Snapshot:
    """One exposition, made at `made_at` (epoch seconds) and never changed after; `openmetrics` ends with `# EOF`.

    `served` turns true with the first scrape; `encoded` keeps compressed bodies ("text+gzip") once made.
    """

    text: bytes
    openmetrics: bytes
    series: int
    made_at: float
    status: Status = field(default_factory=Status)
    served: bool = False
    encoded: dict[str, bytes] = field(default_factory=dict)
