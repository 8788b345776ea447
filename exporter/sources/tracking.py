"""Which file is which: identity across renames, copies, truncation, compression and restarts.

A file is known by device and inode, and these are believed only while its content agrees with what was read.  What
was read and has no file any more is remembered by its content, so that a compressed or restored copy goes on where
the original stopped.
"""

# Paths stay texts: they stand in the cursor, and thousands of them may be looked at in each poll.
# ruff: noqa: PTH120

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from exporter.contracts import Clock, Cursor, Deadline
from exporter.errors import SourceDataError
from exporter.sources.finding import Folders, Listing, descends, find, log_of, same_place
from exporter.sources.following import Entry, at_end, copies, head_of, repeats, resembles
from exporter.sources.formatting import Formats
from exporter.sources.reading import HEAD, Found, GzipReader, Identity, Moved, Reader, door, open_regular

_log = logging.getLogger(__name__)

KEPT_GONE = 1000
_OPEN_FILES = 64
_COPYING = 10.0  # seconds without a change after which a file that is too short for a copy is none
_GRACE = 60.0  # seconds that a file without a name is still followed: its writer may not have reopened yet


class Shelf:
    """Open readers by identity, the least recently used closed first."""

    def __init__(self) -> None:
        self._readers: OrderedDict[Identity, Reader] = OrderedDict()

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._readers

    def get(self, identity: Identity) -> Reader | None:
        return self._readers.get(identity)

    def open(self, found: Found) -> Reader:
        """The reader of *found*; raises Moved if its path belongs to another file by now, else OSError."""
        reader = self._readers.get(found.identity)
        if reader is None:
            kind = GzipReader if found.path.endswith(".gz") else Reader
            reader = self._readers[found.identity] = kind(open_regular(found), found.path)
            if len(self._readers) > _OPEN_FILES:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(found.identity)
        reader.path = found.path
        return reader

    def named(self, identity: Identity) -> None:
        """Note that a file, which may be open, has a name in its folder."""
        reader = self._readers.get(identity)
        if reader:
            reader.lost_at = None

    @property
    def nameless(self) -> list[Identity]:
        return [identity for identity, reader in self._readers.items() if reader.lost_at is not None]

    def drop(self, identity: Identity) -> None:
        reader = self._readers.pop(identity, None)
        if reader:
            reader.close()

    def close(self) -> None:
        for identity in list(self._readers):
            self.drop(identity)


@dataclass(slots=True)
class Track:
    """A cursor, opened up: files by identity, content whose file is gone, and what the first look left out.

    Files older than `ignored_before` (ns) that have no entry were there before the first look, and stay unread.
    """

    live: dict[Identity, Entry] = field(default_factory=dict)
    gone: list[Entry] = field(default_factory=list)
    ignored_before: int = 0

    @classmethod
    def of(cls, cursor: Cursor | None) -> Track:
        """The track behind *cursor*; raises SourceDataError for one that this source did not write."""
        if cursor is None:
            return cls()
        try:
            entries = msgspec.convert(cursor["files"], list[Entry])
            gone = msgspec.convert(cursor["gone"], list[Entry])
            return cls({entry.identity: entry for entry in entries}, gone, int(cursor["ignored_before"]))
        except (KeyError, TypeError, ValueError) as error:
            raise SourceDataError("the cursor is not one of the files source; reset this source's state") from error

    def copy(self) -> Track:
        return Track(dict(self.live), self.gone, self.ignored_before)

    def forget(self, entry: Entry) -> None:
        """Move *entry* from the files to the remembered contents."""
        del self.live[entry.identity]
        if entry.head:
            self.gone = [*self.gone, replace(entry, device=0, inode=0)][-KEPT_GONE:]


