"""Every gauge that the demo shows, on its own logs: each agrees with scikit-learn, statsmodels or fairlearn."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict

import fairlearn.metrics as fairlearn
import numpy as np
import pytest
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from exporter import demo
from exporter.demo import truth, workload
from exporter.demo.models import CANCER, CULTIVARS, WINE
from exporter.pipeline import CATALOGUE
from tests.apps import running

ROWS = 500
"""Of each model: fewer than its largest window by count holds, made within its largest window by time."""
EXACT = 1e-9
BINNED = {"model_roc_auc_ratio": 0.01, "model_average_precision_ratio": 0.02}
"""Made of bins: how far they may be off for a few hundred scores; ten times as much for the few values of a tree."""
WHOLE = ("10m", "last 500")
ELSEWHERE = {
    r"model_quality_bound_ratio{measure=\"(f1|roc_auc)\"": "no share: tests/unit/families/test_confidence.py",
    r"model_quality_bound_ratio{measure=\"(precision|recall)\"": "of a mean over classes, the same",
    r"model_matured_": "by the time of the prediction: tests/property/test_aging.py",
    r"model_(window_)?(estimated|realised)_|model_estimation_error": "before labels, once fitted: test_estimates.py",
}
"""Gauges of windows that are compared with their oracle in other tests."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of the logs, and the samples of the exporter by name, model, version and further labels."""
    folder = tmp_path_factory.mktemp("demo")
    text = demo.prepare(folder).read_text().partition("\n# The model server itself")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workload.signal, "signal", lambda *_: None)
        assert workload.main([str(folder), "--rows", str(ROWS)]) == 0
        lines = sum(path.read_text().count("\n") for path in folder.glob("*/*.[jc]s*"))
        lines -= len([*folder.glob("*/*.csv")])
        with running(patch, folder, text) as app:
            values = app.once(lambda values: values.sum("model_exporter_source_rows_total") == lines, 60)
    return folder, values.samples


@pytest.fixture(scope="module")
def rows(shown):
    """The labelled predictions of every model and version."""
    folder, _ = shown
    return {(model, version): found for model in truth.MODELS for version, found in truth.join(folder, model).items()}


@pytest.fixture(scope="module")
def gauges(shown):
    """Gauges of the windows that hold everything: by model, version and window, then by name and further labels."""
    found = defaultdict(dict)
    for one in shown[1]:
        own = {key: value for key, value in one.labels.items() if key not in {"model", "version", "window"}}
        labels = ",".join(f'{key}="{value}"' for key, value in own.items())
        if one.labels.get("window") in WHOLE and "version" in one.labels:
            place = one.labels["model"], one.labels["version"], one.labels["window"]
            found[place][f"{one.name}{{{labels}}}" if labels else one.name] = one.value
    return dict(found)


def binned(rows):
    """What only needs the bins: how many scores there are, and the expected calibration error."""

    def expected(edges, scores, outcomes):
        place = np.searchsorted(edges, scores, side="right")
        return np.abs(np.bincount(place, scores) - np.bincount(place, outcomes)).sum() / len(scores)

    def of(model, edges):
        actual = np.array([row.actual for row in rows])
        if model == CANCER:
            scores = np.array([row.predicted["probability"]["malignant"] for row in rows])
            errors = {"binary": expected(edges, scores, actual == "malignant")}
        else:
            scores = np.array([row.predicted["probabilities"] for row in rows])
            each = [expected(edges, scores[:, at], actual == name) for at, name in enumerate(CULTIVARS)]
            shares = [(actual == name).mean() for name in CULTIVARS]
            errors = {"macro": np.mean(each), "weighted": np.dot(each, shares)}
        name = "model_expected_calibration_error_ratio"
        return {f'{name}{{average="{average}"}}': value for average, value in errors.items()}

    return of


def bounds(model, rows):
    """Wilson's bounds of what is a share."""
    said, actual = [one.predicted[LABEL[model]] for one in rows], [one.actual for one in rows]
    right = sum(map(str.__eq__, said, actual))
    shares = {"accuracy": (right, len(rows))}
    if model == CANCER:
        hit = sum(one == other == "malignant" for one, other in zip(said, actual, strict=True))
        shares |= {"precision": (hit, said.count("malignant")), "recall": (hit, actual.count("malignant"))}
    for measure, (k, n) in shares.items():
        for bound, value in zip(("lower", "upper"), proportion_confint(k, n, method="wilson"), strict=True):
            yield f'model_quality_bound_ratio{{measure="{measure}",bound="{bound}"}}', value


