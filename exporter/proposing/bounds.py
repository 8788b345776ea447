"""The limit that keeps to a wanted rate of false alarms, and what a history of its length can promise of it.

Measures are turned so that low is bad.  Counted are alarms, not evaluations: windows overlap, so that evaluations
beside each other are not independent, and alarms that lie apart nearly are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import Floats
from exporter.proposing.alarms import DAY, Watch

NEEDED = 7.0
"""Days of history below which nothing is proposed: each day of the week has been seen."""
CONFIDENCE = 0.95
_TRIALS = 200
_DRAWS = 60_000
_ULP = 1e-9

Scale = tuple[Callable[[Floats], Floats], Callable[[float], float]]
"""There and back to where a measure varies alike wherever it stands."""
PLAIN: Scale = (lambda values: values, lambda value: value)
LOG: Scale = (np.log, math.exp)
ARCSINE: Scale = (
    lambda values: np.arcsin(np.sqrt(values)),
    lambda value: math.sin(min(max(value, 0.0), math.pi / 2)) ** 2,
)
"""Of shares: their standard error is then 1 / (2 sqrt(n)), also near 0 and 1 (Freeman and Tukey 1950)."""


class NoLimitError(Exception):
    """The history gives no limit; the text says why."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit for turned values, and what it would have meant; `expected` and `most` are alarms a day.

    `most` is the upper end of a one-sided interval of CONFIDENCE.  `extrapolated`: the history is too short to show a
    rate so low, and the limit lies beyond all of it.
    """

    value: float
    alarms: int
    expected: float
    most: float
    extrapolated: bool


def days_of(seen: NDArray[np.bool_], step: float) -> float:
    """Days of history in evaluations *seen* or not: a day with fewer than usual counts for its share of them."""
    per_day = round(DAY / step)
    blocks = _daily(seen, per_day).sum(axis=1)
    usual = np.median(blocks[blocks > 0]) if blocks.any() else 1.0
    return float(np.minimum(1.0, blocks / usual).sum())


def upper_limit(count: int, confidence: float = CONFIDENCE) -> float:
    """The largest mean number of events of which *count* or fewer would be no surprise: Garwood's limit (1936).

    Without any event it is 3.0 at 95 %, the rule of three.  It allows for a limit that was chosen so that the same
    history has *count* alarms: it is Wilks' tolerance limit (1941) at the order statistic *count* + 1, too.
    """
    from scipy.special import gammaincinv  # noqa: PLC0415 - here alone, and heavy

    return float(gammaincinv(count + 1, confidence))


def find(
    watches: Sequence[Watch], rate: float, turn: int, scale: Scale, tidy: Callable[[float, float], float]
) -> Limit:
    """The most sensitive limit with at most *rate* alarms a day to be expected.

    *turn* is -1 where high values are bad, else 1.  `tidy(limit, spread)` rounds a limit to what a person would write
    and never makes it more sensitive; *spread* is how far it lies from the median.

    With k alarms in a history of T days at the order statistic k + 1, (k + 1) / T are to be expected; where T is too
    short for that, the limit is extrapolated.  Raises NoLimitError.
    """
    days = days_of(np.any([watch.seen for watch in watches], axis=0), watches[0].step)
    levels = np.unique(np.concatenate([watch.levels.ravel() for watch in watches]))
    levels = levels[levels < np.inf]
    values = np.concatenate([watch.values.ravel() for watch in watches])
    centre = float(np.median(values[~np.isnan(values)]))
    if not len(levels):
        raise NoLimitError("it was never there for as long as the alert waits")
    if not math.isfinite(centre):
        raise NoLimitError("it was infinite most of the time")
    if levels[0] == levels[-1] == centre:
        raise NoLimitError(f"it never moved from {turn * centre + 0.0:g}, which says nothing of where it becomes bad")
    allowed = math.floor(rate * days + _ULP) - 1
    value = _shown(watches, np.unique(np.minimum(levels[levels > -np.inf], centre)), max(allowed, 0))
    if allowed < 0:
        value = min(value, _extrapolated(watches, rate, turn, scale))
    spread = centre - value
    value = tidy(value, spread)
    count = _count(watches, value)
    while count > max(allowed, 0):  # a lower limit may part one long alarm into two
        value = tidy(value - max(spread, abs(value), _ULP) / 1000, spread)
        count = _count(watches, value)
    expected = rate if allowed < 0 else (count + 1) / days
    return Limit(value, count, expected, upper_limit(count) / days, allowed < 0)


def at(value: float, limit: Limit, watches: Sequence[Watch], days: float) -> Limit:
    """*limit* moved to *value*, which is less sensitive."""
    count = _count(watches, value)
    return replace(limit, value=value, alarms=count, most=upper_limit(count) / days)


def _count(watches: Sequence[Watch], limit: float) -> int:
    return sum(watch.count(limit) for watch in watches)


def _shown(watches: Sequence[Watch], levels: Floats, allowed: int) -> float:
    """The highest of *levels* (ascending) up to which no limit would have had more than *allowed* alarms."""
    least = _count(watches, float(levels[0]) if len(levels) else 0.0)
    if not len(levels) or least > allowed:
        raise NoLimitError(f"it was infinite: whatever the bound, there would have been {least} alarms")
    good, bad = 0, len(levels)
    for place in np.unique(np.geomspace(1, len(levels), _TRIALS).astype(int)) - 1:
        if _count(watches, float(levels[place])) > allowed:
            bad = int(place)
            break
        good = int(place)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _count(watches, float(levels[middle])) <= allowed else (good, middle)
    return float(levels[good])


def _extrapolated(watches: Sequence[Watch], rate: float, turn: int, scale: Scale) -> float:
    """The limit below which the worst of a day falls *rate* times a day: Gumbel's law of extremes (1958)."""
    lowest = np.min([watch.levels.min(axis=0, initial=np.inf) for watch in watches], axis=0)
    worst = _daily(lowest, round(DAY / watches[0].step), np.inf).min(axis=1)
    worst = worst[worst < np.inf]
    if len(worst) < NEEDED or not np.isfinite(worst).all():
        raise NoLimitError("on too few days it was there for as long as the alert waits")
    there, back = scale
    extremes = -turn * there(turn * worst)
    beyond = float(extremes.mean() + _factor(len(worst), -math.expm1(-rate)) * extremes.std(ddof=1))
    return turn * back(-turn * beyond)


@cache
def _factor(count: int, chance: float) -> float:
    """How many standard deviations above the mean of *count* draws of a Gumbel law the next is with this *chance*.

    Drawn, not worked out with the law's own moments: those of few days are uncertain, which makes surprises likelier.
    """
    draws = np.random.default_rng(0).gumbel(size=(_DRAWS * 28 // max(count, 28), count + 1))
    known = draws[:, :-1]
    return float(np.quantile((draws[:, -1] - known.mean(axis=1)) / known.std(axis=1, ddof=1), 1 - chance))


def _daily(row: Floats | NDArray[np.bool_], per_day: int, missing: float = 0) -> Floats:
    """*row* as days that end where it ends (days, evaluations)."""
    padded: Floats = np.pad(np.asarray(row, float), (-len(row) % per_day, 0), constant_values=missing)
    return padded.reshape(-1, per_day)
