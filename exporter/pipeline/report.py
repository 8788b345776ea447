"""What a ledger shows: its series for the exposition, and its status for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from exporter.config.resolved import ModelConfig
from exporter.config.thresholds import bound
from exporter.contracts import (
    Floats,
    MetricSpec,
    ModelSpec,
    ModelStatus,
    Series,
    VersionStatus,
    WindowSpec,
    WindowStatus,
)
from exporter.exposition import Pairs
from exporter.families.estimates import Estimates
from exporter.families.labelled import ACCURACY, IN_WINDOW, LABELLED
from exporter.families.latency import Latency
from exporter.families.quality import Quality
from exporter.families.traffic import TrafficFamily
from exporter.pipeline.ledger import RESULTS, Ledger
from exporter.pipeline.tally import Tally, served

SPECS = (
    MetricSpec(
        "model_info", "gauge", "A model and its version, with its task; always 1.", ("model", "version", "task")
    ),
    MetricSpec(
        "model_last_prediction_timestamp_seconds",
        "gauge",
        "Event time of the newest prediction.",
        ("model", "version"),
    ),
    MetricSpec(
        "model_last_label_timestamp_seconds",
        "gauge",
        "Event time of the newest label that met its prediction.",
        ("model", "version"),
    ),
    MetricSpec(
        "model_pending_predictions",
        "gauge",
        "Predictions that wait for their label and are not older than the horizon.",
        ("model", "version"),
    ),
    MetricSpec("model_orphan_labels", "gauge", "Labels that wait for their prediction.", ("model",)),
    MetricSpec(
        "model_joins_total",
        "counter",
        "What became of predictions and labels at the join: matched, corrected, repeated, outdated, late, early, "
        "duplicate, expired (never labelled), evicted and unclaimed (given up for room).",
        ("model", "result"),
    ),
    MetricSpec(
        "model_threshold",
        "gauge",
        "Bound that the config sets for a measure of a model; rules compare with it. The measure samples says how "
        "many labelled predictions they need.",
        ("model", "measure", "bound", "severity"),
    ),
    MetricSpec("model_objective", "gauge", "Share of right predictions that the config promises.", ("model", "slo")),
    MetricSpec(
        "model_baseline_ratio",
        "gauge",
        "What a measure, the higher the better, was when the model was accepted, as the config says.",
        ("model", "measure"),
    ),
    MetricSpec(
        "model_baseline_loss",
        "gauge",
        "As model_baseline_ratio, of a measure that is the lower the better.",
        ("model", "measure"),
    ),
    MetricSpec(
        "model_segment_min_group_size",
        "gauge",
        "Labelled predictions that a group of an attribute needs in a window to be measured, as the config says.",
        ("model", "attribute"),
    ),
    MetricSpec(
        "model_champion_info",
        "gauge",
        "The version that the config calls the champion, whether it was seen or not; always 1. Without it, rules take "
        "the version with the most labelled predictions of the last day.",
        ("model", "version"),
    ),
)

Block = tuple[tuple[str, ...], object, Pairs, Callable[[], Sequence[Series]], list[float]]
"""Owner, shape, labels, series and values: what `Exposition.put` takes."""


def blocks(ledger: Ledger, groups: Sequence[int], windows: Sequence[WindowSpec]) -> list[Block]:
    """All series of *ledger*: its own, then those of each of its *groups*, with gauges for *windows* only."""
    names = ledger.names
    shape = (*map(len, names.values()), len(windows))
    of_model = (("model", ledger.name),)
    out: list[Block] = [((ledger.name, "model"), (), of_model, _model_series, _model_values(ledger))]
    for name in dict.fromkeys((ledger.name, *(dict(ledger.labels(group))["model"] for group in groups))):
        owner: tuple[str, ...] = (ledger.name, "config", name)
        out.append(
            (owner, (), (("model", name),), partial(_config_series, ledger.config), _config_values(ledger.config))
        )
    for tally in ledger.tallies if windows else ():
        tally.make_gauges(names, groups)
    for group in groups:
        labels = ledger.labels(group)
        owner = (ledger.name, "group", str(group))
        out.append((owner, (), labels, partial(group_series, ledger.spec), _group_values(ledger, group)))
        for tally in ledger.tallies:
            owner = (ledger.name, type(tally.family).__name__, str(group))
            values = tally.values(names, windows, group)
            out.append((owner, shape, labels, partial(tally.series, names, windows), values))
        for kind, one in ledger.aged.items():
            values = one.values(names, windows, group)
            out.append(((ledger.name, kind, str(group)), shape, labels, partial(one.series, names, windows), values))
    return out


def _model_series() -> list[Series]:
    joins = [Series("model_joins_total", (("result", result),)) for result in RESULTS]
    return [Series("model_orphan_labels"), *joins]


def _model_values(ledger: Ledger) -> list[float]:
    return [ledger.held, *(ledger.results[result] for result in RESULTS)]


def _config_series(config: ModelConfig) -> list[Series]:
    """What rules compare with."""
    thresholds = [
        Series("model_threshold", (("measure", measure), ("bound", bound(measure)), ("severity", severity)))
        for measure, bounds in config.thresholds.items()
        for severity in bounds
    ]
    samples = Series("model_threshold", (("measure", "samples"), ("bound", "min"), ("severity", "none")))
    objectives = [Series("model_objective", (("slo", name),)) for name in config.objectives]
    baseline = [
        Series("model_baseline_ratio" if bound(measure) == "min" else "model_baseline_loss", (("measure", measure),))
        for measure in config.baseline
    ]
    sizes = [Series("model_segment_min_group_size", (("attribute", one.name),)) for one in config.spec.segments]
    champion = [Series("model_champion_info", (("version", config.champion),))] if config.champion else []
    return [*thresholds, samples, *objectives, *baseline, *sizes, *champion]


def _config_values(config: ModelConfig) -> list[float]:
    thresholds = [value for bounds in config.thresholds.values() for value in bounds.values()]
    sizes = [one.min_group_size for one in config.spec.segments]
    champion = [1] if config.champion else []
    ratios = [*config.objectives.values(), *config.baseline.values()]
    return [*thresholds, config.min_samples, *ratios, *sizes, *champion]


def group_series(spec: ModelSpec) -> list[Series]:
    """What each version of a model has, whatever its families."""
    return [
        Series("model_info", (("task", spec.task),)),
        Series("model_last_prediction_timestamp_seconds"),
        Series("model_last_label_timestamp_seconds"),
        Series("model_pending_predictions"),
    ]


def _group_values(ledger: Ledger, group: int) -> list[float]:
    return [
        1,
        float(ledger.last_prediction[group]),
        float(ledger.last_label[group]),
        int(ledger.pending.of(group)[0]),
    ]


def status(ledger: Ledger) -> ModelStatus:
    """The model as the web page shows it."""
    versions = tuple(_version(ledger, group) for group in ledger.alive())
    return ModelStatus(name=ledger.name, task=ledger.spec.task, orphan_labels=ledger.held, versions=versions)


def _version(ledger: Ledger, group: int) -> VersionStatus:
    labelled = predictions = failed = 0
    latency = None
    windows: list[WindowStatus] = []
    estimated: dict[str, float | None] = {}
    for tally in ledger.tallies:
        added, retracted = tally.totals.of(group)
        if isinstance(tally.family, TrafficFamily):
            predictions = int(added[: tally.family.classes].sum())
            failed = int(added[tally.family.classes :].sum())
        if isinstance(tally.family, Latency):
            latency = _latency(tally.family.bounds, added)
        if IN_WINDOW in tally.family.specs:
            labelled = _labelled(ledger, tally, added, retracted)
            windows = [_window(ledger, tally, window.name, group) for window in ledger.windows]
        if isinstance(tally.family, Estimates):
            estimated = _estimated(ledger, tally, group)
    pairs = dict(ledger.labels(group))
    prefix = "" if pairs["model"] == ledger.name else f"{pairs['model']} / "
    return VersionStatus(
        version=prefix + pairs["version"],
        predictions=predictions,
        failed=failed,
        latency=latency,
        labelled=labelled,
        pending=int(ledger.pending.of(group)[0]),
        last_prediction=_finite(float(ledger.last_prediction[group])),
        last_label=_finite(float(ledger.last_label[group])),
        windows=tuple(replace(window, estimated=estimated.get(window.name)) for window in windows),
    )


def _latency(bounds: Sequence[float], sums: Floats) -> tuple[float, float] | None:
    """The mean, and the 95th percentile as Prometheus' `histogram_quantile` estimates it, of a histogram's cells."""
    reached = np.cumsum(sums[:-1])
    if not len(bounds) or not reached[-1]:
        return None
    rank = 0.95 * reached[-1]
    bucket = int(np.searchsorted(reached, rank))
    if bucket == len(bounds):
        return float(sums[-1] / reached[-1]), bounds[-1]
    lower = bounds[bucket - 1] if bucket else 0.0
    within = 1 - (reached[bucket] - rank) / sums[bucket]
    return float(sums[-1] / reached[-1]), float(lower + within * (bounds[bucket] - lower))


def _labelled(ledger: Ledger, tally: Tally, added: Floats, retracted: Floats) -> int:
    """Labelled predictions, less those that corrections took back."""
    if isinstance(tally.family, Quality):
        return int((added - retracted).sum())  # it has very many series
    sides = {spec.name: sign for spec, sign in zip(LABELLED, (1, -1), strict=True)}
    pairs = zip(tally.family.series(ledger.names), tally.family.values(ledger.names, added, retracted), strict=True)
    return int(sum(sides.get(series.metric, 0) * value for series, value in pairs))


def _window(ledger: Ledger, tally: Tally, window: str, group: int) -> WindowStatus:
    average = "binary" if ledger.spec.task == "binary" else "macro"
    gauges = tally.gauge_series(ledger.names)
    values = tally.gauges(ledger.names, window, group)
    shown = {
        gauge.metric: value
        for gauge, value in zip(gauges, values, strict=True)
        if dict(gauge.labels).get("average", average) == average
    }
    labelled = int(shown.pop(IN_WINDOW.name))
    if ACCURACY.name not in shown:
        return WindowStatus(name=window, labelled=labelled, measures=_measures(gauges, values))
    return WindowStatus(
        name=window,
        labelled=labelled,
        accuracy=_finite(shown["model_accuracy_ratio"]),
        precision=_finite(shown["model_precision_ratio"]),
        recall=_finite(shown["model_recall_ratio"]),
        f1=_finite(shown["model_f1_ratio"]),
        average=average,
    )


def _estimated(ledger: Ledger, tally: Tally, group: int) -> dict[str, float | None]:
    """The accuracy that is expected of the predictions made inside each window."""
    at = [gauge.metric for gauge in tally.gauge_series(ledger.names)].index("model_estimated_accuracy_ratio")
    names = [window.name for window in served(tally.family, ledger.windows)]
    return {name: _finite(tally.gauges(ledger.names, name, group)[at]) for name in names}


def _measures(gauges: Sequence[Series], values: Iterable[float]) -> dict[str, float | None]:
    """Gauges in words: `ndcg 5`, `r2 score`."""
    shown = {}
    for gauge, value in zip(gauges, values, strict=True):
        if gauge.metric != IN_WINDOW.name:
            word = gauge.metric.removeprefix("model_").removesuffix("_ratio").replace("_", " ")
            shown[" ".join([word, *(text for _, text in gauge.labels)])] = _finite(value)
    return shown


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


__all__ = ["SPECS", "Block", "blocks", "group_series", "status"]
