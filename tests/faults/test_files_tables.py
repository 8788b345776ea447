"""Parquet and NumPy files that are written whole: truncated, replaced, changing under the reader."""

from __future__ import annotations

import io
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporter.errors import SourceDataError


def parquet(*ids, rows_per_group=1000):
    table = pa.table({"id": [str(one) for one in ids], "y": ["a"] * len(ids)})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=rows_per_group)
    return sink.getvalue()


def npz(*ids):
    sink = io.BytesIO()
    np.savez(sink, id=np.array([str(one) for one in ids]), y=np.array(["a"] * len(ids)))
    return sink.getvalue()


@pytest.fixture(params=["parquet", "npz"])
def kind(request):
    return request.param


@pytest.fixture
def pack(kind):
    return {"parquet": parquet, "npz": npz}[kind]


@pytest.fixture
def table(tmp_path, kind):
    return tmp_path / f"x.{kind}"


def replace(path, content):
    new = path.with_name("new")
    new.write_bytes(content)
    new.replace(path)


def test_read_once(table, pack, reads):
    """A table is read once, also after a restart."""
    table.write_bytes(pack(1, 2))
    labels = reads(table)
    assert labels.drain() == ["1", "2"]
    assert labels.drain() == []
    labels.restart()
    assert labels.drain() == []


def test_truncated(table, pack, reads):
    """A table that is cut off is an error, of which nothing is read; it is read once it is whole."""
    whole = pack(*range(2000))
    table.write_bytes(whole[:-100])
    labels = reads(table)
    for _ in range(2):
        with pytest.raises(SourceDataError, match=r"not a whole"):
            labels.poll()
    table.write_bytes(whole)
    assert labels.drain() == [str(number) for number in range(2000)]


def test_replaced_by_a_truncated_one(table, pack, reads):
    """A broken new version is an error and what was read stays; the version after that is read whole."""
    table.write_bytes(pack(1))
    labels = reads(table)
    assert labels.drain() == ["1"]
    replace(table, pack(1, 2)[:-60])
    cursor = labels.cursor
    with pytest.raises(SourceDataError):
        labels.poll()
    assert labels.cursor == cursor
    replace(table, pack(1, 2, 3))
    assert labels.drain() == ["1", "2", "3"]


def test_truncated_beside_a_whole_one(table, pack, reads):
    """A broken table does not keep the others of its folder from being read."""
    table.write_bytes(pack(1)[:-60])
    other = table.with_stem("other")
    other.write_bytes(pack(2))
    labels = reads(table.parent / f"*{table.suffix}")
    assert labels.drain() == ["2"]
    assert labels.drain() == []
    assert list(labels.files.failing) == [str(table)]


def test_replaced_whole_is_read_from_its_beginning(table, pack, reads):
    """A table with another change time is another table, even under the same name and of the same size."""
    table.write_bytes(pack(1, 2))
    labels = reads(table)
    assert labels.drain() == ["1", "2"]
    replace(table, pack(3, 4))
    assert labels.drain() == ["3", "4"]
    table.write_bytes(pack(5, 6))
    os.utime(table, (2e9, 2e9))
    assert labels.drain() == ["5", "6"]


def test_large_table_over_several_polls_and_a_restart(tmp_path, reads):
    """The cursor holds the row, so that a table is read on where the process was stopped."""
    table = tmp_path / "x.parquet"
    table.write_bytes(parquet(*range(5000), rows_per_group=1000))
    labels = reads(table)
    ids = labels.poll()
    assert labels.more
    assert len(ids) == 1000
    labels.restart()
    ids += labels.poll()
    again = labels.cursor
    ids += labels.drain()
    assert ids == [str(number) for number in range(5000)]
    labels.cursor = again
    assert labels.drain() == ids[2000:]


def test_settle_waits_until_a_table_is_unchanged(table, pack, reads, hands):
    """With `settle` a table is not looked into before it has been unchanged for so long."""
    table.write_bytes(pack(1)[:-60])
    hands.wall = table.stat().st_mtime
    labels = reads(table, settle=10.0)
    assert labels.drain() == []
    table.write_bytes(pack(1))
    os.utime(table, (hands.wall + 5, hands.wall + 5))
    hands.wall += 11
    assert labels.drain() == []
    hands.wall += 5
    assert labels.drain() == ["1"]


def test_vanishes_and_comes_back(table, pack, reads):
    """A table that is moved away and back within its folder is not read again."""
    table.write_bytes(pack(1))
    labels = reads(table.parent / f"*{table.suffix}")
    assert labels.drain() == ["1"]
    away = table.rename(table.with_name("away"))
    assert labels.drain() == []
    away.rename(table)
    assert labels.drain() == []
