"""Times of any log as seconds since the epoch: ISO 8601 texts, numbers in s, ms, us or ns, datetimes.

Texts of one length are one matrix of bytes, a row per position, so that all are read with a few dozen operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats
from exporter.sources.records import Column, Instants, Texts
from exporter.sources.values import Rows, is_absent, listed, number, plain, with_gaps

Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
_Bytes: TypeAlias = NDArray[np.uint8]
_Whole: TypeAlias = NDArray[np.int64]
_Mask: TypeAlias = NDArray[np.bool_]

PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
EARLIEST, LATEST = -2_208_988_800.0, 253_402_300_800.0
"""The years 1900 to 9999."""

_GUESSED = (1e11, 1e14, 1e17)
_LONGEST = 40
_QUARTER = 900
_DAYS_BEFORE_MONTH = np.array([0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334], np.int64)
_DAYS_IN_MONTH = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)


class Times:
    """Reads columns of times; *zone* is what times without one are in.

    A number is in *unit*; where none is given its size tells: below 1e11 it is seconds (until the year 5138), below
    1e14 milliseconds (since 1973), below 1e17 microseconds, else nanoseconds.
    """

    def __init__(self, zone: str = "UTC") -> None:
        self._zone = None if zone in {"UTC", "Etc/UTC", "Z"} else ZoneInfo(zone)
        self._offsets: dict[int, int] = {}

    def seconds(self, column: Column, unit: Unit | None = None) -> tuple[Floats, Rows]:
        """Epoch seconds of *column* as float64, NaN where absent, and the rows that hold no time of 1900 to 9999."""
        if isinstance(column, Instants):
            times = np.asarray(column, np.float64)
            return times, self._outside(times, np.isnan(times))
        if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "iuf":
            times = _in_seconds(column.astype(np.float64), unit)
            return times, self._outside(times, np.isnan(times))
        if isinstance(column, np.ndarray) and column.dtype.kind == "M":
            return self._datetimes64(column)
        if isinstance(column, Texts):
            return self._texts(column, unit)
        return self._values(column, unit)

    def _outside(self, times: Floats, absent: NDArray[np.bool_] | None = None) -> Rows:
        inside = (times >= EARLIEST) & (times < LATEST)
        if inside.all():
            return np.empty(0, np.intp)
        return np.flatnonzero(~inside if absent is None else ~(inside | absent))

    # --- texts ---

    def _texts(self, column: Sequence[str | None], unit: Unit | None) -> tuple[Floats, Rows]:
        """Texts that are all numbers, or all ISO 8601; any others go through `_values`."""
        try:
            numbers = np.fromiter(map(float, column), np.float64, len(column))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            pass
        else:
            if not np.isnan(numbers).any():
                times = _in_seconds(numbers, unit)
                return times, self._outside(times)
        try:
            lengths = np.fromiter(map(len, column), np.intp, len(column))  # type: ignore[arg-type]
        except TypeError:
            return self._values(column, unit)
        if not column or lengths.min() == 0:
            return self._values(column, unit)
        times = np.full(len(column), np.nan)
        for width in sorted(set(lengths.tolist())):
            rows = np.flatnonzero(lengths == width)
            group = column if len(rows) == len(column) else [column[row] for row in rows.tolist()]
            if width > _LONGEST or len(self._iso(group, rows, times)):
                return self._values(column, unit)
        return times, self._outside(times)

    def _values(self, column: Column, unit: Unit | None) -> tuple[Floats, Rows]:
        """Values of mixed kinds: texts together by length, numbers together, the rest one by one."""
        gaps = with_gaps(listed(column))
        if gaps is not None:
            times = _in_seconds(gaps[0], unit)
            return times, self._outside(times, np.isnan(times))
        values = [plain(value) for value in listed(column)]
        times = np.full(len(values), np.nan)
        absent = np.fromiter(map(is_absent, values), np.bool_, len(values))
        by_length: dict[int, list[int]] = {}
        others: list[int] = []
        for row, value in enumerate(values):
            if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isascii():
                by_length.setdefault(len(value), []).append(row)
            elif not isinstance(value, str):
                others.append(row)
        for group in by_length.values():
            rows = np.array(group, np.intp)
            others += self._iso([values[row] for row in group], rows, times).tolist()
        numeric: list[int] = []
        for row in others:
            times[row] = self._single(values[row])
            if not isinstance(values[row], date):
                numeric.append(row)
        times[numeric] = _in_seconds(times[numeric], unit)
        return times, self._outside(times, absent)

    def _iso(self, texts: Sequence[Any], rows: Rows, times: Floats) -> Rows:
        """Fills *times* at *rows* from *texts* of one length; returns the rows that are not ISO 8601."""
        try:
            joined = "".join(texts).encode("ascii")
        except UnicodeEncodeError:
            return rows
        found = np.full(len(rows), np.nan)
        text = np.frombuffer(joined, np.uint8).reshape(len(rows), -1)
        left = self._matrix(np.ascontiguousarray(text.T), found)
        times[rows] = found
        return rows[left]

    def _single(self, value: Any) -> float:
        """Epoch seconds of a datetime or date, or the number, still in its unit, that *value* is or has as its text.

        NaN for anything else.
        """
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is asked for below
        if isinstance(value, datetime):
            if value.tzinfo is None:
                value = value.replace(tzinfo=self._zone or UTC)
            seconds: float = (value - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
            return seconds
        try:
            return number(value)
        except (TypeError, ValueError, OverflowError):
            return np.nan

    def _matrix(self, text: _Bytes, times: Floats) -> Rows:
        """Fills *times* from ASCII texts, one per column of *text*; returns which of them are not ISO 8601."""
        width = len(text)
        todo = np.arange(text.shape[1])
        for zone_width in (1, 6, 0, 5, 3, 4):
            body = width - zone_width
            if body not in {10, 16, 19} and not 21 <= body <= 29:
                continue
            offset, fits = _zone(text[body:])
            if not fits.any():
                continue
            seconds, valid = _local(text[:body])
            fits &= valid
            if zone_width == 0 and self._zone is not None:
                offset = self._offset(np.where(fits, np.floor(seconds), 0).astype(np.int64))
            times[todo[fits]] = (seconds - offset)[fits]
            if fits.all():
                return todo[:0]
            todo, text = todo[~fits], text[:, ~fits]
        return todo

    # --- the configured zone ---

    def _datetimes64(self, column: NDArray[Any]) -> tuple[Floats, Rows]:
        absent = np.isnat(column)
        whole = np.where(absent, 0, column.astype("datetime64[s]").astype(np.int64))
        fraction = (column - column.astype("datetime64[s]")) / np.timedelta64(1, "s")
        inside = (whole >= EARLIEST) & (whole < LATEST)
        whole = np.where(inside, whole, 0)
        offset = self._offset(whole) if self._zone is not None else 0
        times = np.where(absent, np.nan, whole - offset + np.where(absent, 0.0, fraction))
        return times, np.flatnonzero(~inside)

    def _offset(self, local: _Whole) -> _Whole:
        """UTC offsets in seconds at *local* wall times; offsets change at quarters of an hour, so one per quarter."""
        quarters, at = np.unique(local // _QUARTER, return_inverse=True)
        if len(self._offsets) > 100_000:
            self._offsets.clear()
        return np.array([self._quarter_offset(quarter) for quarter in quarters.tolist()], np.int64)[at]

    def _quarter_offset(self, quarter: int) -> int:
        offset = self._offsets.get(quarter)
        if offset is None:
            try:
                moment = datetime(1970, 1, 1, tzinfo=self._zone) + timedelta(seconds=quarter * _QUARTER)
                difference = moment.utcoffset()
            except OverflowError:
                difference = None
            offset = self._offsets[quarter] = int(difference.total_seconds()) if difference else 0
        return offset


def _in_seconds(numbers: Floats, unit: Unit | None) -> Floats:
    if unit == "s":
        return numbers
    if unit is not None:
        return numbers / PER_SECOND[unit]
    size = np.abs(numbers)
    if not (size >= _GUESSED[0]).any():
        return numbers
    guessed: Floats = numbers / np.array([1.0, 1e3, 1e6, 1e9])[np.searchsorted(_GUESSED, size, side="right")]
    return guessed


def _number(letters: _Bytes) -> tuple[_Whole, _Mask]:
    """The integers that columns of ASCII digits spell, and which columns are digits only."""
    digits = letters - np.uint8(48)  # anything but a digit wraps to above 9
    whole = digits[0].astype(np.int64)
    for digit in digits[1:]:
        whole *= 10
        whole += digit
    return whole, np.asarray(digits.max(axis=0) <= 9)


def _zone(text: _Bytes) -> tuple[_Whole, _Mask]:
    """UTC offsets in seconds of columns that hold nothing, `Z`, ` UTC`, `+hh`, `+hhmm` or `+hh:mm`, and which do."""
    offset = np.zeros(text.shape[1], np.int64)
    width = len(text)
    if width == 0:
        return offset, np.ones(text.shape[1], np.bool_)
    if width == 1:
        return offset, (text[0] | 32) == ord("z")
    if width == 4:
        return offset, np.asarray((text == np.frombuffer(b" UTC", np.uint8)[:, None]).all(axis=0))
    hours, good = _number(text[1:3])
    good &= ((text[0] == ord("+")) | (text[0] == ord("-"))) & (hours < 24)
    minutes = offset
    if width > 3:
        minutes, digits = _number(text[-2:])
        good &= digits & (minutes < 60)
    if width == 6:
        good &= text[3] == ord(":")
    return np.where(text[0] == ord("-"), -1, 1) * (hours * 3600 + minutes * 60), good


def _local(text: _Bytes) -> tuple[Floats, _Mask]:
    """Seconds from 1970 by the wall clock of columns such as `2026-11-22 04:32:19,453`, and which are such."""
    day, good = _days(text[:10])
    seconds: Floats = day * np.float64(86400.0)
    width = len(text)
    if width > 10:
        separator = text[10] | 32
        hours, hour_digits = _number(text[11:13])
        minutes, minute_digits = _number(text[14:16])
        good &= ((separator == ord("t")) | (separator == 32)) & (text[13] == ord(":"))
        good &= hour_digits & minute_digits & (hours < 24) & (minutes < 60)
        seconds += hours * 3600 + minutes * 60
    if width > 16:
        second, digits = _number(text[17:19])
        good &= (text[16] == ord(":")) & digits & (second <= 60)
        seconds += second
    if width > 19:
        fraction, digits = _number(text[20:])
        good &= ((text[19] == ord(".")) | (text[19] == ord(","))) & digits
        seconds += fraction / 10.0 ** (width - 20)
    return seconds, good


def _days(text: _Bytes) -> tuple[_Whole, _Mask]:
    """Days from 1970-01-01 of columns `YYYY-MM-DD`, and which are dates."""
    year, year_digits = _number(text[:4])
    month, month_digits = _number(text[5:7])
    day, day_digits = _number(text[8:10])
    good = year_digits & month_digits & day_digits & (text[4] == ord("-")) & (text[7] == ord("-"))
    good &= (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    month = np.where(good, month, 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= day <= _DAYS_IN_MONTH[month] + (leap & (month == 2))
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    return days + _DAYS_BEFORE_MONTH[month] + (leap & (month > 2)) + day - 1, good
