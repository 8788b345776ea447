"""Who silences whom, on a real Alertmanager with the shipped rules of inhibition."""

from __future__ import annotations

import itertools

from exporter.bundle.notifications import assemble
from tests.alerting import SHIPPED
from tests.running import wait_for

SILENT = "receivers: [{name: mail}, {name: digest}]"
"""Nobody is told: only the states count."""

CATEGORIES = {
    "ModelQuality": "quality",
    "ModelLoss": "quality",
    "ModelError": "slo",
    "ModelLabel": "labels",
    "ModelTraffic": "traffic",
    "ModelServer": "availability",
    "ModelExporter": "meta",
    "ModelSource": "availability",
}


def alert(name, severity="warning", **labels):
    """The labels of an alert as the shipped rules make them."""
    category = next(category for start, category in CATEGORIES.items() if name.startswith(start))
    labels = {key: value for key, value in {"job": "exporter", "model": "m", **labels}.items() if value}
    return {"alertname": name, "severity": severity, "category": category, **labels}


LOW = "ModelQualityBelowThreshold"
CASES = {
    "critical over warning of the same measure": (
        [alert(LOW, "critical", measure="accuracy")],
        [alert(LOW, measure="accuracy"), alert(LOW, "info", measure="accuracy")],
        [
            alert(LOW, measure="recall"),
            alert(LOW, measure="accuracy", model="other"),
            alert(LOW, measure="accuracy", job="b"),
        ],
    ),
    "critical over warning of the same target": (
        [alert("ModelServerMemoryHigh", "critical", target="a")],
        [alert("ModelServerMemoryHigh", target="a")],
        [alert("ModelServerMemoryHigh", target="b"), alert("ModelServerCPUHigh", target="a")],
    ),
    "a server that is down over what its model does": (
        [alert("ModelServerDown", "critical", target="a")],
        [
            alert(LOW, "critical", measure="accuracy"),
            alert("ModelErrorBudgetBurn", "critical", slo="accuracy"),
            alert("ModelTrafficStopped", "critical"),
            alert("ModelLabelsLate"),
        ],
        [
            alert(LOW, "critical", measure="accuracy", model="other"),
            alert("ModelServerMemoryHigh", "critical", target="a"),
            alert("ModelExporterSeriesDropped", model=""),
        ],
    ),
    "a server of no known model over nothing": (
        [],
        [],
        [alert("ModelServerDown", "critical", target="a", model=""), alert(LOW, "critical", measure="f1", model="")],
    ),
    "one of several servers over nothing": (
        [],
        [],
        [alert("ModelServerDown", "warning", target="a"), alert(LOW, "critical", measure="f1")],
    ),
    "late labels over quality, however bad": (
        [alert("ModelLabelsLate")],
        [alert(LOW, "critical", measure="accuracy"), alert("ModelErrorBudgetBurn", slo="accuracy")],
        [alert("ModelTrafficStopped", "critical"), alert(LOW, "critical", measure="accuracy", model="other")],
    ),
    "a source that cannot be read over all that lacks its rows": (
        [alert("ModelSourceStale", "critical", role="labels")],
        [
            alert("ModelSourceStale", role="labels"),
            alert("ModelLabelsLate"),
            alert(LOW, "critical", measure="f1"),
            alert("ModelTrafficStopped", "critical"),
        ],
        [alert("ModelServerDown", "critical", target="a"), alert("ModelLabelsLate", model="other")],
    ),
    "a source that one of several cannot read over nothing": (
        [],
        [],
        [alert("ModelSourceStale", role="labels"), alert("ModelLabelCoverageLow")],
    ),
    "all exporters down over every model of theirs": (
        [alert("ModelExporterDown", "critical", model="")],
        [
            alert("ModelServerDown", "critical", target="a"),
            alert("ModelSourceStale", "critical", role="labels"),
            alert("ModelExporterDown", instance="e:9884", model=""),
            alert(LOW, "critical", measure="f1", model="other"),
        ],
        [alert(LOW, "critical", measure="f1", job="b"), alert("ModelExporterSeriesDropped", model="")],
    ),
    "one exporter of several over nothing": (
        [],
        [],
        [alert("ModelExporterDown", "warning", model=""), alert(LOW, "critical", measure="f1")],
    ),
    "a broken bound over the same fall told otherwise": (
        [alert(LOW, "critical", measure="accuracy")],
        [
            alert("ModelQualityDropped", measure="accuracy"),
            alert("ModelQualityBelowBaseline", measure="accuracy"),
            alert("ModelQualitySignificantlyLow", measure="accuracy"),
            alert("ModelErrorBudgetBurn", "critical", slo="accuracy"),
        ],
        [alert("ModelQualityDropped", measure="recall"), alert("ModelLabelsUnmatched")],
    ),
    "a loss beyond its bound over the same rise told otherwise": (
        [alert("ModelLossAboveThreshold", "critical", measure="log_loss")],
        [alert("ModelLossRose", measure="log_loss"), alert("ModelLossAboveBaseline", measure="log_loss")],
        [alert("ModelLossRose", measure="brier_score"), alert("ModelQualityDropped", measure="roc_auc")],
    ),
    "a warning over nothing": (
        [],
        [],
        [alert(LOW, measure="accuracy"), alert("ModelQualityDropped", measure="accuracy")],
    ),
}


def in_order(alerts):
    return sorted(alerts, key=lambda labels: sorted(labels.items()))


def test_who_silences_whom(alertmanager):
    """Every case with a job of its own: exactly the wanted alerts are suppressed, and no other."""
    running = alertmanager(assemble(SHIPPED, {"receivers.yml": SILENT}))
    wanted, posted = [], []
    for number, (sources, silenced, heard) in enumerate(CASES.values()):
        apart = [[{**one, "job": f"{one['job']}-{number}"} for one in alerts] for alerts in (sources, silenced, heard)]
        wanted += apart[1]
        posted += itertools.chain(*apart)
    running.alert(*({"labels": labels} for labels in posted))
    # The last one in: when it counts, all others have been counted.
    last = [alert(LOW, severity, measure="last", job="last") for severity in ("critical", "warning")]
    running.alert(*({"labels": labels} for labels in last))
    wait_for(lambda: last[1] in running.suppressed(), 10, "the last one suppressed")
    assert in_order(running.suppressed()) == in_order([*wanted, last[1]])
    assert len(running.ask("/api/v2/alerts")) == len(posted) + 2
