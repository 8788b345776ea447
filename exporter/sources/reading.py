"""Content of one file by offset, plain or gzip'd, and the errors of the file system by our names."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from exporter.contracts import Deadline
from exporter.errors import SourceDataError, SourceDenied, SourceError, SourceTimeout, SourceUnavailable

HEAD = 1024
TAIL = 256
CHUNK = 1 << 18
_BOM = b"\xef\xbb\xbf"
_WHOLE, _STRIDE, _SAMPLE = 64 << 10, 32 << 10, 1 << 10
_GZIP = 31  # zlib's word for: a gzip header, the largest window

Identity = tuple[int, int]
Block: TypeAlias = bytes | memoryview


def summed(block: Block, offset: int, checksum: int) -> int:
    """*checksum* gone on over *block*, which stands at *offset*: the CRC-32 of a file's first 64 KiB, then of samples.

    Of what follows, the first KiB of every 32 KiB is enough to tell two logs apart: their every line has another id
    and time.  A small file of labels, which may be exported anew with one of them corrected, is summed whole.
    """
    view = memoryview(block)
    whole = max(0, min(len(view), _WHOLE - offset))
    checksum = zlib.crc32(view[:whole], checksum)
    for at in range(whole - (offset + whole) % _STRIDE, len(view), _STRIDE):
        checksum = zlib.crc32(view[max(whole, at) : max(whole, at + _SAMPLE)], checksum)
    return checksum


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


class Moved(Exception):
    """The path belongs to another file, or to none, since it was listed."""


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
    `begun` says that both are known, `closed` that content ends where a writer ended it.
    `lost_at` is the monotonic time since when the file has had no name in its folder; `fault` is why content ends
    before the file does.
    """

    descriptor: int
    path: str
    header: bytes = b""
    body: int = 0
    begun: bool = False
    closed: bool = False
    lost_at: float | None = None
    fault: SourceDataError | None = None
    _summed: int = 0
    _sum: int = 0

    def read(self, offset: int, size: int, deadline: Deadline) -> bytes:  # noqa: ARG002  Gzip needs it
        """At most *size* bytes from *offset*, fewer only at the end; raises OSError or SourceError."""
        return os.pread(self.descriptor, size, offset)

    def refresh(self) -> None:
        """Forget what was cached of a file that may have been overwritten in place."""
        self.begun = False
        self._summed = self._sum = 0

    def checksum(self, offset: int, deadline: Deadline) -> int | None:
        """`summed` of the content before *offset*, None if there is less; goes on where a timeout stopped it."""
        if self._summed > offset:
            self._summed = self._sum = 0
        while self._summed < offset:
            _in_time(self.path, deadline)
            block = self.read(self._summed, min(CHUNK, offset - self._summed), deadline)
            if not block:
                return None
            self._sum = summed(block, self._summed, self._sum)
            self._summed += len(block)
        return self._sum

    def begin(self, complete: Callable[[bytes], int] | None, limit: int, deadline: Deadline) -> bool:
        """Find `body` and, if *complete* is given, the header line; False while that is not written yet."""
        if self.begun:
            return True
        mark = self.read(0, len(_BOM), deadline)
        if len(mark) < len(_BOM) and _BOM.startswith(mark):
            return False
        start = len(_BOM) if mark == _BOM else 0
        if complete is None:
            self.header, self.body, self.begun = b"", start, True
            return True
        size = min(4096, limit)
        while True:
            block = self.read(start, size, deadline)
            end = _first_record(block, complete)
            if end:
                self.header, self.body, self.begun = block[:end], start + end, True
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
        if self.fault:
            return False
        if self._decoder.eof:
            data = self._next_member()
            self.closed = not data
        else:
            data = self._decoder.unconsumed_tail or self._raw_read()
        try:
            out = self._decoder.decompress(data, CHUNK)
        except zlib.error as error:
            self.fault = SourceDataError(f"{self.path}: broken gzip ({error}); write it again")
            return False
        self._buffer += out
        if len(self._first) < HEAD and self._start == 0:
            self._first = bytes(self._buffer[:HEAD])
        return bool(out or data)

    def _next_member(self) -> bytes:
        """Start a decoder for the gzip member that follows, and give its first bytes; zero padding is no member."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            raw = self._raw_read()
            if not raw:
                return b""
            rest = raw.lstrip(b"\0")
        self._decoder = zlib.decompressobj(_GZIP)
        return rest

    def _raw_read(self) -> bytes:
        data = os.pread(self.descriptor, CHUNK // 4, self._raw)
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
        self.fault = None


def _first_record(block: bytes, complete: Callable[[bytes], int]) -> int:
    """The length of the first whole record of *block*, which may hold line ends inside quotes; 0 if there is none."""
    end = block.find(b"\n") + 1
    while end and complete(block[:end]) < end:
        end = block.find(b"\n", end) + 1
    return end


def _in_time(path: str, deadline: Deadline) -> None:
    if deadline.passed:
        raise SourceTimeout(f"{path}: the deadline passed while it was read; it goes on with the next poll")
