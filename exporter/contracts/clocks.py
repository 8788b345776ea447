"""The clocks of a process, and the moment by which something must be done."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks of a process, in seconds; tests pass their own.

    `wall` says when something was heard, `monotonic` how long something takes.  Data is never judged by
    either: it carries its own event time.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment on the monotonic clock when a poll must have returned."""

    at: float
    clock: Clock = field(default_factory=Clock)

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock.monotonic())

    @property
    def passed(self) -> bool:
        return self.clock.monotonic() >= self.at
