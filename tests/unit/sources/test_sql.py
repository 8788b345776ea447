"""The sql source on SQLite files: paging, look-back, replay, times, and what it says when it cannot read."""

from __future__ import annotations

import json
import logging
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from exporter.config.kinds import description, struct_type
from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
from exporter.errors import SourceDataError, SourceTimeout, SourceUnavailable
from exporter.sources.mapping import Mapper
from exporter.sources.sql import Sql
from tests.draining import SOON, drain, shown

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK = Clock(wall=lambda: START.timestamp() + 10_000, monotonic=lambda: 0.0)


def at(seconds: float) -> str:
    """A time as SQLite's users write it."""
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


@pytest.fixture
def table(tmp_path):
    """A connection that writes to an empty table `labels`."""
    connection = sqlite3.connect(tmp_path / "labels.db", isolation_level=None)
    connection.execute("CREATE TABLE labels (id TEXT, updated_at TEXT, label TEXT, extra TEXT)")
    yield connection
    connection.close()


@pytest.fixture
def source(tmp_path):
    """Makes Sql sources on that table, closed at the end."""
    made = []

    def make(fields=None, lookback=None, clock=CLOCK, timezone="UTC", **config):
        paths = {"id": "id", "time": "updated_at", "actual": "label"} if fields is None else fields
        spec = MappingSpec(
            role="labels", fields={name: FieldSpec(field=path) for name, path in paths.items()}, timezone=timezone
        )
        mapper = Mapper(spec, ModelSpec(name="fraud", positive="yes"), clock, keep_ids=True)
        given = {"url": Secret(f"sqlite:///{tmp_path}/labels.db"), "cursor": "updated_at", "table": "labels"} | config
        made.append(Sql(Sql.Config(**given), mapper, name="fraud/labels", clock=clock, lookback=lookback))
        return made[-1]

    yield make
    for one in made:
        one.close()


def put(table, *rows):
    table.executemany("INSERT INTO labels (id, updated_at, label) VALUES (?, ?, ?)", rows)


def test_ties_are_not_lost(table, source):
    """A thousand rows of one time arrive once each through pages of 300."""
    put(table, *((f"r{i:04}", at(0), "yes") for i in range(1000)))
    rows, cursor = drain(one := source(page=300))
    assert sorted(rows) == [(f"r{i:04}", "yes") for i in range(1000)]
    assert drain(one, cursor)[0] == []


