"""The words every room speaks: clocks, columns, batches, polls, metric specs and snapshots.

Floor 0: imports nothing of this package but `errors`.  A *model* here is always a user's machine-learning
model; a *group* is one (model, version) pair, the unit that every metric series belongs to.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int32]
Keys: TypeAlias = NDArray[np.uint64]
"""Shape (n, 2): the 128-bit fingerprints of n prediction ids."""

Cursor: TypeAlias = dict[str, Any]
"""Where a source stands; JSON values only.  Replaying a cursor gives the same rows again."""

ABSENT = -1
"""The code of a categorical value that a row does not have."""


# --- time ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of a process, in seconds; tests pass their own.

    `wall` says when something was heard, `monotonic` how long something takes.  Data is never judged by
    either: it carries its own event time.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment on the monotonic clock when a poll must have returned."""

    at: float
    clock: Clock = field(default_factory=Clock)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def passed(self) -> bool:
        return self.clock.monotonic() >= self.at


# --- what the config says of a row ---------------------------------------------------------------


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one field of a row is read: from a dotted path, or as a constant."""

    field: str | None = None
    constant: str | int | float | bool | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    map: dict[str, str | int | float | bool] | None = None
    threshold: float | None = None


class MappingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How raw records become rows of one role.

    `where` keeps only records whose value at a path is one of the listed texts (or, under `not`, is none of
    them); other records are skipped without a fault.  A row whose event time is more than `max_ahead` seconds ahead
    of the wall clock is refused.
    """

    role: Literal["predictions", "labels"]
    fields: dict[str, FieldSpec]
    where: dict[str, WhereSpec] = {}
    timezone: str = "UTC"
    max_ahead: float = 300.0


class WhereSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on one path: the value's text is in `one_of` (if given) and not in `none_of`."""

    one_of: tuple[str, ...] | None = None
    none_of: tuple[str, ...] = ()


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A sliding window, by label time (`seconds`) or by count (`rows`); `name` is its label value."""

    name: str
    seconds: float | None = None
    rows: int | None = None


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the families know of a model: its task and its classes, but no source.

    `classes` are canonical class names in code order: declared ones first, else learned up to `max_classes`.
    """

    name: str
    task: Literal["binary", "multiclass"] = "binary"
    positive: str | None = None
    classes: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    max_classes: int = 64
    confusion_classes: int = 20
    latency_buckets: tuple[float, ...] = ()
    delay_buckets: tuple[float, ...] = ()

    @property
    def capacity(self) -> int:
        """How many classes the counts have room for."""
        if self.classes:
            return len(self.classes)
        return 2 if self.task == "binary" else self.max_classes


# --- columns -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Categorical:
    """A column of repeated texts: `names[codes[i]]`, or nothing where the code is ABSENT.

    `codes` has shape (n,), dtype int32; `names` may grow between batches of one source but never changes
    what a code means.
    """

    codes: Codes
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused row: why, and where a person finds it (file and byte offset, table and cursor, URL)."""

    reason: str
    place: str
    detail: str = ""


@dataclass(slots=True)
class Refusals:
    """Refused rows, all counted, the first few of each reason kept to be shown."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[Refusal] = field(default_factory=list)
    keep: int = 10

    def add(self, reason: str, place: str, detail: str = "", count: int = 1) -> None:
        self.counts[reason] += count
        if self.room(reason):
            self.examples.append(Refusal(reason, place, detail[:200]))

    def extend(self, other: Refusals) -> None:
        self.counts.update(other.counts)
        for example in other.examples:
            if self.room(example.reason):
                self.examples.append(example)

    def room(self, reason: str) -> int:
        """How many more examples of *reason* are to be kept."""
        return max(0, self.keep - sum(example.reason == reason for example in self.examples))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of one poll as columns of equal length n; a column that the config does not map is None.

    `time` (float64 seconds since the epoch) is the event time: of the prediction, or of the label.
    `score` is the probability of the positive class and `latency` is in seconds, both NaN where absent.
    In a batch of role "predictions", `predicted` is ABSENT for a row that only reports an error, and `actual`
    (with `actual_time`) is ABSENT while the label of a one-row log is not known yet.
    `ids` are the id texts, kept only when a reader asked for them (`check --read`).
    """

    role: Literal["predictions", "labels"]
    key: Keys
    time: Floats
    model: Categorical | None = None
    version: Categorical | None = None
    predicted: Categorical | None = None
    actual: Categorical | None = None
    actual_time: Floats | None = None
    score: Floats | None = None
    latency: Floats | None = None
    error: Categorical | None = None
    refused: Refusals = field(default_factory=Refusals)
    skipped: int = 0
    ids: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True, slots=True)
class Poll:
    """What a poll gave: rows (or None), the cursor behind them, and whether more is waiting."""

    batch: Batch | None
    cursor: Cursor | None
    more: bool = False


@runtime_checkable
class Source(Protocol):
    """The outside world in one dialect; every driver error stops at its door as a `SourceError`.

    A source is driven by one thread.  It never writes to what it reads, and keeps no memory that its cursor
    does not carry: `poll(c)` gives the same rows whenever it is asked.
    """

    Config: ClassVar[type[msgspec.Struct]]

    def poll(self, cursor: Cursor | None, deadline: Deadline) -> Poll:
        """Rows after *cursor* (None: from the beginning), in at most the time that *deadline* leaves."""
        ...

    def close(self) -> None: ...


# --- rows after the join -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """New predictions of one cycle, labelled or not; columns of shape (n,).

    `predicted` is ABSENT and `error` a code of the model's error reasons where the prediction failed.
    """

    group: Codes
    time: Floats
    predicted: Codes
    latency: Floats
    error: Codes

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Predictions that met their label; columns of shape (n,).

    `sign` is +1 for a result to be counted and -1 for one that a corrected label takes back; a row of -1
    carries the label and the label time that it was counted with.
    """

    sign: NDArray[np.int8]
    slot: NDArray[np.int64]
    group: Codes
    actual: Codes
    predicted: Codes
    score: Floats
    time: Floats
    label_time: Floats

    def __len__(self) -> int:
        return len(self.sign)


