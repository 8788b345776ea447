"""Multilabel predictions on their whole way: sets in any form, learned labels, corrections, restarts."""

from __future__ import annotations

import json

import pytest

from exporter.config.schema import parse
from exporter.contracts import ABSENT, Clock, FieldSpec, MappingSpec, ModelSpec
from exporter.pipeline import Pipeline
from exporter.sources.formats.jsonl import JsonLines
from exporter.sources.mapping import Mapper
from exporter.state import State
from tests.ledgers import config, model, result, sample, samples, shown
from tests.logs import Logs

DECLARED = ModelSpec(name="m", task="multilabel", classes=("news", "sport", "tech"), aliases={"n": "news"})
LEARNED = ModelSpec(name="m", task="multilabel")


def setting(spec=DECLARED):
    words = {"classes": spec.classes, "aliases": spec.aliases, "windows": ["60s", "last 3"]}
    return config(model("m", task="multilabel", **words))


def read(value, spec=DECLARED, field="predicted"):
    """The names in *value*, None where it is no prediction yet, or the reason of its refusal."""
    role = "predictions" if field == "predicted" else "labels"
    batch = Logs(spec).batch(role, {"id": 1, "time": 1e9, field: value})
    if batch.refused.counts:
        return next(iter(batch.refused.counts))
    bits = int((batch.made if field == "predicted" else batch.truth)["labels"][0])
    return [name for bit, name in enumerate(batch.labels) if bits >> bit & 1]


@pytest.mark.parametrize("field", ["predicted", "actual"])
@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["sport", "news"], ["news", "sport"]),
        (["n"], ["news"]),
        ([], []),
        ({"news": True, "tech": 0, "sport": 1.0}, ["news", "sport"]),
        ({}, []),
        ([0, 1, 1], ["sport", "tech"]),
        ([True, False, False], ["news"]),
        ('["sport"]', ["sport"]),
        ("['sport', 'tech']", ["sport", "tech"]),
        ('{"sport": false}', []),
        ("sport", ["sport"]),
    ],
)
def test_a_set_may_be_written_in_many_ways(field, value, names):
    """As a list of names, a mapping to flags, a list of flags, the text of any of these, or a single name."""
    assert read(value, field=field) == names


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (["sport", "weather"], "unknown_class"),
        ({"weather": 0}, "unknown_class"),
        ([0, 1], "unknown_class"),
        ([0, 1, 2], "unknown_class"),
        ([0.5, 0.1, 0.2], "unknown_class"),
        (["sport", "sport"], "bad_prediction"),
        ({"sport": 0.7}, "bad_prediction"),
        ({"sport": "yes"}, "bad_prediction"),
        ([["sport"]], "bad_prediction"),
        ([None], "bad_prediction"),
        ("[sport", "bad_prediction"),
        (["x" * 300], "value_too_long"),
        (None, "missing_prediction"),
        ("", "missing_prediction"),
    ],
)
def test_what_is_no_set_is_refused(value, reason):
    """Each under a reason of its own, and no more than the row is lost."""
    assert read(value) == reason


def test_flags_need_declared_classes():
    """A list of 0 and 1 is taken for names where none are declared, and refused as soon as one stands twice."""
    assert read([0, 1, 1], LEARNED) == "bad_prediction"
    assert read(["a", "b"], LEARNED) == ["a", "b"]


def test_learned_labels_of_two_logs_are_one(tmp_path):
    """Both logs number their labels for themselves; what they mean is the same, also after a restart."""
    state = State(tmp_path)
    pipeline = Pipeline(setting(LEARNED), state)
    logs = Logs(LEARNED)
    pipeline.absorb([logs.predictions({"id": 1, "predicted": ["a", "b"]}, {"id": 2, "predicted": ["b", "c"]})])
    state._let_go()
    state = State(tmp_path)
    pipeline = Pipeline(setting(LEARNED), state)
    pipeline.absorb([Logs(LEARNED).labels({"id": 2, "actual": ["c", "d"]}, {"id": 1, "actual": ["b", "a"]})])
    found = samples(shown(pipeline))
    words = ("tp", "fp", "fn", "tn")
    outcomes = {
        name: [found[sample("model_outcomes_total", **{"class": name, "outcome": word})] for word in words]
        for name in "abcd"
    }
    assert outcomes == {"a": [1, 0, 0, 1], "b": [1, 1, 0, 0], "c": [1, 0, 0, 1], "d": [0, 0, 1, 1]}
    assert found[sample("model_labelled_predictions_total", correct="true")] == 1
    assert found[sample("model_predictions_total", predicted="any")] == 2
    state.close()


