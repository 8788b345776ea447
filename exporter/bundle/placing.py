"""Writes a set of files into a user's folder, again and again, without ever losing what the user changed there."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from exporter import __version__
from exporter.errors import ExporterError

MANIFEST = ".model-exporter-bundle.json"
NEW = ".new"


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of each path of a bundle; the paths are relative to its folder, and sorted.

    `kept` are shipped files that the user has changed: with news, which lie beside it with `.new` behind the name, or
    without any.  `yours` belong to the user and were left alone.  `obsolete` are no longer shipped, but changed.
    """

    written: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    yours: list[str] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    obsolete: list[str] = field(default_factory=list)


def place(folder: Path, kind: str, files: Mapping[str, str], own: Mapping[str, str]) -> Placed:
    """Write *files*, and those of *own* that are not there yet, into *folder*, and remember what was written.

    A file is written over only if it is as this function left it.  One that the user has changed stays, and what is
    shipped now is put beside it, once for each new text.  Raises ExporterError if the folder cannot be used, or holds
    a bundle of another *kind*.
    """
    placed = Placed()
    try:
        before = _manifest(folder, kind)
        for path, text in sorted(own.items()):
            if (folder / path).exists():
                placed.yours.append(path)
            else:
                _write(folder / path, text)
                placed.written.append(path)
        for path, text in sorted(files.items()):
            getattr(placed, _place(folder / path, text, before.get(path))).append(path)
        for path in sorted(set(before) - set(files) - set(own)):
            _withdraw(folder, path, before[path], placed)
        kept = {path: before[path] for path in placed.obsolete}
        now = {**kept, **{path: _hash(text) for path, text in files.items()}}
        manifest = {"kind": kind, "version": __version__, "files": now}
        _write(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        at = error.filename or folder
        raise ExporterError(f"cannot write the bundle: {at}: {error.strerror}; name another folder") from error
    return placed


def _manifest(folder: Path, kind: str) -> dict[str, str]:
    """By path, the hash of what was last offered; empty for a folder without a bundle."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): str(value) for name, value in manifest["files"].items()}
        was = str(manifest["kind"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ExporterError(
            f"{path} is damaged: remove it, and every file that differs from the shipped one counts as yours"
        ) from None
    if was != kind:
        raise ExporterError(f"{folder} holds a bundle of the format {was}; name another folder for {kind}")
    return {name: value for name, value in files.items() if _stays_inside(name)}


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _place(path: Path, text: str, offered: str | None) -> str:
    """Write or keep one shipped file; returns the name of its list in `Placed`."""
    beside = path.with_name(path.name + NEW)
    there = _hash_of(path)
    if there is None:
        _write(path, text)
        return "written"
    if there == _hash(text):
        if _hash_of(beside) == there:  # it was taken over
            beside.unlink()
        return "unchanged"
    if there == offered:
        _write(path, text)
        return "updated"
    if offered == _hash(text):
        return "news" if beside.exists() else "kept"
    _write(beside, text)
    return "news"


def _withdraw(folder: Path, path: str, offered: str, placed: Placed) -> None:
    """Remove a file that is shipped no longer, unless the user has changed it."""
    there = _hash_of(folder / path)
    if there == offered:
        (folder / path).unlink()
        placed.removed.append(path)
        with contextlib.suppress(OSError):  # other files are in it
            (folder / path).parent.rmdir()
    elif there is not None:
        placed.obsolete.append(path)


def _hash_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write all of it or nothing, readable by the containers' users whatever the umask: there are no secrets in it."""
    for parent in reversed([one for one in path.parents if not one.exists()]):
        parent.mkdir()
        parent.chmod(0o755)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(text.encode())
    partial.chmod(0o644)
    partial.replace(path)
