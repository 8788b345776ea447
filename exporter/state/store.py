"""What must survive a kill: cursors, counts and remembered rows, changed by one durable transaction per cycle.

SQLite holds the small things as named blobs, and decides what is committed; the tables hold the many rows and are
named by it.  The order of a commit is: rows and label changes to disk, transaction to disk, labels into rows.  Label
changes stay in a file of their own until the rows that they went into were flushed, so that neither a kill nor a power
cut loses one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import xxhash

from exporter.contracts import PLAIN, Layout
from exporter.errors import StateError, StateLocked, StateVersion
from exporter.state.changes import Changes
from exporter.state.table import LARGEST, Table

log = logging.getLogger(__name__)

FORMAT = 1
FLUSH_AFTER = 64 * 2**20
"""Bytes of label changes after which the rows are flushed and the changes dropped."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS blob (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT,
           sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_SCHEMA}  # fmt: skip
"""What SQLite says of a file that is no state of ours; anything else it says of the disk or of the machine."""

UNDECODABLE = (ValueError, LookupError, TypeError, msgspec.DecodeError)
"""What reading a blob raises that holds something else than was written."""

_LONGEST_NAME = 200
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class State:
    """An open state folder, or one in memory (`path` None).  Used by one thread.

    Raises StateLocked if another process has it open, StateVersion if a newer program wrote it.  A damaged state
    is moved aside into `damaged-<time>/` beside the new one, and `damaged` tells where.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.damaged: Path | None = None
        self._tables: dict[str, Table] = {}
        self._changes = Changes(path)
        self._lock: int | None = None
        if path is None:
            self._database = _connect(":memory:")
            self._database.executescript(_SCHEMA)
            return
        self._lock = _lock(path)
        try:
            self._open(path)
        except (sqlite3.DatabaseError, StateError, OSError, *UNDECODABLE) as error:
            if isinstance(error, StateVersion) or _is_environment(error):
                self._let_go()
                raise error if isinstance(error, StateError) else StateError(_refused(path, error)) from error
            self.begin_anew()

    # --- reading ---------------------------------------------------------------------------------

    def get(self, name: str) -> bytes | None:
        """The blob called *name*, as last committed."""
        row = self._database.execute("SELECT value FROM blob WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def scan(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """All committed blobs whose names begin with *prefix*, in order of their names."""
        query = "SELECT name, value FROM blob WHERE name >= ? AND name < ? ORDER BY name"
        yield from self._database.execute(query, (prefix, prefix + "\U0010ffff"))

    def table(self, name: str, largest: int = LARGEST, layout: Layout = PLAIN) -> Table:
        """The table of remembered rows called *name*; made on first use.

        One that holds rows of another *layout* is dropped: nothing can be made of them.
        """
        known = self._tables.get(name)
        if known is not None and known.layout != layout:
            self.drop_table(name)
        return self._table(name, largest, layout)

    def _table(self, name: str, largest: int, layout: Layout) -> Table:
        if name not in self._tables:
            self._tables[name] = Table(self._folder(name), largest, layout)
        self._tables[name].largest = largest
        return self._tables[name]

    @property
    def size(self) -> int:
        """Bytes of all that is kept."""
        pages = self._database.execute("PRAGMA page_count").fetchone()[0]
        size = self._database.execute("PRAGMA page_size").fetchone()[0]
        return int(pages * size) + sum(table.size for table in self._tables.values())

    # --- writing ---------------------------------------------------------------------------------

    def commit(self, blobs: Mapping[str, bytes | None]) -> None:
        """Make *blobs* (None removes one) and all changes of the tables durable, all or nothing.

        Raises StateError if the disk refuses; nothing is lost then, and the same call may be made again.
        """
        try:
            prepared = {name: table.prepare() for name, table in self._tables.items()}
            self._changes.append((name, change) for name, (_, change) in prepared.items())
            tables = {f"table/{name}": meta for name, (meta, _) in prepared.items()}
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._put({**blobs, **tables, "changes": self._changes.meta})
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"cannot save the state in {self.path}: {error}; nothing is lost") from error
        self._changes.committed()
        for table in self._tables.values():
            table.committed()
        if self._changes.length > FLUSH_AFTER:
            self._try_to_flush()

    def drop_table(self, name: str) -> None:
        """Forget a table and its rows at once.

        Whoever drops it together with blobs drops it first: after a kill in between, both can be done again.
        """
        self._flush()
        self._tables.pop(name, None)
        with self._database:
            self._put({f"table/{name}": None})
        folder = self._folder(name)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Flush all rows and let go of the folder; without it, the next start replays the last changes."""
        if self.path:
            self._try_to_flush()
        self._let_go()

    def _let_go(self) -> None:
        self._database.close()
        self._changes.close()
        self._tables.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- inside ----------------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        self._database = _connect(str(path / "state.sqlite"))
        self._database.execute("PRAGMA page_size = 16384")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("PRAGMA wal_autocheckpoint = 2000")  # 32 MiB: a third less work than at 4 MiB
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise StateVersion(
                f"{path} was written by a newer version (format {version}, this program reads {FORMAT}): "
                "upgrade the exporter, or start with another --state.path"
            )
        self._database.executescript(_SCHEMA + f"PRAGMA user_version = {FORMAT};")
        if self._database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise StateError(f"{path / 'state.sqlite'} is damaged")
        boot = _BOOT_ID.read_bytes().strip() if _BOOT_ID.exists() else b""
        trust = self.get("boot") == boot
        for name, meta in list(self.scan("table/")):
            table = self._table(name.removeprefix("table/"), LARGEST, PLAIN)
            table.restore(meta, trust_index=trust)
        self._changes = Changes(path, self.get("changes"))
        for name, change in self._changes.read():
            table = self._tables[name]
            table.apply(np.frombuffer(change, table.layout.change))
        self._changes.sweep()
        with self._database:
            self._put({"boot": boot})

    def _flush(self) -> None:
        """Make labels durable in their rows and drop the changes that name them."""
        for table in self._tables.values():
            table.flush()
        if not self._changes.length:
            return
        old = self._changes.begin()
        with self._database:
            self._put({"changes": self._changes.meta})
        if old:
            old.unlink(missing_ok=True)

    def _try_to_flush(self) -> None:
        """As `_flush`; if the disk refuses, a later call will do."""
        try:
            self._flush()
        except (sqlite3.Error, OSError) as error:
            log.warning("label changes stay in a file of their own for now", extra={"problem": str(error)})

    def _put(self, blobs: Mapping[str, bytes | None]) -> None:
        gone = [(name,) for name, value in blobs.items() if value is None]
        kept = [(name, value) for name, value in blobs.items() if value is not None]
        self._database.executemany("DELETE FROM blob WHERE name = ?", gone)
        self._database.executemany("INSERT OR REPLACE INTO blob VALUES (?, ?)", kept)

    def _folder(self, name: str) -> Path | None:
        """A folder of its own per table; the name is escaped so that any model name is a file name."""
        if self.path is None:
            return None
        file_name = "".join(c if c.isalnum() or c in "-_." else f"%{ord(c):x}" for c in name)
        if len(os.fsencode(file_name)) > _LONGEST_NAME:
            file_name = f"{file_name[:40]}~{xxhash.xxh3_128_hexdigest(file_name.encode())}"
        return self.path / "rows" / file_name

    def begin_anew(self) -> None:
        """Move all that is kept aside, as damaged, and go on with nothing; raises StateError if that cannot be."""
        path = self.path
        if path is None:
            raise StateError("what is kept in memory cannot be moved aside")
        try:
            self._move_aside(path)
            self._open(path)
        except (sqlite3.Error, OSError, StateError) as error:
            self._let_go()
            raise StateError(_refused(path, error)) from error

    def _move_aside(self, path: Path) -> None:
        self._database.close()
        self._changes.close()
        self._tables.clear()
        aside = path / datetime.fromtimestamp(time.time(), UTC).strftime("damaged-%Y%m%dT%H%M%S")
        while aside.exists():
            aside = aside.with_name(aside.name + "x")
        aside.mkdir()
        for item in list(path.iterdir()):
            if item.name != "lock" and not item.name.startswith("damaged-"):
                item.rename(aside / item.name)
        self.damaged = aside


def _connect(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, isolation_level=None, check_same_thread=False, timeout=5)


def _is_environment(error: Exception) -> bool:
    """Whether the folder, not its content, is the trouble: a full disk or a read-only one is no reason to reset."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE
    return isinstance(error, OSError)


def _refused(path: Path, error: Exception) -> str:
    return f"cannot use the state in {path}: {error}; free some disk, check permissions, or name another --state.path"


def _lock(path: Path) -> int:
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"cannot use {path} as the state: {error.strerror}; name another --state.path") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StateLocked(f"{path} is used by another exporter; give each its own --state.path") from error
    return handle
