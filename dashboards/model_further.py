"""Rows of the model page about how sure measures are, and about measures beyond precision and recall."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import BOUND, BOUNDS, CALM, GOOD, Json, band, column, line
from dashboards.panels import Column, Query, table, timeseries
from dashboards.queries import bound_of_model, ratio
from dashboards.queries import one_model as of

MEASURE = 'measure="$measure"'
WINDOWS = {"1h": "one hour", "1d": "one day"}
COUNTED = "model_class:model_averaged_outcomes:increase1h"
OF_CLASSES = "model_class:model_outcomes:increase1h"
HOUR = "Each point is of one hour, by the time of the label, over all replicas"
NO_CLASSES = "No labels, or no classes"


def rows() -> list[Row]:
    return [
        Row("How sure the measures are", [*(_interval(window) for window in WINDOWS), _intervals()]),
        Row("Further measures", [_rates(), _agreement(), _cost(), _by_class()], folded=True),
    ]


# --- how sure ------------------------------------------------------------------------------------


def _interval(window: str) -> Json:
    value, lower, upper = (f"model:model_quality:{part}_increase{window}" for part in ("ratio", "lower", "upper"))
    return timeseries(
        f"How sure is $measure over {WINDOWS[window]}",
        "The measure, and the interval in which it lies with 95 % certainty: wide with few labels. Chance alone can "
        f"explain a threshold that is within it. Records: `{value}`, `{lower}`, `{upper}`, "
        "`model:model_threshold:effective`.",
        Query(of(value, MEASURE), "value"), Query(of(lower, MEASURE), "from"), Query(of(upper, MEASURE), "to"),
        Query(bound_of_model("$measure"), BOUND),
        unit="percentunit", decimals=1, maximum=1, empty="No labels",
        overrides=[line("value", CALM), *band("from", "to", CALM), *BOUNDS],
    )  # fmt: skip


def _intervals() -> Json:
    names = {"Value": "ratio", "From": "lower", "To": "upper"}
    records = {name: f"model:model_quality:{part}_increase1d" for name, part in names.items()}
    records["Samples"] = "model:model_quality_samples:increase1d"
    told = ", ".join(f"`{record}`" for record in records.values())
    return table(
        "Measures of one day", f"Each measure with its interval of 95 %, and what it rests on. Records: {told}.",
        {"measure": "Measure"}, [Column(name, f"max by (measure) ({of(record)})") for name, record in records.items()],
        size=(8, 8), empty="No labels",
        overrides=[
            *(column(name, "percentunit", decimals=1) for name in names), column("Samples", "short", decimals=0)
        ],
    )  # fmt: skip


# --- further measures ----------------------------------------------------------------------------


def _count(record: str, outcomes: str) -> str:
    """Counts of labelled predictions by class, of these outcomes together."""
    matcher = f'outcome=~"{outcomes}"'
    return f"sum by (class) ({of(record, matcher)})"


def _share(record: str, upper: str, lower: str) -> str:
    return ratio(_count(record, upper), _count(record, lower))


def _f_beta(record: str, beta: float) -> str:
    hit, missed, alarm = (_count(record, outcome) for outcome in ("tp", "fn", "fp"))
    square = beta**2
    return ratio(f"{1 + square:g} * {hit}", f"({1 + square:g} * {hit} + {square:g} * {missed} + {alarm})")


def _rates() -> Json:
    occurs = f"({_count(COUNTED, 'tp|fp|fn')} > 0)"
    shares = {
        "specificity": f"{_share(COUNTED, 'tn', 'tn|fp')} and on (class) {occurs}",
        "false positive rate": f"{_share(COUNTED, 'fp', 'tn|fp')} and on (class) {occurs}",
        "false negative rate": _share(COUNTED, "fn", "tp|fn"),
        "F0.5": _f_beta(COUNTED, 0.5),
        "F2": _f_beta(COUNTED, 2),
    }
    return timeseries(
        "False alarms and misses",
        "Specificity, false positive and false negative rate, and F-beta, which weighs precision (0.5) or recall (2) "
        f"more: of the positive class, else averaged over the classes. {HOUR}. Record: `{COUNTED}`.",
        *(Query(f"avg({expr})", name) for name, expr in shares.items()),
        unit="percentunit", decimals=1, minimum=0, maximum=1, empty=NO_CLASSES,
        overrides=[line("specificity", GOOD)],
    )  # fmt: skip


def _agreement() -> Json:
    """Shares of all predictions: right, of each class by actual and by predicted, and right by chance."""
    hit, actual, predicted = (_count(OF_CLASSES, outcomes) for outcomes in ("tp", "tp|fn", "tp|fp"))
    square = f"(sum({actual}) ^ 2 > 0)"
    right = f"sum({hit}) / (sum({actual}) > 0)"
    by_chance = f"sum({actual} * {predicted}) / {square}"
    spread = f"(1 - sum({actual} ^ 2) / {square}) * (1 - sum({predicted} ^ 2) / {square})"
    task = of("model_info", 'task=~"binary|multiclass"')
    shown = {
        "balanced accuracy": f"avg({_share(OF_CLASSES, 'tp', 'tp|fn')})",
        "Matthews correlation": f"({right} - {by_chance}) / (sqrt({spread}) > 1e-6)",
        "Cohen's kappa": f"({right} - {by_chance}) / (1 - {by_chance} > 1e-9)",
    }
    return timeseries(
        "Agreement beyond chance",
        "Mean recall of all classes; and two measures of how far predictions agree with the truth: 1 is always, 0 is "
        f"what chance would give. {HOUR}. Record: `{OF_CLASSES}`.",
        *(Query(f"{expr} and on () group({task})", name) for name, expr in shown.items()),
        unit="none", decimals=3, maximum=1, empty=NO_CLASSES,
    )  # fmt: skip


def _cost() -> Json:
    confusion, cost = "model_confusion_total", "model_confusion_cost"
    pairs = of.net(confusion, "actual, predicted", "increase", "1h")
    costs = f"max by (actual, predicted) ({of(cost)})"
    return timeseries(
        "Expected cost",
        f"Mean cost of a prediction, in the unit of the costs that the config gives. {HOUR}. "
        f"Metrics: `{confusion}`, `{cost}`.",
        Query(f"sum({pairs} * {costs}) / (sum({pairs}) > 0)", "cost of a prediction"),
        unit="none", decimals=2, empty="No costs are configured", overrides=[line("cost of a prediction", CALM)],
    )  # fmt: skip


def _by_class() -> Json:
    record = "model_class:model_outcomes:increase1d"
    columns = [
        Column("Specificity", _share(record, "tn", "tn|fp")),
        Column("False positive rate", _share(record, "fp", "tn|fp")),
        Column("False negative rate", _share(record, "fn", "tp|fn")),
        Column("F0.5", _f_beta(record, 0.5)),
        Column("F2", _f_beta(record, 2)),
    ]
    return table(
        "False alarms and misses by class", f"Every class against the rest, over one day. Record: `{record}`.",
        {"class": "Class"}, columns, worst=[("F2", "low")], size=(24, 7), empty=NO_CLASSES,
        overrides=[column(one.name, "percentunit", decimals=1) for one in columns],
    )  # fmt: skip
