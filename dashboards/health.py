"""Exporter health: can the figures be trusted?"""

from __future__ import annotations

from dashboards.layout import FILTERS, JOB, Dashboard, Row, choices
from dashboards.looks import (
    ANY_IS_BAD,
    ANY_IS_UNSURE,
    BAD,
    GOOD,
    UNSURE,
    UP,
    WORKS,
    ZERO_IS_BAD,
    Json,
    column,
    judged,
    steps,
)
from dashboards.panels import Column, Now, Query, stat, table, timeseries
from dashboards.queries import counted, ratio
from dashboards.queries import exporters as of

BUILD = "model_exporter_build_info"
OF_EXPORTERS = f"and on (job, instance) {of(BUILD)}"
"""A job may scrape others, too."""


def _summary() -> list[Json]:
    seen = f"last_over_time({of(BUILD)}[1d])"
    up = f"{of('up')} and on (job, instance) {seen}"
    tick = f"max(time() - {of('model_exporter_loop_last_tick_timestamp_seconds')})"
    rows, refused = (f"model_exporter_source_rows{kind}_total" for kind in ("", "_rejected"))
    accepted = f"sum({of.increase(rows, '1h')})"
    rejected = f"(sum({of.increase(refused, '1h')}) or 0 * {accepted})"
    return [
        stat(
            "Exporters up", "Exporters that answer the scrape. Metric: `up`.", Now(counted(f"({up}) == 1")),
            steps=ZERO_IS_BAD,
        ),
        stat(
            "Exporters down", "Exporters seen within the last day that do not answer. Metric: `up`.",
            Now(counted(f"({up}) == 0")), steps=ANY_IS_BAD,
        ),
        stat(
            "Failing sources", "Sources whose last poll failed: their figures are old. "
            "Metric: `model_exporter_source_up`.",
            Now(counted(f"{of('model_exporter_source_up')} == 0")), steps=ANY_IS_BAD,
        ),
        stat(
            "Rows refused", "Share of the rows of the last hour that could not be read or believed. "
            f"Metrics: `{refused}`, `{rows}`.",
            Now(ratio(rejected, f"({accepted} + {rejected})")), unit="percentunit", decimals=2, empty="No rows",
            steps=steps((GOOD, None), (UNSURE, 0.01), (BAD, 0.1)),
        ),
        stat(
            "Series dropped", "Series left out within the last hour, so that not all is shown. "
            "Metric: `model_exporter_series_dropped_total`.",
            Now(f"sum({of.increase('model_exporter_series_dropped_total', '1h')})"), decimals=0, steps=ANY_IS_UNSURE,
        ),
        stat(
            "Oldest cycle", "Time since the cycle of the slowest exporter last showed that it is alive. "
            "Metric: `model_exporter_loop_last_tick_timestamp_seconds`.",
            Now(tick), unit="s", steps=steps((GOOD, None), (UNSURE, 60), (BAD, 300)),
        ),
    ]  # fmt: skip


def _exporters() -> Json:
    def latest(metric: str) -> str:
        return f"max by (job, instance) ({of(metric)})"

    columns = [
        Column("Build", f"max by (job, instance, version, python_version) ({of(BUILD)})", hidden=True),
        Column("Up", f"max by (job, instance) ({of('up')} and on (job, instance) last_over_time({of(BUILD)}[1d]))"),
        Column("State", latest("model_exporter_state_up")),
        Column("Config", latest("model_exporter_config_last_reload_successful")),
        Column("Loaded", f"{latest('model_exporter_config_last_reload_success_timestamp_seconds')} * 1000"),
        Column("Series", latest("model_exporter_series")),
        Column("State size", latest("model_exporter_state_bytes")),
        Column("State lost", latest("model_exporter_state_corruptions_total")),
        Column("Started", f"{latest('process_start_time_seconds')} * 1000"),
    ]
    overrides = [
        judged("Up", ZERO_IS_BAD, UP),
        *(judged(name, ZERO_IS_BAD, WORKS) for name in ("State", "Config")),
        judged("State lost", ANY_IS_UNSURE),
        *(column(name, "dateTimeFromNow") for name in ("Loaded", "Started")),
        column("Series", "short", decimals=0),
        column("State size", "bytes"),
    ]
    return table(
        "Exporters",
        "One row per exporter: whether it answers, whether its last commit of the state and its last load of the "
        "config worked, and how often it had to begin anew because its state could not be read.",
        {"instance": "Instance", "job": "Job", "version": "Version", "python_version": "Python"}, columns,
        worst=[("Up", "low"), ("State", "low")], size=(24, 7), overrides=overrides, empty="No exporter",
    )  # fmt: skip


