"""One notification for each incident, from rows in a log to mail in a mailbox, through all real parts of the stack."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from fractions import Fraction
from functools import partial

import pytest

from tests.incidents import scene
from tests.running import wait_for

FACTOR = Fraction(50)
RECEIVERS = """\
receivers:
  - name: webhook
    webhook_configs: [{url: 'HOOK/incidents', send_resolved: true}]
  - name: watchdog
    webhook_configs: [{url: 'HOOK/deadman', send_resolved: false}]
"""
QUALITY = """\
    objectives: {accuracy: 0.95}
    baseline: {accuracy: 0.97, f1: 0.97}
    thresholds:
      accuracy: {warning: 0.9, critical: 0.8}
      f1: {warning: 0.9, critical: 0.8}
      drop: {warning: 0.05, critical: 0.1}
      label_delay: {warning: 10m}
"""
MODELS = {"fraud": QUALITY, "churn": QUALITY, "spam": QUALITY, "steady": QUALITY}
TARGETS = """\
targets:
  churn-server:
    model: churn
    process: {pid_file: server.pid}
    interval: 1s
"""
LOW = "ModelQualityBelowThreshold"


class Server:
    """A model server that does nothing but live."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        (self.folder / "server.pid").write_text(str(self.process.pid))

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    running.start()
    yield running
    if running.process.poll() is None:
        running.kill()


def told(posts):
    """What the webhook was told, in order: model, status, and the alerts of that status."""
    return [
        (
            post["groupLabels"]["model"],
            post["status"],
            sorted(
                (one["labels"]["alertname"], one["labels"]["severity"], one["labels"].get("measure", ""))
                for one in post["alerts"]
                if one["status"] == post["status"]
            ),
        )
        for post in posts
    ]


def rows(all_of_it):
    """By model what the fleet page paints its status, and how far it is from its bound; not those in a gap."""
    fleet, title = all_of_it.screen("fleet"), "Models, worst first"
    values = fleet.values(title, job=".+", model=".+")
    return {
        model: (fleet.colour(title, status, "Status"), fleet.colour(title, values["Margin"][job, model], "Margin"))
        for (job, model), status in values["Status"].items()
        if (job, model) in values["Margin"]
    }


def explained(all_of_it, model):
    """What the page of a model says: how it is, what is below its bound, and what may be the cause."""
    page = all_of_it.screen("model")

    def shows(title, query="A"):
        words = {"job": ".+", "model": model, "measure": "accuracy", "target": f"{model}-server"}
        return page.values(title, **words, __rate_interval="1h")[query]

    normal = shows("What is normal: $measure", "{{severity}} threshold")
    bounds = {severity: value for (severity,), value in normal.items()}
    return {
        "status": [page.colour("Status", value) for value in shows("Status").values()],
        "low": {measure for (measure,), value in shows("Quality").items() if value < bounds.get("critical", 0)},
        "labelled": [value >= 100 for value in shows("Labelled predictions").values()],
        "servers": [page.colour("Model servers", value) for value in shows("Model servers").values()],
        "late": [value > 600 for value in shows("Label delay").values()],
    }


def says(all_of_it, model, wanted):
    return explained(all_of_it, model) == wanted


def shown_as_healthy(all_of_it):
    """The fleet page is green."""
    wait_for(lambda: rows(all_of_it) == dict.fromkeys(MODELS, ("green", "green")), 40, "four green rows")


def shown_as_degraded(all_of_it):
    """The fleet page has red rows, and the pages of their models say why.

    One is just bad, one has lost its server, and of one the labels are late.
    """
    wanted = {name: ("green", "green") if name == "steady" else ("red", "red") for name in MODELS}
    wait_for(lambda: rows(all_of_it) == wanted, 40, "three red rows")
    bad = {"status": ["red"], "low": {"accuracy", "precision", "recall", "f1"}, "labelled": [True]}
    causes = {
        "fraud": {"servers": [], "late": [False]},
        "churn": {"servers": ["red"], "late": [False]},
        "spam": {"servers": [], "late": [True]},
    }
    for model, cause in causes.items():
        wait_for(partial(says, all_of_it, model, {**bad, **cause}), 20, f"the page of {model}")


