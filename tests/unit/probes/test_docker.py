"""Ends of containers, as a recorded engine and handmade answers tell them over a real socket."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contracts import Deadline, Probe
from exporter.probes.docker import Docker
from tests.conftest import Hands
from tests.engine import BEGIN, DATA, END, Engine, container, event, kinds, moment

T = 1_800_000_000.0


class Watch:
    """A Docker probe on an engine, and its cursor, which passes through JSON."""

    def __init__(self, engine, place, name="model", **config):
        self.engine, self.hands, self.cursor, self.found = engine, Hands(wall=engine.now), None, []
        self.config = Docker.Config(container=name, socket=str(place), **config)
        self.probe = self.new()

    def new(self):
        return Docker(self.config, name="t", clock=self.hands.clock)

    def look(self, now=None):
        if now is not None:
            self.hands.monotonic += max(0.0, now - self.hands.wall)
            self.engine.now = self.hands.wall = now
        sight = self.probe.look(self.cursor, Deadline(self.hands.monotonic + 5, self.hands.clock))
        self.cursor = json.loads(json.dumps(sight.cursor))
        self.found += sight.endings
        return sight


@pytest.fixture
def watch(tmp_path):
    engine = Engine([], now=T)
    engine.containers["model"] = container(started=T - 100)
    with engine.serve(tmp_path / "engine.sock") as place:
        yield Watch(engine, place)


RECORDED = {
    "crashy": {("crash", "exit"): 4},
    "oom": {("crash", "killed"): 2},
    "always": {("planned", "stop"): 1, ("crash", "killed"): 1},
    "clean0": {("planned", "clean"): 8},
}


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("gap", [1.0, 7.0, 60.0])
def test_recorded_ends(tmp_path, name, gap):
    """The recorded crashes, planned restarts and clean ends are each told once, however often one looks."""
    engine = Engine()
    with engine.serve(tmp_path / "s") as place:
        seen = Watch(engine, place, name)
        engine.recorded(name)
        seen.look()
        now = BEGIN
        while now < END:
            now += gap
            seen.look(now)
        seen.look(now + 5)
    assert kinds(seen.found) == RECORDED[name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.floats(0, 20), min_size=1, max_size=8),
    name=st.sampled_from(sorted(RECORDED)),
    restart=st.integers(0, 7),
)
def test_any_rhythm(tmp_path_factory, steps, name, restart):
    """Looks at any moments, and a new exporter between any two, tell every end exactly once."""
    engine = Engine()
    with engine.serve(tmp_path_factory.mktemp("e") / "s") as place:
        seen = Watch(engine, place, name)
        engine.recorded(name)
        seen.look()
        now = BEGIN
        for number, step in enumerate(steps):
            if number == restart:
                seen.probe = seen.new()
            now += step
            seen.look(now)
        seen.look(max(now, END))
        seen.look(max(now, END) + 5)
    assert kinds(seen.found) == RECORDED[name]


def test_first_look_counts_nothing_old(tmp_path):
    """Ends from before the very first look are not told."""
    engine = Engine(now=END)
    with engine.serve(tmp_path / "s") as place:
        seen = Watch(engine, place, "crashy")
        engine.recorded("crashy")
        assert seen.look().endings == ()
        assert seen.look(END + 60).endings == ()


def test_over_tcp():
    """An engine may also be asked over TCP."""
    engine = Engine([], now=T)
    engine.containers["model"] = container(started=T - 9)
    with engine.serve(("127.0.0.1", 0)) as port:
        sight = Watch(engine, f"tcp://127.0.0.1:{port}").look()
    assert (sight.up, sight.start_time, sight.detail) == (True, pytest.approx(T - 9), "")


DOCKER_STORIES = {
    "stop": ([("kill", 10, {"signal": "15"}), ("die", 11, {"exitCode": "0"}), ("stop", 11, {})], ("planned", "stop")),
    "forced": (
        [("kill", 10, {"signal": "15"}), ("kill", 20, {"signal": "9"}), ("die", 20, {"exitCode": "137"})],
        ("planned", "forced_stop"),
    ),
    "kill by API": ([("kill", 10, {"signal": "9"}), ("die", 11, {"exitCode": "137"})], ("planned", "forced_stop")),
    "kill from elsewhere": ([("die", 11, {"exitCode": "137"})], ("crash", "killed")),
    "oom": ([("oom", 10.9, {}), ("die", 11, {"exitCode": "137"})], ("crash", "oom")),
    "oom told late": ([("die", 11, {"exitCode": "137"}), ("oom", 11.1, {})], ("crash", "oom")),
    "oom of a worker long ago": ([("oom", 2, {}), ("die", 19, {"exitCode": "137"})], ("crash", "killed")),
    "fault": ([("die", 11, {"exitCode": "139"})], ("crash", "SIGSEGV")),
    "reload, then crash": (
        [("kill", 5, {"signal": "1"}), ("die", 11, {"exitCode": "137"})],
        ("crash", "killed"),
    ),
    "stop in vain long ago": ([("kill", -400, {"signal": "15"}), ("die", 11, {"exitCode": "1"})], ("crash", "exit")),
    "podman tells of the stop when done": (
        [("die", 11, {"containerExitCode": "137", "podId": ""}), ("stop", 11.2, {"podId": ""})],
        ("planned", "forced_stop"),
    ),
    "no exit code": ([("die", 11, {})], ("unknown", "unknown")),
}


@pytest.mark.parametrize("story", DOCKER_STORIES)
def test_stories(watch, story):
    """What came before and just after an end says whether it was a crash."""
    happened, told = DOCKER_STORIES[story]
    watch.look(T - 500)
    watch.engine.events = [event(action, T + at, **words) for action, at, words in happened]
    for at in (0, 10, 15, 30):
        watch.look(T + at)
    assert kinds(watch.found) == {told: 1}


def test_crash_after_a_planned_restart(watch):
    """Docker's word of a finished restart does not excuse the crash after it."""
    watch.look()
    watch.engine.events = [
        event("kill", T + 1, signal="15"),
        event("die", T + 2, exitCode="0"),
        event("start", T + 3),
        event("restart", T + 3.1),
        event("die", T + 9, exitCode="1"),
    ]
    watch.look(T + 20)
    assert kinds(watch.found) == {("planned", "stop"): 1, ("crash", "exit"): 1}


