"""JSON Lines: blocks of lines decoded by one call into structs that hold the wanted paths only.

A reader learns the kinds of value that each path has had, and decodes into types that admit no other, so that a
column's kind is known without a look at its values.  A new kind widens the type, once.  Where the one call fails,
the lines of the block are read one by one, and only what is wrong with single lines is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from exporter.contracts import Refusals
from exporter.sources.records import Column, Records, Texts, Words
from exporter.sources.values import EXACT

Path: TypeAlias = tuple[str, ...]

_NEWLINE = 10
_BOM = b"\xef\xbb\xbf"
_NONE = type(None)
_WORDS = 64
_FLOAT, _FLOAT_TYPE = np.dtype([("type", "u1"), ("value", ">f8")]), 0xCB  # of MessagePack
_packed = msgspec.msgpack.Encoder().encode
_SCALARS = {str, int, float, bool, _NONE}
# A comprehension with the name written out reads a slot in half the time of an attrgetter.
_SLOTS: tuple[Callable[[list[Any]], list[Any]], ...] = (
    lambda rows: [row.c0 for row in rows],
    lambda rows: [row.c1 for row in rows],
    lambda rows: [row.c2 for row in rows],
    lambda rows: [row.c3 for row in rows],
    lambda rows: [row.c4 for row in rows],
    lambda rows: [row.c5 for row in rows],
    lambda rows: [row.c6 for row in rows],
    lambda rows: [row.c7 for row in rows],
    lambda rows: [row.c8 for row in rows],
    lambda rows: [row.c9 for row in rows],
)
_WORD_SLOTS: tuple[Callable[[list[Any], dict[str | None, int]], list[int]], ...] = (
    lambda rows, words: [words[row.c0] for row in rows],
    lambda rows, words: [words[row.c1] for row in rows],
    lambda rows, words: [words[row.c2] for row in rows],
    lambda rows, words: [words[row.c3] for row in rows],
    lambda rows, words: [words[row.c4] for row in rows],
    lambda rows, words: [words[row.c5] for row in rows],
    lambda rows, words: [words[row.c6] for row in rows],
    lambda rows, words: [words[row.c7] for row in rows],
    lambda rows, words: [words[row.c8] for row in rows],
    lambda rows, words: [words[row.c9] for row in rows],
)


class _Big(int):
    """Stands among the kinds of a path for integers that a float64 cannot hold."""


class _Word(str):
    """Stands for the kind of a column of `Words`."""

    __slots__ = ()


class _Node:
    """A wanted value, or an object with wanted keys inside, and what was met at its place.

    `words` are the texts that repeat themselves there, such as classes: the decoder then hands out one object per
    word instead of making a new one per row.  None if texts differ too much.
    """

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self.words: set[str] | None = set()
        self.inner: dict[str, _Node] = {}
        self.news = False

    def grow(self, path: Path) -> None:
        if path:
            self.inner.setdefault(path[0], _Node()).grow(path[1:])

    def learn(self, values: list[Any], struct: Any) -> None:
        """Note the kinds and words of *values*; `news` tells that there was a new one."""
        kinds = set(map(type, values)) - {struct}
        if not kinds <= self.kinds:
            self.news = True
            self.kinds |= kinds
        if self.words is not None and struct is None and str in kinds:
            words = self.words.union(values) - {None} if self.kinds <= {str, _NONE} else set()
            if words and 2 * len(words) <= max(len(values), 2 * len(self.words) + 2):
                self.news |= words != self.words
                self.words = words if len(words) <= _WORDS and all(map(_is_word, words)) else None
            else:
                self.words = None
                self.news = True


class _Shape:
    """The type that a node is decoded into: *tight* admits the kinds met so far, else any JSON value is taken."""

    def __init__(self, node: _Node, *, tight: bool) -> None:
        self.node = node
        self.tight = tight
        self.inner = {key: _Shape(child, tight=tight) for key, child in node.inner.items()}
        fields = [
            (f"c{slot}", shape.type, msgspec.field(name=key, default=None))
            for slot, (key, shape) in enumerate(self.inner.items())
        ]
        self.struct: Any = msgspec.defstruct("Row", fields, gc=False) if fields else None
        self.words: dict[str | None, int] | None = None
        self.names: tuple[str | None, ...] = ()
        self.type: Any = self._type()

    def _type(self) -> Any:
        kinds = self.node.kinds
        if self.struct is not None:
            others = kinds & (_SCALARS | {list}) if self.tight else _SCALARS | {list}
            return _union({self.struct, _NONE} | others)
        if not self.tight or not kinds <= _SCALARS | {_Big}:
            return Any
        if self.node.words and kinds <= {str, _NONE}:
            self.names = (*sorted(self.node.words), None)
            self.words = {word: code for code, word in enumerate(self.names)}
            words: Any = Literal.__getitem__(self.names[:-1])
            return words | None if _NONE in kinds else words
        # Integers among floats are decoded as floats of the same value; what a float cannot hold is noticed later.
        return float if float in kinds and kinds <= {int, float} else _union(kinds - {_Big})

    def columns(self, rows: list[Any], path: Path = ()) -> Iterator[tuple[Path, Any, set[type]]]:
        """Path, values and kinds of every wanted value in *rows*, which are structs of this shape."""
        for slot, (key, shape) in enumerate(self.inner.items()):
            if shape.words is not None and slot < len(_WORD_SLOTS):
                codes = np.frombuffer(bytes(_WORD_SLOTS[slot](rows, shape.words)), np.uint8)
                yield (*path, key), Words(codes, shape.names), {_Word}
                continue
            values = _SLOTS[slot](rows) if slot < len(_SLOTS) else list(map(attrgetter(f"c{slot}"), rows))
            if not self.tight:
                shape.node.learn(values, shape.struct)
            if shape.struct is None:
                yield (*path, key), values, shape.node.kinds
            else:
                yield from shape.inside(values, (*path, key))

    def inside(self, values: list[Any], path: Path) -> Iterator[tuple[Path, Any, set[type]]]:
        """As `columns`, for values of which some may be no object."""
        empty = self.struct()
        rows = [value if type(value) is self.struct else empty for value in values]
        lists = [row for row, value in enumerate(values) if type(value) is list] if list in self.node.kinds else []
        for inner, column, kinds in self.columns(rows, path):
            if not lists:
                yield inner, column, kinds
                continue
            patched = list(column)
            for row in lists:
                patched[row] = _dig(values[row], inner[len(path) :])
            yield inner, patched, {object}

    def build(self, value: dict[str, Any]) -> Any:
        """The struct of an object that another parser has read."""
        slots = []
        for key, shape in self.inner.items():
            found = value.get(key)
            slots.append(shape.build(found) if shape.struct is not None and isinstance(found, dict) else found)
        return self.struct(*slots)


class JsonLines:
    """Reads JSON Lines; a record is a line that holds one object.

    A dotted path leads into nested objects (a number leads into a list), or names a top-level key that has the
    dots in it.  Also accepted: a byte-order mark, CRLF, blank lines, integers of any size and, as Python writes
    them, bare NaN and Infinity.  Bytes that are not UTF-8 only matter in wanted values.
    """

    has_header = False

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = {path: tuple(path.split(".")) for path in paths}
        self._root = _Node()
        for path, parts in self._paths.items():
            self._root.grow(parts)
            self._root.grow((path,))
        for parts in self._paths.values():  # a key wanted as well as wanted inside is decoded whole
            node = self._root
            for part in parts:
                node = node.inner.get(part, _Node())
            node.inner.clear()
        if not self._paths:
            self._root.grow(("",))
        self._wide = _Shape(self._root, tight=False)
        self._decode_any = msgspec.json.Decoder(self._wide.struct)
        self._tight: _Shape | None = None
        self._decode_tight = self._decode_any

    def complete(self, block: bytes) -> int:
        return block.rfind(b"\n") + 1

    def decode(
        self,
        block: bytes | memoryview,
        place: Callable[[int], str],
        header: bytes = b"",  # noqa: ARG002
    ) -> Records:
        lines = _lines(block)
        starts: list[int] = []

        def place_of(row: int) -> str:
            if not starts:
                starts.extend([0, *(np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE) + 1).tolist()])
            return place(starts[row])

        if self._tight is not None:
            rows = _decoded(self._decode_tight, block, lines)
            if rows is not None:
                columns = self._columns(self._tight, rows)
                if columns is not None:
                    return Records(columns, len(rows), place_of)
        refused = Refusals()
        rows = _decoded(self._decode_any, block, lines)
        if rows is None:
            starts, rows = self._by_line(bytes(block), place, refused)
        columns = self._columns(self._wide, rows) or {}
        self._learn()
        return Records(columns, len(rows), place_of, refused)

    def _learn(self) -> None:
        """Fit the tight shape to what was met, if there was news."""
        nodes = list(_nodes(self._root))
        if self._tight is not None and not any(node.news for node in nodes):
            return
        for node in nodes:
            node.news = False
        self._tight = _Shape(self._root, tight=True)
        self._decode_tight = msgspec.json.Decoder(self._tight.struct)

    def _columns(self, shape: _Shape, rows: list[Any]) -> dict[str, Column] | None:
        """A column per path; None if the tight shape turned large integers into floats."""
        found = {path: (values, kinds) for path, values, kinds in shape.columns(rows)}
        columns: dict[str, Column] = {}
        for path, parts in self._paths.items():
            values, kinds = _along(found, parts)
            places, decoded = [parts], kinds
            if len(parts) > 1 and found[path,][1] != {_NONE}:
                flat, others = found[path,]
                values = [two if one is None else one for one, two in zip(values, flat, strict=True)]
                places, decoded, kinds = [parts, (path,)], kinds | others, {object}
            column = values if isinstance(values, Words) else _typed(values, kinds)
            numbers = column
            if column is values and shape.tight and float in decoded and decoded <= {int, float}:
                numbers = np.array(values, np.float64)  # the key is missing somewhere: NaN there
            if isinstance(numbers, np.ndarray) and numbers.dtype == np.float64 and (np.abs(numbers) >= EXACT).any():
                if shape.tight:
                    self._forget_exactness(places)
                    return None
                column = values
            columns[path] = column
        return columns

    def _forget_exactness(self, places: Sequence[Path]) -> None:
        for parts in places:
            node = self._root
            for part in parts:
                node = node.inner[part]
            node.kinds.add(_Big)
            node.news = True

    def _by_line(self, block: bytes, place: Callable[[int], str], refused: Refusals) -> tuple[list[int], list[Any]]:
        """Where the lines that can be read start, and their structs."""
        starts: list[int] = []
        rows: list[Any] = []
        at = 0
        for raw in block.split(b"\n"):
            line = raw.removeprefix(_BOM).strip()
            if line:
                row = self._line(line)
                if isinstance(row, str):
                    refused.add(row, place(at))
                else:
                    rows.append(row)
                    starts.append(at)
            at += len(raw) + 1
        return starts, rows

    def _line(self, line: bytes) -> Any:
        """The struct of one line, or why there is none."""
        try:
            return self._decode_any.decode(line)
        except RecursionError:
            return "bad_json"
        except ValueError:  # msgspec's errors and UnicodeDecodeError alike
            pass
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError:
            return "bad_utf8"
        except (ValueError, RecursionError):
            return "bad_json"
        return self._wide.build(value) if isinstance(value, dict) else "not_an_object"


def _is_word(text: str) -> bool:
    return len(text) <= _WORDS and text.isascii() and text.isprintable()


def _nodes(node: _Node) -> Iterator[_Node]:
    yield node
    for inner in node.inner.values():
        yield from _nodes(inner)


def _union(kinds: set[Any]) -> Any:
    union: Any = None
    for kind in kinds:
        union = kind if union is None else union | kind
    return union


def _lines(block: bytes | memoryview) -> int:
    ends = np.frombuffer(block, np.uint8) == _NEWLINE
    return int(np.count_nonzero(ends)) + (not (len(ends) and ends[-1]))


def _decoded(decoder: msgspec.json.Decoder[Any], block: bytes | memoryview, lines: int) -> list[Any] | None:
    """All objects of *block*, if it holds nothing else and just one per line."""
    try:
        rows: list[Any] = decoder.decode_lines(block)
    except (ValueError, RecursionError):
        return None
    return rows if len(rows) == lines else None


def _along(found: dict[Path, tuple[Any, set[type]]], parts: Path) -> tuple[Any, set[type]]:
    """The values at *parts*, looked up in a value along the way if that was decoded whole."""
    if parts in found:
        return found[parts]
    depth = next(depth for depth in range(len(parts) - 1, 0, -1) if parts[:depth] in found)
    return [_dig(value, parts[depth:]) for value in found[parts[:depth]][0]], {object}


def _dig(value: Any, parts: Path) -> Any:
    for part in parts:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _typed(values: list[Any], kinds: set[type]) -> Column:
    """*values* as a column whose type says of which kind they are, if they are of one."""
    if object in kinds:
        kinds = set(map(type, values))
    try:
        if kinds <= {str, _NONE}:
            return Texts(values)
        if kinds == {int}:
            return _integers(values)
        if kinds <= {int, float}:
            return _floats(values)
        if kinds == {bool} and None not in values:
            return np.array(values, np.bool_)
    except (TypeError, OverflowError):  # a None where a key is missing, an integer beyond 64 bits
        pass
    return values


def _floats(values: list[Any]) -> Column:
    """float64 of numbers, read off their MessagePack, where every float has nine bytes: a fifth of the time."""
    count = len(values)
    packed = _packed(values)
    header = 1 if count < 1 << 4 else 3 if count < 1 << 16 else 5
    if len(packed) == header + count * _FLOAT.itemsize:
        found = np.frombuffer(packed, _FLOAT, offset=header)
        if (found["type"] == _FLOAT_TYPE).all():
            return found["value"].astype(np.float64)
    # Where a key is missing there is a None, of which NumPy would make a NaN that nobody wrote.
    return values if None in values else np.fromiter(values, np.float64, count)


def _integers(values: list[Any]) -> Column:
    try:
        return np.frombuffer(bytes(values), np.uint8)
    except ValueError:
        return np.fromiter(values, np.int64, len(values))
