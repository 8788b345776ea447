"""What families share that only count: they have no gauges over windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from exporter.contracts import Floats, Series


class CountersOnly:
    """The half of a Family that is about windows, for one without gauges."""

    windowed: ClassVar[bool] = False

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        return []

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        del names, counts
        return []
