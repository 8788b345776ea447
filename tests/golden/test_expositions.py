"""Whole expositions, byte for byte: what a change of any part does to what users see, shown as a difference.

`pytest tests/golden --update-golden` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.contracts import EstimatesSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, shown

FOLDER = Path(__file__).parent


def _binary():
    """Two versions of a fraud model: right and wrong, corrected, repeated, early, late, failed and open rows."""
    fraud = model(
        "fraud",
        task="binary",
        positive="fraud",
        classes=("legit", "fraud"),
        windows=["3600s", "last 3"],
        horizon=280.0,
        latency_buckets=(0.01, 0.1),
        delay_buckets=(60.0, 3600.0),
        thresholds={"accuracy": {"warning": 0.92, "critical": 0.85}},
        score_edges=(0.25, 0.5),
        estimates=EstimatesSpec(),
    )
    pipeline = Pipeline(config(fraud), State(None))
    pipeline.absorb(
        [
            predictions(
                P(1, 1e6, "fraud", "v1", score=0.9, latency=0.005),
                P(2, 1e6 + 1, "legit", "v1", score=0.2, latency=0.05),
                P(3, 1e6 + 2, "legit", "v1", latency=0.5),
                P(4, 1e6 + 3, "fraud", "v1"),
                P(4, 1e6 + 3, "legit", "v1"),
                P(5, 1e6 + 4, "legit", "v2"),
                P(6, 1e6 + 5, None, "v2", error="timeout", latency=2.0),
                model="fraud",
            ),
            labels(
                L(1, 1e6 + 10, "fraud"), L(2, 1e6 + 90, "legit"), L(3, 1e6 + 95, "fraud"), L(1, 1e6 + 99, "fraud"),
                L(7, 1e6 + 99, "fraud"), model="fraud",
            ),
        ]
    )  # fmt: skip
    pipeline.absorb(
        [
            labels(
                L(3, 1e6 + 200, "legit"), L(1, 1e6 + 5, "legit"), L(4, 1e6 + 290, "legit"), L(5, 1e6 + 280, "fraud"),
                model="fraud",
            )
        ]
    )  # fmt: skip
    return shown(pipeline)


def _multiclass():
    """A model whose five classes are learned, of which two have cells of their own in the confusion matrix."""
    digits = model(
        "digits", classes=(), max_classes=5, confusion_classes=2, windows=["60s"], latency_buckets=(), delay_buckets=()
    )
    pipeline = Pipeline(config(digits), State(None))
    rows = [("0", "0"), ("0", "1"), ("1", "1"), ("2", "1"), ("3", "3"), ("4", "4"), ("4", "0")]
    pipeline.absorb(
        [
            predictions(*(P(one, 10.0, predicted) for one, (_, predicted) in enumerate(rows)), model="digits"),
            labels(*(L(one, 20.0, actual) for one, (actual, _) in enumerate(rows)), model="digits"),
        ]
    )
    return shown(pipeline)


def _odd_texts():
    """Names of models, versions, classes and reasons that must not break a line."""
    odd = model('a "b"\\c', classes=('say "no"', "two\nlines", "50 %s"), windows=["60s"])
    pipeline = Pipeline(config(odd), State(None))
    rows = [P(1, 1.0, 'say "no"', "v\t1"), P(2, 1.0, "two\nlines", ""), P(3, 1.0, "50 %s", "Ä" * 200)]
    failed = P(4, 1.0, None, "v\t1", error='failed: "x"\r\nat line 1')
    pipeline.absorb([predictions(*rows, failed, model='a "b"\\c'), labels(L(1, 2.0, "two\nlines"), model='a "b"\\c')])
    return shown(pipeline)


def _before_the_first_row():
    """What two models show as soon as they are configured."""
    return shown(Pipeline(config(model("one"), model("two", task="binary", positive="yes", classes=())), State(None)))


CASES = {case.__name__.strip("_"): case for case in (_binary, _multiclass, _odd_texts, _before_the_first_row)}


@pytest.mark.parametrize("form", ["text", "openmetrics"])
@pytest.mark.parametrize("name", CASES)
def test_the_exposition_is_as_it_was(name, form, request):
    """Every byte is as agreed, in both formats."""
    got = getattr(CASES[name](), form)
    path = FOLDER / f"{name}.{'prom' if form == 'text' else 'openmetrics'}"
    if request.config.getoption("--update-golden"):
        path.write_bytes(got)
    assert path.exists(), "write it with --update-golden"
    assert got.decode().splitlines() == path.read_bytes().decode().splitlines()
    assert got == path.read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_promtool_has_nothing_to_say(name, debian):
    """Prometheus' own linter reads the exposition without an error or a warning."""
    import subprocess

    promtool = debian("prometheus", "promtool")
    done = subprocess.run([promtool, "check", "metrics"], input=CASES[name]().text, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "")
