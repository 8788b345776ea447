"""One growing file, read from an offset: whole records out, a half-written one left for later.

An offset counts bytes of content; of a gzip'd file that is the decompressed content, so that a log keeps its offset
when it is compressed.  What was read is known again by its first bytes, its last bytes and a checksum of it all.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import xxhash
from msgspec.structs import replace

from exporter.contracts import Deadline
from exporter.errors import SourceDataError, SourceDenied, SourceError, SourceTimeout, SourceUnavailable

HEAD = 1024
TAIL = 256
UNKNOWN = -1
_CHUNK = 1 << 18
_BOM = b"\xef\xbb\xbf"
_GZIP = 31  # zlib's word for: a gzip header, the largest window

Identity = tuple[int, int]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one file was read; a part of the cursor.

    `offset` counts bytes of content, or rows of a file that is read whole.  `ended` says that nothing was left to
    read when the file had this `size` and `modified` (ns), `rest` that it ended with half a record.  `skipping`: the
    offset is inside a record that was refused.  `zeros`: nothing but NUL bytes was met so far.
    `head`, `tail` and `checksum` (CRC-32, or UNKNOWN) tell the content before the offset.
    """

    path: str
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


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file as it was seen just now; `modified` in nanoseconds since the epoch."""

    path: str
    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Found:
        return cls(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def identity(self) -> Identity:
        return self.device, self.inode

    def unchanged(self, entry: Entry) -> bool:
        return entry.size == self.size and entry.modified == self.modified


class Moved(Exception):
    """The path belongs to another file, or to none, since it was listed."""


class RecordTooLong(Exception):
    """A record does not end within the allowed length."""


def door(error: OSError, path: str) -> SourceError:
    """The SourceError that says what *error* means for *path*, and what to do."""
    if isinstance(error, PermissionError):
        return SourceDenied(f"{path}: permission denied; let the exporter's user read the file and enter its folders")
    if isinstance(error, FileNotFoundError):
        return SourceUnavailable(f"{path}: no such file; check the path, or wait until it is written")
    if error.errno == errno.ETIMEDOUT:
        return SourceTimeout(f"{path}: {error.strerror}")
    return SourceUnavailable(f"{path}: {error.strerror or error}; it is tried again")


def open_regular(found: Found) -> int:
    """A descriptor of the very file that was found; never blocks on a FIFO.  Raises Moved or OSError."""
    try:
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Moved from None
    try:
        status = os.fstat(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != found.identity:
        os.close(descriptor)
        raise Moved
    return descriptor


@dataclass(slots=True)
class Reader:
    """Content of one open file by offset; a cache only: it can be closed and opened again at any time.

    `header` is the file's first line once it is known, for formats that have one; `body` is where records start.
    `lost_at` is the monotonic time since when the file has had no name in its folder.
    """

    descriptor: int
    path: str
    header: bytes | None = None
    body: int = 0
    lost_at: float | None = None
    _summed: int = 0
    _sum: int = 0

    def read(self, offset: int, size: int, deadline: Deadline) -> bytes:  # noqa: ARG002  Gzip needs it
        """At most *size* bytes from *offset*, fewer only at the end; raises OSError or SourceError."""
        return os.pread(self.descriptor, size, offset)

    def refresh(self) -> None:
        """Forget what was cached of a file that may have been overwritten in place."""
        self.header = None
        self._summed = self._sum = 0

    def checksum(self, offset: int, deadline: Deadline) -> int | None:
        """CRC-32 of the content before *offset*, None if there is less; goes on where a timeout stopped it."""
        if self._summed > offset:
            self._summed = self._sum = 0
        while self._summed < offset:
            _in_time(self.path, deadline)
            block = self.read(self._summed, min(_CHUNK, offset - self._summed), deadline)
            if not block:
                return None
            self._sum = zlib.crc32(block, self._sum)
            self._summed += len(block)
        return self._sum

    def begin(self, complete: Callable[[bytes], int] | None, limit: int, deadline: Deadline) -> bool:
        """Find `body` and, if *complete* is given, the header line; False while that is not written yet."""
        if self.header is not None:
            return True
        mark = self.read(0, len(_BOM), deadline)
        if len(mark) < len(_BOM) and _BOM.startswith(mark):
            return False
        start = len(_BOM) if mark == _BOM else 0
        if complete is None:
            self.header, self.body = b"", start
            return True
        size = min(4096, limit)
        while True:
            block = self.read(start, size, deadline)
            end = _first_record(block, complete)
            if end:
                self.header, self.body = block[:end], start + end
                return True
            if len(block) < size:
                return False
            if size >= limit:
                raise SourceDataError(f"{self.path}: the header line is longer than {limit} bytes; is this CSV?")
            size = min(2 * size, limit)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(slots=True)
class GzipReader(Reader):
    """Decompressed content: one decoder runs forward, with a little of what it gave kept for looking back."""

    _decoder: zlib._Decompress = field(default_factory=lambda: zlib.decompressobj(_GZIP))
    _raw: int = 0
    _raw_head: bytes = b""
    _first: bytes = b""
    _buffer: bytearray = field(default_factory=bytearray)
    _start: int = 0
    closed: bool = False

    def read(self, offset: int, size: int, deadline: Deadline) -> bytes:
        if offset + size <= len(self._first):
            return self._first[offset : offset + size]
        if offset < self._start:
            self._rewind()
        while self._start + len(self._buffer) < offset + size:
            _in_time(self.path, deadline)
            surplus = offset - TAIL - self._start
            if surplus > 0:
                dropped = min(surplus, len(self._buffer))
                del self._buffer[:dropped]
                self._start += dropped
            if not self._fill():
                break
        at = offset - self._start
        return bytes(memoryview(self._buffer)[at : at + size])

    def refresh(self) -> None:
        Reader.refresh(self)
        status = os.fstat(self.descriptor)
        grown = status.st_size > self._raw and os.pread(self.descriptor, len(self._raw_head), 0) == self._raw_head
        if not grown:  # what follows what was decompressed may go on; what was decompressed must be read again
            self._rewind()

    def _fill(self) -> bool:
        """Decompress a little more; False at the end of what is written."""
        data = self._decoder.unconsumed_tail or self._next_member() or self._raw_read()
        try:
            out = self._decoder.decompress(data, _CHUNK)
        except zlib.error as error:
            self._rewind()
            raise SourceDataError(f"{self.path}: broken gzip ({error}); write it again under a new name") from error
        self._buffer += out
        if len(self._first) < HEAD and self._start == 0:
            self._first = bytes(self._buffer[:HEAD])
        self.closed = self._decoder.eof and not self._decoder.unused_data.strip(b"\0")
        return bool(out or data)

    def _next_member(self) -> bytes:
        """Start a decoder for the gzip member that follows; zero padding is no member."""
        if not self._decoder.eof:
            return b""
        rest = (self._decoder.unused_data or self._raw_read()).lstrip(b"\0")
        if rest:
            self._decoder = zlib.decompressobj(_GZIP)
        return rest

    def _raw_read(self) -> bytes:
        data = os.pread(self.descriptor, _CHUNK // 4, self._raw)
        if len(self._raw_head) < HEAD and self._raw == len(self._raw_head):
            self._raw_head += data[: HEAD - self._raw]
        self._raw += len(data)
        return data

    def _rewind(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP)
        self._raw = self._start = 0
        self._raw_head = self._first = b""
        self._buffer = bytearray()
        self.closed = False


def take(
    reader: Reader, offset: int, want: int, limit: int, complete: Callable[[bytes], int], deadline: Deadline
) -> tuple[bytes, bytes, bool]:
    """Whole records from *offset* on, about *want* bytes, what follows them, and whether the file's end was reached.

    A record longer than *want* is read again with more room, up to *limit* bytes; beyond, RecordTooLong is raised.
    """
    size = min(want, limit)
    while True:
        block = reader.read(offset, size, deadline)
        whole = complete(block)
        if whole or len(block) < size:
            return block[:whole], block[whole:] if len(block) < size else b"", len(block) < size
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
    block: bytes = b""
    rest: bytes = b""
    too_long: bool = False


def follow(
    entry: Entry, reader: Reader, complete: Callable[[bytes], int], want: int, limit: int, deadline: Deadline
) -> Step:
    """Read on from *entry*, about *want* bytes, records of at most *limit*; the reader has begun."""
    entry = _to_body(entry, reader, deadline)
    if entry.skipping:
        entry = _skip(entry, reader, deadline)
        if entry.skipping:
            return Step(entry)
    offset = entry.offset
    try:
        block, rest, ended = take(reader, offset, want, limit, complete, deadline)
    except RecordTooLong:
        return Step(replace(entry, skipping=True, ended=False, rest=False), offset, too_long=True)
    if block:
        entry = advance(entry, reader, block, deadline)
    return Step(replace(entry, ended=ended, rest=bool(rest)), offset, block, rest)


def _to_body(entry: Entry, reader: Reader, deadline: Deadline) -> Entry:
    """Step over a header, and over the zeros that a writer leaves who goes on at its old offset after a truncation."""
    if entry.offset < reader.body:
        entry = advance(entry, reader, reader.read(entry.offset, reader.body - entry.offset, deadline), deadline)
    while entry.offset == reader.body or entry.zeros:
        block = reader.read(entry.offset, _CHUNK, deadline)
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
        block = reader.read(entry.offset, _CHUNK, deadline)
        end = block.find(b"\n") + 1
        if block:
            entry = advance(entry, reader, block[:end] if end else block, deadline)
        ended = not end and len(block) < _CHUNK
        entry = replace(entry, skipping=not end, ended=ended, rest=False)
        if end or ended or deadline.passed:
            return entry


def advance(entry: Entry, reader: Reader, consumed: bytes, deadline: Deadline) -> Entry:
    """The entry after *consumed*, the content that followed its offset."""
    offset = entry.offset + len(consumed)
    head = entry.head if entry.offset >= HEAD else _mark(reader.read(0, min(HEAD, offset), deadline))
    recent = consumed[-TAIL:]
    if len(recent) < min(TAIL, offset):
        recent = reader.read(max(0, offset - TAIL), min(TAIL, offset), deadline)
    checksum = UNKNOWN if entry.checksum == UNKNOWN else zlib.crc32(consumed, entry.checksum)
    return replace(entry, offset=offset, head=head, tail=_mark(recent), checksum=checksum)


def at_end(found: Found, reader: Reader, deadline: Deadline) -> Entry:
    """An entry behind everything that a plain file holds now; a record half-written there is skipped when it ends."""
    entry = Entry(path=found.path, device=found.device, inode=found.inode, modified=found.modified, checksum=UNKNOWN)
    last = reader.read(max(0, found.size - TAIL), min(TAIL, found.size), deadline)
    return replace(
        entry,
        offset=found.size,
        size=found.size,
        ended=True,
        skipping=bool(last) and not last.endswith(b"\n"),
        head=head_of(reader, min(HEAD, found.size), deadline) or "",
        tail=_mark(last),
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


def _mark(content: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(content)


def _first_record(block: bytes, complete: Callable[[bytes], int]) -> int:
    """The length of the first whole record of *block*, which may hold line ends inside quotes; 0 if there is none."""
    end = block.find(b"\n") + 1
    while end and complete(block[:end]) < end:
        end = block.find(b"\n", end) + 1
    return end


def _in_time(path: str, deadline: Deadline) -> None:
    if deadline.passed:
        raise SourceTimeout(f"{path}: the deadline passed while it was read; it goes on with the next poll")
