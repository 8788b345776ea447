"""Which dotted paths of a config hold nothing in any record, and which of those that records have were meant."""

from __future__ import annotations

import gzip
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from exporter.config.faults import nearest
from exporter.config.schema import Stream
from exporter.contracts import Batch, Clock, Deadline
from exporter.errors import SourceError
from exporter.sources.finding import find, format_of
from exporter.sources.formats.csv import columns_of
from exporter.sources.mapping import Mapper
from exporter.sources.records import Column, Records, Words

_BYTES = 256 << 10
_DEPTH = 6
_MOST = 500
_NAME = re.compile(r"[^\W\d]\w{0,39}|[a-zA-Z]+(-[a-zA-Z]+)+")


@dataclass(slots=True)
class Held:
    """Which of the wanted paths any record held something at."""

    wanted: tuple[str, ...] = ()
    found: set[str] = field(default_factory=set)

    @property
    def absent(self) -> list[str]:
        return [path for path in self.wanted if path not in self.found]

    def mapper(self) -> Callable[..., Mapper]:
        """Makes a Mapper that notes here what its records hold."""

        def make(*words: Any, **more: Any) -> Mapper:
            made = _Noting(*words, **more)
            made.held = self
            self.wanted = made.paths
            return made

        return make


class _Noting(Mapper):
    held: Held

    def batch(self, records: Records) -> Batch:
        self.held.found.update(path for path in self.held.absent if _holds_any(records.columns.get(path)))
        return super().batch(records)


def _holds_any(column: Column | None) -> bool:
    if column is None:
        return False
    if isinstance(column, Words):
        return any(column.names[code] is not None for code in np.unique(column.codes).tolist())
    if isinstance(column, np.ndarray):
        return bool(len(column)) and not (column.dtype.kind in "fM" and bool(np.isnan(column).all()))
    return any(value is not None for value in column)


def known(stream: Stream, clock: Clock) -> list[str]:
    """The paths that the newest file of *stream* has; of other sources, and where that cannot be told, none.

    Only such as look like names: a record may have data for keys.
    """
    if stream.kind != "files":
        return []
    try:
        patterns = [os.path.abspath(os.path.expanduser(path)) for path in stream.source.paths]  # noqa: PTH100, PTH111
        files = find(patterns, Deadline(clock.monotonic() + stream.timeout, clock)).files.values()
        newest = max(files, key=lambda found: found.modified, default=None)
        found: Iterable[str] = (
            [] if newest is None else _paths(newest.path, stream.source.format or format_of(newest.path))
        )
        return list(itertools.islice(dict.fromkeys(path for path in found if _is_name(path)), _MOST))
    except (OSError, EOFError, ValueError, SourceError):
        return []


def _is_name(path: str) -> bool:
    return all(_NAME.fullmatch(part) for part in path.split("."))


def meant(path: str, known: Sequence[str]) -> str | None:
    """The one of *known* that *path* was probably meant to be."""
    last = path.rpartition(".")[2]
    return next((one for one in known if one.rpartition(".")[2] == last), None) or nearest(path, known)


def _paths(path: str, format_: str | None) -> Iterator[str] | list[str]:
    if format_ == "parquet":
        import pyarrow.parquet as pq  # noqa: PLC0415 - only who reads Parquet pays for it

        schema = pq.ParquetFile(path).schema
        return [schema.column(at).path for at in range(len(schema))]
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:  # noqa: PTH123 - as paths are kept
        lines = file.read(_BYTES).splitlines()
    if format_ == "csv" and lines:
        return columns_of(lines[0])[0]
    return _of_objects(lines) if format_ == "jsonl" else []


def _of_objects(lines: Sequence[bytes]) -> Iterator[str]:
    for line in lines:
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        yield from _inside(record, "", _DEPTH)


def _inside(value: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(value, dict) or not depth:
        if path:
            yield path
        return
    for name, child in value.items():
        yield from _inside(child, f"{path}.{name}" if path else str(name), depth - 1)
