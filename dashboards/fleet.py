"""Fleet: is any model in trouble, and which one first?"""

from __future__ import annotations

from dashboards.layout import FILTERS, JOB, Dashboard, Row, annotation, choices
from dashboards.looks import (
    ANY_IS_BAD,
    ANY_IS_UNSURE,
    BAD,
    MARGIN,
    NEAR_LIMIT,
    STATUS,
    STATUS_STEPS,
    UP,
    ZERO_IS_BAD,
    Json,
    column,
    field,
    judged,
    link,
)
from dashboards.panels import Column, Now, Query, Rows, bars, geomap, stat, table, timeline, timeseries
from dashboards.queries import counted, extreme, ratio
from dashboards.queries import many_models as of

MODEL_PAGE = (
    "/d/model-exporter-model?${datasource:queryparam}&var-job=${__data.fields.job}"
    "&var-model=${__data.fields.model}&${__url_time_range}"
)
SHOWN = 10
"""Lines in a graph of many models."""
WORST = 5
"""Bars for each place."""

STATUS_OF_MODELS = f"max by (job, model) ({of('model:model_status:max')})"
ACCURACY = of("model:model_quality:ratio_increase1h", 'measure="accuracy"')


def _counts() -> list[Json]:
    newest_label = f"max by (job, model) ({of('model_last_label_timestamp_seconds')})"
    known = f"group by (job, model) ({of('model_info')})"
    unlabelled = f"(time() - {newest_label} > 86400) or ({known} unless {newest_label})"
    exporters = f"{of('up')} == 0 and on (job, instance) last_over_time({of('model_exporter_build_info')}[1d])"
    return [
        stat("Models", "Models that the exporters report.", Now(counted(known)), unit="none"),
        stat(
            "Critical", "Models with a firing critical alert. Record: `model:model_status:max`.",
            Now(counted(f"{STATUS_OF_MODELS} == 2")), steps=ANY_IS_BAD,
        ),
        stat(
            "Warning", "Models with a firing warning and no critical alert. Record: `model:model_status:max`.",
            Now(counted(f"{STATUS_OF_MODELS} == 1")), steps=ANY_IS_UNSURE,
        ),
        stat(
            "Without fresh labels",
            "Models whose newest label is more than a day old by its own time, or that never had one: nobody knows "
            "how good they are. Metric: `model_last_label_timestamp_seconds`.",
            Now(counted(unlabelled)), steps=ANY_IS_UNSURE,
        ),
        stat(
            "Model servers down", "Watched model servers that are down. Metric: `model_server_up`.",
            Now(counted(f"max by (job, target) ({of('model_server_up')}) == 0")), steps=ANY_IS_BAD,
        ),
        stat(
            "Exporters down", "Exporters seen within the last day that cannot be scraped now. Metric: `up`.",
            Now(counted(exporters)), steps=ANY_IS_BAD,
        ),
    ]  # fmt: skip


def _models() -> Json:
    quality = of("model:model_quality:ratio_increase1h")
    warning = of("model:model_threshold:effective", 'bound="min"', 'severity="warning"')
    margin = f"{quality} - ignoring (bound, severity) {warning}"
    newest_label = f"max by (job, model) ({of('model_last_label_timestamp_seconds')})"
    columns = [
        Column("Status", STATUS_OF_MODELS),
        Column("Margin", f"min by (job, model) ({margin})"),
        Column("Accuracy", f"max by (job, model) ({ACCURACY})"),
        Column("Against last week", f"max by (job, model) ({ACCURACY} - {ACCURACY} offset 1w)"),
        Column("Labelled", f"max by (job, model) ({of('model:model_labelled_predictions:increase1h')})"),
        Column("Predictions", f"max by (job, model) ({of('model:model_predictions:rate5m')})"),
        Column("Failed", f"max by (job, model) ({of('model:model_prediction_errors:ratio_rate5m')})"),
        Column("p99 latency", f"max by (job, model) ({of('model:model_prediction_latency_seconds:p99_rate5m')})"),
        Column("Newest label", f"{newest_label} * 1000"),
    ]
    overrides = [
        field("Model", {"links": [link("Open ${__value.text}", MODEL_PAGE)]}),
        judged("Status", STATUS_STEPS, STATUS),
        judged("Margin", MARGIN),
        *(column(name, "percentunit", decimals=1) for name in ("Margin", "Accuracy", "Against last week", "Failed")),
        column("Labelled", "short", decimals=0),
        column("Predictions", "reqps"),
        column("p99 latency", "s"),
        column("Newest label", "dateTimeFromNow"),
    ]
    return table(
        "Models, worst first",
        "One row per model; a click on its name opens it. Margin is the least distance of any measure to its warning "
        "threshold (percentage points; red is below it). Quality and labelled predictions are of the last hour, by "
        "the time of the label; the rest is of the last five minutes, over all replicas.",
        {"model": "Model", "job": "Job"}, columns, worst=[("Status", "high"), ("Margin", "low")],
        size=(24, 11), overrides=overrides,
    )  # fmt: skip


def _over_time() -> list[Json]:
    status = of("model:model_status:max")
    worst = f"max_over_time({status}[$__range] @ end())"
    return [
        timeseries(
            "Lowest accuracy",
            f"The {SHOWN} models whose accuracy is lowest at the end of the time range; each point is of one hour. "
            "Record: `model:model_quality:ratio_increase1h`.",
            Query(extreme("bottomk", SHOWN, ACCURACY, "job, model"), "{{model}}"),
            size=(12, 9), unit="percentunit", maximum=1, empty="No labels",
        ),
        timeline(
            "Alert state",
            "The highest severity of the firing alerts of a model; the twenty models that had the worst of it. "
            "Record: `model:model_status:max`.",
            Query(extreme("topk", 2 * SHOWN, status, "job, model", judged=worst), "{{model}}"),
            steps=STATUS_STEPS, mappings=STATUS, empty="No models",
        ),
    ]  # fmt: skip


