"""Everything that can go wrong, by name.

    ExporterError
    ├── ConfigError           the config is wrong; lists every fault with file, line and key
    ├── SourceError           a source could not be read this time; it will be asked again
    │   ├── SourceUnavailable     nothing there, or no answer: file missing, connection refused, HTTP 5xx
    │   ├── SourceDenied          there, but not for us: permissions, bad credentials, HTTP 401 and 403
    │   ├── SourceTimeout         the deadline passed before an answer
    │   └── SourceDataError       an answer that cannot be read at all: truncated Parquet, no JSON
    ├── FamilyError           a metric family broke its contract
    ├── HistoryError          Prometheus has nothing to propose thresholds from
    ├── ListenError           the web address cannot be listened on
    └── StateError            the state folder cannot be used
        ├── StateLocked           another exporter uses it
        └── StateVersion          written by a newer version

A single bad *row* is no error: it is refused, counted under a reason (`contracts.Refusals`), and the rest goes on.
No message ever holds a secret or a raw record.
"""

from __future__ import annotations

from dataclasses import dataclass


class ExporterError(Exception):
    """Base of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault of a config: where it stands, and what to do about it.  `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(ExporterError):
    """The config is wrong; `faults` lists everything that is, not only the first."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(faults)
        super().__init__("\n".join(map(str, self.faults)))


class SourceError(ExporterError):
    """A source could not be read this time; `reason` is a short word for the failure counter's label."""

    reason = "error"


class SourceUnavailable(SourceError):
    reason = "unavailable"


class SourceDenied(SourceError):
    reason = "denied"


class SourceTimeout(SourceError):
    reason = "timeout"


class SourceDataError(SourceError):
    reason = "data"


class FamilyError(ExporterError):
    """A metric family returned something that its contract forbids."""


class HistoryError(ExporterError):
    """Prometheus has nothing to propose thresholds from, or they cannot be written; the message says what to do."""


class ListenError(ExporterError):
    """The web address is malformed, taken or not of this machine; the message says what to do."""


class StateError(ExporterError):
    """The state folder cannot be used; the message says what to do."""


class StateLocked(StateError):
    """Another process holds the state folder."""


class StateDamaged(StateError):
    """What the state folder holds cannot be understood."""


class StateVersion(StateError):
    """The state was written by a newer version of this program."""
