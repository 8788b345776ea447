"""The program of a child process: shares of positives that grow with the score, by isotonic regression on bins.

    python -P isotonic.py < request > answer

scikit-learn costs over 100 MB and a second to import, which no exporter carries along for a fit now and then.  This
file imports nothing of the exporter, so that it runs wherever the exporter does.  The request is a JSON list of
histories, each with a number per bin of scores: `score` (within the bin), `positive` and `labelled` (how many); the
answer a list of as many lists with the share of positives for each bin.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

LONGEST = 300
"""Seconds after which it ends itself, so that it never stays behind if nobody is left to end it."""


def shares(score: list[float], positive: list[float], labelled: list[float]) -> list[float]:
    """The share of positives in every bin; those without a label lie on the line between their neighbours.

    Definition: `sklearn.isotonic.IsotonicRegression`, weighted by the number of labels.  Since it depends on nothing
    but the order of scores, the bins lose only what is ordered within one.
    """
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - in the child only

    used = [at for at, count in enumerate(labelled) if count > 0]
    fit = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    fit.fit([score[at] for at in used], [positive[at] / labelled[at] for at in used], [labelled[at] for at in used])
    predicted: list[float] = fit.predict(score).tolist()
    return predicted


def main() -> None:
    os.nice(10)  # what is waited for by nobody takes nothing from those who wait
    signal.alarm(LONGEST)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs short, it ends and not the exporter
    request: list[dict[str, Any]] = json.load(sys.stdin)
    json.dump([shares(**history) for history in request], sys.stdout)


if __name__ == "__main__":
    main()
