"""What every reader of a database table speaks: what is wanted of it, a page of its rows, and its faults in words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np

from exporter.config.types import hide_passwords
from exporter.errors import SourceDataError
from exporter.sources.overlap import Digests, Position, row_digests
from exporter.sources.records import Column, Texts


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read: a table or a query, its key columns, and the dotted paths of the mapping.

    `zone` names the zone of times that have none.
    """

    table: str | None
    query: str | None
    cursor: str
    tie_break: str | None
    paths: tuple[str, ...]
    zone: str

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that order the rows."""
        return (self.cursor,) if self.tie_break in {None, self.cursor} else (self.cursor, str(self.tie_break))

    @property
    def label(self) -> str:
        return f"table {self.table}" if self.table else "the query"

    def resolve(self, known: Sequence[str]) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Each path as its column and the way into the JSON of that column.

        Raises SourceDataError naming every column that is missing, what it may have been, and those there are.
        """
        columns = set(known)
        found = {path: (path, ()) if path in columns else _split(path) for path in self.paths}
        missing = sorted(({column for column, _ in found.values()} | set(self.keys)) - columns)
        if missing:
            guesses = "; ".join(f"no column {column!r}{did_you_mean(column, known)}" for column in missing)
            raise SourceDataError(f"{self.label}: {guesses}; it has {listing(known)}")
        return found


def _split(path: str) -> tuple[str, tuple[str, ...]]:
    column, *way = path.split(".")
    return column, tuple(way)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of *known*, or nothing."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), folded, 1)
    return f" (did you mean {folded[near[0]]!r}?)" if near else ""


def listing(names: Sequence[str], most: int = 30) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else "none that this user may see"


@dataclass(slots=True)
class Page:
    """Rows in key order as raw columns by name; those named in `json` hold JSON texts.

    `keys` are the key columns, called `names`, `encode` turns one value of each into JSON, and `times` are the
    seconds of the first key where it is a time, ascending.
    """

    columns: dict[str, Column]
    json: frozenset[str]
    names: tuple[str, ...]
    keys: tuple[Sequence[Any], ...]
    encode: Callable[[Any], Any]
    times: Sequence[float] | None

    @property
    def count(self) -> int:
        return len(self.keys[0])

    def position(self, row: int) -> Position:
        return [self.encode(column[row]) for column in self.keys]

    def take(self, rows: slice | list[int]) -> Page:
        """The same page with only some of its *rows*."""
        return Page(
            {name: pick(column, rows) for name, column in self.columns.items()},
            self.json,
            self.names,
            tuple(pick(column, rows) for column in self.keys),
            self.encode,
            None if self.times is None else pick(self.times, rows),
        )

    def whole_ties(self) -> int:
        """How many leading rows have other keys than the last row: a page may end behind them and lose no tie."""
        last = tuple(_folded(column[-1]) for column in self.keys)
        count = self.count - 1
        while count and tuple(_folded(column[count - 1]) for column in self.keys) == last:
            count -= 1
        return count

    def digests(self, first: int = 0) -> Digests:
        """The 64-bit xxhash of the keys and wanted values of each row from *first* on; shape (count - first,)."""
        named = dict(zip(self.names, self.keys, strict=True)) | self.columns
        rest = [pick(column, slice(first, None)) for column in named.values()]
        return row_digests([column.tolist() if isinstance(column, np.ndarray) else column for column in rest])


def pick(column: Any, rows: slice | list[int]) -> Any:
    """Some *rows* of a *column*, in a column of the same kind."""
    if isinstance(column, np.ndarray):
        return column[rows]
    values = column[rows] if isinstance(rows, slice) else [column[row] for row in rows]
    return Texts(values) if isinstance(column, Texts) else values


def _folded(value: Any) -> Any:
    """*value* as a database may compare it: its order may ignore case and trailing blanks."""
    return value.casefold().rstrip() if isinstance(value, str) else value


class Reader(Protocol):
    """Reads pages of one table over one connection, which it opens when needed; raises only SourceErrors."""

    def page(self, after: Position | None, first: float | None, until: float, limit: int, seconds: float) -> Page:
        """At most *limit* rows behind *after*, in key order, in at most *seconds*.

        Where the cursor is a time: from *first* (if there is no *after*) and not beyond *until*, both in seconds.
        """
        ...

    def last(self, seconds: float) -> Position | None:
        """The position of the last row, where the cursor is no time; None if there is none, or it is one."""
        ...

    def newest(self, until: float, seconds: float) -> float | None:
        """The newest time of the cursor, at most *until*; asked only where the cursor is a time."""
        ...

    def overlooked(self, until: float, seconds: float) -> list[str]:
        """In words, the kinds of rows that are never read: cursors that are null, or lie behind *until*."""
        ...

    def resolve(self, seconds: float) -> dict[str, tuple[str, tuple[str, ...]]]: ...

    def close(self) -> None: ...


class Scrubber:
    """Takes the passwords of one database URL, in every spelling, out of the words of a driver."""

    def __init__(self, url: str) -> None:
        secrets = {url}
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query)
            raw = parts.netloc.rpartition("@")[0].partition(":")[2]
        except ValueError:
            pairs, raw = [], ""
        secrets.update((raw, unquote(raw)))
        secrets.update(value for key, value in pairs if "pass" in key.lower() or "secret" in key.lower())
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The first line of *text* without secrets, at most 300 characters."""
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return hide_passwords(text.strip().split("\n")[0])[:300]


def walk(value: Any, way: Sequence[str]) -> Any:
    """What lies on the *way* into decoded JSON, or None."""
    for step in way:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value
