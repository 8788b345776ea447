"""What came from the environment, from files or as a Secret is never shown, wherever it stands."""

import pytest

from exporter.config.masked import masked
from exporter.config.schema import load, parse
from exporter.config.types import Secret, hide_passwords
from exporter.errors import ConfigError

WORD = "hunter2"

EVERYWHERE = """\
models:
  fraud:
    positive: !env WORD
    classes: {!tag legit: [0], fraud: [!file word]}
    predictions:
      files: {path: !env WORD}
      fields: {id: !env WORD, predicted: {field: p, map: {a: !env WORD}}}
      where: {a: !env WORD, b: [!env WORD], c: {not: !file word}}
      timezone: UTC
    labels:
      sql:
        url: !env WORD
        table: t
        auth: {user: !env WORD, password: hunter2}
        options: {a: !env WORD, b: "postgresql://u:hunter2@h/d", c: "https://h/?token=hunter2&x=1"}
        headers: {Authorization: hunter2}
      fields: {id: i, actual: !file word}
    windows: [!env WINDOW, 1h]
    thresholds: {accuracy: {warning: !env RATIO}}
    max_versions: !env COUNT
"""
ENVIRONMENT = {"WORD": WORD, "WINDOW": "77m", "RATIO": "0.7777", "COUNT": "7777"}


@pytest.fixture
def config(tmp_path):
    """A config with a secret in every place that takes one."""
    (tmp_path / "word").write_text(WORD + "\n")
    text = EVERYWHERE.replace("!tag ", "").replace("    positive: !env WORD\n", "    positive: fraud\n")
    return parse(text, "m.yml", tmp_path, ENVIRONMENT)


def test_values_arrive(config):
    """Hidden values are Secrets where a Secret is asked for, and plain text and numbers elsewhere."""
    model = config.models["fraud"]
    source = model.labels.source
    assert source.url == source.headers["Authorization"] == Secret(WORD)
    assert source.auth.user == model.predictions.source.path == WORD
    assert model.spec.aliases == {"0": "legit", WORD: "fraud"}
    assert model.max_versions == 7777
    assert model.thresholds == {"accuracy": {"warning": 0.7777}}
    assert [window.seconds for window in model.windows] == [77 * 60, 3600]


def test_masked(config):
    """The dump of the effective config holds none of them, and still shows the rest."""
    text = masked(config)
    assert not [value for value in (WORD, "77m", "0.7777", "7777") if value in text]
    assert "postgresql://u:<secret>@h/d" in text
    assert "https://h/?token=<secret>&x=1" in text
    assert "table: t" in text
    assert "windows: [<secret>, <secret>]" in text


def test_repr(config):
    """The config, its models and its streams show names only."""
    model = config.models["fraud"]
    assert repr(config) == "Config(models=['fraud'])"
    assert repr(model) == "ModelConfig('fraud')"
    assert repr(model.labels) == "Stream('sql', 'labels')"
    assert WORD not in f"{model.labels.source.url!s} {model.labels.source.url!r} {model.labels.source.headers}"


GOOD = """\
models:
  fraud:
    positive: fraud
    predictions:
      files: {path: a}
      fields: {id: rid, predicted: p}
    labels:
      sql: {url: u, table: t}
      fields: {id: rid, actual: a}
"""
PLACES = [
    ("positive: fraud", "positive: VALUE\n    classes: [fraud, hunter3]"),
    ("positive: fraud", "positive: fraud\n    classes: [VALUE, VALUE, fraud]"),
    ("positive: fraud", "positive: fraud\n    task: VALUE"),
    ("positive: fraud", "positive: fraud\n    horizon: VALUE"),
    ("positive: fraud", "positive: fraud\n    windows: [VALUE]"),
    ("positive: fraud", "positive: fraud\n    max_versions: VALUE"),
    ("positive: fraud", "positive: fraud\n    thresholds: {accuracy: VALUE}"),
    ("positive: fraud", "positive: fraud\n    VALUE"),
    ("files: {path: a}", "files: VALUE"),
    ("path: a", "path: [VALUE]"),
    ("path: a", "path: a, format: VALUE"),
    ("id: rid, predicted", "id: rid, xyz: VALUE, predicted"),
    ("predicted: p", "predicted: {field: p, constant: VALUE}"),
    ("predicted: p", "predicted: p, latency: {field: p, unit: VALUE}"),
    ("fields: {id: rid, predicted: p}", "fields: VALUE"),
    ("fields: {id: rid, predicted: p}", "fields: {id: rid, predicted: p}\n      timezone: VALUE"),
    ("fields: {id: rid, predicted: p}", "fields: {id: rid, predicted: p}\n      interval: VALUE"),
    ("url: u", "url: [VALUE]"),
    ("url: u", "url: VALUE, query: q"),
    ("url: u", "auth: VALUE, url: u"),
    ("url: u", "auth: {user: [x], password: VALUE}, url: u"),
    ("table: t", "table: VALUE"),
    ("table: t", "table: t, strict: VALUE"),
    ("table: t", "table: t, headers: VALUE"),
]


@pytest.mark.parametrize(("old", "new"), PLACES)
@pytest.mark.parametrize("value", ["!env WORD", "!file word", WORD], ids=["env", "file", "inline"])
def test_faults(tmp_path, monkeypatch, old, new, value):
    """A fault about a value says where it stands and what is wrong, but never the value."""
    if new.endswith("VALUE]") and "windows" in new:
        new = new.replace("VALUE", "VALUE, 1000")
    (tmp_path / "word").write_text(WORD)
    (tmp_path / "m.yml").write_text(GOOD.replace(old, new.replace("VALUE", value), 1))
    monkeypatch.setenv("WORD", WORD)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "m.yml")
    assert WORD not in str(caught.value)


def test_hidden_classes_are_not_listed():
    """A wrong positive class is told without the classes that came from the environment."""
    text = GOOD.replace("positive: fraud", "positive: fraud\n    classes: [legit, !env WORD]")
    with pytest.raises(ConfigError) as caught:
        parse(text, "m.yml", environment={"WORD": "froud"})
    assert str(caught.value) == "m.yml:3:15: models.fraud.positive: is none of the declared classes"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user:pw@host/db", "postgresql://user:<secret>@host/db"),
        ("postgresql+psycopg://user:p@w/x@host", "postgresql+psycopg://user:<secret>@host"),
        ("redis://:pw@host", "redis://:<secret>@host"),
        ("http://h/?a=1&password=pw&b=2", "http://h/?a=1&password=<secret>&b=2"),
        ("http://h/?access_token=pw#x", "http://h/?access_token=<secret>#x"),
        ("host=h user=u password='p w' dbname=d", "host=h user=u password=<secret> dbname=d"),
        ("Server=h;PWD=pw;Database=d", "Server=h;PWD=<secret>;Database=d"),
        ("http://host:80/path", "http://host:80/path"),
        ("/var/log/a@b.jsonl", "/var/log/a@b.jsonl"),
    ],
)
def test_passwords_inside_texts(text, shown):
    """Passwords of URLs, query strings and connection strings are hidden, the rest stays readable."""
    assert hide_passwords(text) == shown
