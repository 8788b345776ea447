"""NumPy files as columns: arrays of an archive, structured and plain ones."""

import io

import numpy as np
import pytest

from exporter.errors import SourceDataError
from exporter.sources.formats.numpy import NumPy
from exporter.sources.records import Texts


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    file.seek(0)
    return file


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    file.seek(0)
    return file


def read(file, *paths, start=0, limit=1000):
    return NumPy(paths).read(file, "file.npz", start, limit)


def column(records, path):
    values = records.columns[path]
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def test_arrays_of_an_npz_are_columns():
    """Each array is a column of its name; an array that is missing gives a column of None."""
    records, more = read(
        npz(id=["a", "b"], y=np.array([1, 0]), p=np.array([[0.1, 0.9], [0.6, 0.4]]), s=np.array([b"x", b"y"])),
        "id", "y", "p", "s", "none",
    )  # fmt: skip
    assert not more
    assert isinstance(records.columns["id"], Texts)
    assert [column(records, path) for path in ("id", "y", "p", "s", "none")] == [
        ["a", "b"], [1, 0], [[0.1, 0.9], [0.6, 0.4]], ["x", "y"], [None, None],
    ]  # fmt: skip


def test_fields_of_a_structured_array_are_columns():
    """A structured .npy is a table."""
    table = np.array([(1, 0.5), (2, 0.25)], [("id", "u8"), ("score", "f4")])
    records, _ = read(npy(table), "id", "score")
    assert column(records, "id") == [1, 2]
    assert column(records, "score") == [0.5, 0.25]


@pytest.mark.parametrize("order", ["C", "F"])
def test_columns_of_a_plain_array_go_by_number(order):
    """A matrix has the columns 0, 1 and so on, a vector the column 0."""
    records, _ = read(npy(np.array([[1, 2], [3, 4]], order=order)), "0", "1")
    assert (column(records, "0"), column(records, "1")) == ([1, 3], [2, 4])
    assert column(read(npy(np.array([7, 8])), "0")[0], "0") == [7, 8]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_file_read_in_parts_is_the_whole_file(tmp_path, limit):
    """Whatever the limit, all records come once, in order."""
    path = tmp_path / "f.npz"
    np.savez(path, id=np.arange(10))
    reader, found, more = NumPy(["id"]), [], True
    while more:
        with path.open("rb") as file:
            records, more = reader.read(file, "f", len(found), limit)
        found += column(records, "id")
    assert found == list(range(10))
    assert records.place(0) == f"f, row {11 - records.count}"


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    """What was kept of a file is not given out for another one of the same name."""
    path, other = tmp_path / "f.npy", tmp_path / "g.npy"
    np.save(path, np.arange(10))
    np.save(other, np.arange(100, 120))
    reader = NumPy(["0"])
    with path.open("rb") as file:
        reader.read(file, "f", 0, 2)
    other.replace(path)
    with path.open("rb") as file:
        assert column(reader.read(file, "f", 2, 2)[0], "0") == [102, 103]


def test_python_objects_are_never_unpickled():
    """A pickle can run any code; the error says what to save instead."""
    for file in (npz(a=np.array([{}], object)), npy(np.array([{}], object))):
        with pytest.raises(SourceDataError, match=r"file\.npz: holds Python objects"):
            read(file, "a", "0")


def test_arrays_of_different_lengths_are_no_table():
    """The error names the arrays and their lengths."""
    with pytest.raises(SourceDataError, match=r"a: 2, b: 3"):
        read(npz(a=np.arange(2), b=np.arange(3)), "a", "b")


@pytest.mark.parametrize("cut", [0, 1, 10, 60, -1, -40])
@pytest.mark.parametrize("make", [lambda: npz(a=np.arange(1000)), lambda: npy(np.arange(1000))])
def test_a_truncated_file_is_named(make, cut):
    """A file that is still being written raises an error that says which."""
    with pytest.raises(SourceDataError, match=r"file\.npz: not a whole NumPy file"):
        read(io.BytesIO(make().getvalue()[:cut]), "a", "0")


def test_a_scalar_is_one_record():
    """Arrays without an axis are columns of one value."""
    assert column(read(npz(a=np.array(5)), "a")[0], "a") == [5]
    assert column(read(npy(np.array(5)), "0")[0], "0") == [5]


def test_records_are_counted_though_none_of_their_values_is_wanted():
    """A mapping of constants only still learns how many records there are."""
    assert read(npz(a=np.arange(3)))[0].count == 3
