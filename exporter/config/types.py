"""Value types that config structs are made of: durations, secrets, and the texts that stand for scalars."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool

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


_PASSWORD_IN_URL = re.compile(r"(?P<before>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/?#]*:)[^\s/?#]*(?:[/?#][^\s@]*)?(?=@)")
_PASSWORD_AS_PARAMETER = re.compile(
    r"(?P<before>\b(?:password|passwd|pwd|token|access_token|secret|client_secret|api_?key|sig|signature)\s*=\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|[^\s&;#'\"]+)",
    re.IGNORECASE,
)


def hide_passwords(text: str) -> str:
    """*text* with the passwords of URLs, query strings and `key=value` connection strings as `<secret>`."""
    text = _PASSWORD_IN_URL.sub(r"\g<before><secret>", text)
    return _PASSWORD_AS_PARAMETER.sub(r"\g<before><secret>", text)


def canonical(value: Scalar) -> str:
    """The text that classes and conditions are compared by: `true`, `false`, and numbers at their shortest.

    `1` and `1.0` give the same text; a text is its own.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def duration_text(seconds: float) -> str:
    """*seconds* as a config writes them, in the largest unit that keeps the number whole: `45d`, `90s`, `250ms`."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    if seconds and (seconds * 1000).is_integer() and int(seconds * 1000) * _UNITS["ms"] == seconds:
        return f"{int(seconds * 1000)}ms"
    return f"{Decimal(repr(float(seconds))):f}".removesuffix(".0") + "s"
