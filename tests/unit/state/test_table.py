"""Remembered rows: found by id, grown, dropped, and undone to the last commit."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from exporter.contracts import CHANGE, RECORD, UNKNOWN
from exporter.errors import StateError
from exporter.state import segment, table
from exporter.state.table import Table
from tests.ledgers import keys, rows_at, slots, stored


def records(*ids, time=0.0):
    out = np.zeros(len(ids), RECORD)
    out["key"], out["time"], out["actual"] = keys(ids), time, UNKNOWN
    return out


def change(slots, actual, time=1.0):
    out = np.zeros(len(slots), CHANGE)
    out["slot"], out["actual"], out["label_time"] = slots, actual, time
    return out


def commit(one):
    meta, changes = one.prepare()
    one.committed()
    return meta, changes


def reopened(folder, meta, *, trust=True, largest=16):
    one = Table(folder, largest)
    one.restore(meta, trust_index=trust)
    return one


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Segments of 4 rows that grow to 9."""
    monkeypatch.setattr(table, "SMALLEST", 8)


@pytest.fixture
def made(tmp_path):
    """A table on disk."""
    return Table(tmp_path / "rows", 16)


def test_rows_are_found_by_their_whole_key(made):
    """Slots are given in order of arrival, and are -1 for what is not there."""
    assert slots(made, keys("a")).tolist() == [-1]
    assert stored(made, records("a", "b")).tolist() == [0, 1]
    assert slots(made, keys("bxa")).tolist() == [1, -1, 0]
    assert rows_at(made, np.array([1, 0]))["key"].tolist() == keys("ba").tolist()


def test_slots_run_on_through_segments(made):
    """A table grows its segment, then begins new ones; slots do not care."""
    assert stored(made, records(*range(30))).tolist() == list(range(30))
    assert [one.first for one in made.segments] == [0, 9, 18, 27]
    assert slots(made, keys(range(30))).tolist() == list(range(30))
    assert rows_at(made, np.arange(29, -1, -1))["key"].tolist() == keys(range(29, -1, -1)).tolist()


def test_room_is_reserved_over_the_end_of_a_segment(made, monkeypatch):
    """Once room is reserved, appending touches the disk no more, however many segments it takes."""
    stored(made, records(*range(7)))
    made.reserve(20)
    monkeypatch.setattr(segment, "_array", None)
    assert stored(made, records(*range(7, 27))).tolist() == list(range(7, 27))
    assert slots(made, keys(range(27))).tolist() == list(range(27))


def test_reserving_nothing_makes_nothing(made):
    """A table that is not used has no file."""
    made.reserve(0)
    stored(made, records())
    assert not made.segments
    assert not made.folder.exists()


def test_a_full_disk_is_told_before_anything_changes(made, monkeypatch):
    """If there is no room to grow, all stays as it was, and works when there is room again."""
    stored(made, records(*range(4)))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        for wanted in (3, 20):
            with pytest.raises(StateError, match="free some disk"):
                made.reserve(wanted)
        assert slots(made, keys(range(6))).tolist() == [0, 1, 2, 3, -1, -1]
        assert made.segments[0].capacity == 8
    stored(made, records(*range(4, 30)))
    assert slots(made, keys(range(30))).tolist() == list(range(30))


def test_labels_of_committed_rows_wait_for_the_commit(made):
    """A label goes into an old row only when the transaction that names it is durable; into a new one at once."""
    stored(made, records("a"))
    commit(made)
    stored(made, records("b"))
    made.relabel(change([0, 1], 7))
    assert rows_at(made, np.array([0, 1]))["actual"].tolist() == [UNKNOWN, 7]
    _, changes = commit(made)
    assert np.frombuffer(changes, CHANGE)["slot"].tolist() == [0]
    assert rows_at(made, np.array([0, 1]))["actual"].tolist() == [7, 7]


def test_what_was_not_committed_is_undone(made):
    """After a kill only committed rows are there, and their slots are given again."""
    stored(made, records(*range(3)))
    meta, _ = commit(made)
    stored(made, records(*range(3, 25)))
    again = reopened(made.folder, meta)
    assert slots(again, keys(range(25))).tolist() == [0, 1, 2] + [-1] * 22
    assert stored(again, records(*range(20, 25))).tolist() == list(range(3, 8))
    assert slots(again, keys(range(25))).tolist() == [0, 1, 2] + [-1] * 17 + list(range(3, 8))


def test_a_kill_in_the_first_cycle_leaves_nothing_that_harms(tmp_path):
    """Files of a table that was never committed are not taken over: their index would fill up."""
    for ids in (range(4), range(4, 8), range(8, 12)):
        fresh = Table(tmp_path / "rows", 8)
        stored(fresh, records(*ids))
        assert int(np.count_nonzero(fresh.segments[0].index)) == 4


def test_files_that_no_commit_names_are_removed(made):
    """A segment begun just before a kill, and an index outgrown, leave no file behind."""
    stored(made, records(*range(3)))
    meta, _ = commit(made)
    stored(made, records(*range(3, 20)))
    names = {path.name for path in made.folder.iterdir()}
    reopened(made.folder, meta)
    assert {path.name for path in made.folder.iterdir()} == {"000000000000.rows", "000000000000.8.index"} < names