LABEL = {CANCER: "diagnosis", WINE: "cultivar"}
ATTRIBUTES = {
    "region": lambda record: record["clinic"]["country"],
    "age": lambda record: record["patient"]["age"],
}
LEAST = 20
"""Predictions that a group needs to be told apart, and labelled ones to be measured, by the demo's config."""


def grouped(folder, of):
    """The group of every prediction: `other`, until there were enough of its own."""
    groups, seen = {}, Counter()
    for line in (folder / CANCER / "predictions.jsonl").read_text().splitlines():
        record = json.loads(line)
        group = of(record)
        seen[group] += 1
        groups[record["id"]] = group if seen[group] >= LEAST else "other"
    return groups


def by_group(folder, rows):
    """Quality of every group that is large enough, and how far they are apart."""
    said, actual = (
        np.array([one == "malignant" for one in column])
        for column in ([row.predicted["diagnosis"] for row in rows], [row.actual for row in rows])
    )
    for attribute, of in ATTRIBUTES.items():
        every = grouped(folder, of)
        groups = np.array([every[row.record["id"]] for row in rows])
        sizes = Counter(groups.tolist())
        for group, size in sizes.items():
            here = f'{{attribute="{attribute}",group="{group}"'
            yield f"model_segment_window_labelled_predictions{here}}}", size
            if size >= LEAST:
                y, p = actual[groups == group], said[groups == group]
                yield f"model_segment_accuracy_ratio{here}}}", metrics.accuracy_score(y, p)
                yield f"model_segment_selection_ratio{here}}}", p.mean()
                yield f"model_segment_false_positive_ratio{here}}}", 1 - metrics.recall_score(~y, ~p)
                for name in ("precision", "recall", "f1"):
                    value = getattr(metrics, f"{name}_score")(y, p)
                    yield f'model_segment_{name}_ratio{here},average="binary"}}', value
        large = np.array([group != "other" and sizes[group] >= LEAST for group in groups])
        compared = {"y_true": actual[large], "y_pred": said[large], "sensitive_features": groups[large]}
        for name in ("demographic_parity", "equal_opportunity", "equalized_odds"):
            for kind in ("difference", "ratio"):
                value = getattr(fairlearn, f"{name}_{kind}")(**compared)
                yield f'model_{name}_{kind}{{attribute="{attribute}"}}', value


@pytest.fixture(scope="module")
def expected(shown, rows):
    """What the oracles say, by model and version, then by the name of the gauge."""
    found = {place: truth.measure(place[0], of) for place, of in rows.items()}
    for (model, version), of in rows.items():
        if model in LABEL:
            at = {one.value for one in shown[1] if one.name == "model_score_edge" and one.labels["model"] == model}
            found[model, version] |= {"model_window_scored_predictions": len(of), **dict(bounds(model, of))}
            found[model, version] |= binned(of)(model, sorted(at)[1:])
        if (model, version) == (CANCER, "1.0"):
            found[model, version] |= dict(by_group(shown[0], of))
    return found


def test_every_measure_agrees_with_its_oracle(gauges, expected):
    """All that the oracles say of the demo's logs is on the page, for each model and version, and agrees."""
    assert {model for model, _ in expected} == set(truth.MODELS)
    assert sum(map(len, expected.values())) > 250
    for (model, version), measures in expected.items():
        assert measures["model_window_labelled_predictions"] < ROWS
        for window in WHOLE:
            shown = gauges[model, version, window]
            for name, value in measures.items():
                tolerance = BINNED.get(name.partition("{")[0], EXACT)
                tolerance *= 10 if tolerance > EXACT and version == "1.1" else 1
                assert shown.get(name) == pytest.approx(value, rel=tolerance, abs=tolerance), (model, version, name)


def test_no_gauge_is_without_an_oracle(gauges, expected):
    """Whatever else the page tells of a window is compared elsewhere."""
    left = {
        name
        for (model, version, _), shown in gauges.items()
        for name in shown.keys() - expected[model, version].keys()
        if not (version == "1.1" and name.startswith("model_segment_"))  # those groups are small
    }
    assert {name for name in left if not any(re.match(pattern, name) for pattern in ELSEWHERE)} == set()
    assert [pattern for pattern in ELSEWHERE if not any(re.match(pattern, name) for name in left)] == []


def test_every_gauge_of_the_catalogue_is_there(shown):
    """What is documented of windows of predictions is shown by one of the demo's models."""
    there = {one.name for one in shown[1]}
    documented = {spec.name for spec in CATALOGUE if spec.type == "gauge" and "window" in spec.labels}
    missing = {name for name in documented - there if name.startswith("model_") and "_server_" not in name}
    assert all(name.startswith("model_estimat") for name in missing), missing  # they need a fit first
    assert len(documented & there) > 50
