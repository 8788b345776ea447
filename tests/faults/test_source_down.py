"""Databases and servers that are down, die, are slow or refuse: each is named, and nothing is lost for good."""

from __future__ import annotations

import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
from exporter.errors import SourceDataError, SourceDenied, SourceError, SourceTimeout, SourceUnavailable
from exporter.sources.http import Http
from exporter.sources.mapping import Mapper
from exporter.sources.sql import Sql

CLOCK = Clock(wall=lambda: 1_772_366_400.0, monotonic=lambda: 0.0)
SOON = Deadline(20.0, CLOCK)


def mapper():
    fields = {"id": FieldSpec(field="id"), "time": FieldSpec(field="at"), "actual": FieldSpec(field="label")}
    spec = MappingSpec(role="labels", fields=fields)
    return Mapper(spec, ModelSpec(name="fraud", positive="yes"), CLOCK, keep_ids=True)


class SqlWorld:
    """A table in an SQLite file."""

    def __init__(self, folder):
        self.path = folder / "labels.db"
        self.count = 0
        config = Sql.Config(url=Secret(f"sqlite:///{self.path}"), table="labels", cursor="at")
        self.source = Sql(config, mapper(), name="labels", clock=CLOCK)
        self.writer = None

    def up(self):
        if self.path.with_suffix(".away").exists():
            self.path.with_suffix(".away").rename(self.path)
        self.writer = sqlite3.connect(self.path, isolation_level=None)
        self.writer.execute("CREATE TABLE IF NOT EXISTS labels (id, at, label)")

    def add(self):
        self.count += 1
        self.writer.execute("INSERT INTO labels VALUES (?, ?, 'yes')", (f"r{self.count}", 1_772_360_000 + self.count))

    def down(self):
        if self.writer:
            self.writer.close()
            self.path.rename(self.path.with_suffix(".away"))
            self.source.close()  # SQLite reads on in a file that was moved away

    def slow(self):
        self.writer.execute("BEGIN EXCLUSIVE")

    def well(self):
        self.writer.execute("ROLLBACK")

    def change(self):
        self.writer.execute("ALTER TABLE labels RENAME COLUMN label TO truth")

    def change_back(self):
        self.writer.execute("ALTER TABLE labels RENAME COLUMN truth TO label")

    def close(self):
        self.source.close()
        if self.writer:
            self.writer.close()


class HttpWorld:
    """A JSON API on the loopback."""

    def __init__(self, folder):
        self.rows, self.status, self.late, self.body = [], 200, threading.Event(), None
        self.late.set()
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                world.late.wait(10)
                body = (world.body or json.dumps(world.rows)).encode()
                self.send_response(world.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        self.handler = Handler
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.server.server_close()
        self.server = None
        config = Http.Config(url=f"http://127.0.0.1:{self.port}/", timeout=Duration(0.1), retries=1)
        self.source = Http(config, mapper(), name="labels", clock=CLOCK, sleep=lambda seconds: None)

    def up(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def add(self):
        number = len(self.rows) + 1
        self.rows.append({"id": f"r{number}", "at": 1_772_360_000 + number, "label": "yes"})

    def down(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()
            self.server = None

    def slow(self):
        self.late.clear()

    def well(self):
        self.late.set()

    def change(self):
        self.body = '{"error": null, "rows": []}'

    def change_back(self):
        self.body = None

    def close(self):
        self.late.set()
        self.source.close()
        self.down()


@pytest.fixture(params=[SqlWorld, HttpWorld])
def world(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


def fails(world, cursor, error: type[SourceError], deadline=SOON):
    with pytest.raises(error) as caught:
        world.source.poll(cursor, deadline)
    assert caught.value.__cause__ is None
    return str(caught.value)


def ids(poll):
    return set() if poll.batch is None else set(poll.batch.ids)


def test_down_at_start(world):
    """A source that is not there yet is unavailable, and read from the beginning once it is."""
    fails(world, None, SourceUnavailable)
    world.up()
    world.add()
    assert ids(world.source.poll(None, SOON)) == {"r1"}


def test_dies_later(world):
    """A source that vanishes fails each poll; when it is back, what came meanwhile is read behind the same cursor."""
    world.up()
    world.add()
    poll = world.source.poll(None, SOON)
    world.down()
    fails(world, poll.cursor, SourceUnavailable)
    world.up()
    world.add()
    assert "r2" in ids(world.source.poll(poll.cursor, SOON))


def test_slow(world):
    """A source that does not answer in time is a timeout, and is read when it does."""
    world.up()
    world.add()
    poll = world.source.poll(None, SOON)
    world.slow()
    fails(world, poll.cursor, SourceTimeout, Deadline(0.1, CLOCK))
    world.well()
    world.add()
    assert "r2" in ids(world.source.poll(poll.cursor, SOON))


def test_schema_change_mid_stream(world):
    """Columns or lists that go missing are an error that says what there is; nothing is lost when they are back."""
    world.up()
    world.add()
    poll = world.source.poll(None, SOON)
    world.change()
    fails(world, poll.cursor, SourceDataError)
    assert any(word in fails(world, poll.cursor, SourceDataError) for word in ("has id, at, truth", "has error, rows"))
    world.change_back()
    world.add()
    assert "r2" in ids(world.source.poll(poll.cursor, SOON))


def test_permission_denied_for_a_while(tmp_path):
    """Credentials that are refused are denied, and the rows of that while arrive once they are accepted."""
    world = HttpWorld(tmp_path)
    try:
        world.up()
        world.add()
        poll = world.source.poll(None, SOON)
        world.add()
        for status in (401, 403):
            world.status = status
            assert f"HTTP {status}" in fails(world, poll.cursor, SourceDenied)
        world.status = 200
        assert "r2" in ids(world.source.poll(poll.cursor, SOON))
    finally:
        world.close()
