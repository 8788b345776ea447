"""Incidents from end to end: models that degrade, the real exporter, the stack's own Prometheus and Alertmanager.

All files are those of a new bundle, of which only two things are changed: HOST:PORT of a service becomes that of its
process, and every window and wait is divided by one factor (`tests.hurried`); only what Alertmanager waits for further
alerts of an incident stays long, as the evaluation of the rules takes what it takes.  Rows carry the time of their
writing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from tests.alerting import Mailbox, Webhook, free_address
from tests.hurried import hurried
from tests.running import ROOT, Exporter, Values, wait_for
from tests.screens import Screen
from tests.stack import PROGRAMS, Stack

CLASSES = ("legit", "fraud")
CHANGED = ("alert_rules/*.yml", "deploy/prometheus/prometheus.yml")
MORE = {"prometheus": ["--rules.alert.resend-delay=5s"]}
"""What Alertmanager missed is told again after 5 s instead of a minute; it stands in no file."""
STATUS = {
    "prometheus": ("prometheus:9090", "/api/v1/status/runtimeinfo"),
    "alertmanager": ("alertmanager:9093", "/api/v2/status"),
}
MODEL = """\
  {name}:
    positive: fraud
    classes: [fraud, legit]
    predictions:
      files: {{path: {name}/predictions.jsonl}}
      fields: {{id: id, time: time, predicted: class}}
      interval: 1s
    labels:
      files: {{path: {name}/labels.jsonl}}
      fields: {{id: id, time: time, actual: class}}
      interval: 1s
"""


@dataclass
class Scene:
    """Everything at work, and who hears of it."""

    folder: Path
    exporter: Exporter
    stack: Stack
    mailbox: Mailbox
    webhook: Webhook
    factor: Fraction
    counts: Counter[str] = field(default_factory=Counter)

    def rows(self, count: int, right: float, delays: dict[str, float]) -> None:
        """Append *count* predictions to the logs of the models named in *delays*, of which a share *right* is right.

        Their labels are younger by as many seconds as *delays* says.  All labels of a model are counted in one cycle,
        so that no window ever holds a part of them.
        """
        ids = {name: range(self.counts[name], self.counts[name] + count) for name in delays}
        actual = [CLASSES[row % 2] for row in range(count)]
        # right and wrong are spread evenly, and over both classes
        good = [int((row // 2 + 1) * right) > int((row // 2) * right) for row in range(count)]
        predicted = [one if is_good else CLASSES[one == CLASSES[0]] for one, is_good in zip(actual, good, strict=True)]
        now = time.time()
        self.counts.update(dict.fromkeys(delays, count))
        for name, delay in delays.items():
            self._append(f"{name}/predictions.jsonl", now - delay, ids[name], predicted)
        self._arrived("model_predictions_total", delays)
        for name in delays:
            self._append(f"{name}/labels.jsonl", now, ids[name], actual)
        self._arrived("model_labelled_predictions_total", delays)

    def _append(self, log: str, moment: float, ids: range, classes: list[str]) -> None:
        rows = zip(ids, classes, strict=True)
        lines = [json.dumps({"id": str(row), "time": moment, "class": class_}) + "\n" for row, class_ in rows]
        with (self.folder / log).open("a") as file:
            file.write("".join(lines))

    def _arrived(self, metric: str, names: Iterable[str]) -> None:
        """Returns once the exporter has counted all rows."""

        def counted(values: Values) -> bool:
            return all(values.sum(metric, model=name) == self.counts[name] for name in names)

        self.exporter.values_once(counted)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query, now."""
        words = urllib.parse.urlencode({"query": expression})
        answer = self.stack.get("prometheus:9090", f"/api/v1/query?{words}")
        return list(answer["data"]["result"])

    def screen(self, name: str) -> Screen:
        """A dashboard of the bundle, whose queries are in the same hurry as the rules."""
        path = self.stack.folder / f"dashboards/model-exporter-{name}.json"
        return Screen(path, lambda expression: self.query(hurried(expression, self.factor)))

    def firing(self, name: str, **labels: str) -> bool:
        """Whether an alert fires in Prometheus."""
        of = ",".join(f'{key}="{value}"' for key, value in {"alertname": name, **labels}.items())
        return bool(self.query(f'ALERTS{{alertstate="firing",{of}}}'))

    def judged(self, gone: str, group: str) -> None:
        """Returns once *gone* has no samples, and a *group* of rules has been evaluated several times since."""
        wait_for(lambda: not self.query(gone), 20, f"no {gone}")
        seen = time.time()

        def evaluated() -> bool:
            groups = self.stack.get("prometheus:9090", "/api/v1/rules")["data"]["groups"]
            last = next(one["lastEvaluation"] for one in groups if one["name"] == group)
            return datetime.fromisoformat(last[:19] + "+00:00").timestamp() > seen + 2

        wait_for(evaluated, 20, f"{group} evaluated")

    def suppressed(self) -> set[tuple[str, ...]]:
        """Name, severity and model of what Alertmanager has been told, but keeps to itself."""
        alerts = self.stack.get("alertmanager:9093", "/api/v2/alerts")
        found = [one["labels"] for one in alerts if one["status"]["inhibitedBy"]]
        return {(one["alertname"], one["severity"], one.get("model", "")) for one in found}


