"""Value types that config structs are made of: durations and secrets."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


class Duration(float):
    """Seconds, written in a config as Prometheus writes them: `90s`, `1h30m`, `45d`."""

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read *text*; raises ValueError with the way out if it is no duration."""
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{text!r} is no duration; write a number and a unit, such as 30s, 5m, 1h30m or 45d")
        return cls(sum(float(number) * _UNITS[unit] for number, unit in parts))


class Secret:
    """A text that must not be shown; only `reveal` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
