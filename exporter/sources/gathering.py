"""Whole records of several files as one block, decoded by one call."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from exporter.contracts import Refusals
from exporter.sources.following import Step
from exporter.sources.formatting import Formats
from exporter.sources.reading import Block
from exporter.sources.records import Records


@dataclass(slots=True)
class Gathered:
    """Whole records of one format and header, from one or more files, in the order they are read.

    `advanced` says that an offset moved, even if no record came of it, `moved` that a file has been renamed since it
    was listed.
    """

    formats: Formats
    blocks: list[Block] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    origins: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0
    format: str = ""
    header: bytes = b""
    refused: Refusals = field(default_factory=Refusals)
    advanced: bool = False
    moved: bool = False

    def fits(self, format_: str, header: bytes) -> bool:
        """Whether records of this format and header can be decoded together with those gathered so far."""
        return not self.blocks or (format_, header) == (self.format, self.header)

    def add(self, path: str, step: Step, header: bytes) -> None:
        """Take the records of *step*, read from the file at *path*."""
        self.starts.append(self.size)
        self.origins.append((path, step.offset))
        self.blocks.append(step.block)
        self.size += len(step.block)
        self.format, self.header = step.entry.format, header

    def place(self, at: int) -> str:
        """The file and its byte offset at position *at* of the joined blocks."""
        piece = bisect.bisect_right(self.starts, at) - 1
        path, offset = self.origins[piece]
        return f"{path}, byte {offset + at - self.starts[piece]}"

    def records(self) -> Records | None:
        """What was gathered, decoded; None if there is neither a record nor a refused one."""
        if self.blocks:
            block = self.blocks[0] if len(self.blocks) == 1 else b"".join(self.blocks)
            records = self.formats.lines(self.format, self.header).decode(block, self.place, self.header)
        elif self.refused.counts:
            records = Records({path: [] for path in self.formats.paths}, 0, self.place)
        else:
            return None
        records.refused.extend(self.refused)
        return records