@pytest.mark.timeout(300)  # a minute and a half, of which most is waiting; more on a machine that does something else
def test_one_notification_for_each_incident(tmp_path, debian, server):
    """A model degrades, one loses its server too, of one the labels come late, and one goes on well.

    Of each incident comes one message, and one when it is over; what others inhibit never comes.
    """
    with scene(tmp_path, debian, FACTOR, models=MODELS, more=TARGETS, own=RECEIVERS) as all_of_it:
        all_of_it.rows(400, 0.98, {"fraud": 1, "churn": 1, "steady": 1, "spam": 3600})
        shown_as_healthy(all_of_it)
        server.kill()
        wait_for(lambda: all_of_it.firing("ModelServerDown", severity="critical"), 40, "the server's end noticed")
        wait_for(lambda: all_of_it.firing("ModelLabelsLate", model="spam"), 60, "late labels noticed")

        all_of_it.rows(400, 0.5, {"fraud": 1, "churn": 1, "spam": 3600})
        silenced = {
            ("ModelQualityBelowBaseline", "critical", "fraud"),
            *((LOW, "warning", name) for name in ("fraud", "churn", "spam")),
            *((LOW, "critical", name) for name in ("churn", "spam")),
        }
        wait_for(lambda: silenced <= all_of_it.suppressed(), 60, "what follows from others suppressed")
        wait_for(lambda: len(all_of_it.mailbox.mails) == 3, 40, "three mails")
        wait_for(lambda: len(all_of_it.webhook.heard("/incidents")) == 3, 40, "three posts")

        shown_as_degraded(all_of_it)

        # First the figures, then what excuses them: labels come at once again, and the server lives.
        all_of_it.rows(4000, 1, {"fraud": 1, "churn": 1, "spam": 3600})
        all_of_it.judged("model:model_quality_judged:ratio < 0.9", "model-exporter-quality-alerts")
        all_of_it.rows(6000, 1, {"spam": 1})
        wait_for(lambda: not all_of_it.firing(LOW), 80, "quality recovered")
        server.start()
        wait_for(lambda: len(all_of_it.mailbox.mails) == 6, 60, "three more mails")
        wait_for(lambda: len(all_of_it.webhook.heard("/incidents")) == 6, 40, "three more posts")
        wait_for(lambda: {name for name, *_ in alerts(all_of_it)} == {"ModelExporterWatchdog"}, 40, "peace")

        posts = told(all_of_it.webhook.heard("/incidents"))
        mails = Counter(subject.split(":")[0] for subject in all_of_it.mailbox.subjects())
        pings = all_of_it.webhook.heard("/deadman")
    firing = {(model, *alerts) for model, status, alerts in posts if status == "firing"}
    assert firing == {
        ("fraud", (LOW, "critical", "accuracy"), (LOW, "critical", "f1")),
        ("churn", ("ModelServerDown", "critical", "")),
        ("spam", ("ModelLabelsLate", "warning", "label_delay")),
    }
    counts = Counter((model, status) for model, status, _ in posts)
    assert counts == {(name, status): 1 for name in ("fraud", "churn", "spam") for status in ("firing", "resolved")}
    assert mails == {
        "[critical] fraud": 1,
        "[critical] churn": 1,
        "[warning] spam": 1,
        **{f"[resolved] {name}": 1 for name in ("fraud", "churn", "spam")},
    }
    assert len(pings) > 5
    assert {one["alerts"][0]["labels"]["alertname"] for one in pings} == {"ModelExporterWatchdog"}


def alerts(all_of_it):
    """Name and model of all alerts that the Alertmanager holds."""
    found = [one["labels"] for one in all_of_it.stack.get("alertmanager:9093", "/api/v2/alerts")]
    return {(one["alertname"], one.get("model", "")) for one in found}
