"""What `model-exporter thresholds` does: proposes bounds out of what the alerts have looked at in the last weeks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import numpy as np

from exporter.config.faults import nearest
from exporter.config.types import Duration
from exporter.contracts import Clock, Floats
from exporter.errors import HistoryError
from exporter.proposing import written
from exporter.proposing.alarms import DAY
from exporter.proposing.prometheus import Access, Prometheus, Series, Times, access, address
from exporter.proposing.proposal import Proposal, propose
from exporter.proposing.rules import MEASURES, Alert, matcher, printable
from exporter.sources.requesting import place

__all__ = ["NOTHING_PROPOSED", "Wish", "address", "rate", "run", "span"]

NOTHING_PROPOSED = 4
_ERASE = "\r\033[K"
_BAR = 24
_PERIODS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY, "year": 365 * DAY}


@dataclass(frozen=True, slots=True)
class Wish:
    """What to propose thresholds from and for; `since` in seconds, `rates` by severity in alarms a day.

    `exclude` are times to leave out, as pairs of UNIX times.
    """

    url: str
    config: Path | None
    models: Sequence[str]
    since: float
    rates: dict[str, float]
    exclude: Sequence[tuple[float, float]] = ()
    output: Path | None = None


def rate(text: str) -> float:
    """*text* such as `1/month`, `2/30d` or `0.5/week` in alarms a day; raises ValueError."""
    count, _, period = text.strip().partition("/")
    try:
        seconds = _PERIODS.get(period) or Duration.parse(period if period[:1].isdigit() else f"1{period}")
        alarms = float(count) / seconds * DAY
    except (ValueError, ZeroDivisionError):
        alarms = 0.0
    if not 0 < alarms < math.inf:
        raise ValueError(f"{text!r} is no rate; write alarms per time, such as 1/month, 1/30d or 2/week")
    return alarms


def span(text: str) -> tuple[float, float]:
    """*text* such as `2026-11-03T09:00/2026-11-03T18:00` as UNIX times, UTC if it names no zone; raises ValueError."""
    try:
        start, end = (datetime.fromisoformat(part.strip()) for part in text.split("/"))
    except ValueError:
        example = "2026-11-03T09:00/2026-11-03T18:00"
        raise ValueError(f"{text!r} is no time span; write FROM/TO, such as {example}") from None
    first, last = ((part if part.tzinfo else part.replace(tzinfo=UTC)).timestamp() for part in (start, end))
    if first >= last:
        raise ValueError(f"{text!r} ends before it begins")
    return first, last


def run(wish: Wish, out: TextIO, told: TextIO, clock: Clock | None = None) -> int:
    """Write what is proposed to `wish.output` or *out*, and on *told* how far it is.

    Returns the exit code: NOTHING_PROPOSED if there is too little history everywhere.  Raises ConfigError,
    SourceError if Prometheus cannot be asked, HistoryError if it has no such alerts or models.
    """
    clock = clock or Clock()
    how = access(wish.config) if wish.config else Access()
    with closing(Prometheus(wish.url, how, clock)) as server:
        text, measures = _asked(wish, server, clock, told)
    if wish.output:
        _save(wish.output, text)
    else:
        out.write(text)
    count = sum(measures)
    if wish.output or not count:
        where = f" written to {wish.output}" if wish.output else " proposed"
        told.write(f"model-exporter: thresholds of {_many(count, 'measure')}")
        told.write(f" of {_many(len(measures), 'model')}{where}\n")
    return 0 if count else NOTHING_PROPOSED


def _asked(wish: Wish, server: Prometheus, clock: Clock, told: TextIO) -> tuple[str, list[int]]:
    """The text of all proposals, and for how many measures of each model there is one."""
    alerts = server.alerts()
    if not alerts:
        raise HistoryError(
            f"{place(wish.url)} has loaded no alert that compares with thresholds of models; load the rules that "
            "`model-exporter bundle DIR` writes, and come back when they have recorded a week"
        )
    step = min(alert.step for alert in alerts)
    times = Times(clock.wall() // step * step, step, max(1, round(wish.since / step)))
    names = _known(wish.models, server.models(times), wish.url)
    text = written.head(place(wish.url), times, wish.rates) + "models:\n"
    measures = []
    with _progress(told, len(names) * len({alert.query("") for alert in alerts})) as tell:
        for name in names:
            looked, today = _looked(name, server, alerts, times, tell)
            _leave_out(wish.exclude, looked, times)
            found = list(_proposals(looked, today, times, wish.rates))
            there = {proposal.measure for proposal in found}
            text += written.model(name, found, [measure for measure in MEASURES if measure not in there])
            measures.append(sum(bool(proposal.limits) for proposal in found))
    return text, measures


def _looked(
    name: str, server: Prometheus, alerts: Sequence[Alert], times: Times, tell: Callable[[str], None]
) -> tuple[dict[str, list[tuple[Alert, Floats]]], dict[str, dict[str, float]]]:
    """What the alerts looked at of the model *name*, and its thresholds of today by severity; both by measure."""
    answers: dict[str, list[Series]] = {}
    looked: dict[str, list[tuple[Alert, Floats]]] = {measure: [] for measure in MEASURES}
    for alert in alerts:
        query = alert.query(name)
        if query not in answers:
            tell(f"{name}: {alert.name}")
            answers[query] = server.over(query, times)
        for measure in alert.measures:
            series = answers[query]
            rows = [series[at].values for at in alert.of(measure, [one.labels for one in series])]
            if rows:
                looked[measure].append((alert, np.array(rows)))
    today: dict[str, dict[str, float]] = {measure: {} for measure in MEASURES}
    for labels, value in server.now(f"model:model_threshold:effective{{{matcher(name)}}}", times.end):
        if labels.get("measure") in today:
            today[labels["measure"]][labels.get("severity", "")] = value
    return looked, today


def _leave_out(
    spans: Sequence[tuple[float, float]], looked: Mapping[str, list[tuple[Alert, Floats]]], times: Times
) -> None:
    """Forget what was looked at during *spans*."""
    moments = times.start + np.arange(times.count) * times.step
    for start, end in spans:
        for _, values in itertools.chain.from_iterable(looked.values()):
            values[:, (moments >= start) & (moments < end)] = np.nan


def _proposals(
    looked: Mapping[str, list[tuple[Alert, Floats]]],
    today: Mapping[str, dict[str, float]],
    times: Times,
    rates: Mapping[str, float],
) -> Iterator[Proposal]:
    """What is proposed for each measure that was ever there."""
    for measure, found in looked.items():
        there = [(alert, values) for alert, values in found if not np.isnan(values).all()]
        if there:
            now = {severity: value for severity, value in today[measure].items() if severity in rates}
            yield propose(measure, there, times, rates, now)


def _known(wanted: Sequence[str], there: Sequence[str], url: str) -> Sequence[str]:
    """The models to look at; raises HistoryError for one that Prometheus does not know."""
    if not there:
        raise HistoryError(f"{place(url)} has seen no model (model_info) in that time; does it scrape the exporter?")
    for name in wanted:
        if name not in there:
            near = nearest(name, there)
            hint = f"did you mean {near}?" if near else f"it knows {', '.join(there[:10])}"
            raise HistoryError(printable(f"{place(url)} knows no model {name}; {hint}"))
    return wanted or there


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HistoryError(f"{path} cannot be written: {(error.strerror or 'unknown').lower()}") from None


@contextmanager
def _progress(told: TextIO, total: int) -> Iterator[Callable[[str], None]]:
    """Tells on a terminal how many of *total* questions have been asked, on one line that is gone at the end."""
    asked = 0

    def tell(what: str) -> None:
        nonlocal asked
        if told.isatty():
            full = asked * _BAR // max(total, 1)
            told.write(f"{_ERASE}[{'#' * full}{'.' * (_BAR - full)}] {asked}/{total} {printable(what)}")
            told.flush()
        asked += 1

    try:
        yield tell
    finally:
        told.write(_ERASE if told.isatty() else "")
