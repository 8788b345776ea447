"""YAML text becomes nodes that know their line and column; what YAML would guess wrongly is kept as text.

Scalars follow YAML 1.2: `on`, `off`, `yes`, `no`, `1:30`, `010`, `1_000` and dates stay text, `1e3` is a number.
Two tags are known: `!env NAME` and `!file PATH`; what they give is marked as hidden, and no fault ever shows it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from exporter.config.faults import Faults, Mark, join_key, nearest
from exporter.config.types import Scalar, hide_passwords

MAX_BYTES = 1 << 20
MAX_DEPTH = 30
MAX_NODES = 100_000

_STANDARD = "tag:yaml.org,2002:"
_PLAIN, _TEXT = "plain", "text"
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_SPECIAL: dict[str, Scalar | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + dot: math.inf for sign in ("", "+") for dot in (".inf", ".Inf", ".INF")},
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# PyYAML's own words may quote an alias or a tag that was meant as a password; these say what to do instead.
_SYNTAX = (
    ("found undefined alias", "text that begins with * is an alias in YAML, and none is defined; put it in quotes"),
    ("tag", "text that begins with ! is a tag in YAML; put it in quotes, or write !env NAME or !file PATH"),
    ("found duplicate anchor", "this &anchor is defined a second time; give it another name"),
    ("'\\t'", "a tab cannot indent in YAML; use spaces"),
    ("cannot start any token", "no text may begin with this character in YAML; put the text in quotes"),
    (
        "mapping values are not allowed",
        "a ':' is not expected here; check the indentation, or quote the text",
    ),
    ("could not find expected ':'", "a ':' is missing behind the key in this line or the one above"),
    ("expected ',' or", "a bracket is open and no ',' or closing bracket follows"),
    ("found unexpected end of stream", "a quote is opened and never closed"),
    ("expected '<document start>'", "the indentation differs from the lines above"),
    ("expected <block end>", "the indentation differs from the lines above, or text follows a closing quote"),
)


class _Broken:
    """Stands for a value that already has its fault."""

    def __repr__(self) -> str:
        return "BROKEN"


BROKEN = _Broken()

Value: TypeAlias = "Scalar | list[Node] | dict[str, Node] | _Broken | None"


@dataclass(slots=True)
class Node:
    """A value and where it stands; `line` and `column` count from 1, and `keys` tells where each key of a mapping is.

    `hidden` says that the value came from the environment or from a file, and must never be shown.
    """

    value: Value
    line: int = 1
    column: int = 1
    hidden: bool = False
    keys: dict[str, Mark] = field(default_factory=dict)

    @property
    def mark(self) -> Mark:
        return (self.line, self.column)

    def at(self, *path: str) -> Node:
        """The node under keys, or the nearest one above that exists."""
        if path and isinstance(self.value, dict) and path[0] in self.value:
            return self.value[path[0]].at(*path[1:])
        return self

    def has(self, *path: str) -> bool:
        """Whether something (not null) is written under these keys."""
        if not path:
            return self.value is not None
        return isinstance(self.value, dict) and path[0] in self.value and self.value[path[0]].has(*path[1:])


def plain_scalar(text: str) -> Scalar | None:
    """What an unquoted *text* stands for in YAML 1.2."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if len(text) > 400:  # no number that anyone means, and beyond what Python converts at once
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def read(text: str, name: str, directory: Path, environment: Mapping[str, str]) -> tuple[Node, Faults]:
    """The root node of a config and the faults met so far; files of `!file` are looked up from *directory*.

    Raises ConfigError where nothing more can be read: broken syntax, several documents, absurd size or depth.
    """
    faults = Faults(name)
    if len(text) > MAX_BYTES:
        faults.add((1, 1), "", f"the config is larger than {MAX_BYTES >> 20} MiB; is this the right file?")
        raise faults.error()
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        if root is None:
            return Node(None), faults
        return _Builder(faults, directory, environment).build(root, ""), faults
    except _RefusedError as refused:
        faults.add(_mark(refused.mark), refused.key, refused.message)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = (before.count("\n") + 1, error.position - before.rfind("\n"))
        faults.add(mark, "", f"the character U+{error.character:04X} is not allowed in YAML; delete it")
    except yaml.MarkedYAMLError as error:
        faults.add(_mark(error.problem_mark or error.context_mark), "", _syntax(error))
    except (yaml.YAMLError, ValueError, OverflowError):  # e.g. an escape beyond Unicode: "\UFFFFFFFF"
        faults.add((1, 1), "", "this is no valid YAML: a quoted text holds an impossible escape")
    raise faults.error()


class _RefusedError(Exception):
    def __init__(self, mark: yaml.Mark, message: str, key: str = "") -> None:
        super().__init__(message)
        self.mark, self.message, self.key = mark, message, key


