"""What is remembered of a prediction and of its label: records of fixed size, with more columns where a task asks."""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = tuple[str, str, tuple[int, ...]]
"""Name, NumPy format and shape of one value, as `numpy.dtype` takes them."""

_KEY: list[Column] = [
    ("key", "<u8", (2,)),
    ("time", "<f8", ()),
    ("score", "<f8", ()),
    ("group", "<u2", ()),
    ("predicted", "<u2", ()),
]
_LABEL: list[Column] = [("label_time", "<f8", ()), ("confirmed", "<f4", ()), ("actual", "<u2", ())]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that one model has beyond the usual ones.

    `made` are remembered of a prediction, such as the probabilities of all classes; `truth` of a label that is more
    than one class code, such as the actual value.  Equal values have equal bytes.
    """

    made: tuple[Column, ...] = ()
    truth: tuple[Column, ...] = ()

    @property
    def made_dtype(self) -> np.dtype[np.void]:
        """The dtype of the extra columns of a prediction."""
        return np.dtype(list(self.made))

    @property
    def truth_dtype(self) -> np.dtype[np.void]:
        """The dtype of the extra columns of a label."""
        return np.dtype(list(self.truth))

    @property
    def record(self) -> np.dtype[np.void]:
        """The dtype of a remembered prediction with the label that it was last given: RECORD, `made`, `truth`."""
        return _dtypes(self)[0]

    @property
    def change(self) -> np.dtype[np.void]:
        """The dtype of a label set in a record: CHANGE, `truth`."""
        return _dtypes(self)[1]


@functools.lru_cache(maxsize=256)
def _dtypes(layout: Layout) -> tuple[np.dtype[np.void], np.dtype[np.void]]:
    made = [("made", layout.made_dtype)] if layout.made else []
    truth = [("truth", layout.truth_dtype)] if layout.truth else []
    return np.dtype([*_KEY, *made, *_LABEL, *truth]), np.dtype([("slot", "<i8"), *_LABEL, *truth])


@functools.cache
def opaque(record: np.dtype[np.void]) -> np.dtype[np.void]:
    """A *record* as mere bytes: copied several times faster than field by field."""
    return np.dtype(f"V{record.itemsize}")


def picked(rows: NDArray[np.void], at: NDArray[Any] | slice) -> NDArray[np.void]:
    """Copies of the *rows* at these positions, or where a mask is true, or a view of a slice of them."""
    return rows.view(opaque(rows.dtype))[at].view(rows.dtype)


PLAIN = Layout()
"""One class code and one score."""

RECORD = PLAIN.record
"""50 bytes by which a prediction is remembered, and the label that it was last given.

`confirmed` is how many seconds after `label_time` the same label was last repeated, rounded down to float32 (a
quarter of a second at 45 days): a different label must not be older than that to count as a correction.
"""

UNKNOWN = 0xFFFF
"""The class code, in a record, of a prediction that has no label yet."""

CHANGE = PLAIN.change
"""A label set in the record at `slot`; absolute, so that doing it twice does no harm."""
