"""NumPy files: arrays of an `.npz` by name, fields of a structured `.npy`, or columns of a plain one by number."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import SourceDataError
from exporter.sources.records import Column, Records, Texts, identity

_FAULTS = (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


class NumPy:
    """Reads `.npz` (compressed or not) and `.npy`; files that hold pickled objects are refused.

    The arrays of an `.npz` must be of one length.  A two-dimensional `.npy` has the columns `0`, `1` and so on, one
    of one dimension the column `0`.  What was read of a file is kept until its last record was given out.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._kept: tuple[Any, dict[str, NDArray[Any]]] | None = None

    def read(self, file: IO[bytes], name: str, start: int, limit: int) -> tuple[Records, bool]:
        version = identity(file)
        if self._kept is not None and version is not None and self._kept[0] == version:
            arrays = self._kept[1]
        else:
            arrays = self._arrays(file, name)
        total = max(map(len, arrays.values()), default=0)
        if any(len(array) != total for array in arrays.values()):
            lengths = ", ".join(f"{key}: {len(array)}" for key, array in sorted(arrays.items()))
            raise SourceDataError(f"{name}: arrays of different lengths ({lengths}); save one value per record")
        more = start + limit < total
        self._kept = (version, arrays) if more else None
        count = max(0, min(limit, total - start))
        columns = {path: _column(arrays.get(path), start, count) for path in self._paths}
        return Records(columns, count, lambda row: f"{name}, row {start + row + 1}"), more

    def _arrays(self, file: IO[bytes], name: str) -> dict[str, NDArray[Any]]:
        """Wanted columns by name, and, so that records can be counted, some column if none is wanted."""
        try:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return _fields(loaded)
            with loaded:
                wanted = [key for key in loaded.files if key in self._paths] or loaded.files[:1]
                return {key: np.atleast_1d(loaded[key]) for key in wanted}
        except _FAULTS as error:
            if str(error).startswith("Object arrays"):
                message = "holds Python objects, which are not read; save plain arrays of numbers or texts"
            else:
                message = f"not a whole NumPy file ({type(error).__name__})"
            raise SourceDataError(f"{name}: {message}") from error


def _fields(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    array = np.atleast_1d(array)
    if array.dtype.names:
        return {field: array[field] for field in array.dtype.names}
    if array.ndim == 1:
        return {"0": array}
    return {str(at): array[:, at] for at in range(array.shape[1])}


def _column(array: NDArray[Any] | None, start: int, count: int) -> Column:
    if array is None:
        return Texts([None] * count)
    part = array[start : start + count]
    if part.dtype.kind == "U" and part.ndim == 1:
        return Texts(part.tolist())
    if part.dtype.kind == "S" and part.ndim == 1:
        return [text.decode("utf-8", "surrogateescape") for text in part.tolist()]
    if part.dtype.kind in "biufM" and part.ndim <= 2:
        return np.ascontiguousarray(part)
    values: list[Any] = part.tolist()
    return values
