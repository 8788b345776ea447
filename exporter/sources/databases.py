"""Reads tables of any database that SQLAlchemy knows, with portable SQL; PostgreSQL has a faster way of its own."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from exporter.config.types import Secret
from exporter.errors import SourceDataError, SourceDenied, SourceError, SourceTimeout, SourceUnavailable
from exporter.sources.overlap import Position
from exporter.sources.records import Column, Instants, Texts
from exporter.sources.tables import Page, Scrubber, Wanted, did_you_mean, listing

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.sql.selectable import FromClause

    Element: TypeAlias = sqlalchemy.ColumnElement[Any]

_DENIED = re.compile(r"denied|password|authenti|permission|not authorized|login failed|privilege", re.IGNORECASE)
_LATE = re.compile(r"interrupt|time.?out|timed out|locked|busy|max_\w+_time|execution time", re.IGNORECASE)
_NO_TABLE = re.compile(
    r"no such table|unknown table|table .*(does not|doesn't) exist|invalid object name", re.IGNORECASE
)
_PLAIN = {str, int, float, bool, type(None)}
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?")
_CHECK_EVERY = 10_000
"""Steps of SQLite's virtual machine between two looks at the time."""


class Database:
    """A Reader of one table or query through SQLAlchemy; reconnects after any error."""

    def __init__(self, wanted: Wanted, url: Secret) -> None:
        self._wanted = wanted
        self._url = url
        self._scrub = Scrubber(url.reveal())
        self._connection: sqlalchemy.Connection | None = None
        self._known: list[str] = []
        self._sample: Any = None

    def page(self, after: Position | None, first: float | None, until: float, limit: int, seconds: float) -> Page:
        import sqlalchemy  # noqa: PLC0415 - only who reads a database pays for it

        with self._connected(seconds) as connection:
            paths = self._wanted.resolve(self._known)
            names = list(dict.fromkeys([*self._wanted.keys, *(column for column, _ in paths.values())]))
            columns: dict[str, Element] = {name: sqlalchemy.column(name) for name in names}
            keys = [columns[name] for name in self._wanted.keys]
            conditions: list[Element] = [keys[0].is_not(None)]
            if after is not None:
                conditions.append(_behind(keys, [_decode(value) for value in after]))
            if self._is_time(connection):
                if after is None and first is not None:
                    conditions.append(keys[0] >= self._alike(first))
                conditions.append(keys[0] <= self._alike(until))
            query = (
                sqlalchemy.select(*columns.values())
                .select_from(self._source())
                .where(*conditions)
                .order_by(*keys)
                .limit(limit)
            )
            found = list(zip(*connection.execute(query).fetchall(), strict=True)) or [()] * len(names)
        values = dict(zip(names, map(list, found), strict=True))
        times = _seconds(values[self._wanted.cursor]) if self._sample else None
        shown = {column: _shown(values[column]) for column, _ in paths.values()}
        return Page(
            shown, frozenset(), self._wanted.keys, tuple(values[name] for name in self._wanted.keys), _encode, times
        )

    def last(self, seconds: float) -> Position | None:
        import sqlalchemy  # noqa: PLC0415

        with self._connected(seconds) as connection:
            if self._is_time(connection):
                return None
            keys: list[Element] = [sqlalchemy.column(name) for name in self._wanted.keys]
            query = sqlalchemy.select(*keys).select_from(self._source()).where(*(key.is_not(None) for key in keys))
            row = connection.execute(query.order_by(*(key.desc() for key in keys)).limit(1)).fetchone()
        return None if row is None else [_encode(value) for value in row]

    def newest(self, until: float, seconds: float) -> float | None:
        import sqlalchemy  # noqa: PLC0415

        with self._connected(seconds) as connection:
            if not self._is_time(connection):
                return None
            cursor: Element = sqlalchemy.column(self._wanted.cursor)
            query = sqlalchemy.select(sqlalchemy.func.max(cursor)).select_from(self._source())
            times = _seconds([connection.execute(query.where(cursor <= self._alike(until))).scalar()])
        return times[0] if times else None

    def overlooked(self, until: float, seconds: float) -> list[str]:
        import sqlalchemy  # noqa: PLC0415

        with self._connected(seconds) as connection:
            cursor: Element = sqlalchemy.column(self._wanted.cursor)
            checks: dict[str, Element] = {f"{self._wanted.cursor} is null": cursor.is_(None)}
            if self._is_time(connection):
                checks[f"{self._wanted.cursor} lies in the future"] = cursor > self._alike(until)
            return [
                words
                for words, condition in checks.items()
                if connection.execute(
                    sqlalchemy.select(cursor).select_from(self._source()).where(condition).limit(1)
                ).first()
            ]

    def resolve(self, seconds: float) -> dict[str, tuple[str, tuple[str, ...]]]:
        with self._connected(seconds):
            return self._wanted.resolve(self._known)

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):  # a connection that is already gone may say so
                self._connection.close()
            self._connection = None
        self._known, self._sample = [], None

    def _source(self) -> FromClause:
        import sqlalchemy  # noqa: PLC0415

        if self._wanted.table is not None:
            schema, _, name = self._wanted.table.rpartition(".")
            return sqlalchemy.table(name, schema=schema or None)
        query = (self._wanted.query or "").strip().rstrip(";").replace(":", r"\:")
        return sqlalchemy.text(query).columns().subquery("source")

    # --- times -------------------------------------------------------------------------------------

    def _is_time(self, connection: sqlalchemy.Connection) -> bool:
        """Whether the cursor is a time; remembers one of its values, to write others like it."""
        import sqlalchemy  # noqa: PLC0415

        if self._sample is None:
            newest: Element = sqlalchemy.func.max(sqlalchemy.column(self._wanted.cursor))
            value = connection.execute(sqlalchemy.select(newest).select_from(self._source())).scalar()
            if value is not None:
                self._sample = value if _seconds([value]) else False
        return bool(self._sample)

    def _alike(self, seconds: float) -> Any:
        """The moment *seconds* in the form of the cursor's values."""
        sample = datetime.fromisoformat(self._sample) if isinstance(self._sample, str) else self._sample
        zone = sample.tzinfo if isinstance(sample, datetime) else None
        moment = datetime.fromtimestamp(seconds, zone or ZoneInfo(self._wanted.zone))
        if zone is None:
            moment = moment.replace(tzinfo=None)
        if not isinstance(sample, datetime):
            return moment.date()
        if not isinstance(self._sample, str):
            return moment
        if len(self._sample) == 10:
            return moment.date().isoformat()
        text = moment.isoformat(self._sample[10], "microseconds")
        return text.replace("+00:00", "Z") if self._sample.endswith("Z") else text

    # --- connection --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self, seconds: float) -> Iterator[sqlalchemy.Connection]:
        """The connection, good for *seconds*; a driver's error closes it and leaves as a SourceError."""
        import sqlalchemy.exc  # noqa: PLC0415

        try:
            connection = self._connection or self._open(seconds)
            with _limited(connection, seconds):
                if not self._known:
                    self._known = self._describe(connection)
                yield connection
            if connection.in_transaction():
                connection.rollback()  # where there is no autocommit: never keep an old view of the table
        except sqlalchemy.exc.SQLAlchemyError as error:
            translated = self._translate(error)
            self.close()
            raise translated from None
        except ImportError as error:
            self.close()
            raise SourceUnavailable(f"the driver of this database is not installed: {error.name}") from None
        except Exception as error:
            self.close()
            if isinstance(error, SourceError):
                raise
            words = f"{self._wanted.label}: a value that cannot be read ({type(error).__name__})"
            raise SourceDataError(words) from None

    def _open(self, seconds: float) -> sqlalchemy.Connection:
        import sqlalchemy  # noqa: PLC0415

        url = sqlalchemy.make_url(self._url.reveal())
        options: dict[str, Any] = {}
        if url.get_backend_name() == "sqlite":
            options["creator"] = _sqlite(url.database or "")
            url = sqlalchemy.URL.create("sqlite")
        elif url.get_backend_name() in {"mysql", "mariadb"}:
            options["connect_args"] = {"connect_timeout": max(1, math.ceil(seconds))}
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, hide_parameters=True, **options)
        connection = engine.connect()
        with contextlib.suppress(NotImplementedError, sqlalchemy.exc.ArgumentError):
            # Repeatable read in a transaction left open would never see a new row.
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        self._connection = connection
        if url.get_backend_name() in {"mysql", "mariadb"}:
            connection.exec_driver_sql("SET SESSION time_zone = '+00:00', SESSION TRANSACTION READ ONLY")
        return connection

    def _describe(self, connection: sqlalchemy.Connection) -> list[str]:
        import sqlalchemy  # noqa: PLC0415

        star: Element = sqlalchemy.literal_column("*")
        everything = sqlalchemy.select(star).select_from(self._source()).limit(0)
        return list(connection.execute(everything).keys())

    def _translate(self, error: sqlalchemy.exc.SQLAlchemyError) -> SourceError:
        import sqlalchemy  # noqa: PLC0415

        if not isinstance(error, sqlalchemy.exc.DBAPIError):
            return SourceDataError(f"the database URL cannot be used: {self._scrub(str(error))}")
        words = self._scrub(str(error.orig))
        if _NO_TABLE.search(words):
            return SourceDataError(f"{words}{self._tables()}")
        if isinstance(error, sqlalchemy.exc.DataError | sqlalchemy.exc.IntegrityError):  # the words may quote a value
            return SourceDataError(f"{self._wanted.label}: {type(error.orig).__name__} while reading")
        gone = error.connection_invalidated or self._connection is None
        unreachable = gone and isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
        for kind, said, applies in (
            (SourceDenied, "the database refuses", _DENIED.search(words)),
            (SourceTimeout, "the database did not answer in time", _LATE.search(words)),
            (SourceUnavailable, "the database cannot be reached", unreachable),
        ):
            if applies:
                return kind(f"{said}: {words}")
        return SourceDataError(f"{self._wanted.label}: {words}")

    def _tables(self) -> str:
        """The tables that this user may see, for the message about one that is missing."""
        import sqlalchemy  # noqa: PLC0415

        try:
            inspector = sqlalchemy.inspect(self._connection or self._open(5))
            names = sorted([*inspector.get_table_names(), *inspector.get_view_names()])
        except sqlalchemy.exc.SQLAlchemyError:
            return ""
        return f"{did_you_mean(self._wanted.table or '', names)}; there is {listing(names)}"


