"""The groups of an attribute such as region: which have a code, and with it series, of their own."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Categorical, SegmentSpec
from exporter.pipeline.names import OTHER, Vocabulary

WAITING = 1_000
"""How many groups without a code are counted; beyond that the smaller half is forgotten."""


class Groups:
    """Codes of one attribute's groups; 0 is `other`.

    A group gets its code with the prediction that makes it `min_group_size`, as long as there are not `top` others.
    What came before stays in `other`: no count ever moves, so that all of them only grow.
    """

    def __init__(self, spec: SegmentSpec) -> None:
        self.spec = spec
        self.vocabulary = Vocabulary(spec.capacity, [OTHER])
        self.waiting: Counter[str] = Counter()
        """Predictions so far of groups that have no code."""

    def codes(self, column: Categorical) -> NDArray[np.uint16]:
        """The code of every row of *column*, in which no row is without a name; shape (n,)."""
        places = np.flatnonzero(np.bincount(column.codes, minlength=len(column.names)))
        names = {place: column.names[place] for place in places.tolist()}
        known = self.vocabulary.codes_of(names.values())
        table = np.zeros(len(column.names), np.uint16)
        for place, name in names.items():
            table[place] = known.get(name, 0)
        codes: NDArray[np.uint16] = table[column.codes]
        unknown = [place for place, name in names.items() if name not in known]
        if unknown and len(self.vocabulary.names) < self.spec.capacity:
            self._promote(column, unknown, codes)
        return codes

    def _promote(self, column: Categorical, places: list[int], codes: NDArray[np.uint16]) -> None:
        """Count the groups at *places*, and give those that are large enough a code, in the order of their rows."""
        large: list[tuple[int, int]] = []
        for place in places:
            rows = np.flatnonzero(column.codes == place)
            name = column.names[place]
            missing = self.spec.min_group_size - self.waiting[name]
            if len(rows) >= missing:
                large.append((int(rows[missing - 1]), place))
            self.waiting[name] += len(rows)
        for row, place in sorted(large):
            if len(self.vocabulary.names) == self.spec.capacity:
                self.waiting.clear()
                return
            name = column.names[place]
            del self.waiting[name]
            own = np.flatnonzero(column.codes == place)
            codes[own[own >= row]] = self.vocabulary.code(name)
        if len(self.waiting) > WAITING:
            self.waiting = Counter(dict(self.waiting.most_common(WAITING // 2)))
