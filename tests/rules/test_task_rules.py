"""Records of numbers, rankings, classes and sets of labels: over two unequal replicas they are scikit-learn's."""

from __future__ import annotations

import json
import math
import subprocess

import numpy as np
import pytest
import yaml

from exporter.contracts import ModelSpec, RankingSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import config, model, samples, shown
from tests.logs import Logs
from tests.running import ROOT

sklearn = pytest.importorskip("sklearn.metrics")

FILES = [
    ROOT / f"alert_rules/{name}.yml" for name in ("recording", "curves", "tasks", "agreement", "confidence", "losses")
]
SHARDS = (190, 30)
"""Rows of each replica, the smaller of which does worse."""
ITEMS, DEPTH, KS = range(8), 5, (1, 3, 5)
NAMES = ("news", "sport", "tech")
EXACT, BOUND = 1e-9, 1e-8
"""Wilson's constants have seven digits in the rules."""


def replica(name, rows, field, words):
    """All samples of an exporter that read *rows* of (prediction, label), each fifth label corrected."""
    spec = {"classes": (), **words}
    pipeline, logs = Pipeline(config(model(name, **spec)), State(None)), Logs(ModelSpec(name=name, **spec), field)
    other = rows[0][1]
    best = [{"predicted": NAMES[np.argmax(p)]} if field == "probabilities" else {} for p, _ in rows]
    pipeline.absorb([logs.predictions(*({"id": at, field: p} | best[at] for at, (p, _) in enumerate(rows)))])
    pipeline.absorb([logs.labels(*({"id": at, "actual": y if at % 5 else other} for at, (_, y) in enumerate(rows)))])
    pipeline.absorb([logs.labels(*({"id": at, "actual": y, "time": 1e9 + 9} for at, (_, y) in enumerate(rows)))])
    for (metric, labels), value in samples(shown(pipeline)).items():
        if metric.startswith("model_"):
            text = ", ".join(f"{key}={json.dumps(one)}" for key, one in {**dict(labels), "job": "j"}.items())
            series = f'{metric}{{{text}, instance="{name} {len(rows)}"}}'
            yield {"series": series, "values": f"0 {value!r}x29" if metric.endswith("_total") else f"{value!r}x30"}


def numbers(rng, rows, worse):
    actual = rng.integers(-3, 40, rows).astype(float)
    return list(zip((actual + 0.5 + worse + rng.normal(0, 2 + worse, rows)).tolist(), actual.tolist(), strict=True))


def of_numbers(rows):
    predicted, actual = (np.array(side) for side in zip(*rows, strict=True))
    known = actual != 0
    assert not known.all()
    error = predicted - actual
    absolute, square = sklearn.mean_absolute_error(actual, predicted), sklearn.mean_squared_error(actual, predicted)
    yield "quality:ratio", "r2_score", sklearn.r2_score(actual, predicted)
    yield "loss:mean", "mean_absolute_error", absolute
    yield "loss:mean", "root_mean_squared_error", math.sqrt(square)
    yield "loss:mean", "bias", abs(error.mean())
    ratio = sklearn.mean_absolute_percentage_error(actual[known], predicted[known])
    yield "loss:mean", "mean_absolute_percentage_error", ratio
    yield "loss_samples:", "mean_absolute_percentage_error", known.sum()
    for measure, mean, values in (("mean_absolute_error", absolute, abs(error)), ("bias", error.mean(), error)):
        yield "loss:lower", measure, abs(mean) - 1.959964 * values.std() / math.sqrt(len(rows))


def rankings(rng, rows, worse):
    for _ in range(rows):
        wanted = {
            str(item): float(rng.integers(1, 4)) for item in rng.choice(ITEMS, rng.integers(0, 4), replace=False)
        }
        score = {item: wanted.get(str(item), 0) * (1 - worse) + rng.random() for item in ITEMS}
        yield sorted(map(str, ITEMS), key=lambda item: -score[int(item)])[:DEPTH], wanted


def of_rankings(rows):
    known = [(ranked, wanted) for ranked, wanted in rows if wanted]
    true = [[wanted.get(str(item), 0.0) for item in ITEMS] for _, wanted in known]
    score = [[-ranked.index(str(item)) if str(item) in ranked else -99 for item in ITEMS] for ranked, _ in known]
    first = [next((at for at, item in enumerate(ranked, 1) if item in wanted), 99) for ranked, wanted in known]
    for k in KS:
        yield "quality:ratio", f"ndcg@{k}", sklearn.ndcg_score(true, score, k=k)
        yield "quality:ratio", f"mean_reciprocal_rank@{k}", np.mean([1 / at if at <= k else 0 for at in first])
        yield "quality:ratio", f"hit_rate@{k}", np.mean([at <= k for at in first])
    yield "quality_samples:", "ndcg@5", len(known)


def chances(rng, rows, worse):
    actual = rng.integers(0, 3, rows)
    weight = rng.random((rows, 3)) + (1 - worse) * np.eye(3)[actual]
    listed = (weight / weight.sum(axis=1, keepdims=True)).round(9).tolist()
    return list(zip(listed, [NAMES[code] for code in actual], strict=True))


def of_chances(rows):
    share = sklearn.top_k_accuracy_score([NAMES.index(y) for _, y in rows], [p for p, _ in rows], k=2)
    yield "quality:ratio", "top_k_accuracy@2", share
    yield "quality_samples:", "top_k_accuracy@2", len(rows)
    yield "quality:upper", "top_k_accuracy@2", wilson(share, len(rows), 1)
    yield from of_classes([NAMES[np.argmax(p)] for p, _ in rows], [y for _, y in rows], NAMES)