def _sqlite(path: str) -> Callable[[], Any]:
    """Opens the SQLite file at *path* for reading only; the file must exist."""
    import sqlite3  # noqa: PLC0415

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, check_same_thread=False)

    return connect


@contextlib.contextmanager
def _limited(connection: sqlalchemy.Connection, seconds: float) -> Iterator[None]:
    """Has the database give up after *seconds*, where it can be told to."""
    import time  # noqa: PLC0415

    milliseconds = max(1, int(seconds * 1000))
    dialect = connection.dialect
    if dialect.name == "sqlite":
        raw = connection.connection.dbapi_connection
        end = time.monotonic() + seconds
        raw.execute(f"PRAGMA busy_timeout = {milliseconds}")  # type: ignore[union-attr]
        raw.set_progress_handler(lambda: time.monotonic() > end, _CHECK_EVERY)  # type: ignore[union-attr]
    elif dialect.name == "mysql" and not getattr(dialect, "is_mariadb", False):
        connection.exec_driver_sql(f"SET SESSION max_execution_time = {milliseconds}")
    elif dialect.name in {"mysql", "mariadb"}:
        connection.exec_driver_sql(f"SET SESSION max_statement_time = {seconds:.3f}")
    yield


def _behind(keys: Sequence[Element], after: Sequence[Any]) -> Element:
    """Whether a row lies behind the position *after*; spelled out, as few databases compare rows."""
    import sqlalchemy  # noqa: PLC0415

    behind: Element = keys[0] > after[0]
    if len(keys) == 1:
        return behind
    return sqlalchemy.or_(keys[0] > after[0], sqlalchemy.and_(keys[0] == after[0], keys[1] > after[1]))


