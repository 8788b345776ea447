"""What is proposed for one measure of one model, and the evidence for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from exporter.config.thresholds import Ceiling, DurationCeiling, Floor, bound, entry
from exporter.contracts import Floats
from exporter.proposing import bounds
from exporter.proposing.alarms import DAY, Watch
from exporter.proposing.bounds import ARCSINE, LOG, NEEDED, PLAIN, Limit, NoLimitError, Scale
from exporter.proposing.prometheus import Times
from exporter.proposing.rules import Alert

Looked = Sequence[tuple[Alert, Floats]]
"""Alerts and what each looked at (series, evaluations)."""

_OUTLIER = 2 / 3
"""Of the way from the median to a limit: if all but one time needs no more, that time is worth a question."""
_STEPS = (1.0, 5.0, 10.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 43200.0, 86400.0)
"""Seconds that durations are written in multiples of; below the first, decimals."""


@dataclass(frozen=True)
class Present:
    """A threshold of today: its value, and how many alarms it would have given in the same time."""

    value: float
    alarms: int


@dataclass(frozen=True)
class Outlier:
    """The worst time, from UNIX time to UNIX time: without it the bound of `severity` would be `value`, far nearer."""

    start: float
    end: float
    severity: str
    value: float


@dataclass(frozen=True)
class Proposal:
    """Limits by severity, or why there is none, and what was there: `days` of history, `evaluations` with a value.

    `worst` is the worst value, at `worst_at`; `firing` the alarms that each limit would have given, as start and end.
    Times are UNIX times.
    """

    measure: str
    alerts: tuple[str, ...]
    days: float
    evaluations: int
    median: float
    worst: float
    worst_at: float
    limits: Mapping[str, Limit] = field(default_factory=dict)
    firing: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    today: Mapping[str, Present] = field(default_factory=dict)
    outlier: Outlier | None = None

    @property
    def bounds(self) -> dict[str, float]:
        """What a config would say."""
        turn = _turn(self.measure)
        return {severity: turn * limit.value for severity, limit in self.limits.items()}


def propose(
    measure: str, looked: Looked, times: Times, rates: Mapping[str, float], today: Mapping[str, float]
) -> Proposal:
    """Thresholds of *measure* at which alarms come no oftener than at *rates* (by severity, a day).

    *today* are the thresholds that there are, by severity.  At least one value must have been there.
    """
    turn = _turn(measure)
    watches = {
        severity: [
            Watch(turn * values, alert.wait, alert.keep, times.step)
            for alert, values in looked
            if alert.severity == severity
        ]
        for severity in rates
    }
    every = np.concatenate([values for _, values in looked])
    seen = ~np.isnan(every).all(axis=0)
    worst = np.nanmin(turn * every, axis=0, initial=np.inf)
    days = bounds.days_of(seen, times.step)
    limits, missing = _limits(measure, watches, days, rates)
    return Proposal(
        measure=measure,
        alerts=tuple(dict.fromkeys(alert.name for alert, _ in looked)),
        days=days,
        evaluations=int(seen.sum()),
        median=float(np.nanmedian(every)),
        worst=float(turn * worst.min()),
        worst_at=times.start + int(worst.argmin()) * times.step,
        limits=limits,
        firing={severity: _firing(watches[severity], limit.value, times) for severity, limit in limits.items()},
        missing=missing,
        today={
            severity: Present(value, sum(watch.count(turn * value) for watch in watches[severity]))
            for severity, value in today.items()
        },
        outlier=_outlier(measure, watches, limits, rates, times),
    )


def _limits(
    measure: str, watches: Mapping[str, Sequence[Watch]], days: float, rates: Mapping[str, float]
) -> tuple[dict[str, Limit], dict[str, str]]:
    """Limits by severity, the critical one at most as sensitive as the warning; or why there is none."""
    limits: dict[str, Limit] = {}
    missing: dict[str, str] = {}
    for severity, rate in rates.items():
        try:
            limits[severity] = _limit(measure, watches[severity], days, rate)
        except NoLimitError as error:
            missing[severity] = str(error)
    if {"warning", "critical"} <= limits.keys() and limits["critical"].value > limits["warning"].value:
        limits["critical"] = bounds.at(limits["warning"].value, limits["critical"], watches["critical"], days)
    return limits, missing


def _limit(measure: str, watches: Sequence[Watch], days: float, rate: float) -> Limit:
    if not watches:
        raise NoLimitError("no alert of this severity compares with it")
    if days < NEEDED:
        raise NoLimitError(f"{days:.1f} of the {NEEDED:g} days of history that are needed")
    turn = _turn(measure)
    values = turn * np.concatenate([watch.values.ravel() for watch in watches])
    return bounds.find(watches, rate, turn, _scale(measure, values), lambda *words: _tidy(measure, *words))


def _outlier(
    measure: str,
    watches: Mapping[str, Sequence[Watch]],
    limits: Mapping[str, Limit],
    rates: Mapping[str, float],
    times: Times,
) -> Outlier | None:
    """The one time that the first of *limits* hangs on, if there is one: perhaps a fault, and no false alarm."""
    severity = next(iter(limits), None)
    if severity is None:
        return None
    found = watches[severity]
    lowest = np.min([watch.levels.min(axis=0) for watch in found], axis=0)
    at, half = int(lowest.argmin()), round(DAY / 2 / times.step)
    near = slice(max(0, at - half), at + half)
    others = [replace(watch, values=np.array(watch.values)) for watch in found]
    for watch in others:
        watch.values[:, near] = np.nan
    try:
        limit = _limit(measure, others, NEEDED, rates[severity])
    except NoLimitError:
        return None
    median = np.nanmedian(np.concatenate([watch.values.ravel() for watch in found]))
    if median - limit.value > _OUTLIER * (median - limits[severity].value):
        return None
    spans = [span for watch in found for span in watch.alarms(limit.value) if span[0] <= at < span[1]]
    start, end = spans[0] if spans else (at, at + 1)
    begun, over = times.start + start * times.step - found[0].wait, times.start + end * times.step
    return Outlier(begun, over, severity, _turn(measure) * limit.value)


def _firing(watches: Sequence[Watch], limit: float, times: Times) -> list[tuple[float, float]]:
    spans = sorted(span for watch in watches for span in watch.alarms(limit))
    return [(times.start + start * times.step, times.start + end * times.step) for start, end in spans]


def _turn(measure: str) -> int:
    return 1 if bound(measure) == "min" else -1


def _scale(measure: str, values: Floats) -> Scale:
    """Where the worst values of days are spread evenly."""
    values = values[np.isfinite(values)]
    if issubclass(entry(measure), Floor | Ceiling):
        return ARCSINE if ((values >= 0) & (values <= 1)).all() else PLAIN
    return LOG if (values > 0).all() else PLAIN


def _tidy(measure: str, limit: float, spread: float) -> float:
    """The turned *limit* as a person would write it, at most as sensitive; two digits of its way to the median.

    Raises NoLimitError if a config cannot hold it, or nothing can be beyond.
    """
    turn = _turn(measure)
    least = max(spread, abs(limit) * 1e-3, 1e-9) / 10
    unit = 10.0 ** math.floor(math.log10(least))
    if entry(measure) is DurationCeiling:
        unit = max([unit if unit < 1 else 1.0, *(step for step in _STEPS if step <= least)])
    value = turn * round(math.floor(limit / unit) * unit, 12)
    if issubclass(entry(measure), Floor):
        value = min(value, 1.0)
    elif entry(measure) is Ceiling:
        value = max(value, 0.0)
    elif turn < 0:
        value = max(value, unit)
    if value <= 0 < turn or (entry(measure) is Ceiling and value >= 1):
        raise NoLimitError("nothing could be beyond a bound that is crossed so seldom")
    return turn * value
