"""Thresholds, objectives and baselines: from the config to the metrics that rules compare with."""

from __future__ import annotations

import pytest
import yaml

from exporter.config.masked import masked
from exporter.config.schema import parse
from exporter.config.thresholds import bound
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import P, predictions, shown

TEXT = """\
models:
  m:
    task: multiclass
    classes: [a, b]
    predictions:
      files: {path: a}
      fields: {id: i, time: t, predicted: p, model: name, latency: took}
    labels:
      files: {path: b}
      fields: {id: i, time: t, actual: a, model: name}
    latency_buckets: [0.1, 1]
    delay_buckets: [1h]
    thresholds:
      f1: {warning: 0.9}
      drop: {critical: 0.1}
      latency_p99: {warning: 250ms, critical: 1s}
      label_delay: {warning: 1h30m}
      traffic: {critical: 0.5}
    min_samples: 30
    objectives: {accuracy: 0.95}
    baseline: {accuracy: 0.97, recall: 1}
    champion: 1.4
targets:
  t: {process: {port: 1}, thresholds: {memory: {critical: 0.5}, cpu: null}}
"""


@pytest.fixture
def config():
    return parse(TEXT, "m.yml")


def bounds(metric, text):
    """The lines of a metric without the metric's name."""
    return [line.removeprefix(metric) for line in text.decode().splitlines() if line.startswith(metric + "{")]


def test_bounds_are_metrics(config):
    """Durations are seconds; the side of a bound is that of its measure; a config without rows shows all of it."""
    text = shown(Pipeline(config, State(None))).text
    assert bounds("model_threshold", text) == [
        '{model="m",measure="f1",bound="min",severity="warning"} 0.9',
        '{model="m",measure="drop",bound="max",severity="critical"} 0.1',
        '{model="m",measure="label_delay",bound="max",severity="warning"} 5400.0',
        '{model="m",measure="latency_p99",bound="max",severity="warning"} 0.25',
        '{model="m",measure="latency_p99",bound="max",severity="critical"} 1.0',
        '{model="m",measure="traffic",bound="min",severity="critical"} 0.5',
        '{model="m",measure="samples",bound="min",severity="none"} 30',
    ]
    assert bounds("model_objective", text) == ['{model="m",slo="accuracy"} 0.95']
    assert bounds("model_baseline_ratio", text) == [
        '{model="m",measure="accuracy"} 0.97',
        '{model="m",measure="recall"} 1.0',
    ]
    assert bounds("model_champion_info", text) == ['{model="m",version="1.4"} 1']


def test_a_model_that_the_data_name_has_the_bounds_of_its_config(config):
    """Where one source serves several models, each of them is judged by the same thresholds."""
    pipeline = Pipeline(config, State(None))
    pipeline.absorb([predictions(P(1, model="other"), P(2, model="m"))])
    pipeline.absorb([predictions(P(3, model="other"))])
    objectives = bounds("model_objective", shown(pipeline).text)
    assert objectives == ['{model="m",slo="accuracy"} 0.95', '{model="other",slo="accuracy"} 0.95']


def test_a_target_has_defaults_that_can_be_changed_or_taken_away(config):
    """What is written replaces the default of that measure; null takes it away."""
    text = shown(Pipeline(config, State(None))).text
    assert bounds("model_server_threshold", text) == [
        '{target="t",measure="memory",severity="critical"} 0.5',
        '{target="t",measure="disk",severity="warning"} 0.85',
        '{target="t",measure="disk",severity="critical"} 0.95',
        '{target="t",measure="crashes_per_hour",severity="warning"} 2.0',
        '{target="t",measure="crashes_per_hour",severity="critical"} 6.0',
    ]


def test_bounds_of_quantiles_are_bounds_of_buckets(config):
    """A quantile is compared with a bound of its histogram, and not with a guess between two."""
    spec = config.models["m"].spec
    assert spec.latency_buckets == (0.1, 0.25, 1.0)
    assert spec.delay_buckets == (3600.0, 5400.0)


def test_the_dump_is_a_config(config):
    """The masked config means the same, with durations as a user writes them and nulls where a default is away."""
    text = masked(config)
    assert parse(text, "m.yml") == config
    dumped = yaml.safe_load(text)
    assert dumped["models"]["m"]["thresholds"]["latency_p99"] == {"warning": "250ms", "critical": "1s"}
    assert dumped["targets"]["t"]["thresholds"]["cpu"] is None


RANKING = """\
models:
  m:
    task: ranking
    predictions: {files: {path: a}, fields: {id: i, time: t, predicted: p}}
    labels: {files: {path: b}, fields: {id: i, time: t, actual: a}}
    thresholds: {ndcg: {k: 5, warning: 0.6}, hit_rate: {critical: 0.3}}
    baseline: {ndcg: 0.7, mean_reciprocal_rank: 0.5}
"""


def test_a_measure_of_the_first_k_is_one_of_its_own():
    """Its name tells the k: that of its threshold, else the largest; so do baselines, and the dump tells the same."""
    config = parse(RANKING, "m.yml")
    text = shown(Pipeline(config, State(None))).text
    assert bounds("model_threshold", text)[:2] == [
        '{model="m",measure="ndcg@5",bound="min",severity="warning"} 0.6',
        '{model="m",measure="hit_rate@10",bound="min",severity="critical"} 0.3',
    ]
    assert bounds("model_baseline_ratio", text) == [
        '{model="m",measure="ndcg@5"} 0.7',
        '{model="m",measure="mean_reciprocal_rank@10"} 0.5',
    ]
    assert parse(masked(config), "m.yml") == config


def test_a_baseline_of_a_loss_is_a_metric_of_its_own():
    """What is the lower the better may be above 1, and is compared the other way round."""
    text = RANKING.replace("ranking", "regression").replace("ndcg: {k: 5, warning: 0.6}, hit_rate", "r2_score")
    text = text.replace("ndcg: 0.7, mean_reciprocal_rank: 0.5", "r2_score: 0.8, mean_absolute_error: 12")
    shown_text = shown(Pipeline(parse(text, "m.yml"), State(None))).text
    assert bounds("model_baseline_ratio", shown_text) == ['{model="m",measure="r2_score"} 0.8']
    assert bounds("model_baseline_loss", shown_text) == ['{model="m",measure="mean_absolute_error"} 12.0']


def test_sides():
    """Shares of what is right, coverage and traffic must not fall; all else must not rise."""
    falling = {"accuracy", "label_coverage", "traffic", "ndcg@10", "r2_score"}
    rising = {"error_ratio", "drop", "rise", "log_loss", "bias"}
    assert {one for one in falling | rising if bound(one) == "min"} == falling
