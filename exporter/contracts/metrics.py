"""Metrics and the families that make them: specs, series, additive cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from exporter.contracts.rows import Floats
from exporter.contracts.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric of the catalogue: the source of validation, docs, `model-exporter metrics` and tests."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the exposition without its value: sample name (with suffix) and label pairs."""

    metric: str
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """Additive increments: `weight[i]` (1 where None) onto cell `local[i]` of its row's group; shape (m,).

    `row[i]` is the row that an increment came from; None where every row gave just one, in order.  `more` are further
    increments of the same rows: other cells, or one for all of them, and their weights.
    """

    row: NDArray[np.intp] | None
    local: NDArray[np.int64]
    weight: Floats | None = None
    more: tuple[tuple[NDArray[np.int64] | int, Floats], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the scores of one group mean, fitted to its labelled history, and what was expected by earlier fits.

    `probability` (shape (bins,)) is the share of positives that is expected in each bin of scores, None before the
    first fit; `labelled` predictions went into it, whose newest label is of event time `newest`.  `fits` counts fits
    by result.  When this fit came, a family's cells were at `sums` (added and retracted, shape (2, size)), and what
    earlier fits had expected of them is `before`.
    """

    probability: Floats | None = None
    labelled: int = 0
    newest: float = 0.0
    fits: Mapping[str, int] = field(default_factory=dict)
    sums: Floats | None = None
    before: Floats | None = None


FITS = ("fitted", "crashed", "timeout", "invalid")
"""How a fit can end."""


@runtime_checkable
class Family(Protocol):
    """Pure arithmetic on mergeable counts: columns in, cells out; cells in, values out.

    It serves models of its `tasks` only, and none of which its `size` is 0.  `meaning` is whatever gives its cells
    their meaning beyond the model's classes, such as bucket bounds: where that changes, its counts begin anew.

    Windows hold rows by the time of their label; those of a family whose `by_prediction` is true hold them by the time
    of their prediction, and are never by count.

    A family never sees a clock, a file or a window: the pipeline adds its cells up, over all time and over
    every configured window, and asks for the values of those sums.
    """

    specs: ClassVar[tuple[MetricSpec, ...]]
    tasks: ClassVar[frozenset[str]]
    feed: ClassVar[Literal["traffic", "scored"]]
    windowed: ClassVar[bool]
    size: int
    meaning: str

    def __init__(self, model: ModelSpec) -> None: ...

    def cells(self, rows: Any) -> Cells:
        """The increments of *rows* (Traffic or Scored, by `feed`)."""
        ...

    def series(self, names: Mapping[str, Sequence[str]]) -> Sequence[Series]:
        """Counter series of one group, given the known names per vocabulary: "class", "error",
        "label" (of a multilabel model), "segment:<attribute>"."""
        ...

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> Iterable[float]:
        """Values in the order of `series`, from cell sums of shape (size,)."""
        ...

    def window_series(self, names: Mapping[str, Sequence[str]]) -> Sequence[Series]:
        """Gauge series of one group and window, without the `window` label."""
        ...

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> Iterable[float]:
        """Values in the order of `window_series`; NaN is undefined, and left out of the exposition."""
        ...


@runtime_checkable
class ManyWindows(Family, Protocol):
    """A family to which the gauges of several windows, of several groups even, are little more work than of one."""

    def all_window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> Sequence[list[float]]:
        """As `window_values`, of each of several windows of one group or of many; *counts* has shape (n, size)."""
        ...


@runtime_checkable
class Calibrated(Family, Protocol):
    """A family whose values rest on what scores mean, which is learned of every group."""

    def calibrated(self, calibration: Calibration) -> Calibrated:
        """This family for a group of which *calibration* is known."""
        ...

    def expected(self, sums: Floats) -> Floats:
        """What all fits together expected of cells at *sums*: added and retracted; shapes (2, size), (2, k)."""
        ...
