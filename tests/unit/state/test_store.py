"""The state folder: what a commit keeps, who may use it, and what is done with a damaged one."""

from __future__ import annotations

import os
import sqlite3

import numpy as np
import pytest

from exporter.contracts import CHANGE, RECORD, UNKNOWN
from exporter.errors import StateError, StateLocked, StateVersion
from exporter.state import State, store
from tests.ledgers import keys, rows_at, slots, stored


def records(*ids):
    out = np.zeros(len(ids), RECORD)
    out["key"], out["actual"] = keys(ids), UNKNOWN
    return out


def relabel(state, slot, actual):
    change = np.zeros(1, CHANGE)
    change["slot"], change["actual"] = slot, actual
    state.table("t").relabel(change)


def abandon(state):
    """Let go of the lock only: what a kill leaves behind."""
    state._database.close()
    os.close(state._lock)
    state._lock = None


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def open_state(folder):
    """Opens the state in *folder*, and closes whatever is still open at the end."""
    opened = []

    def open_(path=folder):
        opened.append(State(path))
        return opened[-1]

    yield open_
    for state in opened:
        state._let_go()


def test_blobs_are_kept_and_removed(open_state):
    """A commit sets and removes blobs; they are listed by prefix, in order."""
    state = open_state()
    state.commit({"a/2": b"two", "a/1": b"one", "b": b"\0\xff"})
    state.commit({"a/2": None, "a/3": b""})
    state.close()
    state = open_state()
    assert (state.get("b"), state.get("a/2"), state.get("nothing")) == (b"\0\xff", None, None)
    assert list(state.scan("a/")) == [("a/1", b"one"), ("a/3", b"")]
    assert state.size > 0


@pytest.mark.parametrize("end", [State.close, abandon], ids=["closed", "killed"])
def test_rows_and_labels_come_back(open_state, end):
    """Closed or killed: committed rows and labels are there, what was not committed is not."""
    state = open_state()
    stored(state.table("t"), records("a", "b"))
    state.commit({})
    relabel(state, 0, 5)
    state.commit({})
    relabel(state, 1, 6)
    stored(state.table("t"), records("c"))
    end(state)
    table = open_state().table("t")
    assert slots(table, keys("abc")).tolist() == [0, 1, -1]
    assert rows_at(table, np.array([0, 1]))["actual"].tolist() == [5, UNKNOWN]


def test_label_changes_are_dropped_once_they_are_in_the_rows(open_state, folder, monkeypatch):
    """The list of changes does not grow without end, and there is one file of it at most."""
    frame = 12 + len("t") + CHANGE.itemsize
    monkeypatch.setattr(store, "FLUSH_AFTER", 3 * frame)
    state = open_state()
    stored(state.table("t"), records(*range(10)))
    state.commit({})
    kept = []
    for slot in range(10):
        relabel(state, slot, slot)
        state.commit({})
        kept.append([path.stat().st_size // frame for path in folder.glob("changes-*")])
    assert kept == [[1], [2], [3], [], [1], [2], [3], [], [1], [2]]
    abandon(state)
    assert rows_at(open_state().table("t"), np.arange(10))["actual"].tolist() == list(range(10))


def test_a_folder_is_used_by_one_process(open_state, folder):
    """The second one is told whom to give way to, and the lock goes with its holder."""
    state = open_state()
    with pytest.raises(StateLocked, match=r"give each its own --state\.path"):
        State(folder)
    state.close()
    open_state()


def test_a_newer_format_is_refused_untouched(open_state, folder):
    """A downgrade says what to do and destroys nothing, and lets go of the folder."""
    open_state().close()
    database = sqlite3.connect(folder / "state.sqlite")
    database.execute(f"PRAGMA user_version = {store.FORMAT + 1}")
    database.close()
    for _ in range(2):
        with pytest.raises(StateVersion, match=r"upgrade the exporter, or start with another --state\.path"):
            State(folder)
    assert not list(folder.glob("damaged-*"))


def test_a_path_that_cannot_be_a_folder(tmp_path):
    """A file in the way is named, with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file.*name another --state\.path"):
        State(tmp_path / "file")


def test_a_dropped_table_is_gone(open_state, folder):
    """Its rows, labels and files go, and a new one begins at slot 0."""
    state = open_state()
    stored(state.table("t"), records("a"))
    state.commit({})
    relabel(state, 0, 5)
    state.commit({})
    state.drop_table("t")
    assert list((folder / "rows").iterdir()) == []
    state.commit({})
    assert stored(state.table("t"), records("b")).tolist() == [0]
    state.commit({})
    state.close()
    assert slots(open_state().table("t"), keys("ab")).tolist() == [-1, 0]


@pytest.mark.parametrize("name", ["a/b", "../up", "ä ö\n", "." * 3, "%2f", "n" * 3000, "é" * 300, "\ud800"])
def test_any_name_is_a_table(open_state, folder, name):
    """Names of users' models never leave the folder, nor meet each other in it."""
    state = open_state()
    for table in (name, name + "x", name + "%"):
        stored(state.table(table), records(table.encode(errors="replace")))
    assert len(list((folder / "rows").iterdir())) == 3
    assert {path.name for path in folder.parent.iterdir()} == {"state"}


def test_memory_needs_no_folder():
    """Without a path everything works and nothing stays."""
    state = State(None)
    state.commit({"a": b"1"})
    stored(state.table("t"), records("a"))
    state.commit({})
    assert state.get("a") == b"1"
    assert state.size > 0
    state.close()


def test_a_failed_commit_can_be_made_again(open_state):
    """If the database refuses, nothing is lost, and the same commit goes through later."""
    state = open_state()
    stored(state.table("t"), records("a"))
    state.commit({"x": b"1"})
    relabel(state, 0, 5)
    state._database.execute("PRAGMA query_only = ON")
    with pytest.raises(StateError, match="nothing is lost"):
        state.commit({"x": b"2"})
    assert rows_at(state.table("t"), np.array([0]))["actual"][0] == UNKNOWN
    state._database.execute("PRAGMA query_only = OFF")
    state.commit({"x": b"2"})
    abandon(state)
    state = open_state()
    assert state.get("x") == b"2"
    assert rows_at(state.table("t"), np.array([0]))["actual"][0] == 5


def test_a_failed_flush_is_made_up_for(open_state, caplog):
    """A disk that refuses to drop old changes does not fail a commit that is done, nor the end."""
    state = open_state()
    stored(state.table("t"), records("a"))
    state.commit({})
    relabel(state, 0, 5)
    state.commit({})
    state._database.execute("PRAGMA query_only = ON")
    state.close()
    assert "label changes stay" in caplog.text
    assert rows_at(open_state().table("t"), np.array([0]))["actual"][0] == 5


def test_another_boot_builds_the_index_anew(open_state, folder, monkeypatch, tmp_path):
    """After a power cut the index may be torn; a new boot id says so, and rows alone are believed."""
    state = open_state()
    stored(state.table("t"), records("a", "b"))
    state.commit({})
    state.close()
    (index,) = (folder / "rows" / "t").glob("*.index")
    index.write_bytes(b"\xff" * index.stat().st_size)
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(store, "_BOOT_ID", tmp_path / "boot")
    assert slots(open_state().table("t"), keys("abc")).tolist() == [0, 1, -1]
