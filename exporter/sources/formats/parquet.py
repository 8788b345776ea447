"""Parquet, read row group by row group, columns taken from Arrow's buffers.

pyarrow is imported with the first read.  `to_numpy` is avoided: it imports pandas where that is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import SourceDataError, SourceUnavailable
from exporter.sources.records import Column, Instants, Records, Texts, Words, identity

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Parquet:
    """Reads Parquet; a dotted path leads into structs, or names a column that has the dots in it.

    The row group last read is kept until its last record was given out, so that reading a group in parts
    decodes it once.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._kept: tuple[Any, int, Any] | None = None

    def read(self, file: IO[bytes], name: str, start: int, limit: int) -> tuple[Records, bool]:
        try:
            import pyarrow as pa  # noqa: PLC0415 - only who reads Parquet pays for it
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            raise SourceUnavailable(
                f"{name}: reading Parquet needs pyarrow; pip install 'prometheus-model-exporter[parquet]'"
            ) from None
        pa.set_memory_pool(pa.system_memory_pool())  # the default pool holds on to 60 MB and more
        try:
            table, more = self._table(pq.ParquetFile(file, pre_buffer=False), identity(file), start, limit)
            columns = {path: _column(_found(table, path), len(table)) for path in self._paths}
        except (pa.ArrowException, OSError, ValueError) as error:
            raise SourceDataError(f"{name}: not a whole Parquet file: {_first_line(error)}") from error
        count = len(table)
        return Records(columns, count, lambda row: f"{name}, row {start + row + 1}"), more

    def _table(self, parquet: Any, version: Any, start: int, limit: int) -> tuple[Any, bool]:
        """The records from *start* on, within one row group, and whether more follow."""
        metadata = parquet.metadata
        first = 0
        for group in range(metadata.num_row_groups):
            size = metadata.row_group(group).num_rows
            if start < first + size:
                table = self._group(parquet, version, group).slice(start - first, limit)
                end = start + len(table)
                if end >= first + size:
                    self._kept = None
                return table, end < metadata.num_rows
            first += size
        return self._flat(parquet.schema_arrow.empty_table()), False

    def _group(self, parquet: Any, version: Any, group: int) -> Any:
        if self._kept is not None and version is not None and self._kept[:2] == (version, group):
            return self._kept[2]
        leaves = [column.path for column in (parquet.schema.column(at) for at in range(len(parquet.schema)))]
        wanted = [leaf for leaf in leaves if any(leaf == path or leaf.startswith(f"{path}.") for path in self._paths)]
        table = self._flat(parquet.read_row_group(group, columns=wanted, use_threads=False))
        self._kept = (version, group, table)
        return table

    def _flat(self, table: Any) -> Any:
        """*table* with its structs opened, as far down as paths lead."""
        import pyarrow as pa  # noqa: PLC0415

        for _ in range(max((path.count(".") for path in self._paths), default=0)):
            if any(pa.types.is_struct(field.type) for field in table.schema):
                table = table.flatten()
        return table


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _found(table: Any, path: str) -> Any:
    """The column called *path*, in one chunk; None if there is none, or more than one."""
    import pyarrow as pa  # noqa: PLC0415

    at = table.schema.get_all_field_indices(path)
    if len(at) != 1:
        return None
    array = table.column(at[0]).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array


def _column(array: Any, count: int) -> Column:
    """An Arrow array as the column whose type says most."""
    import pyarrow as pa  # noqa: PLC0415

    if array is None:
        return Texts([None] * count)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _words(array)
    if pa.types.is_timestamp(kind):
        return _times(array)
    if not array.null_count:
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return _numbers(array)
        if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
            return _lists(array)
    return _kindly(array.to_pylist())


def _kindly(values: list[Any]) -> Column:
    return Texts(values) if set(map(type, values)) <= {str, type(None)} else values


def _numbers(array: Any) -> NDArray[Any]:
    """An array of fixed width as NumPy, straight from its buffer; where it is null anything may stand."""
    kind = np.dtype(array.type.to_pandas_dtype())  # the name is Arrow's; it is a NumPy type
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]


def _words(array: Any) -> Column:
    names = array.dictionary.to_pylist()
    if set(map(type, names)) <= {str}:
        codes = array.indices.fill_null(len(names)) if array.null_count else array.indices
        return Words(_numbers(codes), (*names, None))
    return _kindly([None if code is None else names[code] for code in array.indices.to_pylist()])


def _times(array: Any) -> Column:
    """Timestamps: with a zone they are instants, without one they are in the zone that the config names."""
    kind = array.type
    ticks = _numbers(array.view("int64"))
    null = np.array(array.is_null().to_pylist(), np.bool_) if array.null_count else np.zeros(len(array), np.bool_)
    if kind.tz is not None:
        whole, rest = np.divmod(ticks, _PER_SECOND[kind.unit])  # the quotient of large ticks would be rounded
        seconds: NDArray[np.float64] = np.where(null, np.nan, whole + rest / _PER_SECOND[kind.unit])
        return seconds.view(Instants)
    local = ticks.astype(f"datetime64[{kind.unit}]")
    local[null] = np.datetime64("NaT")
    return local


def _lists(array: Any) -> Column:
    """Lists of numbers; a matrix if they are of one length."""
    items = array.flatten()
    width = len(items) // len(array) if len(array) else 0
    lengths = set(array.value_lengths().to_pylist())
    if lengths == {width} and not items.null_count and items.type in _floating():
        return _numbers(items).reshape(len(array), width)
    return _kindly(array.to_pylist())


def _floating() -> tuple[Any, ...]:
    import pyarrow as pa  # noqa: PLC0415

    return pa.float32(), pa.float64()
