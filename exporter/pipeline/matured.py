"""Quality by the time of the prediction, over predictions that are old enough for their labels to have come.

Windows of quality run on label time: they tell soon, but labels that come fast need not be like those that come late.
Here a prediction counts once it has reached the age `maturity`, by the watermark, with the label that it has by then;
a label that comes later is added at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from exporter.config.resolved import ModelConfig
from exporter.config.types import duration_text
from exporter.contracts import Cells, Family, Floats, MetricSpec, Scored, Series, Traffic, WindowSpec
from exporter.families.quality import Quality
from exporter.pipeline.coverage import Coverage, Waiting, changes, load
from exporter.windows import Columns, Part, TimeWindow, Totals, chosen, of_rows

_PREFIX = "model_matured_"
_SHOWN = frozenset(
    {
        "model_labelled_predictions_total", "model_labelled_predictions_retracted_total", "model_outcomes_total",
        "model_outcomes_retracted_total", "model_window_labelled_predictions", "model_accuracy_ratio",
        "model_precision_ratio", "model_recall_ratio", "model_f1_ratio",
    }
)  # fmt: skip
"""What of `Quality` is shown of matured predictions, too."""
_POPULATION = {
    "counter": "of predictions that have reached the age `maturity`, added when they do, and at once for labels that "
    "come later",
    "gauge": "over predictions by their own time: those made in the window that ended `maturity` ago, labelled since",
}


def _renamed(name: str) -> str:
    return _PREFIX + name.removeprefix("model_")


def _matured(spec: MetricSpec) -> MetricSpec:
    population = _POPULATION["counter" if spec.type == "counter" else "gauge"]
    if "_retracted_" in spec.name:
        text = f"What corrected labels took back from {_renamed(spec.name).replace('_retracted_', '_')}."
        return MetricSpec(_renamed(spec.name), "counter", text, spec.labels)
    return MetricSpec(_renamed(spec.name), spec.type, f"As {spec.name}, but {population}.", spec.labels)


SPECS = tuple(
    MetricSpec(spec.name, spec.type, spec.help, ("model", "version", *spec.labels))
    for spec in (
        *(_matured(spec) for spec in Quality.specs if spec.name in _SHOWN),
        MetricSpec(
            "model_matured_predictions_total",
            "counter",
            "Predictions that have reached the age `maturity`, with or without a label; failed ones are left out.",
        ),
        MetricSpec(
            "model_matured_label_coverage_ratio",
            "gauge",
            "Share of the predictions made in the window that ended `maturity` ago that have a label.",
            ("window",),
        ),
    )
)


class _Aged:
    """Cells that wait until their rows have matured, and then are counted: over all time, and over windows."""

    def __init__(self, size: int, maturity: float, windows: Sequence[WindowSpec]) -> None:
        self.size = size
        self.columns = Columns()
        self.waiting = Waiting(maturity, size, self.columns)
        self.totals = Totals(size)
        self.windows = {
            window.name: TimeWindow(window.seconds, size, self.columns) for window in windows if window.seconds
        }

    def add(self, cell: NDArray[np.int64], sign: NDArray[np.int8], time: Floats) -> None:
        """Count rows, each in one *cell*; shapes (n,)."""
        column = self.columns.of(cell)
        weight = sign.astype(np.float64)
        of_age, bucket = self.waiting.add_until(time, [(column, weight)])
        if not len(of_age):
            return
        parts: list[Part] = [(column[of_age], weight[of_age])]
        added, back = (
            self.columns.sums([(one, None) for one, _ in chosen(parts, np.flatnonzero(side))])
            for side in (sign[of_age] > 0, sign[of_age] < 0)
        )
        self.totals.add(self.columns.cells, added, back)
        for window in self.windows.values():
            window.add_rows(np.floor(self._end(bucket) / window.width).astype(np.int64), parts)

    def advance(self, watermark: float | None, newest: float) -> None:
        fallen = self.waiting.reached(watermark, newest)
        for window in self.windows.values():
            if self.waiting.newest is not None:
                window.fall(float(self._end(np.array(self.waiting.gone))))
        for bucket, sums in fallen:
            self.totals.add(self.columns.cells[: len(sums)], np.maximum(sums, 0.0), np.maximum(-sums, 0.0))
            for window in self.windows.values():
                window.take(int(np.floor(self._end(np.array(bucket)) / window.width)), sums[np.newaxis].copy())

    def _end(self, bucket: NDArray[np.int64]) -> Floats:
        """The event time at which *bucket*s end: what they hold is taken to be of that time, which moves with them."""
        return ((bucket + 1) * self.waiting.width).astype(np.float64)

    def stores(self, name: str) -> dict[str, Totals | TimeWindow]:
        windows = {f"{name} window {key}": window for key, window in self.windows.items()}
        return {f"{name} total": self.totals, f"{name} waiting": self.waiting, **windows}


class Matured:
    """Quality of the predictions that have reached the age *maturity*, by the time of the prediction."""

    def __init__(self, family: Quality, maturity: float, windows: Sequence[WindowSpec]) -> None:
        self.family = family
        self.meaning = repr((maturity, family.meaning))
        self._scored = _Aged(family.size, maturity, windows)
        self._made = _Aged(1, maturity, windows)
        self._stores = self._scored.stores("scored") | self._made.stores("made")
        self._selectors: tuple[tuple[int, ...], tuple[list[bool], list[bool]]] | None = None

    def add(self, traffic: Traffic, scored: Scored) -> None:
        made = traffic.group[traffic.answerable].astype(np.int64)
        if len(made):
            self._made.add(made, np.ones(len(made), np.int8), traffic.time[traffic.answerable])
        if len(scored):
            cells: Cells = self.family.cells(scored)
            cell = of_rows(scored.group, cells).astype(np.int64) * self.family.size + cells.local
            self._scored.add(cell, scored.sign, scored.time)

    def advance(self, watermark: float | None, newest: float = -np.inf) -> None:
        self._scored.advance(watermark, newest)
        self._made.advance(watermark, newest)

    def series(self, names: Mapping[str, Sequence[str]], windows: Sequence[WindowSpec]) -> list[Series]:
        """Counters first, then the gauges of each of *windows* that is one of time."""
        counters = [Series("model_matured_predictions_total")]
        of_counters, of_gauges = self._selected(names)
        counters += [
            Series(_renamed(one.metric), one.labels)
            for one in itertools.compress(self.family.series(names), of_counters)
        ]
        coverage = Series("model_matured_label_coverage_ratio")
        measures = itertools.compress(self.family.window_series(names), of_gauges)
        gauges = [coverage, *(Series(_renamed(one.metric), one.labels) for one in measures)]
        return counters + [
            Series(gauge.metric, (("window", window.name), *gauge.labels))
            for window in windows
            if window.seconds
            for gauge in gauges
        ]

    def values(self, names: Mapping[str, Sequence[str]], windows: Sequence[WindowSpec], group: int) -> list[float]:
        """Values in the order of `series`."""
        of_counters, of_gauges = self._selected(names)
        every = self.family.values(names, *self._scored.totals.of(group))
        out = [int(self._made.totals.of(group)[0][0]), *itertools.compress(every, of_counters)]
        timed = [window.name for window in windows if window.seconds]
        if timed:
            counts = np.array([self._scored.windows[name].of(group) for name in timed])
            for name, one, gauges in zip(timed, counts, self.family.all_window_values(names, counts), strict=True):
                made = float(self._made.windows[name].of(group)[0])
                out.append(min(1.0, float(one.sum()) / made) if made else float("nan"))
                out += itertools.compress(gauges, of_gauges)
        return out

    def _selected(self, names: Mapping[str, Sequence[str]]) -> tuple[list[bool], list[bool]]:
        """Which counters and gauges of the family are shown; that changes only with how many names there are."""
        known = tuple(map(len, names.values()))
        if self._selectors is None or self._selectors[0] != known:
            counters, gauges = (
                [one.metric in _SHOWN for one in series]
                for series in (self.family.series(names), self.family.window_series(names))
            )
            self._selectors = known, (counters, gauges)
        return self._selectors[1]

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        return changes(self._stores)

    def load(self, name: str, blob: bytes) -> bool:
        return load(name, blob, self._stores)


def aged(config: ModelConfig, families: Sequence[Family]) -> dict[str, Coverage | Matured]:
    """What is counted of predictions that have reached an age, by the name that it is kept under."""
    found: dict[str, Coverage | Matured] = {}
    if config.coverage_ages:
        found["coverage"] = Coverage(config.coverage_ages, [duration_text(age) for age in config.coverage_ages])
    quality = [family for family in families if isinstance(family, Quality)]
    if config.maturity is not None and quality:
        found["matured"] = Matured(quality[0], config.maturity, config.windows)
    return found
