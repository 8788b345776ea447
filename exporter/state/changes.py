"""Label changes on their way into remembered rows: an append-only file that names them until the rows hold them.

A frame is the lengths of a table's name and of its changes, then both.  The database says how much of which file
counts; what lies beyond was never committed, and is written over.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from exporter.errors import StateError

_FRAME = struct.Struct("<IQ")


class Changes:
    """The file `changes-<number>` in *folder* and the `length` of it that counts; None keeps nothing."""

    def __init__(self, folder: Path | None, meta: bytes | None = None) -> None:
        self.folder = folder
        self.number, self.length = msgspec.msgpack.decode(meta, type=tuple[int, int]) if meta else (0, 0)
        self._end = self.length
        self._handle: int | None = None

    @property
    def meta(self) -> bytes:
        """What a commit must hold for the changes appended so far to count."""
        return msgspec.msgpack.encode((self.number, self._end))

    def append(self, changes: Iterable[tuple[str, bytes]]) -> None:
        """Write *changes* (table, bytes of its label changes) behind those that count, durably.  Raises OSError."""
        self._end = self.length
        frames = [part for name, change in changes if change for part in _framed(name, change)]
        path = self._path(self.number)
        if not frames or path is None:
            return
        if self._handle is None:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _settle(path.parent)
        content = memoryview(b"".join(frames))
        at = self.length
        while content:
            written = os.pwrite(self._handle, content, at)
            content, at = content[written:], at + written
        os.fdatasync(self._handle)
        self._end = at

    def committed(self) -> None:
        """What was appended counts from now on."""
        self.length = self._end

    def read(self) -> Iterator[tuple[str, bytes]]:
        """All changes that count, in their order, by table.  Raises StateError if the file is damaged."""
        path = self._path(self.number)
        if not self.length or path is None:
            return
        content = path.read_bytes()[: self.length] if path.is_file() else b""
        at = 0
        while at < self.length:
            if len(content) < self.length or self.length - at < _FRAME.size:
                raise StateError(f"{path} is missing, damaged or too short")
            name_size, size = _FRAME.unpack_from(content, at)
            name, body = at + _FRAME.size, at + _FRAME.size + name_size
            at = body + size
            if at > self.length:
                raise StateError(f"{path} is damaged")
            yield content[name:body].decode(), content[body:at]

    def begin(self) -> Path | None:
        """Begin a new file; returns the old one, to be removed once the change is committed."""
        self.close()
        old = self._path(self.number)
        self.number, self.length, self._end = self.number + 1, 0, 0
        return old

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def sweep(self) -> None:
        """Remove files that no commit names any more."""
        for path in self.folder.glob("changes-*") if self.folder else ():
            if path != self._path(self.number):
                path.unlink()

    def _path(self, number: int) -> Path | None:
        return self.folder / f"changes-{number}" if self.folder else None


def _framed(name: str, change: bytes) -> tuple[bytes, bytes, bytes]:
    text = name.encode()
    return _FRAME.pack(len(text), len(change)), text, change


def _settle(folder: Path) -> None:
    """Make the names of new files in *folder* durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
