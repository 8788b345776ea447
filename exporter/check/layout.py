"""How text for people is laid out: columns under each other, numbers with commas, nothing that moves the cursor."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from exporter.config.types import hide_passwords

WIDTH = 110
_LABEL = 14


def entry(label: str, text: str) -> list[str]:
    """*text* behind its *label*, wrapped under itself."""
    hanging = " " * (2 + _LABEL)
    lines = textwrap.wrap(text, WIDTH - len(hanging), break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {label:<{_LABEL}}{lines[0]}".rstrip(), *(hanging + line for line in lines[1:])]


def entries(label: str, texts: Iterable[str]) -> Iterator[str]:
    """Each of *texts* on lines of its own, the first behind the *label*."""
    for at, text in enumerate(texts):
        yield from entry("" if at else label, text)


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = (), indent: int = 2) -> list[str]:
    """*rows* of equal length as lines; the columns in *right* end below each other, the others begin so."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" " * indent + "  ".join(cells).rstrip())
    return lines


def clean(text: str, most: int = 200) -> str:
    """*text* without passwords, control characters spelled out, and cut in the middle if it is longer than *most*."""
    text = hide_passwords(text if len(text) <= 10 * most else text[: 10 * most])
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 3]}...{text[-tail:]}"


def counted(number: int, thing: str) -> str:
    """`1 row`, `2,000 rows`"""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """`90.0 %`; *whole* is not 0."""
    return f"{100 * part / whole:.1f} %"


def instant(seconds: float) -> str:
    """Epoch *seconds* as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
