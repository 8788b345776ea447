"""Alerts: what fires, for whom, and since when?"""

from __future__ import annotations

from dashboards.layout import FILTERS, JOB, Dashboard, choices
from dashboards.looks import ANY_IS_BAD, ANY_IS_UNSURE, BAD, CALM, UNSURE, Json, column, field, link, steps, words
from dashboards.panels import Column, Now, Query, alert_list, stat, table, timeline, timeseries
from dashboards.queries import counted

LABELS = "alertname, category, job, measure, model, severity, target"
OURS = 'category!="", severity!="none", job=~"$job|", model=~"$model|"'
"""An alert without a job or a model is ours, too; one without a category is somebody else's."""
FIRING = f'ALERTS{{alertstate="firing", {OURS}}}'
SHOWN = 30
RANKS = {"critical": 3, "warning": 2, "info": 1}
MODEL_PAGE = "/d/model-exporter-model?${datasource:queryparam}&var-model=${__data.fields.model}&${__url_time_range}"


def _of(severity: str) -> str:
    return f'ALERTS{{alertstate="firing", severity="{severity}", category!="", job=~"$job|", model=~"$model|"}}'


def _summary() -> list[Json]:
    pending = f'ALERTS{{alertstate="pending", {OURS}}}'
    return [
        stat("Critical", "Firing alerts that page somebody.", Now(counted(_of("critical"))), steps=ANY_IS_BAD,
             size=(6, 4)),
        stat("Warning", "Firing alerts that somebody should look at soon.", Now(counted(_of("warning"))),
             steps=ANY_IS_UNSURE, size=(6, 4)),
        stat("Info", "Firing alerts that are worth knowing.", Now(counted(_of("info"))), size=(6, 4)),
        stat("Pending", "Alerts whose condition holds, but not for long enough yet.", Now(counted(pending)),
             size=(6, 4)),
    ]  # fmt: skip


def _firing() -> Json:
    ranked = " or ".join(f"({rank} * group by ({LABELS}) ({_of(severity)}))" for severity, rank in RANKS.items())
    since = f"ALERTS_FOR_STATE{{{OURS}}} and ignoring (alertstate) {FIRING}"
    columns = [
        Column("Severity", ranked),
        Column("Since", f"max by ({LABELS}) ({since}) * 1000"),
    ]
    headings = {
        "alertname": "Alert", "model": "Model", "measure": "Measure", "target": "Model server",
        "category": "Category", "job": "Job",
    }  # fmt: skip
    texts = words(_3=("critical", BAD), _2=("warning", UNSURE), _1=("info", CALM))
    return table(
        "Firing alerts", "Every firing alert of models, model servers and exporters, and when its condition began. "
        "Series: `ALERTS`, `ALERTS_FOR_STATE`.",
        headings, columns, worst=[("Severity", "high"), ("Since", "high")], size=(16, 11), empty="Nothing fires",
        overrides=[
            field("Severity", {
                "mappings": texts, "color": {"mode": "thresholds"},
                "thresholds": steps((CALM, None), (UNSURE, 2), (BAD, 3)),
                "custom.cellOptions": {"type": "color-background", "mode": "basic"}, "custom.width": 90,
            }),
            field("severity", {"custom.hidden": True}),
            field("Model", {"links": [link("Open ${__value.text}", MODEL_PAGE)]}),
            column("Since", "dateTimeFromNow"),
        ],
    )  # fmt: skip


def dashboard() -> Dashboard:
    worst = f"max by (alertname, model, target) ({FIRING})"
    return Dashboard(
        uid="model-exporter-alerts",
        title="Alerts",
        description="What fires, for whom, and since when?",
        since="now-24h",
        panels=[
            *_summary(),
            _firing(),
            alert_list(
                "Rules", "Rules of the selected data source and of Grafana itself, firing and pending.",
                '{category!=""}', size=(8, 11),
            ),
            timeseries(
                "Firing alerts by category", "How many alerts fire. Series: `ALERTS`.",
                Query(f"count by (category) ({FIRING})", "{{category}}"), stacked=True, size=(8, 10), unit="none",
                minimum=0, decimals=0, empty="Nothing fires",
            ),
            timeline(
                "When they fired", "One bar per alert and model or model server; the thirty that fired longest. "
                "Series: `ALERTS`.",
                Query(
                    f"{worst} and on (alertname, model, target) topk({SHOWN}, sum by (alertname, model, target) "
                    f"(count_over_time({FIRING}[$__range] @ end())))",
                    "{{alertname}} {{model}} {{target}}",
                ),
                size=(16, 10), steps=steps((BAD, None)), mappings=words(_1=("firing", BAD)), empty="Nothing fired",
            ),
        ],
        rows=[],
        variables=[JOB, choices("model", "Model", 'label_values(model_info{job=~"$job"}, model)'), FILTERS],
    )  # fmt: skip
