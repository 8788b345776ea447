"""Bounds that alerts compare with, as a user writes them: per measure, from where to warn and from where to act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import msgspec.inspect as kinds
from msgspec import Meta, Struct

from exporter.config.kinds import bare, struct_type
from exporter.config.types import Duration, canonical, duration_text

Share = Annotated[float, Meta(ge=0, le=1)]
Amount = Annotated[float, Meta(gt=0)]
PositiveDuration = Annotated[Duration, Meta(extra={"gt": 0.0})]

Threshold = dict[str, float]
"""`warning` and `critical`, or one of them; durations in seconds."""


def _check(entry: Any, warning: str, critical: str) -> None:
    """Raise ValueError, with these values as an example, unless there are bounds, and the worse one is critical."""
    if entry.warning is None and entry.critical is None:
        raise ValueError(f"has neither warning nor critical; write {{warning: {warning}, critical: {critical}}}")
    if entry.warning is None or entry.critical is None:
        return
    if entry.bound == "min" and entry.critical > entry.warning:
        raise ValueError("critical must not be above warning: a model gets worse as the measure falls")
    if entry.bound == "max" and entry.critical < entry.warning:
        raise ValueError("critical must not be below warning: a model gets worse as the measure rises")


class Floor(Struct, frozen=True, kw_only=True):
    """A share below which to alert."""

    bound: ClassVar[Literal["min", "max"]] = "min"
    warning: Annotated[Share | None, Meta(description="Below it the measure is worth a look.")] = None
    critical: Annotated[Share | None, Meta(description="Below it somebody must act.")] = None

    def __post_init__(self) -> None:
        _check(self, "0.9", "0.8")


class Ceiling(Struct, frozen=True, kw_only=True):
    """A share above which to alert."""

    bound: ClassVar[Literal["min", "max"]] = "max"
    warning: Annotated[Share | None, Meta(description="Above it the measure is worth a look.")] = None
    critical: Annotated[Share | None, Meta(description="Above it somebody must act.")] = None

    def __post_init__(self) -> None:
        _check(self, "0.05", "0.1")


class DurationCeiling(Struct, frozen=True, kw_only=True):
    """A duration above which to alert."""

    bound: ClassVar[Literal["min", "max"]] = "max"
    warning: Annotated[PositiveDuration | None, Meta(description="Above it the measure is worth a look.")] = None
    critical: Annotated[PositiveDuration | None, Meta(description="Above it somebody must act.")] = None

    def __post_init__(self) -> None:
        _check(self, "300ms", "1s")


class RateFloor(Struct, frozen=True, kw_only=True):
    """A rate per second below which to alert."""

    bound: ClassVar[Literal["min", "max"]] = "min"
    warning: Annotated[Amount | None, Meta(description="Below it the rate is worth a look.")] = None
    critical: Annotated[Amount | None, Meta(description="Below it somebody must act.")] = None

    def __post_init__(self) -> None:
        _check(self, "5", "1")


class FloorAtK(Floor, frozen=True, kw_only=True):
    """A share below which to alert, of a measure of the first k."""

    k: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="One of `ranking.cutoffs`, or of `top_k`. The largest of them."),
    ] = None


class AmountCeiling(Struct, frozen=True, kw_only=True):
    """An amount, or a rate per hour, above which to alert."""

    bound: ClassVar[Literal["min", "max"]] = "max"
    warning: Annotated[Amount | None, Meta(description="Above it the measure is worth a look.")] = None
    critical: Annotated[Amount | None, Meta(description="Above it somebody must act.")] = None

    def __post_init__(self) -> None:
        _check(self, "1", "5")


_OF_CLASSES = "Of the positive class, or the mean over all classes or labels."
_MICRO = "Of all labels of all sets together."
_WEIGHTED = "The mean over all labels, weighted by how often each is true."
_SAMPLES = "The mean over single sets of labels."


class ModelThresholds(Struct, frozen=True, kw_only=True):
    """Bounds of a model's measures; no bound, no alert."""

    accuracy: Annotated[Floor | None, Meta(description="Share of right predictions.")] = None
    precision: Annotated[Floor | None, Meta(description=_OF_CLASSES)] = None
    recall: Annotated[Floor | None, Meta(description=_OF_CLASSES)] = None
    f1: Annotated[Floor | None, Meta(description=_OF_CLASSES)] = None
    precision_micro: Annotated[Floor | None, Meta(description=_MICRO)] = None
    recall_micro: Annotated[Floor | None, Meta(description=_MICRO)] = None
    f1_micro: Annotated[Floor | None, Meta(description=_MICRO)] = None
    precision_weighted: Annotated[Floor | None, Meta(description=_WEIGHTED)] = None
    recall_weighted: Annotated[Floor | None, Meta(description=_WEIGHTED)] = None
    f1_weighted: Annotated[Floor | None, Meta(description=_WEIGHTED)] = None
    precision_samples: Annotated[Floor | None, Meta(description=_SAMPLES)] = None
    recall_samples: Annotated[Floor | None, Meta(description=_SAMPLES)] = None
    f1_samples: Annotated[Floor | None, Meta(description=_SAMPLES)] = None
    roc_auc: Annotated[Floor | None, Meta(description="Area under the ROC curve, of a day.")] = None
    average_precision: Annotated[Floor | None, Meta(description="Of a day.")] = None
    top_k_accuracy: Annotated[
        FloorAtK | None, Meta(description="Share of predictions whose true class is among the k likeliest.")
    ] = None
    r2_score: Annotated[Floor | None, Meta(description="Share of the actual values' spread that is explained.")] = None
    ndcg: Annotated[FloorAtK | None, Meta(description="Mean NDCG@k.")] = None
    mean_reciprocal_rank: Annotated[
        FloorAtK | None, Meta(description="Mean of 1 / rank of the first relevant item among the first k.")
    ] = None
    hit_rate: Annotated[
        FloorAtK | None, Meta(description="Share of rankings with a relevant item among the first k.")
    ] = None
    drop: Annotated[
        Ceiling | None,
        Meta(
            description="Share of itself that any of these, the higher the better, lost against the same hour last "
            "week, or against `baseline`."
        ),
    ] = None
    mean_absolute_error: Annotated[AmountCeiling | None, Meta(description="In the unit of what is predicted.")] = None
    root_mean_squared_error: Annotated[AmountCeiling | None, Meta(description="In the unit of what is predicted.")] = (
        None
    )
    bias: Annotated[
        AmountCeiling | None,
        Meta(description="How far predictions are off on average, to either side, in the unit of what is predicted."),
    ] = None
    mean_absolute_percentage_error: Annotated[
        AmountCeiling | None, Meta(description="Mean of error by actual value, where that is not 0; 0.1 is 10 %.")
    ] = None
    hamming_loss: Annotated[Ceiling | None, Meta(description="Share of wrong labels in sets of labels.")] = None
    log_loss: Annotated[AmountCeiling | None, Meta(description="Of a day.")] = None
    brier_score: Annotated[AmountCeiling | None, Meta(description="Of a day.")] = None
    expected_calibration_error: Annotated[Ceiling | None, Meta(description="Of a day.")] = None
    rise: Annotated[
        AmountCeiling | None,
        Meta(
            description="By how much of itself any of these, the lower the better, rose against the same hour last "
            "week, or against `baseline`; 0.2 is a fifth more."
        ),
    ] = None
    estimation_error: Annotated[
        Ceiling | None,
        Meta(
            description="How much less accurate the predictions of a day of labels were than their calibrated "
            "scores promised."
        ),
    ] = None
    segment_gap: Annotated[
        Ceiling | None,
        Meta(
            description="How far accuracy, or of a binary model precision or recall, of a group of `segments` may lie "
            "below that of the whole model."
        ),
    ] = None
    disparate_impact: Annotated[
        Floor | None,
        Meta(
            description="Smallest by largest share that is predicted positive, of the groups of an attribute of "
            "`segments`; 0.8 is the four-fifths rule."
        ),
    ] = None
    label_coverage: Annotated[
        Floor | None,
        Meta(
            description="Labels of a day by its predictions. Below the lower bound no quality alert fires: "
            "too little is known."
        ),
    ] = None
    label_age: Annotated[
        DurationCeiling | None, Meta(description="Age of the newest label while predictions wait for theirs.")
    ] = None
    label_delay: Annotated[DurationCeiling | None, Meta(description="Median time from a prediction to its label.")] = (
        None
    )
    labels_unmatched: Annotated[
        Ceiling | None, Meta(description="Share of an hour's labels whose prediction is not known.")
    ] = None
    error_ratio: Annotated[Ceiling | None, Meta(description="Share of predictions that failed.")] = None
    latency_p95: Annotated[
        DurationCeiling | None, Meta(description="Latency that 95 % of the predictions do not exceed.")
    ] = None
    latency_p99: Annotated[
        DurationCeiling | None, Meta(description="Latency that 99 % of the predictions do not exceed.")
    ] = None
    traffic: Annotated[RateFloor | None, Meta(description="Predictions per second, over half an hour.")] = None
    traffic_drop: Annotated[
        Ceiling | None, Meta(description="Share of the traffic lost against the same half hour last week.")
    ] = None