class Tracker:
    """Looks at the file system and brings a `Track` up to date with it."""

    def __init__(self, patterns: Sequence[str], formats: Formats, clock: Clock) -> None:
        self.shelf = Shelf()
        self.truncations = 0
        self._patterns = patterns
        self._formats = formats
        self._clock = clock

    def look(self, track: Track, deadline: Deadline) -> Listing:
        """Update *track* in place; the listing holds its files, matched or followed, and the failures."""
        listing = find(self._patterns, deadline)
        folders = Folders()
        candidates = dict(listing.files)
        located: list[tuple[Entry, Found]] = []
        for entry in list(track.live.values()):
            found = listing.files.get(entry.identity) or same_place(entry)
            if found is not None:
                self.shelf.named(entry.identity)
            else:
                candidates |= {other.identity: other for other in folders.generations(entry)}
                found = self._renamed(entry, folders) or self._held(entry)
            if found is not None:
                located.append((entry, found))
            elif folders.readable(os.path.dirname(entry.path)):
                self._lose(track, entry)
        for entry, found in located:
            if entry.ended and entry.last_saw(found) and found.path == entry.path:
                continue
            with _Failures(listing, found):
                if not self._confirm(track, entry, found, deadline):
                    candidates |= {other.identity: other for other in folders.generations(entry)}
                    if found.path == entry.path:
                        candidates[found.identity] = found
                        self.truncations += 1
                        _log.warning("truncated or overwritten, read from its beginning: %s", found.path)
        known = {found.identity: found for _, found in located} | candidates
        self._meet(track, known.values(), listing, deadline)
        listing.keep(known[identity] for identity in track.live if identity in known)
        return listing

    def first_look(self, track: Track, cutoff: Callable[[Iterable[Found]], int], deadline: Deadline) -> Listing:
        """The look of a source without a cursor: what was last written before *cutoff* (ns) counts as read."""
        listing = find(self._patterns, deadline)
        track.ignored_before = cutoff(listing.files.values())
        for found in listing.files.values():
            if found.modified < track.ignored_before and not found.path.endswith(".gz"):
                with _Failures(listing, found):
                    entry = self._new(found)
                    if not self._formats.whole(entry.format):
                        track.live[found.identity] = at_end(entry, self.shelf.open(found), deadline)
        self._meet(track, listing.files.values(), listing, deadline)
        listing.keep(listing.files[identity] for identity in track.live)
        return listing

    def close(self) -> None:
        self.shelf.close()

    def _renamed(self, entry: Entry, folders: Folders) -> Found | None:
        found = folders.renamed(entry)
        if found and (entry.offset or entry.last_saw(found) or descends(found.path, entry.path)):
            return found
        return None  # nothing was read of it, so nothing could show that the inode was not used again

    def _held(self, entry: Entry) -> Found | None:
        """A file that left its folder while it was open: followed until its writer has been silent for a while."""
        reader = self.shelf.get(entry.identity)
        if reader is None:
            return None
        found = Found.of(entry.path, os.fstat(reader.descriptor))
        now = self._clock.monotonic()
        if reader.lost_at is None or not entry.ended or not entry.last_saw(found):
            reader.lost_at = now
        return found if now - reader.lost_at <= _GRACE else None

    def _lose(self, track: Track, entry: Entry) -> None:
        self.shelf.drop(entry.identity)
        track.forget(entry)

    def _confirm(self, track: Track, entry: Entry, found: Found, deadline: Deadline) -> bool:
        """Whether *found* still is what *entry* says; if not, the entry's content is forgotten as a file."""
        if found.path != entry.path:
            entry = track.live[entry.identity] = replace(entry, path=found.path)
        if entry.last_saw(found) and (entry.ended or entry.identity in self.shelf):
            return True
        if self._formats.whole(entry.format):
            if not entry.last_saw(found):
                track.live[entry.identity] = self._new(found)
            return True
        if self._continues(entry, found, deadline):
            if entry.ended and found.size == entry.size:
                track.live[entry.identity] = replace(entry, modified=found.modified)
            return True
        self._lose(track, entry)
        return False

    def _continues(self, entry: Entry, found: Found, deadline: Deadline) -> bool:
        if not entry.offset:
            return True
        reader = self.shelf.open(found)
        reader.refresh()
        if entry.ended and found.size == entry.size:  # touched, or overwritten by as many bytes
            return repeats(entry, reader, deadline)
        return resembles(entry, reader, deadline)

    def _meet(self, track: Track, candidates: Iterable[Found], listing: Listing, deadline: Deadline) -> None:
        """Give every file that is not known yet an entry: a new one, or that of the content it goes on with.

        What an empty file will be shows when it has content; until then it is known by its inode alone.
        """
        candidates = list(candidates)
        unknown = [found for found in candidates if _undecided(track.live.get(found.identity), found)]
        if not unknown:
            return
        logs: dict[str, list[Entry]] = {}
        for entry in track.live.values():
            logs.setdefault(log_of(entry.path), []).append(entry)
        names = {found.path for found in candidates}
        for found in sorted(unknown, key=lambda found: (found.modified, found.path)):
            if found.modified < track.ignored_before or _beside_original(found.path, names):
                listing.unsure.add(found.identity)  # a log that still lies beside its .gz is just being compressed
                continue
            with _Failures(listing, found):
                entry = self._new(found)
                empty = not found.size and not found.path.endswith(".gz")
                if empty or self._formats.whole(entry.format) or not (track.gone or logs):
                    track.live[found.identity] = entry
                elif not self._recognise(track, entry, found, logs, deadline):
                    listing.unsure.add(found.identity)

    def _recognise(
        self, track: Track, new: Entry, found: Found, logs: dict[str, list[Entry]], deadline: Deadline
    ) -> bool:
        """Whether it is clear what *found* is; if so it has an entry: *new*, or that of what it goes on with."""
        reader = self.shelf.open(found)
        reader.refresh()
        if not reader.read(0, 1, deadline):
            if reader.fault:
                raise reader.fault
            return False
        for entry in _alike([*track.gone, *self._orphans(track)], reader, deadline):
            if repeats(entry, reader, deadline):
                if entry.inode:
                    self._lose(track, entry)
                    track.gone = track.gone[:-1]
                else:
                    track.gone = [other for other in track.gone if other is not entry]
                track.live[found.identity] = replace(
                    entry, path=found.path, device=found.device, inode=found.inode, ended=False
                )
                return True
        log = log_of(found.path)
        growing = self._clock.wall() - found.modified / 1e9 < _COPYING
        for original in logs.get(log, []) if log != found.path else ():
            if original.offset and copies(original, reader, growing, deadline):
                return False  # a copy of a file that still lives; it takes over when the original is gone
        track.live[found.identity] = new
        return True

    def _orphans(self, track: Track) -> list[Entry]:
        """What was read to the end of files that are only held open: a copy may take over at once."""
        entries = (track.live.get(identity) for identity in self.shelf.nameless)
        return [entry for entry in entries if entry and entry.head and entry.ended]

    def _new(self, found: Found) -> Entry:
        """An entry at the beginning of *found*; raises SourceDataError if its format is not known."""
        return Entry(
            path=found.path,
            format=self._formats.of(found.path),
            device=found.device,
            inode=found.inode,
            size=found.size,
            modified=found.modified,
        )


class _Failures:
    """Keeps what goes wrong with one file from the others."""

    def __init__(self, listing: Listing, found: Found) -> None:
        self._listing = listing
        self._found = found

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            self._listing.failing[self._found.path] = door(error, self._found.path)
        elif isinstance(error, SourceDataError):
            self._listing.failing[self._found.path] = error
        elif not isinstance(error, Moved):
            return False
        self._listing.unsure.add(self._found.identity)
        return True


def _undecided(entry: Entry | None, found: Found) -> bool:
    """Whether nothing is known of what *found* holds, and there may be something now."""
    return entry is None or not (entry.offset or entry.skipping or entry.last_saw(found) or not found.size)


def _beside_original(path: str, names: set[str]) -> bool:
    return path.endswith(".gz") and path.removesuffix(".gz") in names


def _alike(gone: Sequence[Entry], reader: Reader, deadline: Deadline) -> list[Entry]:
    """Remembered contents that begin as this file does, the longest first."""
    marks = {length: head_of(reader, length, deadline) for length in {min(HEAD, entry.offset) for entry in gone}}
    alike = [entry for entry in gone if marks[min(HEAD, entry.offset)] == entry.head]
    return sorted(alike, key=lambda entry: -entry.offset)
