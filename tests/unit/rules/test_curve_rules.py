"""The rules over scores and the bounds of measures, by promtool, over two unequal replicas of the exporter."""

from __future__ import annotations

import json
import math
import subprocess

import numpy as np
import pytest
import yaml
from sklearn import metrics

from exporter.config.edges import COARSE, FIXED, balanced
from exporter.contracts import Batch, Categorical, Poll, fixed_width
from exporter.families import confidence
from exporter.pipeline import Delivery, Pipeline
from exporter.state import State
from tests.ledgers import config, keys, model, samples, shown
from tests.running import ROOT
from tests.scored import DISTRIBUTIONS, drifted

RULES = [ROOT / f"alert_rules/{name}.yml" for name in ("recording", "curves", "confidence")]
SHARDS = (57_000, 3_000)
"""Rows of each replica: the mean of what they say alone would be far from the truth."""
DOUBTLESS = "scores of 0 and 1 only"


def drawn():
    """By case: the edges, and of each replica its outcomes and scores; the small one has seen other traffic."""
    cases = {}
    for name, draw in DISTRIBUTIONS.items():
        rng = np.random.default_rng(3)
        outcome, score = draw(60_000, rng)
        edges = balanced(score, outcome, 50)
        for case, by in ((name, 0), (f"{name} drifted", 1)):
            shards = []
            for rows, more in zip(SHARDS, (0, -0.3), strict=True):
                outcome, score = draw(rows, rng)
                shards.append((outcome, drifted(score, by + more) if by + more else score))
            cases[case] = edges, shards
    cases["fixed edges"] = FIXED, cases["beta"][1]
    cases[DOUBTLESS] = FIXED, [(outcome[:300], np.round(score[:300])) for outcome, score in cases["beta"][1]]
    return cases


def replica(name, edges, shard):
    """Samples of a replica before it has read anything, and after."""
    outcome, score = shard
    count, several = len(outcome), score.ndim > 1
    names = [f"class {at}" for at in range(score.shape[1])] if several else ["no", "yes"]
    words = {"probabilities": len(names)} if several else {"task": "binary", "positive": "yes"}
    scored = model(name, classes=tuple(names), score_edges=tuple(edges), **words)
    pipeline = Pipeline(config(scored), State(None))
    predicted = score.argmax(axis=1) if several else score >= np.median(score)
    made = Batch(
        role="predictions",
        key=keys(range(count)),
        time=np.zeros(count),
        predicted=Categorical(predicted.astype(np.int32), names),
        version=Categorical(np.zeros(count, np.int32), ["1"]),
        score=None if several else score,
        made={"probabilities": score} if several else {},
    )
    told = Batch(role="labels", key=made.key, time=np.ones(count), actual=Categorical(outcome.astype(np.int32), names))
    pipeline.absorb([Delivery(name, "predictions", Poll(made, None))])
    before = samples(shown(pipeline))
    pipeline.absorb([Delivery(name, "labels", Poll(told, None))])
    return before, samples(shown(pipeline))


def series(name, number, before, after):
    """What Prometheus scrapes of a replica: what it showed before the labels, then what it showed after them."""
    for (metric, labels), value in after.items():
        if metric.startswith("model_") and not metric.endswith(("_bucket", "_sum", "_count")):
            pairs = {**dict(labels), "job": "ml", "instance": f"{name} {number}"}
            text = ", ".join(f"{key}={json.dumps(one)}" for key, one in pairs.items())
            yield {"series": f"{metric}{{{text}}}", "values": f"{before.get((metric, labels), 0)!r} {value!r}x11"}


def near(expression, value, tolerance):
    """An expression that is 1 if *expression* has one value, and that is near *value*."""
    return f"sum(abs({expression} - {value!r}) <= bool {tolerance!r})"


def calibration_error(edges, outcome, score):
    """The expected calibration error of all rows, in the bins between *edges*."""
    where = np.searchsorted(edges, score, side="right")
    gap = np.bincount(where, score) - np.bincount(where, outcome)
    return float(np.abs(gap).sum() / len(score))


