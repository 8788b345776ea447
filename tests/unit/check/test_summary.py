"""The words in which a valid config is told, and the number of series."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from exporter.check import series, summary
from exporter.config.schema import parse
from exporter.contracts import ABSENT, Batch, Categorical, Poll, Status
from exporter.pipeline import Delivery, Pipeline
from exporter.state import State

SMALL = """
models:
  fraud:
    positive: fraud
    predictions:
      files: {path: /var/log/fraud/predictions-*.jsonl}
      fields: {id: rid, time: ts, predicted: prediction, version: v}
    labels:
      files: {path: [labels.csv, more.csv]}
      fields: {id: rid, time: at, actual: label}
      interval: 1m
    horizon: 45d
"""


def told(text, environment=None):
    return summary.text(Path("x.yml"), parse(text, "x.yml", environment=environment or {}))


def words(text):
    """*text* without its layout."""
    return " ".join(text.split())


def test_summary():
    """A config is told with its model, classes, places, join, windows and notes."""
    text = words(told(SMALL))
    for part in (
        "x.yml is valid: 1 model.",
        "fraud (binary) classes fraud, and one that is learned from the data",
        "predictions files /var/log/fraud/predictions-*.jsonl, every 10s",
        "labels files labels.csv, more.csv, every 1m",
        "up to 45d after its prediction",
        "windows 1h, 24h, last 1000",
        "binary measures are about class fraud",
    ):
        assert part in text
    assert "rows carry no time" not in text
    assert "warning" not in text


def test_arrival_time_is_noted():
    """A stream without a time says that the moment of reading stands for it."""
    assert "predictions: rows carry no time: the moment of reading stands for it" in words(
        told(SMALL.replace("time: ts, ", ""))
    )


def test_conditions_and_thresholds():
    """Conditions on records and alert bounds are told."""
    text = words(
        told(
            SMALL.replace("      interval: 1m", "      where: {kind: [a, b], env: {not: dev}}")
            + "    thresholds: {accuracy: {warning: 0.9, critical: 0.8}, label_age: {critical: 6h}}\n"
        )
    )
    assert "only records where kind is a or b and env is not dev" in text
    assert "alerts accuracy below 0.9 (warning), below 0.8 (critical)" in text
    assert "label_age above 6h (critical)" in text


def test_the_class_below_a_threshold_is_named():
    """Where no row names the other class, it is not told as learned."""
    text = SMALL.replace("positive: fraud", "positive: 1")
    text = words(told(text.replace("predicted: prediction", "score: {field: p, threshold: 0.7}")))
    assert "classes 0 and 1 " in text


def test_one_row_log():
    """A model whose prediction rows bring the label says so; learned classes are told with their bound."""
    text = words(
        told(
            "models: {digits: {task: multiclass, max_classes: 30, predictions: "
            "{files: {path: d.csv}, fields: {id: a, time: t, predicted: p, actual: y}}}}"
        )
    )
    assert "labels in the rows of the predictions" in text
    assert "learned from the data, at most 30" in text
    assert "digits learns its classes: one version has" in text


def test_no_secrets():
    """Passwords and values from the environment are not shown; of a database the table and the host are."""
    text = told(
        SMALL.replace(
            "files: {path: [labels.csv, more.csv]}",
            "sql: {url: 'postgresql://reader:hunter2@db.internal:5432/app?password=hunter3', table: chargebacks, "
            "cursor: at}",
        ).replace("/var/log/fraud/predictions-*.jsonl", "!env LOGS"),
        {"LOGS": "/secret/place/x.jsonl"},
    )
    assert "sql table chargebacks at postgresql://db.internal:5432, every 1m" in text
    for secret in ("hunter2", "hunter3", "/secret/place", "reader"):
        assert secret not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pass@db:5432/x?sslmode=require", "postgresql://db:5432"),
        ("https://api.example/labels?token=abc", "https://api.example"),
        ("sqlite:////data/x.db", "sqlite"),
        ("postgresql://u:pa/ss@db/x", "a URL that is not shown"),
        ("postgresql://u:12/ss@db/x", "postgresql"),
        ("postgresql://u:pa@s#s@db/x", "postgresql"),
        ("postgresql://[::1/x", "a URL that is not shown"),
        ("postgresql://u:p@db:port/x", "a URL that is not shown"),
    ],
)
def test_host(url, shown):
    """Of a URL only scheme, host and port are shown, and no more where a password may be misread as one of them."""
    assert summary.host(url) == shown


def test_control_characters_do_not_reach_the_terminal():
    """A path with an escape sequence is spelled out."""
    text = told(SMALL.replace("/var/log/fraud/predictions-*.jsonl", '"/x/\\e[2J.jsonl"'))
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


# --- series --------------------------------------------------------------------------------------


def exposed(config, classes, versions=1, errors=0):
    """Series of the real exposition once predictions of all *classes*, *versions* and *errors* were read."""
    name, kinds = next(iter(config.models)), len(classes) + errors
    count = versions * kinds
    version, kind = np.divmod(np.arange(count, dtype=np.int32), kinds)
    failure = kind - len(classes)
    batch = Batch(
        role="predictions",
        key=np.arange(2 * count, dtype=np.uint64).reshape(-1, 2),
        time=np.full(count, 1e9),
        version=Categorical(version, list(map(str, range(versions)))),
        predicted=Categorical(np.where(failure < 0, kind, ABSENT).astype(np.int32), classes),
        error=Categorical(np.where(failure < 0, ABSENT, failure).astype(np.int32), [f"e{n}" for n in range(errors)]),
        latency=np.full(count, 0.1),
    )
    with closing(State(None)) as state:
        pipeline = Pipeline(config, state)
        pipeline.absorb([Delivery(name, "predictions", Poll(batch, {}))])
        pipeline.snapshot(0.0, (b"", b""), Status())
        return pipeline.exposition.series


@pytest.mark.parametrize(("versions", "errors"), [(1, 0), (3, 0), (2, 4)])
@pytest.mark.parametrize(
    ("task", "classes", "more"),
    [
        ("binary", ["legit", "fraud"], ""),
        ("binary", ["legit", "fraud"], ", score: s"),
        ("multiclass", ["a", "b", "c"], ""),
        ("multiclass", [f"c{n}" for n in range(25)], ""),
    ],
)
def test_series_equal_the_exposition(task, classes, more, versions, errors):
    """The promised number of series is what the exposition holds, over versions, classes and error reasons."""
    positive = "positive: fraud, " if task == "binary" else ""
    config = parse(
        f"models: {{m: {{task: {task}, {positive}classes: [{', '.join(classes)}], windows: [1h, last 10], "
        "predictions: {files: {path: d.csv}, "
        f"fields: {{id: i, time: t, predicted: p, actual: y, version: v, latency: l, error: e{more}}}}}}}}}",
        "x.yml",
    )
    model = config.models["m"]
    promised = series.of_model(model) + versions * series.of_version(model, len(classes), errors)
    assert promised == exposed(config, classes, versions, errors)


def test_learned_classes_grow_the_series():
    """With learned classes, two are counted at first and all that there is room for at most."""
    config = parse(
        "models: {m: {task: multiclass, max_classes: 9, predictions: "
        "{files: {path: d.csv}, fields: {id: i, time: t, predicted: p, actual: y}}}}",
        "x.yml",
    )
    for number in (2, 9):
        promised = series.of_model(config.models["m"]) + series.of_version(config.models["m"], number)
        assert promised == exposed(config, [f"c{n}" for n in range(number)])


@pytest.mark.parametrize(
    ("limits", "warning"),
    [("{series: 100}", "already one version"), ("{series: 300}", "with all versions"), ("{series: 9000}", None)],
)
def test_series_over_the_limit(limits, warning):
    """More series than `limits.series` allows, at once or with all versions, is warned of; fewer are not."""
    text = words(told(SMALL + f"limits: {limits}\n"))
    assert ("warning" in text) == (warning is not None)
    if warning:
        assert warning in text
