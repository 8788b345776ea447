"""Rows of the model page about serving: predictions, errors, latency, and what its servers do and use."""

from __future__ import annotations

from dashboards.layout import Row
from dashboards.looks import FAINT, NEAR_LIMIT, UP, ZERO_IS_BAD, Json, line
from dashboards.panels import Query, heatmap, timeline, timeseries
from dashboards.queries import Selector, ratio

LATENCY = "model_prediction_latency_seconds"
OWN = "Told by the model server itself, where it tells the model"
NOT_WATCHED = "None watched"


def rows(of: Selector) -> list[Row]:
    return [_predictions(of), _server(of), _details(of), _gpu(of)]


def _predictions(of: Selector) -> Row:
    made = f"sum({of.rate('model_predictions_total')})"
    failed = of.rate("model_prediction_errors_total")
    return Row(
        "Predictions",
        [
            timeseries(
                "Predictions by class", "Predictions per second, by what was predicted. "
                "Metric: `model_predictions_total`.",
                Query(f"sum by (predicted) ({of.rate('model_predictions_total')})", "{{predicted}}"),
                stacked=True, unit="reqps", minimum=0, empty="No traffic",
            ),
            timeseries(
                "Failed predictions",
                "Share of all predictions that failed, by reason. Metric: `model_prediction_errors_total`.",
                Query(
                    f"sum by (reason) ({failed}) / on () group_left () ({made} + (sum({failed}) or vector(0)) > 0)",
                    "{{reason}}",
                ),
                unit="percentunit", minimum=0, empty="None failed",
            ),
            timeseries(
                "Latency",
                f"Time that 50, 95 and 99 % of the predictions do not exceed, over all replicas. Metric: `{LATENCY}`.",
                *(Query(of.quantile(share, LATENCY), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)),
                unit="s", minimum=0, empty="No latencies",
            ),
            heatmap(
                "Distribution of the latency", f"Predictions per second by their latency. Metric: `{LATENCY}`.",
                f"sum by (le) ({of.rate(f'{LATENCY}_bucket')})", unit="s",
            ),
            timeseries(
                "Requests at the server",
                f"{OWN}: all requests, and those that failed. Records: `job_model:model_server_requests:rate5m`, "
                "`job_model:model_server_request_errors:rate5m`.",
                Query(of("job_model:model_server_requests:rate5m"), "{{job}}"),
                Query(of("job_model:model_server_request_errors:rate5m"), "{{job}} failed"),
                unit="reqps", minimum=0, empty="No server's own metrics",
            ),
            timeseries(
                "Latency at the server",
                f"{OWN}: what 95 % of the requests do not exceed, or the mean. "
                "Records: `job_model:model_server_request_latency_seconds:p95_5m`, `:mean_5m`.",
                Query(of("job_model:model_server_request_latency_seconds:p95_5m"), "{{job}} p95"),
                Query(of("job_model:model_server_request_latency_seconds:mean_5m"), "{{job}} mean"),
                unit="s", minimum=0, empty="No server's own metrics",
            ),
        ],
    )  # fmt: skip


def _used(of: Selector, title: str, metric: str, help_: str, by: str = "target, scope") -> Json:
    """How near something comes to its limit."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return timeseries(
        title, f"{help_} Metric: `{metric}`.", Query(f"max by ({by}) ({of(metric)})", legend),
        unit="percentunit", minimum=0, maximum=1, steps=NEAR_LIMIT, empty=NOT_WATCHED,
    )  # fmt: skip


def _server(of: Selector) -> Row:
    crashes, restarts = "model_server_crashes_total", "model_server_restarts_total"
    return Row(
        "Model servers",
        [
            timeline(
                "Up", "Whether each model server is up. Metric: `model_server_up`.",
                Query(f"min by (target) ({of('model_server_up')})", "{{target}}"), size=(8, 8),
                mappings=UP, steps=ZERO_IS_BAD, empty=NOT_WATCHED,
            ),
            timeseries(
                "Crashes per hour",
                "Ends that nobody asked for, by the time for which they are known; each point is of one day. "
                "Record: `target:model_server_crashes:per_hour1d`.",
                Query(of("target:model_server_crashes:per_hour1d"), "{{target}}"), unit="none", minimum=0,
                empty=NOT_WATCHED,
            ),
            timeseries(
                "Crashes and restarts",
                f"Crashes within one hour by reason, and all restarts, planned ones included. "
                f"Metrics: `{crashes}`, `{restarts}`.",
                Query(f"sum by (reason) ({of.increase(crashes, '1h')}) > 0", "crashed: {{reason}}"),
                Query(f"sum({of.increase(restarts, '1h')})", "all restarts"),
                unit="none", minimum=0, decimals=0, empty="None crashed", overrides=[line("all restarts", FAINT)],
            ),
            _used(of, "CPU", "model_server_cpu_utilization_ratio", "CPU time used of the cores that may be used."),
            _used(of, "Memory", "model_server_memory_utilization_ratio", "Memory used of what may be used."),
            _used(of, "Disks", "model_server_disk_utilization_ratio", "Bytes used of each file system.",
                  "target, mountpoint"),
        ],
    )  # fmt: skip


def _amount(
    of: Selector, title: str, help_: str, unit: str, by: str, **metrics: str
) -> Json:
    """Several amounts by the same labels, such as what is used and its limit."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    names = ", ".join(f"`{metric}`" for metric in metrics.values())
    queries = (
        Query(f"max by ({by}) ({of(metric)})", f"{legend} {word.replace('_', ' ')}")
        for word, metric in metrics.items()
    )
    return timeseries(title, f"{help_} Metrics: {names}.", *queries, unit=unit, minimum=0, empty=NOT_WATCHED)


