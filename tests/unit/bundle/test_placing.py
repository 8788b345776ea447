"""What a bundle that is written again does to a folder: everything new arrives, and nothing of the user's is lost."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bundle.placing import MANIFEST, place
from exporter.errors import ExporterError

FIRST = {"rules/a.yml": "a: 1\n", "b.json": "{}\n"}
OWN = {"rules/own.yml": "# yours\n"}


def told(placed):
    """The lists that are not empty."""
    return {name: paths for name, paths in asdict(placed).items() if paths}


def put(folder, files, own=OWN, kind="compose"):
    return told(place(folder, kind, files, own))


def held(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST
    }


def test_first_time(tmp_path):
    """Everything is written, the folder is made, and containers may read all of it whatever the umask."""
    folder = tmp_path / "new" / "folder"
    before = os.umask(0o077)
    try:
        assert put(folder, FIRST) == {"written": ["rules/own.yml", "b.json", "rules/a.yml"]}
    finally:
        os.umask(before)
    assert held(folder) == {**FIRST, **OWN}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*.yml")} == {0o644}
    assert (folder / "rules").stat().st_mode & 0o777 == 0o755


def test_again_without_news(tmp_path):
    """The second time nothing is written."""
    put(tmp_path, FIRST)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.name != MANIFEST}
    assert put(tmp_path, FIRST) == {"unchanged": ["b.json", "rules/a.yml"], "yours": ["rules/own.yml"]}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_upgrade(tmp_path):
    """What the user left alone is renewed, what came is written, what went is removed, with its empty folder."""
    put(tmp_path, {**FIRST, "old/c.yml": "c\n"})
    news = {"rules/a.yml": "a: 2\n", "b.json": "{}\n", "d.yml": "d\n"}
    assert put(tmp_path, news) == {
        "written": ["d.yml"],
        "updated": ["rules/a.yml"],
        "unchanged": ["b.json"],
        "removed": ["old/c.yml"],
        "yours": ["rules/own.yml"],
    }
    assert held(tmp_path) == {**news, **OWN}
    assert not (tmp_path / "old").exists()


def test_own_files_are_never_touched(tmp_path):
    """What the user wrote into files of their own stays, also when the shipped example changes."""
    put(tmp_path, FIRST)
    (tmp_path / "rules/own.yml").write_text("mine: 1\n")
    assert put(tmp_path, FIRST, {"rules/own.yml": "# a better example\n"})["yours"] == ["rules/own.yml"]
    assert held(tmp_path)["rules/own.yml"] == "mine: 1\n"


def test_changed_file_is_kept_and_the_new_one_put_beside_it(tmp_path):
    """A shipped file that the user changed stays; the new text is offered once, until there is another one."""
    put(tmp_path, FIRST)
    (tmp_path / "b.json").write_text("mine\n")
    assert put(tmp_path, FIRST)["kept"] == ["b.json"]
    second = {**FIRST, "b.json": "second\n"}
    assert put(tmp_path, second)["news"] == ["b.json"]
    assert held(tmp_path) == {**FIRST, **OWN, "b.json": "mine\n", "b.json.new": "second\n"}
    assert put(tmp_path, second)["news"] == ["b.json"]  # it still lies there
    (tmp_path / "b.json.new").unlink()
    assert put(tmp_path, second)["kept"] == ["b.json"]
    assert put(tmp_path, {**FIRST, "b.json": "third\n"})["news"] == ["b.json"]
    assert held(tmp_path)["b.json.new"] == "third\n"


def test_new_one_taken_over(tmp_path):
    """After the offered file was moved or copied into place, all is as if nothing had been changed."""
    put(tmp_path, FIRST)
    (tmp_path / "b.json").write_text("mine\n")
    second = {**FIRST, "b.json": "second\n"}
    put(tmp_path, second)
    (tmp_path / "b.json").write_text("second\n")
    assert "news" not in put(tmp_path, second)
    assert held(tmp_path) == {**second, **OWN}
    assert put(tmp_path, {**FIRST, "b.json": "third\n"})["updated"] == ["b.json"]


def test_file_that_was_there_before_the_first_bundle(tmp_path):
    """A file of the same name that no bundle wrote is the user's."""
    (tmp_path / "b.json").write_text("mine\n")
    assert put(tmp_path, FIRST)["news"] == ["b.json"]
    assert held(tmp_path)["b.json"] == "mine\n"


