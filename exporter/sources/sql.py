"""Reads a growing table of any SQL database, page by page: no tie lost, no late commit lost, nothing twice.

Rows are read in the order of a cursor column and a tie-break.  Each time the end is reached, the next poll starts
again a little before it (`look_back`) and passes over rows that it delivered already (see `overlap`).  A row whose
cursor moved, or whose values changed inside the look-back, is delivered again with what it holds now.

What no cursor can see: rows whose cursor is NULL (logged once), deleted rows, and rows committed later than the
look-back.  Rows whose cursor lies in the future by more than the look-back wait until their time has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Cursor, Deadline, Poll, Refusals
from exporter.errors import SourceDataError, SourceTimeout
from exporter.sources.mapping import Mapper
from exporter.sources.overlap import Overlap, Reach
from exporter.sources.records import Column, Records
from exporter.sources.tables import Page, Reader, Wanted, pick, walk

_LOG = logging.getLogger(__name__)
_LARGEST_TIE = 1_000_000
_FAST = {"postgresql", "postgres", "postgresql+psycopg"}


class Sql:
    """A Source of one table or query; see the module for its promises.

    The cursor holds the position, and the digests of at most `overlap.LARGEST` rows of the look-back.
    """

    class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Where the rows are, and how new ones are known."""

        url: Annotated[
            Secret, Meta(description="Database URL of SQLAlchemy, such as postgresql://user:password@host/name.")
        ]
        table: Annotated[str | None, Meta(description="Table or view to read, schema.table if need be.")] = None
        query: Annotated[str | None, Meta(description="SELECT to read instead of a table; it becomes a subquery.")] = (
            None
        )
        cursor: Annotated[
            str,
            Meta(description="Column that grows when a row is added or changed: a time or a number. Index it."),
        ]
        id: Annotated[
            str | None,
            Meta(description="Column that orders rows of one cursor value. Default: the column mapped as id."),
        ] = None
        look_back: Annotated[
            Duration,
            Meta(description="How long before the newest row each poll starts again, for transactions that commit "
                 "late; for a cursor that is a time.", extra={"ge": 0}),
        ] = Duration(300)  # fmt: skip
        look_back_rows: Annotated[
            int, Meta(ge=0, le=100_000, description="The same as a number of rows, for any other cursor.")
        ] = 1_000
        page: Annotated[int, Meta(ge=1, le=100_000, description="Rows that one statement reads.")] = 10_000

        def __post_init__(self) -> None:
            if (self.table is None) == (self.query is None):
                raise ValueError("needs either a table or a query")
            if "://" not in self.url.reveal():
                raise ValueError("url must be a database URL, such as postgresql://user:password@host/name")

    def __init__(
        self, config: Config, mapper: Mapper, *, name: str, clock: Clock, lookback: float | None = None
    ) -> None:
        """*lookback* limits a first start to rows of the last so many seconds, where the cursor is a time.

        With 0 it begins behind the last row, whatever the cursor is.
        """
        self._config = config
        self._mapper = mapper
        self._name = name
        self._clock = clock
        self._lookback = lookback
        mapped = mapper.spec.fields.get("id")
        own_column = mapped is not None and mapped.field is not None and "." not in mapped.field
        tie_break = config.id or (mapped.field if mapped and own_column else None)
        self._wanted = Wanted(
            config.table, config.query, config.cursor, tie_break, tuple(mapper.paths), mapper.spec.timezone
        )
        self._reach = Reach(float(config.look_back), config.look_back_rows)
        self._reader = _reader(config.url, self._wanted)
        self._told = False
        self._checked = False

    def poll(self, cursor: Cursor | None, deadline: Deadline) -> Poll:
        """The next page of rows; raises a SourceError, and reconnects at the next poll."""
        first = None if self._lookback is None else self._clock.wall() - self._lookback
        paths = self._reader.resolve(_left(deadline))
        if cursor is not None:
            sweep = Overlap.of(cursor)
        else:
            sweep = Overlap(first=first, after=self._reader.last(_left(deadline)) if self._lookback == 0 else None)
        page, more = self._page(sweep, deadline)
        batch = None
        if page.count:
            new, sweep = self._sieve(page, sweep, deadline)
            if new.count:
                batch = self._mapper.batch(_records(new, paths, self._place(new)))
        if not more:
            sweep = sweep.restart()
            self._check(deadline)
        return Poll(batch, sweep.cursor(), more)

    def close(self) -> None:
        self._reader.close()

    def _until(self) -> float:
        """The latest time that is read; a wrong clock's row must not make all later ones look old."""
        return self._clock.wall() + self._reach.seconds

    def _page(self, sweep: Overlap, deadline: Deadline) -> tuple[Page, bool]:
        """Rows behind *sweep* that end at no tie, and whether there are more."""
        limit = self._config.page
        until = self._until()
        while True:
            page = self._reader.page(sweep.after, sweep.first, until, limit + 1, _left(deadline))
            if page.count <= limit:
                return page, False
            if whole := page.whole_ties():
                return page.take(slice(whole)), True
            limit *= 8
            if limit > _LARGEST_TIE:
                keys = " and ".join(self._wanted.keys)
                raise SourceDataError(
                    f"{self._wanted.label}: more than {limit // 8} rows share one {keys}; set id to a unique column"
                )

    def _sieve(self, page: Page, sweep: Overlap, deadline: Deadline) -> tuple[Page, Overlap]:
        """The rows of *page* that were not delivered before, and the sweep behind it."""
        if page.times is not None and sweep.anchor is None:
            sweep = replace(sweep, anchor=self._reader.newest(self._until(), _left(deadline)))
        first = self._reach.first(page, sweep.anchor)
        if not sweep.seen:
            return page, self._warned(sweep.advance(page.digests(first), page, self._reach))
        digests = page.digests()
        unseen = sweep.unseen(digests)
        new = page if unseen.all() else page.take(unseen.nonzero()[0].tolist())
        return new, self._warned(sweep.advance(digests[first:], page, self._reach))

    def _place(self, page: Page) -> Callable[[int], str]:
        def place(row: int) -> str:
            keys = zip(self._wanted.keys, page.position(row), strict=True)
            return f"{self._wanted.label}, " + ", ".join(f"{key}={_short(value)}" for key, value in keys)

        return place

    def _warned(self, sweep: Overlap) -> Overlap:
        if sweep.shrunk and not self._told:
            self._told = True
            _LOG.warning(
                "source %s: the look-back holds more rows than can be remembered and was shortened; "
                "set a smaller look_back",
                self._name,
            )
        return sweep

    def _check(self, deadline: Deadline) -> None:
        """Says once which rows are never delivered; a table without an index may be too slow to be asked."""
        if self._checked or deadline.passed:
            return
        self._checked = True
        try:
            overlooked = self._reader.overlooked(self._until(), min(1.0, _left(deadline)))
        except SourceTimeout:
            return
        for words in overlooked:
            _LOG.warning("source %s: rows of %s whose %s are not read", self._name, self._wanted.label, words)


