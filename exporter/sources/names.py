"""Names in columns (classes, models, versions, error reasons) become codes into vocabularies.

Each distinct value is judged once, while they are few; the look-up of the rest costs tens of nanoseconds a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from math import isinf
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from exporter.config.types import Scalar, canonical
from exporter.contracts import ABSENT, OPPOSITES, Codes, ModelSpec, WhereSpec
from exporter.sources.records import Column, Texts, Words
from exporter.sources.values import is_absent, listed, plain

Judge: TypeAlias = Callable[[Any], int]
"""A raw value's code: >= 0, ABSENT, or one of the fault codes below it.  Never raises."""

BAD, TOO_LONG, UNKNOWN_CLASS = -2, -3, -4
"""Codes of values that are no name at all, that are longer than `LONGEST`, that are no declared class."""

LONGEST = 256

_LOWEST = UNKNOWN_CLASS
_REMEMBERED = 16_384
_UNSEEN = -9
_NO_LABEL = re.compile("[\x00\ud800-\udfff]")
_NO_ERROR = {"0", "false", "none", "null", "nan"}


class Vocabulary:
    """Names by code, append-only; beyond *most* names every further one is `other`."""

    OTHER = "other"

    def __init__(self, names: Iterable[str] = (), most: int = 10_000) -> None:
        self.names: list[str] = []
        self.codes: dict[str, int] = {}
        self.most = most
        for name in names:
            self.intern(name)

    def intern(self, name: str) -> int:
        """The code of *name*, new or old; a NUL or lone surrogate in it, which no label may hold, turns U+FFFD."""
        code = self.codes.get(name)
        if code is not None:
            return code
        name = _NO_LABEL.sub("\ufffd", name)
        if len(self.names) >= self.most and name not in self.codes:
            name = self.OTHER
        if name not in self.codes:
            self.codes[name] = len(self.names)
            self.names.append(name)
        return self.codes[name]


