"""Whatever is predicted, however labels come: the join's rules hold, and corrections leave what a recount gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, RankingSpec, RegressionSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import config, model, samples, shown
from tests.logs import Logs
from tests.oracle import Oracle

AT = 1e9
HORIZON = 50.0
TASKS = {
    "regression": (
        ModelSpec(name="m", task="regression", regression=RegressionSpec(residual_buckets=(-1.0, 0.0))),
        [0.0, 1.0, 2.5, -0.0],
    ),
    "multilabel": (
        ModelSpec(name="m", task="multilabel", classes=("a", "b", "c")),
        [[], ["a"], ["a", "b"], ["b", "a"], {"c": 1}],
    ),
    "ranking": (
        ModelSpec(name="m", task="ranking", ranking=RankingSpec(depth=3, relevant=3, cutoffs=(1, 3))),
        [[], ["x"], ["y", "x"], ["x", "y"], ["z", "x", "y"]],
    ),
}
ids = st.integers(0, 4)
place = st.integers(0, 4)


@st.composite
def cycles(draw):
    """Predictions (id, time, value) and labels (id, time, value) of some cycles; values by their place in a list."""
    count = draw(st.integers(1, 5))
    made = st.tuples(ids, st.integers(0, 5), place)
    told = st.tuples(ids, st.integers(0, 70), place)
    return [(draw(st.lists(made, max_size=4)), draw(st.lists(told, max_size=6))) for _ in range(count)]


def same(value):
    """What tells two values apart."""
    if isinstance(value, dict):
        return frozenset(name for name, flag in value.items() if flag)
    return frozenset(value) if isinstance(value, list) else value + 0.0


def fed(spec, steps):
    """A model that was given *steps* of (predictions, labels)."""
    words = {word: getattr(spec, word) for word in ("task", "classes", "regression", "ranking")}
    setting = config(model("m", horizon=HORIZON, windows=["3600s", "last 3"], **words))
    pipeline, logs = Pipeline(setting, State(None)), Logs(spec)
    for made, told in steps:
        pipeline.absorb(
            [
                logs.predictions(*({"id": one, "time": AT + at, "predicted": value} for one, at, value in made)),
                logs.labels(*({"id": one, "time": AT + at, "actual": value} for one, at, value in told)),
            ]
        )
    return pipeline


def measured(pipeline):
    """Counters less what was taken back, and the gauges of the window by time; never a joins' count."""
    found = samples(shown(pipeline))
    net = {}
    for (name, labels), value in found.items():
        if name.endswith("_retracted_total"):
            at = name.replace("_retracted_total", "_total"), labels
            net[at] = found[at] - value
        elif ("window", "3600s") in labels:
            net[name, labels] = value
    return net


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_corrections_leave_what_a_recount_gives(task, data):
    """Counters net of their twins, and the windows, are those of the predictions and standing labels alone."""
    spec, values = TASKS[task]
    drawn = data.draw(cycles())
    steps = [
        tuple([(one, at, values[where % len(values)]) for one, at, where in side] for side in step) for step in drawn
    ]
    oracle = Oracle(horizon=HORIZON)
    for made, told in steps:
        oracle.step([(one, at, "g", same(value)) for one, at, value in made],
                    [(one, at, same(value)) for one, at, value in told])  # fmt: skip
    pipeline = fed(spec, steps)
    results = {word: count for word, count in pipeline.ledgers["m"].results.items() if count}
    results.pop("expired", None)
    assert results == {word: count for word, count in oracle.results.items() if count}
    first = {}
    for made, _ in steps:
        for one, at, value in made:
            first.setdefault(one, (one, at, value))
    standing = [(one, label.since, label.actual) for one, label in oracle.known.items()]
    written = [(one, at, sorted(value) if isinstance(value, frozenset) else value) for one, at, value in standing]
    assert measured(pipeline) == pytest.approx(measured(fed(spec, [([*first.values()], written)])), abs=1e-9)
