"""Ages of predictions in a config: what is usual, what the horizon leaves of it, and what is a fault."""

from __future__ import annotations

import pytest

from exporter.config.schema import parse
from exporter.errors import ConfigError

TEXT = """\
models:
  m:
    positive: a
    predictions:
      files: {path: p}
      fields: {id: i, time: t, predicted: p}
    labels:
      files: {path: l}
      fields: {id: i, time: t, actual: a}
"""


def ages(more=""):
    """Ages and maturity of a model with some *more* keys."""
    model = parse(TEXT + more, "m.yml").models["m"]
    return model.coverage_ages, model.maturity


def test_usual_ages_end_at_the_horizon():
    """Nobody has to name an age, and none is told at which predictions are forgotten."""
    assert ages() == ((60.0, 600.0, 3600.0, 21600.0, 86400.0, 604800.0), None)
    assert ages("    horizon: 1h\n") == ((60.0, 600.0, 3600.0), None)
    assert ages("    horizon: 30s\n") == ((), None)
    assert ages("    coverage_ages: [5s, 1d]\n    maturity: 2d\n") == ((5.0, 86400.0), 172800.0)
    assert ages("    coverage_ages: []\n") == ((), None)


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("    coverage_ages: [1h, 1m]\n", "10:25: models.m.coverage_ages[1]: must be larger than the bound before it"),
        (
            "    coverage_ages: [60s, 61s]\n",
            "10:26: models.m.coverage_ages[1]: must be at least a tenth above the age before it, 1m",
        ),
        (
            "    coverage_ages: [1h, 2d]\n    horizon: 1d\n",
            "10:25: models.m.coverage_ages[1]: must not be above horizon, 1d: older predictions get no label",
        ),
        (
            "    maturity: 60d\n",
            "10:15: models.m.maturity: must not be above horizon, 30d: older predictions get no label",
        ),
    ],
)
def test_faults(more, fault):
    """An age that makes no sense is named with the way out."""
    with pytest.raises(ConfigError) as caught:
        parse(TEXT + more, "m.yml")
    assert str(caught.value).replace("m.yml:", "") == fault


def test_a_number_matures_never():
    """Quality by prediction time is about classes."""
    text = TEXT.replace("positive: a", "task: regression")
    with pytest.raises(ConfigError, match=r"maturity: only task: binary or multiclass has maturity; remove it"):
        parse(text + "    maturity: 1d\n", "m.yml")
