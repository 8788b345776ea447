"""Costs, betas and confidence in the config."""

from __future__ import annotations

import pytest

from exporter.config.masked import masked
from exporter.config.schema import parse
from exporter.errors import ConfigError

TEXT = """\
models:
  m:
    positive: fraud
    classes: {fraud: [1], legit: [0]}
    predictions:
      files: {path: a}
      fields: {id: i, predicted: p}
    labels:
      files: {path: b}
      fields: {id: i, actual: a}
"""


def spec(more):
    config = parse(TEXT + more, "m.yml")
    assert parse(masked(config), "m.yml") == config
    return config.models["m"].spec


def faults(more, text=TEXT):
    with pytest.raises(ConfigError) as raised:
        parse(text + more, "m.yml")
    return [line.removeprefix("m.yml:") for line in str(raised.value).splitlines()]


def test_costs_are_of_classes_by_any_of_their_names():
    """Other spellings of a class are the class; what earns something may cost less than nothing."""
    assert spec('    costs: {fraud: {"0": 100, fraud: -2.5}, legit: {"1": 5}}\n').costs == {
        "fraud": {"legit": 100.0, "fraud": -2.5},
        "legit": {"fraud": 5.0},
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("costs: {fruad: {legit: 1}}", ["11:13: models.m.costs.fruad: is none of the declared classes"]),
        ("costs: {fraud: {ham: 1}}", ["11:21: models.m.costs.fraud.ham: is none of the declared classes"]),
        ("costs: {fraud: 1}", ["11:20: models.m.costs.fraud: expected a mapping, found a number"]),
        ("costs: {fraud: {legit: much}}", ["11:28: models.m.costs.fraud.legit: expected a number, found text"]),
        ("betas: [0]", ["11:13: models.m.betas[0]: must be more than 0, found 0"]),
        ("confidence: 95", ["11:17: models.m.confidence: must be less than 1, found 95"]),
    ],
)
def test_what_is_refused(written, expected):
    """The fault names the very entry."""
    assert faults(f"    {written}\n") == expected


@pytest.mark.parametrize("key", ["betas: [2]", "costs: {}", "confidence: 0.9"])
def test_a_regression_has_none_of_it(key):
    """What is about classes is refused where there are none."""
    text = TEXT.replace("    positive: fraud\n    classes: {fraud: [1], legit: [0]}\n", "    task: regression\n")
    name = key.split(":")[0]
    assert faults(f"    {key}\n", text) == [
        f"10:5: models.m.{name}: only task: binary or multiclass has {name}; remove it"
    ]


def test_what_is_not_written():
    """No costs, no further betas, and bounds that hold in 95 of 100 cases."""
    assert (spec("").costs, spec("").betas, spec("").confidence) == ({}, (), 0.95)
    assert spec("    betas: [0.5, 2]\n    confidence: 0.8\n").betas == (0.5, 2.0)
