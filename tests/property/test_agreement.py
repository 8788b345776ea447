"""Further measures of the confusion matrix against scikit-learn, to 1e-12, for any labels."""

from __future__ import annotations

import math
import warnings

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning

from exporter.contracts import ModelSpec
from exporter.families.quality import Quality
from tests.scored import gauges, rows, sums

BETAS = (0.5, 2.0)


@st.composite
def labelled(draw):
    """(number of classes, actual, predicted), often of few of the classes, sometimes of one."""
    classes = draw(st.integers(2, 8))
    some = st.integers(0, draw(st.integers(0, classes - 1)))
    pairs = draw(st.lists(st.tuples(some, some), min_size=1, max_size=40))
    return classes, [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def measured(spec, actual, predicted):
    family = Quality(spec)
    scored = rows(actual, np.zeros(len(actual)))
    object.__setattr__(scored, "predicted", np.array(predicted, np.int32))
    return gauges(family, sums(family, scored), {"class": list(spec.classes), "error": []})


def asked(function, *arguments, **words):
    """What scikit-learn answers, or NaN where it warns that the answer is ill-defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        warnings.filterwarnings("ignore", message="(A single label|y_pred contains classes)")
        try:
            return float(function(*arguments, **words))
        except UndefinedMetricWarning:
            return math.nan


def same(ours, theirs):
    return (math.isnan(ours) and math.isnan(theirs)) or math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-12)


def correlation(actual, predicted):
    """scikit-learn answers 0 where one side is constant; there it is undefined."""
    if len(set(actual)) < 2 or len(set(predicted)) < 2:
        return math.nan
    return asked(metrics.matthews_corrcoef, actual, predicted)


def outcomes(actual, predicted, classes):
    """tn, fp, fn and tp of every class that occurs, shape (m, 4), and its rows."""
    here = sorted({*actual, *predicted})
    matrices = metrics.multilabel_confusion_matrix(actual, predicted, labels=range(classes))[here]
    return matrices.reshape(-1, 4).astype(float)


def averaged(upper, lower, weights=None):
    return float(np.average(upper / lower, weights=weights)) if lower.all() else math.nan


@settings(max_examples=100, deadline=None)
@given(labelled())
@example((2, [0, 0], [0, 0]))
@example((3, [0, 1], [1, 0]))
@example((3, [0, 0], [1, 2]))
def test_several_classes(case):
    """Agreement beyond chance, balanced accuracy, F-beta and error rates of any number of classes."""
    classes, actual, predicted = case
    names = tuple(f"class {number}" for number in range(classes))
    got = measured(ModelSpec(name="m", task="multiclass", classes=names, betas=BETAS), actual, predicted)
    assert same(got["model_matthews_correlation_coefficient"], correlation(actual, predicted))
    assert same(got["model_cohen_kappa"], asked(metrics.cohen_kappa_score, actual, predicted))
    assert same(got["model_balanced_accuracy_ratio"], asked(metrics.balanced_accuracy_score, actual, predicted))
    tn, fp, fn, tp = outcomes(actual, predicted, classes).T
    for average, weights in (("macro", None), ("weighted", tp + fn)):
        for beta in BETAS:
            theirs = asked(metrics.fbeta_score, actual, predicted, beta=beta, average=average)
            assert same(got["model_f_beta_ratio", average, f"{beta:g}"], theirs)
        assert same(got["model_specificity_ratio", average], averaged(tn, tn + fp, weights))
        assert same(got["model_false_positive_ratio", average], averaged(fp, fp + tn, weights))
        assert same(got["model_false_negative_ratio", average], averaged(fn, fn + tp, weights))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=20), st.integers(0, 1))
@example([(0, 0)], 1)
@example([(1, 1)], 1)
@example([(1, 0)], 1)
@example([(0, 1)], 1)
def test_two_classes(pairs, positive):
    """Error rates and F-beta are about the positive class; what is symmetric does not ask which that is."""
    actual, predicted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    spec = ModelSpec(name="m", positive=str(positive), classes=("0", "1"), betas=BETAS)
    got = measured(spec, actual, predicted)
    specificity = asked(metrics.recall_score, actual, predicted, pos_label=1 - positive, average="binary")
    recall = asked(metrics.recall_score, actual, predicted, pos_label=positive, average="binary")
    assert same(got["model_specificity_ratio", "binary"], specificity)
    assert same(got["model_false_positive_ratio", "binary"], 1 - specificity)
    assert same(got["model_false_negative_ratio", "binary"], 1 - recall)
    assert same(got["model_matthews_correlation_coefficient"], correlation(actual, predicted))
    assert same(got["model_cohen_kappa"], asked(metrics.cohen_kappa_score, actual, predicted))
    for beta in BETAS:
        theirs = asked(metrics.fbeta_score, actual, predicted, beta=beta, pos_label=positive)
        assert same(got["model_f_beta_ratio", "binary", f"{beta:g}"], theirs)


@settings(max_examples=100, deadline=None)
@given(labelled(), st.data())
def test_costs_are_added_up(case, data):
    """The expected cost is the mean of what each row costs; pairs that the config leaves out cost nothing."""
    classes, actual, predicted = case
    names = tuple(f"class {number}" for number in range(classes))
    some = st.dictionaries(st.sampled_from(names), st.floats(-100, 100), max_size=3)
    costs = data.draw(st.dictionaries(st.sampled_from(names), some, min_size=1, max_size=4))
    got = measured(ModelSpec(name="m", task="multiclass", classes=names, costs=costs), actual, predicted)
    each = [costs.get(names[a], {}).get(names[p], 0.0) for a, p in zip(actual, predicted, strict=True)]
    assert math.isclose(got["model_expected_cost"], math.fsum(each) / len(each), abs_tol=1e-9)
