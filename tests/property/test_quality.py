"""Quality against scikit-learn, to 1e-12, for any labels: where scikit-learn warns, ours is undefined."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, Scored
from exporter.families.quality import MEASURES, Quality

sklearn = pytest.importorskip("sklearn.metrics")


@st.composite
def labelled(draw):
    """(number of classes, actual, predicted), often of few of the classes, sometimes of one."""
    classes = draw(st.integers(1, 12))
    some = st.integers(0, draw(st.integers(0, classes - 1)))
    rows = draw(st.lists(st.tuples(some, some), max_size=40))
    return classes, [row[0] for row in rows], [row[1] for row in rows]


def scored(actual, predicted, sign=None):
    count = len(actual)
    return Scored(
        sign=np.ones(count, np.int8) if sign is None else np.array(sign, np.int8),
        slot=np.arange(count),
        group=np.zeros(count, np.int32),
        actual=np.array(actual, np.int32),
        predicted=np.array(predicted, np.int32),
        score=np.full(count, np.nan),
        time=np.zeros(count),
        label_time=np.zeros(count),
    )


def sums(family, rows, sign=1):
    cells = family.cells(rows)
    assert cells.weight is None
    assert cells.row is None
    return np.bincount(cells.local[rows.sign == sign], minlength=family.size).astype(float)


def names(classes):
    return {"class": [f"class {number}" for number in range(classes)], "error": []}


def keyed(series, values):
    return {(one.metric, *one.labels): value for one, value in zip(series, values, strict=True)}


def asked(function, *arguments, **words):
    """What scikit-learn answers, or NaN where it warns that the answer is ill-defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", sklearn_warning())
        try:
            return float(function(*arguments, **words))
        except sklearn_warning():
            return math.nan


def sklearn_warning():
    from sklearn.exceptions import UndefinedMetricWarning

    return UndefinedMetricWarning


def same(ours, theirs):
    return (math.isnan(ours) and math.isnan(theirs)) or math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-12)


def check(gauges, actual, predicted, averages, **binary):
    score = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}
    for measure in MEASURES:
        for average in averages:
            words = binary if average == "binary" else {}
            theirs = asked(score[measure], actual, predicted, average=average, **words)
            ours = gauges[f"model_{measure}_ratio", ("average", average)]
            assert same(ours, theirs), (measure, average, ours, theirs)


@settings(max_examples=100, deadline=None)
@given(labelled())
@example((3, [0, 0], [0, 0]))
@example((3, [0, 1], [1, 0]))
@example((2, [], []))
def test_averages_are_scikit_learns(case):
    """Accuracy, and precision, recall and F1 in all averages, over the classes present in the window."""
    classes, actual, predicted = case
    family = Quality(ModelSpec(name="m", task="multiclass", classes=tuple(names(classes)["class"])))
    gauges = keyed(
        family.window_series(names(classes)),
        family.window_values(names(classes), sums(family, scored(actual, predicted))),
    )
    assert gauges["model_window_labelled_predictions",] == len(actual)
    if not actual:
        assert all(math.isnan(value) for name, value in gauges.items() if name[0].endswith("_ratio"))
        return
    assert same(gauges["model_accuracy_ratio",], sklearn.accuracy_score(actual, predicted))
    check(gauges, actual, predicted, ("micro", "macro", "weighted"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20), st.integers(0, 1))
@example([(0, 0)], 1)
@example([(1, 0)], 1)
@example([(0, 1)], 1)
def test_the_positive_class_is_measured_as_scikit_learn_does(rows, positive):
    """`average="binary"` is about the positive class alone, also when it does not occur."""
    actual, predicted = [row[0] for row in rows], [row[1] for row in rows]
    spec = ModelSpec(name="m", task="binary", positive=f"class {positive}", classes=("class 0", "class 1"))
    family = Quality(spec)
    gauges = keyed(
        family.window_series(names(2)), family.window_values(names(2), sums(family, scored(actual, predicted)))
    )
    check(gauges, actual, predicted, ("binary", "micro", "macro", "weighted"), pos_label=positive)


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=200, deadline=None)
@given(labelled(), st.data())
def test_counters_are_scikit_learns_confusion(case, data):
    """Confusion and outcomes per class are exact, on the added and on the retracted side."""
    classes, actual, predicted = case
    sign = data.draw(st.lists(st.sampled_from([1, -1]), min_size=len(actual), max_size=len(actual)))
    rows = scored(actual, predicted, sign)
    family = Quality(ModelSpec(name="m", task="multiclass", max_classes=classes + 2))
    known = names(classes)
    counters = keyed(family.series(known), family.values(known, sums(family, rows), sums(family, rows, -1)))
    for side, number in (("", 1), ("_retracted", -1)):
        mine = rows.sign == number
        y, p = rows.actual[mine], rows.predicted[mine]
        confusion = sklearn.confusion_matrix(y, p, labels=range(classes)) if len(y) else np.zeros((classes, classes))
        for a in range(classes):
            for b in range(classes):
                at = (f"model_confusion{side}_total", ("actual", f"class {a}"), ("predicted", f"class {b}"))
                assert counters[at] == confusion[a, b]
        if len(y):
            for number_, ((tn, fp), (fn, tp)) in enumerate(
                sklearn.multilabel_confusion_matrix(y, p, labels=range(classes))
            ):
                for outcome, count in (("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn)):
                    at = (f"model_outcomes{side}_total", ("class", f"class {number_}"), ("outcome", outcome))
                    assert counters[at] == count
        assert counters[f"model_labelled_predictions{side}_total", ("correct", "true")] == int((y == p).sum())
        assert counters[f"model_labelled_predictions{side}_total", ("correct", "false")] == int((y != p).sum())


@settings(max_examples=100, deadline=None)
@given(labelled(), st.integers(0, 12))
def test_classes_beyond_the_shown_ones_are_added_up(case, shown):
    """The folded confusion loses no row, and what is shown of it is as in the whole one."""
    classes, actual, predicted = case
    spec = ModelSpec(name="m", task="multiclass", classes=tuple(names(classes)["class"]), confusion_classes=shown)
    family = Quality(spec)
    zero = np.zeros(family.size)
    counters = keyed(
        family.series(names(classes)), family.values(names(classes), sums(family, scored(actual, predicted)), zero)
    )
    cells = {name[1:]: value for name, value in counters.items() if name[0] == "model_confusion_total"}
    assert len(cells) == (classes if classes <= shown else shown + 1 if shown else 0) ** 2
    if cells:
        assert sum(cells.values()) == len(actual)
    for (_, a), (_, b) in cells:
        if "other" not in {a, b}:
            expected = sum(f"class {y}" == a and f"class {p}" == b for y, p in zip(actual, predicted, strict=True))
            assert cells[("actual", a), ("predicted", b)] == expected
