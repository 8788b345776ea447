"""The ledger of a target: ends, observed time and rates, over restarts of the exporter and steps of its clock."""

from __future__ import annotations

import math
import subprocess
from contextlib import closing

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.config.resolved import Config, ProbeConfig, TargetConfig
from exporter.contracts import Ending, MetricSpec, Reading, Sight, WindowSpec
from exporter.errors import StateError
from exporter.pipeline import Look, Pipeline, servers
from exporter.pipeline.targets import CRASHES, RESTARTS, SETTLE_AFTER
from exporter.state import State
from tests.ledgers import samples, shown

WALL = 1.8e9
CPU = MetricSpec("model_server_cpu_seconds_total", "counter", "CPU.", ("scope",))
RATIO = MetricSpec("model_server_cpu_utilization_ratio", "gauge", "CPU.", ("scope",))
DISK = MetricSpec("model_server_disk_utilization_ratio", "gauge", "Disk.", ("mountpoint",))


def target(*windows, settings=None, model=None, measures=()):
    specs = tuple(WindowSpec(name=f"{seconds:g}s", seconds=float(seconds)) for seconds in windows or (3600,))
    life = ProbeConfig(kind="docker", settings=settings)
    measuring = tuple(ProbeConfig(kind=kind, settings=None) for kind in measures)
    return TargetConfig(name="t", model=model, life=life, measures=measuring, windows=specs)


class Watched:
    """One target over a state; time goes by in `look`."""

    def __init__(self, state, config=None, wall=WALL, monotonic=0.0):
        self.state = state
        self.config = config or target()
        self.wall, self.monotonic = wall, monotonic
        self.pipeline = Pipeline(Config(models={}, targets={"t": self.config}), state, [CPU, RATIO, DISK])

    @property
    def ledger(self):
        return self.pipeline.targets["t"]

    def look(self, seconds, *endings, kind="docker", problem="", settle=False, **words):
        """A look after so many *seconds*, which are all observed unless *words* say otherwise."""
        self.wall += seconds
        self.monotonic += seconds
        words = {"up": True, "observed": float(seconds), "cursor": {"at": self.monotonic}, **words}
        sight = None if problem else Sight(endings=endings, **words)
        look = Look("t", kind, self.wall, self.monotonic, sight, problem)
        self.pipeline.count([], looks=[look], now=math.inf if settle else self.monotonic)
        self.pipeline.save()

    def end(self, reason="killed", kind="crash", ago=0.0):
        return Ending(kind, reason, self.wall - ago)

    def again(self, config=None, wall=None):
        """The exporter is started again over what is saved."""
        return Watched(self.state, config or self.config, wall or self.wall, 7777.0)

    def samples(self):
        return samples(shown(self.pipeline))

    def value(self, name, **labels):
        return self.samples().get((f"model_server_{name}", frozenset({"target": "t", **labels}.items())))


@pytest.fixture
def state():
    with closing(State(None)) as made:
        yield made


@pytest.fixture
def watched(state):
    return Watched(state)


# --- what is counted -----------------------------------------------------------------------------


def test_all_counters_stand_at_zero_from_the_start(watched):
    """Before the first look every known reason is there; what is not known yet is absent."""
    for reason in RESTARTS:
        assert watched.value("restarts_total", reason=reason) == 0
    for reason in CRASHES:
        assert watched.value("crashes_total", reason=reason) == 0
    assert watched.value("observed_seconds_total") == 0
    assert watched.value("target_info") == 1
    assert watched.value("up") is None
    assert watched.value("start_time_seconds") is None
    assert watched.value("crashes_per_hour", window="3600s") is None


