"""All gauges of one model, from a window of many rows, against scikit-learn on the same rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np

from exporter.contracts import ModelSpec, Scored, WindowSpec
from exporter.families.quality import Quality
from exporter.pipeline.tally import Stretches, Tally

WINDOW = WindowSpec(name="1h", seconds=3600)
NAMES = {"class": ["0", "1"], "error": []}


def rows(count: int) -> Scored:
    rng = np.random.default_rng(3)
    actual = (rng.random(count) < 0.3).astype(np.int32)
    predicted = np.where(rng.random(count) < 0.9, actual, 1 - actual).astype(np.int32)
    time_ = np.sort(rng.random(count)) * 3500.0
    zero = np.zeros(count)
    return Scored(
        sign=np.ones(count, np.int8),
        slot=np.arange(count),
        group=np.zeros(count, np.int32),
        actual=actual,
        predicted=predicted,
        score=zero,
        time=time_,
        label_time=time_,
    )


def filled(scored: Scored) -> Tally:
    tally = Tally(Quality(ModelSpec(name="m", positive="1", classes=("0", "1"))), [WINDOW])
    tally.add(scored, Stretches(scored.label_time))
    tally.advance(float(scored.label_time[-1]))
    return tally


def refresh(count: int) -> float:
    """CPU seconds to make all gauges of a window of *count* rows."""
    tally = filled(rows(count))

    def once() -> None:
        tally.advance(3500.0)
        tally.family.window_values(NAMES, tally.inside("1h", 0))

    return best(once, 100)


def scikit_learn(count: int) -> float:
    """CPU seconds of the same numbers from the rows."""
    from sklearn import metrics

    scored = rows(count)
    y, p = scored.actual, scored.predicted

    def once() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metrics.accuracy_score(y, p)
            for average in ("binary", "micro", "macro", "weighted"):
                metrics.precision_recall_fscore_support(y, p, average=average)
            metrics.confusion_matrix(y, p)

    return best(once, 1)


def best(call: Callable[[], None], repeat: int) -> float:
    """The least CPU time of one call in twenty runs of *repeat* calls."""
    times = []
    for _ in range(20):
        begun = time.process_time()
        for _ in range(repeat):
            call()
        times.append((time.process_time() - begun) / repeat)
    return min(times)
