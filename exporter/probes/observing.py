"""How long a target was observed, and what an end without evidence counts as."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from exporter.contracts import Clock, Ending

UnknownIsCrash: TypeAlias = Annotated[
    bool, msgspec.Meta(description="Whether a restart of unknown cause counts as a crash.")
]


def unknown(time: float, *, crash: bool) -> Ending:
    """An end of which only the restart is known."""
    return Ending("crash" if crash else "unknown", "unknown", time)


class Stopwatch:
    """The seconds between two looks, also where another process took the first of them.

    Two looks of this process are measured by the monotonic clock, which no step of the wall clock moves; a look
    of an earlier process by the wall time that the cursor keeps.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked: float | None = None
        self._monotonic = 0.0

    def lap(self, looked: float | None) -> tuple[float, float]:
        """Seconds since the look at wall time *looked* (0 since None), and the wall time of this one."""
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if looked is None:
            seconds = 0.0
        elif looked == self._looked:
            seconds = monotonic - self._monotonic
        else:
            seconds = max(0.0, wall - looked)
        self._looked, self._monotonic = wall, monotonic
        return seconds, wall