def answers(rng, rows, worse):
    actual = rng.random(rows) < 0.3
    predicted = actual ^ (rng.random(rows) < 0.1 + 0.2 * worse)
    return [tuple("yes" if one else "no" for one in pair) for pair in zip(predicted, actual, strict=True)]


def of_answers(rows):
    yield from of_classes(*zip(*rows, strict=True), ["yes"])


def of_classes(predicted, actual, classes):
    """What is said of *classes*, each against the rest, as the mean over them; and of all classes together."""
    matrices = [sklearn.confusion_matrix(*([one == own for one in side] for side in (actual, predicted)))
                for own in classes]  # fmt: skip
    specificity = np.mean([tn / (tn + fp) for (tn, fp), _ in matrices])
    yield "agreement:ratio", "specificity", specificity
    yield "agreement:ratio", "false_positive", 1 - specificity
    yield "agreement:ratio", "false_negative", np.mean([fn / (fn + tp) for _, (fn, tp) in matrices])
    for beta in (0.5, 2):
        value = sklearn.fbeta_score(actual, predicted, beta=beta, average="macro", labels=list(classes))
        yield "agreement:ratio", f"f_beta@{beta}", value
    yield "agreement:ratio", "balanced_accuracy", sklearn.balanced_accuracy_score(actual, predicted)
    yield "agreement:ratio", "matthews_correlation", sklearn.matthews_corrcoef(actual, predicted)
    yield "agreement:ratio", "cohen_kappa", sklearn.cohen_kappa_score(actual, predicted)
    cost = [COSTS.get(y, {}).get(p, 0) for p, y in zip(predicted, actual, strict=True)]
    yield "expected_cost:mean", "", np.mean(cost)


def sets(rng, rows, worse):
    actual = rng.random((rows, 3)) < (0.5, 0.3, 0.2)
    predicted = actual ^ (rng.random((rows, 3)) < 0.1 + 0.2 * worse)
    return [tuple([n for n, there in zip(NAMES, row, strict=True) if there] for row in pair)
            for pair in zip(predicted, actual, strict=True)]  # fmt: skip


def of_sets(rows):
    predicted, actual = (np.array([[name in row[at] for name in NAMES] for row in rows]) for at in (0, 1))
    for measure in ("precision", "recall", "f1"):
        ask = getattr(sklearn, f"{measure}_score")
        for average in ("micro", "macro", "weighted", "samples"):
            name = measure if average == "macro" else f"{measure}_{average}"
            yield "quality:ratio", name, ask(actual, predicted, average=average, zero_division=np.nan)
    yield "quality:ratio", "accuracy", sklearn.accuracy_score(actual, predicted)
    loss = sklearn.hamming_loss(actual, predicted)
    yield "loss:mean", "hamming_loss", loss
    yield "loss:lower", "hamming_loss", wilson(loss, len(rows), -1)


def wilson(share, rows, sign):
    z = 1.959964
    spread = z * math.sqrt(share * (1 - share) / rows + z**2 / 4 / rows**2)
    return (share + z**2 / 2 / rows + sign * spread) / (1 + z**2 / rows)


COSTS = {"news": {"sport": 2.0, "tech": 0.5}, "tech": {"news": 3.0}, "yes": {"no": 10.0}, "no": {"yes": 1.0}}
TASKS = {
    "answers": (answers, of_answers, "predicted",
                {"task": "binary", "classes": ("no", "yes"), "positive": "yes", "costs": COSTS}),
    "numbers": (numbers, of_numbers, "predicted", {"task": "regression"}),
    "rankings": (rankings, of_rankings, "predicted",
                 {"task": "ranking", "ranking": RankingSpec(depth=DEPTH, relevant=4, cutoffs=KS)}),
    "chances": (chances, of_chances, "probabilities",
                {"task": "multiclass", "classes": NAMES, "probabilities": 3, "top_k": (2,), "costs": COSTS}),
    "sets": (sets, of_sets, "predicted", {"task": "multilabel", "classes": NAMES}),
}  # fmt: skip


def test_measures_over_two_unequal_replicas(debian, tmp_path):
    """Each measure, over an hour and over a day, is that of the rows of both, net of corrected labels."""
    given, tests = [], []
    for name, (draw, ask, field, words) in TASKS.items():
        rng = np.random.default_rng(5)
        shards = [list(draw(rng, rows, worse)) for worse, rows in enumerate(SHARDS)]
        given += [one for rows in shards for one in replica(name, rows, field, words)]
        for record, measure, value in ask(shards[0] + shards[1]):
            kind, _, what = record.partition(":")
            for window in ("1h", "1d"):
                stem = f"model:model_{kind}:{what}{'_' if what else ''}increase{window}"
                of = f'{{model="{name}", measure="{measure}"}}'
                near = BOUND if what in {"lower", "upper"} else EXACT
                sure = f"count(abs({stem}{of} - ({float(value)!r})) < {near})"
                tests.append({"expr": sure, "eval_time": "30m", "exp_samples": [{"value": 1}]})
    assert len(tests) > 60
    order = [group["name"] for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
    file = {"rule_files": list(map(str, FILES)), "evaluation_interval": "5m", "group_eval_order": order}
    group = {"interval": "1m", "input_series": given, "promql_expr_test": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(file | {"tests": [group]}))
    command = [debian("prometheus", "promtool"), "test", "rules", tmp_path / "tests.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
