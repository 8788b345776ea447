"""A Prometheus that holds a week of every metric, scrapes a real exporter, and evaluates the shipped rules."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter import demo
from tests.dashboards import backfill, frames, recorded
from tests.dashboards.grafana import ALL, Choice, dashboards
from tests.dashboards.prometheus import Prometheus
from tests.running import Exporter, wait_for

LIVE = "breast-cancer"


@dataclass(frozen=True)
class Week:
    """The server, and what a user may choose: a model of the made-up week or, as `live`, that of the real exporter.

    Nothing in it changes any more: `seen` is a moment up to which all rules had been evaluated, and `groups` are they.
    """

    prometheus: Prometheus
    time: backfill.Time
    seen: float
    groups: list[dict[str, Any]]

    def choice(self, model: str) -> Choice:
        """One model, and all of everything else."""
        all_else = {"model": model, "target": ALL, "instance": ALL}
        if model == LIVE:
            values = {"job": "live", "measure": "accuracy", "loss": "brier_score", "version": "1.0"}
            return Choice(model, all_else | values, self.seen)
        values = {"job": backfill.JOB, "measure": "recall", "loss": backfill.LOSS, "version": "1"}
        return Choice(model, all_else | values, self.time.end)

    @property
    def every(self) -> Choice:
        """All of everything; on the model page, which shows one, the bad model."""
        single = {"model": "fraud.v2+eu", "measure": "accuracy", "loss": backfill.LOSS, "version": "1"}
        values = dict.fromkeys(("job", "target", "instance", *single), ALL)
        return Choice("every", values, self.time.end, single)


@contextlib.contextmanager
def _exporter(folder: Path) -> Iterator[Exporter]:
    """A real exporter on the demo's model, which it runs as its own child."""
    config = demo.prepare(folder).read_text()
    workload = [sys.executable, "-m", "exporter.demo.workload", str(folder), "--tied"]
    exporter = Exporter(folder, config, runs=workload).start()
    try:
        yield exporter
    finally:
        exporter.kill()


@pytest.fixture(scope="session")
def week(tmp_path_factory, debian: Callable[[str, str], Path]) -> Iterator[Week]:
    """The server once it has evaluated its rules on what the real exporter has told it for some seconds."""
    folder = tmp_path_factory.mktemp("week")
    programs = debian("prometheus", "prometheus"), debian("prometheus", "promtool")
    now = backfill.Time(int(time.time()) // 60 * 60)
    server = Prometheus(*programs, folder)
    others = (backfill.alerts, backfill.troubled, backfill.model_servers)
    made = itertools.chain(backfill.courses(now), *(other(now) for other in others))
    server.backfill(backfill.openmetrics(made))
    try:
        recorded.record(server, recorded.rules(), dataclasses.replace(now, coarse=backfill.HOUR))
        with _exporter(tmp_path_factory.mktemp("live")) as exporter:
            server.start(recorded.hurried(folder), [exporter.address])
            seen, groups = _evaluated(server)
            server.stop()
        yield Week(server.start(), now, seen, groups)
    finally:
        server.stop()


def _evaluated(server: Prometheus) -> tuple[float, list[dict[str, Any]]]:
    """A moment at which the longest chain of records has been evaluated on labels of either class, and the rules."""
    either = f'model_outcomes_total{{job="live", model="{LIVE}", version="1.0", class="malignant", outcome=~"t."}}'
    wait_for(lambda: len(server.now(f"increase({either}[1m]) > 0", time.time())) == 2, 60, either)
    for _ in range(recorded.rounds()):
        seen = time.time()
        wait_for(lambda: server.evaluated() >= seen, 60, "another evaluation of all rules")  # noqa: B023 - at once
    seen = time.time()
    wait_for(lambda: server.evaluated() >= seen, 60, "the end of all evaluations before")
    return seen, server.get("rules")["groups"]


@pytest.fixture(scope="session")
def boards() -> dict[str, dict[str, object]]:
    """Every dashboard that is checked in, by its uid."""
    return dashboards()


@pytest.fixture(scope="session")
def draw(debian) -> Callable[..., list[frames.Shown]]:
    """`draw(answers)` is what Grafana's own data library makes of panels."""
    node = debian("nodejs", "node")
    folder = frames.library(debian("npm", "npm"))
    return lambda answers: frames.shown(node, folder, answers)
