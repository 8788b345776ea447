"""Ends of a unit, by programs that replay what a real systemd wrote and said."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.contracts import Deadline, Probe
from exporter.errors import SourceDataError, SourceDenied, SourceTimeout, SourceUnavailable
from exporter.probes.journal import MESSAGES
from exporter.probes.systemd import Systemd
from tests.conftest import Hands
from tests.engine import kinds
from tests.journal import DATA, JOURNALCTL, RECORDED, program
from tests.journal import Systemd as Unit

BEGIN, END = 1_795_325_445.0, 1_795_325_470.0
EXITED, SUCCEEDED, FAILED, STARTED, STOPPING, OUT_OF_MEMORY = MESSAGES
T = 1_800_000_000.0


def record(number, message, at, unit="model.service", **fields):
    """A record of the service manager."""
    words = {"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": str(round((T + at) * 1e6)), "_PID": "1"}
    return {**words, "MESSAGE_ID": message, "UNIT": unit, **fields}


class Watch(Unit):
    """A unit of a made-up systemd, and the probe that watches it."""

    def __init__(self, folder, records, now, unit="model.service", **config):
        super().__init__(folder, records)
        self.hands, self.cursor, self.found = Hands(wall=now), None, []
        self.config = Systemd.Config(unit=unit, **self.programs, **config)
        self.restart()

    def restart(self):
        self.probe = Systemd(self.config, name="t", clock=self.hands.clock)

    def look(self, now=None):
        if now is not None:
            self.hands.monotonic += max(0.0, now - self.hands.wall)
            self.hands.wall = now
        (self.folder / "now").write_text(str(self.hands.wall))
        sight = self.probe.look(self.cursor, Deadline(self.hands.monotonic + 20, self.hands.clock))
        self.cursor = json.loads(json.dumps(sight.cursor))
        self.found += sight.endings
        return sight


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path, [record(0, STARTED, -100)], T)


MODEL = {("crash", "killed"): 6, ("crash", "SIGSEGV"): 1, ("planned", "stop"): 1, ("planned", "clean"): 1}
ALWAYS = {("planned", "clean"): 5}


@pytest.mark.parametrize(("unit", "ends"), [("model.service", MODEL), ("always.service", ALWAYS)])
@pytest.mark.parametrize("gap", [3.0, 100.0])
def test_recorded_ends(tmp_path, unit, ends, gap):
    """The recorded kills, faults, planned restart and clean ends are each told once, also where systemd gives up."""
    watch = Watch(tmp_path, RECORDED, BEGIN, unit)
    watch.show(unit=unit)
    watch.look()
    now = BEGIN
    while now < END:
        now += gap
        watch.look(now)
    watch.look(now + 5)
    assert kinds(watch.found) == ends


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.floats(0, 6), min_size=1, max_size=5), restart=st.integers(0, 5))
def test_any_rhythm(tmp_path_factory, steps, restart):
    """Looks at any moments, and a new exporter between any two, tell every end exactly once."""
    watch = Watch(tmp_path_factory.mktemp("s"), RECORDED, BEGIN)
    watch.look()
    now = BEGIN
    for number, step in enumerate(steps):
        if number == restart:
            watch.restart()
        now += step
        watch.look(now)
    watch.look(END)
    assert kinds(watch.found) == MODEL
    assert watch.look(END + 5).endings == ()


def test_first_look_imports_nothing_old(tmp_path):
    """Ends that the journal held before the first look are no news."""
    watch = Watch(tmp_path, RECORDED, END)
    assert watch.look().endings == ()
    assert watch.look(END + 60).endings == ()


@pytest.mark.parametrize("later", [3.0, END - BEGIN])
def test_first_record_behind_one_of_another_kind(tmp_path, later):
    """Where the first look finds something that tells of no end, the end right behind it is not passed over."""
    other = {**RECORDED[4], "__CURSOR": "other", "__REALTIME_TIMESTAMP": f"{(BEGIN + 0.5) * 1e6:.0f}"}
    watch = Watch(tmp_path, [RECORDED[0], other, *RECORDED[1:]], BEGIN + 0.6)
    assert watch.look().endings == ()
    watch.look(BEGIN + later)
    assert watch.found[0].reason == "killed"


class RealJournal(Watch):
    """A journal that is read by the real journalctl, and holds the records up to the moment of a look."""

    def __init__(self, folder, records, now, unit, debian):
        self.remote = debian("systemd-journal-remote", "systemd-journal-remote")
        self.waiting, self.place = records, folder / "real/system.journal"
        self.place.parent.mkdir()
        super().__init__(folder, [], now, unit)
        journalctl = debian("systemd", "journalctl")
        (folder / "journalctl").write_text(f'#!/bin/sh\nexec {journalctl} --directory={self.place.parent} "$@"\n')

    def look(self, now=None):
        moment = self.hands.wall if now is None else now
        new = [one for one in self.waiting if int(one["__REALTIME_TIMESTAMP"]) / 1e6 <= moment]
        self.waiting = self.waiting[len(new) :]
        if new:
            exported = "".join("".join(f"{key}={value}\n" for key, value in one.items()) + "\n" for one in new)
            command = [self.remote, f"--output={self.place}", "-"]
            subprocess.run(command, input=exported, text=True, check=True, capture_output=True)
        return super().look(now)


@pytest.mark.parametrize(("unit", "ends"), [("model.service", MODEL), ("always.service", ALWAYS)])
@pytest.mark.parametrize("gap", [4.0, 100.0])
def test_real_journal(tmp_path, debian, unit, ends, gap):
    """A real journal, whose newest record tells nothing of the unit at first, gives the same ends to each exporter."""
    other = {**RECORDED[-1], "UNIT": "other.service", "__REALTIME_TIMESTAMP": f"{(BEGIN + 0.5) * 1e6:.0f}"}
    now = BEGIN + 0.6
    watch = RealJournal(tmp_path, [RECORDED[0], other, *RECORDED[1:]], now, unit, debian)
    watch.show(unit=unit)
    watch.look()
    while now < END:
        now += gap
        watch.restart()
        watch.look(now)
    watch.look(now + 5)
    assert kinds(watch.found) == ends


def exited(number, at, status, code="killed", command="ExecStart"):
    return record(number, EXITED, at, EXIT_CODE=code, EXIT_STATUS=str(status), COMMAND=command)


STORIES = {
    "core dumped": ([exited(1, 5, 6, "dumped")], {("crash", "SIGABRT"): 1}),
    "exit code": ([exited(1, 5, 3, "exited")], {("crash", "exit"): 1}),
    "stop in time": ([record(1, STOPPING, 4), record(2, SUCCEEDED, 5)], {("planned", "stop"): 1}),
    "stop with an exit code": (
        [record(1, STOPPING, 4), exited(2, 5, 1, "exited"), record(3, FAILED, 5, UNIT_RESULT="exit-code")],
        {("planned", "stop"): 1},
    ),
    "forced stop": (
        [record(1, STOPPING, 4), exited(2, 94, 9), record(3, FAILED, 94, UNIT_RESULT="timeout")],
        {("planned", "forced_stop"): 1},
    ),
    "crash after a planned restart": (
        [record(1, STOPPING, 4), record(2, SUCCEEDED, 5), record(3, STARTED, 6), exited(4, 9, 9)],
        {("planned", "stop"): 1, ("crash", "killed"): 1},
    ),
    "oom, told before": ([record(1, OUT_OF_MEMORY, 5), exited(2, 5.1, 9)], {("crash", "oom"): 1}),
    "oom, told after": ([exited(1, 5, 9), record(2, OUT_OF_MEMORY, 5.1)], {("crash", "oom"): 1}),
    "oom, told as the result": (
        [exited(1, 5, 9), record(2, FAILED, 5.1, UNIT_RESULT="oom-kill")],
        {("crash", "oom"): 1},
    ),
    "oom of the run before": (
        [record(1, OUT_OF_MEMORY, 3), record(2, STARTED, 4), exited(3, 9, 9)],
        {("crash", "killed"): 1},
    ),
    "helper failed": ([exited(1, 5, 1, "exited", "ExecStartPre")], {}),
    "too slow to start": ([record(1, FAILED, 5, UNIT_RESULT="timeout")], {("unknown", "unknown"): 1}),
    "result repeated": (
        [exited(1, 5, 9), record(2, FAILED, 5, UNIT_RESULT="signal"), record(3, FAILED, 6, UNIT_RESULT="signal")],
        {("crash", "killed"): 1},
    ),
    "other unit": ([{**exited(1, 5, 9), "UNIT": "other.service"}], {}),
    "forged by a process": ([{**exited(1, 5, 9), "_PID": "4711"}], {}),
}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("looks", [(200,), (5.05, 94.01, 200)])
def test_stories(watch, story, looks):
    """What the manager wrote before and after an end says whether it was a crash, whenever one looks."""
    written, told = STORIES[story]
    watch.look()
    watch.write([record(0, STARTED, -100), *written])
    for at in looks:
        watch.look(T + at)
    assert kinds(watch.found) == told


def test_end_has_its_own_time(watch):
    """An end is told at the time that the journal gives it."""
    watch.look()
    watch.write([record(0, STARTED, -100), exited(1, 12.5, 11)])
    assert [one.time for one in watch.look(T + 60).endings] == [T + 12.5]


def test_crash_while_nobody_looked(watch):
    """A crash and the time in which the exporter was down are both counted once by the next exporter."""
    watch.look()
    watch.write([record(0, STARTED, -100), exited(1, 100, 9), record(2, STARTED, 101)])
    watch.restart()
    sight = watch.look(T + 3600)
    assert (kinds(sight.endings), sight.observed) == ({("crash", "killed"): 1}, 3600.0)
    assert watch.look(T + 3610).endings == ()


def test_up_and_start_time(watch):
    """An active unit is up since its main process started."""
    sight = watch.look()
    assert (sight.up, sight.start_time, sight.detail) == (True, T - 600, "")
    assert isinstance(watch.probe, Probe)


@pytest.mark.parametrize(
    ("active", "detail"),
    [
        ("failed", "the unit is failed (running)"),
        ("activating", "the unit is activating (running)"),
        ("missing", "there is no unit model.service"),
    ],
)
def test_down(watch, active, detail):
    """A unit that is not active, or not there, is down with a reason."""
    watch.show(active)
    sight = watch.look()
    assert (sight.up, sight.start_time, sight.detail) == (False, None, detail)


@pytest.mark.parametrize(
    "said",
    [
        "Hint: You are currently not seeing messages from other users and the system.",
        "No journal files were opened due to insufficient permissions.",
        "No journal files were found.",
    ],
)
def test_journal_may_not_be_read(watch, said):
    """Without the journal systemd's own count tells restarts of unknown cause, and the reason is shown."""
    (watch.folder / "journal_says").write_text(said)
    assert "add the exporter's user to systemd-journal" in watch.look().detail
    watch.show(restarts=2)
    assert kinds(watch.look(T + 10).endings) == {("unknown", "unknown"): 2}
    watch.show(restarts=0, started="Fri 2027-01-15 08:00:15 UTC")
    assert kinds(watch.look(T + 20).endings) == {("unknown", "unknown"): 1}
    watch.show(restarts=1, started="Fri 2027-01-15 08:00:25 UTC")
    assert len(watch.look(T + 30).endings) == 1
    (watch.folder / "journal_says").unlink()
    assert watch.look(T + 40).endings == ()
    watch.write([record(0, STARTED, -100), exited(1, 45, 11)])
    assert kinds(watch.look(T + 50).endings) == {("crash", "SIGSEGV"): 1}