@pytest.mark.parametrize("fields", [{"id": "extra.key", "time": "updated_at", "actual": "label"}, None])
def test_ties_without_a_unique_tie_break(table, source, fields):
    """Rows that share cursor and tie-break, or have no tie-break column at all, are not lost between pages."""
    table.executemany(
        "INSERT INTO labels VALUES (?, ?, ?, ?)",
        [("same", at(i // 50), "yes" if i % 2 else "no", json.dumps({"key": f"k{i}"})) for i in range(130)],
    )
    rows, _ = drain(source(fields=fields, page=20))
    assert len(rows) == 130


def test_late_commit_inside_look_back(table, source):
    """A row that appears behind the newest one, but inside the look-back, arrives once and repeats nothing."""
    put(table, ("a", at(0), "yes"), ("b", at(100), "no"))
    rows, cursor = drain(one := source(page=1))
    assert [key for key, _ in rows] == ["a", "b"]
    put(table, ("late", at(50), "yes"))
    rows, cursor = drain(one, cursor)
    assert rows == [("late", "yes")]
    put(table, ("c", at(200), "no"))
    assert drain(one, cursor)[0] == [("c", "no")]


def test_late_commit_beyond_look_back(table, source):
    """What commits later than the look-back is not seen: the promise has an end, and this is it."""
    put(table, ("a", at(0), "yes"), ("b", at(920), "yes"), ("c", at(1000), "no"))
    _, cursor = drain(one := source(look_back=Duration(60)))
    put(table, ("late", at(900), "yes"), ("in time", at(950), "yes"))
    assert drain(one, cursor)[0] == [("in time", "yes")]


def test_update_in_place(table, source):
    """A row whose cursor moved is delivered again with its new value."""
    put(table, ("a", at(0), "yes"), ("b", at(1), "no"))
    _, cursor = drain(one := source())
    table.execute("UPDATE labels SET label = 'no', updated_at = ? WHERE id = 'a'", [at(5000)])
    assert drain(one, cursor)[0] == [("a", "no")]


def test_integer_cursor(table, source):
    """With a counter as cursor, the look-back is a number of rows."""
    table.execute("CREATE TABLE numbered (seq INTEGER, id TEXT, label TEXT)")
    table.executemany("INSERT INTO numbered VALUES (?, ?, 'yes')", [(2 * i, f"r{i}") for i in range(50)])
    one = source(fields={"id": "id", "actual": "label"}, table="numbered", cursor="seq", look_back_rows=10, page=7)
    rows, cursor = drain(one)
    assert len(rows) == 50
    table.executemany("INSERT INTO numbered VALUES (?, ?, 'no')", [(91, "late"), (51, "too late"), (200, "new")])
    assert drain(one, cursor)[0] == [("late", "no"), ("new", "no")]


def test_query(table, source):
    """A query is read like a table, colons, a trailing semicolon and comments included."""
    put(table, ("a", at(0), "yes"), ("b:c", at(1), "no"))
    query = "SELECT id, updated_at AS moved, label FROM labels WHERE id <> 'x:y' AND id <> ':z';  "
    fields = {"id": "id", "time": "moved", "actual": "label"}
    assert len(drain(source(fields=fields, table=None, query=query, cursor="moved"))[0]) == 2


def test_only_a_given_look_back_at_first_start(table, source):
    """`lookback` limits the first read, and later sweeps do not go behind it either."""
    put(table, ("old", at(0), "yes"), ("new", at(9500), "no"))
    one = source(lookback=1000.0, look_back=Duration(86400))
    rows, cursor = drain(one)
    assert rows == [("new", "no")]
    assert drain(one, cursor)[0] == []
    put(table, ("next", at(9600), "yes"))
    assert drain(one, cursor)[0] == [("next", "yes")]


def test_rows_that_no_cursor_can_see_are_named_once(table, source, caplog):
    """Rows with a NULL cursor are never delivered, those of the far future wait; the log says so, once."""
    put(table, ("a", at(0), "yes"), ("null", None, "yes"), ("future", at(500_000), "yes"))
    with caplog.at_level(logging.WARNING):
        rows, cursor = drain(one := source())
        drain(one, cursor)
    assert rows == [("a", "yes")]
    assert [record.message for record in caplog.records] == [
        "source fraud/labels: rows of table labels whose updated_at is null are not read",
        "source fraud/labels: rows of table labels whose updated_at lies in the future are not read",
    ]
    later = Clock(wall=lambda: START.timestamp() + 500_000, monotonic=lambda: 0.0)
    assert drain(source(clock=later), cursor)[0] == [("future", "yes")]


def test_json_column(table, source):
    """A dotted path walks into the JSON of a column; a text that is no JSON refuses its row only."""
    table.executemany(
        "INSERT INTO labels VALUES (?, ?, NULL, ?)",
        [
            ("a", at(0), '{"truth": {"class": "yes"}}'),
            ("b", at(1), '{"truth": '),
            ("c", at(2), '{"truth":{"class":1}}'),
        ],
    )
    fields = {"id": "id", "time": "updated_at", "actual": "extra.truth.class"}
    poll = source(fields=fields).poll(None, SOON)
    assert shown(poll)[0] == ("a", "yes")
    assert poll.batch.refused.counts["bad_json"] == 1
    assert poll.batch.refused.examples[0].place == f"table labels, updated_at={at(1)}, id=b"


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S+02:00", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"])
def test_times_as_texts_of_many_forms(table, source, form):
    """Whatever the form of a text time, the look-back and the bound to the future work in it."""
    local = timedelta(hours=2 if "+" in form else 0)
    moments = [START + timedelta(days=day) + local for day in (-3, -2, 5)]
    put(table, *((f"r{i}", moment.strftime(form), "yes") for i, moment in enumerate(moments)))
    rows, cursor = drain(one := source(lookback=2.2 * 86400))
    assert [key for key, _ in rows] == ["r1"]
    assert drain(one, cursor)[0] == []


def test_a_look_back_of_nothing_begins_at_the_end(table, source):
    """With a look-back of 0 the first start passes by all rows, and reads what comes later, also in a new process."""
    put(table, ("a", at(0), "yes"), ("b", at(9_999), "yes"))
    rows, cursor = drain(source(lookback=0.0))
    assert rows == []
    put(table, ("c", at(10_001), "no"))
    assert drain(source(lookback=0.0), cursor)[0] == [("c", "no")]


@pytest.mark.parametrize("rows", [0, 3])
def test_a_look_back_of_nothing_by_number(table, source, rows):
    """The same where the cursor is a number, which no clock tells the end of."""
    table.execute("CREATE TABLE counted (id TEXT, updated_at TEXT, label TEXT, seq INTEGER)")

    def put_counted(*numbers):
        table.executemany("INSERT INTO counted VALUES (?, ?, 'yes', ?)", [(f"r{n}", at(n), n) for n in numbers])

    put_counted(*range(rows))
    asked = {"table": "counted", "cursor": "seq", "lookback": 0.0}
    _, cursor = drain(source(**asked))
    put_counted(10, 11)
    assert [key for key, _ in drain(source(**asked), cursor)[0]] == ["r10", "r11"]


def test_values_are_shown_as_the_mapping_reads_them(table, source):
    """Bytes become hex, big integers stay exact."""
    table.execute("CREATE TABLE odd (id, updated_at, label)")
    table.executemany("INSERT INTO odd VALUES (?, ?, 'yes')", [(b"\x01\xff", at(0)), (9223372036854775807, at(1))])
    rows, _ = drain(source(table="odd"))
    assert rows == [("01ff", "yes"), ("9223372036854775807", "yes")]


def test_overlap_that_is_too_large_to_remember(table, source, monkeypatch, caplog):
    """Beyond the bound the look-back shrinks, loudly, and still nothing is delivered twice."""
    monkeypatch.setattr("exporter.sources.overlap.LARGEST", 30)
    put(table, *((f"r{i:03}", at(i / 10), "yes") for i in range(200)))
    rows, cursor = drain(one := source(page=20))
    assert len(rows) == 200
    assert drain(one, cursor)[0] == []
    assert "smaller look_back" in caplog.text
    assert len(json.dumps(cursor)) < 1000


# --- what can go wrong ---------------------------------------------------------------------------


def test_unknown_column(table, source):
    """A missing column is named with its likely meaning and all columns that there are."""
    fields = {"id": "id", "time": "updated_at", "actual": "lable"}
    with pytest.raises(SourceDataError) as caught:
        source(fields=fields).poll(None, SOON)
    assert str(caught.value) == (
        "table labels: no column 'lable' (did you mean 'label'?); it has id, updated_at, label, extra"
    )


def test_unknown_table(table, source):
    """A missing table is named with its likely meaning and all tables that there are."""
    with pytest.raises(SourceDataError, match=r"no such table: lables \(did you mean 'labels'\?\); there is labels"):
        source(table="lables").poll(None, SOON)


def test_bad_query(table, source):
    """A query that the database cannot read gives its words, without the parameters."""
    with pytest.raises(SourceDataError, match="the query: near"):
        source(table=None, query="SELECT id FROM labels WHERE").poll(None, SOON)


def test_column_that_vanishes(table, source):
    """A schema change between polls is an error that names the column, and heals with the next poll."""
    put(table, ("a", at(0), "yes"))
    _, cursor = drain(one := source())
    table.execute("ALTER TABLE labels RENAME COLUMN label TO truth")
    with pytest.raises(SourceDataError, match="label"):
        one.poll(cursor, SOON)
    with pytest.raises(SourceDataError, match="it has id, updated_at, truth"):
        one.poll(cursor, SOON)
    table.execute("ALTER TABLE labels RENAME COLUMN truth TO label")
    put(table, ("b", at(1), "no"))
    assert drain(one, cursor)[0] == [("b", "no")]


def test_no_file(source, tmp_path):
    """A database file that is not there is unavailable, and is not created by looking."""
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        source().poll(None, SOON)
    assert not (tmp_path / "labels.db").exists()


def test_locked_database(table, source):
    """A writer's lock is waited for no longer than the deadline."""
    table.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceTimeout, match="locked"):
        source().poll(None, Deadline(0.05, CLOCK))
    table.execute("ROLLBACK")
    assert drain(source())[0] == []


