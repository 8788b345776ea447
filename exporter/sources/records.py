"""Raw records on their way from a transport to the mapping: columns by dotted path, and what formats must do.

The way of a row inside this room: transport (files, sql, http) -> format -> Records -> mapping -> Batch.
Steps that unwrap, pair or explode records of one server's format stand between format and mapping.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Refusals

Column: TypeAlias = "Sequence[Any] | NDArray[Any]"
"""Any sequence of values will do.  The mapping is fastest where the type says what the values are: `Texts`,
`Words`, `Instants`, or a NumPy array of bools, integers, floats (where NaN is a NaN that was written, and no absent
value) or datetime64 (in the configured time zone).  An array may have a second axis: a list of numbers per record."""


class Texts(list[Any]):
    """A column whose every value is a str or None."""

    __slots__ = ()


class Words(Sequence[Any]):
    """A column of texts that repeat themselves: `names[codes[i]]`, a str or None; *codes* are unsigned integers."""

    __slots__ = ("codes", "names")

    def __init__(self, codes: NDArray[Any], names: Sequence[str | None]) -> None:
        self.codes = codes
        self.names = names

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: Any) -> Any:
        return self.names[self.codes[row]]

    def texts(self) -> Texts:
        """The same column, written out."""
        names = self.names
        return Texts([names[code] for code in self.codes.tolist()])


class Instants(NDArray[np.float64]):
    """A column of float64 seconds since the epoch, shape (n,), whose unit and zone are settled; NaN where absent."""


@dataclass(slots=True)
class Records:
    """*count* records as raw columns, one per wanted dotted path; None stands for null and for absent alike.

    `place(i)` tells a person where record i stands; it is only called for refused ones, and may be slow.
    `refused` are records that the format could not read at all; they are not among the *count*.
    """

    columns: dict[str, Column]
    count: int
    place: Callable[[int], str]
    refused: Refusals = field(default_factory=Refusals)


class LineFormat(Protocol):
    """A text format that grows record by record: JSON Lines, CSV."""

    has_header: bool

    def __init__(self, paths: Sequence[str]) -> None:
        """*paths* are the dotted paths that the mapping wants; nothing else needs to be decoded."""
        ...

    def complete(self, block: bytes) -> int:
        """How many leading bytes of *block* are whole records; 0 if not even the first is finished."""
        ...

    def decode(self, block: bytes | memoryview, place: Callable[[int], str], header: bytes = b"") -> Records:
        """Read whole records; *place* names the byte at an offset into *block*, *header* is the file's first line.

        Never raises for bad records: each is refused (`bad_json`, `bad_utf8`, `wrong_columns`) and the rest is read.
        """
        ...


class TableFormat(Protocol):
    """A format that is written whole: Parquet, NumPy."""

    def __init__(self, paths: Sequence[str]) -> None: ...

    def read(self, file: IO[bytes], name: str, start: int, limit: int) -> tuple[Records, bool]:
        """At most *limit* records from record *start* on, and whether more follow.

        Raises SourceDataError if the file is not whole (so that the caller can wait for it).
        """
        ...


def identity(file: IO[bytes]) -> tuple[int, ...] | None:
    """What tells an unchanged file on disk from another one, or None for a stream that has no such thing."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError, io.UnsupportedOperation):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