def test_removed_file_comes_back(tmp_path):
    """A shipped file that was deleted is written again."""
    put(tmp_path, FIRST)
    (tmp_path / "b.json").unlink()
    assert put(tmp_path, FIRST)["written"] == ["b.json"]


def test_changed_file_that_is_shipped_no_longer(tmp_path):
    """It stays and is told of every time, until the user removes it."""
    put(tmp_path, FIRST)
    (tmp_path / "b.json").write_text("mine\n")
    rest = {"rules/a.yml": "a: 1\n"}
    for _ in range(2):
        assert put(tmp_path, rest)["obsolete"] == ["b.json"]
    assert held(tmp_path)["b.json"] == "mine\n"
    (tmp_path / "b.json").unlink()
    assert "obsolete" not in put(tmp_path, rest)


def test_folders_of_two_formats_are_not_mixed(tmp_path):
    """A folder with a bundle of another format is refused, and left as it is."""
    put(tmp_path, FIRST)
    before = held(tmp_path)
    with pytest.raises(ExporterError, match="holds a bundle of the format compose; name another folder"):
        put(tmp_path, {"x.yml": "x\n"}, kind="kubernetes")
    assert held(tmp_path) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "compose", "files": []}', "\x00"])
def test_damaged_memory(tmp_path, text):
    """Without knowing what was written nothing is overwritten; the error tells the way out."""
    put(tmp_path, FIRST)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ExporterError, match=f"{MANIFEST} is damaged: remove it"):
        put(tmp_path, {**FIRST, "b.json": "second\n"})
    (tmp_path / MANIFEST).unlink()
    assert put(tmp_path, {**FIRST, "b.json": "second\n"})["news"] == ["b.json"]


def test_memory_names_nothing_outside(tmp_path):
    """A memory that somebody else wrote removes no file outside of the folder."""
    folder = tmp_path / "bundle"
    put(folder, FIRST)
    outside = tmp_path / "outside"
    outside.write_text("x")
    manifest = json.loads((folder / MANIFEST).read_text())
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of x
    manifest["files"] |= {"../outside": digest, str(outside): digest}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "removed" not in put(folder, FIRST)
    assert outside.exists()


def test_folder_that_cannot_be_used(tmp_path):
    """A path through a file is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExporterError, match=r"cannot write the bundle: .*file.*; name another folder"):
        put(tmp_path / "file", FIRST)


NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["1", "2", "3"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ship"), st.dictionaries(NAMES, TEXTS)),
        st.tuples(st.just("edit"), st.tuples(NAMES, TEXTS.map("my {}".format))),
    ),
    max_size=12,
)


@given(steps=STEPS)
def test_whatever_is_shipped_and_edited(tmp_path_factory, steps):
    """No text of the user's is ever lost, and no file that the user left alone is ever old."""
    folder = tmp_path_factory.mktemp("bundle")
    edits, shipped = {}, {}
    for what, told_of in steps:
        if what == "edit":
            (folder / told_of[0]).write_text(told_of[1])
            edits[told_of[0]] = told_of[1]
        else:
            shipped = told_of
            put(folder, shipped, {})
        there = held(folder)
        assert {name: there[name] for name in edits} == edits
        if what == "ship":
            assert {name: there[name] for name in shipped if name not in edits} == {
                name: text for name, text in shipped.items() if name not in edits
            }
            others = {name for name in there if name not in edits and not name.endswith(".new")}
            assert others == set(shipped) - set(edits)
