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
    """The faults of one file, as they are found."""

    file: str
    found: list[Fault] = field(default_factory=list)

    def add(self, mark: Mark, key: str, message: str) -> None:
        fault = Fault(self.file, *mark, hide_passwords(key), message)
        if fault not in self.found:  # what an alias names is read once for each place that it stands in
            self.found.append(fault)

    def __len__(self) -> int:
        return len(self.found)

    def error(self) -> ConfigError:
        return ConfigError(self.found)


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
