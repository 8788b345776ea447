"""The probe that asks the model server's own `/metrics`: no answer is down, a changed start time is a restart.

Why a server restarted cannot be told from there, so that the ends it finds are of unknown cause; and of several
restarts between two looks it sees one.  Servers without `process_start_time_seconds` show only up and down.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from exporter.config.types import Secret
from exporter.contracts import Clock, Cursor, Deadline, Ending, MetricSpec, Sight
from exporter.errors import SourceDataError, SourceTimeout, SourceUnavailable
from exporter.probes.asking import address, get
from exporter.probes.observing import UnknownIsCrash, unknown

_START: Final = re.compile(rb"process_start_time_seconds(?:\{[^\n]*\})?[ \t]+([0-9.eE+-]+)")
_SAMPLE: Final = re.compile(rb"^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^\n]*\})?[ \t]+\S", re.MULTILINE)
_TOLERANCE: Final = 1.0  # seconds by which a server may tell the start of the same process differently


class PrometheusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up and restarts of a model server by its own metrics."""

    url: Annotated[str, Meta(description="Address of the model server's metrics.", pattern="^https?://")]
    headers: Annotated[dict[str, Secret], Meta(description="Headers of the request, such as Authorization.")] = {}
    ca_file: Annotated[
        str | None, Meta(description="Certificates that an https server is trusted by. Default: the system's.")
    ] = None
    unknown_is_crash: UnknownIsCrash = False

    def __post_init__(self) -> None:
        address(self.url)


class _State(msgspec.Struct, kw_only=True):
    """`start` is the start time that the server told last."""

    start: float | None = None


class Prometheus:
    """A Probe of one model server; see the module for what it can tell."""

    Config: ClassVar[type[msgspec.Struct]] = PrometheusConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = ()

    def __init__(self, config: PrometheusConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._server = address(config.url)
        self._looked: float | None = None
        self._offset: float | None = None

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """Up while the server answers; raises a SourceError when it answers but not with metrics, or not to us."""
        state = msgspec.convert(cursor, _State) if cursor is not None else _State()
        looked, self._looked = self._looked, None
        down, start = "", None
        try:
            start = self._start(deadline)
        except (SourceUnavailable, SourceTimeout) as error:
            down = str(error)
        self._looked = self._clock.monotonic()
        observed = 0.0 if looked is None else self._looked - looked
        if down:
            return Sight(up=False, observed=observed, detail=down, cursor=cursor or msgspec.to_builtins(state))
        endings: tuple[Ending, ...] = ()
        if self._changed(state.start, start):
            endings = (unknown(self._clock.wall(), crash=self._config.unknown_is_crash),)
        after = _State(start=state.start if start is None else start)
        return Sight(
            up=True,
            start_time=start,
            endings=endings,
            observed=observed,
            cursor=msgspec.to_builtins(after),
            detail="" if start else f"{self._server} has no process_start_time_seconds: restarts cannot be seen",
        )

    def close(self) -> None:
        """Nothing: no connection outlives a look."""

    def _start(self, deadline: Deadline) -> float | None:
        """The start time that the server tells, if it does."""
        headers = {"Accept": "text/plain", **{name: value.reveal() for name, value in self._config.headers.items()}}
        answer = get(
            self._server, "", deadline, headers=headers, ca_file=self._config.ca_file, way_out="check headers"
        )
        if answer.status >= 300:
            raise SourceUnavailable(f"{self._server}: HTTP {answer.status}: {_advice(answer.status)}")
        told = list(_starts(answer.body))
        if not told and answer.body.strip() and not _SAMPLE.search(answer.body):
            raise SourceDataError(f"{self._server}: these are no metrics; check the url")
        return max(told, default=None)  # of several processes, the one that was replaced last

    def _changed(self, before: float | None, start: float | None) -> bool:
        """Whether another process answers.

        Some servers reckon their start time from the wall clock at each scrape: then a step of the clock moves it by
        just as much.
        """
        offset = self._clock.wall() - self._clock.monotonic()
        step = 0.0 if self._offset is None else offset - self._offset
        self._offset = offset
        if before is None or start is None:
            return False
        moved = start - before
        return abs(moved) > _TOLERANCE and abs(moved - step) > _TOLERANCE


def _starts(body: bytes) -> Iterator[float]:
    """The start times in *body*.  Half a megabyte takes 0.4 ms so, and 4 with `^` in the pattern."""
    for found in _START.finditer(body):
        if body[max(0, found.start() - 1) : found.start()] in {b"", b"\n"}:
            with contextlib.suppress(ValueError):
                start = float(found[1])
                if math.isfinite(start):
                    yield start


def _advice(status: int) -> str:
    if status < 400:
        return "the server sends elsewhere; write the address that it names, often with a / at the end"
    return "the server is in trouble" if status >= 500 else "check the url"
