"""Model: how good is this one, since when, and why?"""

from __future__ import annotations

from dashboards import (
    model_curves,
    model_estimates,
    model_further,
    model_quality,
    model_segments,
    model_serving,
    model_tasks,
)
from dashboards.layout import FILTERS, JOB, NEWEST_FIRST, Dashboard, Row, annotation, choice, choices
from dashboards.looks import (
    BAD,
    CALM,
    GOOD,
    STATUS,
    STATUS_STEPS,
    UP,
    ZERO_IS_BAD,
    Json,
    column,
)
from dashboards.panels import Column, Now, Query, stat, table, timeseries
from dashboards.queries import one_model as of
from dashboards.queries import ratio

MEASURE = 'measure="$measure"'
QUALITY_OF_VERSIONS = of("model_version:model_quality:ratio_increase1d", MEASURE)


def _truth_now() -> list[Json]:
    hour = "of the last hour, by the time of the label, over all replicas"
    labelled = of("model:model_labelled_predictions:increase1h")
    return [
        stat(
            "Status", "The highest severity of its firing alerts. Record: `model:model_status:max`.",
            Now(f"max({of('model:model_status:max')})"), steps=STATUS_STEPS, mappings=STATUS,
        ),
        stat(
            "Quality", f"Measures {hour}. Record: `model:model_quality:ratio_increase1h`.",
            Now(f"max by (measure) ({of('model:model_quality:ratio_increase1h')})", "{{measure}}"),
            size=(12, 4), unit="percentunit", decimals=1, empty="No labels",
        ),
        stat(
            "Labelled predictions",
            f"What the quality rests on: labelled predictions {hour}. "
            "Record: `model:model_labelled_predictions:increase1h`.",
            Now(f"max({labelled})"), unit="short", decimals=0,
        ),
        stat(
            "Label coverage", "Share of predictions that got their label. Record: `model:model_label_coverage:ratio`.",
            Now(f"max({of('model:model_label_coverage:ratio')})"), unit="percentunit", decimals=1, empty="No labels",
        ),
    ]  # fmt: skip


def _serving_now() -> list[Json]:
    return [
        stat(
            "Predictions", "Predictions per second, over all replicas. Record: `model:model_predictions:rate5m`.",
            Now(f"max({of('model:model_predictions:rate5m')})"), unit="reqps", empty="No traffic",
        ),
        stat(
            "Failed", "Share of predictions that failed. Record: `model:model_prediction_errors:ratio_rate5m`.",
            Now(f"max({of('model:model_prediction_errors:ratio_rate5m')})"), unit="percentunit", empty="No traffic",
        ),
        stat(
            "p95 latency",
            "Time that 95 % of the predictions do not exceed. "
            "Record: `model:model_prediction_latency_seconds:p95_rate5m`.",
            Now(f"max({of('model:model_prediction_latency_seconds:p95_rate5m')})"), unit="s", empty="No latencies",
        ),
        stat(
            "Newest prediction",
            "Event time of the newest prediction. Metric: `model_last_prediction_timestamp_seconds`.",
            Now(f"max({of('model_last_prediction_timestamp_seconds')}) * 1000"), unit="dateTimeFromNow",
        ),
        stat(
            "Newest label", "Event time of the newest label. Metric: `model_last_label_timestamp_seconds`.",
            Now(f"max({of('model_last_label_timestamp_seconds')}) * 1000"), unit="dateTimeFromNow",
            empty="No labels",
        ),
        stat(
            "Model servers", "Down as soon as one of them is. Metric: `model_server_up`.",
            Now(f"min({of('model_server_up')})"), steps=ZERO_IS_BAD, mappings=UP, empty="None watched",
        ),
    ]  # fmt: skip


def _versions() -> Json:
    predictions = f"sum by (version) ({of.increase('model_predictions_total', '1d')})"
    errors = f"(sum by (version) ({of.increase('model_prediction_errors_total', '1d')}) or 0 * {predictions})"
    newest = of("model_last_prediction_timestamp_seconds")
    columns = [
        Column("Quality", f"max by (version) ({QUALITY_OF_VERSIONS})"),
        Column("Samples", f"max by (version) ({of('model_version:model_quality_samples:increase1d', MEASURE)})"),
        Column("Predictions", predictions),
        Column("Failed", ratio(errors, f"({predictions} + {errors})")),
        Column("Newest prediction", f"max by (version) ({newest}) * 1000"),
    ]
    return table(
        "Versions", "Each version of the model over one day; quality is that of $measure.", {"version": "Version"},
        columns, worst=[("Newest prediction", "high")], size=(24, 7),
        overrides=[
            *(column(name, "percentunit", decimals=1) for name in ("Quality", "Failed")),
            *(column(name, "short", decimals=0) for name in ("Samples", "Predictions")),
            column("Newest prediction", "dateTimeFromNow"),
        ],
    )  # fmt: skip


