"""What was read of one source, for people: counts, refused rows with their places, and a few rows as they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from exporter.check.layout import clean, counted, entry, instant, table
from exporter.check.reading import Taken
from exporter.config.schema import Stream
from exporter.contracts import Batch, Categorical, Clock

_ROWS = 5
_EXAMPLES = 5
_CLASSES = 8
_CELL = 40


def told(stream: Stream, place: str, taken: Taken, clock: Clock) -> Iterator[str]:
    """All lines about one source, without its title."""
    yield from entry("from", place)
    if taken.error is not None:
        yield from entry("error", clean(taken.error, 400))
        if not taken.records:
            return
    yield from entry("read", _counts(taken))
    yield from _refused(stream, taken, clock)
    if not taken.rows:
        return
    times = [(float(batch.time.min()), float(batch.time.max())) for batch in taken.batches]
    oldest, newest = min(low for low, _ in times), max(high for _, high in times)
    arrival = ", the moment of reading: rows carry no time" if stream.arrival_time else ""
    yield from entry("time", f"{instant(oldest)} to {instant(newest)}{arrival}")
    for label, name in (("predicted", "predicted"), ("actual", "actual"), ("failed", "error")):
        found = names(taken, name)
        if found:
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
        hint = _hint(stream, reason, count == taken.records - taken.skipped, clock)
        if hint:
            yield from entry("hint", hint)


def _hint(stream: Stream, reason: str, all_of_them: bool, clock: Clock) -> str:
    """What a refusal of this reason often comes from."""
    if reason == "future_time":
        zone = stream.mapping.timezone
        return (
            f"this machine's clock says {instant(clock.wall())}, and times without a zone are read as {zone}: set "
            "timezone, or max_ahead if times may run ahead"
        )
    if all_of_them and reason.startswith("missing_"):
        what = reason.removeprefix("missing_")
        name = {"prediction": "predicted", "label": "actual"}.get(what, what)
        spec = stream.mapping.fields.get(name)
        return f"no record has {clean(spec.field)!r}, which fields.{name} names" if spec and spec.field else ""
    return ""


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
    score = math.nan if batch.score is None else float(batch.score[at])
    latency = math.nan if batch.latency is None else float(batch.latency[at])
    return (
        clean(batch.ids[at], _CELL) if batch.ids is not None else "",
        instant(float(batch.time[at])),
        _name(batch.model, at),
        _name(batch.version, at),
        _name(batch.predicted, at),
        _name(batch.actual, at),
        "" if math.isnan(label_time) else instant(label_time),
        "" if math.isnan(score) else f"{score:.4g}",
        "" if math.isnan(latency) else _duration(latency),
        _name(batch.error, at),
    )


def _name(column: Categorical | None, at: int) -> str:
    return "" if column is None or column.codes[at] < 0 else clean(column.names[column.codes[at]], _CELL)


def _duration(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.3f} ms"
