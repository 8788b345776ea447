"""Rows of the model page about groups of an attribute: who is worse off, and how far apart groups are."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import BOUND, BOUNDS, Json, column
from dashboards.panels import Column, Query, table, timeseries
from dashboards.queries import bound_of_model, extreme
from dashboards.queries import one_model as of

MEASURE = 'measure="$measure"'
QUALITY = "model_group:model_segment_quality:ratio_increase1d"
RATE = "model_group:model_segment_rate:ratio_increase1d"
DIFFERENCE = "model_attribute:model_fairness:difference_increase1d"
RATIO = "model_attribute:model_fairness:ratio_increase1d"
SHOWN = 10
"""Groups in a graph."""
EMPTY = "No groups"


def rows() -> list[Row]:
    return [Row("Groups and fairness", [_groups(), *_over_time()], folded=True)]


def _groups() -> Json:
    by = "max by (attribute, group)"
    rest = "ignoring (attribute, group) group_left ()"
    whole = of("model:model_quality:ratio_increase1d", MEASURE)
    columns = [
        Column("Quality", f"{by} ({of(QUALITY, MEASURE)})"),
        Column("Against the whole", f"{by} ({of(QUALITY, MEASURE)} - {rest} {whole})"),
        Column("Labelled", f"{by} ({of('model_group:model_segment_labelled_predictions:increase1d')})"),
        Column("Predictions", f"{by} ({of('model_group:model_segment_predictions:increase1d')})"),
        Column("Predicted positive", f"{by} ({of(RATE, _measure('demographic_parity'))})"),
        Column("True positive rate", f"{by} ({of(RATE, _measure('equal_opportunity'))})"),
        Column("False positive rate", f"{by} ({of(RATE, _measure('predictive_equality'))})"),
    ]
    ratios = ("Quality", "Against the whole", "Predicted positive", "True positive rate", "False positive rate")
    return table(
        "Groups, worst first",
        "Each group of each attribute over one day; quality is that of $measure. A group with fewer predictions than "
        "min_group_size has no figure; other is the mixture of all that are small or came late. Rates are of the "
        "positive class of a binary model; predicted positive is of all predictions, labelled or not.",
        {"attribute": "Attribute", "group": "Group"}, columns, worst=[("Against the whole", "low")],
        overrides=[
            *(column(name, "percentunit", decimals=1) for name in ratios),
            *(column(name, "short", decimals=0) for name in ("Labelled", "Predictions")),
        ],
        empty=EMPTY,
    )  # fmt: skip


def _over_time() -> list[Json]:
    quality = of(QUALITY, MEASURE)
    selected = of(RATE, _measure("demographic_parity"))
    impact = of(RATIO, _measure("demographic_parity"))
    return [
        timeseries(
            "Quality by group: $measure",
            f"The {SHOWN} groups that are lowest at the end of the time range; each point is of one day. "
            f"Record: `{QUALITY}`.",
            Query(extreme("bottomk", SHOWN, quality, "attribute, group"), "{{attribute}} {{group}}"),
            size=(12, 9), unit="percentunit", maximum=1, empty=EMPTY,
        ),
        timeseries(
            "Predicted positive by group",
            "Share of all predictions of one day, labelled or not, that are of the positive class; "
            f"the {SHOWN} groups that are lowest at the end of the time range. Record: `{RATE}`.",
            Query(extreme("bottomk", SHOWN, selected, "attribute, group"), "{{attribute}} {{group}}"),
            size=(12, 9), unit="percentunit", minimum=0, empty=EMPTY,
        ),
        timeseries(
            "Differences between groups",
            "The largest less the smallest rate of any two groups of an attribute, over one day: of what is predicted "
            "positive (demographic parity), of true positives (equal opportunity), of false positives (predictive "
            "equality), and the larger of the last two (equalized odds); 0 is equal. "
            f"Record: `{DIFFERENCE}`.",
            Query(of(DIFFERENCE), "{{attribute}} {{measure}}"),
            size=(12, 9), unit="percentunit", minimum=0, maximum=1, empty=EMPTY,
        ),
        timeseries(
            "Disparate impact",
            "The smallest by the largest share that is predicted positive, of the groups of an attribute, over one "
            "day; 1 is equal, below 0.8 breaks the four-fifths rule. "
            f"Records: `{RATIO}`, `model:model_threshold:effective`.",
            Query(impact, "{{attribute}}"),
            Query(bound_of_model("disparate_impact"), BOUND),
            size=(12, 9), unit="percentunit", minimum=0, maximum=1, overrides=BOUNDS, empty=EMPTY,
        ),
    ]  # fmt: skip


def _measure(name: str) -> str:
    return f'measure="{name}"'