def test_a_crash_and_a_planned_end(watched):
    """Both are restarts once the target is up again, and only one of them a crash; the rate is theirs by the time."""
    watched.look(100, start_time=5.0)
    watched.look(10, watched.end("SIGSEGV"), up=False)
    assert watched.value("up") == 0
    assert watched.value("start_time_seconds") is None
    assert watched.value("crashes_total", reason="SIGSEGV") == 1
    assert watched.value("restarts_total", reason="SIGSEGV") == 0
    watched.look(10, start_time=110.0)
    watched.look(10, watched.end("stop", "planned"), start_time=120.0, settle=True)
    assert watched.value("up") == 1
    assert watched.value("start_time_seconds") == 120.0
    assert watched.value("restarts_total", reason="SIGSEGV") == 1
    assert watched.value("restarts_total", reason="stop") == 1
    assert sum(watched.ledger.crashes.values()) == 1
    assert watched.value("observed_seconds_total") == 130
    assert watched.value("crashes_per_hour", window="3600s") == pytest.approx(3600 / 130)


def test_a_reason_that_nobody_foresaw_has_a_series_of_its_own(watched):
    """A new counter is born with its first event."""
    watched.look(1, watched.end("SIGTRAP"))
    assert watched.value("crashes_total", reason="SIGTRAP") == 1


def test_the_model_is_a_label_where_it_is_known(state):
    """Dashboards join a target to its model."""
    watched = Watched(state, target(model="fraud"))
    assert watched.value("target_info", model="fraud") == 1


@given(
    st.lists(
        st.tuples(st.floats(0.1, 400), st.lists(st.sampled_from(["crash", "planned"]), max_size=2)),
        min_size=1, max_size=30,
    )
)  # fmt: skip
def test_the_rate_agrees_with_the_counters(looks):
    """A window that holds everything has the rate that the counters give, before and after a restart."""
    with closing(State(None)) as state:
        watched = Watched(state, target(500_000))
        for seconds, kinds in looks:
            watched.look(seconds, *(watched.end(kind=kind) for kind in kinds), settle=True)
        for one in (watched, watched.again()):
            crashes = one.value("crashes_total", reason="killed")
            observed = one.value("observed_seconds_total")
            assert observed == pytest.approx(sum(seconds for seconds, _ in looks))
            assert one.value("crashes_per_hour", window="500000s") == pytest.approx(crashes / observed * 3600)


# --- windows -------------------------------------------------------------------------------------


PROMQL = """3600 * sum by (target) (increase(model_server_crashes_total[6h]))
     / sum by (target) (increase(model_server_observed_seconds_total[6h]))"""
SCRAPES = 60
"""Seconds from one to the next."""
CRASHED_AT = (0.5, 1.2, 3.3, 6.1, 9.7, 9.8, 10.4, 12.6)
"""Hours; the fourth while nobody looked."""
READ, UNSEEN = (5.5, 6.5), (11.0, 11.75)
ASKED = {"a short life": 5, "a gap that was read": 8, "a gap that was not": 13, "one crash": 18}