def test_unknown_may_be_a_crash(tmp_path):
    """Restarts of unknown cause are crashes where the config says so."""
    watch = Watch(tmp_path, [], T, unknown_is_crash=True)
    watch.look()
    watch.show(restarts=1)
    assert kinds(watch.look(T + 10).endings) == {("crash", "unknown"): 1}


def test_place_in_the_journal_is_lost(watch):
    """Where the journal no longer knows the place, the count of restarts bridges the gap, once."""
    watch.look()
    watch.write([record(7, STARTED, 50)])
    watch.show(restarts=1)
    assert kinds(watch.look(T + 60).endings) == {("unknown", "unknown"): 1}
    assert watch.look(T + 70).endings == ()
    watch.write([record(7, STARTED, 50), exited(8, 75, 9)])
    assert kinds(watch.look(T + 80).endings) == {("crash", "killed"): 1}


def test_clock_step(watch):
    """A step of the wall clock changes no observed time, tells no end twice and loses none."""
    watch.look()
    written = [record(0, STARTED, -100), exited(1, 5, 9)]
    watch.write(written)
    watch.look(T + 10)
    watch.hands.monotonic += 15
    watch.hands.wall = T + 1e6
    assert (sight := watch.look()).observed == 15.0
    assert sight.endings == ()
    watch.write([*written, exited(2, 1e6, 11)])
    watch.hands.monotonic += 15
    watch.hands.wall = T + 1e6 + 1  # the end is younger than what may explain it
    assert watch.look().endings == ()
    watch.hands.monotonic += 15
    watch.look(T + 1e6 + 60)
    assert kinds(watch.found) == {("crash", "killed"): 1, ("crash", "SIGSEGV"): 1}


