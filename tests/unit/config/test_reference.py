"""The reference and the schema, made from the types that read a config."""

import jsonschema
import msgspec
import pytest
import yaml

from exporter import plugins
from exporter.config import resolved, written
from exporter.config.kinds import description, struct_type
from exporter.config.masked import masked
from exporter.config.reference import json_schema, markdown
from exporter.config.schema import parse
from exporter.config.streams import NAMES

STRUCTS = [
    struct
    for module in (written, resolved)
    for struct in vars(module).values()
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct is not msgspec.Struct
]
TEXT = """\
models:
  fraud:
    positive: fraud
    classes: {fraud: [1, true], legit: 0}
    predictions:
      files: {path: a}
      fields: {id: rid, score: {field: p, threshold: 0.3}}
      where: {a: 1, b: [x, true], c: {not: x}}
    labels:
      sql: {url: u, table: t}
      fields: {id: rid, actual: a}
"""


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_key_is_described(struct):
    """Each key of a config says what it means, in a sentence."""
    for field in struct_type(struct).fields:
        assert description(field).endswith((".", "`.")), field.name


def test_markdown_names_every_key():
    """The reference has a row for each key, field and source."""
    text = markdown()
    keys = {field.encode_name for struct in STRUCTS if struct.__module__.endswith("written")
            for field in struct_type(struct).fields}  # fmt: skip
    keys |= {name for names in NAMES.values() for name in names}
    keys |= {"path", "url", "user"}
    assert [key for key in keys if f"| `{key}` |" not in text] == []
    assert "| `horizon` | duration | `30d` |" in text
    assert "## Source `sql.auth`" in text


def test_schema_accepts_what_the_exporter_accepts():
    """A good config, and its own dump, are valid by the schema."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(TEXT), schema)
    jsonschema.validate(yaml.safe_load(masked(parse(TEXT, "m.yml"))), schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("positive", "positve"),
        ("path: a", "path: ''"),
        ("threshold: 0.3", "threshold: 3"),
        ("files: {path: a}", "timezone: UTC"),
        ("score:", "skore:"),
        ("path: a", "path: a, settle: 5"),
    ],
)
def test_schema_refuses(old, new):
    """An editor with the schema shows unknown keys, wrong types, ranges and a missing source."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(TEXT.replace(old, new, 1)), json_schema())


@pytest.mark.parametrize("name", plugins.SOURCES)
def test_built_in_sources_are_described(monkeypatch, name):
    """Each key of a built-in source's own config has a description too."""
    monkeypatch.undo()
    for field in struct_type(plugins.source(name).Config).fields:
        assert description(field), field.name