def _reader(url: Secret, wanted: Wanted) -> Reader:
    if url.reveal().partition("://")[0].lower() in _FAST:
        from exporter.sources.postgresql import PostgreSQL  # noqa: PLC0415 - psycopg only for who uses it

        return PostgreSQL(wanted, url)
    from exporter.sources.databases import Database  # noqa: PLC0415 - SQLAlchemy likewise

    return Database(wanted, url)


def _left(deadline: Deadline) -> float:
    seconds = deadline.remaining()
    if not seconds:
        raise SourceTimeout("the time of this poll is over")
    return seconds


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _records(page: Page, paths: dict[str, tuple[str, tuple[str, ...]]], place: Callable[[int], str]) -> Records:
    """*page* as one column a path; rows with a JSON column that is no JSON are refused."""
    decoded: dict[str, list[Any]] = {}
    bad: set[int] = set()
    for column, way in paths.values():
        if column not in decoded and (way or column in page.json):
            decoded[column], faults = _decoded(page.columns[column])
            bad.update(faults)
    columns: dict[str, Column] = {
        path: [walk(value, way) for value in decoded[column]] if column in decoded else page.columns[column]
        for path, (column, way) in paths.items()
    }
    if not bad:
        return Records(columns, page.count, place)
    refused = Refusals()
    for row in sorted(bad):
        refused.add("bad_json", place(row))
    kept = [row for row in range(page.count) if row not in bad]
    columns = {path: pick(column, kept) for path, column in columns.items()}
    return Records(columns, len(kept), lambda row: place(kept[row]), refused)


def _decoded(values: Column) -> tuple[list[Any], list[int]]:
    """JSON texts as what they hold, and the rows that are no JSON; what a driver decoded stays."""
    decode = msgspec.json.Decoder().decode
    decoded: list[Any] = []
    bad: list[int] = []
    for row, value in enumerate(values):
        try:
            decoded.append(decode(value) if isinstance(value, str | bytes) else value)
        except (msgspec.DecodeError, UnicodeError):
            decoded.append(None)
            bad.append(row)
    return decoded, bad
