"""Who asks the demo's models, and when: requests, and what becomes of the label of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from exporter.demo import patients

RATE = 20.0
BACKLOG, BACKLOG_SECONDS = 200, 300.0
"""Requests that were answered before the demo began, over so many seconds."""
CANARY_SHARE, ERROR_SHARE = 0.1, 0.005
DRIFT_EVERY, DRIFT_FROM, DRIFT_UNTIL = 600.0, 180.0, 300.0
"""Seconds: in every ten minutes, from the third to the fifth, lengths arrive in another unit."""
EARLIEST = 5.0
"""Seconds that a label may come before its prediction, at most."""

Fate = Literal["prompt", "late", "early", "corrected", "repeated", "never", "error"]
FATES: dict[Fate, float] = {
    "prompt": 0.70, "late": 0.10, "early": 0.05, "corrected": 0.05, "repeated": 0.04, "never": 0.06,
}  # fmt: skip
"""What can become of the label of an answered request, and how often."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; times are seconds after the demo began, negative in the backlog.

    `labels` are the times at which labels come, and whether each of them is right.
    """

    number: int
    at: float
    sample: int
    version: str
    fate: Fate
    took_ms: float
    labels: tuple[tuple[float, bool], ...]
    before: float = 0.0
    """Seconds that lives before this one have taken."""
    region: str = "DE"
    old_scanner: bool = False

    @property
    def drifted(self) -> bool:
        """Whether lengths come in another unit."""
        rest = (self.before + self.at) % DRIFT_EVERY
        return self.old_scanner or (self.at >= 0 and DRIFT_FROM <= rest < DRIFT_UNTIL)


def requests(
    seed: int | str, samples: int, rate: float = RATE, backlog: int = BACKLOG, before: float = 0.0
) -> Iterator[Request]:
    """Endless requests on *samples* rows of data: a *backlog*, then *rate* of them per second.

    *before* are the seconds that lives before this one have taken.
    """
    random = Random(seed)  # noqa: S311 - the same rows for the same seed are what is wanted
    places = Random(f"places {seed}")  # noqa: S311 - likewise
    for number in itertools.count():
        live = number - backlog
        at = live / rate if live >= 0 else live / backlog * BACKLOG_SECONDS
        failed = random.random() < ERROR_SHARE
        fate: Fate = random.choices(list(FATES), list(FATES.values()))[0]
        labels = _labels(random, fate)
        region, old_scanner = patients.region(places)
        yield Request(
            number=number,
            at=at,
            sample=random.randrange(samples),
            version="1.1" if random.random() < CANARY_SHARE else "1.0",
            fate="error" if failed else fate,
            took_ms=round(random.lognormvariate(1.2, 0.5), 3),
            labels=() if failed else tuple((at + delay, right) for delay, right in labels),
            before=before,
            region=region,
            old_scanner=old_scanner,
        )


def _labels(random: Random, fate: Fate) -> list[tuple[float, bool]]:
    """Seconds from a prediction to each of its labels, and whether the label is right."""
    soon = random.uniform(2, 6)
    match fate:
        case "late":
            return [(random.uniform(20, 45), True)]
        case "early":
            return [(-random.uniform(2, EARLIEST), True)]
        case "corrected":
            return [(soon, False), (soon + random.uniform(2, 6), True)]
        case "repeated":
            return [(soon, True), (soon + random.uniform(1, 6), True)]
        case "never":
            return []
        case _:
            return [(soon, True)]
