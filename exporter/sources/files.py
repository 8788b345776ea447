"""The source that reads files: logs that grow, and tables that are written whole.

Unread files are read in the order of their last change, then of their names, so that the older of two rotated
files comes first.  `following` reads one file, `finding` lists them, `tracking` knows which is which.
"""

# Paths stay texts: they stand in the cursor, and thousands of them may be looked at in each poll.
# ruff: noqa: PTH100, PTH111

from __future__ import annotations

import dataclasses
import glob
import logging
import math
import os
from collections import deque
from collections.abc import Iterable
from typing import IO, Annotated, Any, ClassVar

import msgspec
from msgspec.structs import replace

from exporter import plugins
from exporter.config.types import Duration
from exporter.contracts import Clock, Cursor, Deadline, Poll
from exporter.errors import SourceError, SourceTimeout, SourceUnavailable
from exporter.sources.finding import Listing, descends, format_of
from exporter.sources.following import Entry, Step, advance, follow, resembles
from exporter.sources.formatting import FORMATS, Formats
from exporter.sources.gathering import Gathered
from exporter.sources.mapping import Mapper
from exporter.sources.reading import Found, Identity, Moved, Reader, door, open_regular
from exporter.sources.records import Records
from exporter.sources.tracking import Track, Tracker

_log = logging.getLogger(__name__)

_CLOSES_ITSELF = "jsonl"  # of all line formats: half an object is never a whole one
_PATIENCE = 5.0  # seconds without a change after which a last line is taken that is known to be whole
_PLAN_LIFE = 1.0  # seconds for which a backlog is read without looking at the folders again
_TABLE_ROWS = 65_536


class FilesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files by path or glob: JSON Lines and CSV that grow (also gzip'd), Parquet and NumPy that are written whole."""

    path: Annotated[
        str | list[str],
        msgspec.Meta(
            description="Path or glob, or a list of them; `**` stands for any number of folders. A relative one "
            "begins where the exporter was started."
        ),
    ]
    format: Annotated[
        str | None,
        msgspec.Meta(description="`jsonl`, `csv`, `parquet` or `numpy`; by default the file's ending tells."),
    ] = None
    line_bytes: Annotated[
        int, msgspec.Meta(description="Bytes that one record may have; a longer one is refused.", ge=1024)
    ] = 16 << 20
    block_bytes: Annotated[
        int, msgspec.Meta(description="Bytes that one poll reads; a MiB suits most caches.", ge=4096, le=64 << 20)
    ] = 1 << 20
    settle: Annotated[
        Duration,
        msgspec.Meta(
            description="How long a file must be unchanged before it counts as finished: only then a table is read, "
            "and a last CSV line without a line end is taken. With 0s a table is read at once."
        ),
    ] = Duration(0)

    def __post_init__(self) -> None:
        if not self.paths or not all(self.paths):
            raise ValueError("path is empty; name a file or a glob, such as /var/log/predictions-*.jsonl")
        known = plugins.names(FORMATS)
        if self.format is not None and self.format not in known:
            raise ValueError(f"format must be one of {', '.join(known)}")
        for path in self.paths if self.format is None else ():
            if not glob.has_magic(path) and format_of(path) is None:
                raise ValueError(f"the ending of {path} tells no format; set format to one of {', '.join(known)}")

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path


class Files:
    """Reads predictions or labels from files, each row once, however the files are rotated.

    The cursor holds an entry per file.  A line without its end waits.  What one file has wrong never stops the
    others: `failing` tells it by path, and only if nothing else can be read a poll raises.  `truncations` counts
    files that were cut or overwritten in place, and read again from their beginning.

    What cannot be seen: lines that a copying rotation cuts off before they are copied, and a change inside a file
    that is overwritten in place by more bytes with the same beginning and the same last bytes before its old end.
    Whoever writes files anew should write beside them and rename.
    """

    Config: ClassVar[type[msgspec.Struct]] = FilesConfig

    def __init__(
        self, config: FilesConfig, mapper: Mapper, *, name: str, clock: Clock, lookback: float | None = None
    ) -> None:
        """*lookback*: the first poll passes by files last written more than so many seconds before the wall clock.

        With 0 it passes by all that is there.
        """
        self.name = name
        self.failing: dict[str, SourceError] = {}
        self._config = config
        self._mapper = mapper
        self._clock = clock
        self._lookback = lookback
        self._block = min(config.block_bytes, config.line_bytes)
        self._formats = Formats(config.format, mapper.paths)
        self._tracker = Tracker(
            [os.path.abspath(os.path.expanduser(path)) for path in config.paths], self._formats, clock
        )
        self._shelf = self._tracker.shelf
        self._said: set[str] = set()
        self._said_nothing = False
        self._broken: dict[Identity, tuple[Found, SourceError]] = {}
        self._table: tuple[Found, IO[bytes]] | None = None
        self._listing = Listing()
        self._plan: deque[Found] = deque()
        self._plan_ends = -math.inf
        self._cursor: Cursor | None = None
        self._track = Track()
        self._entries: dict[Identity, tuple[Entry, Any]] = {}
        self._gone: tuple[list[Entry], Any] = ([], [])

    @property
    def truncations(self) -> int:
        return self._tracker.truncations

    def poll(self, cursor: Cursor | None, deadline: Deadline) -> Poll:
        """About one block of rows after *cursor*; raises SourceError only if nothing could be read at all."""
        if deadline.passed:
            raise SourceTimeout(f"{self.name}: the deadline had passed before anything was read")
        known = cursor is not None and cursor == self._cursor
        before = self._track if known else Track.of(cursor)
        track = before.copy()
        plan = self._plan
        self._plan = deque()  # so that a poll that raises leaves none behind
        gathered = Gathered(self._formats)
        table = None
        if known and self._clock.monotonic() <= self._plan_ends:
            table = self._gather(track, plan, gathered, deadline)
        if table is None and not gathered.advanced:
            plan = self._look(track, cursor is None, deadline)
            table = self._gather(track, plan, gathered, deadline)
        records = table or gathered.records()
        batch = None if records is None else self._mapper.batch(records)
        if batch is None and not gathered.advanced:
            self._complain()
        self._say()
        if cursor is None or track != before:
            cursor = self._written(track)
        self._cursor, self._track, self._plan = cursor, track, plan
        return Poll(batch, cursor, more=bool(plan) or (gathered.moved and gathered.advanced))

    def close(self) -> None:
        self._drop_table()
        self._tracker.close()

    # --- which files ------------------------------------------------------------------------------

    def _look(self, track: Track, first: bool, deadline: Deadline) -> deque[Found]:
        """Bring *track* up to date and list the files with something unread, the longest unchanged first."""
        if first:
            self._listing = self._tracker.first_look(track, self._cutoff, deadline)
        else:
            self._listing = self._tracker.look(track, deadline)
        self.failing = {
            path: error
            for path, error in self._listing.failing.items()
            if not isinstance(error, SourceUnavailable)
            or path in self._listing.matched
            or not any(descends(entry.path, path) for entry in track.live.values())
        }  # a path that is missing beside its rotated file will be written again
        self._broken = {identity: kept for identity, kept in self._broken.items() if identity in track.live}
        self._plan_ends = self._clock.monotonic() + _PLAN_LIFE
        unread = [
            found for identity, found in self._listing.files.items() if self._unread(track.live[identity], found)
        ]
        return deque(sorted(unread, key=lambda found: (found.modified, found.path)))

    def _cutoff(self, files: Iterable[Found]) -> int:
        if self._lookback == 0:
            return max((found.modified for found in files), default=-1) + 1
        return 0 if self._lookback is None else int((self._clock.wall() - self._lookback) * 1e9)

    def _unread(self, entry: Entry, found: Found) -> bool:
        if entry.ended and entry.last_saw(found):
            return entry.rest and self._age(found) >= self._patience(entry)
        return True

    def _age(self, found: Found) -> float:
        return self._clock.wall() - found.modified / 1e9

    def _patience(self, entry: Entry) -> float:
        """Seconds without a change after which a last line without its end is whole."""
        if self._config.settle:
            return self._config.settle
        closes_itself = entry.path.endswith(".gz") or entry.format == _CLOSES_ITSELF
        return _PATIENCE if closes_itself else math.inf

    # --- reading ----------------------------------------------------------------------------------

    def _gather(self, track: Track, plan: deque[Found], gathered: Gathered, deadline: Deadline) -> Records | None:
        """Fill *gathered* from the first files of *plan*, and take from it what is read to its end.

        A table gives its records at once, and never together with lines.
        """
        while plan and gathered.size <= self._block // 2 and not (gathered.advanced and deadline.passed):
            found = plan[0]
            try:
                if not self._formats.whole(track.live[found.identity].format):
                    if not self._read_lines(track, plan, gathered, deadline):
                        break
                elif gathered.advanced or (records := self._read_table(track, plan)):
                    return None if gathered.advanced else records
            except Moved:
                gathered.moved = True
                plan.clear()
            except SourceTimeout:
                if not gathered.advanced:
                    raise
                break
            except (OSError, SourceError) as error:
                self._fail(found, error)
                plan.popleft()
        return None

    def _read_lines(self, track: Track, plan: deque[Found], gathered: Gathered, deadline: Deadline) -> bool:
        """Gather from the first file of *plan*; False if its records cannot stand behind those gathered."""
        found = plan[0]
        if self._still_broken(found):
            plan.popleft()
            return True
        reader = self._shelf.open(found)
        now = Found.of(found.path, os.fstat(reader.descriptor))
        entry = track.live[found.identity]
        if now != found:
            reader.refresh()
            if not resembles(entry, reader, deadline):
                raise Moved
        step = self._step(replace(entry, size=now.size, modified=now.modified), reader, gathered, deadline)
        if step is None:
            return False
        if step.rest and self._age(now) >= self._patience(entry):
            step = self._finish(step, reader, deadline)
        if step.too_long:
            detail = f"longer than line_bytes ({self._config.line_bytes})"
            gathered.refused.add("line_too_long", f"{found.path}, byte {step.offset}", detail)
        if step.block:
            gathered.add(found.path, step, reader.header)
        gathered.advanced |= step.too_long or step.entry.offset > entry.offset
        track.live[found.identity] = step.entry
        if step.entry.ended:
            plan.popleft()
        return True

    def _step(self, entry: Entry, reader: Reader, gathered: Gathered, deadline: Deadline) -> Step | None:
        """Read on from *entry*; None if its records have another format or header than those gathered."""
        limit = self._config.line_bytes
        lines = self._formats.lines(entry.format)
        if not reader.begin(lines.complete if lines.has_header else None, limit, deadline):
            if reader.fault:
                raise reader.fault
            return Step(replace(entry, ended=True))
        if not gathered.fits(entry.format, reader.header):
            return None
        lines = self._formats.lines(entry.format, reader.header)
        return follow(entry, reader, lines.complete, want=self._block - gathered.size, limit=limit, deadline=deadline)

    def _finish(self, step: Step, reader: Reader, deadline: Deadline) -> Step:
        """Take a last line without its end; if that is only supposed to be whole, it must prove so."""
        line = step.rest + b"\n"
        if not self._config.settle:
            records = self._formats.lines(step.entry.format, reader.header).decode(line, str, reader.header)
            whole = reader.closed or step.entry.format == _CLOSES_ITSELF
            if not whole or records.count != 1 or records.refused.counts:
                return dataclasses.replace(step, entry=replace(step.entry, rest=False))
        entry = replace(advance(step.entry, reader, step.rest, deadline), rest=False)
        return dataclasses.replace(step, entry=entry, block=bytes(step.block) + line)

    def _read_table(self, track: Track, plan: deque[Found]) -> Records | None:
        """The next records of the first file of *plan*; None if it has none, or is still being written."""
        found = plan[0]
        entry = track.live[found.identity]
        records: Records | None = None
        more = False
        if not self._config.settle or self._age(found) >= self._config.settle:
            file = self._open_table(found)
            try:
                records, more = self._formats.table(entry.format).read(file, found.path, entry.offset, _TABLE_ROWS)
                if Found.of(found.path, os.fstat(file.fileno())) != found:
                    records, more = None, False  # overwritten meanwhile: read again when it is looked at again
            finally:
                if not more:
                    self._drop_table()
        if records is not None:
            count = records.count + records.refused.counts.total()
            track.live[found.identity] = replace(entry, offset=entry.offset + count, ended=not more)
        if not more:
            plan.popleft()
        return records if records and (records.count or records.refused.counts) else None

    def _open_table(self, found: Found) -> IO[bytes]:
        if self._table is None or self._table[0] != found:
            self._drop_table()
            self._table = found, os.fdopen(open_regular(found), "rb")
        return self._table[1]

    def _drop_table(self) -> None:
        if self._table:
            self._table[1].close()
            self._table = None

    # --- what goes wrong --------------------------------------------------------------------------

    def _fail(self, found: Found, error: OSError | SourceError) -> None:
        if isinstance(error, OSError):
            self.failing[found.path] = door(error, found.path)
        else:
            self.failing[found.path] = error
            self._broken[found.identity] = found, error

    def _still_broken(self, found: Found) -> bool:
        """Whether *found* is unreadable as it was the last time; a broken .gz is not decompressed at every poll."""
        broken, error = self._broken.get(found.identity, (None, None))
        if error is None or broken != found:
            return False
        self.failing[found.path] = error
        return True

    def _say(self) -> None:
        """Log each failure when it begins and when it ends, and once that there is nothing at all."""
        if not (self._listing.matched or self.failing or self._said_nothing):
            _log.info("no file matches %s yet", ", ".join(self._config.paths), extra={"source": self.name})
        self._said_nothing = not self._listing.matched
        for path in self.failing.keys() - self._said:
            _log.warning("not read: %s", self.failing[path], extra={"source": self.name})
        for path in self._said - self.failing.keys():
            _log.info("read again, or gone: %s", path, extra={"source": self.name})
        self._said = set(self.failing)

    def _complain(self) -> None:
        """Raise what is wrong unless another matched file is well."""
        wrong = list(self.failing.values())
        if not wrong or self._listing.matched - self.failing.keys():
            return
        raise type(wrong[0])(f"{wrong[0]} (and {len(wrong) - 1} more)") if len(wrong) > 1 else wrong[0]

    # --- the cursor -------------------------------------------------------------------------------

    def _written(self, track: Track) -> Cursor:
        """The cursor of *track*; what was written of unchanged entries is used again."""
        kept = self._entries
        self._entries = {
            identity: kept[identity]
            if identity in kept and kept[identity][0] is entry
            else (entry, msgspec.to_builtins(entry))
            for identity, entry in track.live.items()
        }
        if self._gone[0] is not track.gone:
            self._gone = track.gone, msgspec.to_builtins(track.gone)
        files = [written for _, written in self._entries.values()]
        return {"files": files, "gone": self._gone[1], "ignored_before": track.ignored_before}
