"""The sql source against a real PostgreSQL: what commits late, what is updated, what breaks, and how fast it is."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime

import pytest

from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
from exporter.errors import SourceDataError, SourceDenied, SourceTimeout, SourceUnavailable
from exporter.sources.databases import Database
from exporter.sources.mapping import Mapper
from exporter.sources.sql import Sql
from tests.draining import SOON, drain, shown

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK = Clock(wall=lambda: START.timestamp() + 100_000, monotonic=lambda: 0.0)
FIELDS = {"id": "id", "time": "updated_at", "actual": "label"}


@pytest.fixture
def source():
    """Makes Sql sources, closed at the end."""
    made = []

    def make(url, fields=FIELDS, role="labels", lookback=None, timezone="UTC", **config):
        spec = MappingSpec(
            role=role, fields={name: FieldSpec(field=path) for name, path in fields.items()}, timezone=timezone
        )
        mapper = Mapper(spec, ModelSpec(name="fraud", positive="yes"), CLOCK, keep_ids=True)
        given = {"cursor": "updated_at"} | ({} if "query" in config else {"table": "labels"}) | config
        made.append(Sql(Sql.Config(url=Secret(url), **given), mapper, name="s", clock=CLOCK, lookback=lookback))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def table(database):
    """A connection to a database with a table `labels`, and its URL."""
    connection, url = database
    connection.execute("CREATE TABLE labels (id text, updated_at timestamptz, label text)")
    return connection, url


def put(connection, *rows):
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO labels VALUES (%s, timestamptz '2026-03-01 12:00Z' + %s * '1s'::interval, %s)", rows
        )


def test_ties_are_not_lost(table, source):
    """A thousand rows of one timestamp arrive once each through pages of 300."""
    connection, url = table
    put(connection, *((f"r{i:04}", 0, "yes") for i in range(1000)))
    rows, cursor = drain(one := source(url, page=300))
    assert sorted(rows) == [(f"r{i:04}", "yes") for i in range(1000)]
    assert drain(one, cursor)[0] == []


def test_ties_without_a_tie_break(table, source):
    """Ties are not lost either where the id lies inside a JSON column and cannot order rows."""
    connection, url = table
    connection.execute(
        "CREATE TABLE events AS SELECT '2026-03-01'::timestamp AS updated_at, "
        "jsonb_build_object('id', i, 'label', 'yes') AS payload FROM generate_series(1, 1000) i"
    )
    fields = {"id": "payload.id", "time": "updated_at", "actual": "payload.label"}
    rows, _ = drain(source(url, fields=fields, table="public.events", page=300))
    assert sorted(int(key) for key, _ in rows) == list(range(1, 1001))


def test_transaction_that_commits_late(table, source, postgresql):
    """Rows of a transaction that was open during a poll arrive after its commit, once, and repeat nothing."""
    connection, url = table
    with postgresql.connect(connection.info.dbname) as other, other.transaction():
        put(other, ("late", 50, "yes"))
        put(connection, ("a", 0, "yes"), ("b", 100, "no"))
        rows, cursor = drain(one := source(url))
        assert rows == [("a", "yes"), ("b", "no")]
    rows, cursor = drain(one, cursor)
    assert rows == [("late", "yes")]
    put(connection, ("c", 200, "no"))
    assert drain(one, cursor)[0] == [("c", "no")]


def test_update_in_place(table, source):
    """An updated row comes again with its new value, also through a session that was open all the time."""
    connection, url = table
    put(connection, ("a", 0, "yes"), ("b", 1, "no"))
    _, cursor = drain(one := source(url))
    connection.execute("UPDATE labels SET label = 'no', updated_at = updated_at + '1 hour' WHERE id = 'a'")
    assert drain(one, cursor)[0] == [("a", "no")]


def test_first_start_with_lookback(table, source):
    """`lookback` limits the first read to the newest rows."""
    connection, url = table
    put(connection, ("old", 0, "yes"), ("new", 99_500, "no"), ("future", 200_000, "no"), ("null", None, "no"))
    rows, cursor = drain(one := source(url, lookback=1000.0, look_back=Duration(86_000)))
    assert rows == [("new", "no")]
    assert drain(one, cursor)[0] == []


@pytest.mark.parametrize("kind", ["bigint", "numeric", "text", "uuid"])
def test_first_start_at_the_end(table, source, kind):
    """With a look-back of 0 the first start passes by all rows, whatever the cursor is."""
    connection, url = table
    number = "lpad(n::text, 32, '0')" if kind in {"text", "uuid"} else "n"
    when = "timestamptz '2026-03-01 12:00Z'"
    connection.execute(
        f"CREATE TABLE counted AS SELECT 'r' || n AS id, ({number})::{kind} AS \"se%q\", {when} AS updated_at,"
        " 'yes' AS label FROM generate_series(1, 50) n"
    )
    asked = {"table": "counted", "cursor": "se%q", "lookback": 0.0}
    rows, cursor = drain(source(url, **asked))
    assert rows == []
    connection.execute(
        f"INSERT INTO counted SELECT 'r' || n, ({number})::{kind}, {when}, 'no' FROM generate_series(51, 52) n"
    )
    assert drain(source(url, **asked), cursor)[0] == [("r51", "no"), ("r52", "no")]


def test_overlooked_rows_are_named(table, source, caplog):
    """Rows that no cursor can see are told of once, in the log."""
    connection, url = table
    put(connection, ("future", 200_000, "no"), ("null", None, "no"))
    drain(source(url))
    assert [record.message for record in caplog.records] == [
        "source s: rows of table labels whose updated_at is null are not read",
        "source s: rows of table labels whose updated_at lies in the future are not read",
    ]


def test_column_types(database, source):
    """Each type of PostgreSQL arrives as the mapping needs it: exact ids, seconds, numbers, nulls."""
    connection, url = database
    connection.execute("CREATE TYPE verdict AS ENUM ('yes', 'no')")
    connection.execute(
        """CREATE TABLE predictions (
            "Order%Id" numeric, seq bigint, made timestamp, label_at date, proba numeric, took real, verdict verdict,
            version uuid, "probas" float8[], payload json)"""
    )
    connection.execute(
        """INSERT INTO predictions VALUES
        (14468740374550852257, 1, '2026-03-01 12:00:00.123456', '2026-03-02', 0.25, 0.5, 'yes',
            '00000000-0000-0000-0000-00000000000a', '{0.25,0.75}', '{"truth": true}'),
        (1.0, 2, '2026-03-01 12:00:01', NULL, NULL, NULL, 'no', NULL, '{0.5}', NULL)"""
    )
    fields = {"id": "Order%Id", "time": "made", "predicted": "verdict", "score": "proba", "latency": "took",
              "version": "version", "actual": "payload.truth", "actual_time": "label_at"}  # fmt: skip
    one = source(url, fields, "predictions", timezone="Europe/Berlin", table="predictions", cursor="made")
    batch = one.poll(None, SOON).batch
    assert batch.refused.counts == {}
    assert next(iter(batch.ids)) == "14468740374550852257"
    assert batch.time.tolist() == [START.timestamp() - 3600 + 0.123456, START.timestamp() - 3600 + 1]
    assert [batch.predicted.names[code] for code in batch.predicted.codes] == ["yes", "no"]
    assert batch.score.tolist()[0] == 0.25
    assert str(batch.score[1]) == "nan"
    assert batch.version.names[batch.version.codes[0]] == "00000000-0000-0000-0000-00000000000a"


@pytest.mark.parametrize("cursor", ["seq", "made", "moved", "day", "amount", "ratio", "name", "key"])
def test_cursor_of_any_type(database, source, cursor):
    """A cursor of any ordered type pages through all rows, and finds a late one in its look-back."""
    connection, url = database
    connection.execute(
        """CREATE TABLE typed AS SELECT i AS seq, timestamp '2026-02-01' + i * interval '1.000001 s' AS made,
            timestamptz '2026-02-01' + i * interval '0.1 s' AS moved, date '2026-01-01' + i / 20 AS day,
            i::numeric / 7 AS amount, i::float8 / 7 AS ratio, lpad(i::text, 5, '0') AS name,
            ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid AS key, 'r' || i AS id, 'yes' AS label
        FROM generate_series(1, 500) i WHERE i <> 490"""
    )
    fields = {"id": "id", "actual": "label"}
    one = source(url, fields, table="typed", cursor=cursor, page=33, look_back=Duration(86_400))
    rows, position = drain(one)
    assert len(rows) == len(set(rows)) == 499
    connection.execute(
        """INSERT INTO typed SELECT 490, timestamp '2026-02-01' + 490 * interval '1.000001 s',
            timestamptz '2026-02-01' + 49 * interval '1 s', date '2026-01-01' + 24, 490.0 / 7, 490::float8 / 7,
            '00490', '00000000-0000-0000-0000-000000000490', 'late', 'no'"""
    )
    assert drain(one, position)[0] == [("late", "no")]


def test_jsonb_paths_and_queries(table, source):
    """A query is read like a table, percent signs included; jsonb is walked by dotted paths."""
    connection, url = table
    connection.execute("CREATE TABLE events (id int, at timestamptz, payload jsonb)")
    connection.execute(
        """INSERT INTO events VALUES (1, '2026-03-01', '{"truth": {"class": "yes"}}'),
        (2, '2026-03-01', '{"truth": {"class": "no"}}'), (3, '2026-03-01', NULL)"""
    )
    fields = {"id": "id", "time": "at", "actual": "payload.truth.class"}
    query = "SELECT * FROM events WHERE 10 % id >= 0 AND id::text NOT LIKE '%x' -- all of them"
    poll = source(url, fields, query=query, cursor="at").poll(None, SOON)
    assert shown(poll) == [("1", "yes"), ("2", "no")]


def test_empty_table(table, source):
    """An empty table gives no rows and no error, and its first row is seen."""
    connection, url = table
    rows, cursor = drain(one := source(url))
    assert rows == []
    put(connection, ("a", 0, "yes"))
    assert drain(one, cursor)[0] == [("a", "yes")]


def test_through_sqlalchemy(table, source):
    """Another driver of SQLAlchemy reads the same rows by portable SQL in an open session, late commits included."""
    connection, url = table
    put(connection, *((f"r{i}", i // 10, "yes") for i in range(95)))
    one = source(url, page=30)
    one._reader = Database(one._wanted, Secret(url.replace("postgresql", "postgresql+psycopg")))
    rows, cursor = drain(one)
    assert len(set(rows)) == len(rows) == 95
    put(connection, ("late", 3, "no"))
    assert drain(one, cursor)[0] == [("late", "no")]


# --- what can go wrong ---------------------------------------------------------------------------


def test_restart_between_polls(table, source, postgresql):
    """A server that was restarted costs at most one failed poll, and no row."""
    connection, url = table
    put(connection, ("a", 0, "yes"))
    _rows, cursor = drain(one := source(url))
    postgresql.stop()
    with pytest.raises(SourceUnavailable):
        one.poll(cursor, SOON)
    with pytest.raises(SourceUnavailable):
        one.poll(cursor, SOON)
    postgresql.start()
    with postgresql.connect(connection.info.dbname) as new:
        put(new, ("b", 1, "no"))
    assert drain(one, cursor)[0] == [("b", "no")]


def test_statement_timeout(table, source):
    """A slow query is ended by the server at the deadline."""
    _, url = table
    one = source(
        url,
        query="""SELECT t.* FROM pg_sleep(60),
            (VALUES ('a', timestamptz '2026-03-01', 'yes')) AS t (id, updated_at, label)""",
    )
    started = time.monotonic()
    with pytest.raises(SourceTimeout, match="statement timeout"):
        one.poll(None, Deadline(0.1, CLOCK))
    assert time.monotonic() - started < 10


def test_server_that_hangs(table, source, postgresql):
    """A server that does not answer at all is left at the deadline, and read again when it is back."""
    connection, url = table
    put(connection, ("a", 0, "yes"))
    _rows, cursor = drain(one := source(url))
    worker = one._reader._connection.info.backend_pid
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(SourceTimeout):
            one.poll(cursor, Deadline(0.1, CLOCK))
    finally:
        os.kill(worker, signal.SIGCONT)
    put(connection, ("b", 1, "no"))
    assert drain(one, cursor)[0] == [("b", "no")]


def test_names_that_are_not_there(table, source):
    """A missing table or column is named with its likely meaning."""
    _, url = table
    with pytest.raises(SourceDataError, match=r"did you mean 'labels'\?\); there is labels"):
        source(url, table="lables").poll(None, SOON)
    with pytest.raises(SourceDataError, match=r"no column 'moved'; it has id, updated_at, label"):
        source(url, cursor="moved").poll(None, SOON)


def test_column_that_vanishes(table, source):
    """A schema change between polls is an error that names the columns, and heals by itself."""
    connection, url = table
    put(connection, ("a", 0, "yes"))
    _, cursor = drain(one := source(url))
    connection.execute("ALTER TABLE labels RENAME COLUMN label TO truth")
    with pytest.raises(SourceDataError):
        one.poll(cursor, SOON)
    with pytest.raises(SourceDataError, match="it has id, updated_at, truth"):
        one.poll(cursor, SOON)
    connection.execute("ALTER TABLE labels RENAME COLUMN truth TO label")
    put(connection, ("b", 1, "no"))
    assert drain(one, cursor)[0] == [("b", "no")]


def test_data_errors_do_not_quote_rows(table, source):
    """An error of the server that quotes a value is not passed on with that value."""
    connection, url = table
    put(connection, ("secret-row", 0, "yes"))
    with pytest.raises(SourceDataError) as caught:
        source(url, query="SELECT id::int AS id, updated_at, label FROM labels").poll(None, SOON)
    assert "secret-row" not in str(caught.value)


def test_source_never_writes(table, source):
    """The session is read-only, even for a user who may write."""
    connection, url = table
    connection.execute("GRANT ALL ON labels TO reader")
    connection.execute(
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$INSERT INTO labels VALUES ('x') RETURNING id$$"
    )
    with pytest.raises(SourceDataError, match="read-only"):
        source(url, query="SELECT f() AS id, now() AS updated_at, 'yes' AS label").poll(None, SOON)


def test_denied(table, source, postgresql):
    """A wrong password, and a table that is not ours, are named as denied."""
    connection, url = table
    with pytest.raises(SourceDenied) as caught:
        source(url.replace("s3cr3t-word", "hunter2")).poll(None, SOON)
    assert "hunter2" not in str(caught.value)
    connection.execute("REVOKE SELECT ON labels FROM reader")
    with pytest.raises(SourceDenied, match="permission denied for table labels"):
        source(url).poll(None, SOON)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://reader:hunter2@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=reader&password=hunter2",
        "postgresql://reader:hunter2@/db?host=/nowhere",
        "postgresql://reader:hunter2@127.0.0.1:port/db",
        "postgresql://reader:hunter2@127.0.0.1:1/db?unknown=hunter2",
        "postgresql://reader:hunter2@[127.0.0.1:1/db",
        "postgresql://reader:hunt%65r2@127.0.0.1:1/db?password=%zzhunter2",
        "postgresql+psycopg://reader:hunter2@127.0.0.1:1/db?sslmode=hunter2&sslpassword=hunter2",
    ],
)
def test_no_error_shows_the_password(source, url):
    """Whatever is wrong with a URL, no message holds its password, nor does a cause behind it."""
    with pytest.raises((SourceUnavailable, SourceDataError)) as caught:
        source(url).poll(None, SOON)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


# --- speed ---------------------------------------------------------------------------------------


def test_pull_rate(table, source):
    """Rows become columns at more than 0.4 M a second of client CPU; see the benchmarks for the real figure."""
    connection, url = table
    connection.execute(
        """CREATE TABLE predictions AS SELECT gen_random_uuid() AS id,
            timestamptz '2026-02-01' + i * interval '10 ms' AS ts,
            CASE WHEN i % 3 = 0 THEN 'yes' ELSE 'no' END AS predicted, random() AS score
        FROM generate_series(1, 100000) i"""
    )
    connection.execute("CREATE INDEX ON predictions (ts, id)")
    connection.execute("ANALYZE predictions")
    fields = {"id": "id", "time": "ts", "predicted": "predicted", "score": "score"}
    one = source(url, fields, "predictions", table="predictions", cursor="ts", look_back=Duration(10))
    seen = []
    one._mapper.batch = lambda records: seen.append(records.count)
    started = time.process_time()
    cursor, more = None, True
    while more:
        poll = one.poll(cursor, SOON)
        cursor, more = poll.cursor, poll.more
    spent = time.process_time() - started
    assert sum(seen) == 100_000
    print(f"{sum(seen) / spent / 1e6:.2f} M rows per second of client CPU")  # noqa: T201 - shown by pytest -s
    assert sum(seen) / spent > 0.4e6