def test_stop_signal_of_the_image(watch):
    """A container is asked to stop by the signal that its image names, too."""
    watch.engine.containers["model"]["Config"] = {"StopSignal": "SIGUSR1"}
    watch.look()
    watch.engine.events = [event("kill", T + 1, signal="10"), event("die", T + 2, exitCode="137")]
    watch.look(T + 9)
    assert kinds(watch.found) == {("planned", "forced_stop"): 1}


def test_stop_and_end_in_different_looks(watch):
    """A stop that takes its time is remembered from one look, and one exporter, to the next."""
    watch.look()
    watch.engine.events = [event("kill", T + 1, signal="15"), event("die", T + 60, exitCode="137")]
    watch.look(T + 10)
    watch.probe = watch.new()
    watch.look(T + 70)
    assert kinds(watch.found) == {("planned", "forced_stop"): 1}


def test_engine_without_oom_event(watch):
    """The container's own word that memory ran out counts for its last end."""
    watch.look()
    watch.engine.events = [
        event("die", T + 5, exitCode="137"),
        event("start", T + 6),
        event("die", T + 7, exitCode="137"),
    ]
    watch.engine.containers["model"] = container(
        running=False, OOMKilled=True, ExitCode=137, FinishedAt=moment(T + 7), started=T + 6
    )
    watch.look(T + 20)
    assert kinds(watch.found) == {("crash", "killed"): 1, ("crash", "oom"): 1}


def test_explained_after_the_look(watch):
    """An end is told only when what explains it had the time to be."""
    watch.look()
    watch.engine.events = [event("die", T + 10.9, exitCode="137"), event("stop", T + 11.05, podId="")]
    for at in (11, 12, 20):
        watch.look(T + at)
    assert kinds(watch.found) == {("planned", "forced_stop"): 1}