class TargetThresholds(Struct, frozen=True, kw_only=True):
    """Bounds of what is measured at a model server; `null` takes one away."""

    memory: Annotated[Ceiling | None, Meta(description="Memory used by the memory that may be used.")] = Ceiling(
        warning=0.9, critical=0.97
    )
    cpu: Annotated[
        Ceiling | None, Meta(description="CPU used by the CPU that may be used, over a quarter of an hour.")
    ] = Ceiling(warning=0.9)
    disk: Annotated[Ceiling | None, Meta(description="Disk space used by disk space that may be used.")] = Ceiling(
        warning=0.85, critical=0.95
    )
    crashes_per_hour: Annotated[
        AmountCeiling | None, Meta(description="Crashes of the last hour; a single crash never alerts.")
    ] = AmountCeiling(warning=2.0, critical=6.0)


AT = "@"
"""Between a measure of the first k and its k: ndcg@10."""


def as_bounds(entry: ModelThresholds | TargetThresholds, k: int | None = None) -> dict[str, Threshold]:
    """The bounds that are set, by measure and severity; durations in seconds.  *k* is that of measures without one."""
    measures = {measure: bounds for measure, bounds in msgspec.structs.asdict(entry).items() if bounds is not None}
    return {
        f"{measure}{AT}{bounds.k or k}" if isinstance(bounds, FloorAtK) else measure: {
            name: float(value)
            for name, value in msgspec.structs.asdict(bounds).items()
            if value is not None and name != "k"
        }
        for measure, bounds in measures.items()
    }


