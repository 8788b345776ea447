"""When estimates are made: where there are scores, and the config asks for them."""

from __future__ import annotations

import pytest

from exporter.config.masked import masked
from exporter.config.schema import parse
from exporter.contracts import EstimatesSpec
from exporter.errors import ConfigError

CONFIG = """
models:
  m:
    task: {task}
    {more}
    predictions:
      files: {{path: p.jsonl}}
      fields: {{id: i, time: t, predicted: p, actual: a{fields}}}
"""


def read(more="", task="binary", fields=", score: s"):
    positive = "positive: x" if task == "binary" else ""
    text = CONFIG.format(task=task, more="\n    ".join(filter(None, [positive, more])), fields=fields)
    return parse(text, "c.yml")


def estimates(*words, **more):
    return read(*words, **more).models["m"].spec.estimates


def test_a_model_with_scores_is_estimated_if_asked():
    """Unless said otherwise from a thousand labels on, and up to fifty thousand; without scores never."""
    assert estimates("estimates: {}") == EstimatesSpec(labelled=1000, reference=50_000)
    assert estimates("estimates: {}", fields="") is None
    assert estimates("estimates: {}\n    score_edges: []") is None


def test_nothing_is_fitted_unasked():
    """A fit takes three times the memory of the exporter, which a sidecar's limit may not have."""
    assert estimates() is None


def test_the_config_says_when():
    """Both numbers can be set, and null wants none."""
    assert estimates("estimates: {labelled: 500, reference: 2000}") == EstimatesSpec(labelled=500, reference=2000)
    assert estimates("estimates: null") is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("estimates: {labelled: 99}", "c.yml:6:27: models.m.estimates.labelled"),
        ("estimates: {labelled: 1000, reference: 500}", "reference must not be below labelled"),
        ("estimates: {labeled: 1000}", "did you mean labelled?"),
    ],
)
def test_what_makes_no_sense_is_a_fault(more, words):
    """It is named with its place."""
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        read(more)


@pytest.mark.parametrize("more", [{}, {"fields": ""}])
def test_a_bound_of_estimates_needs_them(more):
    """Without them, nothing would ever be compared with it."""
    bound = "thresholds: {estimation_error: {warning: 0.03}}"
    assert read(f"estimates: {{}}\n    {bound}").models["m"].thresholds
    with pytest.raises(ConfigError, match="estimation_error: needs scores and estimates"):
        read(f"estimates: {{}}\n    {bound}" if more else bound, **more)


def test_other_tasks_have_none():
    """Only two classes have one probability."""
    with pytest.raises(ConfigError, match="only task: binary has estimates; remove it"):
        read("estimates: {labelled: 500}", task="multiclass", fields="")


@pytest.mark.parametrize("more", ["", "estimates: null", "estimates: {}", "estimates: {labelled: 500}"])
def test_the_shown_config_says_the_same(more):
    """What the page shows can be read again."""
    config = read(more)
    again = parse(masked(config), "shown.yml")
    assert again.models["m"].spec.estimates == config.models["m"].spec.estimates
