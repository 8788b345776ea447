"""Small files of /proc and of cgroup file systems, as numbers; one that does not exist is None, not an error."""

# Paths stay texts: some thirty of these files are read at each look.
# ruff: noqa: PTH123

from __future__ import annotations

from exporter.errors import SourceDataError

UNLIMITED = "max"


def text(path: str) -> str | None:
    """The whole file; raises OSError for anything but its absence."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def number(path: str) -> int | None:
    """The one whole number in a file; None also for `max`, which is no limit."""
    content = text(path)
    return None if content is None else whole(content.strip(), path)


def whole(word: str, path: str) -> int | None:
    """*word* as a whole number, None for `max`; raises SourceDataError that names the file."""
    if word == UNLIMITED:
        return None
    try:
        return int(word)
    except ValueError:
        raise SourceDataError(f"{path}: {word[:40]!r} is no whole number") from None


def table(path: str) -> dict[str, str]:
    """Lines of a key and a value, such as those of `memory.stat`; empty if there is no file."""
    pairs = (line.partition(" ") for line in (text(path) or "").splitlines())
    return {key.rstrip(":"): value.strip() for key, _, value in pairs}


def entry(values: dict[str, str], key: str, path: str) -> int | None:
    """One whole number of a `table`, None if it is not there."""
    word = values.get(key)
    return None if word is None else whole(word, path)


def cores(path: str) -> int | None:
    """How many CPUs a list such as `0-3,8` names; None for an empty or absent one."""
    return listed(text(path) or "", path)


def listed(names: str, path: str) -> int | None:
    """How many CPUs are in the list *names*; None if it is empty."""
    count = 0
    for part in filter(None, names.strip().split(",")):
        first, _, last = part.partition("-")
        low, high = whole(first, path), whole(last or first, path)
        count += (high or 0) - (low or 0) + 1
    return count or None


def least(values: list[float | None]) -> float | None:
    """The least of what is known."""
    known = [value for value in values if value is not None]
    return min(known, default=None)
