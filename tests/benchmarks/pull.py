"""Rows of a PostgreSQL table to columns, against tuples that psycopg and SQLAlchemy fetch from the same query.

The exporter's side polls the `sql` source with its mapping: what comes out are batches, ready to be joined.  The
baselines fetch pages of as many rows by the same key, and do nothing with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PAGE = 10_000
_TABLE = """
CREATE TABLE predictions AS SELECT gen_random_uuid() AS id, timestamptz '2026-02-01' + i * interval '10 ms' AS ts,
    CASE WHEN i % 3 = 0 THEN 'yes' ELSE 'no' END AS predicted, random() AS score
FROM generate_series(1, %s) i
"""
_QUERY = "SELECT id, ts, predicted, score FROM predictions WHERE (ts, id) > ({}, {}) ORDER BY ts, id LIMIT {}"
_FIRST = ("-infinity", "00000000-0000-0000-0000-000000000000")


def fill(server: Any, rows: int) -> str:
    """Make a table of *rows* predictions (uuid, timestamptz, text, float8); returns the URL by which to read it."""
    with server.connect() as connection:
        connection.execute("CREATE DATABASE bench")
    with server.connect("bench") as connection:
        connection.execute(_TABLE.replace("%s", str(rows)))
        connection.execute("CREATE INDEX ON predictions (ts, id)")
        connection.execute("GRANT SELECT ON predictions TO reader")
        connection.execute("VACUUM ANALYZE predictions")
    return str(server.url("bench"))


def exporter(url: str) -> dict[str, float]:
    """The `sql` source, mapped to batches."""
    import psycopg  # noqa: F401 - imported here, so that no side is charged for the driver itself

    import exporter.sources.sql  # noqa: F401
    from exporter.app import source
    from exporter.config.schema import parse
    from exporter.contracts import Clock, Deadline

    config = parse(
        f"""\
models:
  bench:
    positive: "yes"
    predictions:
      sql: {{url: "{url}", table: predictions, cursor: ts}}
      fields: {{id: id, time: ts, predicted: predicted, score: score}}
    labels:
      files: {{path: /nowhere/labels.csv}}
      fields: {{id: id, time: ts, actual: label}}
""",
        "bench.yml",
    )
    model = config.models["bench"]
    clock = Clock()
    feed = source(model.predictions, model, clock)

    def pages() -> Iterator[int]:
        cursor, more = None, True
        while more:
            poll = feed.poll(cursor, Deadline(clock.monotonic() + 60, clock))
            cursor, more = poll.cursor, poll.more
            yield 0 if poll.batch is None else len(poll.batch)

    return _measured(pages)


def psycopg(url: str) -> dict[str, float]:
    """Tuples of psycopg, page by page."""
    import psycopg as library

    with library.connect(url) as connection:

        def page(after: tuple[Any, ...]) -> list[Any]:
            return connection.execute(_QUERY.format("%s", "%s", "%s"), [*after, PAGE], binary=True).fetchall()

        return _measured(lambda: _keyset(page))


def sqlalchemy(url: str) -> dict[str, float]:
    """Rows of SQLAlchemy, page by page."""
    import sqlalchemy as library

    engine = library.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    query = library.text(_QUERY.format("CAST(:ts AS timestamptz)", "CAST(:id AS uuid)", ":most"))
    with engine.connect() as connection:

        def page(after: tuple[Any, ...]) -> list[Any]:
            return list(connection.execute(query, {"ts": after[0], "id": after[1], "most": PAGE}).fetchall())

        measured = _measured(lambda: _keyset(page))
    engine.dispose()
    return measured


def _keyset(page: Callable[[tuple[Any, ...]], list[Any]]) -> Iterator[int]:
    after: tuple[Any, ...] = _FIRST
    while rows := page(after):
        yield len(rows)
        after = rows[-1][1], rows[-1][0]


def _measured(pages: Callable[[], Iterator[int]]) -> dict[str, float]:
    """Rows, rows per CPU second of this process, and MB by which it grew at most meanwhile."""
    before = _rss()
    begun = time.process_time()
    rows = sum(pages())
    seconds = time.process_time() - begun
    return {"rows": rows, "rate": rows / seconds, "added": _rss() - before}


def _rss() -> float:
    status = Path("/proc/self/status").read_text()  # ru_maxrss would begin at the peak of the parent
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