def test_restart_by_policy_excuses_nothing(watch):
    """Podman's word that its policy restarts a container, read in a later look than the end, is no request."""
    watch.look()
    happened = [event("die", T + 9.9, exitCode="1"), event("restart", T + 10.1, podId=""), event("start", T + 10.2)]
    watch.engine.events = [*happened, event("die", T + 11, exitCode="137")]
    for at in (12, 20):
        watch.look(T + at)
    assert kinds(watch.found) == {("crash", "exit"): 1, ("crash", "killed"): 1}


def test_looks_in_quick_succession(watch):
    """A look right after the first tells nothing from before it, and an end has its own time."""
    watch.engine.events = [event("die", T - 1, exitCode="1"), event("die", T + 4.25, exitCode="1")]
    for at in (0, 0.5, 1, 10):
        watch.look(T + at)
    assert [one.time for one in watch.found] == [pytest.approx(T + 4.25, abs=1e-5)]


def test_crash_while_nobody_looked(watch):
    """A crash and the time in which the exporter was down are both counted once by the next exporter."""
    watch.look()
    watch.engine.events = [event("die", T + 100, exitCode="1"), event("start", T + 101)]
    watch.engine.containers["model"] = container(started=T + 101, RestartCount=1)
    watch.probe = watch.new()
    sight = watch.look(T + 3600)
    assert (kinds(sight.endings), sight.observed) == ({("crash", "exit"): 1}, 3600.0)
    assert watch.look(T + 3610).endings == ()


@pytest.mark.parametrize(("configured", "kind"), [(False, "unknown"), (True, "crash")])
def test_forgotten_events(watch, configured, kind):
    """Restarts that the engine's events no longer tell are of unknown cause, and crashes only if configured."""
    watch.config = Docker.Config(container="model", socket=watch.config.socket, unknown_is_crash=configured)
    watch.probe = watch.new()
    watch.look()
    watch.engine.containers["model"] = container(started=T + 200, RestartCount=3)
    watch.engine.forgets = T + 300
    assert kinds(watch.look(T + 400).endings) == {(kind, "unknown"): 3}
    assert watch.look(T + 410).endings == ()


def test_forgotten_end(watch):
    """The state of a container that is down tells how it ended, where no event does."""
    watch.look()
    watch.engine.containers["model"] = container(
        running=False, ExitCode=139, FinishedAt=moment(T + 50), started=T - 100
    )
    sight = watch.look(T + 100)
    assert kinds(sight.endings) == {("crash", "SIGSEGV"): 1}
    assert (sight.up, sight.detail) == (False, "the container ended with exit code 139")


def test_start_after_a_stop_is_no_end(watch):
    """A container that was down and is up again has not ended once more."""
    watch.engine.containers["model"] = container(running=False, FinishedAt=moment(T - 50), started=T - 100)
    watch.look()
    watch.engine.containers["model"] = container(started=T + 20)
    watch.engine.events = [event("start", T + 20)]
    assert watch.look(T + 60).endings == ()
    watch.engine.containers["model"] = container(running=False, FinishedAt=moment(T - 50), started=T - 100)


def test_observed_time_is_exact(watch):
    """Observed seconds add up to the time between the first look and the last, on the monotonic clock."""
    assert watch.look().observed == 0.0
    total = sum(watch.look(T + at).observed for at in (0.5, 3, 3, 40, 41.25))
    assert total == 41.25


def test_clock_step_back(watch):
    """When the engine's clock is set back, no end is told twice, a restart is noticed, and time goes on."""
    watch.look()
    watch.engine.events = [event("die", T + 5, exitCode="1"), event("start", T + 6)]
    watch.engine.containers["model"] = container(started=T + 6, RestartCount=1)
    watch.look(T + 20)
    watch.hands.monotonic += 10
    sight = watch.look(T - 3600 + 30)
    assert (sight.endings, sight.observed) == ((), 10.0)
    watch.engine.events.append(event("die", T - 3600 + 35, exitCode="1"))
    watch.look(T - 3600 + 60)
    assert kinds(watch.found) == {("crash", "exit"): 2}


