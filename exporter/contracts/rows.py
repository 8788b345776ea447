"""Rows from the source to the families: columns, batches, polls, and what is remembered of a prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from exporter.contracts.clocks import Deadline
from exporter.contracts.layout import Layout

Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int32]
Keys: TypeAlias = NDArray[np.uint64]
"""Shape (n, 2): the 128-bit fingerprints of n prediction ids."""

Cursor: TypeAlias = dict[str, Any]
"""Where a source stands; JSON values only.  Replaying a cursor gives the same rows again."""

ABSENT = -1
"""The code of a categorical value that a row does not have."""

ANY = "any"
"""The one class of a task that has none, such as a regression."""


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
    """One refused row: why, and where a person finds it (`x.jsonl, byte 1234`, table and cursor, URL)."""

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
    `score` is the probability of the positive class, or the predicted value of a regression, and `latency` is in
    seconds, both NaN where absent.
    In a batch of role "predictions", `predicted` is ABSENT for a row that only reports an error, and `actual`
    (with `actual_time`) is ABSENT while the label of a one-row log is not known yet; both are ANY where a task has no
    classes.  `made` and `truth` are the extra columns of the model's `Layout`, by name, as far as this batch has them,
    without `segments`, which are names here.  Bit i of a column of label sets is `labels[i]`.
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
    made: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    labels: Sequence[str] = ()
    segments: Mapping[str, Categorical] = field(default_factory=dict)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """New predictions of one cycle, labelled or not; columns of shape (n,).

    `predicted` is ABSENT and `error` a code of the model's error reasons where the prediction failed.
    `made` are the extra columns of the model's `Layout`, None where it has none.
    """

    group: Codes
    time: Floats
    predicted: Codes
    score: Floats
    latency: Floats
    error: Codes
    made: NDArray[np.void] | None = None

    def __len__(self) -> int:
        return len(self.group)

    @property
    def answerable(self) -> NDArray[np.bool_] | slice:
        """Which rows a label can answer: those that did not fail; usually all, and then nothing has to be copied."""
        good = self.error < 0
        return slice(None) if good.all() else good


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Predictions that met their label; columns of shape (n,).

    `sign` is +1 for a result to be counted and -1 for one that a corrected label takes back; a row of -1
    carries the label and the label time that it was counted with.  `made` and `truth` are the extra columns of the
    model's `Layout`, None where it has none.
    """

    sign: NDArray[np.int8]
    slot: NDArray[np.int64]
    group: Codes
    actual: Codes
    predicted: Codes
    score: Floats
    time: Floats
    label_time: Floats
    made: NDArray[np.void] | None = None
    truth: NDArray[np.void] | None = None

    def __len__(self) -> int:
        return len(self.sign)


class Remembered(Protocol):
    """Records by key, as the join needs them; implemented by `state.Table`."""

    @property
    def layout(self) -> Layout: ...

    @property
    def rows(self) -> int: ...

    def look(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.void]]: ...

    def remember(self, records: NDArray[np.void]) -> NDArray[np.intp]: ...

    def relabel(self, change: NDArray[np.void]) -> None: ...

    def forget(self, before: float, most: int) -> list[tuple[NDArray[np.void], bool]]: ...