class Encoder:
    """Codes of a column of names, through a judge that is asked once per distinct value, while they are few.

    Values that Python holds equal though they are not written alike (1, 1.0, True) never share an answer.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[str, dict[Any, int]] = {}
        self._bytes: Codes = np.full(256, _UNSEEN, np.int32)
        self._words: tuple[Sequence[str | None], Codes] = ((), self._bytes)

    def codes(self, column: Column) -> Codes:
        """One code per value, shape (n,), dtype int32; never raises, whatever the values are."""
        if isinstance(column, Texts):
            return self._looked_up("text", column)
        if isinstance(column, np.ndarray) and column.ndim == 1:
            if column.dtype == np.uint8:
                return self._few(column, self._bytes, range(256))
            if column.dtype.kind in "biuf":
                return self._looked_up(column.dtype.kind, column.tolist())
        if isinstance(column, Words):
            if self._words[0] is not column.names:
                self._words = column.names, np.full(len(column.names), _UNSEEN, np.int32)
            return self._few(column.codes, self._words[1], column.names)
        values = listed(column)
        try:
            return self._looked_up("mixed", list(zip(map(type, values), values, strict=True)))
        except TypeError:  # a list or dict among them has no hash
            return np.fromiter(map(self._judge, values), np.int32, len(values))

    def _looked_up(self, kind: str, values: Sequence[Any]) -> Codes:
        """Codes of hashable *values* of one *kind*, which has a memory of its own."""
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = {None: self._judge(None) - _LOWEST}
        try:
            # One call looks up all of them; two more values make sure that it returns a tuple.
            found = itemgetter(*values, None, None)(known)
        except KeyError:
            return self._met(known, kind, values)
        try:
            few = np.frombuffer(bytes(found), np.uint8, len(values))  # the fastest way from a tuple to an array
        except ValueError:
            return np.fromiter(found, np.int32, len(values)) + np.int32(_LOWEST)
        return few.astype(np.int32) + np.int32(_LOWEST)

    def _met(self, known: dict[Any, int], kind: str, values: Sequence[Any]) -> Codes:
        """As `_looked_up`, where some values are new; what is long or at fault is not remembered."""
        judged: dict[Any, int] = {}
        for value in dict.fromkeys(values):
            if value not in known:
                judged[value] = self._judge(value[1] if kind == "mixed" else value)
        codes = [judged[value] if value in judged else known[value] + _LOWEST for value in values]
        if len(known) > _REMEMBERED:
            known.clear()
            known[None] = self._judge(None) - _LOWEST
        for value, code in judged.items():
            raw = value[1] if kind == "mixed" else value
            if code >= ABSENT and not (isinstance(raw, (str, bytes)) and len(raw) > LONGEST):
                known[value] = code - _LOWEST
        return np.array(codes, np.int32)

    def _few(self, places: NDArray[Any], table: Codes, values: Sequence[Any]) -> Codes:
        """Codes of `values[places]`, kept in a *table* as long as *values*; only values that occur are judged."""
        codes: Codes = table.take(places)
        if len(codes) and codes.min() == _UNSEEN:
            for place in dict.fromkeys(places.tolist()):
                if table[place] == _UNSEEN:
                    table[place] = self._judge(values[place])
            codes = table.take(places)
        return codes


def text_of(value: Any) -> str | None:
    """The canonical text of a raw value, of any length; None where there is none."""
    value = plain(value)
    if isinstance(value, date):
        value = value.isoformat()
    if not isinstance(value, (str, int, float)):
        return None
    try:
        return canonical(value)
    except ValueError:  # beyond Python's limit on digits
        return None


def name_of(value: Any) -> str | int:
    """The canonical text of a class or name; ABSENT if there is none, BAD or TOO_LONG for what can be none."""
    value = plain(value)
    if is_absent(value):
        return ABSENT
    text = text_of(value)
    if text is None or (isinstance(value, float) and isinf(value)):
        return BAD
    return text if len(text) <= LONGEST else TOO_LONG


# --- judges --------------------------------------------------------------------------------------


def named(vocabulary: Vocabulary) -> Judge:
    """Any name is welcome."""

    def judge(value: Any) -> int:
        name = name_of(value)
        return vocabulary.intern(name) if isinstance(name, str) else name

    return judge


def classed(vocabulary: Vocabulary, model: ModelSpec) -> Judge:
    """Classes of *model*, under any of their aliases; only declared ones if any are declared."""

    def judge(value: Any) -> int:
        name = name_of(value)
        if not isinstance(name, str):
            return name
        name = model.aliases.get(name, name)
        if model.classes and name not in vocabulary.codes:
            return UNKNOWN_CLASS
        return vocabulary.intern(name)

    return judge


def errors(vocabulary: Vocabulary) -> Judge:
    """The reason of an error field; ABSENT where it says that there was none.

    A reason that is no short text (a flag, a record, a stack trace) is the word `error`.
    """

    def judge(value: Any) -> int:
        value = plain(value)
        if is_absent(value) or (not isinstance(value, str) and not value):
            return ABSENT
        text = text_of(value)
        if text is not None and text.strip().casefold() in _NO_ERROR:
            return ABSENT
        if text is None or value is True or len(text) > LONGEST or not text.strip():
            text = "error"
        return vocabulary.intern(text)

    return judge


def statuses(vocabulary: Vocabulary) -> Judge:
    """The reason `status_500` of an HTTP status from 400 on; ABSENT below; BAD for what is no such status."""

    def judge(value: Any) -> int:
        value = plain(value)
        if is_absent(value):
            return ABSENT
        text = text_of(value)
        if text is None or isinstance(value, bool) or not (text.isascii() and text.isdigit()) or len(text) > 3:
            return BAD
        return vocabulary.intern(f"status_{int(text)}") if int(text) >= 400 else ABSENT

    return judge


def condition(where: WhereSpec) -> Judge:
    """0 for values that meet *where*, 1 for the others."""

    def judge(value: Any) -> int:
        text = text_of(value)
        wanted = (where.one_of is None or text in where.one_of) and text not in where.none_of
        return 0 if wanted else 1

    return judge


def translated(judge: Judge, table: Mapping[str, Scalar] | None) -> Judge:
    """*judge*, after values whose text is in *table* were replaced."""
    if not table:
        return judge

    def translate(value: Any) -> int:
        text = text_of(value)
        return judge(value if text is None else table.get(text, value))

    return translate


def two_classes(model: ModelSpec) -> tuple[str, str]:
    """The negative and the positive class of a binary model.

    Of two declared classes the second is the positive one unless `positive` says otherwise; with none declared,
    the negative class of a positive `1` is `0`, of `true` `false`, and else `not <positive>`.
    """
    if len(model.classes) == 2:
        positive = model.positive if model.positive in model.classes else model.classes[1]
        return next(name for name in model.classes if name != positive), positive
    positive = model.positive or "1"
    return OPPOSITES.get(positive, f"not {positive}"), positive
