"""The config reference, made from the types that read a config: a JSON Schema for editors, tables for people."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import msgspec.inspect as kinds

from exporter import plugins
from exporter.config.kinds import bare, default, description, struct_type
from exporter.config.streams import NAMES, Role
from exporter.config.thresholds import Floor, FloorAtK, ModelThresholds, TargetThresholds
from exporter.config.types import Duration, Secret, duration_text
from exporter.config.written import (
    NOTES,
    EstimatesEntry,
    FieldEntry,
    Limits,
    ModelEntry,
    NotEntry,
    RankingEntry,
    RegressionEntry,
    Root,
    ScoreReference,
    SegmentEntry,
    StreamEntry,
    TargetEntry,
)

_DURATION = r"^(\d+(\.\d+)?(ms|s|m|h|d|w))+$"
_TYPES: dict[type[kinds.Type], str] = {
    kinds.StrType: "string",
    kinds.IntType: "integer",
    kinds.FloatType: "number",
    kinds.BoolType: "boolean",
    kinds.NoneType: "null",
}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "pattern": "pattern",
}
_SCALAR = {"text", "whole number", "number", "truth value"}
_INTRODUCTION = """\
A config is one YAML file. Durations are a number and a unit (`500ms`, `30s`, `5m`, `1h30m`, `45d`, `2w`).
`on`, `off`, `yes`, `no` and `1:30` are texts. `!env NAME` takes a text from the environment, `!file PATH` from a file
next to the config; neither is ever shown. Keys of the whole file that begin with `x-` are left alone, for YAML's
anchors. Every fault is listed with its line by `model-exporter check FILE`.
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the YAML that a user writes, with the settings of every installed source and probe."""
    definitions: dict[str, Any] = {}
    root = _schema(kinds.type_info(Root), definitions)
    stream = definitions[_name(StreamEntry)]
    for name in plugins.sources():
        stream["properties"][name] = _schema(kinds.type_info(plugins.source(name).Config), definitions)
    stream["oneOf"] = [{"required": [name]} for name in plugins.sources()]
    target = definitions[_name(TargetEntry)]
    for name in plugins.probes():
        target["properties"][name] = _schema(kinds.type_info(plugins.probe(name).Config), definitions)
    lives = [name for name in plugins.probes() if name not in plugins.MEASURING]
    target["allOf"] = [{"not": {"required": list(pair)}} for pair in itertools.combinations(lives, 2)]
    root_names = [{"required": ["models"]}, {"required": ["targets"]}]
    definitions[_name(Root)]["anyOf"] = root_names
    definitions[_name(Root)]["patternProperties"] = {f"^{NOTES}": {}}
    fields = stream["properties"]["fields"]
    fields["propertyNames"] = {"enum": list(NAMES["predictions"])}
    segments = {"type": "object", "additionalProperties": fields["additionalProperties"]}
    fields["properties"] = {"segments": {"description": NAMES["predictions"]["segments"], **segments}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Model Exporter configuration",
        **root,
        "$defs": definitions,
    }


def markdown() -> str:
    """The configuration reference in Markdown: one table per kind of mapping."""
    parts = ["# Configuration", _INTRODUCTION]
    parts += _section("The file", Root)
    parts += _section("A model: `models.NAME`", ModelEntry)
    parts += _section("A reference of scores: `score_edges`", ScoreReference)
    parts += _section("`estimates`", EstimatesEntry)
    parts += _section("A stream: `predictions` and `labels`", StreamEntry)
    for role in get_args(Role):
        rows = [[f"`{name}`", text] for name, text in NAMES[role].items()]
        parts += [f"### `{role}.fields`", _table(["field", "meaning"], rows)]
    parts += _section("A field in long form: `fields.NAME`", FieldEntry)
    parts += _section("An attribute: `segments.ATTRIBUTE`", SegmentEntry)
    parts += _section("`regression`", RegressionEntry)
    parts += _section("`ranking`", RankingEntry)
    parts += _section("A condition that excludes: `where.PATH`", NotEntry)
    parts += _section("Thresholds of a model: `models.NAME.thresholds`", ModelThresholds)
    parts += _section("Bounds: `thresholds.MEASURE`", Floor)
    parts += _section("Bounds of a measure of the first k: `thresholds.ndcg` and the like", FloorAtK)
    for name in plugins.sources():
        parts += _settings(f"Source `{name}`", name, plugins.source(name).Config)
    parts += _section("A target: `targets.NAME`", TargetEntry)
    parts += _section("Thresholds of a target: `targets.NAME.thresholds`", TargetThresholds)
    for name in plugins.probes():
        parts += _settings(f"Probe `{name}`", name, plugins.probe(name).Config)
    parts += _section("`limits`", Limits)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _schema(kind: kinds.Type, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of *kind*; Structs go into *definitions* by their name."""
    plain, extra = bare(kind)
    if isinstance(plain, kinds.StructType):
        return _struct_schema(plain, definitions)
    if isinstance(plain, kinds.UnionType):
        return {"anyOf": [_schema(member, definitions) for member in plain.types]}
    schema: dict[str, Any] = {
        name: limit for field, name in _LIMITS.items() if (limit := getattr(plain, field, None)) is not None
    }
    match plain:
        case kinds.LiteralType():
            schema["enum"] = list(plain.values)
        case kinds.ListType() | kinds.VarTupleType():
            schema |= {"type": "array", "items": _schema(plain.item_type, definitions)}
            schema |= _lengths(plain, "Items")
        case kinds.DictType():
            schema |= {"type": "object", "additionalProperties": _schema(plain.value_type, definitions)}
            names = bare(plain.key_type)[0]
            if isinstance(names, kinds.LiteralType):
                schema["propertyNames"] = {"enum": list(names.values)}
            schema |= _lengths(plain, "Properties")
        case kinds.CustomType(cls=cls) if cls is Duration:
            least = extra.get("ge", 0) or extra.get("gt", 0)
            schema |= {"type": "string", "pattern": _DURATION}
            if least:
                schema["$comment"] = f"at least {duration_text(least)}"
        case kinds.CustomType(cls=cls) if cls is Secret:
            schema["type"] = "string"
        case _:
            schema["type"] = _TYPES[type(plain)]
            schema |= _lengths(plain, "Length")
    return schema


