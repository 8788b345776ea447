"""Ranked items as 64-bit fingerprints: what a model put first, and which items were relevant, with their gains."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from exporter.contracts import ABSENT, ModelSpec
from exporter.sources.fields import Fields, Mask
from exporter.sources.names import BAD
from exporter.sources.payloads import LARGEST
from exporter.sources.sieve import Sieve
from exporter.sources.values import id_text, is_absent, listed, number, parsed, plain

REPEATED, TOO_MANY = -11, -12
"""Codes of rankings that name an item twice, and of labels with more relevant items than can be remembered."""


class _FaultError(Exception):
    """What is wrong with a value, as one of the codes."""

    def __init__(self, code: int) -> None:
        self.code = code


class Rankings:
    """Reads the items of a ranking model.

    A prediction is a list of ids, the best first; of these the first `depth` are read.  A label is a list of the
    relevant ids, a mapping of ids to gains (0 or more), or a single id.  Either may be the JSON text of it.
    """

    def __init__(self, fields: Fields, model: ModelSpec) -> None:
        self.fields = fields
        self.labels: Sequence[str] = ()
        self.spec = model.ranking

    def predict(self, rows: Sieve) -> None:
        """The fingerprints of the first items, 0 behind the last one."""
        items = np.zeros((rows.count, self.spec.depth), np.uint64)
        state = np.zeros(rows.count, np.int32)
        failed: Mask = rows.done.get("failed", np.zeros(rows.count, np.bool_))
        for row, value in enumerate(listed(self.fields.column(rows, "predicted"))):
            try:
                found = None if failed[row] else self._ranked(value)
            except _FaultError as fault:
                state[row] = fault.code
                continue
            state[row] = ABSENT if found is None else 0
            items[row, : len(found or ())] = found or ()
        rows.done["predicted"], rows.done["made.items"] = state, items
        reasons = {BAD: "bad_prediction", REPEATED: "repeated_item"}
        rows.refuse({reason: np.flatnonzero(state == code) for code, reason in reasons.items()}, "predicted")
        self.fields.require(rows, "predicted", "missing_prediction")

    def label(self, rows: Sieve) -> None:
        """The fingerprints of the relevant items, ascending, and their gains; 0 behind the last one."""
        items = np.zeros((rows.count, self.spec.relevant), np.uint64)
        gains = np.zeros((rows.count, self.spec.relevant))
        state = np.zeros(rows.count, np.int32)
        for row, value in enumerate(listed(self.fields.column(rows, "actual"))):
            try:
                found = self._relevant(value)
            except _FaultError as fault:
                state[row] = fault.code
                continue
            if found is None:
                state[row] = ABSENT
            elif found:
                items[row, : len(found)], gains[row, : len(found)] = _columns(found)
        rows.done["actual"], rows.done["truth.items"], rows.done["truth.gains"] = state, items, gains
        reasons = {BAD: "bad_label", TOO_MANY: "too_many_items"}
        rows.refuse({reason: np.flatnonzero(state == code) for code, reason in reasons.items()}, "actual")

    def _ranked(self, value: Any) -> list[int] | None:
        value = parsed(value)
        if isinstance(value, (list, tuple)):
            found = [_fingerprint(one) for one in value[: self.spec.depth]]
            if len(set(found)) < len(found):
                raise _FaultError(REPEATED)
            return found
        if is_absent(plain(value)):
            return None
        raise _FaultError(BAD)

    def _relevant(self, value: Any) -> dict[int, float] | None:
        value = parsed(value)
        if isinstance(value, dict):
            found = {_fingerprint(one): gain for one, raw in value.items() if (gain := _gain(raw))}
        elif isinstance(value, (list, tuple)):
            found = {_fingerprint(one): 1.0 for one in value}
        elif is_absent(plain(value)):
            return None
        else:
            found = {_fingerprint(value): 1.0}
        if len(found) > self.spec.relevant:
            raise _FaultError(TOO_MANY)
        return found


def _columns(gains: dict[int, float]) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Items and gains in the order of the items, so that equal labels have equal bytes."""
    items = sorted(gains)
    return np.array(items, np.uint64), np.array([gains[item] for item in items])


def _fingerprint(value: Any) -> int:
    text = id_text(value)
    if not text:
        raise _FaultError(BAD)
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) or 1


def _gain(value: Any) -> float:
    value = plain(value)
    try:
        gain = float(value) if isinstance(value, bool) else number(value)
    except (TypeError, ValueError, OverflowError):
        raise _FaultError(BAD) from None
    if not isfinite(gain) or not 0 <= gain <= LARGEST:
        raise _FaultError(BAD)
    return gain