def test_end_in_the_future(watch):
    """An end written before the clock was set back is told at once, and not kept until the clock is there again."""
    watch.look()
    watch.write([record(0, STARTED, -100), exited(1, 500, 9)])
    (watch.folder / "now").write_text(str(T + 1000))
    watch.hands.monotonic += 15
    watch.hands.wall = T + 400
    sight = watch.probe.look(watch.cursor, Deadline(watch.hands.monotonic + 20, watch.hands.clock))
    assert kinds(sight.endings) == {("crash", "killed"): 1}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("System has not been booted with systemd as init system (PID 1). Can't operate.", SourceUnavailable),
        ("Failed to connect to bus: Permission denied", SourceDenied),
    ],
)
def test_systemd_does_not_answer(watch, said, error):
    """Without systemd there is nothing to see, and its own words say why."""
    (watch.folder / "systemd_says").write_text(said)
    with pytest.raises(error) as caught:
        watch.look()
    assert said in str(caught.value)


def test_programs_missing_or_forbidden(watch):
    """A program that is not there or may not be run is an error of its kind."""
    Path(watch.config.systemctl).unlink()
    with pytest.raises(SourceUnavailable, match="is systemd installed here"):
        watch.look()
    Path(watch.config.systemctl).write_text("")
    with pytest.raises(SourceDenied, match="permission denied"):
        watch.look()