def expected(name, edges, shards):
    """Expressions that must be 1, by what scikit-learn says of the rows of both replicas."""
    outcome, score = (np.concatenate([shard[at] for shard in shards]) for at in (0, 1))
    of = f'model="{name}"'
    area, average = metrics.roc_auc_score(outcome, score), metrics.average_precision_score(outcome, score)
    yield near(f'model:model_quality:ratio_increase1d{{{of}, measure="roc_auc"}}', area, 1e-3)
    yield near(f'model_version:model_quality:ratio_increase1d{{{of}, measure="roc_auc"}}', area, 1e-3)
    yield near(
        f'model:model_quality:ratio_increase1d{{{of}, measure="average_precision"}}',
        average,
        1e-9 if name == DOUBTLESS else 5e-3 if "drifted" in name else 1e-3,
    )
    yield near(f"model:model_log_loss:mean_increase1d{{{of}}}", metrics.log_loss(outcome, score), 1e-9)
    yield near(f"model:model_brier_score:mean_increase1d{{{of}}}", metrics.brier_score_loss(outcome, score), 1e-9)
    rarer = min(outcome.sum(), (~outcome).sum())
    yield near(f'model:model_quality_samples:increase1d{{{of}, measure="roc_auc"}}', float(rarer), 1e-6)
    error = calibration_error(edges, outcome, score)
    yield near(f"model:model_expected_calibration_error:ratio_increase1d{{{of}}}", error, 1e-9)
    yield f"sum(absent(model:model_weighted_quality:ratio_increase1d{{{of}}}))"
    for at in (3, len(edges) // 2):
        here = f'{{{of}, threshold="{fixed_width(edges)[at]}"}}'
        above = score >= edges[at]
        for record, value in (
            ("true_positive_rate", (outcome & above).sum() / outcome.sum()),
            ("false_positive_rate", (~outcome & above).sum() / (~outcome).sum()),
            ("precision", (outcome & above).sum() / above.sum()),
        ):
            yield near(f"model_threshold:model_{record}:ratio_increase1d{here}", float(value), 1e-9)
    effective = confidence.rows_of_area(area, float(outcome.sum()), float((~outcome).sum()))
    bounds = confidence.wilson(area, effective, confidence.deviations(0.95))
    for side, bound in zip(confidence.SIDES, bounds, strict=True):
        yield near(f'model:model_quality:{side}_increase1d{{{of}, measure="roc_auc"}}', float(bound), 2e-3)


def of_several_classes():
    """True classes and the probabilities of all of them, on each of two replicas."""
    rng = np.random.default_rng(4)
    for rows, scale in zip(SHARDS, (2.0, 1.0), strict=True):
        actual = rng.choice(3, rows, p=[0.7, 0.25, 0.05])
        odds = rng.normal(0, 1, (rows, 3))
        odds[np.arange(rows), actual] += 1.5
        weight = np.exp(scale * odds)
        yield actual, weight / weight.sum(axis=1, keepdims=True)


def expected_of_several(name, shards):
    actual, probabilities = (np.concatenate([shard[at] for shard in shards]) for at in (0, 1))
    area = metrics.roc_auc_score(actual, probabilities, multi_class="ovr", average="macro")
    precision = metrics.average_precision_score(np.eye(3)[actual], probabilities, average="macro")
    for level in ("model", "model_version"):
        record = f'{level}:model_quality:ratio_increase1d{{model="{name}", measure='
        yield near(f'{record}"roc_auc"}}', area, 1e-3)
        yield near(f'{record}"average_precision"}}', precision, 5e-3)
    record = f'model:model_weighted_quality:ratio_increase1d{{model="{name}", measure='
    area = metrics.roc_auc_score(actual, probabilities, multi_class="ovr", average="weighted")
    yield near(f'{record}"roc_auc"}}', area, 1e-3)
    precision = metrics.average_precision_score(np.eye(3)[actual], probabilities, average="weighted")
    yield near(f'{record}"average_precision"}}', precision, 5e-3)
    of = f'{{model="{name}"}}'
    errors = [calibration_error(COARSE, actual == at, probabilities[:, at]) for at in range(3)]
    shares = np.bincount(actual) / len(actual)
    yield near(f"model:model_expected_calibration_error:ratio_increase1d{of}", float(np.mean(errors)), 1e-9)
    yield near(f"model:model_weighted_expected_calibration_error:ratio_increase1d{of}", float(errors @ shares), 1e-9)
    yield near(f"model:model_log_loss:mean_increase1d{of}", metrics.log_loss(actual, probabilities), 1e-9)
    yield near(f"model:model_brier_score:mean_increase1d{of}", metrics.brier_score_loss(actual, probabilities), 1e-9)


def evaluated(debian, folder, inputs, expressions):
    """Lets promtool evaluate all rules over *inputs*, and *expressions* over those; returns those that are not 1."""
    tests = {
        "rule_files": [str(path) for path in RULES],
        "evaluation_interval": "1m",
        "group_eval_order": [group["name"] for path in RULES for group in yaml.safe_load(path.read_text())["groups"]],
        "tests": [
            {
                "interval": "1m",
                "input_series": inputs,
                "promql_expr_test": [
                    {"expr": expression, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 1}]}
                    for expression in expressions
                ],
            }
        ],
    }
    (folder / "tests.yml").write_text(json.dumps(tests))
    command = [debian("prometheus", "promtool"), "test", "rules", folder / "tests.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_curves_over_two_unequal_replicas(debian, tmp_path):
    """Areas, losses, curves, calibration and bounds are those of all rows together, as scikit-learn has them."""
    inputs, expressions = [], []
    for name, (edges, shards) in drawn().items():
        for number, shard in enumerate(shards):
            inputs += series(name, number, *replica(name, edges, shard))
        expressions += expected(name, edges, shards)
    assert len(expressions) > 100
    several = list(of_several_classes())
    for number, shard in enumerate(several):
        inputs += series("several", number, *replica("several", COARSE, shard))
    expressions += expected_of_several("several", several)
    evaluated(debian, tmp_path, inputs, expressions)


OUTCOMES = {
    "ten": {"tp": 4, "fp": 2, "fn": 1, "tn": 3},
    "many": {"tp": 400, "fp": 20, "fn": 10, "tn": 3000},
    "perfect": {"tp": 5, "fp": 0, "fn": 0, "tn": 20},
}
CLASSES = {
    "several": [[50, 2, 1], [3, 20, 0], [1, 1, 9]],
    "good": [[50, 0, 0], [0, 20, 0], [1, 0, 9]],
}


def growing(name, **labels):
    def of(value):
        pairs = ", ".join(f'{key.rstrip("_")}="{one}"' for key, one in {**labels, "job": "ml", "version": "1"}.items())
        return [
            {"series": f'{name}_total{{{pairs}, instance="{one}"}}', "values": f"0 {share * value!r}x11"}
            for one, share in (("a", 0.75), ("b", 0.25))
        ] + [{"series": f'{name}_retracted_total{{{pairs}, instance="a"}}', "values": "0x12"}]

    return of


def gauges(spec_words, matrix):
    """What the exporter's own gauges say of a confusion matrix."""
    from exporter.families.quality import Quality

    spec = model("m", **spec_words).spec
    family = Quality(spec)
    counts = np.zeros((family.classes, family.classes))
    counts[: len(matrix), : len(matrix)] = matrix
    names = {"class": list(spec.classes), "error": []}
    values = family.window_values(names, counts.ravel())
    return {
        tuple(value for _, value in one.labels): value
        for one, value in zip(family.window_series(names), values, strict=True)
        if one.metric == confidence.BOUND.name and not math.isnan(value)
    }


def test_bounds_are_those_of_the_gauges(debian, tmp_path):
    """Rules and gauges bound accuracy, precision, recall and F1 alike, of a positive class as of several classes."""
    inputs, expressions = [], []
    cases = {
        **{
            name: (
                {"task": "binary", "positive": "1", "classes": ("0", "1")},
                [[o["tn"], o["fp"]], [o["fn"], o["tp"]]],
            )
            for name, o in OUTCOMES.items()
        },
        **{name: ({"task": "multiclass", "classes": ("0", "1", "2")}, matrix) for name, matrix in CLASSES.items()},
    }
    for name, (words, rows) in cases.items():
        matrix = np.array(rows, float)
        hit, predicted, actual = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
        info = f'job="ml", instance="a", model="{name}", version="1"'
        inputs.append({"series": f'model_info{{{info}, task="{words["task"]}"}}', "values": "1x12"})
        for correct, value in (("true", hit.sum()), ("false", matrix.sum() - hit.sum())):
            inputs += growing("model_labelled_predictions", model=name, correct=correct)(float(value))
        for at, text in enumerate(words["classes"]):
            positive = "true" if text == words.get("positive") else "false"
            inputs.append(
                {"series": f'model_class_info{{{info}, class="{text}", positive="{positive}"}}', "values": "1x12"}
            )
            outcomes = {"tp": hit[at], "fp": predicted[at] - hit[at], "fn": actual[at] - hit[at]}
            outcomes["tn"] = matrix.sum() - sum(outcomes.values())
            for outcome, value in outcomes.items():
                inputs += growing("model_outcomes", model=name, class_=text, outcome=outcome)(float(value))
        for (measure, side), value in gauges(words, matrix).items():
            levels = [("model", "1h"), ("model", "1d")]
            if words["task"] == "binary" or measure == "accuracy":
                levels.append(("model_version", "1d"))
            for level, window in levels:
                record = f'{level}:model_quality:{side}_increase{window}{{model="{name}", measure="{measure}"}}'
                expressions.append(near(record, value, 1e-6))
    expressions.append('sum(model:model_quality:upper_increase1h{model="ten", measure="accuracy"} > bool 0.85)')
    assert len(expressions) > 60
    evaluated(debian, tmp_path, inputs, expressions)


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_promtool_accepts(debian, path):
    """Prometheus' own check finds nothing to say."""
    done = subprocess.run(
        [debian("prometheus", "promtool"), "check", "rules", "--lint-fatal", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
