"""Nodes become typed msgspec Structs, and every fault on the way is listed, not only the first.

What a Struct may hold: text, numbers, booleans, Literal, Duration, Secret, lists, tuples, dicts, Structs, unions of
those, None.  Ranges are those of `msgspec.Meta`; for a Duration, `Meta(extra={"ge": seconds})` or `"gt"`.
A Struct's own rules go into its `__post_init__`: the text of a ValueError becomes the fault.
No message holds a value unless it is a number or nearly one of the words that the config knows.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import msgspec.inspect as kinds

from exporter.config.faults import Faults, join_key, listed, nearest
from exporter.config.kinds import bare, default, description, expected, found_kind, struct_type
from exporter.config.nodes import BROKEN, Node, plain_scalar
from exporter.config.types import Duration, Secret, canonical, duration_text, hide_passwords

Hook = Callable[[Node, str], Any]

_SCALARS: dict[type, tuple[type[kinds.Type], ...]] = {
    bool: (kinds.BoolType,),
    int: (kinds.IntType, kinds.FloatType),
    float: (kinds.FloatType, kinds.IntType),
    str: (kinds.StrType,),
    type(None): (kinds.NoneType,),
}
_CONTAINERS: dict[type, tuple[type[kinds.Type], ...]] = {
    list: (kinds.ListType, kinds.VarTupleType),
    dict: (kinds.StructType, kinds.DictType),
}


def hidden_paths(node: Node, key: str = "") -> Iterator[str]:
    """The keys whose values came from the environment or from a file."""
    if node.hidden:
        yield key
    elif isinstance(node.value, dict):
        for name, child in node.value.items():
            yield from hidden_paths(child, join_key(key, name))
    elif isinstance(node.value, list):
        for number, child in enumerate(node.value):
            yield from hidden_paths(child, f"{key}[{number}]")


def _is_broken(value: Any) -> bool:
    """Whether *value* is BROKEN or holds something that is; that of a missing secret is older than the decoding."""
    if isinstance(value, dict | list):
        return any(map(_is_broken, value.values() if isinstance(value, dict) else value))
    return value is BROKEN


class Decoder:
    """Decodes the nodes of one file; *hooks* build the Structs that need more than their types say."""

    def __init__(self, faults: Faults, hooks: Mapping[type, Hook] | None = None) -> None:
        self.faults = faults
        self.hooks = hooks or {}

    def decode(self, node: Node, cls: type[msgspec.Struct], key: str) -> Any:
        """An instance of *cls*, or BROKEN if there was any fault in it."""
        return self.hooks[cls](node, key) if cls in self.hooks else self.build(node, cls, key)

    def build(self, node: Node, cls: type[msgspec.Struct], key: str) -> Any:
        """As `decode`, without a hook."""
        before = len(self.faults)
        values = self.fields(node, cls, key)
        if _is_broken(values) or len(self.faults) > before:
            return BROKEN
        try:
            return cls(**values)
        except ValueError as error:
            self.faults.add(node.mark, key, _without_secrets(str(error), node, values))
            return BROKEN

    def fields(self, node: Node, cls: type[msgspec.Struct], key: str, others: Iterable[str] = ()) -> Any:
        """All fields of *cls* by name, decoded, default or BROKEN; only BROKEN if there is no mapping at all.

        *others* are keys that the caller reads itself.
        """
        if node.value is BROKEN:
            return BROKEN
        info = struct_type(cls)
        if not isinstance(node.value, dict):
            known = ", ".join([*others, *(field.encode_name for field in info.fields)][:8])
            return self.wrong(node, key, f"a mapping with keys such as {known}")
        missing = [field for field in info.fields if field.required and field.encode_name not in node.value]
        self.unknown_keys(node, key, [*(field.encode_name for field in info.fields), *others])
        for field in missing:
            what = description(field).rstrip(".")
            self.faults.missing(node.mark, join_key(key, field.encode_name), what[:1].lower() + what[1:])
        return {
            field.name: self.value(node.value[field.encode_name], field.type, join_key(key, field.encode_name))
            if field.encode_name in node.value
            else BROKEN
            if field.required
            else default(field)
            for field in info.fields
        }

    def unknown_keys(self, node: Node, key: str, known: list[str]) -> None:
        """A fault for every key that is not *known*."""
        assert isinstance(node.value, dict)  # noqa: S101 - the callers have asked
        unused = [name for name in known if name not in node.value]
        for name in node.value:
            if name in known:
                continue
            near = nearest(name, unused) or nearest(name, known)
            if near:
                self.faults.meant.add(join_key(key, near))
            hint = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(known))}"
            self.faults.add(node.keys[name], join_key(key, name), f"unknown key; {hint}")

    def value(self, node: Node, kind: kinds.Type, key: str, extra: Mapping[str, Any] | None = None) -> Any:
        """The value of *node* as *kind*, or BROKEN."""
        kind, own = bare(kind)
        extra = {**(extra or {}), **own}
        if node.value is BROKEN:
            return BROKEN
        if isinstance(kind, kinds.UnionType):
            chosen = self.choose(node, kind)
            return self.wrong(node, key, expected(kind)) if chosen is None else self.value(node, chosen, key, extra)
        if isinstance(kind, kinds.CustomType) and kind.cls is Duration:
            return self.duration(node, key, extra)
        reader = _READERS.get(type(kind))
        if reader is None:
            raise TypeError(f"{key}: a config cannot hold a {type(kind).__name__}")
        return reader(self, node, kind, key)

    def choose(self, node: Node, union: kinds.UnionType) -> kinds.Type | None:
        """The member of *union* that the shape of *node* asks for."""
        members = [(member, bare(member)[0]) for member in union.types]

        def first(*wanted: type[kinds.Type]) -> kinds.Type | None:
            return next((member for one in wanted for member, kind in members if isinstance(kind, one)), None)

        value = node.value
        if isinstance(value, list | dict):
            return first(*_CONTAINERS[type(value)])
        for member, kind in members:
            if isinstance(kind, kinds.LiteralType) and value in kind.values:
                return member
        exact = first(*_SCALARS.get(type(value), ()))
        if exact is None and value is not None and not isinstance(value, bool):
            exact = first(kinds.CustomType, kinds.LiteralType, *(_SCALARS[int] if node.hidden else ()))
        return exact

    def struct(self, node: Node, kind: kinds.StructType, key: str) -> Any:
        return self.decode(node, kind.cls, key)

    def mapping(self, node: Node, kind: kinds.DictType, key: str) -> Any:
        if not isinstance(node.value, dict):
            return self.wrong(node, key, expected(kind))
        self.length(node, kind.min_length, kind.max_length, key, "entries")
        key_kind = bare(kind.key_type)[0]
        known = [str(value) for value in key_kind.values] if isinstance(key_kind, kinds.LiteralType) else None
        if known:
            self.unknown_keys(node, key, known)
        return {
            name: self.value(child, kind.value_type, join_key(key, name))
            for name, child in node.value.items()
            if known is None or name in known
        }

    def sequence(self, node: Node, kind: kinds.ListType | kinds.VarTupleType, key: str) -> Any:
        if not isinstance(node.value, list):
            return self.wrong(node, key, expected(kind), "put it in [ ]")
        self.length(node, kind.min_length, kind.max_length, key, "entries")
        items = [self.value(item, kind.item_type, f"{key}[{i}]") for i, item in enumerate(node.value)]
        return tuple(items) if isinstance(kind, kinds.VarTupleType) else items

    def literal(self, node: Node, kind: kinds.LiteralType, key: str) -> Any:
        if node.value in kind.values and not isinstance(node.value, bool | float):
            return node.value
        near = nearest(node.value, map(str, kind.values)) if isinstance(node.value, str) and not node.hidden else None
        choices = listed(map(str, kind.values))
        message = (
            f"{node.value} is unknown; did you mean {near}? It may be {choices}" if near else f"must be {choices}"
        )
        self.faults.add(node.mark, key, message)
        return BROKEN

    def duration(self, node: Node, key: str, extra: Mapping[str, Any]) -> Any:
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = canonical(value)
            message = f"a duration needs a unit; write {number}s for seconds (or m, h, d, w)"
            self.faults.add(node.mark, key, message if value >= 0 else "a duration cannot be negative")
            return BROKEN
        try:
            seconds = Duration.parse(value) if isinstance(value, str) else None
        except ValueError:
            seconds = None
        if seconds is None or not math.isfinite(seconds):
            return self.wrong(node, key, "a number with a unit, such as 30s, 5m, 1h30m or 45d")
        least, above = extra.get("ge"), extra.get("gt")
        if least is not None and seconds < least:
            self.faults.add(node.mark, key, f"must be at least {duration_text(least)}")
        elif above is not None and seconds <= above:
            self.faults.add(node.mark, key, f"must be more than {duration_text(above)}")
        else:
            return seconds
        return BROKEN

    def secret(self, node: Node, kind: kinds.CustomType, key: str) -> Any:
        if kind.cls is not Secret:
            raise TypeError(f"{key}: a config cannot hold a {kind.cls.__name__}")
        if isinstance(node.value, str):
            return Secret(node.value)
        return self.wrong(node, key, "text, best as !env NAME or !file PATH")

    def nothing(self, node: Node, kind: kinds.NoneType, key: str) -> Any:
        return None if node.value is None else self.wrong(node, key, expected(kind))

    def truth(self, node: Node, kind: kinds.BoolType, key: str) -> Any:
        value = plain_scalar(node.value) if node.hidden and isinstance(node.value, str) else node.value
        return value if isinstance(value, bool) else self.wrong(node, key, expected(kind))

    def text(self, node: Node, kind: kinds.StrType, key: str) -> Any:
        value = node.value
        if not isinstance(value, str):
            return self.wrong(node, key, "text", "put it in quotes" if isinstance(value, bool | int | float) else "")
        if not self.length(node, kind.min_length, kind.max_length, key, "characters"):
            return BROKEN
        if kind.pattern is not None and not re.search(kind.pattern, value):
            self.faults.add(node.mark, key, f"must match the pattern {kind.pattern}")
            return BROKEN
        return value

    def number(self, node: Node, kind: kinds.IntType | kinds.FloatType, key: str) -> Any:
        value = plain_scalar(node.value) if node.hidden and isinstance(node.value, str) else node.value
        whole = isinstance(kind, kinds.IntType)
        if isinstance(value, bool) or not isinstance(value, int | float):
            plain = value.replace("_", "") if isinstance(value, str) and not node.hidden else ""
            hint = f"write {plain.lstrip('0') or '0'}" if re.fullmatch(r"\d{1,30}", plain) else ""
            return self.wrong(node, key, expected(kind), hint)
        if not math.isfinite(value) or abs(value) > 2**63 or (whole and value != int(value)):
            self.faults.add(node.mark, key, f"must be {expected(kind)}" + ("" if whole else ", and finite"))
            return BROKEN
        limits = (
            (kind.ge, "at least", operator.ge),
            (kind.gt, "more than", operator.gt),
            (kind.le, "at most", operator.le),
            (kind.lt, "less than", operator.lt),
        )
        for limit, words, holds in limits:
            if limit is not None and not holds(value, limit):
                found = "" if node.hidden else f", found {canonical(value)}"
                self.faults.add(node.mark, key, f"must be {words} {canonical(limit)}{found}")
                return BROKEN
        return int(value) if whole else float(value)

    def length(self, node: Node, least: int | None, most: int | None, key: str, unit: str) -> bool:
        """Whether a text, list or mapping is as long as it must be; a fault if it is not."""
        count = len(node.value) if isinstance(node.value, str | list | dict) else 0
        if least is not None and count < least:
            message = "must not be empty" if least == 1 else f"must have at least {least} {unit}"
        elif most is not None and count > most:
            message = f"must have at most {most} {unit}"
        else:
            return True
        self.faults.add(node.mark, key, message)
        return False

    def wrong(self, node: Node, key: str, wanted: str, hint: str = "") -> Any:
        """A fault for a value of the wrong type; BROKEN."""
        if node.value is None:
            message = f"nothing is written here; expected {wanted}"
        else:
            message = f"expected {wanted}, found {found_kind(node)}" + (f"; {hint}" if hint else "")
        self.faults.add(node.mark, key, message)
        return BROKEN


_READERS: dict[type[kinds.Type], Callable[[Decoder, Node, Any, str], Any]] = {
    kinds.StructType: Decoder.struct,
    kinds.DictType: Decoder.mapping,
    kinds.ListType: Decoder.sequence,
    kinds.VarTupleType: Decoder.sequence,
    kinds.LiteralType: Decoder.literal,
    kinds.CustomType: Decoder.secret,
    kinds.NoneType: Decoder.nothing,
    kinds.BoolType: Decoder.truth,
    kinds.IntType: Decoder.number,
    kinds.FloatType: Decoder.number,
    kinds.StrType: Decoder.text,
}


def _without_secrets(message: str, node: Node, values: Any) -> str:
    """*message* without any secret that the Struct's author may have put there by mistake."""
    secrets = {*_hidden_texts(node), *_revealed(values)}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        message = message.replace(secret, "<secret>")
    return hide_passwords(message)


def _hidden_texts(node: Node) -> Iterator[str]:
    if node.hidden:
        yield str(node.value)
    children = node.value.values() if isinstance(node.value, dict) else node.value
    if isinstance(children, Iterable) and not isinstance(children, str):
        for child in children:
            yield from _hidden_texts(child)


def _revealed(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, msgspec.Struct):
        yield from _revealed(msgspec.structs.asdict(value))
    elif isinstance(value, dict | list | tuple):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _revealed(child)
