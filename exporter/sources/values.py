"""Raw columns become typed ones: ids to keys, numbers to float64; what Python types a raw value may have.

Every function takes a whole column and also tells which of its rows are at fault.  Columns whose type is known
(`Texts`, NumPy arrays) take a path without a look at each value; the outcome never depends on which path was taken.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from decimal import Decimal
from math import isnan
from sys import float_info
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from exporter.contracts import Categorical, Floats, Keys
from exporter.sources.records import Column, Texts, Words

Rows: TypeAlias = NDArray[np.intp]
"""Positions of rows in a column, ascending."""

EXACT = 2.0**53
"""From here on a float no longer tells which integer was meant."""

_DIGITS = 256


def take(column: Column, rows: Rows) -> Column:
    """The values of *column* at *rows*, in a column of the same kind."""
    if isinstance(column, np.ndarray):
        taken: Column = column[rows]
        return taken
    if isinstance(column, Words):
        return Words(column.codes[rows], column.names)
    values = [column[row] for row in rows.tolist()]
    return Texts(values) if isinstance(column, Texts) else values


def plain(value: Any) -> Any:
    """*value* as a Python str, int, float, bool or None where drivers and NumPy have types of their own."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        if not value.is_finite():
            return float("nan")
        # A huge exponent would otherwise be written out digit by digit.
        return int(value) if value.adjusted() < _DIGITS and value == value.to_integral_value() else float(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value


def is_absent(value: Any) -> bool:
    """Whether a plain *value* says nothing: null, an empty text, or NaN, which pandas writes for null."""
    return value is None or (isinstance(value, str) and not value) or (isinstance(value, float) and isnan(value))


# --- ids -----------------------------------------------------------------------------------------


def keys(texts: Sequence[str]) -> Keys:
    """The 128-bit fingerprint of each text; shape (n, 2)."""
    try:
        digests = b"".join(map(xxhash.xxh3_128_digest, map(str.encode, texts)))
    except UnicodeEncodeError:
        digests = b"".join(xxhash.xxh3_128_digest(str.encode(text, "utf-8", "surrogatepass")) for text in texts)
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def scoped(key: Keys, scope: Categorical) -> Keys:
    """Keys that also tell the scopes apart, for ids that are unique only within a model; shape (n, 2)."""
    mixed: Keys = key ^ keys(scope.names)[scope.codes]
    return mixed


_EMPTY = keys([""])[0, 0]


def id_text(value: Any) -> str | None:
    """The text of an id; "" if there is none, None for what can be no id.

    A number is its decimal digits; a float must be a whole number that it can hold exactly.
    """
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return str(int(value))
    return None


def _digits(value: int) -> str | None:
    try:
        return str(value)
    except ValueError:  # beyond Python's limit on digits
        return None


def identify(column: Column) -> tuple[Sequence[str], Keys, dict[str, Rows]]:
    """Id texts and keys of *column*, and the rows at fault by reason (`missing_id`, `bad_id`)."""
    if isinstance(column, Texts):
        try:
            key = keys(column)
        except TypeError:  # a None among them
            column = Texts(text or "" for text in column)
            key = keys(column)
        missing = np.flatnonzero(key[:, 0] == _EMPTY)
        missing = missing[[not column[row] for row in missing.tolist()]] if len(missing) else missing
        return column, key, {"missing_id": missing} if len(missing) else {}
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu" and column.ndim == 1:
        written = list(map(str, column.tolist()))
        return written, keys(written), {}
    texts = [id_text(value) for value in listed(column)]
    faults = {
        "missing_id": np.array([row for row, text in enumerate(texts) if text == ""], np.intp),
        "bad_id": np.array([row for row, text in enumerate(texts) if text is None], np.intp),
    }
    known = [text or "" for text in texts]
    return known, keys(known), {reason: rows for reason, rows in faults.items() if len(rows)}


def listed(column: Column) -> Sequence[Any]:
    """The values of *column* as Python objects."""
    if isinstance(column, np.ndarray):
        values: list[Any] = column.tolist()
        return values
    return column


def parsed(value: Any) -> Any:
    """*value*, read as JSON (or as Python writes it) if it is the text of a list or a mapping."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if not isinstance(value, str) or value[:1] not in {"[", "{"} or len(value) > 1_000_000:
        return value
    for read in (msgspec.json.decode, ast.literal_eval):
        try:
            return read(value)
        except (ValueError, SyntaxError, msgspec.DecodeError, RecursionError, MemoryError, TypeError):
            continue
    return {"": value}


# --- numbers -------------------------------------------------------------------------------------


def number(value: Any) -> float:
    """*value* as a float; a text may hold one, a bool is none.  Raises ValueError, TypeError or OverflowError."""
    value = plain(value)
    if isinstance(value, bool):
        raise TypeError("a bool is no number")
    if isinstance(value, (str, int, float)):
        return float(value)
    raise TypeError("no number")


def with_gaps(values: Sequence[Any]) -> tuple[Floats, NDArray[np.bool_]] | None:
    """float64 of *values*, and which are None, if all others are floats or integers."""
    if not {float, int, type(None)}.issuperset(map(type, values)):
        return None
    try:
        return np.array(values, np.float64), np.array([value is None for value in values], np.bool_)
    except OverflowError:
        return None


def numbers(column: Column, low: float, high: float) -> tuple[Floats, Rows]:
    """float64 of *column* (NaN where absent), and the rows that hold no finite number from *low* to *high*."""
    high = min(high, float_info.max)
    values = _converted(column)
    gaps = with_gaps(listed(column)) if values is None else None
    if values is not None:
        inside = (values >= low) & (values <= high)
        if inside.all():
            return values, np.empty(0, np.intp)
    elif gaps is not None:
        values = gaps[0]
        inside = (values >= low) & (values <= high) | gaps[1]
    else:
        values = np.full(len(column), np.nan)
        inside = np.zeros(len(column), np.bool_)
        for row, value in enumerate(listed(column)):
            if value is None:
                inside[row] = True
                continue
            try:
                values[row] = found = number(value)
            except (TypeError, ValueError, OverflowError):
                continue
            inside[row] = low <= found <= high
    return values, np.flatnonzero(~inside)


def _converted(column: Column) -> Floats | None:
    """float64 of *column* if each value is a number or the text of one."""
    if isinstance(column, np.ndarray):
        return column.astype(np.float64) if column.ndim == 1 and column.dtype.kind in "iuf" else None
    if isinstance(column, Texts):
        try:
            return np.fromiter(map(float, column), np.float64, len(column))
        except (TypeError, ValueError):
            return None
    return None


def listed_numbers(value: Any) -> list[float]:
    """A list of numbers, or a text of one such as `[0.1, 0.9]` or, as NumPy prints it, `[0.1 0.9]`.

    Raises ValueError, TypeError or OverflowError for anything else.
    """
    if isinstance(value, str):
        inner = value.strip()
        if not (inner.startswith("[") and inner.endswith("]")) or len(inner) > 1_000_000:
            raise ValueError("no list of numbers")
        return [float(part) for part in inner[1:-1].replace(",", " ").split()]
    if isinstance(value, (list, tuple, np.ndarray)):
        return [float(part) for part in value]
    raise TypeError("no list of numbers")