def _seconds(values: Sequence[Any]) -> list[float] | None:
    """*values* as seconds if they are times: datetimes, dates or ISO 8601 texts; a time without zone counts as UTC."""
    seconds = []
    for value in values:
        if isinstance(value, str) and _ISO.fullmatch(value):
            try:
                moment: Any = datetime.fromisoformat(value)
            except ValueError:
                return None
        else:
            moment = value
        if not isinstance(moment, date):
            return None
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
        seconds.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return seconds


def _shown(values: list[Any]) -> Column:
    """*values* in a form that the mapping can use."""
    types = set(map(type, values))
    if types <= {str, type(None)}:
        return Texts(values)
    if types <= _PLAIN:
        return values
    if types <= {datetime, type(None)} and all(value is None or value.tzinfo for value in values):
        return np.array([None if value is None else value.timestamp() for value in values], np.float64).view(Instants)
    return [value if type(value) in _PLAIN else _simple(value) for value in values]


def _simple(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value) if isinstance(value, UUID) else value


_CODECS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
    "bytes": (bytes, bytes.hex, bytes.fromhex),
}


def _encode(value: Any) -> Any:
    """A key value as JSON from which `_decode` makes the same value again."""
    for name, (kind, write, _) in _CODECS.items():
        if isinstance(value, kind):
            return {name: write(value)}
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        ((name, text),) = value.items()
        return _CODECS[name][2](text)
    return value