def test_an_outgrown_index_lives_until_the_commit(made):
    """Until the growth is committed, a restart needs the old index."""
    stored(made, records(*range(3)))
    commit(made)
    stored(made, records(*range(3, 8)))
    assert made.obsolete == [made.folder / "000000000000.8.index"]
    commit(made)
    assert sorted(path.name for path in made.folder.iterdir()) == ["000000000000.16.index", "000000000000.rows"]


@pytest.mark.parametrize("harm", ["missing", "short", "zeroed", "distrusted"])
def test_a_lost_index_is_built_anew(made, harm):
    """Whatever happened to an index, the log has all that is needed."""
    stored(made, records(*range(8)))
    meta, _ = commit(made)
    index = made.folder / "000000000000.16.index"
    if harm == "missing":
        index.unlink()
    elif harm == "short":
        os.truncate(index, 24)
    elif harm == "zeroed":
        index.write_bytes(bytes(128))
    again = reopened(made.folder, meta, trust=harm != "distrusted")
    assert slots(again, keys(range(10))).tolist() == [*range(8), -1, -1]


@pytest.mark.parametrize("harm", ["missing", "short"])
def test_lost_rows_are_an_error(made, harm):
    """Rows cannot be made up: a log that is missing or cut is damage."""
    stored(made, records(*range(8)))
    meta, _ = commit(made)
    log = made.folder / "000000000000.rows"
    log.unlink() if harm == "missing" else os.truncate(log, 5 * RECORD.itemsize)
    with pytest.raises(StateError, match=r"000000000000\.rows is missing or too short for 8 rows"):
        reopened(made.folder, meta)


def test_old_segments_are_forgotten_whole(made):
    """A segment goes when all of it is older than the bound; the one being filled stays."""
    for time in range(3):
        stored(made, records(*range(9 * time, 9 * time + 9), time=float(time)))
    dropped = made.forget(before=1.5, most=1000)
    assert [(rows["time"].tolist(), due) for rows, due in dropped] == [([0.0] * 9, True), ([1.0] * 9, True)]
    assert made.forget(before=9.0, most=0) == []
    assert slots(made, keys([3, 20])).tolist() == [-1, 20]
    meta, _ = commit(made)
    assert sorted(path.name for path in made.folder.iterdir()) == ["000000000018.16.index", "000000000018.rows"]
    assert slots(reopened(made.folder, meta), keys([3, 20])).tolist() == [-1, 20]


def test_a_segment_with_room_is_not_forgotten_for_a_reserved_one(made):
    """Rows go on in the segment that has room, also if the next one is there already."""
    stored(made, records(*range(7)))
    made.reserve(5)
    assert made.forget(before=np.inf, most=0) == []
    assert stored(made, records(*range(7, 12))).tolist() == list(range(7, 12))
    assert len(made.forget(before=np.inf, most=0)) == 1
    assert slots(made, keys(range(12))).tolist() == [-1] * 9 + [9, 10, 11]


def test_too_many_rows_push_the_oldest_out(made):
    """Over the cap, the oldest segment goes first, due or not."""
    stored(made, records(*range(27), time=5.0))
    assert [due for _, due in made.forget(before=0.0, most=20)] == [False]
    assert made.rows == 18


def test_forgotten_rows_show_labels_that_wait_for_the_commit(made):
    """What is told of a dropped row includes this cycle's label, while the file keeps what it held."""
    stored(made, records(*range(18), time=5.0))
    meta, _ = commit(made)
    made.relabel(change([2], 1))
    made.relabel(change([2, 17], 3))
    ((rows, _),) = made.forget(before=6.0, most=0)
    assert np.flatnonzero(rows["actual"] != UNKNOWN).tolist() == [2]
    assert rows["actual"][2] == 3
    assert set(rows_at(reopened(made.folder, meta), np.arange(18))["actual"].tolist()) == {UNKNOWN}


def test_labels_of_forgotten_rows_are_passed_over(made):
    """A replayed change of a row that is gone harms nothing."""
    stored(made, records(*range(18), time=5.0))
    made.forget(before=6.0, most=0)
    made.apply(change([2, 12], 1))
    assert rows_at(made, np.array([12]))["actual"].tolist() == [1]


def test_memory_works_like_disk():
    """Without a folder all is the same, less the files."""
    one = Table(None, 16)
    stored(one, records(*range(30)))
    commit(one)
    one.relabel(change([29, 0], 1))
    commit(one)
    assert rows_at(one, np.array([0, 29]))["actual"].tolist() == [1, 1]
    assert [len(rows) for rows in one.scan()] == [9, 9, 9, 3]
    assert one.size > 0


def test_many_keys_share_a_place_in_the_index(made):
    """Keys that begin alike are kept apart by probing, also when the end of the index is reached."""
    clash = records(*range(9))
    clash["key"][:, 0] = 15
    assert stored(made, clash).tolist() == list(range(9))
    assert slots(made, clash["key"][::-1]).tolist() == list(range(8, -1, -1))
    clash["key"][:, 1] ^= np.uint64(1)  # the same place and the same fingerprint, but another key
    assert slots(made, clash["key"]).tolist() == [-1] * 9