def _servers() -> Json:
    by = "max by (job, target)"
    columns = [
        Column("Up", f"min by (job, target) ({of('model_server_up')})"),
        Column("Crashes per hour", f"{by} ({of('target:model_server_crashes:per_hour1d')})"),
        Column("CPU", f"{by} ({of('model_server_cpu_utilization_ratio')})"),
        Column("Memory", f"{by} ({of('model_server_memory_utilization_ratio')})"),
        Column("Fullest disk", f"{by} ({of('model_server_disk_utilization_ratio')})"),
        Column("Started", f"{by} ({of('model_server_start_time_seconds')}) * 1000"),
    ]
    overrides = [
        judged("Up", ZERO_IS_BAD, UP),
        *(judged(name, NEAR_LIMIT) for name in ("CPU", "Memory", "Fullest disk")),
        *(column(name, "percentunit", decimals=0) for name in ("CPU", "Memory", "Fullest disk")),
        column("Crashes per hour", "none", decimals=3),
        column("Started", "dateTimeFromNow"),
    ]
    return table(
        "Model servers",
        "One row per watched model server: crashes by observed time over one day, and what it uses of its limits in "
        "its fullest scope.",
        {"target": "Model server", "job": "Job"}, columns, worst=[("Up", "low"), ("Crashes per hour", "high")],
        overrides=overrides, empty="No model server is watched",
    )  # fmt: skip


def _told_by_servers() -> list[Json]:
    source = "Told by the model servers themselves, by the job under which Prometheus scrapes them"
    requests, errors = of("job:model_server_requests:rate5m"), of("job:model_server_request_errors:rate5m")
    p95, mean = (of(f"job:model_server_request_latency_seconds:{which}_5m") for which in ("p95", "mean"))
    empty = "No server's own metrics"
    return [
        timeseries(
            "Requests", f"{source}; the {SHOWN} with the most. Record: `job:model_server_requests:rate5m`.",
            Query(extreme("topk", SHOWN, requests, "job, server"), "{{job}}"),
            unit="reqps", minimum=0, empty=empty,
        ),
        timeseries(
            "Requests that failed",
            f"{source}; the {SHOWN} with the most. Record: `job:model_server_request_errors:rate5m`.",
            Query(ratio(extreme("topk", SHOWN, errors, "job, server"), requests), "{{job}}"),
            unit="percentunit", minimum=0, empty=empty,
        ),
        timeseries(
            "Latency of requests",
            f"{source}: what 95 % do not exceed, or the mean where a server tells no more; the {SHOWN} slowest. "
            "Records: `job:model_server_request_latency_seconds:p95_5m` and `:mean_5m`.",
            Query(extreme("topk", SHOWN, p95, "job, server"), "{{job}} p95"),
            Query(extreme("topk", SHOWN, mean, "job, server"), "{{job}} mean"),
            unit="s", minimum=0, empty=empty,
        ),
    ]  # fmt: skip


def _regions() -> list[Json]:
    """Quality by groups that have coordinates, whatever their attribute is called."""
    places = f"group by (job, model, attribute, group, latitude, longitude) ({of('model_segment_info')})"
    quality = of("model_group:model_segment_quality:ratio_increase1d", 'measure="accuracy"')
    predictions = of("model_group:model_segment_predictions:increase1d")
    by = "(job, model, attribute, group)"
    located = f"{places} * on {by} group_left () max by {by}"
    lowest = f"{quality} and on {by} {of('model_segment_info')}"
    rest = "over one day; of all groups that have coordinates in the config. Records: "
    return [
        geomap(
            "Lowest accuracy by region",
            "Where a model is bad: the accuracy of the model that is worst in the region, the circle the larger the "
            f"more predictions all models made there, {rest}`model_group:model_segment_quality:ratio_increase1d`, "
            "`model_group:model_segment_predictions:increase1d`; metric: `model_segment_info`.",
            Column("Lowest accuracy", f"min by (group, latitude, longitude) ({located} ({quality}))"),
            Column("Predictions", f"sum by (group, latitude, longitude) ({located} ({predictions}))"),
            unit="percentunit", decimals=1, minimum=0.5, maximum=1, empty="No coordinates",
            overrides=[field("Predictions", {"unit": "short", "decimals": 0, "min": 0})],
        ),
        bars(
            "Accuracy by region",
            f"The {WORST} models whose accuracy is lowest, {rest}"
            "`model_group:model_segment_quality:ratio_increase1d`, `model:model_quality:ratio_increase1h`; "
            "metric: `model_segment_info`.",
            Rows(f"max by (group, model) (({lowest}) and on (job, model) bottomk({WORST}, {ACCURACY}))"),
            by="group", columns="model", heading="Region", stacked=False, size=(12, 12), unit="percentunit",
            minimum=0, maximum=1, decimals=1, empty="No coordinates",
        ),
    ]  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        uid="model-exporter-fleet",
        title="Fleet",
        description="Is any model in trouble, and which one first?",
        since="now-6h",
        panels=[*_counts(), _models(), *_over_time()],
        rows=[
            Row("Regions", _regions()),
            Row("Model servers", [_servers(), *_told_by_servers()], folded=True),
        ],
        variables=[JOB, choices("model", "Model", 'label_values(model_info{job=~"$job"}, model)'), FILTERS],
        annotations=[
            annotation(
                "Critical alerts", BAD,
                'max by (alertname, model) (ALERTS{alertstate="firing", severity="critical", category!="", '
                'job=~"$job|", model=~"$model|"})',
                "{{alertname}}", "{{model}}",
            )
        ],
    )  # fmt: skip
