"""Crashes while the exporter is down: who can tell counts them once, and the gap as observed; who cannot, neither."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from tests.answering import serving
from tests.cluster import Pods, T, over, running
from tests.engine import EVENTS, Engine, container
from tests.journal import RECORDED, Systemd
from tests.running import Exporter, wait_for
from tests.scraping import scraping

CONFIG = """
targets:
  docker: {{docker: {{container: always, socket: {engine}}}, interval: 1s, windows: [1h]}}
  kubernetes:
    kubernetes: {{container: model, pod: server-0, namespace: prod, api: "http://127.0.0.1:{cluster}"}}
    interval: 1s
    windows: [1h]
  systemd:
    systemd: {{unit: model.service, journalctl: {journalctl}, systemctl: {systemctl}}}
    interval: 1s
    windows: [1h]
  process: {{process: {{pid_file: server.pid}}, interval: 1s, windows: [1h]}}
  prometheus: {{prometheus: {{url: "http://127.0.0.1:{metrics}/metrics"}}, interval: 1s, windows: [1h]}}
"""
BY_CURSOR = ("docker", "kubernetes", "systemd")
OTHERS = ("process", "prometheus")
GAP = 8.0
"""Seconds for which the exporter is down, at least."""
SLACK = 6.0
"""Seconds by which first and last looks may lie beside the moments that a test knows of; less than the gap."""

DEATH = [one for one in EVENTS if one["Actor"]["Attributes"]["name"] == "always"][-4:]
"""What the engine told of a container that was killed, and started again by its policy."""
FALL = RECORDED[1:6]
"""What systemd told of a unit that was killed and started again."""
RATE = """3600 * sum by (target) (increase(model_server_crashes_total[1h]))
     / sum by (target) (increase(model_server_observed_seconds_total[1h]))"""
WHOLE = "3600 * sum by (target) (model_server_crashes_total) / sum by (target) (model_server_observed_seconds_total)"


class LiveEngine(Engine):
    """An engine whose clock is that of the machine."""

    @property
    def now(self):
        return time.time()

    @now.setter
    def now(self, moment):
        """The machine's clock is nobody's to set."""


class Server:
    """One model server, as an engine, a cluster, systemd, its own metrics and /proc tell of it."""

    def __init__(self, folder):
        self.folder = folder
        self.crashes = 0
        self.engine = LiveEngine([])
        self.pods = Pods(started=time.time() - T)
        (folder / "systemd").mkdir()
        self.written = [{**RECORDED[0], "__REALTIME_TIMESTAMP": f"{time.time() * 1e6:.0f}"}]
        self.unit = Systemd(folder / "systemd", self.written)
        self.process = None
        self.run()

    def run(self):
        """Run now, everywhere."""
        self.started = time.time()
        self.engine.containers["always"] = container(started=self.started, RestartCount=self.crashes)
        self.pods.becomes(
            running(self.started - T), over(139, self.started - T, number=self.crashes), restarts=self.crashes
        )
        self.unit.show(started=f"{datetime.now(UTC):%a %Y-%m-%d %H:%M:%S} UTC", restarts=self.crashes)
        self.process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (self.folder / "server.pid").write_text(str(self.process.pid))

    def crash(self):
        """Crash now, everywhere, and run again."""
        self.crashes += 1
        self.process.kill()
        self.process.wait()
        later = time.time() - DEATH[0]["timeNano"] / 1e9
        self.engine.events += [
            {**one, "time": int(one["timeNano"] / 1e9 + later), "timeNano": int(one["timeNano"] + later * 1e9)}
            for one in DEATH
        ]
        later = time.time() * 1e6 - int(FALL[0]["__REALTIME_TIMESTAMP"])
        for one in FALL:
            moment, place = int(one["__REALTIME_TIMESTAMP"]) + later, f"{one['__CURSOR']};crash={self.crashes}"
            self.written.append({**one, "__REALTIME_TIMESTAMP": f"{moment:.0f}", "__CURSOR": place})
        self.unit.write(self.written)
        self.run()

    def metrics(self, *asked):
        return 200, f"process_start_time_seconds {self.started}\n".encode()


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def exporter(server, tmp_path):
    with contextlib.ExitStack() as stack:
        config = CONFIG.format(
            engine=stack.enter_context(server.engine.serve(tmp_path / "engine.sock")),
            cluster=stack.enter_context(serving(server.pods.answer)),
            metrics=stack.enter_context(serving(server.metrics)),
            **server.unit.programs,
        )
        made = Exporter(tmp_path, config)
        stack.callback(made.kill)
        yield made


def counted(values, targets, crashes):
    """Whether each of *targets* has so many crashes and restarts."""
    return all(
        values.sum(f"model_server_{what}_total", target=target) == crashes
        for target in targets
        for what in ("crashes", "restarts")
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_crash_while_the_exporter_was_down(server, exporter, tmp_path, debian, number):
    """Docker, Kubernetes and systemd tell each of three crashes once, and the gap is observed; of others it is not."""
    found = tmp_path / "targets.json"
    folder = tmp_path / "prometheus"
    folder.mkdir()
    scrape = (
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n"
        f"  - {{job_name: servers, file_sd_configs: [{{files: ['{found}'], refresh_interval: 1s}}]}}\n"
    )

    def run():
        began = time.time()
        exporter.start().ready()
        found.write_text(json.dumps([{"targets": [exporter.address], "labels": {"instance": "exporter"}}]))
        return began

    began = run()
    exporter.values_once(lambda values: values.of("model_server_up") == [1] * 5)
    seen = time.time()
    with scraping(debian("prometheus", "prometheus"), folder, scrape, 1) as prometheus:
        server.crash()
        exporter.values_once(lambda values: counted(values, BY_CURSOR, 1))
        exporter.process.send_signal(number)
        exporter.process.wait()
        down = time.time()
        server.crash()
        wait_for(lambda: time.time() - down > GAP, GAP + 1)
        run()
        exporter.values_once(lambda values: counted(values, BY_CURSOR, 2))
        passed = time.time() - seen
        server.crash()
        values = exporter.values_once(lambda values: counted(values, BY_CURSOR, 3))
        shorter = time.time() - began
        for target in BY_CURSOR:
            assert passed - SLACK < values.one("model_server_observed_seconds_total", target=target) < shorter
        for target in OTHERS:
            assert 0 < values.one("model_server_observed_seconds_total", target=target) < shorter - GAP
            assert values.sum("model_server_restarts_total", target=target) == 3
        assert crashes_by_reason(values) == {("docker", "killed"), ("kubernetes", "SIGSEGV"), ("systemd", "killed")}
        agree(prometheus)


def crashes_by_reason(values):
    """Target and reason of what crashed three times."""
    return {
        (one.labels["target"], one.labels["reason"])
        for one in values.samples
        if one.name == "model_server_crashes_total" and one.value == 3
    }


def agree(prometheus):
    """The gauge is the quotient of both counters, and that of their increases, as far as the latter extrapolate."""
    wait_for(lambda: prometheus.value('sum(model_server_crashes_total{target="docker"})') == 3, 10)
    now = time.time()

    def by_target(expression):
        return {labels["target"]: value for labels, value in prometheus.query(expression, now)}

    gauges = by_target('model_server_crashes_per_hour{window="1h"}')
    assert set(gauges) == {*BY_CURSOR, *OTHERS}
    assert by_target(WHOLE) == pytest.approx(gauges)
    # Increases begin with the first scrape, and each is extrapolated by up to 1.1 scrapes at both ends.
    first = by_target("min_over_time(model_server_observed_seconds_total[1h])")
    last = by_target("model_server_observed_seconds_total")
    for target, rate in by_target(RATE).items():
        stretch = 1 + 2.2 / (last[target] - first[target])
        expected = gauges[target] * last[target] / (last[target] - first[target])
        assert expected / stretch <= rate <= expected * stretch