@contextlib.contextmanager
def scene(
    folder: Path, debian: Any, factor: Fraction, *, models: dict[str, str], more: str, own: str
) -> Iterator[Scene]:
    """A bundle at work in *folder*, *factor* times as fast, once all is scraped.

    *models* are the further lines of the config of each model by name, *more* those of the whole; *own* is the user's
    receivers.yml, in which HOOK stands for the address of the webhook.
    """
    for name in models:
        (folder / name).mkdir(parents=True)
        for file in ("predictions.jsonl", "labels.jsonl"):
            (folder / name / file).touch()
    config = "models:\n" + "".join(MODEL.format(name=name) + lines for name, lines in models.items()) + more
    with contextlib.ExitStack() as running:
        mailbox, webhook = running.enter_context(Mailbox()), running.enter_context(Webhook())
        exporter = Exporter(folder, config)
        running.callback(exporter.kill)
        addresses = {
            "exporter:9884": exporter.start().ready().address,
            "alertmanager:9093": free_address(),
            "prometheus:9090": free_address(),
            "mail:1025": mailbox.address,
        }
        bundle = folder / "bundle"
        (bundle / "alert_rules").mkdir(parents=True)
        (bundle / "alert_rules/receivers.yml").write_text(own.replace("HOOK", webhook.url))
        command = [sys.executable, "-m", "exporter", "bundle", str(bundle)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        services = yaml.safe_load((bundle / "docker-compose.yml").read_text())["services"]
        stack = Stack(bundle, services, {**addresses, "localhost:9090": addresses["prometheus:9090"]}, debian)
        for pattern in CHANGED:
            for path in bundle.glob(pattern):
                text = hurried(path.read_text(), factor)
                path.write_text(stack.here(text.replace("  group_wait: ", "  group_wait: 3s # ", 1)))
        for name in reversed(PROGRAMS):
            running.enter_context(_process(stack, name))
        shown = Scene(folder, exporter, stack, mailbox, webhook, factor)
        wait_for(lambda: _at_work(shown), 30, "all at work")
        yield shown


@contextlib.contextmanager
def _process(stack: Stack, name: str) -> Iterator[None]:
    command = [*stack.command(name), *MORE.get(name, ())]
    with stack.log(name).open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:

        def ready() -> bool:
            assert process.poll() is None, stack.log(name).read_text()
            with contextlib.suppress(OSError):
                return bool(stack.get(*STATUS[name]))
            return False

        wait_for(ready, 30, f"{name} ready")
        yield
    finally:
        process.kill()
        process.wait()


def _at_work(scene: Scene) -> bool:
    """Whether all targets are scraped and the watchdog was heard: Prometheus takes 5 s to find its Alertmanager."""
    return len(scene.query("up == 1")) == len(scene.query("up")) > 2 and bool(scene.webhook.heard("/deadman"))
