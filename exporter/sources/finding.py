"""Which files there are: globs, folders, rotated siblings by name, formats by ending."""

# Paths stay texts: they stand in the cursor, and thousands of them may be looked at in each poll.
# ruff: noqa: PTH114, PTH116, PTH118, PTH119, PTH120, PTH122, PTH207

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from exporter.contracts import Deadline
from exporter.errors import SourceError, SourceTimeout, SourceUnavailable
from exporter.sources.following import Entry
from exporter.sources.reading import Found, Identity, door

FORMAT_OF_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".log": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".npy": "numpy",
    ".npz": "numpy",
}
# What rotation adds behind a name: .1, -20261122, .2026-11-22_04-32, .old, and .gz once it is compressed.
_ROTATED = re.compile(r"(?:[._-](?:\d[\d._:T-]*|old))?(?:\.gz)?")
_TRAILING = re.compile(r"(?:[._-](?:\d[\d._:T-]*|old))?(?:\.gz)?$")


def format_of(path: str) -> str | None:
    """The format that the ending of *path* tells, also behind what rotation adds; None for an unknown ending."""
    for candidate in (path.removesuffix(".gz"), _TRAILING.sub("", path, count=1)):
        known = FORMAT_OF_ENDING.get(os.path.splitext(candidate)[1].lower())
        if known:
            return known
    return None


def descends(path: str, original: str) -> bool:
    """Whether *path* is named as a rotated or compressed generation of *original*: `x.log.1.gz` of `x.log`."""
    rest = path.removeprefix(original)
    return bool(rest) and len(rest) < len(path) and _ROTATED.fullmatch(rest) is not None


def log_of(path: str) -> str:
    """The path that a log had before it was rotated: `x.log` of `x.log.1.gz`, but `part-1` of `part-1`."""
    base = _TRAILING.sub("", path, count=1)
    return base if os.path.splitext(base)[1].lower() in FORMAT_OF_ENDING else path


@dataclass(slots=True)
class Listing:
    """What was found: files by identity, and by path or pattern why others could not be looked at.

    `matched` are the paths that the patterns name; `unsure` are files whose content could not be compared.
    """

    files: dict[Identity, Found] = field(default_factory=dict)
    failing: dict[str, SourceError] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)
    unsure: set[Identity] = field(default_factory=set)

    def add(self, found: Found) -> None:
        self.files.setdefault(found.identity, found)
        self.matched.add(found.path)

    def keep(self, files: Iterable[Found]) -> None:
        """Only *files* are to be read, less those whose content could not be compared."""
        self.files = {found.identity: found for found in files if found.identity not in self.unsure}


def find(patterns: Sequence[str], deadline: Deadline) -> Listing:
    """All regular files that *patterns* (absolute) name, each once.

    FIFOs, sockets, devices and folders that a glob matches are passed by.  A plain path that is missing or no
    regular file is a failure; a glob without a match is none.
    """
    listing = Listing()
    for pattern in patterns:
        if not glob.has_magic(pattern):
            try:
                listing.add(_look(pattern))
            except OSError as error:
                listing.failing[pattern] = door(error, pattern)
            except SourceError as error:
                listing.failing[pattern] = error
            continue
        for folder in _folders(pattern):
            if deadline.passed:
                raise SourceTimeout(f"{pattern}: the deadline passed while folders were listed")
            try:
                _match(folder, os.path.basename(pattern), listing)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                listing.failing[folder] = door(error, folder)
    return listing


def _look(path: str) -> Found:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise SourceUnavailable(f"{path}: is not a regular file; name a file, or a glob such as {path}/*.jsonl")
    return Found.of(os.path.realpath(path) if os.path.islink(path) else path, status)


def _folders(pattern: str) -> Iterator[str]:
    folder = os.path.dirname(pattern)
    if os.path.basename(pattern) == "**":
        folder = pattern
    if not glob.has_magic(folder):
        yield folder
    else:
        yield from (found.rstrip("/") or "/" for found in sorted(glob.iglob(folder + "/", recursive=True)))


def _match(folder: str, name_pattern: str, listing: Listing) -> None:
    name_pattern = "*" if name_pattern == "**" else name_pattern
    match = re.compile(fnmatch.translate(name_pattern)).match
    prefix = folder.rstrip("/") + "/"
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not match(name) or (name.startswith(".") and not name_pattern.startswith(".")):
                continue
            path = prefix + name
            try:
                if not entry.is_file():
                    continue
                path.encode()
                listing.add(Found.of(os.path.realpath(path) if entry.is_symlink() else path, entry.stat()))
            except FileNotFoundError:
                continue  # gone since the folder was read
            except UnicodeEncodeError:
                listing.failing[ascii(path)] = SourceUnavailable(f"{path!a}: the name is not UTF-8; rename the file")
            except OSError as error:
                listing.failing[path] = door(error, path)


class Folders:
    """Names and inodes of folders, each read at most once per look."""

    def __init__(self) -> None:
        self._inodes: dict[str, dict[int, str] | None] = {}

    def readable(self, folder: str) -> bool:
        """Whether the folder could be read, so that a name not in it is truly gone; a missing one holds nothing."""
        return self._read(folder) is not None

    def renamed(self, entry: Entry) -> Found | None:
        """The file of *entry* under whatever name it has in its folder now."""
        folder = os.path.dirname(entry.path)
        name = (self._read(folder) or {}).get(entry.inode)
        found = _stat(os.path.join(folder, name)) if name else None
        return found if found and found.identity == entry.identity else None

    def generations(self, entry: Entry) -> Iterator[Found]:
        """Files named as generations of the same log as the entry's, and not older than its last look."""
        folder = os.path.dirname(entry.path)
        base = log_of(entry.path)
        for name in (self._read(folder) or {}).values():
            path = os.path.join(folder, name)
            found = _stat(path) if descends(path, base) else None
            if found and found.modified >= entry.modified:
                yield found

    def _read(self, folder: str) -> dict[int, str] | None:
        if folder not in self._inodes:
            try:
                with os.scandir(folder) as entries:
                    self._inodes[folder] = {
                        entry.inode(): entry.name for entry in entries if entry.is_file(follow_symlinks=False)
                    }
            except (FileNotFoundError, NotADirectoryError):
                self._inodes[folder] = {}
            except OSError:
                self._inodes[folder] = None
        return self._inodes[folder]


def same_place(entry: Entry) -> Found | None:
    """The file of *entry* if it still has its last name."""
    found = _stat(entry.path)
    return found if found and found.identity == entry.identity else None


def _stat(path: str) -> Found | None:
    try:
        path.encode()
        status = os.stat(path)
    except (OSError, UnicodeEncodeError):
        return None
    return Found.of(path, status) if stat.S_ISREG(status.st_mode) else None