def test_labels_without_end_are_refused():
    """Of learned labels the first 63 are told apart; rows with further ones are refused, in a log and over both."""
    spec, logs = LEARNED, Logs(LEARNED)
    pipeline = Pipeline(setting(spec), State(None))
    many = [{"id": n, "predicted": [f"a{n}"]} for n in range(64)]
    delivery = logs.predictions(*many)
    assert delivery.poll.batch.refused.counts == {"too_many_classes": 1}
    refused = pipeline.absorb([delivery, logs.labels({"id": 1, "actual": ["b"]}, {"id": 2, "actual": ["a2"]})])
    assert refused["m", "labels"].counts == {"too_many_classes": 1}
    assert result(pipeline, "matched") == 1


def test_a_corrected_set_is_recounted():
    """Another set corrects, in whatever order its labels stand the same one repeats."""
    pipeline, logs = Pipeline(setting(), State(None)), Logs(DECLARED)
    pipeline.absorb([logs.predictions({"id": 1, "predicted": ["news"]}), logs.labels({"id": 1, "actual": ["tech"]})])
    pipeline.absorb([logs.labels({"id": 1, "actual": ["news", "sport"], "time": 1e9 + 2})])
    pipeline.absorb([logs.labels({"id": 1, "actual": ["sport", "news"], "time": 1e9 + 3})])
    assert (result(pipeline, "corrected"), result(pipeline, "repeated")) == (1, 1)
    found = samples(shown(pipeline))
    assert found[sample("model_outcomes_retracted_total", **{"class": "tech", "outcome": "fn"})] == 1
    for window in ("60s", "last 3"):
        assert found[sample("model_window_labelled_predictions", window=window)] == 1
        assert found[sample("model_recall_ratio", window=window, average="samples")] == 0.5
        assert found[sample("model_accuracy_ratio", window=window)] == 0


def test_probabilities_of_labels_need_not_sum_to_1():
    """Each is one of its own; a list of the wrong length, or beyond 0 and 1, is refused."""
    logs = Logs(DECLARED, "probabilities")
    rows = [{"id": n, "time": 1e9, "predicted": ["news"], "probabilities": value}
            for n, value in enumerate([[0.9, 0.8, 0.7], [0.5, 0.5], [2, 0, 0], None])]  # fmt: skip
    batch = logs.batch("predictions", *rows)
    assert batch.refused.counts == {"bad_probabilities": 2}
    assert batch.made["labels"].tolist() == [0b001, 0b001]


def test_likely_labels_are_predicted_where_no_set_is_mapped():
    """Of probabilities alone, a label is predicted from a half on, as scikit-learn's classifiers do."""
    spec = MappingSpec(
        role="predictions",
        fields={name: FieldSpec(field=name) for name in ("id", "time", "probabilities", "error")},
    )
    mapper = Mapper(spec, DECLARED, Clock(wall=lambda: 2e9))
    values = [[0.9, 0.5, 0.49], [0, 0, 1.0], [0.1, 0.1, 0.1], "[0.6 0.1 0.7]", [0.5, 0.5], None]
    rows = [{"id": n, "time": 1e9, "probabilities": value} for n, value in enumerate(values)]
    rows.append({"id": 9, "time": 1e9, "error": "timeout"})
    block = "".join(json.dumps(row) + "\n" for row in rows).encode()
    batch = mapper.batch(JsonLines(mapper.paths).decode(block, str))
    assert batch.refused.counts == {"bad_probabilities": 1, "missing_prediction": 1}
    assert batch.made["labels"].tolist() == [0b011, 0b100, 0, 0b101, 0]
    assert batch.predicted.codes.tolist() == [0, 0, 0, 0, ABSENT]


def test_probabilities_alone_are_a_valid_config_of_a_multilabel_model():
    """They say what is predicted; nothing of them is remembered, as no measure is made of them."""
    text = """
models:
  topics:
    task: multilabel
    classes: [news, sport, tech]
    predictions:
      files: {path: /var/log/topics.jsonl}
      fields: {id: id, time: ts, probabilities: p}
    labels:
      files: {path: /var/log/labels.jsonl}
      fields: {id: id, time: at, actual: topics}
"""
    spec = parse(text, "topics.yml").models["topics"].spec
    assert [name for name, _, _ in spec.layout.made] == ["labels"]