class _Loader(yaml.SafeLoader):
    """Composes nodes only: it constructs nothing, guesses no type, and stops at a depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _RefusedError(mark, f"nested deeper than {MAX_DEPTH} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:  # noqa: ARG002 - PyYAML's signature
        return _PLAIN if kind is yaml.ScalarNode and implicit[0] else _TEXT


class _Builder:
    """Turns what PyYAML composed into nodes, with every alias spelled out, up to a limit."""

    def __init__(self, faults: Faults, directory: Path, environment: Mapping[str, str]) -> None:
        self.faults = faults
        self.directory = directory
        self.environment = environment
        self.left = MAX_NODES
        self.open: list[yaml.Node] = []

    def build(self, node: yaml.Node, key: str) -> Node:
        self.left -= 1
        if self.left < 0:
            raise _RefusedError(node.start_mark, f"aliases make more than {MAX_NODES} values of this file", key)
        if any(node is outer for outer in self.open):
            raise _RefusedError(node.start_mark, "an alias stands inside what it names", key)
        if len(self.open) > MAX_DEPTH:
            raise _RefusedError(node.start_mark, f"aliases nest deeper than {MAX_DEPTH} levels", key)
        line, column = _mark(node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            value, hidden = self.scalar(node, key)
            return Node(value, line, column, hidden)
        if node.tag not in {_TEXT, _STANDARD + "map", _STANDARD + "seq"}:
            self.tag_fault(node, key)
            return Node(BROKEN, line, column)
        self.open.append(node)
        built = Node(None, line, column)
        if isinstance(node, yaml.MappingNode):
            built.value = self.mapping(node, key, built.keys)
        elif isinstance(node, yaml.SequenceNode):
            built.value = [self.build(item, f"{key}[{number}]") for number, item in enumerate(node.value)]
        self.open.pop()
        return built

    def mapping(self, node: yaml.MappingNode, key: str, marks: dict[str, Mark]) -> dict[str, Node]:
        """The entries, those of `<<` behind the written ones; of a key written twice the first one is kept."""
        entries: dict[str, Node] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark)
            name = self.key_name(key_node, key)
            if name is None:
                continue
            path = join_key(key, name)
            if name == "<<" and key_node.tag == _PLAIN:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            elif name in entries:
                first = marks[name][0]
                self.faults.add(mark, path, f"this key is already on line {first}; keep one of the two")
            else:
                marks[name] = mark
                entries[name] = self.build(value_node, path)
        for source in merged:
            built = self.build(source, key)
            if not isinstance(built.value, dict):
                self.faults.add(
                    built.mark, join_key(key, "<<"), "expected an alias of a mapping, such as <<: *defaults"
                )
                continue
            for name, entry in built.value.items():
                entries.setdefault(name, entry)
                marks.setdefault(name, built.keys[name])
        return entries

    def key_name(self, node: yaml.Node, key: str) -> str | None:
        """The key as it is written, `True` as `true`; None with a fault if it is no plain text."""
        if not isinstance(node, yaml.ScalarNode) or node.tag not in {_PLAIN, _TEXT, _STANDARD + "str"}:
            message = "a key must be a text; here stands a list, a mapping or a tag"
            self.faults.add(_mark(node.start_mark), key, message)
            return None
        if not node.value:
            self.faults.add(_mark(node.start_mark), key, "a key must not be empty")
            return None
        text = str(node.value)
        return text.lower() if node.tag == _PLAIN and isinstance(_SPECIAL.get(text), bool) else text

    def scalar(self, node: yaml.ScalarNode, key: str) -> tuple[Value, bool]:
        """The value, and whether it is hidden."""
        text = str(node.value)
        if node.tag == _PLAIN:
            return plain_scalar(text), False
        if node.tag in {_TEXT, _STANDARD + "str"}:
            return text, False
        if node.tag == "!env":
            return self.from_environment(text, node, key), True
        if node.tag == "!file":
            return self.from_file(text, node, key), True
        self.tag_fault(node, key)
        return BROKEN, False

    def from_environment(self, name: str, node: yaml.Node, key: str) -> Value:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            message = "!env expects the name of one environment variable, such as !env LABELS_DB"
        elif name in self.environment:
            return self.environment[name]
        else:
            near = nearest(name, self.environment)
            hint = f"; did you mean {near}?" if near else "; set it before the start"
            message = f"the environment variable {name} is not set{hint}"
        self.faults.add(_mark(node.start_mark), key, message)
        return BROKEN

    def from_file(self, name: str, node: yaml.Node, key: str) -> Value:
        try:
            path = self.directory / name
            if not path.is_file():
                problem = "is no file; check the path" if path.exists() else "does not exist"
            elif path.stat().st_size > MAX_BYTES:
                problem = f"is larger than {MAX_BYTES >> 20} MiB"
            else:
                text = path.read_bytes().decode()
                return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
        except PermissionError:
            problem = "may not be read by this user; change its owner or mode"
        except UnicodeDecodeError:
            problem = "is no UTF-8 text"
        except (OSError, ValueError):
            problem = "cannot be read; check the path"
        if problem == "does not exist" and not name.startswith("/"):
            problem += f"; it was looked for in {self.directory}"
        self.faults.add(_mark(node.start_mark), key, f"the file {hide_passwords(name)} {problem}")
        return BROKEN

    def tag_fault(self, node: yaml.Node, key: str) -> None:
        message = "only the tags !env NAME and !file PATH are known; put text that begins with ! in quotes"
        if node.tag in {"!env", "!file"}:
            message = f"{node.tag} expects one text behind it, such as !env LABELS_DB or !file secrets/password"
        self.faults.add(_mark(node.start_mark), key, message)


def _mark(mark: yaml.Mark | None) -> Mark:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = f"{error.context or ''} {error.problem or ''}"
    if "expected a single document" in problem:
        return "a second document begins here (---); keep one document in the file"
    for part, message in _SYNTAX:
        if part in problem:
            return message
    return "this is no valid YAML; check the indentation, quotes and brackets here and in the line above"