def test_endless_query(table, source):
    """A query that does not end is interrupted at the deadline."""
    query = """WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c)
        SELECT id, '2026-01-01' AS updated_at, 'yes' AS label FROM c"""
    with pytest.raises(SourceTimeout):
        source(table=None, query=query).poll(None, Deadline(0.2, CLOCK))


def test_no_time_left(table, source):
    """A deadline that has passed is a timeout before anything is asked."""
    with pytest.raises(SourceTimeout, match="over"):
        source().poll(None, Deadline(0.0, CLOCK))


def test_source_never_writes(table, source):
    """The connection is read-only: a query that writes is refused by the database."""
    put(table, ("a", at(0), "yes"))
    one = source()
    drain(one)
    with pytest.raises(Exception, match="readonly"):
        one._reader._connection.exec_driver_sql("DELETE FROM labels")


@pytest.mark.parametrize(
    "url",
    [
        "nodialect://user:hunter2@localhost/db",
        "mysql+pymysql://user:hunter2@127.0.0.1:1/db",
        "sqlite:///nowhere/hunter2.db?password=hunter2",
        "mssql+pyodbc://?odbc_connect=DRIVER%3DX;PWD%3Dhunter2",
        "oracle://user:hunter2@h:notaport/db",
    ],
)
def test_no_error_shows_the_password(source, url):
    """Whatever is wrong with a URL, no message and no log line holds its password."""
    with pytest.raises((SourceDataError, SourceUnavailable)) as caught:
        source(url=Secret(url), table="labels").poll(None, SOON)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("given", [{}, {"table": "a", "query": "SELECT 1"}])
def test_table_or_query(given):
    """A config names a table or a query, not both, not none."""
    with pytest.raises(ValueError, match="either a table or a query"):
        Sql.Config(url=Secret("sqlite:///x"), cursor="c", **given)


def test_url_must_be_one():
    """A connection string that is no URL is refused without being shown."""
    with pytest.raises(ValueError, match="database URL") as caught:
        Sql.Config(url=Secret("host=db password=hunter2"), cursor="c", table="t")
    assert "hunter2" not in str(caught.value)


def test_config_is_described():
    """The config can be decoded and documented: every field says what it is for."""
    fields = struct_type(Sql.Config).fields
    assert fields
    assert all(map(description, fields))
