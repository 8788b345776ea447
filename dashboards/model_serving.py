"""Rows of the model page about serving: predictions, errors, latency, and what its servers do and use."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import BOUND, BOUNDS, FAINT, UP, ZERO_IS_BAD, Json, line
from dashboards.panels import Query, heatmap, timeline, timeseries
from dashboards.queries import bound_of_model, bound_of_server, ratio
from dashboards.queries import one_model as of

LATENCY = "model_prediction_latency_seconds"
TOLD = "Told by the model server itself, where it tells the model"
NOT_WATCHED = "None watched"
SCOPE, DISK, GPU = "target, scope", "target, mountpoint", "target, gpu"


def rows() -> list[Row]:
    return [
        Row("Predictions", [*_predictions(), *_at_the_server()]),
        Row("Model servers", [*_life(), *_nearest_to_their_limits()]),
        Row("Model servers in detail", [*_cpu(), *_memory(), *_tasks_and_files(), *_disks()], folded=True),
        Row("GPUs", _gpus(), folded=True),
    ]


# --- predictions ---------------------------------------------------------------------------------


def _predictions() -> list[Json]:
    made = f"sum({of.rate('model_predictions_total')})"
    failed = of.rate("model_prediction_errors_total")
    return [
        timeseries(
            "Predictions by class", "Predictions per second, by what was predicted. "
            "Metric: `model_predictions_total`.",
            Query(f"sum by (predicted) ({of.rate('model_predictions_total')})", "{{predicted}}"),
            stacked=True, unit="reqps", minimum=0, empty="No traffic",
        ),
        timeseries(
            "Failed predictions",
            "Share of all predictions that failed, by reason. Metric: `model_prediction_errors_total`.",
            Query(f"sum by (reason) ({failed}) / on () group_left () ({made} + sum({failed}) > 0)", "{{reason}}"),
            Query(bound_of_model("error_ratio"), BOUND),
            unit="percentunit", minimum=0, empty="None failed", overrides=BOUNDS,
        ),
        timeseries(
            "Latency",
            f"Time that 50, 95 and 99 % of the predictions do not exceed, over all replicas. Metric: `{LATENCY}`.",
            *(Query(of.quantile(share, LATENCY), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)),
            Query(bound_of_model("latency_p95"), "{{severity}} threshold of p95"),
            unit="s", minimum=0, empty="No latencies",
        ),
        heatmap(
            "Distribution of the latency", f"Predictions per second by their latency. Metric: `{LATENCY}`.",
            f"sum by (le) ({of.rate(f'{LATENCY}_bucket')})", unit="s",
        ),
    ]  # fmt: skip


def _at_the_server() -> list[Json]:
    return [
        timeseries(
            "Requests at the server",
            f"{TOLD}: all requests, and those that failed. Records: `job_model:model_server_requests:rate5m`, "
            "`job_model:model_server_request_errors:rate5m`.",
            Query(of("job_model:model_server_requests:rate5m"), "{{job}}"),
            Query(of("job_model:model_server_request_errors:rate5m"), "{{job}} failed"),
            unit="reqps", minimum=0, empty="No server's own metrics",
        ),
        timeseries(
            "Latency at the server",
            f"{TOLD}: what 95 % of the requests do not exceed, or the mean. "
            "Records: `job_model:model_server_request_latency_seconds:p95_5m`, `:mean_5m`.",
            Query(of("job_model:model_server_request_latency_seconds:p95_5m"), "{{job}} p95"),
            Query(of("job_model:model_server_request_latency_seconds:mean_5m"), "{{job}} mean"),
            unit="s", minimum=0, empty="No server's own metrics",
        ),
    ]  # fmt: skip


# --- what every panel of a server is -------------------------------------------------------------


def _legend(by: str, *more: str) -> str:
    return " ".join([*(f"{{{{{label}}}}}" for label in by.split(", ")), *more])


def _share(title: str, about: str, metric: str, by: str, bound: str = "") -> Json:
    """How near something comes to its limit, and to the *bound* of that name from the config."""
    queries = [Query(f"max by ({by}) ({of(metric)})", _legend(by))]
    if bound:
        queries.append(Query(bound_of_server(bound), BOUND))
    return timeseries(
        title, f"{about} Metric: `{metric}`.", *queries, unit="percentunit", minimum=0, maximum=1, empty=NOT_WATCHED,
        overrides=BOUNDS if bound else [],
    )  # fmt: skip


def _amounts(title: str, about: str, unit: str, by: str, **metrics: str) -> Json:
    """What is used and how much there is, or may be."""
    queries = (
        Query(f"max by ({by}) ({of(metric)})", _legend(by, word.replace("_", " "))) for word, metric in metrics.items()
    )
    names = ", ".join(f"`{metric}`" for metric in metrics.values())
    return timeseries(title, f"{about} Metrics: {names}.", *queries, unit=unit, minimum=0, empty=NOT_WATCHED)


def _hourly(title: str, about: str, by: str, **metrics: str) -> Json:
    """How often something happened within one hour."""
    queries = (
        Query(f"sum by ({by}) ({of.increase(metric, '1h')})", _legend(by, word.replace("_", " ")))
        for word, metric in metrics.items()
    )
    names = ", ".join(f"`{metric}`" for metric in metrics.values())
    text = f"{about} Each point is of one hour. Metrics: {names}."
    return timeseries(title, text, *queries, unit="none", minimum=0, decimals=0, empty=NOT_WATCHED)


# --- model servers -------------------------------------------------------------------------------


def _life() -> list[Json]:
    crashes, restarts = "model_server_crashes_total", "model_server_restarts_total"
    return [
        timeline(
            "Up", "Whether each model server is up. Metric: `model_server_up`.",
            Query(f"min by (target) ({of('model_server_up')})", "{{target}}"), size=(8, 8),
            mappings=UP, steps=ZERO_IS_BAD, empty=NOT_WATCHED,
        ),
        timeseries(
            "Crashes per hour",
            "Ends that nobody asked for, by the time for which they are known; each point is of one day. "
            "Record: `target:model_server_crashes:per_hour1d`.",
            Query(of("target:model_server_crashes:per_hour1d"), "{{target}}"),
            Query(bound_of_server("crashes_per_hour"), BOUND), unit="none", minimum=0, empty=NOT_WATCHED,
            overrides=BOUNDS,
        ),
        timeseries(
            "Crashes and restarts",
            "Crashes by reason, and all restarts, planned ones included; each point is of one hour. "
            f"Metrics: `{crashes}`, `{restarts}`.",
            Query(f"sum by (reason) ({of.increase(crashes, '1h')}) > 0", "crashed: {{reason}}"),
            Query(f"sum({of.increase(restarts, '1h')})", "all restarts"),
            unit="none", minimum=0, decimals=0, empty="None crashed", overrides=[line("all restarts", FAINT)],
        ),
    ]  # fmt: skip


def _nearest_to_their_limits() -> list[Json]:
    return [
        _share(
            "CPU", "CPU time used of the cores that may be used.", "model_server_cpu_utilization_ratio", SCOPE, "cpu"
        ),
        _share("Memory", "Memory used of what may be used.", "model_server_memory_utilization_ratio", SCOPE, "memory"),
        _share("Disks", "Bytes used of each file system.", "model_server_disk_utilization_ratio", DISK, "disk"),
    ]


def _cpu() -> list[Json]:
    used, limit = "model_server_cpu_seconds_total", "model_server_cpu_limit_cores"
    throttled, periods = "model_server_cpu_throttled_periods_total", "model_server_cpu_periods_total"
    without = ratio(*(f"sum by ({SCOPE}) ({of.rate(metric)})" for metric in (throttled, periods)))
    return [
        timeseries(
            "CPU cores", f"Cores busy, and those that may be. Metrics: `{used}`, `{limit}`.",
            Query(f"sum by ({SCOPE}) ({of.rate(used)})", _legend(SCOPE)),
            Query(f"max by ({SCOPE}) ({of(limit)})", _legend(SCOPE, "limit")),
            unit="none", minimum=0, empty=NOT_WATCHED,
        ),
        timeseries(
            "Throttled", "Share of scheduling periods in which the CPU quota ran out. "
            f"Metrics: `{throttled}`, `{periods}`.",
            Query(without, _legend(SCOPE)), unit="percentunit", minimum=0, maximum=1, empty="No quota",
        ),
    ]  # fmt: skip


def _memory() -> list[Json]:
    return [
        _amounts(
            "Memory in bytes", "Memory used, the most ever used, and what may be used.", "bytes", SCOPE,
            used="model_server_memory_used_bytes", peak="model_server_memory_peak_bytes",
            limit="model_server_memory_limit_bytes",
        ),
        _amounts(
            "Memory of the processes", "The process and its workers, shared pages counted once.", "bytes", "target",
            proportional="model_server_memory_proportional_bytes",
        ),
        _hourly(
            "Out of memory", "Processes killed for want of memory, and times that the limit was met.", SCOPE,
            killed="model_server_oom_kills_total", out_of_memory="model_server_oom_events_total",
        ),
    ]  # fmt: skip


def _tasks_and_files() -> list[Json]:
    return [
        _amounts(
            "Processes and threads", "Living processes of the server, and their threads.", "none", "target",
            processes="model_server_processes", threads="model_server_threads",
        ),
        _amounts(
            "Tasks", "Processes and threads of the scope, and how many may be.", "none", SCOPE,
            used="model_server_tasks_used", limit="model_server_tasks_limit",
        ),
        _hourly(
            "Tasks refused", "Processes and threads not started, for the limit.", SCOPE,
            refused="model_server_tasks_refused_total",
        ),
        _share(
            "Open files", "Open files of the process that is nearest to its own limit.",
            "model_server_open_files_utilization_ratio", "target",
        ),
        _amounts(
            "Number of open files", "Open files of that process, and how many may be.", "none", "target",
            used="model_server_open_files_used", limit="model_server_open_files_limit",
        ),
    ]  # fmt: skip


def _disks() -> list[Json]:
    return [
        _amounts(
            "Disk space", "Bytes used, those that ordinary users may still write, and all.", "bytes", DISK,
            used="model_server_disk_used_bytes", available="model_server_disk_available_bytes",
            size="model_server_disk_size_bytes",
        ),
        _share("Inodes", "Inodes used of each file system.", "model_server_disk_inodes_utilization_ratio", DISK),
        _amounts(
            "Number of inodes", "Inodes used, and all.", "short", DISK,
            used="model_server_disk_inodes_used", limit="model_server_disk_inodes_limit",
        ),
    ]  # fmt: skip


def _gpus() -> list[Json]:
    used, info = "model_server_gpu_utilization_ratio", "model_server_gpu_info"
    named = f"max by ({GPU}) ({of(used)}) * on ({GPU}) group_left (name) max by ({GPU}, name) ({of(info)})"
    return [
        timeseries(
            "GPU", f"Share of time in which some kernel ran. Metrics: `{used}`, `{info}`.",
            Query(named, _legend(GPU, "{{name}}")), unit="percentunit", minimum=0, maximum=1, empty="No GPU",
        ),
        _share("GPU memory", "GPU memory used of all there is.", "model_server_gpu_memory_utilization_ratio", GPU),
        _amounts(
            "GPU memory in bytes", "GPU memory used by all, by the server itself, and all there is.", "bytes", GPU,
            used="model_server_gpu_memory_used_bytes", by_the_server="model_server_gpu_process_memory_bytes",
            limit="model_server_gpu_memory_limit_bytes",
        ),
    ]  # fmt: skip
