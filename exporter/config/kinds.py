"""What msgspec knows of config types, and how to say it in a user's words."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import msgspec.inspect as kinds

from exporter.config.faults import listed
from exporter.config.nodes import Node
from exporter.config.types import Duration


@functools.cache
def struct_type(cls: type[msgspec.Struct]) -> kinds.StructType:
    """What msgspec knows of *cls*."""
    info = kinds.type_info(cls)
    assert isinstance(info, kinds.StructType)  # noqa: S101 - tells mypy what the argument's type implies
    return info


def bare(kind: kinds.Type) -> tuple[kinds.Type, dict[str, Any]]:
    """*kind* without its descriptions, and what `Meta(extra=...)` said of it."""
    extra: dict[str, Any] = {}
    while isinstance(kind, kinds.Metadata):
        extra.update(kind.extra or {})
        kind = kind.type
    return kind, extra


def default(field: kinds.Field) -> Any:
    """The default of a field that is not required."""
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def description(field: kinds.Field) -> str:
    """What `Meta(description=...)` says of a field."""
    kind = field.type
    while isinstance(kind, kinds.Metadata):
        if text := (kind.extra_json_schema or {}).get("description"):
            return str(text)
        kind = kind.type
    return ""


def found_kind(node: Node) -> str:
    """The type of a value in a user's words."""
    if node.hidden:
        return "the text that !env or !file gave"
    match node.value:
        case bool():
            return "true" if node.value else "false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "a mapping"


_WORDS: dict[type[kinds.Type], str] = {
    kinds.ListType: "a list",
    kinds.VarTupleType: "a list",
    kinds.DictType: "a mapping",
    kinds.StructType: "a mapping",
    kinds.IntType: "a whole number",
    kinds.FloatType: "a number",
    kinds.BoolType: "true or false",
}


def expected(kind: kinds.Type) -> str:
    """What *kind* may hold, in a user's words."""
    kind = bare(kind)[0]
    if isinstance(kind, kinds.UnionType):
        words = (expected(member) for member in kind.types if not isinstance(bare(member)[0], kinds.NoneType))
        return listed(dict.fromkeys(words))
    if isinstance(kind, kinds.LiteralType):
        return listed(map(str, kind.values))
    if isinstance(kind, kinds.CustomType) and kind.cls is Duration:
        return "a duration such as 30s, 5m or 45d"
    return _WORDS.get(type(kind), "text")