def _sources() -> Json:
    by = "by (job, model, role)"
    rows, refused, skipped = (f"model_exporter_source_rows{kind}_total" for kind in ("", "_rejected", "_skipped"))
    accepted = f"sum {by} ({of.increase(rows, '1h')})"
    rejected = f"(sum {by} ({of.increase(refused, '1h')}) or 0 * {accepted})"
    columns = [
        Column("Works", f"min {by} ({of('model_exporter_source_up')})"),
        Column("Last success", f"min {by} ({of('model_exporter_source_last_success_timestamp_seconds')}) * 1000"),
        Column("Old after", f"max {by} ({of('model_exporter_source_stale_after_seconds')})"),
        Column("Newest record",
               f"max {by} ({of('model_exporter_source_newest_record_timestamp_seconds')}) * 1000"),
        Column("Rows", accepted),
        Column("Refused", ratio(rejected, f"({accepted} + {rejected})")),
        Column("Skipped", f"sum {by} ({of.increase(skipped, '1h')})"),
        Column("Failures", f"sum {by} ({of.increase('model_exporter_source_poll_failures_total', '1h')})"),
        Column("Asked again after", f"max {by} ({of('model_exporter_source_backoff_seconds')})"),
    ]  # fmt: skip
    overrides = [
        judged("Works", ZERO_IS_BAD, WORKS),
        judged("Refused", steps((GOOD, None), (UNSURE, 0.01), (BAD, 0.1))),
        column("Refused", "percentunit", decimals=2),
        *(column(name, "dateTimeFromNow") for name in ("Last success", "Newest record")),
        *(column(name, "short", decimals=0) for name in ("Rows", "Skipped", "Failures")),
        *(column(name, "s") for name in ("Old after", "Asked again after")),
    ]
    return table(
        "Sources, worst first",
        "One row per source, its worst replica: rows, refused and skipped ones and failed polls within the last hour. "
        "Its figures are taken down if it does not succeed for as long as the column Old after says.",
        {"model": "Model", "role": "Role", "job": "Job"}, columns,
        worst=[("Works", "low"), ("Refused", "high"), ("Failures", "high")], overrides=overrides, empty="No source",
    )  # fmt: skip


def _reading() -> Row:
    rows, refused, skipped = (f"model_exporter_source_rows{kind}_total" for kind in ("", "_rejected", "_skipped"))
    polls, failures = "model_exporter_source_polls_total", "model_exporter_source_poll_failures_total"
    poll, folded = "model_exporter_source_poll_duration_seconds", "model_exporter_source_rows_folded_total"
    return Row(
        "Reading",
        [
            timeseries(
                "Rows read", f"Rows accepted, and records passed over because the config says so. "
                f"Metrics: `{rows}`, `{skipped}`.",
                Query(f"sum by (role) ({of.rate(rows)})", "{{role}}"),
                Query(f"sum by (role) ({of.rate(skipped)})", "{{role}} skipped"), unit="cps", minimum=0,
            ),
            timeseries(
                "Rows refused by reason", f"Rows per second that could not be read or believed. Metric: `{refused}`.",
                Query(f"sum by (role, reason) ({of.rate(refused)})", "{{role}} {{reason}}"), unit="cps", minimum=0,
                empty="None refused",
            ),
            timeseries(
                "Rows counted as other", "Rows per second whose value of a label is beyond that label's limit. "
                f"Metric: `{folded}`.",
                Query(f"sum by (role, label) ({of.rate(folded)})", "{{role}} {{label}}"), unit="cps", minimum=0,
                empty="None",
            ),
            timeseries(
                "Failed polls", f"Share of all polls that failed, by role and reason. "
                f"Metrics: `{failures}`, `{polls}`.",
                Query(
                    f"sum by (role, reason) ({of.rate(failures)}) "
                    f"/ on (role) group_left () (sum by (role) ({of.rate(polls)}) > 0)",
                    "{{role}} {{reason}}",
                ),
                unit="percentunit", minimum=0, empty="None failed",
            ),
            timeseries(
                "Time of a poll", f"Time that 50 and 95 % of the polls do not exceed. Metric: `{poll}`.",
                *(Query(of.quantile(share, poll, "role"), f"{{{{role}}}} p{share * 100:g}") for share in (0.5, 0.95)),
                unit="s", minimum=0,
            ),
        ],
    )  # fmt: skip


