"""What the web page is told of a model."""

from __future__ import annotations

import json
import subprocess

import pytest

from exporter.contracts import ModelSpec, ModelStatus, VersionStatus, WindowStatus
from exporter.pipeline import Pipeline, report
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, samples, shown
from tests.logs import Logs


def status(pipeline):
    return report.status(pipeline.ledgers["m"])


def test_nothing_is_known_before_the_first_row():
    """A configured model has a name and no version."""
    assert status(Pipeline(config(), State(None))) == ModelStatus(name="m", task="multiclass")


def test_a_version_is_told_as_its_series_tell_it():
    """Counts are net of corrections, times are event times, ratios are those of the windows."""
    setting = config(model(task="binary", positive="a", classes=("a", "b"), windows=["60s", "last 2"], horizon=1e9))
    pipeline = Pipeline(setting, State(None))
    pipeline.absorb(
        [
            predictions(P(1, 1.0, "a"), P(2, 2.0, "b"), P(3, 3.0, "a"), P(4, 4.0, error="x")),
            labels(L(1, 5.0, "a"), L(2, 6.0, "b"), L(9, 6.0)),
        ]
    )
    pipeline.absorb([labels(L(2, 7.0, "a"))])
    ratios = {"accuracy": 0.5, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}
    assert status(pipeline) == ModelStatus(
        name="m",
        task="binary",
        orphan_labels=1,
        versions=(
            VersionStatus(
                version="1",
                predictions=3,
                failed=1,
                labelled=2,
                pending=1,
                last_prediction=4.0,
                last_label=7.0,
                windows=tuple(WindowStatus(name=name, labelled=2, **ratios) for name in ("60s", "last 2")),
            ),
        ),
    )


LATENCIES = {
    "one": [0.004],
    "spread": [0.001 * step for step in range(1, 400)],
    "all beyond the last bound": [70.0, 80.0],
    "the rank is that of a bound": [0.004] * 19 + [2.0],
    "zero": [0.0] * 3,
    "two modes": [0.003] * 90 + [4.0] * 10,
}


def test_latency_is_what_prometheus_makes_of_the_histogram(debian, tmp_path):
    """The mean is that of the rows, and the 95th percentile is histogram_quantile's, to nine digits."""
    buckets = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
    pipeline = Pipeline(config(model(latency_buckets=buckets)), State(None))
    rows = [(name, one) for name, values in LATENCIES.items() for one in values]
    pipeline.absorb([predictions(*(P(i, 1.0, version=name, latency=one) for i, (name, one) in enumerate(rows)))])
    series = [
        {"series": f"b{{{','.join(f'{key}={json.dumps(value)}' for key, value in labels)}}}", "values": repr(value)}
        for (name, labels), value in samples(shown(pipeline)).items()
        if name == "model_prediction_latency_seconds_bucket"
    ]
    told = {version.version: version.latency for version in status(pipeline).versions}
    asked = [
        {
            "expr": f"sum(abs(histogram_quantile(0.95, b{{version='{name}'}}) - {latency[1]!r}) < bool 1e-9)",
            "eval_time": "0m",
            "exp_samples": [{"value": 1}],
        }
        for name, latency in told.items()
    ]
    (tmp_path / "test.yml").write_text(json.dumps({"tests": [{"input_series": series, "promql_expr_test": asked}]}))
    command = [debian("prometheus", "promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name: mean for name, (mean, _) in told.items()} == {
        name: pytest.approx(sum(values) / len(values)) for name, values in LATENCIES.items()
    }


def test_what_is_undefined_is_none():
    """A window without rows has a count of 0 and no ratio; a version without a label has no label time."""
    pipeline = Pipeline(config(model(windows=["60s"])), State(None))
    pipeline.absorb([predictions(P(1, 1.0))])
    (version,) = status(pipeline).versions
    assert version.last_label is None
    assert version.windows == (WindowStatus(name="60s", labelled=0, average="macro"),)


def test_versions_of_a_model_column_carry_its_name():
    """Several models of one log are told apart; the entry's own name, which rows without one have, is not repeated."""
    pipeline = Pipeline(config(), State(None))
    pipeline.absorb(
        [predictions(P(1, version="7"), P(2, model="n", version="7"), P(3, version="8"), P(4, version=None))]
    )
    assert {version.version for version in status(pipeline).versions} == {"7", "n / 7", "8", "unknown"}


def test_other_tasks_have_measures_of_their_own():
    """A regression shows its gauges by name, and what is labelled; a set of labels the four ratios of classes."""
    logs = Logs(ModelSpec(name="m", task="regression"))
    pipeline = Pipeline(config(model("m", task="regression", classes=(), windows=["60s"])), State(None))
    made = logs.predictions({"id": 1, "predicted": 3.0}, {"id": 2, "predicted": 3.0})
    pipeline.absorb([made, logs.labels({"id": 1, "actual": 1.0}, {"id": 1, "actual": 2.0})])
    (version,) = status(pipeline).versions
    assert version.labelled == 1
    (window,) = version.windows
    assert (window.labelled, window.accuracy) == (1, None)
    assert window.measures["mean absolute error"] == 1
    assert window.measures["mean pinball loss 0.5"] == 0.5
    assert window.measures["r2 score"] is None
    logs = Logs(ModelSpec(name="m", task="multilabel"))
    pipeline = Pipeline(config(model("m", task="multilabel", classes=(), windows=["60s"])), State(None))
    pipeline.absorb([logs.predictions({"id": 1, "predicted": ["a"]}), logs.labels({"id": 1, "actual": ["a"]})])
    (version,) = status(pipeline).versions
    assert version.windows == (
        WindowStatus(name="60s", labelled=1, accuracy=1, precision=1, recall=1, f1=1, average="macro"),
    )
