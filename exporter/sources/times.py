"""Times of any log as seconds since the epoch: ISO 8601 texts, numbers in s, ms, us or ns, datetimes.

Texts are read column-wise: rows of one length are one matrix of bytes, so that a time costs tens of nanoseconds.
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
from exporter.sources.values import Rows, is_absent, listed, number, plain

Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
_Bytes: TypeAlias = NDArray[np.uint8]
_Whole: TypeAlias = NDArray[np.int64]

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
        joined = _joined(column)
        if joined:
            width = len(joined) // len(column)
            if width * len(column) == len(joined) and set(map(len, column)) == {width}:  # type: ignore[arg-type]
                times = np.full(len(column), np.nan)
                rest = self._matrix(np.frombuffer(joined, np.uint8).reshape(-1, width), times)
                if not len(rest):
                    return times, self._outside(times)
        return self._values(column, unit)

    def _values(self, column: Column, unit: Unit | None) -> tuple[Floats, Rows]:
        """Values of mixed kinds: texts together by length, the rest one by one."""
        values = listed(column)
        times = np.full(len(values), np.nan)
        absent = np.zeros(len(values), np.bool_)
        by_length: dict[int, list[int]] = {}
        for row, raw in enumerate(values):
            value = plain(raw)
            if is_absent(value):
                absent[row] = True
            elif not isinstance(value, str):
                times[row] = self._single(value, unit)
            elif len(value) <= _LONGEST and value.isascii():
                by_length.setdefault(len(value), []).append(row)
        for width, group in by_length.items():
            rows = np.array(group, np.intp)
            joined = "".join([plain(values[row]) for row in group]).encode()
            found = np.full(len(rows), np.nan)
            for left in self._matrix(np.frombuffer(joined, np.uint8).reshape(-1, width), found).tolist():
                found[left] = self._single(plain(values[group[left]]), unit)
            times[rows] = found
        return times, self._outside(times, absent)

    def _single(self, value: Any, unit: Unit | None) -> float:
        """Epoch seconds of a datetime, a date, a number or the text of one; NaN for anything else."""
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is asked for below
        if isinstance(value, datetime):
            if value.tzinfo is None:
                value = value.replace(tzinfo=self._zone or UTC)
            seconds: float = (value - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
            return seconds
        try:
            return float(_in_seconds(np.array([number(value)]), unit)[0])
        except (TypeError, ValueError, OverflowError):
            return np.nan

    def _matrix(self, text: _Bytes, times: Floats) -> Rows:
        """Fills *times* from rows of ASCII of one length; returns the rows that are not ISO 8601."""
        width = text.shape[1]
        todo = np.arange(len(text))
        for zone_width in (1, 0, 6, 5, 3, 4):
            body = width - zone_width
            if body not in {10, 16, 19} and not 21 <= body <= 29:
                continue
            offset, fits = _zone(text[todo, body:])
            seconds, valid = _local(text[todo, :body])
            fits &= valid
            rows = todo[fits]
            if zone_width == 0 and self._zone is not None:
                whole = np.floor(seconds[fits]).astype(np.int64)
                times[rows] = seconds[fits] - self._offset(whole)
            else:
                times[rows] = seconds[fits] - offset[fits]
            todo = todo[~fits]
            if not len(todo):
                break
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


def _joined(column: Sequence[str | None]) -> bytes | None:
    """All texts in one, if each is ASCII and none is absent."""
    try:
        return "".join(column).encode("ascii")  # type: ignore[arg-type]
    except (TypeError, UnicodeEncodeError):
        return None


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


def _number(digits: _Bytes) -> tuple[_Whole, NDArray[np.bool_]]:
    """The integers written in rows of ASCII digits, and which rows are digits only."""
    values = digits - np.uint8(48)  # anything but a digit wraps to above 9
    whole: _Whole = values @ (10 ** np.arange(digits.shape[1] - 1, -1, -1))
    return whole, np.asarray((values <= 9).all(axis=1))


def _zone(text: _Bytes) -> tuple[_Whole, NDArray[np.bool_]]:
    """UTC offsets in seconds of rows that hold nothing, `Z`, ` UTC`, `+hh`, `+hhmm` or `+hh:mm`, and which do."""
    offset = np.zeros(len(text), np.int64)
    width = text.shape[1]
    if width == 0:
        return offset, np.ones(len(text), np.bool_)
    if width == 1:
        return offset, (text[:, 0] | 32) == ord("z")
    if width == 4:
        return offset, (text == np.frombuffer(b" UTC", np.uint8)).all(axis=1)
    hours, good = _number(text[:, 1:3])
    good &= ((text[:, 0] == ord("+")) | (text[:, 0] == ord("-"))) & (hours < 24)
    minutes = offset
    if width > 3:
        minutes, digits = _number(text[:, -2:])
        good &= digits & (minutes < 60)
    if width == 6:
        good &= text[:, 3] == ord(":")
    return np.where(text[:, 0] == ord("-"), -1, 1) * (hours * 3600 + minutes * 60), good


def _local(text: _Bytes) -> tuple[Floats, NDArray[np.bool_]]:
    """Seconds from 1970 by the wall clock of rows such as `2026-11-22 04:32:19,453`, and which rows are such."""
    day, good = _days(text[:, :10])
    seconds: Floats = day * np.float64(86400.0)
    width = text.shape[1]
    if width > 10:
        separator = text[:, 10] | 32
        hours, hour_digits = _number(text[:, 11:13])
        minutes, minute_digits = _number(text[:, 14:16])
        good &= ((separator == ord("t")) | (separator == 32)) & (text[:, 13] == ord(":"))
        good &= hour_digits & minute_digits & (hours < 24) & (minutes < 60)
        seconds += hours * 3600 + minutes * 60
    if width > 16:
        second, digits = _number(text[:, 17:19])
        good &= (text[:, 16] == ord(":")) & digits & (second <= 60)
        seconds += second
    if width > 19:
        fraction, digits = _number(text[:, 20:])
        good &= ((text[:, 19] == ord(".")) | (text[:, 19] == ord(","))) & digits
        seconds += fraction / 10.0 ** (width - 20)
    return seconds, good


def _days(text: _Bytes) -> tuple[_Whole, NDArray[np.bool_]]:
    """Days from 1970-01-01 of rows `YYYY-MM-DD`, and which rows are dates."""
    year, year_digits = _number(text[:, :4])
    month, month_digits = _number(text[:, 5:7])
    day, day_digits = _number(text[:, 8:10])
    good = year_digits & month_digits & day_digits & (text[:, 4] == ord("-")) & (text[:, 7] == ord("-"))
    good &= (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    month = np.where(good, month, 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good &= day <= _DAYS_IN_MONTH[month] + (leap & (month == 2))
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719_162
    return days + _DAYS_BEFORE_MONTH[month] + (leap & (month > 2)) + day - 1, good