def _lengths(kind: kinds.Type, unit: str) -> dict[str, int]:
    limits = {f"min{unit}": getattr(kind, "min_length", None), f"max{unit}": getattr(kind, "max_length", None)}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _struct_schema(kind: kinds.StructType, definitions: dict[str, Any]) -> dict[str, Any]:
    name = _name(kind.cls)
    if name not in definitions:
        definitions[name] = {}  # a Struct may hold itself
        properties = {}
        for field in kind.fields:
            properties[field.encode_name] = {"description": description(field), **_schema(field.type, definitions)}
            if not field.required and (value := _default(field)) is not None:
                properties[field.encode_name]["default"] = value
        definitions[name] |= {
            "type": "object",
            "properties": properties,
            "required": [field.encode_name for field in kind.fields if field.required],
            "additionalProperties": False,
        }
    return {"$ref": f"#/$defs/{name}"}


def _name(cls: type) -> str:
    """Unique among all sources: `written.Root`, `sql.Sql.Config`."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}"


def _default(field: kinds.Field) -> Any:
    """The default as a config has it."""
    return msgspec.to_builtins(default(field), enc_hook=_encoded, str_keys=True)


def _encoded(value: Any) -> Any:
    return duration_text(value) if isinstance(value, Duration) else str(value)


def _section(title: str, cls: type[msgspec.Struct]) -> Iterator[str]:
    yield f"## {title}"
    yield (cls.__doc__ or "").strip().split("\n\n")[0]
    rows = [
        [f"`{field.encode_name}`", _type_words(field.type), _default_words(field), description(field)]
        for field in struct_type(cls).fields
    ]
    yield _table(["key", "type", "default", "meaning"], rows)


def _settings(title: str, name: str, cls: type[msgspec.Struct]) -> Iterator[str]:
    """The table of a source or a probe, and those of the mappings inside it."""
    yield from _section(title, cls)
    for field in struct_type(cls).fields:
        kind = bare(field.type)[0]
        for member in kind.types if isinstance(kind, kinds.UnionType) else (kind,):
            if isinstance(inner := bare(member)[0], kinds.StructType):
                place = f"{name}.{field.encode_name}"
                yield from _settings(title.replace(name, place), place, inner.cls)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [
        head,
        ["---"] * len(head),
        *([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _default_words(field: kinds.Field) -> str:
    if field.required:
        return "required"
    value = _default(field)
    if value is None:
        return ""
    text = msgspec.json.encode(value).decode().replace('"', "")
    return f"`{text.replace(',', ', ')}`"


def _type_words(kind: kinds.Type) -> str:
    kind = bare(kind)[0]
    match kind:
        case kinds.UnionType():
            words = [_type_words(member) for member in kind.types if not isinstance(bare(member)[0], kinds.NoneType)]
            if all(word in words for word in _SCALAR):
                words = ["text, number or truth value", *(word for word in words if word not in _SCALAR)]
            said = " or ".join(dict.fromkeys(words))
        case kinds.LiteralType():
            said = ", ".join(f"`{value}`" for value in kind.values)
        case kinds.ListType() | kinds.VarTupleType():
            said = f"list of {_grouped(_type_words(kind.item_type))}"
        case kinds.DictType():
            said = f"mapping to {_grouped(_type_words(kind.value_type))}"
        case kinds.CustomType():
            said = "duration" if kind.cls is Duration else "secret text"
        case _:
            said = {"string": "text", "integer": "whole number", "boolean": "truth value"}.get(
                _TYPES.get(type(kind), "mapping"), _TYPES.get(type(kind), "mapping")
            )
    return said


def _grouped(words: str) -> str:
    return f"({words})" if " or " in words else words
