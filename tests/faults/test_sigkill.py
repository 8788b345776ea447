"""A kill at any instant: nothing is counted twice, and nothing is lost that the source can still give."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.faults import feeding
from tests.ledgers import shown

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tiny_segments(monkeypatch):
    feeding.tiny_segments(monkeypatch.setattr)


@pytest.fixture
def undisturbed():
    """The exposition after fifty cycles that nobody disturbed."""
    pipeline = Pipeline(feeding.SETTING, State(None))
    feeding.feed(pipeline)
    return shown(pipeline).text.decode()


def start(folder, *point):
    words = [sys.executable, "-m", "tests.faults.feeding", str(folder), *map(str, point)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(folder):
    """The exposition of the state in *folder* once all cycles are absorbed."""
    state = State(folder)
    assert state.damaged is None
    pipeline = Pipeline(feeding.SETTING, state)
    feeding.feed(pipeline)
    assert pipeline.cursor("m", "labels") == feeding.CYCLES - 1
    text = shown(pipeline).text.decode()
    again = shown(Pipeline(feeding.SETTING, state)).text.decode()
    state.close()
    assert again == text
    return text


def test_fifty_cycles_with_kills_at_random_instants(tmp_path, undisturbed):
    """Killed after a few cycles, again and again, the counts are those of an undisturbed run."""
    rng = random.Random(2026)
    kills = 0
    while True:
        with start(tmp_path) as child:
            goes_on = all(child.stdout.readline() for _ in range(rng.randrange(1, 6)))
            if goes_on:
                instant = time.perf_counter() + rng.uniform(0, 0.012)
                while time.perf_counter() < instant:
                    pass
                child.kill()
            _, errors = child.communicate()
        assert not errors
        if not goes_on:  # it may be that the last cycle was saved, but the child killed before it said so
            assert child.returncode == 0
            break
        kills += child.returncode == -9
    assert kills >= 8
    assert finished(tmp_path) == undisturbed


@pytest.mark.parametrize("point", feeding.POINTS)
def test_a_kill_between_the_steps_of_a_cycle(tmp_path, undisturbed, point):
    """Death at any step, early and late in the run, and again on the way back, changes nothing of the outcome."""
    rng = random.Random(point)
    deaths = 0
    for count in (1, rng.randrange(2, 40), 1):
        child = start(tmp_path, point, count)
        _, errors = child.communicate()
        assert not errors
        assert child.returncode in {0, 9}
        deaths += child.returncode == 9
    assert deaths or point == "undone"
    assert finished(tmp_path) == undisturbed


def test_the_rows_have_all_cases(undisturbed):
    """The fifty cycles are worth the trouble: every result at the join occurs in them."""
    for result in (
        "matched",
        "corrected",
        "repeated",
        "outdated",
        "late",
        "early",
        "duplicate",
        "expired",
        "evicted",
        "unclaimed",
    ):
        (line,) = [line for line in undisturbed.splitlines() if f'result="{result}"' in line]
        assert float(line.split()[-1]) > 0, result
