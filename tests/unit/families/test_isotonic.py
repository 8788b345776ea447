"""The child's program: shares of positives that grow with the score."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from sklearn.isotonic import IsotonicRegression

from exporter.families.isotonic import shares
from exporter.scheduler.fitting import PROGRAM
from tests.estimating import drawn


def test_shares_of_bins_are_those_of_all_rows():
    """With a bin for every score, the fit is the one that scikit-learn makes of the rows."""
    score, outcome = drawn(500)
    score = score.round(1)
    middle = [at / 10 for at in range(11)]
    positive = [float(outcome[score == one].sum()) for one in middle]
    labelled = [float((score == one).sum()) for one in middle]
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(score, outcome).predict(middle)
    assert shares(middle, positive, labelled) == pytest.approx(expected.tolist())


def test_bins_without_a_label_lie_between_their_neighbours():
    """What was never seen is guessed from what was, and held at the ends."""
    assert shares([0.1, 0.3, 0.5, 0.7], [0, 2, 0, 0], [0, 10, 0, 0]) == [0.2] * 4
    assert shares([0.2, 0.4, 0.6], [0, 0, 5], [10, 0, 10]) == pytest.approx([0.0, 0.25, 0.5])


def test_it_runs_by_itself():
    """The program needs nothing but its file: a request goes in, an answer comes out."""
    request = [{"score": [0.2, 0.8], "positive": [1, 6], "labelled": [10, 10]}] * 2
    done = subprocess.run(PROGRAM, input=json.dumps(request), capture_output=True, text=True, check=True, cwd="/")
    assert json.loads(done.stdout) == [[0.1, 0.6]] * 2
    assert not done.stderr


def test_it_steps_back_for_all_others():
    """It yields the processor, and is the first to be ended where memory runs short: the exporter goes on."""
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        wanted, until = Path(f"/proc/{child.pid}/oom_score_adj"), time.monotonic() + 20
        while wanted.read_text() != "1000\n" and time.monotonic() < until:
            time.sleep(0.01)
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert wanted.read_text() == "1000\n"
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(19, own + 10)
        assert child.communicate(b"[]", 20)[0] == b"[]"
