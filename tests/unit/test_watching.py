"""Probes by hand: sights that a test gives, cycles that run when a test says, a clock that stands."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from typing import Any

import pytest

from exporter.config.resolved import Config, ProbeConfig, TargetConfig
from exporter.contracts import Ending, Sight, Status, WindowSpec
from exporter.errors import SourceDenied, StateError
from exporter.pipeline import Pipeline, servers
from exporter.scheduler import Scheduler, Watcher
from exporter.scheduler.watching import glance
from exporter.state import State
from exporter.telemetry import Telemetry
from tests.ledgers import parsed
from tests.running import wait_for

NEVER = threading.Event()
TIMEOUT = 10.0


class Script:
    """A probe that gives what a test puts into `next`: a sight, an error to raise, or a function to call."""

    def __init__(self) -> None:
        self.next: list[Any] = []
        self.cursors: list[Any] = []

    def look(self, cursor, deadline):
        self.cursors.append(cursor)
        answer = self.next.pop(0) if self.next else Sight(up=True, cursor=cursor)
        answer = answer() if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self): ...


class World:
    """A target with a probe of its life and one that measures, on a clock that a test moves."""

    def __init__(self, hands, state):
        self.hands = hands
        self.telemetry = Telemetry("1", (), hands.clock)
        self.state = state
        probes = [ProbeConfig(kind=kind, settings=None) for kind in ("docker", "disk")]
        windows = (WindowSpec(name="1h", seconds=3600.0),)
        target = TargetConfig(name="t", life=probes[0], measures=(probes[1],), windows=windows)
        self.pipeline = Pipeline(Config(models={}, targets={"t": target}), state)
        self.probes = {probe.kind: Script() for probe in probes}
        watchers = [
            Watcher("t", probe, self.probes[probe.kind], self.telemetry.probe("t", probe.kind), 5.0, TIMEOUT)
            for probe in probes
        ]
        self.watchers = {watcher.config.kind: watcher for watcher in watchers}
        self.scheduler = Scheduler(self.pipeline, [], self.telemetry, self.publish, hands.clock, watchers=watchers)
        self.shown: Any = None

    def publish(self, scheduler):
        own = self.telemetry.render(), self.telemetry.render_openmetrics()
        status = Status(probes=tuple(map(servers.status, scheduler.pipeline.targets.values())))
        self.shown = scheduler.pipeline.snapshot(self.hands.wall, own, status)

    def look(self, *answers, kind="docker", stop=NEVER):
        self.probes[kind].next += answers
        return glance(self.watchers[kind], self.scheduler.inbox, self.hands.clock, stop)

    def cycle(self, seconds=0.0):
        self.hands.wall += seconds
        self.hands.monotonic += seconds
        self.scheduler._waiting += self.scheduler.inbox.take(0)
        self.scheduler.cycle()

    def value(self, name, **labels):
        return parsed(self.shown.text.decode()).get((name, frozenset({"target": "t", **labels}.items())))

    def own(self, name, probe="docker", **labels):
        return self.value(f"model_exporter_probe_{name}", probe=probe, **labels)


@pytest.fixture
def world(hands):
    hands.wall = 1.8e9
    with closing(State(None)) as state:
        yield World(hands, state)


def up(*endings, cursor=None, observed=1.0):
    return Sight(up=True, endings=endings, cursor=cursor, observed=observed)


def crash(world):
    return Ending("crash", "killed", world.hands.wall)


def test_a_look_becomes_series(world):
    """What a probe saw is counted, saved and shown; it looks again after its interval, from its own cursor."""
    assert world.look(up(crash(world), cursor={"at": 1})) == 5.0
    world.cycle()
    assert world.value("model_server_crashes_total", reason="killed") == 1
    assert world.value("model_server_up") == 1
    assert world.own("up") == 1
    world.look(kind="docker")
    assert world.probes["docker"].cursors == [None, {"at": 1}]


def test_ready_waits_for_the_first_look_of_each_probe(world):
    """A look that failed is one, too."""
    world.look(up())
    world.cycle()
    assert world.scheduler.ready() == "Still looking for the first time: t/disk."
    world.look(SourceDenied("no"), kind="disk")
    world.cycle()
    assert world.scheduler.ready() is None


def test_a_failing_probe_is_down_with_a_reason_and_costs_no_other(world, caplog):
    """The page tells why; failures are counted by reason, logged once, and end with a look that works."""
    world.look(up(), kind="disk")
    for _ in range(3):
        assert world.look(SourceDenied("the socket is not for us")) == 5.0
        world.cycle(5)
    assert world.value("model_server_up") == 0
    assert (world.own("up"), world.own("up", "disk")) == (0, 1)
    assert world.own("failures_total", reason="denied") == 3
    assert world.shown.status.probes[0].errors == ("docker: the socket is not for us",)
    assert len([record for record in caplog.records if record.message == "a probe failed"]) == 1
    world.look(RuntimeError("a fault of its own"))
    world.cycle(5)
    assert world.own("failures_total", reason="error") == 1
    assert world.shown.status.probes[0].errors == ("docker: unforeseen RuntimeError; the log says where",)
    assert world.scheduler.healthy() is None
    world.look(up())
    world.cycle(5)
    assert world.value("model_server_up") == 1
    assert world.shown.status.probes[0].errors == ()


def test_a_look_that_hangs_is_told_once_and_costs_no_other(world):
    """The target is down for want of an answer; the other probe goes on, and the exporter is healthy."""
    world.look(up())
    world.look(up(), kind="disk")
    world.cycle()
    world.watchers["docker"].looking_since = world.hands.monotonic
    world.cycle(15)
    assert world.own("failures_total", reason="timeout") == 0
    for _ in range(4):
        world.look(kind="disk")
        world.cycle(10)
    assert world.own("failures_total", reason="timeout") == 1
    assert world.value("model_server_up") == 0
    assert "no answer for 25 s" in world.shown.status.probes[0].errors[0]
    assert world.own("up", "disk") == 1
    assert world.scheduler.healthy() is None
    world.look(up())
    world.cycle(5)
    assert world.value("model_server_up") == 1


def test_what_was_seen_while_stopping_is_told_by_the_next_look(world):
    """A sight that could not be handed over is not lost: probes tell an end only once."""
    stopping = threading.Event()
    stopping.set()
    world.look(up(crash(world)), stop=stopping)
    world.cycle()
    assert world.value("model_server_crashes_total", reason="killed") == 0
    thread = threading.Thread(target=world.look, args=(up(),))  # waits for the cycle between its two reports
    thread.start()

    def counted():
        world.cycle(5)
        return world.value("model_server_crashes_total", reason="killed") == 1

    wait_for(counted, 5)
    thread.join(5)
    assert not thread.is_alive()


def test_while_the_disk_is_full_a_crash_waits(world):
    """It is counted once when the disk takes it again, and nobody looks meanwhile."""
    world.look(up())
    world.cycle()
    commit = world.state.commit

    def full(blobs):
        raise StateError("full")

    world.state.commit = full
    world.look(up(crash(world)))
    world.cycle(5)
    world.cycle(5)
    assert world.value("model_server_crashes_total", reason="killed") == 0
    assert world.watchers["docker"].ahead > 0
    world.state.commit = commit
    world.cycle(5)
    world.cycle(5)
    assert world.value("model_server_crashes_total", reason="killed") == 1
    assert world.watchers["docker"].ahead == 0


def test_a_hung_probe_does_not_hold_the_others_or_the_end(world):
    """Threads of other probes look on; stop returns in time and saves what is known."""
    begun, free = threading.Event(), threading.Event()
    world.probes["disk"].next.append(lambda: (begun.set(), free.wait(10), up())[2])
    for watcher in world.watchers.values():
        watcher.interval = 0.01
    world.scheduler.start()
    try:
        assert begun.wait(5)
        wait_for(lambda: len(world.probes["docker"].cursors) > 3, 5)
        before = time.monotonic()
        assert world.scheduler.stop(1.0)
        assert time.monotonic() - before < 2
    finally:
        free.set()
    assert world.state.get("target/t/ledger")
    assert len(world.probes["disk"].cursors) == 1


def test_look_now_does_not_wait_for_the_interval(world):
    """Whoever knows that something has happened lets every probe look at once."""
    for watcher in world.watchers.values():
        watcher.interval = 600.0
    world.scheduler.start()
    wait_for(lambda: len(world.probes["docker"].cursors) == 1, 5)
    wait_for(lambda: world.watchers["docker"].looking_since is None, 5)
    world.scheduler.look_now()
    wait_for(lambda: len(world.probes["docker"].cursors) == 2, 5)
    assert world.scheduler.stop()
