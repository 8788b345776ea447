"""The log: one line per event as logfmt or JSON, and refused rows in measure.

Fields come from `extra`.  An exception is one line too: its types and where it came from, and its text only if
it is one of ours or the system's, because others may quote a raw record.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, Any, Final, Literal

from exporter.contracts import Clock, Refusals
from exporter.errors import ExporterError

LINES_PER_MINUTE: Final = 5
_MINUTE = 60.0
_FRAMES = 6
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_BARE = re.compile(r"[!#-<>-~]+")  # printable ASCII but space, quote and equals sign

_log = logging.getLogger(__name__)


def configure_logging(
    level: Literal["debug", "info", "warning", "error"], format_: Literal["logfmt", "json"], stream: IO[str]
) -> logging.Handler:
    """Send this package's log from *level* up, and warnings of all others, to *stream*; replaces an earlier call."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler.formatter, _Formatter)]:
        root.removeHandler(handler)
    new: logging.Handler = logging.StreamHandler(stream)
    new.setFormatter(_Json() if format_ == "json" else _Logfmt())
    root.addHandler(new)
    root.setLevel(logging.WARNING)
    logging.getLogger("exporter").setLevel(level.upper())
    return new


class _Formatter(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        yield "time", f"{seconds}.{int(record.msecs):03d}Z"
        yield "level", record.levelname.lower()
        yield "logger", record.name
        yield "msg", record.getMessage()
        for key, value in record.__dict__.items():
            if key not in _STANDARD:
                yield key, value
        if record.exc_info and record.exc_info[1] is not None:
            yield "error", _describe(record.exc_info[1])
            yield "at", _trace(record.exc_info[1])


class _Logfmt(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{_logfmt_key(key)}={_logfmt_value(value)}" for key, value in self.fields(record))


class _Json(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(dict(self.fields(record)), default=str)


def _logfmt_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else re.sub(r"[^!#-<>-~]", "_", key) or "_"


def _logfmt_value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    if _BARE.fullmatch(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in quoted)


def _describe(error: BaseException) -> str:
    is_safe = isinstance(error, ExporterError | OSError)
    text = f"{type(error).__name__}: {error}" if is_safe and str(error) else type(error).__name__
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{text} (from {type(cause).__name__})" if cause is not None else text


def _trace(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " > ".join(
        f"{'/'.join(PurePath(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}" for frame in frames
    )


# --- refused rows --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Allowance:
    """What is left of one minute of one source and reason."""

    since: float
    lines: int = 0
    suppressed: int = 0


class RefusalLog:
    """Logs refused rows with their place, a few lines a minute per source and reason, and counts the rest.

    The counters of `Telemetry` count every row; this log is for finding them.  One thread calls it.
    """

    def __init__(self, clock: Clock | None = None, lines_per_minute: int = LINES_PER_MINUTE) -> None:
        self._clock = clock or Clock()
        self._lines = lines_per_minute
        self._allowances: dict[tuple[str, str, str], _Allowance] = {}

    def note(self, model: str, role: str, refusals: Refusals) -> None:
        """Log what a poll refused, as far as this minute allows."""
        self.sweep()
        now = self._clock.monotonic()
        for reason, count in refusals.counts.items():
            allowance = self._allowances.setdefault((model, role, reason), _Allowance(now))
            examples = [example for example in refusals.examples if example.reason == reason]
            shown = examples[: self._lines - allowance.lines]
            for example in shown:
                fields = {"model": model, "role": role, "reason": reason, "place": example.place}
                _log.warning("row refused", extra=fields | ({"detail": example.detail} if example.detail else {}))
            allowance.lines += len(shown)
            allowance.suppressed += count - len(shown)

    def sweep(self) -> None:
        """Log how many rows the past minute left out; called every cycle, for sources that have gone quiet."""
        now = self._clock.monotonic()
        over = [key for key, allowance in self._allowances.items() if now - allowance.since >= _MINUTE]
        for key in over:
            suppressed = self._allowances.pop(key).suppressed
            if suppressed:
                fields = dict(zip(("model", "role", "reason"), key, strict=True))
                _log.warning("more rows refused than logged", extra=fields | {"suppressed": suppressed})
