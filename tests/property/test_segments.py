"""Quality by group and fairness: fairlearn's and scikit-learn's, to 1e-12, where those are defined."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, Scored, SegmentSpec
from exporter.families.segments import Segments

fairlearn = pytest.importorskip("fairlearn.metrics")
sklearn = pytest.importorskip("sklearn.metrics")

GROUPS = ("other", "A", "B", "C")
FAIRNESS = {
    "demographic_parity_difference": ("selection_rate",),
    "demographic_parity_ratio": ("selection_rate",),
    "equal_opportunity_difference": ("true_positive_rate",),
    "equal_opportunity_ratio": ("true_positive_rate",),
    "equalized_odds_difference": ("true_positive_rate", "false_positive_rate"),
    "equalized_odds_ratio": ("true_positive_rate", "false_positive_rate"),
}
"""What fairlearn calls a measure, and the rates of groups that it compares."""


@st.composite
def cases(draw, classes=2):
    """Rows (actual, predicted, group), often of few groups."""
    code = st.integers(0, classes - 1)
    groups = st.integers(draw(st.integers(0, 1)), draw(st.integers(1, len(GROUPS) - 1)))
    return draw(st.lists(st.tuples(code, code, groups), min_size=1, max_size=60))


def family(minimum=1, task="binary", classes=2, attributes=1):
    names = tuple(map(str, range(classes)))
    segments = tuple(SegmentSpec(name=f"x{at}", top=4, min_group_size=minimum) for at in range(attributes))
    positive = "1" if task == "binary" else None
    return Segments(ModelSpec(name="m", task=task, classes=names, positive=positive, segments=segments))


def names(one):
    classes = [str(at) for at in range(one.classes)]
    return {"class": classes, "error": []} | {spec.vocabulary: list(GROUPS) for spec in one.attributes}


def scored(rows, sign=None):
    """*rows* of actual, predicted and the codes of all attributes."""
    table = np.array(rows, np.int32).reshape(len(rows), -1)
    made = np.zeros(len(rows), [("segments", "<u2", (table.shape[1] - 2,))])
    made["segments"] = table[:, 2:]
    zero = np.zeros(len(rows))
    return Scored(
        sign=np.ones(len(rows), np.int8) if sign is None else np.array(sign, np.int8), slot=np.arange(len(rows)),
        group=np.zeros(len(rows), np.int32), actual=table[:, 0], predicted=table[:, 1], score=zero, time=zero,
        label_time=zero, made=made,
    )  # fmt: skip


def sums(one, rows):
    return np.bincount(one.cells(scored(rows)).local, minlength=one.size).astype(float)


def gauges(one, rows):
    """Every gauge by name and labels; those that are undefined are not there."""
    of = names(one)
    pairs = zip(one.window_series(of), one.window_values(of, sums(one, rows)), strict=True)
    return {(series.metric, *(value for _, value in series.labels)): v for series, v in pairs if not math.isnan(v)}


def counters(one, rows, retracted=()):
    of = names(one)
    values = one.values(of, sums(one, rows), sums(one, retracted) if retracted else np.zeros(one.size))
    return {(s.metric, *(v for _, v in s.labels)): value for s, value in zip(one.series(of), values, strict=True)}


def columns(rows):
    table = np.array(rows)
    return table[:, 0], table[:, 1], np.array(GROUPS)[table[:, 2]]


@settings(max_examples=80, deadline=None)
@given(cases(), st.integers(1, 4))
def test_fairness_is_fairlearns(rows, minimum):
    """Between all groups that are large enough; those for which a rate has no denominator do not take part in it."""
    one = family(minimum)
    sizes = Counter(group for _, _, group in rows)
    large = [row for row in rows if row[2] and sizes[row[2]] >= minimum]
    found = gauges(one, rows)
    has = {
        "selection_rate": set(),
        "true_positive_rate": {group for actual, _, group in large if actual},
        "false_positive_rate": {group for actual, _, group in large if not actual},
    }
    has["selection_rate"] = has["true_positive_rate"] | has["false_positive_rate"]
    for name, rates in FAIRNESS.items():
        ours = found.get((f"model_{name}", "x0"))
        if any(len(has[rate]) < 2 for rate in rates):
            assert ours is None
            continue
        theirs = []
        for rate in rates:
            actual, predicted, groups = columns([row for row in large if row[2] in has[rate]])
            frame = fairlearn.MetricFrame(
                metrics=getattr(fairlearn, rate), y_true=actual, y_pred=predicted, sensitive_features=groups
            )
            if name.endswith("ratio"):
                theirs.append(frame.ratio() if frame.group_max() else None)
            else:
                theirs.append(frame.difference())
        expected = None if None in theirs else (min if name.endswith("ratio") else max)(theirs)
        assert ours == (None if expected is None else pytest.approx(expected, abs=1e-12)), name


@settings(max_examples=25, deadline=None)
@given(cases())
def test_the_measures_bear_fairlearns_names(rows):
    """Where every group has positives and negatives, fairlearn's function of the same name gives the same number."""
    every = [*rows, *((actual, predicted, group) for actual in (0, 1) for predicted in (0, 1) for group in (1, 2))]
    every = [row for row in every if row[2] in {1, 2}]
    actual, predicted, groups = columns(every)
    found = gauges(family(), every)
    for name in FAIRNESS:
        theirs = getattr(fairlearn, name)(actual, predicted, sensitive_features=groups)
        assert found[f"model_{name}", "x0"] == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 4))
