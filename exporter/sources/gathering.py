"""Whole records of several files as one block, and the formats that decode it."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter import plugins
from exporter.contracts import Refusals
from exporter.errors import SourceDataError
from exporter.sources.finding import format_of
from exporter.sources.records import LineFormat, Records, TableFormat

FORMATS = "model_exporter.formats"
_KEPT_HEADERS = 64


class Formats:
    """The formats of one source: *configured* for all files, or told by each file's ending."""

    def __init__(self, configured: str | None, paths: Sequence[str]) -> None:
        """*paths* are the dotted paths that the mapping wants."""
        self.paths = paths
        self._configured = configured
        self._made: dict[tuple[str, bytes], Any] = {}

    def name(self, path: str) -> str:
        name = self._configured or format_of(path)
        if name is None:
            raise SourceDataError(f"{path}: the ending tells no format; set format, or narrow the glob")
        return name

    def lines(self, path: str, header: bytes = b"") -> LineFormat:
        """The format of *path*; one per header, because a format may remember what it learned of it."""
        made: LineFormat = self._make(self.name(path), header)
        return made

    def table(self, path: str) -> TableFormat:
        made: TableFormat = self._make(self.name(path))
        return made

    def whole(self, path: str) -> bool:
        """Whether *path* is a table, read whole, and not lines that grow."""
        if hasattr(self._make(self.name(path)), "complete"):
            return False
        if path.endswith(".gz"):
            raise SourceDataError(f"{path}: a gzip'd table is not read; unpack it")
        return True

    def _make(self, name: str, header: bytes = b"") -> Any:
        if (name, header) not in self._made:
            if len(self._made) > _KEPT_HEADERS:
                self._made.clear()
            self._made[name, header] = plugins.load(FORMATS, name)(self.paths)
        return self._made[name, header]


@dataclass(slots=True)
class Gathered:
    """Whole records of one format and header, from one or more files, in the order they are read.

    `advanced` says that an offset moved, even if no record came of it, `moved` that a file has been renamed since it
    was listed.
    """

    formats: Formats
    blocks: list[bytes] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    origins: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0
    header: bytes = b""
    refused: Refusals = field(default_factory=Refusals)
    advanced: bool = False
    moved: bool = False

    def fits(self, path: str, header: bytes) -> bool:
        """Whether records of *path* can be decoded together with those gathered so far."""
        return not self.blocks or (
            header == self.header and self.formats.name(path) == self.formats.name(self.origins[0][0])
        )

    def add(self, path: str, offset: int, block: bytes, header: bytes) -> None:
        self.starts.append(self.size)
        self.origins.append((path, offset))
        self.blocks.append(block)
        self.size += len(block)
        self.header = header

    def place(self, at: int) -> str:
        """The file and its byte offset at position *at* of the joined blocks."""
        piece = bisect.bisect_right(self.starts, at) - 1
        path, offset = self.origins[piece]
        return f"{path}:{offset + at - self.starts[piece]}"

    def records(self) -> Records | None:
        """What was gathered, decoded; None if there is neither a record nor a refused one."""
        if self.blocks:
            block = self.blocks[0] if len(self.blocks) == 1 else b"".join(self.blocks)
            records = self.formats.lines(self.origins[0][0], self.header).decode(block, self.place, self.header)
        elif self.refused.counts:
            records = Records({path: [] for path in self.formats.paths}, 0, self.place)
        else:
            return None
        records.refused.extend(self.refused)
        return records
