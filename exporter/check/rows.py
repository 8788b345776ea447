"""What was read of one source, for people: counts, refused rows with their places, and a few rows as they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from exporter.check import paths, payloads
from exporter.check.layout import clean, counted, entry, instant, table
from exporter.check.reading import Taken
from exporter.check.summary import place
from exporter.config.schema import Stream
from exporter.contracts import ANY, Batch, Categorical, Clock

_ROWS = 5
_EXAMPLES = 5
_CLASSES = 8
_CELL = 40
_NAMES = 12


def told(stream: Stream, written: Mapping[str, Any], taken: Taken, clock: Clock) -> Iterator[str]:
    """All lines about one source, without its title; *written* is the masked form of *stream*."""
    yield from entry("from", place(stream, written))
    if taken.error is not None:
        yield from entry("error", clean(taken.error, 400))
        if not taken.records:
            return
    yield from entry("read", _counts(taken))
    yield from _refused(stream, taken, clock)
    yield from _nowhere(stream, written, taken, clock)
    if not taken.rows:
        return
    times = [(float(batch.time.min()), float(batch.time.max())) for batch in taken.batches]
    oldest, newest = min(low for low, _ in times), max(high for _, high in times)
    arrival = ", the moment of reading: rows carry no time" if stream.arrival_time else ""
    yield from entry("time", f"{instant(oldest)} to {instant(newest)}{arrival}")
    yield from payloads.told(taken)
    for label, name in (("predicted", "predicted"), ("actual", "actual"), ("failed", "error")):
        found = names(taken, name)
        if found and found.keys() != {ANY}:
            shown = ", ".join(f"{clean(text, _CELL)} {count:,}" for text, count in found.most_common(_CLASSES))
            rest = f" and {len(found) - _CLASSES} more" if len(found) > _CLASSES else ""
            yield from entry(label, shown + rest)
    yield ""
    yield from table(_table(taken))


def names(taken: Taken, name: str) -> Counter[str]:
    """How often each text stands in the categorical column *name*."""
    found: Counter[str] = Counter()
    for batch in taken.batches:
        column: Categorical | None = getattr(batch, name)
        if column is not None:
            codes, counts = np.unique(column.codes[column.codes >= 0], return_counts=True)
            found.update(dict(zip([column.names[code] for code in codes], counts.tolist(), strict=True)))
    return found


def _counts(taken: Taken) -> str:
    if not taken.records:
        return "nothing: no record was found there"
    of = f", the first of {taken.rows + taken.surplus:,} in what was looked at" if taken.surplus else ""
    parts = [counted(taken.rows, "row") + of]
    if taken.skipped:
        parts.append(f"{taken.skipped:,} skipped by where")
    if taken.refused.counts:
        parts.append(f"{taken.refused.counts.total():,} refused")
    if taken.whole:
        parts.append("that is all there is")
    return "; ".join(parts)


def _refused(stream: Stream, taken: Taken, clock: Clock) -> Iterator[str]:
    for reason, count in taken.refused.counts.most_common():
        yield from entry("refused", f"{count:,} {reason}")
        examples = [one for one in taken.refused.examples if one.reason == reason][:_EXAMPLES]
        if examples:
            yield from table([(f"at {clean(one.place)}", clean(one.detail)) for one in examples], indent=18)
        if count > len(examples) > 0:
            yield f"{'':18}and {count - len(examples):,} more"
        if reason == "future_time":
            yield from entry("hint", _ahead(stream, clock))


def _ahead(stream: Stream, clock: Clock) -> str:
    zone = stream.mapping.timezone
    return (
        f"this machine's clock says {instant(clock.wall())}, and times without a zone are read as {zone}: set "
        "timezone, or max_ahead if times may run ahead"
    )


def _nowhere(stream: Stream, written: Mapping[str, Any], taken: Taken, clock: Clock) -> Iterator[str]:
    """All paths at which no record holds anything: most often they are wrong."""
    if not taken.held.absent or taken.error is not None or not taken.records:
        return
    there = paths.known(stream, clock)
    used = {path: f"fields.{name}" for name, path in _paths(written["fields"])}
    used |= dict.fromkeys(written.get("where", {}), "where")
    for path in taken.held.absent:
        if path in there:  # with nothing but null, as an error that never came
            continue
        near = paths.meant(path, there)
        guess = (
            f"; did you mean {clean(near)}?"
            if near
            else f"; records have {', '.join(there[:_NAMES])}"
            if there
            else ""
        )
        yield from entry("hint", f"no record has {clean(path)!r}, which {used.get(path, 'the config')} names{guess}")


def _paths(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and path of every field that is read from one."""
    for name, written in fields.items():
        path = written.get("field") if isinstance(written, Mapping) else written
        if path is not None:
            yield name, path


# --- a few rows ----------------------------------------------------------------------------------


def _table(taken: Taken) -> list[tuple[str, ...]]:
    """The first rows under their heads; columns that no row fills are left out."""
    heads = ("id", "time", "model", "version", "predicted", "actual", "label time", "score", "latency", "error")
    lines: list[tuple[str, ...]] = []
    for batch in taken.batches:
        lines += [_row(batch, at) for at in range(min(len(batch), _ROWS - len(lines)))]
    kept = [at for at in range(len(heads)) if any(line[at] for line in lines)]
    return [tuple(line[at] for at in kept) for line in (heads, *lines)]


def _row(batch: Batch, at: int) -> tuple[str, ...]:
    own_label = batch.role == "predictions" and batch.actual_time is not None
    label_time = float(batch.actual_time[at]) if own_label and batch.actual_time is not None else math.nan
    value = payloads.predicted(batch, at)
    score = math.nan if batch.score is None or value else float(batch.score[at])
    latency = math.nan if batch.latency is None else float(batch.latency[at])
    return (
        clean(batch.ids[at], _CELL) if batch.ids is not None else "",
        instant(float(batch.time[at])),
        _name(batch.model, at),
        _name(batch.version, at),
        value or _name(batch.predicted, at),
        payloads.actual(batch, at) or _name(batch.actual, at),
        "" if math.isnan(label_time) else instant(label_time),
        "" if math.isnan(score) else f"{score:.4g}",
        "" if math.isnan(latency) else _duration(latency),
        _name(batch.error, at),
    )


def _name(column: Categorical | None, at: int) -> str:
    return "" if column is None or column.codes[at] < 0 else clean(column.names[column.codes[at]], _CELL)


def _duration(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.3f} ms"