def test_a_group_is_measured_as_the_whole(rows, minimum):
    """Each of its measures is scikit-learn's (and fairlearn's) of the group's rows; small groups have none."""
    found = gauges(family(minimum), rows)
    for code, group in enumerate(GROUPS):
        mine = [row for row in rows if row[2] == code]
        assert found["model_segment_window_labelled_predictions", "x0", group] == len(mine)
        expected = {}
        if mine and len(mine) >= minimum:
            y, p, _ = columns(mine)
            expected = {"accuracy": sklearn.accuracy_score(y, p), "selection": fairlearn.selection_rate(y, p)}
            if p.any():
                expected["precision"] = sklearn.precision_score(y, p)
            if y.any():
                expected["recall"] = fairlearn.true_positive_rate(y, p)
            if (1 - y).any():
                expected["false_positive"] = fairlearn.false_positive_rate(y, p)
            if y.any() or p.any():
                expected["f1"] = sklearn.f1_score(y, p)
        ours = {
            name[0].removeprefix("model_segment_").removesuffix("_ratio"): value
            for name, value in found.items()
            if name[0].endswith("_ratio") and name[1:3] == ("x0", group)
        }
        assert ours == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(cases(classes=4))
def test_of_several_classes_the_mean_over_those_present(rows):
    """Precision, recall and F1 are macro averages over the group's classes, undefined as soon as one of them is."""
    found = gauges(family(task="multiclass", classes=4), rows)
    for code, group in enumerate(GROUPS):
        mine = [row for row in rows if row[2] == code]
        y, p, _ = columns(mine) if mine else ([], [], [])
        for measure, defined in (("precision", set(y) <= set(p)), ("recall", set(p) <= set(y)), ("f1", True)):
            ours = found.get((f"model_segment_{measure}_ratio", "x0", group, "macro"))
            if not mine or not defined:
                assert ours is None
            else:
                theirs = getattr(sklearn, f"{measure}_score")(y, p, average="macro", zero_division=0)
                assert ours == pytest.approx(theirs, abs=1e-12)
    assert not any("parity" in name[0] or "odds" in name[0] for name in found)


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=100, deadline=None)
@given(cases(classes=3), cases(classes=3), st.data())
def test_counters_are_outcomes_of_every_group_and_attribute(rows, back, data):
    """Each class against the rest, as scikit-learn's confusion has it; groups add up to the whole, on both sides."""
    second = st.integers(0, len(GROUPS) - 1)
    rows = [(*row, data.draw(second)) for row in rows]
    back = [(*row, data.draw(second)) for row in back]
    found = counters(family(task="multiclass", classes=3, attributes=2), rows, back)
    for side, those in (("", rows), ("_retracted", back)):
        for at in (0, 1):
            for code, group in enumerate(GROUPS):
                mine = np.array([row for row in those if row[2 + at] == code]).reshape(-1, 4)
                if len(mine):
                    tables = sklearn.multilabel_confusion_matrix(mine[:, 0], mine[:, 1], labels=range(3))
                else:
                    tables = np.zeros((3, 2, 2))
                for number, ((tn, fp), (fn, tp)) in enumerate(tables):
                    for outcome, count in (("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn)):
                        key = (f"model_segment_outcomes{side}_total", f"x{at}", group, str(number), outcome)
                        assert found[key] == count


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_corrections_are_a_recount(rows, data):
    """What is left after rows were taken back and given another label is what a count of the last labels gives."""
    corrected = [data.draw(st.none() | st.integers(0, 1)) for _ in rows]
    back = [row for row, new in zip(rows, corrected, strict=True) if new is not None]
    now = [(new, *row[1:]) for row, new in zip(rows, corrected, strict=True) if new is not None]
    one = family()
    net = counters(one, [*rows, *now], back)
    last = [row if new is None else (new, *row[1:]) for row, new in zip(rows, corrected, strict=True)]
    for key, count in counters(one, last).items():
        if "_retracted" not in key[0]:
            assert net[key] - net[(key[0].replace("_total", "_retracted_total"), *key[1:])] == count
    left = sums(one, [*rows, *now]) - (sums(one, back) if back else 0)
    assert np.array_equal(left, sums(one, last))
