"""Rows of the model page about truth: measures, what was taken for what, and how labels arrive."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import (
    BAD,
    BOUND,
    BOUNDS,
    CALM,
    FAINT,
    GOOD,
    UNSURE,
    Json,
    band,
    column,
    line,
    renamed,
    steps,
)
from dashboards.panels import Column, Query, Rows, bars, heatmap, matrix, table, timeseries
from dashboards.queries import RATE_WINDOW, bound_of_model, ratio
from dashboards.queries import one_model as of

MEASURE = 'measure="$measure"'
QUALITY = "model:model_quality:ratio_increase1h"
BURN = {"30m": "30 minutes", "6h": "6 hours", "3d": "3 days"}
DAY = "over one day, less what corrected labels took back"
DELAY = "model_label_delay_seconds"


def rows() -> list[Row]:
    return [
        Row("Quality", [_measures(), _normal(), *_evidence()]),
        Row("What was taken for what", [_confusion(), _outcomes(), _classes()]),
        Row("Labels", [*_flow_of_labels(), *_delay_of_labels(), *_matured()]),
    ]


# --- quality -------------------------------------------------------------------------------------


def _measures() -> Json:
    return timeseries(
        "Quality over time",
        "Every measure; each point is of one hour, by the time of the label, exact over all replicas. "
        f"Record: `{QUALITY}`.",
        Query(of(QUALITY), "{{measure}}"), size=(12, 9), unit="percentunit", maximum=1, empty="No labels",
    )  # fmt: skip


def _normal() -> Json:
    return timeseries(
        "What is normal: $measure",
        "The measure with its thresholds and its baseline from the config, itself a week before, and the band of "
        f"three standard deviations around the mean of seven days. Records: `{QUALITY}`, "
        "`model:model_quality:lower_band`, `model:model_quality:upper_band`, `model:model_threshold:effective`; "
        "metric: `model_baseline_ratio`.",
        Query(of(QUALITY, MEASURE), "now"),
        Query(f"{of(QUALITY, MEASURE)} offset 1w", "a week before"),
        Query(of("model:model_quality:lower_band", MEASURE), "normal from"),
        Query(of("model:model_quality:upper_band", MEASURE), "normal to"),
        Query(f"max({of('model_baseline_ratio', MEASURE)})", "baseline"),
        Query(bound_of_model("$measure"), BOUND),
        size=(12, 9), unit="percentunit", maximum=1, empty="No labels",
        overrides=[
            line("now", CALM), line("a week before", FAINT, dashed=True), *band("normal from", "normal to", CALM),
            line("baseline", GOOD, dashed=True), *BOUNDS,
        ],
    )  # fmt: skip


def _evidence() -> list[Json]:
    labelled = of.net("model_labelled_predictions_total", "correct", "rate", RATE_WINDOW)
    budget = of("model:model_error_budget:ratio")
    burn = {name: ratio(of(f"model:model_error:ratio_rate{window}"), budget) for window, name in BURN.items()}
    return [
        timeseries(
            "Labelled predictions per second",
            "What the quality rests on: labelled predictions per second, right and wrong, less what corrected "
            "labels took back. Metric: `model_labelled_predictions_total`.",
            Query(labelled, "{{correct}}"), stacked=True, unit="cps", minimum=0, empty="No labels",
            overrides=[renamed("true", "right", GOOD), renamed("false", "wrong", BAD)],
        ),
        timeseries(
            "Significance",
            "How many standard errors the last hour is from the mean of seven days: with few labels a large "
            "difference means little, with many a small one a lot. Record: `model:model_quality:zscore1h`.",
            Query(of("model:model_quality:zscore1h"), "{{measure}}"), unit="none", decimals=1, empty="No labels",
        ),
        timeseries(
            "Speed at which the error budget burns",
            "Share of wrong predictions by the share that the objective allows; above 1 the objective will be "
            "missed. Records: `model:model_error:ratio_rate30m`, `6h`, `3d`, `model:model_error_budget:ratio`.",
            *(Query(expr, name) for name, expr in burn.items()),
            unit="none", minimum=0, decimals=2, empty="No objective", steps=steps((CALM, None), (BAD, 1)),
        ),
    ]  # fmt: skip


# --- classes -------------------------------------------------------------------------------------


def _confusion() -> Json:
    return matrix(
        "Confusion matrix",
        f"Labelled predictions by actual class (rows) and predicted class (columns), {DAY}. "
        "Metric: `model_confusion_total`.",
        Rows(of.net("model_confusion_total", "actual, predicted", "increase", "1d")),
        rows="actual", columns="predicted", unit="short", decimals=0, empty="No labels",
    )  # fmt: skip


def _outcomes() -> Json:
    shown = of("model_class:model_outcomes:increase1d", 'outcome!="tn"')
    return bars(
        "Outcomes by class",
        "Every class against the rest, over one day; true negatives, which are mostly many, are left out. "
        "Record: `model_class:model_outcomes:increase1d`.",
        Rows(f"max by (class, outcome) ({shown})"),
        by="class", columns="outcome", heading="Class", unit="short", decimals=0, empty="No labels",
        overrides=[renamed("tp", "hit", GOOD), renamed("fp", "false alarm", UNSURE), renamed("fn", "missed", BAD)],
    )  # fmt: skip


def _classes() -> Json:
    hit, alarm, missed = (
        of.net("model_outcomes_total", "class", "increase", "1d", f'outcome="{word}"') for word in ("tp", "fp", "fn")
    )
    columns = [
        Column("Precision", ratio(hit, f"({hit} + {alarm})")),
        Column("Recall", ratio(hit, f"({hit} + {missed})")),
        Column("Labelled", f"{hit} + {missed}"),
    ]
    return table(
        "Classes", f"Precision and recall of each class against the rest, {DAY}. Metric: `model_outcomes_total`.",
        {"class": "Class"}, columns, worst=[("Labelled", "high")], size=(8, 9), empty="No labels",
        overrides=[
            *(column(name, "percentunit", decimals=1) for name in ("Precision", "Recall")),
            column("Labelled", "short", decimals=0),
        ],
    )  # fmt: skip


# --- labels --------------------------------------------------------------------------------------


def _flow_of_labels() -> list[Json]:
    newest = {role: f"time() - max({of(f'model_last_{role}_timestamp_seconds')})" for role in ("prediction", "label")}
    return [
        timeseries(
            "Age of the newest record",
            "Time since the newest prediction and the newest label, by their own times. "
            "Metrics: `model_last_prediction_timestamp_seconds`, `model_last_label_timestamp_seconds`.",
            *(Query(expr, role) for role, expr in newest.items()),
            Query(bound_of_model("label_age"), BOUND), unit="s", minimum=0, overrides=BOUNDS,
        ),
        timeseries(
            "Label coverage over time",
            "Labels of one day by its predictions, and share of the labels of one hour that met no prediction. "
            "Records: `model:model_label_coverage:ratio`, `model:model_labels_unmatched:ratio_increase1h`.",
            Query(f"max({of('model:model_label_coverage:ratio')})", "predictions with a label"),
            Query(f"max({of('model:model_labels_unmatched:ratio_increase1h')})", "labels without a prediction"),
            Query(bound_of_model("label_coverage"), BOUND), unit="percentunit", minimum=0, empty="No labels",
            overrides=[line("predictions with a label", GOOD), line("labels without a prediction", BAD), *BOUNDS],
        ),
        timeseries(
            "Waiting",
            "Predictions that wait for their label, and labels that wait for their prediction, over all replicas. "
            "Replicas that share a table of labels hold those of the others, too. "
            "Metrics: `model_pending_predictions`, `model_orphan_labels`.",
            Query(f"sum({of('model_pending_predictions')})", "predictions"),
            Query(f"sum({of('model_orphan_labels')})", "labels"), unit="short", minimum=0,
        ),
    ]  # fmt: skip


def _delay_of_labels() -> list[Json]:
    return [
        timeseries(
            "Label delay",
            "Time from a prediction to its label that 50, 90 and 99 % of the labels do not exceed. "
            f"Metric: `{DELAY}`.",
            *(Query(of.quantile(share, DELAY), f"p{share * 100:g}") for share in (0.5, 0.9, 0.99)),
            unit="s", minimum=0, empty="No labels",
        ),
        heatmap(
            "Distribution of the label delay", f"Labels per second by their delay. Metric: `{DELAY}`.",
            f"sum by (le) ({of.rate(f'{DELAY}_bucket')})", unit="s",
        ),
        timeseries(
            "What became of records",
            "Predictions and labels per second by what became of them at the join; matched is the good case. "
            "Metric: `model_joins_total`.",
            Query(f"sum by (result) ({of.rate('model_joins_total')})", "{{result}}"), unit="cps", minimum=0,
        ),
    ]  # fmt: skip


def _matured() -> list[Json]:
    coverage = "model_age:model_label_coverage:ratio_increase1d"
    quality = "model:model_matured_quality:ratio_increase1d"
    return [
        timeseries(
            "Label coverage by age",
            "Of the predictions that reached an age within a day, the share that was labelled within that age: how "
            f"long to wait before quality is known. Record: `{coverage}`.",
            Query(f"max by (age) ({of(coverage)})", "within {{age}}"), size=(12, 8), unit="percentunit", minimum=0,
            maximum=1, empty="No prediction is old enough",
        ),
        timeseries(
            "Quality of matured predictions",
            "By the time of the prediction, over those that reached the configured maturity within a day: labels "
            f"that come fast weigh no more than those that come late. Record: `{quality}`.",
            Query(f"max by (measure) ({of(quality)})", "{{measure}}"), size=(12, 8), unit="percentunit", maximum=1,
            empty="No maturity is configured",
        ),
    ]  # fmt: skip
