"""The config as a user writes it: one Struct per kind of mapping, from which validation, schema and reference come."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from exporter.config.thresholds import ModelThresholds, TargetThresholds
from exporter.config.types import Duration, Scalar
from exporter.contracts import Task

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

Measure = Literal[
    "accuracy", "precision", "recall", "f1", "precision_micro", "recall_micro", "f1_micro", "precision_weighted",
    "recall_weighted", "f1_weighted", "precision_samples", "recall_samples", "f1_samples", "roc_auc",
    "average_precision", "top_k_accuracy", "r2_score", "ndcg", "mean_reciprocal_rank", "hit_rate",
    "mean_absolute_error", "root_mean_squared_error", "mean_absolute_percentage_error", "hamming_loss", "log_loss",
    "brier_score", "expected_calibration_error",
]  # fmt: skip
Positive = Annotated[float, Meta(gt=0)]
PositiveDuration = Annotated[Duration, Meta(extra={"gt": 0.0})]
Ratio = Annotated[float, Meta(ge=0, le=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Inside = Annotated[float, Meta(gt=0, lt=1)]
Names = Annotated[list[Scalar], Meta(min_length=1, max_length=10_000)]


def _coverage_ages() -> list[PositiveDuration]:
    return [Duration(seconds) for seconds in (MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY)]


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


class SegmentEntry(Struct, frozen=True, kw_only=True):
    """An attribute that `predictions.fields.segments` maps: which of its groups are told apart."""

    top: Annotated[
        int, Meta(ge=1, le=1_000, description="How many groups have series of their own; later ones are `other`.")
    ] = 20
    min_group_size: Annotated[
        int,
        Meta(
            ge=1,
            description="Predictions of a group that count in `other` before it has series of its own, and labelled "
            "predictions that it needs in a window to be measured there.",
        ),
    ] = 50
    coordinates: Annotated[
        dict[str, Annotated[list[float], Meta(min_length=2, max_length=2)]],
        Meta(description="Latitude and longitude of groups, for the map: `{DE: [51.2, 10.4]}`."),
    ] = {}


class RegressionEntry(Struct, frozen=True, kw_only=True):
    """What to count of a model whose answer is a number."""

    residual_buckets: Annotated[
        list[float],
        Meta(max_length=100, description="Upper bounds of the histogram of residuals (actual - predicted)."),
    ] = []
    quantiles: Annotated[
        list[Annotated[float, Meta(gt=0, lt=1)]],
        Meta(max_length=20, description="Quantiles of the pinball loss; the one that the model is to predict."),
    ] = field(default_factory=lambda: [0.5])
    center: Annotated[
        float,
        Meta(
            description="A usual actual value, the same on all replicas: R2 is exact if values are near it, and "
            "undefined if they are so far away that it cannot be computed."
        ),
    ] = 0.0


class RankingEntry(Struct, frozen=True, kw_only=True):
    """What to remember of a model whose answer is an ordered list of items."""

    depth: Annotated[
        int, Meta(ge=1, le=200, description="How many items of a prediction are remembered, 8 bytes each.")
    ] = 10
    relevant: Annotated[
        int,
        Meta(ge=1, le=200, description="How many relevant items a label may name, 16 bytes each; more are refused."),
    ] = 20
    cutoffs: Annotated[
        list[Annotated[int, Meta(ge=1)]] | None,
        Meta(description="The k of NDCG@k, hit rate and reciprocal rank; 1, 5 and 10 up to `depth`."),
    ] = None


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
        Meta(description="How far back the first start reads. Without it, `start` says."),
    ] = None
    start: Annotated[
        Literal["beginning", "end"] | None,
        Meta(
            description="Where the first start begins: with all that the source still has, or with what comes after. "
            "`beginning`; with `--state.path :memory:`, where every start is a first one, `end`."
        ),
    ] = None
    timeout: Annotated[PositiveDuration, Meta(description="The time that one poll may take.")] = Duration(30)
    max_ahead: Annotated[
        Duration, Meta(description="How far ahead of this machine's clock a row's time may be; others are refused.")
    ] = Duration(300)


class ScoreReference(Struct, frozen=True, kw_only=True):
    """Scores with their labels, of which edges are made: every bin holds as much of either class as any other."""

    file: Annotated[
        str, Meta(description="CSV with a header, or JSON Lines (`*.jsonl`); relative to the config. All replicas "
                  "need the same.")
    ]  # fmt: skip
    score: Annotated[str, Meta(description="Column, or dotted path, of the score.")] = "score"
    actual: Annotated[str, Meta(description="Column, or dotted path, of the true class.")] = "actual"
    bins: Annotated[int, Meta(ge=2, le=1_000, description="How many bins, at most.")] = 50


class EstimatesEntry(Struct, frozen=True, kw_only=True):
    """What scores mean is fitted to labels: first to few, again as they double, and from the reference on no more."""

    labelled: Annotated[
        int, Meta(ge=100, description="How many labelled predictions of a version the first fit needs; 30 of them of "
                  "either class.")
    ] = 1_000  # fmt: skip
    reference: Annotated[
        int, Meta(ge=100, description="The labelled predictions of the last fit: what scores meant in these is what "
                  "later ones are compared with.")
    ] = 50_000  # fmt: skip

    def __post_init__(self) -> None:
        if self.reference < self.labelled:
            raise ValueError("reference must not be below labelled: the first fit would need more than the last")


class ModelEntry(Struct, frozen=True, kw_only=True):
    """One model: what it predicts, where its predictions and labels are, and what counts as good."""

    task: Annotated[
        Task,
        Meta(
            description="What the model predicts: one of two classes, one of many, a set of labels, a number, or an "
            "ordered list of items."
        ),
    ] = "binary"
    positive: Annotated[
        Scalar | None, Meta(description="The class that precision and recall are about; required for `binary`.")
    ] = None
    classes: Annotated[
        Names | Annotated[dict[str, Scalar | Names], Meta(max_length=10_000)] | None,
        Meta(
            description="All classes (or labels): a list, or `{fraud: [1, true], legit: [0, false]}` with their other "
            "spellings."
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
    curve_classes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Up to how many classes all `probabilities` are remembered, 8 bytes each, for what needs "
            "them: top-k accuracy, log loss, curves.",
        ),
    ] = 20
    top_k: Annotated[
        list[Annotated[int, Meta(ge=2)]] | None,
        Meta(description="The k of top-k accuracy; 2, 3 and 5, below the number of classes."),
    ] = None
    regression: Annotated[RegressionEntry, Meta(description="Settings of `task: regression`.")] = RegressionEntry()
    ranking: Annotated[RankingEntry, Meta(description="Settings of `task: ranking`.")] = RankingEntry()
    segments: Annotated[
        dict[str, SegmentEntry], Meta(description="Settings of attributes that `predictions.fields.segments` maps.")
    ] = {}
    latency_buckets: Annotated[
        list[Positive], Meta(min_length=1, description="Upper bounds of the latency histogram, in seconds.")
    ] = field(default_factory=lambda: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
    delay_buckets: Annotated[
        list[PositiveDuration],
        Meta(min_length=1, description="Upper bounds of the histogram of how late labels come."),
    ] = field(default_factory=_delay_buckets)
    betas: Annotated[
        list[Positive], Meta(max_length=10, description="Betas of F-beta: above 1 recall weighs more than precision.")
    ] = []
    costs: Annotated[
        dict[str, dict[str, float]],
        Meta(
            description="What a prediction costs, by actual and by predicted class: "
            "`{fraud: {legit: 100}, legit: {fraud: 5}}`; what is left out costs 0."
        ),
    ] = {}
    confidence: Annotated[
        Inside, Meta(description="How sure the bounds of measures are, in the gauges of windows.")
    ] = 0.95
    score_edges: Annotated[
        list[Inside] | ScoreReference | None,
        Meta(
            description="Ascending edges between the bins of scores of which ROC, precision-recall and calibration "
            "curves are made, or a reference file to take them from; `[]`: no metrics of scores. 49 edges whose "
            "log-odds lie between -12 and 12; for each of several classes 19, between -9 and 9."
        ),
    ] = None
    coverage_ages: Annotated[
        list[PositiveDuration],
        Meta(
            max_length=20,
            description="Ages of predictions at which label coverage is told; not above `horizon`.",
        ),
    ] = field(default_factory=_coverage_ages)
    maturity: Annotated[
        PositiveDuration | None,
        Meta(
            description="The age at which most labels have come: quality is then told by prediction time, too, over "
            "predictions of that age (`model_matured_...`)."
        ),
    ] = None
    estimates: Annotated[
        EstimatesEntry | None,
        Meta(
            description="Estimate quality before labels come, where predictions have scores (`estimates: {}`): what "
            "scores mean is fitted in a child process of a second or two, with 120 to 180 MB. `null`: no estimates."
        ),
    ] = None
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
        dict[Measure, NotNegative],
        Meta(
            description="Measures of the model when it was accepted, which `thresholds.drop` and `rise` compare with; "
            "those at k are of the k of their threshold, else of the largest."
        ),
    ] = {}
    champion: Annotated[
        Scalar | None,
        Meta(
            description="The version that others are compared with, as their rows name it; without it, the one with "
            "the most labelled predictions of the last day."
        ),
    ] = None
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