def a_day(watched):
    """Scrapes of 18 hours, in which nobody looked twice: the first gap was read afterwards, the second never."""
    shown = {"crashes_total": {"reason": "killed"}, "observed_seconds_total": {}, "crashes_per_hour": {"window": "6h"}}
    series = {name: [] for name in shown}
    waiting, seconds = [*CRASHED_AT], 0
    for hour in (step * SCRAPES / 3600 for step in range(1, 18 * 3600 // SCRAPES + 1)):
        seconds += SCRAPES
        if any(begin <= hour < end for begin, end in (READ, UNSEEN)):
            for values in series.values():
                values.append("_")
            continue
        endings = [Ending("crash", "killed", WALL + 3600 * one) for one in waiting if one <= hour]
        waiting = waiting[len(endings) :]
        observed = SCRAPES if hour == UNSEEN[1] else seconds
        watched.look(seconds, *endings, observed=float(observed), settle=True)
        seconds = 0
        for name, labels in shown.items():
            series[name].append(repr(watched.value(name, **labels)))
    return {f'model_server_{name}{{target="t"}}': " ".join(values) for name, values in series.items()}


def test_promql_over_the_counters_agrees_with_the_gauge(state, debian, tmp_path):
    """Prometheus' own arithmetic over 6 hours gives the rate of the gauge to 1 %, also over gaps."""
    config = replace(target(), windows=(WindowSpec(name="6h", seconds=6 * 3600.0),))
    series = [{"series": name, "values": values} for name, values in a_day(Watched(state, config)).items()]
    gauge = "model_server_crashes_per_hour"
    asked = [
        {
            "expr": f"abs({PROMQL} - {gauge}) <= bool 0.01 * {gauge}",
            "eval_time": f"{hour * 60:.0f}m",
            "exp_samples": [{"labels": '{target="t"}', "value": 1}],
        }
        for hour in ASKED.values()
    ]
    test = {"tests": [{"interval": f"{SCRAPES}s", "input_series": series, "promql_expr_test": asked}]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    command = [debian("prometheus", "promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_old_crashes_fall_out_of_the_window(state):
    """The rate is that of the last hour, and absent when nothing of it was observed."""
    watched = Watched(state, target(3600))
    watched.look(60, watched.end(), settle=True)
    for _ in range(60):
        watched.look(60, settle=True)
    assert watched.value("crashes_per_hour", window="3600s") == 0
    assert watched.value("crashes_total", reason="killed") == 1
    watched.look(7200, problem="no answer")
    assert watched.value("crashes_per_hour", window="3600s") is None


def test_a_gap_that_was_read_is_spread_over_its_time(state):
    """Seconds of a long gap outside the window do not dilute its rate; a crash in the gap counts where it was."""
    watched = Watched(state, target(3600, 36000))
    watched.look(1, settle=True)
    watched.wall += 7199
    watched.monotonic += 7199
    watched.look(1, watched.end(ago=5000), observed=7200.0, settle=True)
    assert watched.value("observed_seconds_total") == 7201
    assert watched.value("crashes_per_hour", window="3600s") == 0
    assert watched.ledger.windows["3600s"].of(0)[1] == pytest.approx(3600, abs=10)
    assert watched.value("crashes_per_hour", window="36000s") == pytest.approx(3600 / 7201)


@pytest.mark.parametrize("step", [-1e8, -30.0, 30.0, 1e8])
def test_a_step_of_the_wall_clock_changes_no_rate(watched, step):
    """Windows go on as the monotonic clock does."""
    watched.look(60, watched.end(), settle=True)
    watched.wall += step
    watched.look(60, settle=True)
    assert watched.value("crashes_per_hour", window="3600s") == pytest.approx(30)
    again = watched.again(wall=watched.wall + min(step, 0))
    again.look(60, settle=True)
    assert again.value("crashes_total", reason="killed") == 1
    if step < 1e4:
        assert again.value("crashes_per_hour", window="3600s") == pytest.approx(20)


# --- state ---------------------------------------------------------------------------------------


def test_everything_survives_a_restart(watched):
    """Counts, windows, cursors and an end that was not yet followed by a start go on."""
    watched.look(100)
    watched.look(1, watched.end(), up=False)
    again = watched.again()
    assert again.ledger.cursor(again.config.life) == {"at": 101.0}
    assert again.value("crashes_total", reason="killed") == 1
    assert again.value("up") is None
    again.look(1)
    assert again.value("restarts_total", reason="killed") == 1
    assert again.value("crashes_per_hour", window="3600s") == pytest.approx(3600 / 102, rel=0.02)


def test_a_removed_target_comes_back_with_its_counts(watched):
    """Removing it from the config forgets nothing."""
    watched.look(100, watched.end())
    Pipeline(Config(models={}, targets={}), watched.state).absorb([])
    assert watched.again().value("crashes_total", reason="killed") == 1


def test_another_container_begins_with_no_cursor(state):
    """A cursor is of no use to a probe that watches something else; the counts are the target's, and stay."""
    watched = Watched(state, target(settings="one"))
    watched.look(100, watched.end())
    again = watched.again(target(settings="other"))
    assert again.ledger.cursor(again.config.life) is None
    assert again.value("crashes_total", reason="killed") == 1


def test_a_window_that_is_removed_is_forgotten(state):
    """Its buckets are dropped with the next commit."""
    watched = Watched(state, target(60, 3600))
    watched.look(10, watched.end())
    again = watched.again(target(3600))
    again.look(10, settle=True)
    assert not [name for name, _ in state.scan("target/") if "/60s/" in name]
    assert again.value("crashes_per_hour", window="3600s") == pytest.approx(180)


def test_an_idle_target_is_not_saved_at_every_look(state):
    """Observed seconds wait up to SETTLE_AFTER for their commit, and what is not saved is not shown."""
    commits = []
    commit = state.commit
    state.commit = lambda blobs: (commits.append(blobs), commit(blobs))
    watched = Watched(state)
    watched.look(1)
    assert len(commits) == 1  # it is up now
    for _ in range(int(SETTLE_AFTER)):
        watched.look(1)
    assert len(commits) == 1
    assert watched.value("observed_seconds_total") == 1
    watched.look(1)
    assert len(commits) == 2
    assert watched.value("observed_seconds_total") == SETTLE_AFTER + 2
    assert watched.again().value("observed_seconds_total") == SETTLE_AFTER + 2


def test_what_the_disk_refuses_is_not_shown_and_not_lost(watched):
    """A crash waits for its commit, and is counted once by the one that works."""
    watched.look(10)
    assert watched.value("observed_seconds_total") == 10
    commit = watched.state.commit

    def full(blobs):
        raise StateError("full")

    watched.state.commit = full
    with pytest.raises(StateError):
        watched.look(1, watched.end())
    assert watched.value("crashes_total", reason="killed") == 0
    watched.state.commit = commit
    watched.pipeline.save()
    assert watched.value("crashes_total", reason="killed") == 1
    assert watched.again().value("crashes_total", reason="killed") == 1


# --- what is measured ------------------------------------------------------------------------------


def readings(cpu, ratio=None, scope="process"):
    labels = (("scope", scope),)
    more = () if ratio is None else (Reading(RATIO.name, labels, ratio),)
    return (Reading(CPU.name, labels, cpu), *more)


def test_readings_come_and_go(watched):
    """What a probe no longer gives is absent, and so is all of one that fails; an unknown metric is left out."""
    watched.look(1, readings=(*readings(5.0, 0.5), Reading("what", (), 1.0)))
    assert watched.value("cpu_seconds_total", scope="process") == 5
    assert watched.value("cpu_utilization_ratio", scope="process") == 0.5
    watched.look(1, readings=readings(6.0))
    assert watched.value("cpu_seconds_total", scope="process") == 6
    assert watched.value("cpu_utilization_ratio", scope="process") is None
    watched.look(1, problem="no answer")
    assert watched.value("cpu_seconds_total", scope="process") is None
    assert watched.value("up") == 0


def test_a_measuring_probe_that_fails_costs_its_own_readings_only(state):
    """The target stays up, and the page tells what is wrong."""
    watched = Watched(state, target(measures=["disk"], model="fraud"))
    watched.look(1, readings=readings(5.0, 0.5, "container"), detail="container x", start_time=9.0)
    watched.look(0, up=None, kind="disk", readings=(Reading(DISK.name, (("mountpoint", "/"),), 0.25),))
    told = servers.status(watched.ledger)
    assert (told.target, told.model, told.up, told.since, told.detail) == ("t", "fraud", True, 9.0, "container x")
    assert (told.cpu, told.memory, told.disks, told.errors) == (0.5, None, {"/": 0.25}, ())
    watched.look(0, kind="disk", problem="/: does not answer")
    assert watched.value("up") == 1
    told = servers.status(watched.ledger)
    assert (told.disks, told.errors) == ({}, ("disk: /: does not answer",))


def test_the_status_of_a_target_that_is_down(watched):
    """It says since when, how often it crashed and how often per hour."""
    watched.look(100, start_time=5.0)
    watched.look(1, watched.end("oom"), up=False, detail="exited")
    down = watched.wall
    watched.look(1, up=False, detail="exited")
    told = servers.status(watched.ledger)
    assert (told.up, told.since, told.detail, told.restarts) == (False, down, "exited", 0)
    assert told.crashes == {"oom": 1}
    assert told.crashes_per_hour == {"3600s": pytest.approx(3600 / 101)}
