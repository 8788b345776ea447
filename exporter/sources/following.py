"""One growing file, read from an offset: whole records out, a half-written one left for later.

An offset counts bytes of content; of a gzip'd file that is the decompressed content, so that a log keeps its offset
when it is compressed.  What was read is known again by its first bytes, its last bytes and a checksum of it all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import xxhash
from msgspec.structs import replace

from exporter.contracts import Deadline
from exporter.sources.reading import CHUNK, HEAD, TAIL, Block, Found, Identity, Reader, summed

UNKNOWN = -1


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one file was read; a part of the cursor.  `format` stays as the file's first name told.

    `offset` counts bytes of content, or rows of a file that is read whole.  `ended` says that nothing was left to
    read when the file had this `size` and `modified` (ns), `rest` that it ended with half a record.  `skipping`: the
    offset is inside a record that was refused.  `zeros`: nothing but NUL bytes was met so far.
    `head`, `tail` and `checksum` (`reading.summed`, or UNKNOWN) tell the content before the offset.
    """

    path: str
    format: str = ""
    device: int = 0
    inode: int = 0
    offset: int = 0
    size: int = 0
    modified: int = 0
    ended: bool = False
    skipping: bool = False
    rest: bool = False
    zeros: bool = False
    head: str = ""
    tail: str = ""
    checksum: int = 0

    @property
    def identity(self) -> Identity:
        return self.device, self.inode

    def last_saw(self, found: Found) -> bool:
        """Whether *found* has not changed since."""
        return self.size == found.size and self.modified == found.modified


class RecordTooLong(Exception):
    """A record does not end within the allowed length."""


def take(
    reader: Reader, offset: int, complete: Callable[[bytes], int], *, want: int, limit: int, deadline: Deadline
) -> tuple[Block, bytes, bool]:
    """Whole records from *offset* on, about *want* bytes, what follows them, and whether the file's end was reached.

    A record longer than *want* is read again with more room, up to *limit* bytes; beyond, RecordTooLong is raised.
    """
    size = min(want, limit)
    while True:
        block = reader.read(offset, size, deadline)
        whole = complete(block)
        if whole or len(block) < size:
            # A view of the whole records: to cut them out would cost as much as to read them.
            return memoryview(block)[:whole], block[whole:] if len(block) < size else b"", len(block) < size
        if size >= limit:
            raise RecordTooLong
        del block
        size = min(2 * size, limit)


@dataclass(frozen=True, slots=True)
class Step:
    """One reading: the entry behind it, whole records with the offset where they start, and what is half-written.

    `too_long`: the record at `offset` is refused for its length, and is skipped by the steps that follow.
    """

    entry: Entry
    offset: int = 0
    block: Block = b""
    rest: bytes = b""
    too_long: bool = False


def follow(
    entry: Entry, reader: Reader, complete: Callable[[bytes], int], *, want: int, limit: int, deadline: Deadline
) -> Step:
    """Read on from *entry*, about *want* bytes, records of at most *limit*; the reader has begun."""
    entry = _to_body(entry, reader, deadline)
    if entry.skipping:
        entry = _skip(entry, reader, deadline)
        if entry.skipping:
            return Step(entry)
    offset = entry.offset
    try:
        block, rest, ended = take(reader, offset, complete, want=want, limit=limit, deadline=deadline)
    except RecordTooLong:
        return Step(replace(entry, skipping=True, ended=False, rest=False), offset, too_long=True)
    if block:
        entry = advance(entry, reader, block, deadline)
    elif reader.fault:
        raise reader.fault
    return Step(replace(entry, ended=ended and not reader.fault, rest=bool(rest)), offset, block, rest)


def _to_body(entry: Entry, reader: Reader, deadline: Deadline) -> Entry:
    """Step over a header, and over the zeros that a writer leaves who goes on at its old offset after a truncation."""
    if entry.offset < reader.body:
        entry = advance(entry, reader, reader.read(entry.offset, reader.body - entry.offset, deadline), deadline)
    while entry.offset == reader.body or entry.zeros:
        block = reader.read(entry.offset, CHUNK, deadline)
        zeros = len(block) - len(block.lstrip(b"\0"))
        if zeros:
            entry = advance(entry, reader, block[:zeros], deadline)
        entry = replace(entry, zeros=zeros == len(block) > 0)
        if not entry.zeros or deadline.passed:
            break
    return entry


def _skip(entry: Entry, reader: Reader, deadline: Deadline) -> Entry:
    """Go to the end of a record that was refused, or as far as the file and the deadline allow."""
    while True:
        block = reader.read(entry.offset, CHUNK, deadline)
        end = block.find(b"\n") + 1
        if block:
            entry = advance(entry, reader, block[:end] if end else block, deadline)
        ended = not end and len(block) < CHUNK
        entry = replace(entry, skipping=not end, ended=ended, rest=False)
        if end or ended or deadline.passed:
            return entry


def advance(entry: Entry, reader: Reader, consumed: Block, deadline: Deadline) -> Entry:
    """The entry after *consumed*, the content that followed its offset."""
    offset = entry.offset + len(consumed)
    head = entry.head if entry.offset >= HEAD else _mark(reader.read(0, min(HEAD, offset), deadline))
    recent = consumed[-TAIL:]
    if len(recent) < min(TAIL, offset):
        recent = reader.read(max(0, offset - TAIL), min(TAIL, offset), deadline)
    checksum = UNKNOWN if entry.checksum == UNKNOWN else summed(consumed, entry.offset, entry.checksum)
    return replace(entry, offset=offset, head=head, tail=_mark(recent), checksum=checksum)


def at_end(entry: Entry, reader: Reader, deadline: Deadline) -> Entry:
    """*entry* behind everything that its plain file holds; a record half-written there is skipped when it ends."""
    last = reader.read(max(0, entry.size - TAIL), min(TAIL, entry.size), deadline)
    return replace(
        entry,
        offset=entry.size,
        ended=True,
        skipping=bool(last) and not last.endswith(b"\n"),
        head=head_of(reader, min(HEAD, entry.size), deadline) or "",
        tail=_mark(last),
        checksum=UNKNOWN,
    )


def head_of(reader: Reader, length: int, deadline: Deadline) -> str | None:
    """The mark of the first *length* bytes, None if there are fewer."""
    first = reader.read(0, length, deadline)
    return _mark(first) if len(first) == length else None


def resembles(entry: Entry, reader: Reader, deadline: Deadline) -> bool:
    """Whether the content begins, and goes on up to the entry's offset, as what was read; looks at both ends only."""
    before = min(TAIL, entry.offset)
    return not entry.offset or (
        head_of(reader, min(HEAD, entry.offset), deadline) == entry.head
        and _mark(reader.read(entry.offset - before, before, deadline)) == entry.tail
    )


def copies(entry: Entry, reader: Reader, growing: bool, deadline: Deadline) -> bool:
    """Whether the content is what was read, or the beginning of it while the file is *growing*."""
    before = min(TAIL, entry.offset)
    tail = reader.read(entry.offset - before, before, deadline)
    if head_of(reader, min(HEAD, entry.offset), deadline) != entry.head:
        return False
    return growing if len(tail) < before else _mark(tail) == entry.tail


def repeats(entry: Entry, reader: Reader, deadline: Deadline) -> bool:
    """Whether the content before the entry's offset is, all of it, what was read."""
    return resembles(entry, reader, deadline) and (
        entry.checksum == UNKNOWN or reader.checksum(entry.offset, deadline) == entry.checksum
    )


def _mark(content: Block) -> str:
    return xxhash.xxh3_64_hexdigest(content)
