"""Asks a Prometheus for its alerts and for what they looked at: piece by piece, tried again while a fault may pass."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from exporter.config.decode import Decoder
from exporter.config.nodes import read
from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Deadline, Floats
from exporter.errors import ConfigError, Fault, SourceDataError, SourceDenied, SourceError, SourceUnavailable
from exporter.proposing.rules import Alert, alerts
from exporter.sources.requesting import Answer, Auth, Client, Limits, decode, place

MOST_POINTS = 10_000
"""Of a series in one answer; Prometheus gives no more than 11,000."""
_LARGEST = 512 * 2**20
_LONGEST = 600.0
_FIRST = "is this the address of a Prometheus, such as --prometheus.url http://localhost:9090?"
_LATER = "if that is a limit of the server, shorten --since, or ask for one --model"
Data = TypeVar("Data")


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to ask; the keys of the `http` source."""

    auth: Annotated[Auth | None, Meta(description="Bearer token, or user and password.")] = None
    headers: Annotated[dict[str, Secret], Meta(description="Headers, such as X-Scope-OrgID.")] = {}
    timeout: Annotated[Duration, Meta(description="Longest wait for an answer.", extra={"gt": 0})] = Duration(130)
    retries: Annotated[int, Meta(ge=0, le=10, description="Further tries after a fault that may pass.")] = 3


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] = (0.0, "")


class _Found(msgspec.Struct):
    result: list[_Series]


class _Rules(msgspec.Struct):
    groups: list[Any]


_BODIES: dict[Any, Any] = {kind: msgspec.defstruct("Body", [("data", kind)]) for kind in (_Found, _Rules, list[str])}


@dataclass(frozen=True, slots=True)
class Times:
    """The evaluations of a history: `count` of them up to `end`, `step` seconds apart."""

    end: float
    step: float
    count: int

    @property
    def start(self) -> float:
        return self.end - (self.count - 1) * self.step


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one series at all Times, NaN where it was not there."""

    labels: dict[str, str]
    values: Floats


def address(text: str) -> str:
    """The URL *text* of a Prometheus, without a slash at its end; raises ValueError if it can be none."""
    if not text.startswith(("http://", "https://")):
        raise ValueError("--prometheus.url must begin with http:// or https://, such as http://localhost:9090")
    if "@" in text.split("://", 1)[1].partition("/")[0]:
        message = "must not hold a user or password; write them under auth in the file that --prometheus.config names"
        raise ValueError(f"--prometheus.url {message}")
    return text.rstrip("/")


def access(path: Path) -> Access:
    """What the file at *path* says of how to ask.  Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise ConfigError([Fault(str(path), 1, 1, "", f"cannot be read: {reason.lower()}")]) from None
    root, faults = read(text, str(path), path.parent, os.environ)
    found: Access = Decoder(faults).decode(root, Access, "")
    if len(faults):
        raise faults.error()
    return found


class Prometheus:
    """A server with Prometheus' API under *url*.  Raises SourceErrors that say what to do."""

    def __init__(
        self, url: str, how: Access, clock: Clock | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """*sleep* is for tests."""
        self._url = url
        self._clock = clock or Clock()
        limits = Limits(float(how.timeout), how.retries, _LARGEST)
        self._client = Client(
            self._url, headers=how.headers, auth=how.auth, limits=limits, clock=self._clock, sleep=sleep
        )

    def close(self) -> None:
        self._client.close()

    def alerts(self) -> list[Alert]:
        """Its alerts that compare with thresholds of models."""
        return alerts(self._get("rules", {"type": "alert"}, _Rules).groups)

    def models(self, times: Times) -> list[str]:
        """The models that were there at any of the *times*, by name."""
        words = {"match[]": "model_info", "start": f"{times.start:.3f}", "end": f"{times.end:.3f}"}
        return sorted(self._get("label/model/values", words, list[str]))

    def now(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
        """Labels and values of what *query* gives at one moment."""
        found = self._get("query", {"query": query, "time": f"{at:.3f}"}, _Found)
        return [(series.metric, _number(series.value[1])) for series in found.result]

    def over(self, query: str, times: Times) -> list[Series]:
        """What *query* gave at all of the *times*."""
        rows: dict[frozenset[tuple[str, str]], Floats] = {}
        for first in range(0, times.count, MOST_POINTS):
            many = min(MOST_POINTS, times.count - first)
            start = times.start + first * times.step
            words = {"start": f"{start:.3f}", "end": f"{start + (many - 1) * times.step:.3f}"}
            found = self._get("query_range", {"query": query, "step": f"{times.step:g}", **words}, _Found)
            for series in found.result:
                row = rows.setdefault(frozenset(series.metric.items()), np.full(times.count, np.nan))
                row[_places(series.values, times)] = [_number(text) for _, text in series.values]
        return [Series(dict(labels), values) for labels, values in rows.items()]

    def _get(self, path: str, words: dict[str, str], kind: type[Data]) -> Data:
        """The `data` of an answer."""
        url = f"{self._url}/api/v1/{path}"
        where = place(url)
        deadline = Deadline(self._clock.monotonic() + _LONGEST, self._clock)
        hint = _FIRST if path == "rules" else _LATER
        try:
            return _data(self._client.get(url, words, {}, deadline), where, kind)
        except SourceDenied as error:
            raise SourceDenied(f"{error} in the file that --prometheus.config names") from None
        except SourceError as error:
            raise type(error)(f"{error}; {hint}") from None


def _places(values: list[tuple[float, str]], times: Times) -> NDArray[np.int64]:
    """Which of the *times* the *values* are of; raises SourceDataError if they are of others."""
    at = (np.array([moment for moment, _ in values]) - times.start) / times.step
    places = np.rint(at).astype(int)
    if ((abs(at - places) > 0.01) | (places < 0) | (places >= times.count)).any():
        raise SourceDataError("Prometheus gave values of other times than those that were asked for")
    return places


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SourceDataError("Prometheus gave a value that is no number") from None


def _data(answer: Answer, where: str, kind: type[Data]) -> Data:
    if answer.status != 200:
        raise SourceUnavailable(f"{where}: HTTP {answer.status}: nothing is there")
    try:
        found: Data = msgspec.json.decode(answer.body, type=_BODIES[kind]).data
    except (msgspec.DecodeError, UnicodeError):
        decode(answer.body, where)  # what is no JSON is named by what it is
        raise SourceDataError(f"{where}: the answer is not that of a Prometheus") from None
    return found
