"""Parquet as columns: every type, nested fields, times, and files that are damaged."""

import io
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporter.errors import SourceDataError
from exporter.sources.formats.parquet import Parquet
from exporter.sources.records import Instants, Texts, Words

NOW = datetime(2026, 11, 22, 4, 32, 19, 250_000, tzinfo=UTC)


def written(table, **options):
    file = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), file, **options)
    return file


def read(table, *paths, start=0, limit=1000, **options):
    return Parquet(paths).read(written(table, **options), "file.parquet", start, limit)[0]


def column(records, path):
    values = records.columns[path]
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def test_columns_of_every_type():
    """Values arrive as they were written, null as None, and in columns of their kind."""
    big = 2**64 - 1
    table = {
        "text": ["a", None, "c"],
        "word": pa.array(["x", None, "x"]).dictionary_encode(),
        "big": pa.array([big, 0, 1], pa.uint64()),
        "holes": [1, None, 3],
        "score": [0.5, float("nan"), 1.0],
        "half": pa.array([0.5, 0.25, 1.0], pa.float32()),
        "flag": [True, None, False],
        "money": pa.array([Decimal("1.50"), None, Decimal("2.00")]),
    }
    records = read(table, *table, "none")
    assert column(records, "text") == ["a", None, "c"]
    assert column(records, "word") == ["x", None, "x"]
    assert column(records, "big") == [big, 0, 1]
    assert column(records, "holes") == [1, None, 3]
    assert repr(column(records, "score")) == "[0.5, nan, 1.0]"
    assert column(records, "half") == [0.5, 0.25, 1.0]
    assert column(records, "flag") == [True, None, False]
    assert column(records, "money") == [Decimal("1.50"), None, Decimal("2.00")]
    assert column(records, "none") == [None, None, None]
    assert isinstance(records.columns["text"], Texts)
    assert isinstance(records.columns["word"], Words)
    assert records.columns["big"].dtype == np.uint64


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps(unit):
    """With a zone they are instants in seconds, without one local times; null is absent."""
    moment = NOW if unit != "s" else NOW.replace(microsecond=0)
    table = {
        "zoned": pa.array([moment, None], pa.timestamp(unit, "Europe/Berlin")),
        "naive": pa.array([moment.replace(tzinfo=None), None], pa.timestamp(unit)),
    }
    records = read(table, "zoned", "naive")
    zoned, naive = records.columns["zoned"], records.columns["naive"]
    assert isinstance(zoned, Instants)
    assert zoned[0] == moment.timestamp()
    assert np.isnan(zoned[1])
    assert naive.dtype.kind == "M"
    assert naive[0] == np.datetime64(moment.replace(tzinfo=None))
    assert np.isnat(naive[1])


def test_nested_structs_and_names_with_dots():
    """A dotted path leads into structs, of which some may be null, or names a column literally."""
    table = pa.table({"a": [{"b": {"c": 1}}, None, {"b": None}], "x.y": ["p", "q", "r"]})
    records = read(table, "a.b.c", "x.y")
    assert column(records, "a.b.c") == [1, None, None]
    assert column(records, "x.y") == ["p", "q", "r"]


def test_lists_of_probabilities():
    """Lists of one length come as a matrix, others as lists."""
    records = read({"p": [[0.1, 0.9], [0.2, 0.8]], "q": [[0.1], None]}, "p", "q")
    assert records.columns["p"].tolist() == [[0.1, 0.9], [0.2, 0.8]]
    assert list(records.columns["q"]) == [[0.1], None]


def test_a_list_column_sliced_in_parts():
    """A part of a row group gets its own rows of a matrix and of texts."""
    table = {"p": [[float(at), 1.0] for at in range(10)], "t": [f"r{at}" for at in range(10)]}
    records = read(table, "p", "t", start=4, limit=3)
    assert records.columns["p"].tolist() == [[4.0, 1.0], [5.0, 1.0], [6.0, 1.0]]
    assert column(records, "t") == ["r4", "r5", "r6"]
    assert records.place(0) == "file.parquet, row 5"


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_a_file_read_in_parts_is_the_whole_file(tmp_path, limit, on_disk):
    """Whatever the limit, all records come once, in order, and the last part says that nothing follows."""
    data = written({"id": list(range(11))}, row_group_size=4).getvalue()
    (tmp_path / "f.parquet").write_bytes(data)
    reader, found, more = Parquet(["id"]), [], True
    while more:
        with (tmp_path / "f.parquet").open("rb") if on_disk else io.BytesIO(data) as file:
            records, more = reader.read(file, "f", len(found), limit)
        assert 0 < records.count <= limit
        found += column(records, "id")
    assert found == list(range(11))


@pytest.mark.parametrize("start", [0, 5])
def test_nothing_to_read(start):
    """An empty file, or a start behind the last record, is no fault."""
    records, more = Parquet(["id"]).read(written({"id": pa.array([], pa.int64())}), "f", start, 10)
    assert (records.count, more) == (0, False)
    assert len(records.columns["id"]) == 0


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1, -8, -100])
def test_a_truncated_file_is_named(cut):
    """A file that is still being written raises an error that says which, so that it can be waited for."""
    data = written({"id": list(range(1000))}).getvalue()[:cut]
    with pytest.raises(SourceDataError, match=r"file\.parquet: not a whole Parquet file"):
        Parquet(["id"]).read(io.BytesIO(data), "file.parquet", 0, 10)


def test_pyarrow_is_imported_by_the_first_read_only():
    """Whoever reads no Parquet does not pay for it, and nobody pays for pandas."""
    code = (
        "import sys; from exporter.sources.formats.parquet import Parquet; Parquet(['a']);"
        "assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
