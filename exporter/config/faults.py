"""Collects what is wrong with a config, and finds the word that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from exporter.config.types import hide_passwords
from exporter.errors import ConfigError, Fault

Mark: TypeAlias = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(slots=True)
class Faults:
    """The faults of one file, as they are found; `meant` are the keys that misspelt ones probably stand for."""

    file: str
    found: list[Fault] = field(default_factory=list)
    meant: set[str] = field(default_factory=set)

    def add(self, mark: Mark, key: str, message: str) -> None:
        fault = Fault(self.file, *mark, _one_line(hide_passwords(key)), _one_line(message))
        if fault not in self.found:  # what an alias names is read once for each place that it stands in
            self.found.append(fault)

    def missing(self, mark: Mark, key: str, message: str) -> None:
        """A fault for a key that is not there, unless a misspelt one was already told to be it."""
        if key not in self.meant:
            self.add(mark, key, f"is missing: {message}")

    def __len__(self) -> int:
        return len(self.found)

    def error(self) -> ConfigError:
        return ConfigError(self.found)


def _one_line(text: str) -> str:
    """*text* of bounded length, with line ends and other control characters spelled out."""
    text = text if len(text) <= 1000 else f"{text[:1000]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def join_key(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The one of *choices* that *word* was probably meant to be."""
    lowered = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower()[:100], list(lowered), n=1, cutoff=0.6)
    return lowered[near[0]] if near else None


def listed(words: Iterable[str]) -> str:
    """`a, b or c`"""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
