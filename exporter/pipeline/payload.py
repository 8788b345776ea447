"""The extra columns of a model's layout, from a source's names to our codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Batch, ModelSpec
from exporter.pipeline.names import Vocabulary
from exporter.pipeline.segments import Groups

Mask = NDArray[np.bool_]


class Payload:
    """What one model remembers beyond a class and a score, and the names that stand in it."""

    def __init__(self, spec: ModelSpec) -> None:
        self.layout = spec.layout
        self.labels = Vocabulary(spec.label_capacity, spec.classes if spec.label_capacity else ())
        self.segments = [Groups(one) for one in spec.segments]

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The names that families know of: labels, and the groups of every attribute."""
        return {name: vocabulary.names for name, vocabulary in self.vocabularies.items()}

    @property
    def vocabularies(self) -> dict[str, Vocabulary]:
        groups = {one.spec.vocabulary: one.vocabulary for one in self.segments}
        return {"label": self.labels, **groups} if self.labels.capacity else groups

    @property
    def waiting(self) -> dict[str, dict[str, int]]:
        """How often groups were seen that have no code, by attribute."""
        return {one.spec.name: dict(one.waiting) for one in self.segments if one.waiting}

    @waiting.setter
    def waiting(self, saved: Mapping[str, Mapping[str, int]]) -> None:
        for one in self.segments:
            one.waiting.update(saved.get(one.spec.name, {}))

    @property
    def empty(self) -> tuple[NDArray[np.void] | None, NDArray[np.void] | None]:
        """`made` and `truth` of no rows."""
        made, truth = self.layout.made_dtype, self.layout.truth_dtype
        return (np.empty(0, made) if self.layout.made else None), (np.empty(0, truth) if self.layout.truth else None)

    def coded(self, batch: Batch) -> tuple[NDArray[np.void] | None, NDArray[np.void] | None, Mask]:
        """`made` and `truth` of *batch*, shape (n,) each, and which rows name a label for which there is no room."""
        crowded = np.zeros(len(batch), np.bool_)
        made = truth = None
        if self.layout.made:
            made = np.zeros(len(batch), self.layout.made_dtype)
            for name, _, _ in self.layout.made:
                if name == "segments":
                    self._group(batch, made)
                elif name in batch.made:
                    made[name] = self._column(name, batch.made[name], batch.labels, crowded)
                elif name == "probabilities":
                    made[name] = np.nan
        if self.layout.truth:
            truth = np.zeros(len(batch), self.layout.truth_dtype)
            for name, column in batch.truth.items():
                truth[name] = self._column(name, column, batch.labels, crowded)
        return made, truth, crowded

    def _group(self, batch: Batch, made: NDArray[np.void]) -> None:
        for at, groups in enumerate(self.segments):
            column = batch.segments.get(groups.spec.name)
            if column is not None and len(column.codes):
                made["segments"][:, at] = groups.codes(column)

    def _column(self, name: str, column: NDArray[Any], labels: Sequence[str], crowded: Mask) -> NDArray[Any]:
        return self._sets(column, labels, crowded) if name == "labels" else column

    def _sets(self, sets: NDArray[np.uint64], names: Sequence[str], crowded: Mask) -> NDArray[np.uint64]:
        """Sets in our codes for *sets* in those of *names*; marks rows that have one too many as *crowded*."""
        used = int(np.bitwise_or.reduce(sets)) if len(sets) else 0
        codes = {bit: self.labels.code(names[bit]) for bit in range(used.bit_length()) if used >> bit & 1}
        if all(bit == code for bit, code in codes.items()):
            return sets
        out = np.zeros(len(sets), np.uint64)
        for bit, code in codes.items():
            has = (sets >> np.uint64(bit)) & np.uint64(1)
            if code < 0:
                crowded |= has > 0
            else:
                out |= has << np.uint64(code)
        return out