# --- what is remembered --------------------------------------------------------------------------

RECORD = np.dtype(
    [
        ("key", "<u8", (2,)),
        ("time", "<f8"),
        ("score", "<f8"),
        ("label_time", "<f8"),
        ("confirmed", "<f4"),
        ("group", "<u2"),
        ("predicted", "<u2"),
        ("actual", "<u2"),
    ]
)
"""50 bytes by which a prediction is remembered, and the label that it was last given.

`confirmed` is how many seconds after `label_time` the same label was last repeated, rounded down to float32 (a
quarter of a second at 45 days): a different label must not be older than that to count as a correction.
"""

UNKNOWN = 0xFFFF
"""The class code, in a record, of a prediction that has no label yet."""

CHANGE = np.dtype([("slot", "<i8"), ("label_time", "<f8"), ("confirmed", "<f4"), ("actual", "<u2")])
"""A label set in the record at `slot`; absolute, so that doing it twice does no harm."""


class Remembered(Protocol):
    """Records by key, as the join needs them; implemented by `state.Table`."""

    @property
    def rows(self) -> int: ...

    def find(self, keys: Keys) -> NDArray[np.int64]: ...

    def append(self, records: NDArray[np.void]) -> NDArray[np.int64]: ...

    def read(self, slots: NDArray[np.int64]) -> NDArray[np.void]: ...

    def relabel(self, change: NDArray[np.void]) -> None: ...

    def forget(self, before: float, most: int) -> list[tuple[NDArray[np.void], bool]]: ...


# --- metrics -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric of the catalogue: the source of validation, docs, `model-exporter metrics` and tests."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the exposition without its value: sample name (with suffix) and label pairs."""

    metric: str
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """Additive increments: `weight[i]` (1 where None) onto cell `local[i]` of `group[i]`; shape (m,).

    `row[i]` is the row that an increment came from.
    """

    row: NDArray[np.intp]
    local: NDArray[np.int64]
    weight: Floats | None = None


@runtime_checkable
class Family(Protocol):
    """Pure arithmetic on mergeable counts: columns in, cells out; cells in, values out.

    A family never sees a clock, a file or a window: the pipeline adds its cells up, over all time and over
    every configured window, and asks for the values of those sums.
    """

    specs: ClassVar[tuple[MetricSpec, ...]]
    feed: ClassVar[Literal["traffic", "scored"]]
    windowed: ClassVar[bool]
    size: int

    def __init__(self, model: ModelSpec) -> None: ...

    def cells(self, rows: Any) -> Cells:
        """The increments of *rows* (Traffic or Scored, by `feed`)."""
        ...

    def series(self, names: Mapping[str, Sequence[str]]) -> Sequence[Series]:
        """Counter series of one group, given the known names per vocabulary ("class", "error")."""
        ...

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> Iterable[float]:
        """Values in the order of `series`, from cell sums of shape (size,)."""
        ...

    def window_series(self, names: Mapping[str, Sequence[str]]) -> Sequence[Series]:
        """Gauge series of one group and window, without the `window` label."""
        ...

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> Iterable[float]:
        """Values in the order of `window_series`; NaN is undefined, and left out of the exposition."""
        ...


# --- status: what the web page tells people -------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStatus:
    """Quality over one window; a ratio that is undefined is None.  `average` is "binary" or "macro"."""

    name: str
    labelled: int
    accuracy: float | None = None
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    average: str = "binary"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """One version of a model: rows since the state began, and event times (epoch seconds) of the newest."""

    version: str
    predictions: int = 0
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
    """One observed model server; `up` is None while it is not known."""

    target: str
    model: str
    up: bool | None = None
    detail: str = ""


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
