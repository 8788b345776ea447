"""Tries a config on real rows: reads some of each source, joins them in memory, and tells what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TextIO

import numpy as np
import yaml

from exporter.check import ids, rows
from exporter.check.layout import clean, counted, entry, percent, table
from exporter.check.reading import Taken, read
from exporter.config.faults import nearest
from exporter.config.masked import masked
from exporter.config.schema import Config, ModelConfig
from exporter.contracts import Clock, Refusals
from exporter.pipeline.ledger import Ledger
from exporter.state import State

NOTHING_JOINED = 4
_SHAPES = 4
_BLINK = 0.1
_ERASE = "\r\033[K"
_MEANINGS = {
    "matched": "labels that met their prediction",
    "corrected": "labels that changed",
    "repeated": "labels told again",
    "outdated": "labels older than the one that counts",
    "late": "labels that came after the horizon",
    "early": "labels without a prediction so far",
    "duplicate": "predictions told again; the first counts",
}


def run(config: Config, limit: int, out: TextIO, clock: Clock) -> int:
    """Try *config* on up to *limit* rows of each source.

    Returns the exit code: 1 if one could not be read, else NOTHING_JOINED if that is so of a model, else 0.
    """
    out.write(f"\nReading up to {counted(limit, 'row')} of each source, from its beginning; nothing is kept.\n")
    failed = idle = False
    written = yaml.safe_load(masked(config))["models"]
    for (name, shown), model in zip(written.items(), config.models.values(), strict=True):
        taken: dict[str, Taken] = {}
        for stream in (model.predictions, model.labels):
            if stream is None:
                continue
            role = stream.mapping.role
            title = f"{clean(name, 60)}: {role}"
            taken[role] = read(stream, model, limit, clock, _progress(out, title, clock))
            failed |= taken[role].error is not None
            lines = rows.told(stream, shown[role], taken[role], clock)
            _write(out, [f"{title}", *lines])
        _write(out, [f"{clean(name, 60)}: join", *_joined(model, taken)])
        idle |= _nothing_joined(taken)
    return 1 if failed else NOTHING_JOINED if idle else 0


def _write(out: TextIO, lines: list[str]) -> None:
    out.write((_ERASE if out.isatty() else "") + "\n".join(["", *lines, ""]))
    out.flush()


def _progress(out: TextIO, title: str, clock: Clock) -> Callable[[int], None]:
    """Tells on a terminal how far a read is, on one line that `_write` erases."""
    told = clock.monotonic()

    def tell(records: int) -> None:
        nonlocal told
        if out.isatty() and clock.monotonic() - told >= _BLINK:
            told = clock.monotonic()
            out.write(f"{_ERASE}{title}: {counted(records, 'record')} so far ...")
            out.flush()

    return tell


def _nothing_joined(taken: dict[str, Taken]) -> bool:
    """Whether there are records, but none that could be used, or none that met: nothing would ever be counted."""
    if any(side.records and not side.rows for side in taken.values()):
        return True
    made, told = taken["predictions"], taken.get("labels")
    return told is not None and bool(made.rows and told.rows) and not _by_key(made).keys() & _by_key(told).keys()


# --- the join ------------------------------------------------------------------------------------


def _joined(model: ModelConfig, taken: dict[str, Taken]) -> Iterator[str]:
    predictions = taken["predictions"]
    labels = taken.get("labels")
    if labels is None:
        known = sum(int((batch.actual.codes >= 0).sum()) for batch in predictions.batches if batch.actual)
        if predictions.rows:
            part = percent(known, predictions.rows)
            yield from entry("labelled", f"{known:,} of {counted(predictions.rows, 'row')} ({part}) bring their label")
    elif not predictions.rows or not labels.rows:
        silent = " and ".join(role for role, side in taken.items() if not side.rows)
        yield from entry("joined", f"nothing: there are no {silent}")
        return
    else:
        yield from _matched(predictions, labels)
    yield from _became(model, taken)


def _matched(predictions: Taken, labels: Taken) -> Iterator[str]:
    made, told = _by_key(predictions), _by_key(labels)
    both = len(made.keys() & told.keys())
    yield from table(
        [
            ("labels that found a prediction", f"{both:,}", f"of {len(told):,} ids", percent(both, len(told))),
            ("predictions that found a label", f"{both:,}", f"of {len(made):,} ids", percent(both, len(made))),
        ],
        right=(1, 3),
    )
    if not (predictions.whole and labels.whole):
        yield from entry("note", "there are more rows than were read; partners may be among them: try a larger --read")
    lonely = {
        "predictions": {made[key] for key in made.keys() - told.keys()},
        "labels": {told[key] for key in told.keys() - made.keys()},
    }
    if not lonely["labels"]:
        return
    yield "  ids without a partner look like this:"
    prefixes = {"predictions": ids.common_prefix(made.values()), "labels": ids.common_prefix(told.values())}
    yield from table([row for role, texts in lonely.items() for row in _shapes(role, texts, prefixes[role])], (1,), 4)
    if not lonely["predictions"]:
        return
    cause = ids.cause(lonely["predictions"], lonely["labels"])
    if cause is not None:
        yield from entry("hint", str(cause))
    elif not both:
        yield from entry("hint", "no id is on both sides: do both fields.id name the same thing?")


def _by_key(taken: Taken) -> dict[bytes, str]:
    """Id texts by join key; a failed prediction is none."""
    found: dict[bytes, str] = {}
    for batch in taken.batches:
        good = np.ones(len(batch), np.bool_) if batch.error is None else batch.error.codes < 0
        keys: list[bytes] = np.ascontiguousarray(batch.key).view("V16").ravel().tolist()
        found.update((key, text) for key, text, kept in zip(keys, batch.ids or (), good.tolist(), strict=True) if kept)
    return found


def _shapes(role: str, texts: set[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    found = ids.shapes(texts, prefix)
    for at, (shape, count) in enumerate(found[:_SHAPES]):
        yield role if at == 0 else "", f"{count:,}", shape
    rest = sum(count for _, count in found[_SHAPES:])
    if rest:
        yield "", f"{rest:,}", "of other shapes"


def _became(model: ModelConfig, taken: dict[str, Taken]) -> Iterator[str]:
    """What the exporter's own join makes of the rows."""
    with closing(State(None)) as state:
        ledger = Ledger(model, state)
        made, told = taken["predictions"], taken.get("labels", Taken())
        ledger.reserve(made.rows, made.rows + told.rows)
        refused = ledger.absorb(made.batches, told.batches)
        results = {name: count for name, count in ledger.results.items() if count}
    yield "  at the join" if results else "  at the join nothing met"
    known = [(name, f"{count:,}", _MEANINGS[name]) for name, count in results.items() if name in _MEANINGS]
    if known:
        yield from table(known, right=(1,), indent=4)
    for role, refusals in refused.items():
        yield from _late(role, refusals)
    seen = {name: rows.names(side, name) for name, side in (("predicted", made), ("actual", told))}
    yield from _positive(model, seen["predicted"] + seen["actual"])
    if seen["predicted"] and seen["actual"] and not seen["predicted"].keys() & seen["actual"].keys():
        yield from entry(
            "warning",
            "predictions and labels have no class in common, so that no prediction can be right; say which "
            "spellings mean one class: classes: {fraud: [1, true], legit: [0, false]}",
        )


def _positive(model: ModelConfig, seen: Counter[str]) -> Iterator[str]:
    """A positive class that never occurs is most often a misspelt one."""
    positive = model.spec.positive
    if positive is None or not seen or positive in seen:
        return
    near = nearest(positive, seen)
    meant = f"; did you mean {clean(near)}?" if near else ""
    names = ", ".join(clean(name) for name, _ in seen.most_common(5))
    yield from entry("warning", f"the positive class {clean(positive)} does not occur: the classes are {names}{meant}")


def _late(role: str, refusals: Refusals) -> Iterator[str]:
    for reason, count in refusals.counts.items():
        detail = next((one.detail for one in refusals.examples if one.reason == reason), "")
        yield from entry("refused", f"{counted(count, 'row')} of {role}: {reason} ({clean(detail)})")
