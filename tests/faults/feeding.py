"""Fifty cycles of rows that are the same in every process; as a program, it feeds them to a state until it is killed.

    python -m tests.faults.feeding STATE [POINT COUNT]

goes on from the committed cursor.  With a POINT it dies there at the COUNTth time, without cleaning up anything.
Should it hang, it says on stderr where, and ends.
"""

from __future__ import annotations

import faulthandler
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.pipeline import Pipeline, ledger
from exporter.state import State, store, table
from exporter.state.changes import Changes
from exporter.state.segment import Segment
from exporter.state.table import Table
from tests.ledgers import L, P, config, labels, model, predictions

CYCLES = 50
HANGS_AFTER = 60.0
"""Seconds, of a program that needs less than one even where its machine is busy."""

SETTING = config(
    model(
        windows=["600s", "last 20"],
        horizon=1000.0,
        latency_buckets=(0.1, 1.0),
        delay_buckets=(60.0, 600.0),
        remembered=240,
        early_labels=100,
    )
)


def tiny_segments(put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Segments and lists of changes so small that every cycle grows, begins, drops or flushes something."""
    put(table, "SMALLEST", 16)
    put(ledger, "_eighth", lambda rows: 64)
    put(store, "FLUSH_AFTER", 2_000)


def deliveries(cycle: int) -> list[Any]:
    """Rows of one cycle: new and repeated predictions; labels on time, early, late, repeated, corrected, orphaned."""
    rng = random.Random(cycle)
    now = 100.0 * cycle
    made = [
        P(
            rng.choice((40 * cycle + number, 40 * cycle + number, rng.randrange(40 * cycle + 40))),
            now + number,
            rng.choice("abc"),
            version=rng.choice("12"),
            latency=rng.choice((0.05, 0.5, 5.0)),
            error=rng.choice((None, None, None, "timeout")),
        )
        for number in range(40)
    ]
    told = [L(rng.randrange(max(0, 40 * cycle - 800), 40 * cycle + 80), now + rng.uniform(-50, 50), rng.choice("abc"))
            for _ in range(50)]  # fmt: skip
    return [predictions(*made, cursor=cycle), labels(*told, cursor=cycle)]


def feed(pipeline: Pipeline, tell: Callable[[int], None] = lambda cycle: None) -> None:
    """Absorb what the cursors say has not been absorbed yet."""
    last = pipeline.cursor("m", "predictions")
    assert last == pipeline.cursor("m", "labels")
    for cycle in range(-1 if last is None else last, CYCLES - 1):
        pipeline.absorb(deliveries(cycle + 1))
        tell(cycle + 1)


class _Dying:
    """Ends the process when it is called for the COUNTth time."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            os._exit(9)


def _after(owner: Any, name: str) -> Callable[[Callable[[], None]], None]:
    def arm(die: Callable[[], None]) -> None:
        usual = getattr(owner, name)

        def then_die(*words: Any, **more: Any) -> Any:
            done = usual(*words, **more)
            die()
            return done

        setattr(owner, name, then_die)

    return arm


def _before(owner: Any, name: str) -> Callable[[Callable[[], None]], None]:
    def arm(die: Callable[[], None]) -> None:
        usual = getattr(owner, name)

        def first_die(*words: Any, **more: Any) -> Any:
            die()
            return usual(*words, **more)

        setattr(owner, name, first_die)

    return arm


def _half_applied(die: Callable[[], None]) -> None:
    usual = Table.apply

    def apply(self: Table, change: Any) -> None:
        usual(self, change[: len(change) // 2])
        if len(change):
            die()
        usual(self, change[len(change) // 2 :])

    Table.apply = apply  # type: ignore[method-assign]


POINTS = {
    "rows-flushed": _after(Table, "prepare"),
    "blobs-put": _after(State, "_put"),
    "before-the-transaction": _before(State, "_put"),
    "committed-but-unapplied": _before(Table, "committed"),
    "one-table-applied": _after(Table, "committed"),
    "labels-half-applied": _half_applied,
    "rows-written-unindexed": _before(Segment, "_insert"),
    "rows-indexed": _after(Segment, "append"),
    "grown-unindexed": _before(Segment, "reindex"),
    "grown": _after(Segment, "grow"),
    "segment-begun": _after(Table, "_begin"),
    "segment-forgotten": _after(Table, "forget"),
    "labels-flushed": _after(Table, "flush"),
    "changes-written": _after(Changes, "append"),
    "changes-begun": _after(Changes, "begin"),
    "changes-dropped-with-their-file": _before(Changes, "sweep"),
    "undone": _after(Segment, "undo"),
    "restored": _after(Table, "restore"),
    "swept": _before(Table, "_sweep"),
}


def main() -> None:
    folder, *point = sys.argv[1:]
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    tiny_segments()
    if point:
        POINTS[point[0]](_Dying(int(point[1])))
    state = State(Path(folder))
    assert state.damaged is None
    feed(Pipeline(SETTING, state), lambda cycle: sys.stdout.write(f"{cycle}\n") and sys.stdout.flush())
    state.close()


if __name__ == "__main__":
    main()
