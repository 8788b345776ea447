"""A made-up week of the exporter's metrics, as OpenMetrics text: every metric of the catalogue, and nothing else.

Quality is counted from one confusion matrix per model, version and replica, so that all measures fit together; every
other metric gets a plausible course by its type and its name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from prometheus_client.parser import text_string_to_metric_families

from exporter import catalogue
from exporter.contracts import MetricSpec
from tests.dashboards import estimated, scored
from tests.servers import CAPTURES

JOB, INSTANCE_PORT = "model-exporter", 9884
HOUR, DAY = 3600, 86400
FRESH, CANARY, BAD_FOR = 3 * HOUR, 6 * HOUR, 2 * HOUR
"""Seconds before the end: for how long samples are dense, how old version 2 is, and how long the bad model is bad."""

Labels = dict[str, str]
Course = tuple[str, Labels, Sequence[int], Sequence[float]]
"""Sample name, labels, times and values of one series."""

VALUES: Mapping[str, Sequence[str]] = {
    "attribute": ["region"],
    "age": ["1h", "1d"],
    "average": ["macro"],
    "correct": ["true", "false"],
    "k": ["1", "3"],
    "at_most": ["-1.0", "0.0", "1.0", "+Inf"],
    "direction": ["over", "under"],
    "gpu": ["0"],
    "group": ["north", "south", "other"],
    "implementation": ["CPython"],
    "major": ["3"],
    "minor": ["11"],
    "mountpoint": ["/", "/var/lib/models"],
    "name": ["NVIDIA L4"],
    "patchlevel": ["7"],
    "probe": ["process", "cgroup"],
    "python_version": ["3.11.7"],
    "reason": ["timeout", "unknown"],
    "result": ["matched", "corrected", "expired", "unclaimed"],
    "role": ["predictions", "labels"],
    "scope": ["container", "host"],
    "side": ["above", "below"],
    "slo": ["accuracy"],
    "uuid": ["GPU-7c1a"],
    "window": ["1h"],
}
"""What labels can be; those of one that is not named here are made up."""
BUCKETS = {"0.01": 0.2, "0.05": 0.7, "0.1": 0.9, "0.5": 0.99, "1.0": 0.999, "+Inf": 1.0}
MEASURES = ("accuracy", "precision", "recall", "f1")
COST = {True: 100, False: 5}
"""What an error costs, by whether it was of the first class."""
LEAST = {"warning": 0.85, "critical": 0.75}
GROUPS = {"north": (0.6, 1.0), "south": (0.3, 0.9), "other": (0.1, 1.0)}
"""Regions: share of the predictions, and by what the usual share of right answers is multiplied there."""
PLACES = {"north": ("59.3", "18.1"), "south": ("-33.9", "18.4")}
LOSS = "mean_absolute_error"
LONG = ("model_absolute_error_sum", "model_squared_error_sum")
"""Counts of the loss that is compared with last week."""
BOUNDS = {
    "label_age": 7200, "label_coverage": 0.5, "error_ratio": 0.05, "latency_p95": 0.4, "estimation_error": 0.05,
    "disparate_impact": 0.8, LOSS: 2,
}  # fmt: skip
BOUNDS_OF_SERVERS = {"cpu": 0.9, "memory": 0.9, "disk": 0.85, "crashes_per_hour": 2}


@dataclass(frozen=True)
class Model:
    """A model with `right` answers out of a hundred, and since `BAD_FOR` with `now`; the first class is positive."""

    name: str
    classes: Sequence[str]
    right: float
    now: float
    target: str
    versions: Sequence[str] = ("1", "2")

    @property
    def task(self) -> str:
        return "binary" if len(self.classes) == 2 else "multiclass"


FLEET = (
    Model("tumour", ("malignant", "benign"), 0.94, 0.94, "tumour-server"),
    Model("fraud.v2+eu", ("fraud", "legit"), 0.92, 0.6, "fraud-server"),
    Model("risk", ("low", "medium", "high"), 0.9, 0.8, "risk-server"),
)


@dataclass(frozen=True)
class Time:
    """Samples until `end`: every `coarse` seconds for `span` seconds, and every minute for the last `fresh` ones."""

    end: int
    span: int = 8 * DAY + 2 * HOUR
    coarse: int = 1200
    fresh: int = FRESH

    def grid(self, seconds: int) -> list[int]:
        fresh = range(self.end - min(seconds, self.fresh), self.end + 1, 60)
        return [*range(self.end - seconds, fresh[0], self.coarse), *fresh]

    @property
    def long(self) -> list[int]:
        return self.grid(self.span)

    @property
    def short(self) -> list[int]:
        return self.grid(min(self.span, FRESH))


def openmetrics(courses: Iterable[Course]) -> Iterator[str]:
    """The text that promtool turns into blocks; series of one name come together."""
    for name, labels, times, values in sorted(courses, key=lambda one: one[0]):
        pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
        head = f"{name}{{{pairs}}} "
        yield "".join(f"{head}{value!r} {at}\n" for at, value in zip(times, values, strict=True) if value == value)  # noqa: PLR0124 - NaN is a gap
    yield "# EOF\n"


def courses(time: Time, models: Sequence[Model] = FLEET, replicas: int = 2) -> Iterator[Course]:
    """Every series of *models* on so many exporters, and of the model servers beside them."""
    specs = {spec.name: spec for spec in catalogue.specs()}
    for replica in range(replicas):
        scrape = {"job": JOB, "instance": f"10.0.0.{replica + 1}:{INSTANCE_PORT}"}
        for model in models:
            for version in model.versions:
                lived = min(CANARY if version == "2" else time.span, time.span)
                yield from _quality(scrape, model, version, time.grid(lived), replica + 1)
                yield from _groups(scrape, model, version, time.grid(lived), replica + 1)
                labels = {"model": model.name, "version": version, "task": model.task}
                often = replace(time, coarse=min(time.coarse, 300)).grid(lived)
                yield "model_info", scrape | labels, often, [1] * len(often)
            yield from _bounds(scrape, model, time.long)
        for spec in specs.values():
            yield from _plain(spec, scrape, models, time)
        yield "up", scrape, time.short, [1] * len(time.short)
        yield "scrape_duration_seconds", scrape, time.short, [0.01] * len(time.short)


# --- quality -------------------------------------------------------------------------------------

OF_QUALITY = (
    "model_predictions_total", "model_labelled_predictions_total", "model_labelled_predictions_retracted_total",
    "model_outcomes_total", "model_outcomes_retracted_total", "model_confusion_total",
    "model_confusion_retracted_total", "model_class_info", "model_info",
    "model_threshold", "model_objective", "model_baseline_ratio", "model_baseline_loss", "model_champion_info",
    "model_server_threshold", "model_confusion_cost",
    "model_segment_outcomes_total", "model_segment_outcomes_retracted_total",
    "model_segment_predictions_total", "model_segment_info",
    "model_matured_labelled_predictions_total",
    "model_matured_labelled_predictions_retracted_total", "model_matured_outcomes_total",
    "model_matured_outcomes_retracted_total",
)  # fmt: skip


def _quality(scrape: Labels, model: Model, version: str, times: Sequence[int], weight: int) -> Iterator[Course]:
    of = scrape | {"model": model.name, "version": version}
    counts = _matrix(model, times, weight)
    if model.task == "binary":
        yield from scored.courses(of, times, _actual(model, counts), empty_top=model.now < model.right)
        yes, no = model.classes
        realised = {"tp": counts[yes, yes], "fn": counts[yes, no], "fp": counts[no, yes], "tn": counts[no, no]}
        yield from estimated.courses(of | {"class": yes}, times, realised)
    ones = [1] * len(times)
    for kind, part in (("", 1), ("_retracted", 100)):
        sums = {pair: [count // part for count in column] for pair, column in counts.items()}
        correct = {"true": [a == p for a, p in sums], "false": [a != p for a, p in sums]}
        for word, chosen in correct.items():
            columns = itertools.compress(sums.values(), chosen)
            column = _added(columns)
            for name in ("model", "model_matured"):
                yield f"{name}_labelled_predictions{kind}_total", of | {"correct": word}, times, column
        for (actual, predicted), column in sums.items():
            yield f"model_confusion{kind}_total", of | {"actual": actual, "predicted": predicted}, times, column
        for labels, column in _outcomes(model, sums):
            for name in ("model", "model_matured"):
                yield f"{name}_outcomes{kind}_total", of | labels, times, column
    for one in model.classes:
        positive = "true" if model.task == "binary" and one == model.classes[0] else "false"
        yield "model_class_info", of | {"class": one, "positive": positive}, times, ones
        columns = [[count * 10 // 9 for count in col] for (_, p), col in counts.items() if p == one]
        yield "model_predictions_total", of | {"predicted": one}, times, _added(columns)


def _groups(scrape: Labels, model: Model, version: str, times: Sequence[int], weight: int) -> Iterator[Course]:
    of = scrape | {"model": model.name, "version": version, "attribute": "region"}
    for group, (share, factor) in GROUPS.items():
        there = replace(model, right=model.right * factor, now=model.now * factor)
        counts = _matrix(there, times, weight * share)
        for kind, part in (("", 1), ("_retracted", 100)):
            sums = {pair: [count // part for count in column] for pair, column in counts.items()}
            for labels, column in _outcomes(model, sums):
                yield f"model_segment_outcomes{kind}_total", of | {"group": group} | labels, times, column
        for one in model.classes:
            columns = [[count * 10 // 9 for count in col] for (_, p), col in counts.items() if p == one]
            yield "model_segment_predictions_total", of | {"group": group, "predicted": one}, times, _added(columns)
        if group in PLACES:
            latitude, longitude = PLACES[group]
            labels = of | {"group": group, "latitude": latitude, "longitude": longitude}
            yield "model_segment_info", labels, times, [1] * len(times)


def _outcomes(model: Model, sums: Mapping[tuple[str, str], Sequence[int]]) -> Iterator[tuple[Labels, list[int]]]:
    """What each class is taken for, against the rest, from a confusion matrix."""
    for one in model.classes:
        for outcome, (hit, same) in {"tp": (1, 1), "fn": (1, 0), "fp": (0, 1), "tn": (0, 0)}.items():
            columns = [col for (a, p), col in sums.items() if (a == one, p == one) == (hit, same)]
            yield {"class": one, "outcome": outcome}, _added(columns)


def _matrix(model: Model, times: Sequence[int], weight: float) -> dict[tuple[str, str], list[int]]:
    """Labelled predictions by actual and predicted class, growing; a replica of more *weight* has more of them."""
    many = len(model.classes)
    share_of = {one: (0.4 if one == model.classes[0] else 0.6 / (many - 1)) for one in model.classes}
    sums = dict.fromkeys(itertools.product(model.classes, repeat=2), 0.0)
    out: dict[tuple[str, str], list[int]] = {pair: [] for pair in sums}
    for before, at in itertools.pairwise([times[0], *times]):
        rows = (at - before) * 0.2 * weight * (1 + 0.5 * math.sin(at * 2 * math.pi / DAY))
        right = model.now if at > times[-1] - BAD_FOR else model.right
        for actual, predicted in sums:
            share = right if actual == predicted else (1 - right) / (many - 1)
            sums[actual, predicted] += rows * share_of[actual] * share
            out[actual, predicted].append(int(sums[actual, predicted]))
    return out


def _actual(model: Model, counts: Mapping[tuple[str, str], list[int]]) -> dict[str, list[int]]:
    """Labelled predictions of a model of two classes by whether they were of the positive one."""
    words = dict(zip(model.classes, ("positive", "negative"), strict=True))
    return {
        word: _added([column for (actual, _), column in counts.items() if actual == one])
        for one, word in words.items()
    }


def _added(columns: Iterator[Sequence[int]] | Sequence[Sequence[int]]) -> list[int]:
    return [sum(row) for row in zip(*columns, strict=True)]


def _bounds(scrape: Labels, model: Model, times: Sequence[int]) -> Iterator[Course]:
    """What the config says of a model and of its server."""
    of, many = scrape | {"model": model.name}, len(times)
    for measure in MEASURES:
        for severity, value in LEAST.items():
            labels = of | {"measure": measure, "bound": "min", "severity": severity}
            yield "model_threshold", labels, times, [value] * many
        yield "model_baseline_ratio", of | {"measure": measure}, times, [0.93] * many
    yield "model_baseline_loss", of | {"measure": LOSS}, times, [1] * many
    for actual, predicted in itertools.permutations(model.classes, 2):
        pair = {"version": model.versions[0], "actual": actual, "predicted": predicted}
        yield "model_confusion_cost", of | pair, times, [COST[actual == model.classes[0]]] * many
    yield "model_champion_info", of | {"version": model.versions[0]}, times, [1] * many
    yield "model_objective", of | {"slo": "accuracy"}, times, [0.9] * many
    for measure, value in BOUNDS.items():
        bound = "min" if measure in {"label_coverage", "disparate_impact"} else "max"
        for severity in LEAST:
            labels = of | {"measure": measure, "bound": bound, "severity": severity}
            yield "model_threshold", labels, times, [value] * many
    for measure, value in BOUNDS_OF_SERVERS.items():
        for severity in LEAST:
            labels = scrape | {"target": model.target, "measure": measure, "severity": severity}
            yield "model_server_threshold", labels, times, [value] * many


# --- everything else -----------------------------------------------------------------------------


def _plain(spec: MetricSpec, scrape: Labels, models: Sequence[Model], time: Time) -> Iterator[Course]:
    if spec.name in OF_QUALITY or spec.name in scored.METRICS | estimated.METRICS:
        return
    for labels in _combinations(spec, models):
        canary = labels.get("version") == "2" and "model" in labels
        lived = CANARY if canary else time.span if spec.name.startswith(LONG) else FRESH
        times = time.grid(min(lived, time.span))
        whole = scrape | labels
        if spec.type == "histogram":
            for bound, share in BUCKETS.items():
                yield f"{spec.name}_bucket", whole | {"le": bound}, times, _growth(times, share)
            yield f"{spec.name}_count", whole, times, _growth(times, 1)
            yield f"{spec.name}_sum", whole, times, _growth(times, 0.04)
        elif spec.type == "counter":
            yield spec.name, whole, times, _growth(times, 0.0001 if "_retracted_" in spec.name else 0.01)
        else:
            fixed = _trouble(spec.name, labels, time.end)
            values = [_level(spec.name, at, time.end) if fixed is None else fixed for at in times]
            yield spec.name, whole, times, values


def _combinations(spec: MetricSpec, models: Sequence[Model]) -> Iterator[Labels]:
    """Label sets of one metric: models and targets belong together, all else is multiplied out."""
    for model in models if {"model", "target"} & {*spec.labels} else models[:1]:
        outer = {"model": model.name, "target": model.target}
        fixed = {name: outer[name] for name in spec.labels if name in outer}
        versions = model.versions if "model" in fixed else ["0.1"]
        names = [name for name in spec.labels if name not in fixed]
        choices = [versions if name == "version" else VALUES.get(name, ["one", "other"]) for name in names]
        for values in itertools.product(*choices):
            yield fixed | dict(zip(names, values, strict=True))


def _growth(times: Sequence[int], rate: float) -> list[float]:
    return [round((at - times[0]) * rate * 3, 4) for at in times]


def _trouble(name: str, labels: Labels, end: int) -> float | None:
    """The one of each kind that is in trouble: a server, a source, and a model without labels for two days."""
    match name, labels.get("model"), labels.get("target"):
        case "model_server_up", _, "risk-server":
            return 0
        case "model_exporter_source_up", "risk", _:
            return 0
        case "model_last_label_timestamp_seconds", "risk", _:
            return end - 2 * DAY
    return None


def _level(name: str, at: int, end: int) -> float:
    if name.endswith("_start_time_seconds"):
        return end - 2 * HOUR
    if name.endswith("_timestamp_seconds"):
        return at - 7
    if name.endswith(("_info", "_up", "_successful")):
        return 1
    if name.endswith("_ratio"):
        return round(0.4 + 0.1 * math.sin(at / HOUR), 4)
    return 1e9 if name.endswith("_bytes") else 12


# --- what others tell ----------------------------------------------------------------------------

ALERTS = (
    {"alertname": "ModelQualityBelowThreshold", "severity": "critical", "category": "quality", "job": JOB,
     "model": "fraud.v2+eu", "measure": "accuracy"},
    {"alertname": "ModelQualityBelowThreshold", "severity": "warning", "category": "quality", "job": JOB,
     "model": "risk", "measure": "accuracy"},
    {"alertname": "ModelServerMemoryHigh", "severity": "warning", "category": "resources", "job": JOB,
     "model": "tumour", "target": "tumour-server"},
    {"alertname": "ModelTrafficLow", "severity": "info", "category": "traffic", "job": JOB, "model": "risk"},
    {"alertname": "ModelExporterWatchdog", "severity": "none", "category": "meta"},
    {"alertname": "NodeClockSkew", "severity": "critical", "job": "node"},
)  # fmt: skip
"""Firing: ours, and one of somebody else."""
PENDING = (
    {"alertname": "ModelLatencyHigh", "severity": "warning", "category": "traffic", "job": JOB, "model": "tumour"},
)


def alerts(time: Time) -> Iterator[Course]:
    """What Prometheus writes of alerts that fire, or are about to, since an hour before the end."""
    times = range(time.end - HOUR, time.end + 1, 60)
    for state, found in (("firing", ALERTS), ("pending", PENDING)):
        for labels in found:
            yield "ALERTS", labels | {"alertstate": state}, times, [1] * len(times)
            yield "ALERTS_FOR_STATE", dict(labels), times, [times[0]] * len(times)


def troubled(time: Time) -> Iterator[Course]:
    """An exporter that went down an hour ago, and a model that never had a label."""
    gone = {"job": JOB, "instance": f"10.0.0.9:{INSTANCE_PORT}"}
    before = range(time.end - 2 * HOUR, time.end - HOUR, 60)
    after = range(time.end - HOUR, time.end + 1, 60)
    yield "model_exporter_build_info", gone | {"version": "0.1", "python_version": "3.11.7"}, before, [1] * len(before)
    yield "up", gone, after, [0] * len(after)
    new = {"job": JOB, "instance": f"10.0.0.1:{INSTANCE_PORT}", "model": "newcomer", "version": "1", "task": "binary"}
    yield "model_info", new, after, [1] * len(after)


def model_servers(time: Time) -> Iterator[Course]:
    """The metrics of real model servers, which grow from nothing to what was captured of them."""
    times = time.short
    for name in ("bentoml", "kserve", "mlserver", "torchserve"):
        lines = [line for line in CAPTURES[name].read_text().splitlines() if not line.startswith("#")]
        for family in text_string_to_metric_families("\n".join(lines)):
            for sample in family.samples:
                values = [sample.value * (at - times[0]) / (time.end - times[0]) for at in times]
                yield sample.name, {"job": name, "instance": "10.0.1.1:8080"} | sample.labels, times, values
