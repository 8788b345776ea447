"""The names that codes stand for in one model: its classes, its error reasons, its groups.

A code is given once and never again, so that remembered rows and saved counts keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from exporter.contracts import ABSENT, Categorical, Codes

OTHER = "other"


class Vocabulary:
    """Texts by code, in the order in which they came, at most *capacity* of them.

    A text that finds no room gets the code of `overflow` (one of the texts), or ABSENT where there is none.
    """

    def __init__(self, capacity: int, known: Sequence[str] = (), overflow: str | None = None) -> None:
        self.capacity = capacity
        self.overflow = overflow
        self.folded = 0
        """How many values of columns counted as `overflow` since the first that found no room."""
        self._full = False
        self.names: list[str] = []
        self._codes: dict[str, int] = {}
        self._translations: dict[int, tuple[Sequence[str], Codes]] = {}
        for name in known:
            self.code(name)

    def code(self, name: str) -> int:
        """The code of *name*, a new one if there is room; lone surrogates, which no file can hold, become `?`."""
        name = _clean(name)
        code = self._codes.get(name)
        if code is not None:
            return code
        reserved = 1 if self.overflow is not None and self.overflow not in self._codes else 0
        if len(self.names) + reserved >= self.capacity and name != self.overflow:
            self._full = True
            return ABSENT if self.overflow is None else self.code(self.overflow)
        self._codes[name] = len(self.names)
        self.names.append(name)
        return self._codes[name]

    def codes_of(self, names: Iterable[str]) -> dict[str, int]:
        """The codes of those *names* that have one, by name."""
        return {name: code for name in names if (code := self._codes.get(_clean(name))) is not None}

    def codes(self, column: Categorical) -> Codes:
        """Our codes for *column*'s; only names that occur in it get one.  Shape (n,)."""
        names, table = self._translations.get(id(column.names), (column.names, np.empty(0, np.int32)))
        if names is not column.names or len(table) < len(column.names) + 1:
            grown = np.full(len(column.names) + 1, ABSENT - 1, np.int32)
            grown[: len(table) - 1 if len(table) else 0] = table[:-1] if names is column.names else []
            grown[-1] = ABSENT
            table = grown
        out = table[column.codes]
        if (out == ABSENT - 1).any():
            for code in sorted(set(column.codes[out == ABSENT - 1].tolist())):
                table[code] = self.code(column.names[code])
            out = table[column.codes]
        if self._full and self.overflow is not None:
            self.folded += int(np.count_nonzero(out == self._codes[self.overflow]))
        self._translations = {id(column.names): (column.names, table)} | self._few()
        return out

    def _few(self) -> dict[int, tuple[Sequence[str], Codes]]:
        """The translations of the last few columns: a model is fed by two sources, and columns live long."""
        return dict(list(self._translations.items())[:7])


def _clean(name: str) -> str:
    """*name* without lone surrogates, which no file can hold."""
    return name.encode(errors="replace").decode()
