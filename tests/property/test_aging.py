"""Predictions that have reached an age: coverage and matured quality against a recount of all rows, cut anywhere."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, sample, samples, shown
from tests.oracle import Oracle

IDS = st.integers(0, 15)
AGES, TEXTS = (5.0, 20.0, 21.5 * 2), ("5s", "20s", "43s")
MATURITY, WINDOWS = 15.0, (30.0, 60.0)
LATER, STEP = 31 / 29, MATURITY / 359
"""How much later than at its age a prediction may count, and how wide the buckets of matured ones are."""
TIMES = st.one_of(
    st.integers(0, 60).map(float), st.floats(0, 60), st.floats(400, 460),
    st.integers(0, 8).map(lambda step: (700.5 + step) * STEP),  # several buckets of matured ones in one of the window
)  # fmt: skip
ROWS = st.lists(
    st.one_of(
        st.tuples(st.just("p"), IDS, TIMES, st.sampled_from("ab"), st.sampled_from("12")),
        st.tuples(st.just("l"), IDS, TIMES, st.sampled_from("ab")),
    ),
    max_size=12,
)
CYCLES = st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=8)
ONE_BUCKET = [
    ([("p", 1, 701.5 * STEP, "a", "1")], False),
    ([("p", 2, 700.5 * STEP, "a", "2")], False),
    ([("p", 3, 46.0, "a", "1"), ("l", 3, 46.0, "a")], False),
]
"""The older of two predictions brings a version that the newer one did not know, and both go into one bucket."""

NEIGHBOURS = [
    ([("p", one, (700.5 + one) * STEP, "a", "1") for one in range(4)], False),
    ([("p", 4, 45.0, "a", "1"), *(("l", one, 45.0, "a") for one in range(4))], False),
    ([("p", 5, 80.0, "a", "1"), ("l", 5, 80.0, "a")], False),
]
"""Several buckets of matured ones of the same version go into one bucket of each window, and fall out of it."""


class Run:
    """A pipeline that is fed cycles, and the oracle beside it; *restart* makes a new one of what was saved."""

    def __init__(self, tmp_path, name):
        self.path = tmp_path / name
        self.config = config(model(windows=("30s", "60s"), coverage_ages=AGES, maturity=MATURITY))
        self.oracle = Oracle(horizon=1e6)
        self.start()
        self.clocks = {}

    def start(self):
        self.state = State(self.path)
        self.pipeline = Pipeline(self.config, self.state)
        self.ledger = self.pipeline.ledgers["m"]

    def restart(self):
        self.state.close()
        self.start()

    def cycle(self, rows):
        made = [row[1:] for row in rows if row[0] == "p"]
        told = [row[1:] for row in rows if row[0] == "l"]
        self.pipeline.absorb(
            [
                predictions(*(P(one, time, predicted, version) for one, time, predicted, version in made)),
                labels(*(L(*row) for row in told)),
            ]
        )
        self.oracle.step([(one, time, version, predicted) for one, time, predicted, version in made], told)
        newest = max((time for time, _, _ in self.oracle.made.values()), default=-math.inf)
        for age in (*AGES, MATURITY):
            reached = max(newest - 4 * age, -math.inf if self.ledger.watermark is None else self.ledger.watermark)
            self.clocks[age] = max(self.clocks.get(age, -math.inf), reached)

    def value(self, found, name, version, **words):
        return found.get(sample(name, version=version, **words), 0)

    def first(self):
        """The delay of the first label of each prediction."""
        found = {}
        for sign, one, _, time in self.oracle.scored:
            if sign > 0:
                found.setdefault(one, time - self.oracle.made[one][0])
        return found


def check_coverage(run, found):
    first = run.first()
    for age, text in zip(AGES, TEXTS, strict=True):
        for version in "12":
            own = {one: time for one, (time, group, _) in run.oracle.made.items() if group == version}
            may = [one for one, time in own.items() if time + age <= run.clocks[age]]
            must = [one for one, time in own.items() if time + age * LATER < run.clocks[age] - 1e-6]
            for name, chosen in {
                "model_aged_predictions_total": lambda one: True,
                "model_aged_labelled_predictions_total": lambda one, age=age: first.get(one, math.inf) <= age,
            }.items():
                count = run.value(found, name, version, age=text)
                assert sum(map(chosen, must)) <= count <= sum(map(chosen, may))


def check_matured(run, found):
    clock = run.clocks[MATURITY]
    gone = math.floor(clock / STEP) - 360 if math.isfinite(clock) else -math.inf
    of_age = {one: at for one, (time, _, _) in run.oracle.made.items() if (at := math.floor(time / STEP)) <= gone}
    for version in "12":
        own = {one: at for one, at in of_age.items() if run.oracle.made[one][1] == version}
        assert run.value(found, "model_matured_predictions_total", version) == len(own)
        net = Counter()
        for correct in ("true", "false"):
            added, back = (
                run.value(found, f"model_matured_labelled_predictions{kind}_total", version, correct=correct)
                for kind in ("", "_retracted")
            )
            net[correct] = added - back
        known = run.oracle.known
        right = {one: known[one].actual == run.oracle.made[one][2] for one in own if one in known}
        assert net == Counter(true=sum(right.values()), false=len(right) - sum(right.values()))
        for window in WINDOWS:
            last = math.floor((gone + 1) * STEP / (window / 360)) if own else 0
            inside = [one for one, at in own.items() if math.floor((at + 1) * STEP / (window / 360)) > last - 360]
            value = partial(run.value, found, version=version, window=f"{window:.0f}s")
            check_window(value, inside, [right[one] for one in inside if one in right])


def check_window(value, inside, right):
    """The window holds the matured predictions *inside*; *right* says of those with a label whether they are."""
    assert value("model_matured_window_labelled_predictions") == len(right)
    if inside:
        assert value("model_matured_label_coverage_ratio") == len(right) / len(inside)
    if right:
        assert math.isclose(value("model_matured_accuracy_ratio"), sum(right) / len(right))


@settings(max_examples=60, deadline=None)
@example(ONE_BUCKET)
@example(NEIGHBOURS)
@given(CYCLES)
def test_what_has_reached_an_age_is_what_a_recount_says(tmp_path_factory, cycles):
    """However rows are cut into cycles, restarts included: none counts before its age, none is lost or doubled."""
    run = Run(tmp_path_factory.mktemp("aging"), "state")
    for rows, restart in cycles:
        run.cycle(rows)
        if restart:
            run.restart()
        run.pipeline.show()
        found = samples(shown(run.pipeline))
        check_coverage(run, found)
        check_matured(run, found)
    run.cycle([("p", "end", 1e4, "a", "1"), ("l", "end", 1e4, "a")])
    run.pipeline.show()
    found = samples(shown(run.pipeline))
    check_matured(run, found)
    check_coverage(run, found)
    made = Counter(group for one, (_, group, _) in run.oracle.made.items() if one != "end")
    for version in "12":
        for age, text in zip(AGES, TEXTS, strict=True):
            within = sum(
                delay <= age and run.oracle.made[one][1] == version
                for one, delay in run.first().items()
                if one != "end"
            )
            assert run.value(found, "model_aged_predictions_total", version, age=text) == made[version]
            assert run.value(found, "model_aged_labelled_predictions_total", version, age=text) == within
    run.state.close()
