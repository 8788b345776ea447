"""What a real BentoML server logged, the README's config for it, and the numbers that must come out."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from tests.running import ROOT, Values

DATA = ROOT / "tests/data/bentoml"
EXPECTED = json.loads((DATA / "expected.json").read_text())
CONFIG = """\
models:
  tumour:
    positive: malignant
    predictions:
      files: {path: monitoring/*/data/*.log*}
      where: {record_id: {not: np-1}}
      fields: {id: record_id, time: timestamp, predicted: prediction}
    labels:
      files: {path: labels.csv}
      fields: {id: record_id, time: labelled_at, actual: diagnosis}
      max_ahead: 3d   # these labels are dated ahead of the clock
    horizon: 7d
"""


def records():
    """All records that the server logged; one of them holds a bare NaN, which Python's json reads."""
    files = sorted(DATA.glob("monitoring/*/data/*.log"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def labels():
    with (DATA / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_expected(values: Values) -> None:
    """What does not depend on the order in which rows came: all but how labels became what they are."""
    predicted = Counter(one["prediction"] for one in records() if one["record_id"] != "np-1")
    assert predicted.total() == EXPECTED["prediction_rows"]
    for name, count in predicted.items():
        assert values.one("model_predictions_total", model="tumour", predicted=name) == count
    positive = EXPECTED["positive_class"]
    for outcome in ("tp", "fp", "fn", "tn"):
        net = values.net("model_outcomes", model="tumour", class_=positive, outcome=outcome)
        assert (outcome, net) == (outcome, EXPECTED[outcome])
    assert values.net("model_labelled_predictions") == EXPECTED["joined"]
    assert values.net("model_labelled_predictions", correct="true") == EXPECTED["tp"] + EXPECTED["tn"]
    assert values.net("model_confusion", actual=positive, predicted="benign") == EXPECTED["fn"]
    assert values.one("model_joins_total", result="matched") == EXPECTED["joined"]
    assert values.one("model_joins_total", result="duplicate") == 0
    assert values.one("model_joins_total", result="late") == 0
    assert values.one("model_orphan_labels") == len(EXPECTED["orphan_labels"])
    assert values.one("model_pending_predictions") == EXPECTED["unlabelled_predictions"]
    window = {"window": "last 1000"}
    assert values.one("model_window_labelled_predictions", **window) == EXPECTED["joined"]
    assert values.one("model_accuracy_ratio", **window) == pytest.approx(EXPECTED["accuracy"], rel=0, abs=1e-12)
    for measure in ("precision", "recall", "f1"):
        found = values.one(f"model_{measure}_ratio", average="binary", **window)
        assert found == pytest.approx(EXPECTED[measure], rel=0, abs=1e-12)
