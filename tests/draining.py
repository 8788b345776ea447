"""Labels of a source as a test compares them, and the promise that a replayed cursor gives the same rows."""

from __future__ import annotations

import json
from typing import Any

from exporter.contracts import Clock, Cursor, Deadline, Poll, Source

SOON = Deadline(30.0, Clock(wall=lambda: 0.0, monotonic=lambda: 0.0))


def drain(source: Source, cursor: Cursor | None = None) -> tuple[list[tuple[str, str]], Any]:
    """All rows that are there now as (id, class), and the cursor behind them; every poll is replayed once."""
    rows = []
    more = True
    while more:
        poll, again = (source.poll(cursor, SOON) for _ in range(2))
        assert shown(poll) == shown(again)
        assert poll.cursor == again.cursor
        rows += shown(poll)
        cursor, more = json.loads(json.dumps(poll.cursor)), poll.more
    return rows, cursor


def shown(poll: Poll) -> list[tuple[str, str]]:
    """The rows of one poll."""
    if poll.batch is None:
        return []
    actual = poll.batch.actual
    return [(key, actual.names[code]) for key, code in zip(poll.batch.ids, actual.codes, strict=True)]
