"""The sql source never loses and never doubles a row, whatever is committed in which order."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
from exporter.sources.mapping import Mapper
from exporter.sources.sql import Sql

START = datetime(2026, 3, 1, tzinfo=UTC)
CLOCK = Clock(wall=lambda: START.timestamp() + 1e6, monotonic=lambda: 0.0)
LOOK_BACK = 20

MOMENTS = st.integers(0, LOOK_BACK)
"""Seconds that a row's time lies before the newest one committed so far: ties, and commits as late as is allowed."""

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.lists(MOMENTS, min_size=1, max_size=8), st.integers(0, 15)),
        st.tuples(st.just("update"), st.integers(0, 30), st.integers(0, 5)),
        st.tuples(st.just("poll"), st.integers(1, 4), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(actions=ACTIONS, page=st.integers(1, 7), numbers=st.booleans(), unique=st.booleans())
def test_every_version_of_every_row_arrives_once(tmp_path_factory, actions, page, numbers, unique):
    """Each inserted or updated row arrives exactly once, with pages, ties, replays and late commits in any order."""
    path = tmp_path_factory.mktemp("overlap") / "t.db"
    table = sqlite3.connect(path, isolation_level=None)
    table.execute("PRAGMA synchronous = off")
    table.execute("CREATE TABLE t (id TEXT, moved, version INTEGER)")
    fields = {name: FieldSpec(field=name) for name in ("id", "version")}
    fields |= {"actual": FieldSpec(constant="yes")}
    mapper = Mapper(MappingSpec(role="labels", fields=fields), ModelSpec(name="m"), CLOCK, keep_ids=True)
    config = Sql.Config(
        url=Secret(f"sqlite:///{path}"), table="t", cursor="moved", id="id" if unique else "moved", page=page,
        look_back=Duration(LOOK_BACK), look_back_rows=1000,
    )  # fmt: skip
    source = Sql(config, mapper, name="t", clock=CLOCK)
    written, arrived, newest, cursor = [], [], 0, None

    def moment(seconds):
        return seconds if numbers else (START + timedelta(seconds=seconds)).isoformat(" ")

    def poll(cursor):
        found = source.poll(cursor, Deadline(10.0, CLOCK))
        again = source.poll(cursor, Deadline(10.0, CLOCK))
        assert rows(found) == rows(again)
        assert found.cursor == again.cursor
        arrived.extend(rows(found))
        return json.loads(json.dumps(found.cursor)), found.more

    try:
        for action, what, ahead in [*actions, ("poll", 10_000, 0), ("poll", 10_000, 0)]:
            if action == "insert":
                moments = [max(0, newest - back + ahead) for back in what]
                for seconds in moments:
                    written.append((f"r{len(written)}", 0))
                    table.execute("INSERT INTO t VALUES (?, ?, 0)", (written[-1][0], moment(seconds)))
                newest = max(newest, *moments)
            elif action == "update" and what < len(written):
                newest += ahead + 1
                name = written[what][0]
                row = (name, sum(known[0] == name for known in written))
                table.execute("UPDATE t SET version = ?, moved = ? WHERE id = ?", (row[1], moment(newest), name))
                written.append(row)
            elif action == "poll":
                for _ in range(what):
                    cursor, more = poll(cursor)
                    if not more:
                        break
    finally:
        source.close()
        table.close()
    assert len(arrived) == len(set(arrived))
    assert set(arrived) <= set(written)
    assert set(dict(written).items()) <= set(arrived), "the last version of each row"


def rows(poll):
    if poll.batch is None:
        return []
    version = poll.batch.version
    return [(key, int(version.names[code])) for key, code in zip(poll.batch.ids, version.codes, strict=True)]
