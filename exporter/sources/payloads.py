"""Predictions that are more than a class: numbers, sets of labels, ranked items; and what is true of them.

Here `predicted` and `actual` are ANY's code where a row has a value; the values are in the layout's columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from exporter.contracts import ABSENT, Floats, ModelSpec
from exporter.sources.fields import Fields, Mask
from exporter.sources.records import Column
from exporter.sources.sieve import Sieve
from exporter.sources.values import Rows, is_absent, numbers

LARGEST = 1e100
"""Numbers that are larger would make infinity of a sum of squares."""


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
