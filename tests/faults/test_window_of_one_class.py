"""A window in which only one class occurs: what can be told is told, and what cannot is absent."""

from __future__ import annotations

import warnings

import pytest
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, sample, samples, shown


def gauges(task, *rows):
    """Ratios of a window with *rows* (actual, predicted), as "measure average" and "quality_bound measure side"."""
    words = {"task": "binary", "positive": "a", "classes": ("a", "b")} if task == "binary" else {}
    pipeline = Pipeline(config(model(windows=["60s"], **words)), State(None))
    pipeline.absorb(
        [
            predictions(*(P(one, 1.0, predicted) for one, (_, predicted) in enumerate(rows))),
            labels(*(L(one, 2.0, actual) for one, (actual, _) in enumerate(rows))),
        ]
    )
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == len(rows)
    named = {}
    for (name, pairs), value in found.items():
        if name.endswith("_ratio"):
            measure, of = name.removeprefix("model_").removesuffix("_ratio"), dict(pairs)
            words = (of[label] for label in ("average", "measure", "bound") if label in of)
            assert named.setdefault(" ".join((measure, *words)), value) is value, "two of one name"
    return named


def averages(value, *averages):
    """*value* as precision, recall and F1 of each of *averages*."""
    return {f"{measure} {average}": value for measure in ("precision", "recall", "f1") for average in averages}


def bounds(measure, value, rows):
    """Wilson's interval for a *measure* of *value* that is as uncertain as a proportion of so many *rows*."""
    lower, upper = proportion_confint(value * rows, rows, method="wilson")
    return {f"quality_bound {measure} lower": lower, f"quality_bound {measure} upper": upper}


def test_only_the_positive_class():
    """All right, all positive: every ratio is 1 and misses are 0; what is about negatives is absent."""
    assert gauges("binary", ("a", "a"), ("a", "a")) == pytest.approx(
        averages(1, "binary", "micro", "macro", "weighted")
        | {"accuracy": 1, "balanced_accuracy": 1, "false_negative binary": 0}
        | bounds("accuracy", 1, 2) | bounds("precision", 1, 2) | bounds("recall", 1, 2) | bounds("f1", 1, 4)
    )  # fmt: skip


def test_only_the_negative_class():
    """What is about the positive class is absent; the averages are about the other."""
    assert gauges("binary", ("b", "b"), ("b", "b")) == pytest.approx(
        averages(1, "micro", "macro", "weighted")
        | {"accuracy": 1, "balanced_accuracy": 1, "specificity binary": 1, "false_positive binary": 0}
        | bounds("accuracy", 1, 2)
    )


def test_one_actual_class_and_another_predicted():
    """Recall of a class that never occurred is undefined, and so is every average that needs it."""
    assert gauges("multiclass", ("a", "b"), ("a", "a")) == pytest.approx(
        {
            "accuracy": 0.5, "precision micro": 0.5, "recall micro": 0.5, "f1 micro": 0.5,
            "precision macro": 0.5, "precision weighted": 1.0, "f1 macro": 1 / 3, "f1 weighted": 2 / 3,
            "balanced_accuracy": 0.5,
        }
        # The effective rows of a mean of ratios 1 and 0 over one row each, half of those of 2/3 and 0 over 9/4, 1/2.
        | bounds("accuracy", 1 / 2, 2) | bounds("precision", 1 / 2, 9 / 4)
        | bounds("f1", 1 / 3, 2 * (42 / 85) * (43 / 85) / (70 / 289 * 4 / 9 + 6 / 25 * 2))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("task", "rows"),
    [
        ("binary", [("a", "a"), ("a", "a")]),
        ("binary", [("b", "b"), ("b", "b")]),
        ("multiclass", [("a", "b"), ("a", "a")]),
    ],
)
def test_what_is_told_is_what_scikit_learn_says(task, rows):
    """Every ratio of such a window but the bounds equals scikit-learn's, of the classes that occur."""
    actual, predicted = zip(*rows, strict=True)
    found = {name: value for name, value in gauges(task, *rows).items() if not name.startswith("quality_bound")}
    assert found == pytest.approx({name: of_scikit_learn(name, actual, predicted) for name in found})


def of_scikit_learn(name, actual, predicted):
    """A ratio by its name; those about negatives are recalls of the other class, or what they lack to 1."""
    measure, _, average = name.partition(" ")
    if measure in ("accuracy", "balanced_accuracy"):
        with warnings.catch_warnings(action="ignore"):  # of a class that was only predicted
            return getattr(metrics, f"{measure}_score")(actual, predicted)
    rest = measure.startswith("false")
    of = {"specificity": "recall", "false_positive": "recall", "false_negative": "recall"}.get(measure, measure)
    positive = "b" if measure in ("specificity", "false_positive") else "a"
    words = {"average": average, "zero_division": 0, "pos_label": positive if average == "binary" else 1}
    value = getattr(metrics, f"{of}_score")(actual, predicted, **words)
    return 1 - value if rest else value


def test_an_empty_window():
    """No row, no ratio: no data is not zero."""
    pipeline = Pipeline(config(model(windows=["60s"])), State(None))
    pipeline.absorb([predictions(P(1))])
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == 0
    assert not [name for name, _ in found if name.endswith("_ratio")]
