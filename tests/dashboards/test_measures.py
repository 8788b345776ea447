"""What panels work out of counts by PromQL alone, against scikit-learn."""

from __future__ import annotations

import itertools

import pytest
from sklearn import metrics

from tests.dashboards import backfill
from tests.dashboards.asking import answers
from tests.dashboards.grafana import panels

pytestmark = pytest.mark.timeout(300)
"""The first test waits for the week to be filled, and perhaps for packages."""


def hour(model):
    """The last hour's actual classes, predicted classes and weights, as the made-up week has them."""
    many = len(model.classes)
    share_of = {one: 0.4 if one == model.classes[0] else 0.6 / (many - 1) for one in model.classes}
    pairs = list(itertools.product(model.classes, repeat=2))
    right = {pair: model.now if pair[0] == pair[1] else (1 - model.now) / (many - 1) for pair in pairs}
    return *zip(*pairs, strict=True), [share_of[pair[0]] * right[pair] for pair in pairs]


def expected(model):
    """The measures by their names in the panels: of the positive class, or else means over the classes."""
    actual, predicted, weight = hour(model)
    words = {"sample_weight": weight}
    classes = model.classes[:1] if model.task == "binary" else model.classes
    rates = [
        metrics.confusion_matrix(
            [one == chosen for one in actual], [one == chosen for one in predicted], normalize="true", **words
        )
        for chosen in classes
    ]
    negatives, positives = ([rate[row][1] for rate in rates] for row in (0, 1))
    betas = {
        f"F{beta:g}": metrics.fbeta_score(
            actual, predicted, beta=beta, average="macro", labels=list(classes), zero_division=0, **words
        )
        for beta in (0.5, 2)
    }
    cost = sum(
        part * backfill.COST[a == model.classes[0]]
        for a, p, part in zip(actual, predicted, weight, strict=True)
        if a != p
    )
    return betas | {
        "specificity": 1 - sum(negatives) / len(classes),
        "false positive rate": sum(negatives) / len(classes),
        "false negative rate": 1 - sum(positives) / len(classes),
        "balanced accuracy": metrics.balanced_accuracy_score(actual, predicted, **words),
        "Matthews correlation": metrics.matthews_corrcoef(actual, predicted, **words),
        "Cohen's kappa": metrics.cohen_kappa_score(actual, predicted, **words),
        "cost of a prediction": cost / max(backfill.COST.values()),
    }


@pytest.mark.parametrize("model", backfill.FLEET, ids=lambda model: model.name)
def test_further_measures_are_those_of_scikit_learn(week, boards, model):
    """At the end of the week every line of the further measures has the value that the last hour's counts give."""
    board = boards["model-exporter-model"]
    titles = {"False alarms and misses", "Agreement beyond chance", "Expected cost"}
    chosen = board | {"panels": [one for one in panels(board) if one["title"] in titles]}
    drawn = {
        answer.asked.target["legendFormat"]: float(answer.found[0]["values"][-1][1])
        for answer in answers(week.prometheus, chosen, week.choice(model.name))
    }
    drawn["cost of a prediction"] /= max(backfill.COST.values())
    assert drawn == pytest.approx(expected(model), abs=0.005)


def test_a_measure_lies_within_its_bounds(week, boards):
    """At every point from the lower to the upper bound, which are less than 0.05 apart with thousands of labels."""
    board = boards["model-exporter-model"]
    for title in ("How sure is $measure over one hour", "How sure is $measure over one day"):
        chosen = board | {"panels": [one for one in panels(board) if one["title"] == title]}
        found = answers(week.prometheus, chosen, week.choice("tumour"))[:3]
        value, lower, upper = (dict(answer.found[0]["values"]) for answer in found)
        assert len(value) > 20
        for at in {*value} & {*lower} & {*upper}:
            assert float(lower[at]) < float(value[at]) < float(upper[at]) < float(lower[at]) + 0.05
