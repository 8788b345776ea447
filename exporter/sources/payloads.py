"""Predictions that are numbers or sets of labels, and what is true of them.

Here `predicted` and `actual` are ANY's code where a row has a value; the values are in the layout's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exporter.contracts import ABSENT, LABELS, Floats, ModelSpec
from exporter.sources.classes import probabilities
from exporter.sources.fields import Fields, Mask
from exporter.sources.names import BAD, TOO_LONG, UNKNOWN_CLASS, Vocabulary, name_of
from exporter.sources.records import Column
from exporter.sources.sieve import Sieve
from exporter.sources.values import Rows, is_absent, listed, numbers, parsed, plain

LARGEST = 1e100
"""Numbers that are larger would make infinity of a sum of squares."""

CROWDED = -5
"""The code of a set with a label for which there is no room."""

_LIKELY = 0.5
_REMEMBERED = 16_384


class Values:
    """Reads the numbers of a regression."""

    def __init__(self, fields: Fields, model: ModelSpec) -> None:
        del model
        self.fields = fields
        self.labels: Sequence[str] = ()

    def predict(self, rows: Sieve) -> None:
        """The predicted number goes into `score`; what a failed row says is passed over."""
        value, bad = _finite(self.fields.column(rows, "predicted"))
        failed: Mask | None = rows.done.get("failed")
        if failed is not None:
            value[failed] = np.nan
            bad = bad[~failed[bad]]
        rows.done["score"] = value
        rows.done["predicted"] = np.where(np.isnan(value), ABSENT, 0).astype(np.int32)
        if len(bad):
            rows.refuse({"bad_prediction": bad}, "predicted")
        self.fields.require(rows, "predicted", "missing_prediction")

    def label(self, rows: Sieve) -> None:
        """The true number."""
        value, bad = _finite(self.fields.column(rows, "actual"))
        rows.done["truth.value"] = value
        rows.done["actual"] = np.where(np.isnan(value), ABSENT, 0).astype(np.int32)
        if len(bad):
            rows.refuse({"bad_label": bad}, "actual")


def _finite(column: Column) -> tuple[Floats, Rows]:
    """float64 of *column*, NaN where absent, and the rows at fault; -0.0 is 0.0: equal values have equal bytes."""
    value, bad = numbers(column, -LARGEST, LARGEST)
    if len(bad):
        absent = np.array([is_absent(column[row]) for row in bad.tolist()])
        value[bad], bad = np.nan, bad[~absent]
    return value + 0.0, bad


# --- sets of labels ------------------------------------------------------------------------------


class LabelSets:
    """Reads the sets of a multilabel model, as 64-bit numbers: bit i is `labels[i]`.

    A set is a list of names, a mapping of names to true or false (or 1 and 0), or, where classes are declared, a list
    of as many 0 and 1; or the JSON text of one of these.  An empty one is a set, too; any other text is one name.
    """

    def __init__(self, fields: Fields, model: ModelSpec) -> None:
        self.fields = fields
        self.model = model
        self.vocabulary = Vocabulary(model.classes)
        self.labels: Sequence[str] = self.vocabulary.names
        self._known: dict[tuple[str, ...], int] = {}

    def predict(self, rows: Sieve) -> None:
        """The predicted set; where it is not mapped, of the labels whose probability is a half or more."""
        if "probabilities" in self.fields:
            self._weigh(rows)
        if "predicted" in self.fields:
            self._read(rows, "predicted", "made.labels", "prediction")
        self.fields.require(rows, "predicted", "missing_prediction")

    def label(self, rows: Sieve) -> None:
        """The true set."""
        self._read(rows, "actual", "truth.labels", "label")

    def _weigh(self, rows: Sieve) -> None:
        column = self.fields.column(rows, "probabilities")
        matrix, absent, bad = probabilities(column, self.model.classes, LABELS, self.model.aliases)
        failed: Mask | None = rows.done.get("failed")
        if failed is not None:
            bad &= ~failed
            absent |= failed
        if "predicted" not in self.fields:
            bits = np.uint64(1) << np.arange(matrix.shape[1], dtype=np.uint64)
            rows.done["made.labels"] = np.where(matrix >= _LIKELY, bits, np.uint64(0)).sum(axis=1, dtype=np.uint64)
            rows.done["predicted"] = np.where(absent | bad, ABSENT, 0).astype(np.int32)
        if bad.any():
            rows.refuse({"bad_probabilities": np.flatnonzero(bad)}, "probabilities")

    def _read(self, rows: Sieve, field: str, into: str, what: str) -> None:
        """Fills the columns *field* and *into*, and refuses rows that hold no set."""
        found = [self._judged(value) for value in listed(self.fields.column(rows, field))]
        state = np.fromiter((min(one, 0) for one in found), np.int32, len(found))
        failed: Mask | None = rows.done.get("failed")
        if failed is not None and field == "predicted":
            state[failed] = ABSENT
        rows.done[into] = np.fromiter((max(one, 0) for one in found), np.uint64, len(found))
        rows.done[field] = state
        reasons = {BAD: f"bad_{what}", TOO_LONG: "value_too_long", UNKNOWN_CLASS: "unknown_class",
                   CROWDED: "too_many_classes"}  # fmt: skip
        if len(state) and state.min() < ABSENT:
            rows.refuse({reason: np.flatnonzero(state == code) for code, reason in reasons.items()}, field)

    def _judged(self, value: Any) -> int:
        """The set that a raw *value* is, ABSENT, or the code of a fault."""
        value = parsed(value)
        if isinstance(value, (list, tuple)):
            if all(type(one) is str for one in value):
                key = tuple(value)
                if key not in self._known:
                    if len(self._known) >= _REMEMBERED:
                        self._known.clear()
                    self._known[key] = self._set(value)
                return self._known[key]
            if self.model.classes and len(value) == len(self.model.classes) and all(map(_is_flag, value)):
                return sum(1 << bit for bit, flag in enumerate(value) if flag)
            return self._set(value)
        if isinstance(value, dict):
            if not all(map(_is_flag, value.values())):
                return BAD
            names = self._set(list(value))
            return names if names < 0 else self._set([name for name, flag in value.items() if flag])
        return ABSENT if is_absent(plain(value)) else self._set([value])

    def _set(self, values: Sequence[Any]) -> int:
        """The set of the names *values*; a name that stands twice is a sign that they are something else."""
        bits = 0
        for value in values:
            name = name_of(value)
            if not isinstance(name, str):
                return BAD if name == ABSENT else name
            name = self.model.aliases.get(name, name)
            if name not in self.vocabulary.codes:
                if self.model.classes:
                    return UNKNOWN_CLASS
                if len(self.labels) >= LABELS:
                    return CROWDED
            bit = 1 << self.vocabulary.intern(name)
            if bits & bit:
                return BAD
            bits |= bit
        return bits


def _is_flag(value: Any) -> bool:
    value = plain(value)
    return isinstance(value, (bool, int, float)) and value in {0, 1}