def _details(of: Selector) -> Row:
    scope = "target, scope"
    periods = of.rate("model_server_cpu_periods_total")
    throttled = of.rate("model_server_cpu_throttled_periods_total")
    return Row(
        "Model servers in detail",
        [
            timeseries(
                "CPU cores", "Cores busy, and the limit. "
                "Metrics: `model_server_cpu_seconds_total`, `model_server_cpu_limit_cores`.",
                Query(f"sum by ({scope}) ({of.rate('model_server_cpu_seconds_total')})", "{{target}} {{scope}}"),
                Query(f"max by ({scope}) ({of('model_server_cpu_limit_cores')})", "{{target}} {{scope}} limit"),
                unit="none", minimum=0, empty=NOT_WATCHED,
            ),
            timeseries(
                "Throttled", "Share of scheduling periods in which the CPU quota ran out. "
                "Metrics: `model_server_cpu_throttled_periods_total`, `model_server_cpu_periods_total`.",
                Query(ratio(f"sum by ({scope}) ({throttled})", f"sum by ({scope}) ({periods})"),
                      "{{target}} {{scope}}"),
                unit="percentunit", minimum=0, maximum=1, empty="No quota",
            ),
            _amount(
                of, "Memory in bytes", "Memory used, its peak, and the limit.", "bytes", scope,
                used="model_server_memory_used_bytes", peak="model_server_memory_peak_bytes",
                limit="model_server_memory_limit_bytes",
            ),
            timeseries(
                "Memory of the processes", "Memory of the process and its workers, shared pages counted once. "
                "Metric: `model_server_memory_proportional_bytes`.",
                Query(f"max by (target) ({of('model_server_memory_proportional_bytes')})", "{{target}}"),
                unit="bytes", minimum=0, empty=NOT_WATCHED,
            ),
            timeseries(
                "Out of memory", "Processes killed for want of memory, and times that the limit was met, within one "
                "hour. Metrics: `model_server_oom_kills_total`, `model_server_oom_events_total`.",
                Query(f"sum by ({scope}) ({of.increase('model_server_oom_kills_total', '1h')})",
                      "{{target}} {{scope}} killed"),
                Query(f"sum by ({scope}) ({of.increase('model_server_oom_events_total', '1h')})",
                      "{{target}} {{scope}} out of memory"),
                unit="none", minimum=0, decimals=0, empty=NOT_WATCHED,
            ),
            _amount(
                of, "Processes and threads", "Living processes of the server, and their threads.", "none", "target",
                processes="model_server_processes", threads="model_server_threads",
            ),
            _amount(
                of, "Tasks", "Processes and threads of the scope, and the limit.", "none", scope,
                used="model_server_tasks_used", limit="model_server_tasks_limit",
            ),
            timeseries(
                "Tasks refused", "Processes and threads not started within one hour, for the limit. "
                "Metric: `model_server_tasks_refused_total`.",
                Query(f"sum by ({scope}) ({of.increase('model_server_tasks_refused_total', '1h')})",
                      "{{target}} {{scope}}"),
                unit="none", minimum=0, decimals=0, empty=NOT_WATCHED,
            ),
            _used(of, "Open files", "model_server_open_files_utilization_ratio",
                  "Open files of the process that is nearest to its limit.", "target"),
            _amount(
                of, "Number of open files", "Open files of that process, and its limit.", "none", "target",
                used="model_server_open_files_used", limit="model_server_open_files_limit",
            ),
            _amount(
                of, "Disk space", "Bytes used, still available to ordinary users, and in all.", "bytes",
                "target, mountpoint", used="model_server_disk_used_bytes",
                available="model_server_disk_available_bytes", size="model_server_disk_size_bytes",
            ),
            _used(of, "Inodes", "model_server_disk_inodes_utilization_ratio", "Inodes used of each file system.",
                  "target, mountpoint"),
            _amount(
                of, "Number of inodes", "Inodes used, and in all.", "short", "target, mountpoint",
                used="model_server_disk_inodes_used", limit="model_server_disk_inodes_limit",
            ),
        ],
        folded=True,
    )  # fmt: skip


def _gpu(of: Selector) -> Row:
    by = "target, gpu"
    named = f"max by (target, gpu, name) ({of('model_server_gpu_info')})"
    used = f"max by (target, gpu) ({of('model_server_gpu_utilization_ratio')})"
    return Row(
        "GPUs",
        [
            timeseries(
                "GPU", "Share of time in which some kernel ran. "
                "Metrics: `model_server_gpu_utilization_ratio`, `model_server_gpu_info`.",
                Query(f"{used} * on (target, gpu) group_left (name) {named}", "{{target}} {{gpu}} {{name}}"),
                unit="percentunit", minimum=0, maximum=1, steps=NEAR_LIMIT, empty="No GPU",
            ),
            _used(of, "GPU memory", "model_server_gpu_memory_utilization_ratio", "GPU memory used of all there is.",
                  by),
            _amount(
                of, "GPU memory in bytes", "GPU memory used by all, by the server itself, and in all.", "bytes", by,
                used="model_server_gpu_memory_used_bytes", by_the_server="model_server_gpu_process_memory_bytes",
                limit="model_server_gpu_memory_limit_bytes",
            ),
        ],
        folded=True,
    )  # fmt: skip
