"""What a cgroup says of itself, in the words that both versions share; None is what it does not say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes: `used` leaves out inactive file cache, `limit` is the least of it and its parents, None for no limit.

    `oom_kills` counts killed processes; `ooms` how often it ran out, which version 1 does not tell.
    """

    used: int | None = None
    limit: int | None = None
    peak: int | None = None
    oom_kills: int | None = None
    ooms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttling:
    """Scheduling periods that have passed under a quota, and how many of them met its end."""

    periods: int | None = None
    throttled: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """Threads and processes, the least limit on them, and how many forks failed for it."""

    used: int | None = None
    limit: int | None = None
    refused: int | None = None
