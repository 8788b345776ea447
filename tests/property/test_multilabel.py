"""Multilabel quality against scikit-learn, for any sets of labels."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.contracts import ModelSpec, Scored
from exporter.families.multilabel import Multilabel
from exporter.families.quality import MEASURES
from tests.scored import sums as added_up

sklearn = pytest.importorskip("sklearn.metrics")
SCORES = {"precision": "precision_score", "recall": "recall_score", "f1": "f1_score"}


@st.composite
def cases(draw):
    labels = draw(st.integers(1, 6))
    one = st.integers(0, 2**labels - 1)
    return labels, draw(st.lists(st.tuples(one, one), min_size=1, max_size=30))


def sets(values):
    out = np.zeros(len(values), [("labels", "<u8")])
    out["labels"] = values
    return out


def scored(rows):
    count = len(rows)
    zero, code = np.zeros(count), np.zeros(count, np.int32)
    return Scored(
        sign=np.ones(count, np.int8), slot=np.arange(count), group=code, actual=code, predicted=code, score=zero,
        time=zero, label_time=zero, made=sets([p for _, p in rows]), truth=sets([a for a, _ in rows]),
    )  # fmt: skip


def matrices(labels, rows):
    """Indicator matrices of what is true and what was predicted."""
    sides = zip(*rows, strict=True)
    return (np.array([[value >> bit & 1 for bit in range(labels)] for value in side]) for side in sides)


def sums(family, rows):
    return added_up(family, scored(rows))


def asked(measure, actual, predicted, **words):
    """What scikit-learn answers, NaN where it warns that it is ill-defined."""
    from sklearn.exceptions import UndefinedMetricWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        try:
            return float(getattr(sklearn, SCORES[measure])(actual, predicted, **words))
        except UndefinedMetricWarning:
            return math.nan


def same(ours, theirs):
    return (math.isnan(ours) and math.isnan(theirs)) or math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-12)


@settings(max_examples=100, deadline=None)
@given(cases())
@example((1, [(0, 0)]))
@example((3, [(0, 1), (1, 0)]))
@example((3, [(7, 7), (1, 3)]))
def test_averages_are_scikit_learns(case):
    """All averages of precision, recall and F1, subset accuracy and the Hamming loss."""
    labels, rows = case
    family = Multilabel(ModelSpec(name="m", task="multilabel", max_classes=8))
    names = {"class": ["any"], "error": [], "label": [f"label {bit}" for bit in range(labels)]}
    series, values = family.window_series(names), family.window_values(names, sums(family, rows))
    gauges = {(of.metric, *of.labels): value for of, value in zip(series, values, strict=True)}
    actual, predicted = matrices(labels, rows)
    assert gauges["model_window_labelled_predictions",] == len(rows)
    right = sum(a == p for a, p in rows) / len(rows)
    assert same(gauges["model_accuracy_ratio",], right)
    if labels > 1:
        assert same(right, sklearn.accuracy_score(actual, predicted))
    wrong = float(np.mean(actual != predicted))
    assert same(gauges["model_hamming_loss_ratio",], wrong)
    if labels == 1:
        return  # scikit-learn takes a single column for a binary task
    assert same(wrong, sklearn.hamming_loss(actual, predicted))
    here = np.flatnonzero((actual | predicted).any(axis=0))
    for measure in MEASURES:
        for average in ("micro", "macro", "weighted"):
            # Without a true label scikit-learn weighs by nothing, and silently answers 0.
            defined = len(here) and (average != "weighted" or actual.any())
            theirs = asked(measure, actual, predicted, average=average, labels=here) if defined else math.nan
            ours = gauges[f"model_{measure}_ratio", ("average", average)]
            assert same(ours, theirs), (measure, average, ours, theirs)
        single = getattr(sklearn, SCORES[measure])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
            theirs = single(actual, predicted, average="samples", zero_division=np.nan)
        ours = gauges[f"model_{measure}_ratio", ("average", "samples")]
        assert same(ours, float(theirs)), (measure, ours, theirs)


@pytest.mark.parametrize("rest", [2.0**-54, -(2.0**-54)])
def test_a_rounding_that_was_left_behind_is_no_score(rest):
    """Once every set that had a true label was corrected to an empty one, recall over samples is undefined."""
    family = Multilabel(ModelSpec(name="m", task="multilabel", max_classes=8))
    names = {"class": ["any"], "error": [], "label": ["one", "other"]}
    counts = sums(family, [(0, 1), (0, 0)])
    counts[family.sums : family.kinds] += rest
    gauges = dict(zip(family.window_series(names), family.window_values(names, counts), strict=True))
    of_samples = {of.metric: value for of, value in gauges.items() if of.labels == (("average", "samples"),)}
    assert math.isnan(of_samples["model_recall_ratio"])
    assert of_samples["model_precision_ratio"] == pytest.approx(0, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(cases(), cases())
def test_counters_are_scikit_learns_confusion(added, retracted):
    """Outcomes per label, and right and wrong sets, on both sides."""
    labels = max(added[0], retracted[0])
    family = Multilabel(ModelSpec(name="m", task="multilabel", classes=tuple(map(str, range(labels)))))
    names = {"class": ["any"], "error": [], "label": [*map(str, range(labels))]}
    both = sums(family, added[1]), sums(family, retracted[1])
    values = family.values(names, *both)
    counters = {(of.metric, *of.labels): value for of, value in zip(family.series(names), values, strict=True)}
    for kind, rows in (("", added[1]), ("_retracted", retracted[1])):
        actual, predicted = matrices(labels, rows)
        for label in range(labels):
            a, p = actual[:, label], predicted[:, label]
            matrix = sklearn.confusion_matrix(a, p, labels=[0, 1])
            for outcome, count in zip(("tn", "fp", "fn", "tp"), matrix.ravel(), strict=True):
                at = (f"model_outcomes{kind}_total", ("class", str(label)), ("outcome", outcome))
                assert counters[at] == count
        right = sum(a == p for a, p in rows)
        assert counters[f"model_labelled_predictions{kind}_total", ("correct", "true")] == right
        assert counters[f"model_labelled_predictions{kind}_total", ("correct", "false")] == len(rows) - right
        for measure in MEASURES:
            count = counters[f"model_sample_scores{kind}_total", ("measure", measure)]
            total = counters[f"model_sample_score_sum{kind}_total", ("measure", measure)]
            assert 0 <= total <= count + 1e-9
            assert count <= len(rows)
