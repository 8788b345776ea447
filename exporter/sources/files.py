"""The source that reads files: logs that grow, and tables that are written whole.

Unread files are read in the order of their last change, then of their names, so that the older of two rotated
files comes first.  `following` reads one file, `finding` lists them, `tracking` knows which is which.
"""

# Paths stay texts: they stand in the cursor, and thousands of them may be looked at in each poll.
# ruff: noqa: PTH111

from __future__ import annotations

import bisect
import glob
import logging
import math
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO, Annotated, Any, ClassVar, Literal

import msgspec
from msgspec.structs import replace

from exporter import plugins
from exporter.config.types import Duration
from exporter.contracts import Batch, Clock, Cursor, Deadline, Poll, Refusals
from exporter.errors import SourceDataError, SourceError, SourceTimeout, SourceUnavailable
from exporter.sources.finding import Listing, descends, format_of
from exporter.sources.following import Entry, Found, Identity, Moved, Reader, Step, advance, door, follow, open_regular
from exporter.sources.mapping import Mapper
from exporter.sources.records import Records
from exporter.sources.tracking import Track, Tracker

_log = logging.getLogger(__name__)

_FORMATS = "model_exporter.formats"
_PATIENCE = 5.0  # seconds without a change after which a whole JSON object needs no line end
_PLAN_LIFE = 1.0  # seconds for which a backlog is read without looking at the folders again
_TABLE_ROWS = 65_536
_SMALLEST_READ = 1 << 16


class FilesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files by path or glob: JSON Lines and CSV that grow (also gzip'd), Parquet and NumPy that are written whole."""

    path: Annotated[
        str | list[str],
        msgspec.Meta(description="Path or glob, or a list of them; `**` stands for any number of folders."),
    ]
    format: Annotated[
        str | None,
        msgspec.Meta(description="`jsonl`, `csv`, `parquet` or `numpy`; by default the file's ending tells."),
    ] = None
    start: Annotated[
        Literal["beginning", "end"],
        msgspec.Meta(description="Where the very first start begins in the files that are there."),
    ] = "beginning"
    line_bytes: Annotated[
        int, msgspec.Meta(description="Bytes that one record may have; a longer one is refused.", ge=1024)
    ] = 16 << 20
    block_bytes: Annotated[int, msgspec.Meta(description="Bytes that are read at once.", ge=4096, le=64 << 20)] = (
        256 << 10
    )
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
        known = plugins.names(_FORMATS)
        if self.format is not None and self.format not in known:
            raise ValueError(f"format must be one of {', '.join(known)}")
        for path in self.paths if self.format is None else ():
            if not glob.has_magic(path) and format_of(path) is None:
                raise ValueError(f"the ending of {path} tells no format; set format to one of {', '.join(known)}")

    @property
    def paths(self) -> list[str]:
        return [self.path] if isinstance(self.path, str) else self.path


@dataclass(slots=True)
class _Gathered:
    """Whole records of one format and header, from one or more files, in the order they are read.

    `header` is None until the first block; `advanced` says that an offset moved, even if no record came of it, and
    `moved` that a file has been renamed since it was listed.
    """

    format: str = ""
    header: bytes | None = None
    blocks: list[bytes] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    origins: list[tuple[str, int]] = field(default_factory=list)
    size: int = 0
    refused: Refusals = field(default_factory=Refusals)
    advanced: bool = False
    moved: bool = False

    def fits(self, name: str, header: bytes | None) -> bool:
        return self.header is None or (self.format, self.header) == (name, header)

    def add(self, name: str, header: bytes | None, path: str, offset: int, block: bytes) -> None:
        self.format, self.header = name, header
        self.starts.append(self.size)
        self.origins.append((path, offset))
        self.blocks.append(block)
        self.size += len(block)

    def place(self, at: int) -> str:
        piece = bisect.bisect_right(self.starts, at) - 1
        path, offset = self.origins[piece]
        return f"{path}:{offset + at - self.starts[piece]}"


class Files:
    """Reads predictions or labels from files, each row once, however the files are rotated.

    The cursor holds an entry per file.  A line without its end waits.  What one file has wrong never stops the
    others: `failing` tells it by path, and only if nothing else can be read a poll raises.  `truncations` counts
    files that were cut or overwritten in place, and read again from their beginning.
    """

    Config: ClassVar[type[msgspec.Struct]] = FilesConfig

    def __init__(
        self, config: FilesConfig, mapper: Mapper, *, name: str, clock: Clock, lookback: float | None = None
    ) -> None:
        """*lookback*: the first poll passes by files last written more than so many seconds before the wall clock."""
        self.name = name
        self.failing: dict[str, SourceError] = {}
        self._config = config
        self._mapper = mapper
        self._clock = clock
        self._lookback = lookback
        self._block = min(config.block_bytes, config.line_bytes)
        self._tracker = Tracker([os.path.expanduser(path) for path in config.paths], self._whole, clock)
        self._shelf = self._tracker.shelf
        self._formats: dict[str, Any] = {}
        self._said: set[str] = set()
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
        before = self._track if known else _opened(cursor)
        track = Track(dict(before.live), before.gone, before.ignored_before)
        plan = self._plan
        self._plan = deque()  # so that a poll that raises leaves none behind
        gathered = _Gathered()
        table = None
        if known and self._clock.monotonic() <= self._plan_ends:
            table = self._gather(track, plan, gathered, deadline)
        if table is None and not gathered.advanced:
            plan = self._look(track, cursor is None, deadline)
            table = self._gather(track, plan, gathered, deadline)
        batch = self._mapper.batch(table) if table else self._batch(gathered)
        self._say()
        if batch is None and not gathered.advanced:
            self._complain()
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
        if self._config.start == "end":
            return max((found.modified for found in files), default=-1) + 1
        return 0 if self._lookback is None else int((self._clock.wall() - self._lookback) * 1e9)

    def _unread(self, entry: Entry, found: Found) -> bool:
        if entry.ended and found.unchanged(entry):
            return entry.rest and self._age(found) >= self._patience(found.path)
        return True

    def _age(self, found: Found) -> float:
        return self._clock.wall() - found.modified / 1e9

    def _patience(self, path: str) -> float:
        """Seconds without a change after which a last line without its end is whole."""
        if self._config.settle:
            return self._config.settle
        closes_itself = path.endswith(".gz") or self._format_name(path) == "jsonl"
        return _PATIENCE if closes_itself else math.inf

    # --- reading ----------------------------------------------------------------------------------

    def _gather(self, track: Track, plan: deque[Found], gathered: _Gathered, deadline: Deadline) -> Records | None:
        """Fill *gathered* from the first files of *plan*, and take from it what is read to its end.

        A table gives its records at once, and never together with lines.
        """
        while plan and gathered.size < self._block:
            found = plan[0]
            if gathered.advanced and deadline.passed:
                break
            try:
                if self._whole(found.path):
                    if gathered.advanced:
                        break
                    records = self._read_table(track, plan)
                    if records:
                        return records
                elif not self._read_lines(track, plan, gathered, deadline):
                    break
            except Moved:
                gathered.moved = True
                plan.clear()
            except SourceTimeout:
                if not gathered.advanced:
                    raise
                break
            except (OSError, SourceDataError) as error:
                self._fail(found, error)
                plan.popleft()
        return None

    def _read_lines(self, track: Track, plan: deque[Found], gathered: _Gathered, deadline: Deadline) -> bool:
        """Gather from the first file of *plan*; False if its records cannot stand behind those gathered."""
        found = plan[0]
        if self._still_broken(found):
            plan.popleft()
            return True
        name = self._format_name(found.path)
        line_format = self._format(name)
        reader = self._shelf.open(found)
        now = Found.of(found.path, os.fstat(reader.descriptor))
        before = replace(track.live[found.identity], size=now.size, modified=now.modified)
        limit = self._config.line_bytes
        if not reader.begin(line_format.complete if line_format.has_header else None, limit, deadline):
            step = Step(replace(before, ended=True))
        elif gathered.fits(name, reader.header):
            room = min(self._block, max(self._block - gathered.size, _SMALLEST_READ))
            step = follow(before, reader, line_format.complete, room, limit, deadline)
        else:
            return False
        entry = step.entry
        if step.too_long:
            detail = f"longer than line_bytes ({limit})"
            gathered.refused.add("line_too_long", f"{entry.path}:{step.offset}", detail)
        if step.block:
            gathered.add(name, reader.header, entry.path, step.offset, step.block)
        if step.rest and self._age(now) >= self._patience(found.path):
            entry = self._finish(entry, step.rest, name, reader, gathered, deadline)
        gathered.advanced |= step.too_long or entry.offset > before.offset
        track.live[found.identity] = entry
        if entry.ended:
            plan.popleft()
        return True

    def _finish(
        self, entry: Entry, rest: bytes, name: str, reader: Reader, gathered: _Gathered, deadline: Deadline
    ) -> Entry:
        """Take a last line without its end, unless it is only supposed to be whole and cannot be read."""
        block = rest + b"\n"
        if not self._config.settle:
            records = self._format(name).decode(block, gathered.place, reader.header or b"")
            if records.count != 1 or records.refused.counts:
                return replace(entry, rest=False)
        gathered.add(name, reader.header, entry.path, entry.offset, block)
        return replace(advance(entry, reader, rest, deadline), rest=False)

    def _read_table(self, track: Track, plan: deque[Found]) -> Records | None:
        """The next records of the first file of *plan*; None if it has none, or is still being written."""
        found = plan[0]
        entry = track.live[found.identity]
        table_format = self._format(self._format_name(found.path))
        records: Records | None = None
        more = False
        if not self._config.settle or self._age(found) >= self._config.settle:
            file = self._open_table(found)
            try:
                records, more = table_format.read(file, found.path, entry.offset, _TABLE_ROWS)
                if not found.unchanged(_entry_of(found, os.fstat(file.fileno()))):
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

    # --- formats ----------------------------------------------------------------------------------

    def _format_name(self, path: str) -> str:
        name = self._config.format or format_of(path)
        if name is None:
            raise SourceDataError(f"{path}: the ending tells no format; set format, or narrow the glob")
        return name

    def _format(self, name: str) -> Any:
        if name not in self._formats:
            self._formats[name] = plugins.load(_FORMATS, name)(self._mapper.paths)
        return self._formats[name]

    def _whole(self, path: str) -> bool:
        """Whether *path* is a table, read whole, and not lines that grow."""
        if hasattr(self._format(self._format_name(path)), "complete"):
            return False
        if path.endswith(".gz"):
            raise SourceDataError(f"{path}: a gzip'd table is not read; unpack it")
        return True

    def _batch(self, gathered: _Gathered) -> Batch | None:
        if gathered.blocks:
            block = gathered.blocks[0] if len(gathered.blocks) == 1 else b"".join(gathered.blocks)
            records = self._format(gathered.format).decode(block, gathered.place, gathered.header or b"")
        elif gathered.refused.counts:
            records = Records({path: [] for path in self._mapper.paths}, 0, gathered.place)
        else:
            return None
        records.refused.extend(gathered.refused)
        return self._mapper.batch(records)

    # --- what goes wrong --------------------------------------------------------------------------

    def _fail(self, found: Found, error: OSError | SourceDataError) -> None:
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
        """Log each failure when it begins and when it ends."""
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
            identity: kept[identity] if identity in kept and kept[identity][0] is entry else (entry, _plain(entry))
            for identity, entry in track.live.items()
        }
        if self._gone[0] is not track.gone:
            self._gone = track.gone, _plain(track.gone)
        files = [written for _, written in self._entries.values()]
        return {"files": files, "gone": self._gone[1], "ignored_before": track.ignored_before}


_plain = msgspec.to_builtins


def _entry_of(found: Found, status: os.stat_result) -> Entry:
    return Entry(path=found.path, size=status.st_size, modified=status.st_mtime_ns)


def _opened(cursor: Cursor | None) -> Track:
    """The track behind *cursor*; raises SourceDataError for one that this source did not write."""
    if cursor is None:
        return Track()
    try:
        entries = msgspec.convert(cursor["files"], list[Entry])
        gone = msgspec.convert(cursor["gone"], list[Entry])
        return Track({entry.identity: entry for entry in entries}, gone, int(cursor["ignored_before"]))
    except (KeyError, msgspec.ValidationError) as error:
        raise SourceDataError("the cursor was not written by the files source; reset this source's state") from error
