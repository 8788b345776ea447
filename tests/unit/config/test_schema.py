"""What a good config becomes: complete, in plain units, with its defaults."""

import subprocess
import sys

import pytest

from exporter.config.decode import Decoder
from exporter.config.faults import Faults
from exporter.config.masked import masked
from exporter.config.nodes import read
from exporter.config.schema import load, parse
from exporter.config.types import Duration, canonical, duration_text
from exporter.contracts import FieldSpec, WhereSpec, WindowSpec

NEWCOMER = """\
models:
  fraud:
    task: binary
    positive: fraud
    predictions:
      files: {path: /var/log/fraud/predictions-*.jsonl}
      fields: {id: request_id, time: ts, predicted: prediction, score: proba.fraud, version: model_version, \
latency: {field: took, unit: ms}}
    labels:
      sql: {url: !env LABELS_DB, table: chargebacks}
      fields: {id: request_id, time: updated_at, actual: label}
      interval: 1m
    horizon: 45d
    windows: [1h, 24h, last 1000]
    thresholds: {accuracy: {warning: 0.92, critical: 0.85}}
"""
SMALL = """\
models:
  m:
    positive: 1
    predictions:
      files: {path: a}
      fields: {id: rid, predicted: p, actual: a}
"""


def model(text, **environment):
    """The only model of *text*."""
    (found,) = parse(text, "m.yml", environment=environment).models.values()
    return found


def test_newcomer():
    """The config of the introduction is read to the letter."""
    fraud = model(NEWCOMER, LABELS_DB="sqlite://")
    assert fraud.spec.name == "fraud"
    assert fraud.predictions.kind == "files"
    assert fraud.predictions.source.path == "/var/log/fraud/predictions-*.jsonl"
    assert fraud.predictions.mapping.fields["score"] == FieldSpec(field="proba.fraud")
    assert fraud.predictions.mapping.fields["latency"] == FieldSpec(field="took", unit="ms")
    assert not fraud.predictions.arrival_time
    assert (fraud.labels.interval, fraud.labels.stale_after) == (60.0, 180.0)
    assert fraud.horizon == 45 * 86400.0
    assert fraud.windows == (
        WindowSpec(name="1h", seconds=3600.0),
        WindowSpec(name="24h", seconds=86400.0),
        WindowSpec(name="last 1000", rows=1000),
    )
    assert fraud.thresholds == {"accuracy": {"warning": 0.92, "critical": 0.85}}


def test_defaults():
    """Ten lines less than the newcomer's are enough; the rest has defaults."""
    config = parse(SMALL, "m.yml")
    (small,) = config.models.values()
    assert (config.limits.series, config.limits.label_length) == (100_000, 128)
    assert small.labels is None
    assert small.predictions.arrival_time
    stream = small.predictions
    assert (stream.interval, stream.stale_after, stream.timeout, stream.lookback) == (10.0, 60.0, 30.0, None)
    assert (stream.mapping.role, stream.mapping.timezone) == ("predictions", "UTC")
    assert small.spec.latency_buckets == ()
    timed = model(SMALL.replace("id: rid", "id: rid, latency: took"))
    assert timed.spec.latency_buckets == (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
    assert small.spec.delay_buckets[-1] == 30 * 86400.0
    assert [window.name for window in small.windows] == ["1h", "24h", "last 1000"]
    assert (small.horizon, small.retire_after, small.allowed_lateness) == (30 * 86400.0, 7 * 86400.0, 0.0)
    assert (small.max_versions, small.early_labels, small.remembered) == (20, 1_000_000, 50_000_000)
    assert {type(value) for value in (small.horizon, stream.interval, *small.spec.delay_buckets)} == {float}


@pytest.mark.parametrize("lines", ["classes: [1, 0]", "classes: {1: [1.0, true], 0: ['0.0', false]}"])
def test_classes_are_texts(lines):
    """Numbers and truth values stand for their shortest text, as classes and as other spellings of one."""
    spec = model(SMALL.replace("positive: 1", f"positive: 1.0\n    {lines}")).spec
    assert spec.classes == ("1", "0")
    assert spec.positive == "1"
    assert spec.aliases in ({}, {"true": "1", "0.0": "0", "false": "0"})


def test_positive_may_be_another_spelling():
    """The positive class may be given by any of its spellings."""
    text = SMALL.replace("positive: 1", "positive: true\n    classes: {legit: false, fraud: [1, true]}")
    assert model(text).spec.positive == "fraud"


def test_threshold_of_a_score_decides_the_class():
    """A score with a threshold makes `predicted` without a field of its own."""
    fields = model(SMALL.replace("predicted: p", "score: {field: s, threshold: 0.3}")).predictions.mapping.fields
    assert fields["predicted"] == FieldSpec(threshold=0.3)
    assert fields["score"].field == "s"


def test_where():
    """Conditions are texts to be in, or not to be in."""
    text = SMALL + "      where: {a.b: 1.0, c: [x, true], d: {not: null_}, e: {not: [1, 2]}}\n"
    assert model(text).predictions.mapping.where == {
        "a.b": WhereSpec(one_of=("1",)),
        "c": WhereSpec(one_of=("x", "true")),
        "d": WhereSpec(none_of=("null_",)),
        "e": WhereSpec(none_of=("1", "2")),
    }


def test_multiclass_probabilities():
    """Probabilities of declared classes are enough to know what was predicted."""
    text = SMALL.replace("positive: 1", "task: multiclass\n    classes: [a, b, c]").replace(
        "predicted", "probabilities"
    )
    spec = model(text).spec
    assert (spec.positive, spec.classes) == (None, ("a", "b", "c"))


def test_nothing_stands_for_the_default_where_it_may():
    """`labels:` with nothing behind it is the same as no `labels`."""
    assert model(SMALL + "    labels:\n").labels is None


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        SMALL.replace("positive: 1", "positive: '1e3'\n    classes: {'1e3': [yes, '010'], no: ['null', 'true']}"),
        SMALL.replace("predicted: p", "score: {field: s, threshold: 0.3}, predicted: {threshold: 0.3}")
        .replace(", predicted: {threshold: 0.3}", ""),
        SMALL + "      where: {a: 1, b: {not: [x, 'no']}}\n      lookback: 90m\n      interval: 1.5s\n",
        NEWCOMER.replace("sql: {url: !env LABELS_DB, table: chargebacks}", "files: {path: 'a: b', format: csv}"),
    ],
)  # fmt: skip
def test_dump_reads_back(text):
    """The effective config, without secrets in it, is a config that means the same."""
    config = parse(text, "m.yml")
    assert parse(masked(config), "m.yml") == config


