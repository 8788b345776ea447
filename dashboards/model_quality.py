"""Rows of the model page about truth: measures, what was taken for what, and how labels arrive."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import BAD, CALM, FAINT, GOOD, UNSURE, band, column, field, line, steps
from dashboards.panels import Column, Query, Rows, bars, heatmap, matrix, table, timeseries
from dashboards.queries import RATE_WINDOW, Selector, ratio

MEASURE = 'measure="$measure"'
BURN = {"30m": "30 minutes", "6h": "6 hours", "3d": "3 days"}


def rows(of: Selector) -> list[Row]:
    return [_measures(of), _confusion(of), _labels(of)]


def _measures(of: Selector) -> Row:
    quality = of("model:model_quality:ratio_increase1h", MEASURE)
    threshold = of("model:model_threshold:effective", MEASURE, 'bound="min"')
    labelled = of.net("model_labelled_predictions_total", "correct", "rate", RATE_WINDOW)
    budget = of("model:model_error_budget:ratio")
    return Row(
        "Quality",
        [
            timeseries(
                "Quality over time",
                "Every measure; each point is of one hour, by the time of the label, exact over all replicas. "
                "Record: `model:model_quality:ratio_increase1h`.",
                Query(of("model:model_quality:ratio_increase1h"), "{{measure}}"),
                size=(12, 9), unit="percentunit", maximum=1, empty="No labels",
            ),
            timeseries(
                "What is normal: $measure",
                "The measure with its thresholds and its baseline from the config, itself a week before, and the band "
                "of three standard deviations around the mean of seven days. "
                "Records: `model:model_quality:ratio_increase1h`, `:lower_band`, `:upper_band`, "
                "`model:model_threshold:effective`; metric: `model_baseline_ratio`.",
                Query(quality, "now"),
                Query(f"{quality} offset 1w", "a week before"),
                Query(of("model:model_quality:lower_band", MEASURE), "normal from"),
                Query(of("model:model_quality:upper_band", MEASURE), "normal to"),
                Query(f"max by (severity) ({threshold})", "{{severity}} threshold"),
                Query(f"max({of('model_baseline_ratio', MEASURE)})", "baseline"),
                size=(12, 9), unit="percentunit", maximum=1, empty="No labels",
                overrides=[
                    line("now", CALM), line("a week before", FAINT, dashed=True), line("baseline", GOOD, dashed=True),
                    line("warning threshold", UNSURE, dashed=True), line("critical threshold", BAD, dashed=True),
                    *band("normal from", "normal to", CALM),
                ],
            ),
            timeseries(
                "Labelled predictions",
                "What the quality rests on: labelled predictions per second, right and wrong, less what corrected "
                "labels took back. Metric: `model_labelled_predictions_total`.",
                Query(labelled, "{{correct}}"), stacked=True, unit="cps", minimum=0, empty="No labels",
                overrides=[
                    field("true", {"displayName": "right", "color": {"mode": "fixed", "fixedColor": GOOD}}),
                    field("false", {"displayName": "wrong", "color": {"mode": "fixed", "fixedColor": BAD}}),
                ],
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
                *(
                    Query(f"{of(f'model:model_error:ratio_rate{window}')} / {budget}", name)
                    for window, name in BURN.items()
                ),
                unit="none", minimum=0, decimals=2, empty="No objective", steps=steps((CALM, None), (BAD, 1)),
            ),
        ],
    )  # fmt: skip


def _confusion(of: Selector) -> Row:
    day = "over one day, less what corrected labels took back"
    outcomes = {word: of.net("model_outcomes_total", "class", "increase", "1d", f'outcome="{word}"')
                for word in ("tp", "fp", "fn")}  # fmt: skip
    shown = of("model_class:model_outcomes:increase1d", 'outcome!="tn"')
    columns = [
        Column("Precision", ratio(outcomes["tp"], f"({outcomes['tp']} + {outcomes['fp']})")),
        Column("Recall", ratio(outcomes["tp"], f"({outcomes['tp']} + {outcomes['fn']})")),
        Column("Labelled", f"{outcomes['tp']} + {outcomes['fn']}"),
    ]
    return Row(
        "What was taken for what",
        [
            matrix(
                "Confusion matrix",
                f"Labelled predictions by actual class (rows) and predicted class (columns), {day}. "
                "Metric: `model_confusion_total`.",
                Rows(of.net("model_confusion_total", "actual, predicted", "increase", "1d")), "actual", "predicted",
                unit="short", decimals=0, empty="No labels",
            ),
            bars(
                "Outcomes by class",
                "Every class against the rest, over one day; true negatives, which are mostly many, are left out. "
                "Record: `model_class:model_outcomes:increase1d`.",
                Rows(f"max by (class, outcome) ({shown})"), "class", "outcome", "Class", unit="short", decimals=0, empty="No labels",
                overrides=[
                    field("tp", {"displayName": "hit", "color": {"mode": "fixed", "fixedColor": GOOD}}),
                    field("fp", {"displayName": "false alarm", "color": {"mode": "fixed", "fixedColor": UNSURE}}),
                    field("fn", {"displayName": "missed", "color": {"mode": "fixed", "fixedColor": BAD}}),
                ],
            ),
            table(
                "Classes", f"Precision and recall of each class against the rest, {day}. "
                "Metric: `model_outcomes_total`.",
                {"class": "Class"}, columns, worst=[("Labelled", "high")], size=(8, 9), empty="No labels",
                overrides=[
                    column("Precision", "percentunit", decimals=1), column("Recall", "percentunit", decimals=1),
                    column("Labelled", "short", decimals=0),
                ],
            ),
        ],
    )  # fmt: skip


def _labels(of: Selector) -> Row:
    newest = {role: f"time() - max({of(f'model_last_{role}_timestamp_seconds')})" for role in ("prediction", "label")}
    delay = "model_label_delay_seconds"
    return Row(
        "Labels",
        [
            timeseries(
                "Age of the newest record",
                "Time since the newest prediction and the newest label, by their own times. "
                "Metrics: `model_last_prediction_timestamp_seconds`, `model_last_label_timestamp_seconds`.",
                *(Query(expr, role) for role, expr in newest.items()), unit="s", minimum=0,
            ),
            timeseries(
                "Label coverage",
                "Share of the predictions that got their label, and share of the labels of the last hour that met no "
                "prediction. Records: `model:model_label_coverage:ratio`, "
                "`model:model_labels_unmatched:ratio_increase1h`.",
                Query(f"max({of('model:model_label_coverage:ratio')})", "predictions with a label"),
                Query(f"max({of('model:model_labels_unmatched:ratio_increase1h')})", "labels without a prediction"),
                unit="percentunit", minimum=0, maximum=1, empty="No labels",
                overrides=[line("predictions with a label", GOOD), line("labels without a prediction", BAD)],
            ),
            timeseries(
                "Waiting",
                "Predictions that wait for their label, and labels that wait for their prediction, over all replicas. "
                "Replicas that share a table of labels hold those of the others, too. "
                "Metrics: `model_pending_predictions`, `model_orphan_labels`.",
                Query(f"sum({of('model_pending_predictions')})", "predictions"),
                Query(f"sum({of('model_orphan_labels')})", "labels"), unit="short", minimum=0,
            ),
            timeseries(
                "Label delay",
                "Time from a prediction to its label that 50, 90 and 99 % of the labels do not exceed. "
                f"Metric: `{delay}`.",
                *(Query(of.quantile(share, delay), f"p{share * 100:g}") for share in (0.5, 0.9, 0.99)),
                unit="s", minimum=0, empty="No labels",
            ),
            heatmap(
                "Distribution of the label delay", f"Labels per second by their delay. Metric: `{delay}`.",
                f"sum by (le) ({of.rate(f'{delay}_bucket')})", unit="s",
            ),
            timeseries(
                "What became of records",
                "Predictions and labels per second by what became of them at the join; matched is the good case. "
                "Metric: `model_joins_total`.",
                Query(f"sum by (result) ({of.rate('model_joins_total')})", "{{result}}"), unit="cps", minimum=0,
            ),
        ],
    )  # fmt: skip
