"""Reads the first rows of one source, as the exporter would, and keeps them in memory only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from typing import Any

import msgspec
import numpy as np

from exporter.check.paths import Held
from exporter.config.schema import ModelConfig, Stream
from exporter.contracts import Batch, Categorical, Clock, Cursor, Deadline, Poll, Refusals
from exporter.errors import SourceError
from exporter.sources.building import source

log = logging.getLogger(__name__)

_SKIPPED = 1_000_000
"""After so many records that `where` passes over, a read ends: what is wanted may not be there at all."""


@dataclass(slots=True)
class Taken:
    """What was read: at most as many rows as were asked for, and what became of all the records that were looked at.

    `surplus` are good rows beyond those, because sources read in blocks; `ended` says that the source had no more.
    """

    batches: list[Batch] = field(default_factory=list)
    rows: int = 0
    surplus: int = 0
    skipped: int = 0
    refused: Refusals = field(default_factory=lambda: Refusals(keep=1_000))
    ended: bool = False
    held: Held = field(default_factory=Held)
    error: str | None = None

    @property
    def whole(self) -> bool:
        """Whether these are all the rows that there are."""
        return self.ended and not self.surplus

    @property
    def records(self) -> int:
        """All that were looked at."""
        return self.rows + self.surplus + self.skipped + self.refused.counts.total()

    def add(self, batch: Batch, limit: int) -> None:
        wanted = min(len(batch), limit - self.rows)
        if wanted:
            self.batches.append(_first(batch, wanted))
        self.rows += wanted
        self.surplus += len(batch) - wanted
        self.skipped += batch.skipped
        self.refused.extend(batch.refused)

    def suffices(self, limit: int) -> bool:
        return self.rows + self.refused.counts.total() >= limit or self.skipped >= _SKIPPED


def read(stream: Stream, model: ModelConfig, limit: int, clock: Clock, progress: Callable[[int], None]) -> Taken:
    """Up to *limit* rows of *stream* from its very beginning; a failure is in `error`, beside what came before it.

    *progress* is told the number of records after each poll.
    """
    taken = Taken()
    try:
        for poll in _polls(stream, model, clock, taken.held):
            if poll.batch is not None:
                taken.add(poll.batch, limit)
            progress(taken.records)
            taken.ended = not poll.more
            if taken.suffices(limit):
                break
    except SourceError as error:
        taken.error = str(error)
    except Exception as error:  # one source's unforeseen fault must not hide what the others give
        log.exception("a source failed in an unforeseen way", extra={"kind": stream.kind})
        taken.error = f"unforeseen {type(error).__name__}; the log says where"
    return taken


def _polls(stream: Stream, model: ModelConfig, clock: Clock, held: Held) -> Iterator[Poll]:
    """Polls until the source has no more for now."""
    with closing(source(_from_the_beginning(stream), model, clock, keep_ids=True, mapping=held.mapper())) as built:
        cursor: Cursor | None = None
        more = True
        while more:
            poll = built.poll(cursor, Deadline(clock.monotonic() + stream.timeout, clock))
            cursor, more = poll.cursor, poll.more
            yield poll


def _from_the_beginning(stream: Stream) -> Stream:
    """*stream* without what makes a first start pass over old rows."""
    return msgspec.structs.replace(stream, start="beginning", lookback=None)


def _first(batch: Batch, count: int) -> Batch:
    """The first *count* rows of *batch*, without what was refused."""
    columns = {column.name: getattr(batch, column.name) for column in fields(batch)}
    cut = {name: _cut(value, count) for name, value in columns.items() if name != "labels"}
    return replace(batch, **cut | {"refused": Refusals(), "skipped": 0})


def _cut(value: Any, count: int) -> Any:
    """The first *count* rows of a column, or of each column of a mapping; anything else as it is."""
    if isinstance(value, Categorical):
        return Categorical(value.codes[:count], value.names)
    if isinstance(value, Mapping):
        return {name: _cut(column, count) for name, column in value.items()}
    return value[:count] if isinstance(value, np.ndarray | list) else value
