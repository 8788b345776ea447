"""The child that fits calibration crashes, hangs, lies or cannot be started: it is counted, and nothing else stops."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exporter.pipeline import Pipeline
from exporter.scheduler import Scheduler
from exporter.scheduler.fitting import PROGRAM, Fitter
from exporter.state import State
from exporter.telemetry import Telemetry
from tests.estimating import drawn, made, spec, told
from tests.ledgers import config, sample, samples, shown

ANSWERS = "print('[[' + ','.join(['0.5'] * 20) + ']]')"
CRASHES = "import sys; sys.exit('no memory')"
DIES = "import os; os.abort()"
HANGS = "import time; time.sleep(600)"
SHORT = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_AS, (100 << 20,) * 2)
runpy.run_path({PROGRAM[-1]!r}, run_name="__main__")
"""
FAULTS = {
    "an exception": (CRASHES, "crashed"),
    "a signal": (DIES, "crashed"),
    "no memory": (SHORT, "crashed"),
    "no answer": (HANGS, "timeout"),
    "nothing": ("pass", "invalid"),
    "garbage": ("print('\\xff{]')", "invalid"),
    "another shape": ("print('[]')", "invalid"),
    "an object": ("print('{}')", "invalid"),
    "shares beyond 1": ("print('[[' + ','.join(['7'] * 20) + ']]')", "invalid"),
    "too few shares": ("print('[[0.5]]')", "invalid"),
    "a depth without end": ("print('[' * 5_000_000)", "invalid"),
    "no numbers": ("print('[[NaN]]')", "invalid"),
}


def held():
    """The descriptors and the children of this process, ended ones among them; not what earlier tests left behind."""
    gc.collect()
    children = [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]
    return sorted(path.name for path in Path("/proc/self/fd").iterdir()), sorted(children)


class Exporter:
    """A pipeline with enough labels for a fit, and the scheduler that has it made by *program*."""

    def __init__(self, hands, program, timeout=20.0):
        self.hands = hands
        self.pipeline = Pipeline(config(spec()), State(None))
        self.scheduler = Scheduler(self.pipeline, [], Telemetry("1", (), hands.clock), lambda _: None, hands.clock)
        command = (sys.executable, "-c", program) if isinstance(program, str) else program
        self.scheduler.fitter = Fitter(self.scheduler.inbox, hands.clock, command, timeout)
        score, outcome = drawn(200)
        self.pipeline.absorb([made(score), told(outcome)])
        shown(self.pipeline)  # what is in it are no new series
        self.before = held()
        self.fits()

    def fits(self):
        self.scheduler.fitter.make(self.pipeline.due())

    def cycle(self):
        """A cycle after the child has ended."""
        self.scheduler.fitter.wait()
        self.scheduler._waiting += self.scheduler.inbox.take(0)
        self.scheduler.cycle()

    def count(self, result):
        return samples(shown(self.pipeline))[sample("model_calibration_fits_total", result=result)]

    def close(self):
        self.scheduler.stop()
        self.pipeline.state.close()


@pytest.fixture
def exporter(hands):
    """Builds one, and ends it with the test."""
    built = []

    def build(*arguments):
        built.append(Exporter(hands, *arguments))
        return built[-1]

    yield build
    for one in built:
        one.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_child_is_counted(exporter, fault, caplog):
    """Whatever becomes of it, the result is told once, nothing of it is left, and counting goes on."""
    program, result = FAULTS[fault]
    one = exporter(program, 0.3 if result == "timeout" else 20.0)
    one.cycle()
    assert one.count(result) == 1
    assert sum(one.count(other) for other in ("fitted", "crashed", "timeout", "invalid")) == 1
    assert held() == one.before
    assert one.scheduler.healthy() is None
    assert not any("Traceback" in record.getMessage() for record in caplog.records)
    score, outcome = drawn(10)
    one.pipeline.absorb([made(score, 1000), told(outcome, 1000)])
    assert samples(shown(one.pipeline))[sample("model_labelled_predictions_total", correct="true")] > 0


def test_a_child_that_cannot_be_started_is_a_crash(exporter):
    """No such program, no memory for a process: the same as one that ends badly."""
    one = exporter(["/nowhere/python"])
    one.cycle()
    assert one.count("crashed") == 1


def test_a_fitter_that_cannot_begin_is_a_crash(exporter, hands, monkeypatch):
    """No more threads, or no memory for the question or the answer: the next try comes after a minute."""
    one = exporter(ANSWERS)
    one.cycle()
    assert one.count("fitted") == 1
    score, outcome = drawn(200)
    one.pipeline.absorb([made(score, 200), told(outcome, 200)])
    for module, name, error in ((threading.Thread, "start", RuntimeError), (subprocess, "Popen", MemoryError)):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fails(error))
            one.fits()
            one.cycle()
        hands.monotonic += 60
    assert one.count("crashed") == 2


