"""YAML as it is read: places, traps, limits, and what comes from outside."""

import math
from pathlib import Path

import pytest

from exporter.config.nodes import MAX_BYTES, Node, read
from exporter.errors import ConfigError


def nodes(text, environment=None, directory=Path()):
    """The root node of *text*, which has no fault."""
    root, faults = read(text, "m.yml", directory, environment or {})
    assert faults.found == []
    return root


def plain(node):
    """*node* as builtins."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    return [plain(child) for child in node.value] if isinstance(node.value, list) else node.value


def complaint(text, environment=None, directory=Path()):
    """The lines of all faults of *text*, whether reading could go on or not."""
    try:
        _, faults = read(text, "m.yml", directory, environment or {})
    except ConfigError as error:
        return str(error).split("\n")
    return str(faults.error()).split("\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("on", "off", "yes", "no", "NO", "y", "1:30", "010", "-01", "1_000", "2026-11-22")),
        *((word, word) for word in ("=", "1.", "0b1", "+", ".", "1e", "e3", "9" * 401)),
        ("1e3", 1000.0),
        ("1.5e-3", 0.0015),
        (".5", 0.5),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("0.10", 0.1),
        ("0o17", 15),
        ("0x1F", 31),
        ("12345678901234567890", 12345678901234567890),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("-.inf", -math.inf),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("|\n  text\n", "text\n"),
    ],
)
def test_scalars(text, value):
    """Scalars are those of YAML 1.2; what looks like a number to older versions only stays text."""
    if text == "1.":
        value = 1.0
    found = plain(nodes(f"a: {text}"))["a"]
    assert found == value
    assert type(found) is type(value)


def test_places():
    """Keys and values know their line and column, counted from 1."""
    root = nodes("a:\n  b: [x,\n    {c: 1}]\n")
    inner = root.value["a"].value["b"]
    assert root.keys == {"a": (1, 1)}
    assert root.value["a"].keys == {"b": (2, 3)}
    assert [item.mark for item in inner.value] == [(2, 7), (3, 5)]
    assert inner.value[1].at("c").mark == (3, 9)
    assert root.at("a", "z", "y").mark == (2, 3)
    assert root.has("a", "b")
    assert not root.has("a", "c")
    assert not Node(None).has("a")


def test_merge_and_aliases():
    """An alias is read wherever it stands, and a merged mapping gives way to what is written."""
    text = "base: &base {a: 1, b: 2}\nx: {<<: *base, b: 3}\ny: {<<: [*base, {c: 4}]}\nz: *base"
    assert plain(nodes(text)) == {
        "base": {"a": 1, "b": 2},
        "x": {"b": 3, "a": 1},
        "y": {"a": 1, "b": 2, "c": 4},
        "z": {"a": 1, "b": 2},
    }


def test_every_duplicate_key_is_listed():
    """Each repetition of a key is a fault of its own that names the first one's line."""
    assert complaint("a: 1\nb: {c: 1, c: 2}\na: 2\n'a': 3\ntrue: 1\nTrue: 2") == [
        "m.yml:2:11: b.c: this key is already on line 2; keep one of the two",
        "m.yml:3:1: a: this key is already on line 1; keep one of the two",
        "m.yml:4:1: a: this key is already on line 1; keep one of the two",
        "m.yml:6:1: true: this key is already on line 5; keep one of the two",
    ]


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
)
CHAIN = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: *hunter2", "1:4: text that begins with * is an alias in YAML, and none is defined; put it in quotes"),
        (
            "a: !hunter2 x",
            "1:4: a: only the tags !env NAME and !file PATH are known; put text that begins with ! in quotes",
        ),
        ("a: !h!unter2 x", ("1:4: text that begins with ! is a tag in YAML; put it in quotes, "
         "or write !env NAME or !file PATH")),
        ("a: !!int 1", ("1:4: a: only the tags !env NAME and !file PATH are known; "
         "put text that begins with ! in quotes")),
        ("a: !!set {b}", ("1:4: a: only the tags !env NAME and !file PATH are known; "
         "put text that begins with ! in quotes")),
        ("a: !env [b]", "1:4: a: !env expects one text behind it, such as !env LABELS_DB or !file secrets/password"),
        ("a: &b 1\nc: &b 2", "2:4: this &anchor is defined a second time; give it another name"),
        ("a:\n\tb: 1", "2:1: a tab cannot indent in YAML; use spaces"),
        ("a: @hunter2", "1:4: no text may begin with this character in YAML; put the text in quotes"),
        ("a: b: c", "1:5: a ':' is not expected here; check the indentation, or quote the text"),
        ("a: 1\nhunter2\nb: 1", "3:1: a ':' is missing behind the key in this line or the one above"),
        ("a: [1, 2", "1:9: a bracket is open and no ',' or closing bracket follows"),
        ("a: 'hunter2", "1:12: a quote is opened and never closed"),
        ("a: 1\n  b: 2", "2:4: a ':' is not expected here; check the indentation, or quote the text"),
        ("a: 1\n b: 2\n", "2:3: a ':' is not expected here; check the indentation, or quote the text"),
        ("  a: 1\n b: 2\n", "2:2: the indentation differs from the lines above"),
        ("%hunter2 x\na: 1", "2:1: the indentation differs from the lines above"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins here (---); keep one document in the file"),
        ("a: \x00", "1:4: the character U+0000 is not allowed in YAML; delete it"),
        ('a: "\\UFFFFFFFF"', "1:1: this is no valid YAML: a quoted text holds an impossible escape"),
        ("[a]: 1", "1:1: a key must be a text; here stands a list, a mapping or a tag"),
        ("!env A: 1", "1:1: a key must be a text; here stands a list, a mapping or a tag"),
        ("'': 1", "1:1: a key must not be empty"),
        ("<<: 1", "1:5: <<: expected an alias of a mapping, such as <<: *defaults"),
        ("a: &a [*a]", "1:4: a[0]: an alias stands inside what it names"),
        ("a: " + "[" * 5000, "1:33: nested deeper than 30 levels"),
        (BOMB, "1:37: a4[7][8][8][8][9]: aliases make more than 100000 values of this file"),
        (CHAIN, f"1:10: a29{'[0]' * 30}: aliases nest deeper than 30 levels"),
        ("#" * (MAX_BYTES + 1), "1:1: the config is larger than 1 MiB; is this the right file?"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else None,
)  # fmt: skip
def test_broken_text(text, line):
    """What cannot be read is told with its place and a way out, and nothing of the text that may be a secret."""
    found = complaint(text)
    assert found == [f"m.yml:{line}"]
    assert "hunter2" not in found[0]


def test_environment():
    """A variable is text, hidden, and a fault when it is missing; a near name is offered."""
    root = nodes("a: !env DB_URL", {"DB_URL": "1"})
    assert root.value["a"].value == "1"
    assert root.value["a"].hidden
    assert complaint("a: !env DB_ULR\nb: !env NONE\nc: !env postgres://u:hunter2@h", {"DB_URL": "x"}) == [
        "m.yml:1:4: a: the environment variable DB_ULR is not set; did you mean DB_URL?",
        "m.yml:2:4: b: the environment variable NONE is not set; set it before the start",
        "m.yml:3:4: c: !env expects the name of one environment variable, such as !env LABELS_DB",
    ]


@pytest.mark.parametrize(("content", "text"), [(b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x", " x")])
def test_file(tmp_path, content, text):
    """A file gives its text without one newline at the end, and is looked for beside the config."""
    (tmp_path / "secret").write_bytes(content)
    root = nodes("a: !file secret", directory=tmp_path)
    assert root.value["a"].value == text
    assert root.value["a"].hidden


def test_file_faults(tmp_path):
    """Files that are missing, no files, no text or too large are faults with the reason."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))
    text = 'a: !file none\nb: !file folder\nc: !file binary\nd: !file large\ne: !file /none\nf: !file "\\0"'
    assert complaint(text, directory=tmp_path) == [
        f"m.yml:1:4: a: the file none does not exist; it was looked for in {tmp_path}",
        "m.yml:2:4: b: the file folder is no file; check the path",
        "m.yml:3:4: c: the file binary is no UTF-8 text",
        "m.yml:4:4: d: the file large is larger than 1 MiB",
        "m.yml:5:4: e: the file /none does not exist",
        f"m.yml:6:4: f: the file \\x00 does not exist; it was looked for in {tmp_path}",
    ]