def _challengers() -> Json:
    difference = "model_version:model_quality:difference"
    records = {"{{version}}": "", "{{version}}, from": "_lower", "{{version}}, to": "_upper"}
    queries = {name: of(f"{difference}{bound}_increase1d", MEASURE) for name, bound in records.items()}
    champion = f"group by (version) ({of('model_version:model_champion:one')})"
    return timeseries(
        "Difference from the champion",
        "$measure of every other version less that of the champion, over one day, with its interval of 95 %: a "
        "version is better where all of it is above 0, worse where all of it is below. Nothing while one of them has "
        f"too few labels. Records: `{difference}_increase1d`, `{difference}_lower_increase1d`, "
        f"`{difference}_upper_increase1d`, `model_version:model_champion:one`.",
        *(Query(f"max by (version) ({expr})", name) for name, expr in queries.items()),
        Query(f"0 * {champion}", "{{version}} is the champion"),
        size=(12, 8),
        unit="percentunit",
        decimals=1,
        empty="One version, or too few labels",
    )


def _versions_over_time() -> list[Json]:
    return [
        timeseries(
            "Quality by version",
            "$measure over one day. Record: `model_version:model_quality:ratio_increase1d`.",
            Query(f"max by (version) ({QUALITY_OF_VERSIONS})", "{{version}}"), size=(12, 8), unit="percentunit",
            maximum=1, empty="No labels",
        ),
        _challengers(),
        timeseries(
            "Predictions by version", "Predictions per second. Metric: `model_predictions_total`.",
            Query(f"sum by (version) ({of.rate('model_predictions_total')})", "{{version}}"), size=(12, 8),
            stacked=True, unit="reqps", minimum=0, empty="No traffic",
        ),
        timeseries(
            "Latency by version",
            "Time that 95 % of the predictions do not exceed. Metric: `model_prediction_latency_seconds`.",
            Query(of.quantile(0.95, "model_prediction_latency_seconds", "version"), "{{version}}"),
            size=(12, 8), unit="s", minimum=0, empty="No latencies",
        ),
    ]  # fmt: skip


def _annotations() -> list[Json]:
    versions = f"group by (job, model, version) ({of('model_info')})"
    before = f"group by (job, model, version) ({of('model_info')} offset 5m)"
    known = f"group by (job, model) ({of('model_info')} offset 5m)"
    return [
        annotation(
            "Alerts", BAD,
            'max by (alertname, severity, measure) (ALERTS{alertstate="firing", category!="", severity!="none", '
            'job=~"$job|", model="$model"})',
            "{{alertname}}", "{{severity}} {{measure}}",
        ),
        annotation("New versions", CALM, f"({versions} unless {before}) and on (job, model) {known}",
                   "Version {{version}}"),
        annotation(
            "Server starts", GOOD, f"max by (job, target) ({of('model_server_start_time_seconds')}) * 1000",
            "{{target}} started", at_value=True,
        ),
    ]  # fmt: skip


def dashboard() -> Dashboard:
    selected = 'job=~"$job", model="$model"'
    return Dashboard(
        uid="model-exporter-model",
        title="Model",
        description="How good is this model, since when, and why?",
        since="now-24h",
        panels=[*_truth_now(), *_serving_now()],
        rows=[
            *model_quality.rows(), *model_estimates.rows(), *model_curves.rows(), *model_further.rows(),
            *model_segments.rows(), *model_tasks.rows(), *model_serving.rows(),
            Row("Versions", [_versions(), *_versions_over_time()]),
        ],
        variables=[
            JOB,
            choice("model", "Model", 'label_values(model_info{job=~"$job"}, model)'),
            choice("measure", "Measure", f"label_values(model:model_quality:ratio_increase1h{{{selected}}}, measure)"),
            choice("loss", "Loss", f"label_values(model:model_loss:mean_increase1d{{{selected}}}, measure)"),
            choice("version", "Version of curves", f"label_values(model_info{{{selected}}}, version)",
                   sort=NEWEST_FIRST),
            choices("target", "Model server", f"label_values(model_server_target_info{{{selected}}}, target)",
                    every=None),
            FILTERS,
        ],
        annotations=_annotations(),
    )  # fmt: skip