def _working() -> list[Json]:
    durations = {"cycle": "model_exporter_cycle_duration_seconds", "commit": "model_exporter_commit_duration_seconds"}
    dropped = "model_exporter_series_dropped_total"
    return [
        timeseries(
            "Time of a cycle and of a commit",
            "Time that 95 % of the cycles (from rows to snapshot) and of the durable commits do not exceed. "
            f"Metrics: `{durations['cycle']}`, `{durations['commit']}`.",
            *(Query(of.quantile(0.95, metric), f"{word} p95") for word, metric in durations.items()),
            unit="s", minimum=0,
        ),
        timeseries(
            "Series", "Series of models, and those left out within one hour by reason. "
            f"Metrics: `model_exporter_series`, `{dropped}`.",
            Query(of("model_exporter_series"), "{{instance}}"),
            Query(f"sum by (reason) ({of.increase(dropped, '1h')})", "left out: {{reason}}"),
            unit="short", minimum=0,
        ),
        timeseries(
            "Size of the state", "Counts and remembered rows on disk. Metric: `model_exporter_state_bytes`.",
            Query(of("model_exporter_state_bytes"), "{{instance}}"), unit="bytes", minimum=0,
        ),
    ]  # fmt: skip


def _using() -> list[Json]:
    return [
        timeseries(
            "Time of a scrape", "What Prometheus waits for the figures. Metric: `scrape_duration_seconds`.",
            Query(f"{of('scrape_duration_seconds')} {OF_EXPORTERS}", "{{instance}}"), unit="s", minimum=0,
        ),
        timeseries(
            "Memory", "Memory of the exporter. Metric: `process_resident_memory_bytes`.",
            Query(f"{of('process_resident_memory_bytes')} {OF_EXPORTERS}", "{{instance}}"), unit="bytes", minimum=0,
        ),
        timeseries(
            "CPU", "Cores that the exporter keeps busy. Metric: `process_cpu_seconds_total`.",
            Query(f"{of.rate('process_cpu_seconds_total')} {OF_EXPORTERS}", "{{instance}}"), unit="none", minimum=0,
        ),
        timeseries(
            "Open files", "Open files by the files that may be open. "
            "Metrics: `process_open_fds`, `process_max_fds`.",
            Query(f"{ratio(of('process_open_fds'), of('process_max_fds'))} {OF_EXPORTERS}", "{{instance}}"),
            unit="percentunit", minimum=0, maximum=1,
        ),
    ]  # fmt: skip


def _probes() -> Row:
    by = "by (job, target, probe)"
    looks, failures = "model_exporter_probe_duration_seconds", "model_exporter_probe_failures_total"
    columns = [
        Column("Works", f"min {by} ({of('model_exporter_probe_up')})"),
        Column("Looks", f"sum {by} ({of.increase(f'{looks}_count', '1h')})"),
        Column("Failures", f"sum {by} ({of.increase(failures, '1h')})"),
    ]
    return Row(
        "Watching model servers",
        [
            table(
                "Probes, worst first", f"One row per probe: looks and failed looks within one hour. "
                f"Metrics: `model_exporter_probe_up`, `{failures}`.",
                {"target": "Model server", "probe": "Probe", "job": "Job"}, columns,
                worst=[("Works", "low"), ("Failures", "high")], size=(8, 8), empty="No model server is watched",
                overrides=[
                    judged("Works", ZERO_IS_BAD, WORKS),
                    *(column(name, "short", decimals=0) for name in ("Looks", "Failures")),
                ],
            ),
            timeseries(
                "Failed looks", f"Looks per second that failed, by probe and reason. Metric: `{failures}`.",
                Query(f"sum by (probe, reason) ({of.rate(failures)})", "{{probe}} {{reason}}"), unit="cps", minimum=0,
                empty="None failed",
            ),
            timeseries(
                "Time of a look", f"Time that 95 % of the looks do not exceed, by probe. Metric: `{looks}`.",
                Query(of.quantile(0.95, looks, "probe"), "{{probe}}"), unit="s", minimum=0,
                empty="No model server is watched",
            ),
        ],
        folded=True,
    )  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        uid="model-exporter-health",
        title="Exporter health",
        description="Can the figures be trusted?",
        since="now-6h",
        panels=[*_summary(), _exporters(), _sources()],
        rows=[_reading(), Row("Working", [*_working(), *_using()]), _probes()],
        variables=[
            JOB, choices("instance", "Instance", f'label_values({BUILD}{{job=~"$job"}}, instance)'), FILTERS
        ],
    )  # fmt: skip
