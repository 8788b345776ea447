"""Windows as a config writes them: by time (`24h`) or by count (`last 1000`)."""

from __future__ import annotations

from typing import Any

from exporter.config.faults import Faults
from exporter.config.nodes import BROKEN, Node
from exporter.config.types import Duration, duration_text
from exporter.contracts import WindowSpec

LONGEST = 36_525 * 86_400.0
MOST_ROWS = 10_000_000


def item(node: Node, position: int) -> Node:
    """The entry of a list, or the whole where it is none."""
    return node.value[position] if isinstance(node.value, list) else node


def windows(faults: Faults, node: Node, written: Any, key: str) -> tuple[WindowSpec, ...]:
    """The windows, each once."""
    found: dict[tuple[float | None, int | None], WindowSpec] = {}
    for position, text in enumerate([] if written is BROKEN else written):
        if text is BROKEN:
            continue
        place, where = f"{key}[{position}]", item(node, position)
        try:
            window = _window(text)
        except ValueError as error:
            faults.add(where.mark, place, str(error))
            continue
        same = found.setdefault((window.seconds, window.rows), window)
        if same is not window:
            faults.add(where.mark, place, "is the same window as one before it; remove one")
    return tuple(found.values())


def _window(text: str | int) -> WindowSpec:
    """Read a window; raises ValueError with the way out."""
    if isinstance(text, int):
        raise ValueError(f"a window needs a unit; write {text}s for a time, or last {text} for a count")  # noqa: TRY004 - read as a fault of the value
    words = text.split()
    if len(words) == 2 and words[0] == "last":
        if not (words[1].isascii() and words[1].isdigit() and int(words[1]) > 0):
            raise ValueError("a window by count is written last N, such as last 1000")
        if int(words[1]) > MOST_ROWS:
            raise ValueError(f"a window by count keeps its rows in memory: last {MOST_ROWS} at most")
        return WindowSpec(name=f"last {int(words[1])}", rows=int(words[1]))
    try:
        seconds = Duration.parse(text)
    except ValueError:
        seconds = Duration(0)
    if not seconds > 0:
        raise ValueError("a window is a time such as 1h or 24h, or a count such as last 1000")
    if seconds > LONGEST:
        raise ValueError(f"a window of time is at most {duration_text(LONGEST)} long; for all time, use the counters")
    return WindowSpec(name=text, seconds=float(seconds))
