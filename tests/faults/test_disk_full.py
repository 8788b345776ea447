"""A full disk: nothing is lost or counted twice, and the exporter goes on when there is room again."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess

import pytest

from exporter.errors import StateError
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.faults import feeding
from tests.ledgers import shown


@contextlib.contextmanager
def _limited(folder):
    """No file can grow: what a quota does."""
    del folder
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def _filled(folder):
    """Not a byte is left on the disk."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65_536)):
                pass
        except OSError:
            pass
    try:
        yield
    finally:
        ballast.unlink()


def _mounted(folder):
    """Whether a small disk of its own could be mounted at *folder*, which takes a root with all rights."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(params=[_limited, _filled], ids=["no-file-grows", "no-room"])
def disk(request, tmp_path):
    """A folder, and a way to fill its disk; files that cannot grow stand in where no disk can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param is _limited or not _mounted(folder):
        yield folder, _limited
        return
    try:
        yield folder, _filled
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(autouse=True)
def tiny_segments(monkeypatch):
    feeding.tiny_segments(monkeypatch.setattr)


@pytest.fixture
def undisturbed():
    """The expositions after every cycle that nobody disturbed."""
    pipeline, texts = Pipeline(feeding.SETTING, State(None)), []
    feeding.feed(pipeline, lambda _: texts.append(shown(pipeline).text))
    return texts


def absorb_through(pipeline, cycle, disk):
    """Absorb a cycle that meets a full disk, as the scheduler does: save what is counted, or give the rows again."""
    folder, filled = disk
    before, failures = shown(pipeline).text, 0
    with filled(folder):
        for _ in range(3):
            try:
                if pipeline.unsaved:
                    pipeline.save()
                elif pipeline.cursor("m", "labels") != cycle:
                    pipeline.absorb(feeding.deliveries(cycle))
            except StateError:
                failures += 1
                assert shown(pipeline).text == before
    if pipeline.unsaved:
        pipeline.save()
    elif pipeline.cursor("m", "labels") != cycle:
        pipeline.absorb(feeding.deliveries(cycle))
    return failures


def test_a_full_disk_now_and_then_changes_nothing(disk, undisturbed):
    """Whatever the disk refuses first, a log, an index or the database, every cycle counts once."""
    folder, _ = disk
    state = State(folder / "state")
    pipeline, failures = Pipeline(feeding.SETTING, state), 0
    for cycle in range(feeding.CYCLES):
        if cycle % 3 == 1:
            failures += absorb_through(pipeline, cycle, disk)
        else:
            pipeline.absorb(feeding.deliveries(cycle))
        assert shown(pipeline).text == undisturbed[cycle]
    assert failures >= 20
    state.close()
    state = State(folder / "state")
    assert shown(Pipeline(feeding.SETTING, state)).text == undisturbed[-1]
    state.close()


def test_a_restart_on_a_full_disk_loses_nothing(disk, undisturbed):
    """A state that cannot be opened for want of room is not taken for a damaged one."""
    folder, filled = disk
    for cycle in range(0, 30, 10):
        state = State(folder / "state")
        pipeline = Pipeline(feeding.SETTING, state)
        for one in range(cycle, cycle + 10):
            pipeline.absorb(feeding.deliveries(one))
        state._database.close()
        os.close(state._lock)
        with filled(folder):
            for _ in range(2):
                # Whether it can be opened depends on what is left to be written: damaged it must not seem.
                refused = None
                try:
                    opened = State(folder / "state")
                except StateError as error:
                    refused = str(error)
                else:
                    assert opened.damaged is None
                    opened.close()
                assert refused is None or "free some disk" in refused
        state = State(folder / "state")
        assert state.damaged is None
        assert shown(Pipeline(feeding.SETTING, state)).text == undisturbed[cycle + 9]
        state.close()


def test_a_first_start_without_room_says_so(disk):
    """A state that cannot even be begun is an error that says what to do, and can be begun later."""
    folder, filled = disk
    with filled(folder), pytest.raises(StateError, match="free some disk"):
        State(folder / "state")
    state = State(folder / "state")
    assert state.damaged is None
    state.close()