def test_program_hangs(watch):
    """A program that does not end is ended at the deadline."""
    program(Path(watch.config.systemctl), "import time\ntime.sleep(60)")
    with pytest.raises(SourceTimeout, match="no answer in time"):
        watch.probe.look(None, Deadline(0.2, watch.hands.clock))


@pytest.mark.parametrize("words", ['{"__CURSOR": 7}', "no JSON"])
def test_journal_is_broken(watch, words):
    """Records that cannot be read are an error, and the place in the journal stays."""
    watch.look()
    program(Path(watch.config.journalctl), f"print({words!r})")
    with pytest.raises(SourceDataError, match="records cannot be read"):
        watch.look(T + 10)
    program(Path(watch.config.journalctl), JOURNALCTL)
    watch.write([record(0, STARTED, -100), exited(1, 5, 9)])
    assert kinds(watch.look(T + 20).endings) == {("crash", "killed"): 1}


def test_recorded_properties(watch):
    """The properties that a real systemctl shows are read."""
    (watch.folder / "shown").write_text((DATA / "show_always.txt").read_text() + "Id=always.service\n")
    sight = watch.look()
    assert (sight.up, sight.detail) == (False, "the unit is failed (failed)")
    (watch.folder / "shown").write_text((DATA / "show_model.txt").read_text())
    assert watch.look().detail == "the unit is inactive (dead)"
