"""The config as a user writes it: one Struct per kind of mapping, from which validation, schema and reference come."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from exporter.config.thresholds import ModelThresholds, TargetThresholds
from exporter.config.types import Duration, Scalar

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

Measure = Literal["accuracy", "precision", "recall", "f1"]
Positive = Annotated[float, Meta(gt=0)]
PositiveDuration = Annotated[Duration, Meta(extra={"gt": 0.0})]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Names = Annotated[list[Scalar], Meta(min_length=1, max_length=10_000)]


def _delay_buckets() -> list[PositiveDuration]:
    return [Duration(seconds) for seconds in (1, 10, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY)]


class FieldEntry(Struct, frozen=True, kw_only=True):
    """A field that needs more than a path."""

    field: Annotated[str | None, Meta(description="Dotted path of the value in your records.")] = None
    constant: Annotated[Scalar | None, Meta(description="One value for every row, instead of `field`.")] = None
    unit: Annotated[
        Literal["s", "ms", "us", "ns"] | None,
        Meta(
            description="Unit of a number in `time`, `label_time` or `latency`; for a time the size decides if absent."
        ),
    ] = None
    map: Annotated[
        dict[str, Scalar] | None, Meta(description="Replaces values, by their text: `{0: legit, 1: fraud}`.")
    ] = None
    threshold: Annotated[
        Ratio | None, Meta(description="For `score`: at or above it the prediction is the positive class.")
    ] = None


class NotEntry(Struct, frozen=True, kw_only=True):
    """A condition that excludes values."""

    not_: Annotated[Scalar | Names, Meta(description="Skips records whose value is this, or one of these.")] = field(
        name="not"
    )


class StreamEntry(Struct, frozen=True, kw_only=True):
    """Where rows come from and how they are read; beside these keys stands exactly one source."""

    fields: Annotated[
        dict[str, str | FieldEntry],
        Meta(description="Which part of your records is what, such as `{id: request_id, predicted: output.class}`."),
    ]
    where: Annotated[
        dict[str, Scalar | Names | NotEntry],
        Meta(description="Keeps only records whose value at a path is this one, one of a list, or `{not: ...}`."),
    ] = {}
    timezone: Annotated[str, Meta(description="IANA time zone of times that name none.")] = "UTC"
    interval: Annotated[
        Duration, Meta(description="How often the source is asked for new rows.", extra={"ge": 1.0})
    ] = Duration(10)
    stale_after: Annotated[
        PositiveDuration | None,
        Meta(description="Gauges are dropped when the source was silent for so long. 3 intervals, at least 1m."),
    ] = None
    lookback: Annotated[
        PositiveDuration | None,
        Meta(description="How far back the first start reads. Without it: all that the source still has."),
    ] = None
    timeout: Annotated[PositiveDuration, Meta(description="The time that one poll may take.")] = Duration(30)
    max_ahead: Annotated[
        Duration, Meta(description="How far ahead of this machine's clock a row's time may be; others are refused.")
    ] = Duration(300)


class ModelEntry(Struct, frozen=True, kw_only=True):
    """One model: what it predicts, where its predictions and labels are, and what counts as good."""

    task: Annotated[Literal["binary", "multiclass"], Meta(description="What the model predicts.")] = "binary"
    positive: Annotated[
        Scalar | None, Meta(description="The class that precision and recall are about; required for `binary`.")
    ] = None
    classes: Annotated[
        Names | Annotated[dict[str, Scalar | Names], Meta(max_length=10_000)] | None,
        Meta(
            description="All classes: a list, or `{fraud: [1, true], legit: [0, false]}` with their other spellings."
        ),
    ] = None
    max_classes: Annotated[
        int,
        Meta(
            ge=2,
            le=1_000,
            description="How many classes are learned if none are declared; rows of further ones are refused.",
        ),
    ] = 64
    confusion_classes: Annotated[
        int, Meta(ge=0, le=1_000, description="Up to how many classes the whole confusion matrix is exposed.")
    ] = 20
    latency_buckets: Annotated[
        list[Positive], Meta(min_length=1, description="Upper bounds of the latency histogram, in seconds.")
    ] = field(default_factory=lambda: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
    delay_buckets: Annotated[
        list[PositiveDuration],
        Meta(min_length=1, description="Upper bounds of the histogram of how late labels come."),
    ] = field(default_factory=_delay_buckets)
    predictions: Annotated[StreamEntry, Meta(description="Where the predictions are logged.")]
    labels: Annotated[
        StreamEntry | None,
        Meta(description="Where the true classes come from; not if `predictions.fields` maps `actual`."),
    ] = None
    horizon: Annotated[
        PositiveDuration, Meta(description="How long a prediction waits for its label, or for a correction of it.")
    ] = Duration(30 * DAY)
    windows: Annotated[
        list[str | int], Meta(description="Windows of the gauges: by label time (`24h`) or by count (`last 1000`).")
    ] = field(default_factory=lambda: ["1h", "24h", "last 1000"])
    thresholds: Annotated[
        ModelThresholds, Meta(description="Bounds that the alerts use: `{accuracy: {warning: 0.92, critical: 0.85}}`.")
    ] = ModelThresholds()
    min_samples: Annotated[
        int, Meta(ge=1, description="How many labelled predictions an hour, else a day, needs before alerts judge it.")
    ] = 100
    objectives: Annotated[
        dict[Literal["accuracy"], Annotated[float, Meta(ge=0.5, lt=1)]],
        Meta(description="What you promise: `{accuracy: 0.95}`. Alerts tell when its error budget burns too fast."),
    ] = {}
    baseline: Annotated[
        dict[Measure, Ratio],
        Meta(description="Measures of the model when it was accepted, which `thresholds.drop` compares with."),
    ] = {}
    retire_after: Annotated[
        PositiveDuration, Meta(description="Series of a version are dropped when it was silent for so long.")
    ] = Duration(7 * DAY)
    allowed_lateness: Annotated[
        Duration, Meta(description="How far behind the newest row others may come and still be in order.")
    ] = Duration(0)
    max_versions: Annotated[
        int, Meta(ge=1, le=10_000, description="How many versions have series of their own; the rest is `other`.")
    ] = 20
    early_labels: Annotated[
        int, Meta(ge=0, le=1_000_000_000, description="How many labels are held whose prediction is not known yet.")
    ] = 1_000_000
    remembered: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000, description="How many predictions are remembered at most; the oldest go first."),
    ] = 50_000_000


class TargetEntry(Struct, frozen=True, kw_only=True):
    """A model server to watch; beside these keys stand its probes: one that tells its life, any that measure."""

    model: Annotated[
        str | None, Meta(description="Name under `models` of the model that it serves, if that is watched too.")
    ] = None
    interval: Annotated[Duration, Meta(description="How often each probe looks.", extra={"ge": 1.0})] = Duration(5)
    timeout: Annotated[PositiveDuration, Meta(description="The time that one look may take.")] = Duration(10)
    windows: Annotated[
        list[str | int], Meta(description="Windows of `model_server_crashes_per_hour`, by time only.")
    ] = field(default_factory=lambda: ["1h", "24h"])
    thresholds: Annotated[
        TargetThresholds, Meta(description="Bounds that the alerts use: `{memory: {warning: 0.8}, cpu: null}`.")
    ] = TargetThresholds()


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of the whole exporter."""

    series: Annotated[
        int, Meta(ge=100, description="Series of one exposition; what is beyond is dropped and counted.")
    ] = 100_000
    label_length: Annotated[
        int, Meta(ge=8, le=10_000, description="Characters of a label value; longer ones are cut.")
    ] = 128


NOTES = "x-"
"""How keys of the whole file begin that only YAML's anchors use."""


class Root(Struct, frozen=True, kw_only=True):
    """The whole file."""

    models: Annotated[
        dict[str, ModelEntry],
        Meta(description="The models by name; the name is the label `model`. Required unless there are targets."),
    ] = {}
    targets: Annotated[
        dict[str, TargetEntry],
        Meta(description="The model servers to watch by name; the name is the label `target`."),
    ] = {}
    limits: Annotated[Limits, Meta(description="Limits of the whole exporter.")] = Limits()
