"""A damaged state is moved aside and said so; a state that is only unreachable is left alone."""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import sys

import msgspec
import pytest

from exporter.contracts import Sight
from exporter.errors import StateError
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.apps import config as config_of
from tests.apps import label, predict, running, script_probe
from tests.ledgers import L, P, config, labels, of_model, predictions, samples, shown


@pytest.fixture
def folder(tmp_path):
    """A state with a few joined rows and a kept cursor."""
    state = State(tmp_path / "state")
    pipeline = Pipeline(config(), state)
    pipeline.absorb([predictions(*(P(one) for one in range(50)), cursor={"at": 50})])
    pipeline.absorb([labels(*(L(one) for one in range(40)), cursor={"at": 40})])
    state.close()
    return tmp_path / "state"


def _garbage(path):
    path.write_bytes(os.urandom(path.stat().st_size))


def _garbage_inside(path):
    """A whole but senseless page in the middle."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def _another_database(path):
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE blob (something TEXT)")
    database.close()


def _senseless_rows(path):
    with sqlite3.connect(path) as database:
        database.execute("UPDATE blob SET value = x'c1' WHERE name LIKE 'table/%'")
    database.close()


def _changes(path, content, length):
    """Label changes that the database believes in."""
    (path.parent / "changes-7").write_bytes(content)
    with sqlite3.connect(path) as database:
        database.execute("INSERT OR REPLACE INTO blob VALUES ('changes', ?)", (msgspec.msgpack.encode((7, length)),))
    database.close()


def _unknown_table(path):
    content = struct.pack("<IQ", 6, 0) + b"nobody"
    _changes(path, content, len(content))


def _lost_changes(path):
    _changes(path, b"", 50)


def _senseless_changes(path):
    _changes(path, b"\xff" * 50, 50)


@pytest.mark.parametrize(
    "harm",
    [
        _garbage,
        _garbage_inside,
        _another_database,
        _senseless_rows,
        _unknown_table,
        _lost_changes,
        _senseless_changes,
        lambda path: os.truncate(path, 5000),
    ],
    ids=[
        "garbage",
        "garbage-inside",
        "another-database",
        "senseless-rows",
        "unknown-table",
        "lost-changes",
        "senseless-changes",
        "truncated",
    ],
)
def test_a_damaged_database_is_moved_aside(folder, harm):
    """The exporter starts anew beside the damaged files, twice in a row, and everything can be counted again."""
    harm(folder / "state.sqlite")
    state = State(folder)
    assert state.damaged is not None
    assert state.damaged.parent == folder
    assert (state.damaged / "state.sqlite").exists()
    assert (state.damaged / "rows").is_dir()
    pipeline = Pipeline(config(), state)
    assert pipeline.cursor("m", "labels") is None
    pipeline.absorb([predictions(P(1)), labels(L(1))])
    assert samples(shown(pipeline))[of_model("model_joins_total", result="matched")] == 1
    state.close()
    state = State(folder)
    assert state.damaged is None
    assert Pipeline(config(), state).ledgers["m"].results["matched"] == 1
    state.close()


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 100)], ids=["missing", "truncated"])
def test_lost_rows_move_the_state_aside(folder, harm):
    """Counts without the rows that they stand on would count replayed labels as early for ever: all begins anew."""
    (log,) = (folder / "rows").glob("*predictions/*.rows")
    harm(log)
    state = State(folder)
    assert state.damaged is not None
    assert Pipeline(config(), state).ledgers["m"].results["matched"] == 0
    state.close()


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 8)], ids=["missing", "truncated"])
def test_a_lost_index_loses_nothing(folder, harm):
    """The index is built anew from the rows, and a replayed prediction is known to be a duplicate."""
    (index,) = (folder / "rows").glob("*predictions/*.index")
    harm(index)
    state = State(folder)
    assert state.damaged is None
    pipeline = Pipeline(config(), state)
    pipeline.absorb([predictions(P(1), P(99)), labels(L(45))])
    results = pipeline.ledgers["m"].results
    assert (results["duplicate"], results["matched"]) == (1, 41)
    state.close()


@pytest.mark.parametrize(
    "name", ["model/m/ledger", "model/m/tally/%", "model/m/last/%", "target/server/ledger", "cursor/%"]
)
@pytest.mark.parametrize("value", [b"\xc1", b"\x90" * 7], ids=["no-encoding", "another-shape"])
def test_counts_that_cannot_be_understood_move_the_state_aside(monkeypatch, tmp_path, name, value):
    """A whole database with a senseless blob is damage, too: moved aside, counted, told, and no start is refused."""
    predict(tmp_path, 1, 2)
    label(tmp_path, 1)
    script_probe(monkeypatch, lambda cursor, deadline: Sight(up=True, cursor={"at": 1}))
    text = config_of(tmp_path) + "targets: {server: {scripted: {}}}\n"
    with running(monkeypatch, tmp_path, text) as exporter:
        exporter.ready()
    with sqlite3.connect(tmp_path / "state/state.sqlite") as database:
        changed = database.execute("UPDATE blob SET value = ? WHERE name LIKE ?", (value, name)).rowcount
    database.close()
    assert changed
    with running(monkeypatch, tmp_path, text) as exporter:
        values = exporter.ready().values()
        assert values.one("model_exporter_state_corruptions_total") == 1
        assert values.one("model_joins_total", result="matched") == 1
        assert values.sum("model_predictions_total") == 2
    assert len(list((tmp_path / "state").glob("damaged-*"))) == 1


def test_damage_upon_damage_is_kept_apart(folder):
    """Every damaged state has a folder of its own, also within one second."""
    for _ in range(3):
        _garbage(folder / "state.sqlite")
        State(folder).close()
    assert len(list(folder.glob("damaged-*"))) == 3


@pytest.mark.parametrize(
    ("name", "code"), [("SQLITE_IOERR", 10), ("SQLITE_FULL", 13), ("SQLITE_READONLY", 8), ("SQLITE_NOMEM", 7)]
)
def test_an_unreachable_state_is_left_alone(folder, monkeypatch, name, code):
    """What the disk or the machine refuses is no damage: the state stays, and the error says what to do."""

    class Refusing(sqlite3.Connection):
        def execute(self, sql, *rest):
            if sql.startswith("PRAGMA journal_mode"):
                error = sqlite3.OperationalError("the machine refuses")
                error.sqlite_errorcode, error.sqlite_errorname = code, name
                raise error
            return super().execute(sql, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("exporter.state.store._connect", lambda path: sqlite3.connect(path, factory=Refusing))
        with pytest.raises(StateError, match=r"the machine refuses.*free some disk"):
            State(folder)
    assert not list(folder.glob("damaged-*"))
    state = State(folder)
    assert Pipeline(config(), state).ledgers["m"].results["matched"] == 40
    state.close()


def test_two_processes_cannot_share_a_state(folder):
    """A second process is refused by name, and leaves the first one's state alone."""
    script = (
        "import sys; from pathlib import Path; from exporter.state import State\n"
        "try: State(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    )
    state = State(folder)
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("StateLocked")
    assert "is used by another exporter" in done.stdout
    state.close()