def test_restart_during_a_clock_step(watch):
    """A restart whose events fall behind a step of the clock is of unknown cause."""
    watch.look()
    watch.engine.containers["model"] = container(started=T - 3600, RestartCount=1)
    watch.engine.now = watch.hands.wall = T - 3000
    assert kinds(watch.look().endings) == {("unknown", "unknown"): 1}


def test_container_gone(watch):
    """A container that is not there is down, with a reason; its end is still told."""
    watch.look()
    watch.engine.events = [event("die", T + 5, exitCode="3"), event("destroy", T + 6)]
    del watch.engine.containers["model"]
    sight = watch.look(T + 20)
    assert (sight.up, sight.detail) == (False, "there is no container model")
    assert kinds(sight.endings) == {("crash", "exit"): 1}


@pytest.mark.parametrize(
    ("state", "up", "detail"),
    [
        ({"Paused": True}, False, "the container is paused"),
        ({"Restarting": True, "ExitCode": 3}, False, "exit code 3, the engine waits to restart it"),
        ({}, True, ""),
    ],
)
def test_up(watch, state, up, detail):
    """A container that is frozen or waits for its restart is not up, though the engine calls it running."""
    watch.engine.containers["model"] = container(started=T - 5, **state)
    sight = watch.look()
    assert sight.up is up
    assert detail in sight.detail
    assert (sight.start_time is not None) is up


def test_unhealthy(watch):
    """A failing health check shows as a reason for people; the container is up."""
    watch.engine.containers["model"]["State"]["Health"] = {"Status": "unhealthy"}
    sight = watch.look()
    assert (sight.up, sight.detail) == (True, "the health check fails")


def values(sight):
    return {reading.metric: reading.value for reading in sight.readings}


def test_readings(watch):
    """CPU and memory are those that the engine measured, against the limits of the container."""
    watch.engine.stats = (DATA / "stats_always.json").read_bytes()
    watch.engine.containers["model"]["HostConfig"] = {"NanoCpus": 500_000_000}
    sight = watch.look()
    assert values(sight) == {
        "model_server_cpu_seconds_total": 0.082291259,
        "model_server_cpu_limit_cores": 0.5,
        "model_server_memory_used_bytes": 667648,
        "model_server_memory_limit_bytes": 25276510208,
        "model_server_memory_utilization_ratio": 667648 / 25276510208,
    }
    assert {reading.metric for reading in sight.readings} <= {spec.name for spec in Docker.specs}
    later = json.loads(watch.engine.stats)
    later["cpu_stats"]["cpu_usage"]["total_usage"] += 2_500_000_000
    later["memory_stats"]["stats"] = {"inactive_file": 600_000}
    watch.engine.stats = json.dumps(later).encode()
    after = values(watch.look(T + 10))
    assert after["model_server_cpu_utilization_ratio"] == pytest.approx(0.5)
    assert after["model_server_memory_used_bytes"] == 67648


@pytest.mark.parametrize("answer", [None, b"<html>", b'{"memory_stats": {"usage": "many"}}'])
def test_no_readings(watch, answer):
    """Resources that cannot be read are left out, and the container is up all the same."""
    watch.engine.stats = answer
    sight = watch.look()
    assert (sight.up, sight.readings) == (True, ())


def test_readings_can_be_left_out(tmp_path):
    """Without stats the engine is not asked for them."""
    engine = Engine([], now=T)
    engine.containers["model"] = container(started=T)
    with engine.serve(tmp_path / "s") as place:
        Watch(engine, place, stats=False).look()
    assert engine.asked == ["/containers/model/json"]


@pytest.mark.parametrize(
    "words",
    [{"container": "a", "socket": "docker.sock"}, {"container": "a", "socket": "http://user:secret@host:1"}],
)
def test_config_is_judged(words):
    """An address that is none is refused with the way out, and without its password."""
    with pytest.raises(ValueError, match="address") as caught:
        Docker.Config(**words)
    assert "secret" not in str(caught.value)


def test_is_a_probe(watch):
    """It keeps the contract of probes."""
    assert isinstance(watch.probe, Probe)
    watch.probe.close()
