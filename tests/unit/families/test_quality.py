"""Quality in cases that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exporter.contracts import ModelSpec
from exporter.families.quality import Quality

NAMES = {"class": ["legit", "fraud"], "error": []}


def family(**words):
    return Quality(
        ModelSpec(name="m", **{"task": "binary", "positive": "fraud", "classes": ("legit", "fraud"), **words})
    )


def gauges(one, counts, names=NAMES):
    values = one.window_values(names, np.array(counts, float))
    return {
        (series.metric.removeprefix("model_"), *(value for _, value in series.labels)): value
        for series, value in zip(one.window_series(names), values, strict=True)
    }


def test_the_textbook_case():
    """3 of 4 frauds found, 1 false alarm among 6: precision 3/4, recall 3/4, accuracy 8/10."""
    seen = gauges(family(), [5, 1, 1, 3])
    assert seen["window_labelled_predictions",] == 10
    assert seen["accuracy_ratio",] == 0.8
    assert [seen[f"{measure}_ratio", "binary"] for measure in ("precision", "recall", "f1")] == [0.75] * 3
    assert seen["precision_ratio", "macro"] == (0.75 + 5 / 6) / 2
    assert seen["recall_ratio", "weighted"] == pytest.approx(0.4 * 0.75 + 0.6 * 5 / 6, abs=1e-15)
    assert seen["f1_ratio", "micro"] == 0.8


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        ([4, 0, 0, 0], {"precision_ratio", "recall_ratio", "f1_ratio", "false_negative_ratio"}),
        ([4, 0, 2, 0], {"precision_ratio"}),
        ([4, 2, 0, 0], {"recall_ratio", "false_negative_ratio"}),
        ([0, 0, 0, 4], {"specificity_ratio", "false_positive_ratio"}),
    ],
    ids=["no positive at all", "none found", "only false alarms", "only positives"],
)
def test_undefined_is_not_zero(counts, undefined):
    """A ratio over nothing is undefined, the others are told."""
    seen = gauges(family(), counts)
    assert {name for (name, *rest), value in seen.items() if rest == ["binary"] and math.isnan(value)} == undefined


@pytest.mark.parametrize("rows", [1, 123_456_789, 881_390_281, 10**12 + 7])
def test_agreement_beyond_chance_is_undefined_for_one_class_however_many_rows(rows):
    """Squares beyond what a float holds exactly leave no rounding that would pass for a correlation."""
    for counts in ([rows, 0, 0, 0], [0, 0, 0, rows], [rows, rows // 3, 0, 0]):
        seen = gauges(family(), counts)
        assert math.isnan(seen["matthews_correlation_coefficient",])
    assert math.isnan(gauges(family(), [rows, 0, 0, 0])["cohen_kappa",])


def test_an_average_over_an_undefined_class_is_undefined():
    """Macro precision needs every present class to have been predicted; an absent class is not asked."""
    spec = family(task="multiclass", positive=None, classes=("a", "b", "c"))
    names = {"class": ["a", "b", "c"], "error": []}
    never_predicted = gauges(spec, [3, 0, 0, 1, 0, 0, 0, 0, 0], names)
    assert math.isnan(never_predicted["precision_ratio", "macro"])
    assert never_predicted["recall_ratio", "macro"] == 0.5
    absent = gauges(spec, [3, 1, 0, 1, 3, 0, 0, 0, 0], names)
    assert absent["precision_ratio", "macro"] == 0.75


def test_a_positive_class_that_was_never_seen_is_undefined():
    """Without `classes` the positive one is known from the start, but nothing can be said of it yet."""
    one = family(classes=(), positive="fraud")
    seen = gauges(one, [0, 0, 0, 0], {"class": ["fraud"], "error": []})
    assert math.isnan(seen["precision_ratio", "binary"])
    seen = gauges(one, [0, 0, 0, 4], {"class": ["fraud", "legit"], "error": []})
    assert math.isnan(seen["f1_ratio", "binary"])
    assert seen["accuracy_ratio",] == 1


def test_outcomes_are_told_for_every_class():
    """tp, fp, fn and tn of each class against the rest, and their sum is all rows."""
    one = family()
    values = one.values(NAMES, np.array([5.0, 1, 2, 3]), np.zeros(4))
    shown = zip(one.series(NAMES), values, strict=True)
    seen = {tuple(value for _, value in series.labels): value for series, value in shown
            if series.metric == "model_outcomes_total"}  # fmt: skip
    assert [seen["fraud", outcome] for outcome in ("tp", "fp", "fn", "tn")] == [3, 1, 2, 5]
    assert [seen["legit", outcome] for outcome in ("tp", "fp", "fn", "tn")] == [5, 2, 1, 3]


def test_the_positive_class_is_named():
    """`model_class_info` tells rules which class binary measures are about."""
    infos = {dict(one.labels)["class"]: dict(one.labels)["positive"] for one in family().series(NAMES)
             if one.metric == "model_class_info"}  # fmt: skip
    assert infos == {"legit": "false", "fraud": "true"}