def at_same_k(baseline: Mapping[str, float], thresholds: Iterable[str], k: int | None) -> dict[str, float]:
    """*baseline* with measures of the first k under the names that *thresholds* have for them, or else with *k*."""
    names = {full.partition(AT)[0]: full for full in thresholds}
    return {
        names.get(measure, f"{measure}{AT}{k}") if _ENTRIES[measure] is FloorAtK else measure: value
        for measure, value in baseline.items()
    }


def with_bounds(bounds: Iterable[float], thresholds: Mapping[str, Threshold], *measures: str) -> tuple[float, ...]:
    """*bounds* of a histogram with those of *measures* among them: whether a quantile is above one is then exact."""
    return tuple(sorted({*bounds, *(value for one in measures for value in thresholds.get(one, {}).values())}))


def bound(measure: str) -> Literal["min", "max"]:
    """Whether a *measure* must not fall below its threshold, or not rise above it."""
    found: Literal["min", "max"] = _ENTRIES[measure.partition(AT)[0]].bound
    return found


def entry(measure: str) -> type[Struct]:
    """What the thresholds of a *measure* are written as: Floor, DurationCeiling, ..."""
    found: type[Struct] = _ENTRIES[measure]
    return found


def at_k(measures: Iterable[str]) -> list[str]:
    """Those of *measures* that are of the first k."""
    return [measure for measure in measures if _ENTRIES[measure] is FloorAtK]


def as_written(thresholds: dict[str, Threshold], kind: type[Struct]) -> dict[str, Any]:
    """*thresholds* as a config of the *kind* has them: durations as text, None for a default that is taken away."""
    texts: dict[str, Any] = {}
    for full, bounds in thresholds.items():
        measure, _, k = full.partition(AT)
        texts[measure] = {"k": int(k)} if k else {}
        texts[measure] |= {name: duration_text(value) if _timed(full) else value for name, value in bounds.items()}
    away = [one.name for one in msgspec.structs.fields(kind) if one.default is not None and one.name not in texts]
    return texts | dict.fromkeys(away)


def words(measure: str, bounds: Threshold) -> str:
    """Such as `below 0.9 (warning), below 0.8 (critical)`."""
    side = "below" if bound(measure) == "min" else "above"
    texts = {name: duration_text(value) if _timed(measure) else canonical(value) for name, value in bounds.items()}
    return ", ".join(f"{side} {text} ({severity})" for severity, text in texts.items())


def _timed(measure: str) -> bool:
    return _ENTRIES.get(measure) is DurationCeiling


def _entry(kind: kinds.Type) -> Any:
    """The Struct in a field's type."""
    union = bare(kind)[0]
    members = [bare(member)[0] for member in getattr(union, "types", ())]
    return next(member.cls for member in members if isinstance(member, kinds.StructType))


_ENTRIES: dict[str, Any] = {
    one.name: _entry(one.type) for kind in (ModelThresholds, TargetThresholds) for one in struct_type(kind).fields
}
"""The Struct of every measure."""
