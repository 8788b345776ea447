"""Mapped fields of the rows on their way: raw columns, names as codes, and rows without a value they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import ABSENT, Codes, FieldSpec
from exporter.sources.names import BAD, TOO_LONG, UNKNOWN_CLASS, Encoder, Judge, Vocabulary, text_of, translated
from exporter.sources.records import Column, Words
from exporter.sources.sieve import Sieve
from exporter.sources.values import listed

Mask = NDArray[np.bool_]


class Fields:
    """The fields that a mapping has; `names` are the vocabularies of those that hold names.

    A field's *judge* gives the codes of its values; each value that it sees has its `map` applied.
    """

    def __init__(
        self, specs: Mapping[str, FieldSpec], names: Mapping[str, Vocabulary], judges: Mapping[str, Judge]
    ) -> None:
        self.specs = specs
        self.names = names
        self._encoders = {
            name: Encoder(translated(judge, specs[name].map)) for name, judge in judges.items() if name in specs
        }

    def __contains__(self, field: str) -> bool:
        return field in self.specs

    def column(self, rows: Sieve, field: str) -> Column:
        """The raw column of a mapped *field*, its `map` applied."""
        spec = self.specs.get(field, FieldSpec())
        if spec.field is None:
            return [spec.constant] * rows.count
        column = rows.raw(spec.field)
        if isinstance(column, Words):
            column = column.texts()
        if spec.map:
            texts = map(text_of, listed(column))
            return [
                value if text is None else spec.map.get(text, value)
                for text, value in zip(texts, listed(column), strict=True)
            ]
        return column

    def codes(self, rows: Sieve, field: str) -> Codes:
        """Codes of a mapped *field*; for a constant, one judgement does for all rows."""
        spec = self.specs.get(field, FieldSpec())
        if spec.field is None:
            code = self._encoders[field].codes([spec.constant])[0] if field in self._encoders else ABSENT
            return np.full(rows.count, code, np.int32)
        return self._encoders[field].codes(rows.raw(spec.field))

    def encode(self, rows: Sieve, field: str, into: str, what: str) -> None:
        """Fills the column *into* with codes, and refuses rows whose value is no name."""
        codes = self.codes(rows, field)
        failed: Mask | None = rows.done.get("failed")
        if failed is not None and field == "predicted":
            codes[failed] = ABSENT
        rows.done[into] = codes
        if len(codes) and codes.min() < ABSENT:
            reasons = {BAD: f"bad_{what}", TOO_LONG: "value_too_long", UNKNOWN_CLASS: "unknown_class"}
            rows.refuse({reason: np.flatnonzero(codes == code) for code, reason in reasons.items()}, field)

    def require(self, rows: Sieve, name: str, reason: str) -> None:
        """Refuses rows without a value in the finished column *name*, unless they report a failure."""
        codes: Codes = rows.done[name]
        if len(codes) and codes.min() < 0:
            failed = rows.done.get("failed")
            rows.refuse({reason: np.flatnonzero(codes < 0 if failed is None else (codes < 0) & ~failed)}, name)

    def group(self, rows: Sieve, field: str, what: str, nameless: str) -> None:
        """Fills the column *field* with codes of names; a row that has none is *nameless*."""
        self.encode(rows, field, field, what)
        codes = rows.done[field]
        if len(codes) and codes.min() == ABSENT:
            codes[codes == ABSENT] = self.names[field].intern(nameless)


class Reader(Protocol):
    """Reads what a model of one task answered, and what is true; `labels` are the names that bits of sets stand for.

    It fills the columns `predicted`, `actual` and `score`, and those of the model's layout: `made.<name>` and
    `truth.<name>`.
    """

    labels: Sequence[str]

    def predict(self, rows: Sieve) -> None: ...

    def label(self, rows: Sieve) -> None: ...
