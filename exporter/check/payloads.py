"""Predictions and labels that are more than a class, for people: numbers, sets of labels, ranked items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from exporter.check.layout import clean, counted, entry
from exporter.check.reading import Taken
from exporter.contracts import ANY, Batch

_SOME = 8
_CELL = 40


def predicted(batch: Batch, at: int) -> str:
    """What row *at* predicts; nothing if that is a class."""
    if not _valued(batch) or batch.predicted is None or batch.predicted.codes[at] < 0:
        return ""
    if "labels" in batch.made:
        return _set(int(batch.made["labels"][at]), batch.labels)
    if "items" in batch.made:
        return counted(int(np.count_nonzero(batch.made["items"][at])), "item")
    return "" if batch.score is None else f"{batch.score[at]:.6g}"


def actual(batch: Batch, at: int) -> str:
    """What is true of row *at*; nothing if that is a class, or not known."""
    if batch.actual is None or batch.actual.codes[at] < 0:
        return ""
    if "value" in batch.truth:
        return f"{batch.truth['value'][at]:.6g}"
    if "labels" in batch.truth:
        return _set(int(batch.truth["labels"][at]), batch.labels)
    if "items" in batch.truth:
        return counted(int(np.count_nonzero(batch.truth["gains"][at])), "relevant item")
    return ""


def told(taken: Taken) -> Iterator[str]:
    """The range of all numbers, the commonest labels, and the largest groups of every attribute."""
    of_value = [batch for batch in taken.batches if _valued(batch)]
    scores = [batch.score for batch in of_value if batch.score is not None and not batch.made.keys() & {"labels"}]
    yield from _range("predicted", scores)
    yield from _range("actual", [batch.truth["value"] for batch in taken.batches if "value" in batch.truth])
    for label, made in (("predicted", True), ("actual", False)):
        found: Counter[str] = Counter()
        for batch in taken.batches:
            sets = (batch.made if made else batch.truth).get("labels")
            if sets is not None:
                bits = {name: (sets >> np.uint64(bit)) & np.uint64(1) for bit, name in enumerate(batch.labels)}
                found.update({name: int(has.sum()) for name, has in bits.items()})
        yield from _commonest(label, +found)
    for name in dict.fromkeys(name for batch in taken.batches for name in batch.segments):
        groups: Counter[str] = Counter()
        for batch in taken.batches:
            if name in batch.segments:
                column = batch.segments[name]
                counts = np.bincount(column.codes, minlength=len(column.names)).tolist()
                groups.update(dict(zip(column.names, counts, strict=True)))
        yield from _commonest(clean(name, 14), +groups)


def _valued(batch: Batch) -> bool:
    """Whether the batch's task has no classes."""
    return batch.predicted is not None and list(batch.predicted.names) == [ANY]


def _range(label: str, columns: Sequence[np.ndarray]) -> Iterator[str]:
    values = np.concatenate([column[np.isfinite(column)] for column in columns]) if columns else np.empty(0)
    if len(values):
        yield from entry(label, f"{values.min():.6g} to {values.max():.6g}, mean {values.mean():.6g}")


def _commonest(label: str, found: Counter[str]) -> Iterator[str]:
    if found:
        shown = ", ".join(f"{clean(name, _CELL)} {count:,}" for name, count in found.most_common(_SOME))
        yield from entry(label, shown + (f" and {len(found) - _SOME} more" if len(found) > _SOME else ""))


def _set(bits: int, names: Sequence[str]) -> str:
    held = [name for bit, name in enumerate(names) if bits >> bit & 1]
    return clean(", ".join(held), _CELL) if held else "none of them"