def test_files_are_relative_to_the_config(tmp_path):
    """`!file` looks beside the config, wherever the program was started."""
    (tmp_path / "name").write_text("elsewhere.jsonl\n")
    (tmp_path / "m.yml").write_text(SMALL.replace("path: a", "path: !file name"))
    assert load(tmp_path / "m.yml").models["m"].predictions.source.path == "elsewhere.jsonl"


def test_unloadable_source(monkeypatch):
    """A source whose library is missing is a fault that says what to install."""

    def missing(name):
        raise ModuleNotFoundError("No module named 'x'", name="x")

    monkeypatch.setattr("exporter.plugins.source", missing)
    with pytest.raises(Exception, match=r"cannot be loaded \(No module named 'x'\); install its extra"):
        model(SMALL)


def test_unsupported_types_are_an_authors_error():
    """A source that asks for a type no config can hold is a bug of the source, told with the key."""
    import msgspec

    class Odd(msgspec.Struct):
        when: complex

    root, faults = read("when: 1", "m.yml", None, {})
    with pytest.raises(TypeError, match="when: a config cannot hold a complex"):
        Decoder(Faults("m.yml")).decode(root, Odd, "")
    assert not len(faults)


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (1, "1"), (1.0, "1"), (-0.0, "0"), (0.5, "0.5"), ("1.0", "1.0")]
)
def test_canonical(value, text):
    """Every scalar has one text."""
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "90s"), (0.25, "250ms"), (86400, "1d"), (1e-7, "0.0000001s")]
)
def test_duration_text(seconds, text):
    """A duration is written in the largest unit that keeps it whole, and reads back."""
    assert duration_text(seconds) == text
    assert Duration.parse(text) == pytest.approx(seconds)


def test_loading_a_config_is_cheap():
    """No heavy library is imported by reading a config, nor by any built-in source's settings."""
    code = (
        "import sys; from exporter import plugins; import exporter.config.schema, exporter.config.masked\n"
        f"exporter.config.schema.parse({SMALL.replace('path: a', 'path: a.jsonl')!r}, 'm.yml')\n"
        "heavy = {'sqlalchemy', 'requests', 'pyarrow', 'sklearn', 'pandas', 'psycopg'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_keys_for_anchors():
    """What stands under a key such as `x-common` is only there to be named by YAML's aliases."""
    plain = parse(SMALL, "m.yml")
    noted = SMALL.replace("models:\n", "x-common:\n  - &horizon 45d\n  - {anything: [1]}\nmodels:\n", 1)
    assert parse(noted, "m.yml") == plain
    assert parse(noted + "    horizon: *horizon\n", "m.yml").models["m"].horizon == 45 * 86400.0


@pytest.mark.parametrize(
    ("written", "kept", "in_memory"),
    [("", None, 0.0), ("start: end", 0.0, 0.0), ("start: beginning", None, None), ("lookback: 1h", 3600.0, 3600.0)],
)
def test_where_the_first_start_begins(written, kept, in_memory):
    """At the beginning; with a state in memory, where every start is the first, at the end; else as it is written."""
    stream = model(SMALL + f"      {written}\n").predictions
    assert stream.first(in_memory=False) == kept
    assert stream.first(in_memory=True) == in_memory