def fails(error):
    def call(*_, **__):
        raise error("not now")

    return call


def test_what_failed_is_tried_again_ever_later(exporter, hands):
    """After a minute, then two, and so on, though no label came since; what succeeds ends that."""
    one = exporter(CRASHES)
    one.cycle()
    for seconds in (60, 120, 240):
        hands.monotonic += seconds - 1
        one.scheduler.cycle()
        assert one.scheduler.fitter.free
        hands.monotonic += 1
        one.scheduler.cycle()
        assert not one.scheduler.fitter.free
        one.cycle()
    assert one.count("crashed") == 4
    one.scheduler.fitter._program = (sys.executable, "-c", ANSWERS)
    hands.monotonic += 480
    one.scheduler.cycle()
    one.cycle()
    assert one.count("fitted") == 1
    assert not one.pipeline.due()
    assert not one.scheduler.fitter.owes


def test_what_fails_for_months_is_still_tried(exporter, hands):
    """However often it has failed before, the wait stays an hour."""
    one = exporter(["/nowhere/python"])
    one.cycle()
    for _ in range(1100):
        hands.monotonic += 3600
        one.scheduler.cycle()
        one.cycle()
    assert one.count("crashed") == 1101
    assert one.scheduler.healthy() is None


def test_a_start_asks_for_what_is_due(hands, tmp_path):
    """Labels that were enough when the exporter ended are enough when it starts, whether more rows come or not."""
    score, outcome = drawn(200)
    state = State(tmp_path)
    Pipeline(config(spec()), state).absorb([made(score), told(outcome)])
    state.close()
    state = State(tmp_path)
    scheduler = Scheduler(
        Pipeline(config(spec()), state), [], Telemetry("1", (), hands.clock), lambda _: None, hands.clock
    )
    scheduler.fitter._program = (sys.executable, "-c", ANSWERS)
    for _ in range(2):
        scheduler.cycle()
        scheduler.fitter.wait()
        scheduler._waiting += scheduler.inbox.take(0)
    assert samples(shown(scheduler.pipeline))[sample("model_calibration_labelled_predictions")] == 200
    scheduler.stop()
    state.close()


def test_a_hung_child_blocks_no_cycle_and_ends_with_the_exporter(exporter):
    """Cycles run on while it hangs, no second child is started, and stopping ends it at once, uncounted."""
    one = exporter(HANGS, 600.0)
    while one.scheduler.fitter._child is None:
        time.sleep(0.001)
    child = one.scheduler.fitter._child
    begun = time.monotonic()
    for _ in range(5):
        one.scheduler.cycle()
    assert not one.scheduler.fitter.free
    one.scheduler.stop()
    one.scheduler.fitter.wait()
    assert time.monotonic() - begun < 5
    assert child.returncode == -9
    assert one.count("timeout") + one.count("crashed") == 0
    assert "fitter" not in {thread.name for thread in threading.enumerate()}


def test_the_cycle_asks_by_itself_and_takes_the_answer_later(exporter, hands):
    """With the shipped program: labels come, a child is started behind the cycle, a later cycle has estimates."""
    one = exporter(PROGRAM, 120.0)
    one.cycle()
    assert one.count("fitted") == 1
    found = samples(shown(one.pipeline))
    assert found[sample("model_calibration_labelled_predictions")] == 200
    assert 0.6 < found[sample("model_estimated_accuracy_ratio", window="3600s")] < 0.9


def test_an_answer_that_waits_is_not_asked_for_again(exporter):
    """A cycle that ran while the child answered has not taken that in yet: it starts no second child."""
    one = exporter(ANSWERS)
    one.scheduler.fitter.wait()
    assert not one.scheduler.fitter.free
    one.cycle()
    assert one.scheduler.fitter.free
    assert one.count("fitted") == 1


def test_a_start_asks_for_nothing_twice(exporter):
    """The first cycle runs before the threads begin: what it asked for is under way."""
    one = exporter(HANGS, 120.0)
    assert not one.scheduler.fitter.free
    one.scheduler.fitter.start()
    assert not one.scheduler.fitter.free


def test_a_fitter_that_was_stopped_begins_anew(exporter):
    """What it was about to tell is asked for again, and answered."""
    one = exporter(HANGS, 120.0)
    one.scheduler.fitter.stop()
    one.fits()
    one.scheduler.fitter.wait()
    one.scheduler.fitter._program = (sys.executable, "-c", ANSWERS)
    one.scheduler.fitter.start()
    one.fits()
    one.cycle()
    assert one.count("fitted") == 1
