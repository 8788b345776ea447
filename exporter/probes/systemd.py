"""The probe that reads what systemd wrote to the journal about a unit, and asks whether it is up.

The journal tells each end with its cause, also those in the time when nobody looked.  Where it may not be read, the
count of automatic restarts tells how often, and nothing why: systemd begins it anew at each planned restart, counts
clean ends, and leaves out the last crash of a unit that it gives up.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from exporter.contracts import Clock, Cursor, Deadline, Ending, MetricSpec, Sight
from exporter.errors import SourceDataError, SourceDenied, SourceTimeout, SourceUnavailable
from exporter.probes.endings import ending
from exporter.probes.journal import FIELDS, MESSAGES, Record, Signs, ends, records
from exporter.probes.observing import Stopwatch, UnknownIsCrash, unknown

_PROPERTIES: Final = "Id,LoadState,ActiveState,SubState,NRestarts,ExecMainStartTimestamp"
_UP: Final = {"active", "reloading", "refreshing"}
_SETTLE: Final = 2.0  # seconds in which what explains an end is written
_NOT_READABLE: Final = (
    "insufficient permissions",
    "not seeing messages",
    "No journal files were found",
    "Failed to seek to cursor",
)
_WAY_OUT: Final = (
    "the journal cannot be read, so that causes are not known; add the exporter's user to systemd-journal"
)


class SystemdConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A unit of systemd: up, ends and their causes."""

    unit: Annotated[str, Meta(description="Name of the unit, such as model.service.", pattern="^[^-\\s/][^\\s/]*$")]
    journalctl: Annotated[str, Meta(description="Program that reads the journal.")] = "journalctl"
    systemctl: Annotated[str, Meta(description="Program that asks systemd.")] = "systemctl"
    unknown_is_crash: UnknownIsCrash = False


class _State(msgspec.Struct, kw_only=True):
    """What the cursor says.

    `position` is the journal's cursor behind the last record that counted (None: the journal could not be read), and
    `signs` are those of the records before.  `restarts` and `started` are the unit's at the last look, at `looked`.
    """

    looked: float
    position: str | None = None
    signs: Signs = msgspec.field(default_factory=Signs)
    restarts: int = 0
    started: str = ""


class Systemd:
    """A Probe of one unit; see the module for how it counts."""

    Config: ClassVar[type[msgspec.Struct]] = SystemdConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = ()

    def __init__(self, config: SystemdConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._stopwatch = Stopwatch(clock)

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """See what happened to the unit; raises a SourceError when systemd does not answer."""
        state = msgspec.convert(cursor, _State) if cursor is not None else None
        shown = self._show(deadline)
        endings: list[Ending] = []
        position, signs, detail = None, Signs(), _detail(shown, self._config.unit)
        if state is None or state.position is None:
            position = self._newest(deadline)
        else:
            written = self._written(shown["Id"], state.position, deadline)
            if written is not None:
                endings, position, signs = self._ends(state, written)
        started, restarts = shown.get("ExecMainStartTimestamp", ""), int(shown.get("NRestarts") or 0)
        if state is not None and (position is None or state.position is None):
            endings = self._restarts(state, restarts, started)
        observed, looked = self._stopwatch.lap(state.looked if state else None)
        up = shown.get("ActiveState") in _UP
        after = _State(looked=looked, position=position, signs=signs, restarts=restarts, started=started)
        return Sight(
            up=up,
            start_time=_epoch(started) if up else None,
            endings=tuple(endings),
            observed=observed,
            cursor=msgspec.to_builtins(after),
            detail=detail or ("" if position else _WAY_OUT),
        )

    def close(self) -> None:
        """Nothing: no program outlives a look."""

    # --- judging -----------------------------------------------------------------------------------

    def _ends(self, state: _State, written: list[Record]) -> tuple[list[Ending], str, Signs]:
        """The ends that *written* tells of, the place to read on from, and the signs there.

        From an end on that may not have been explained yet, all is read again at the next look.
        """
        now = self._clock.wall()
        unsettled = [index for index, record in enumerate(written) if record.ends and 0 <= now - record.time < _SETTLE]
        settled = written[: unsettled[0]] if unsettled else written
        found, _ = ends(written, state.signs)
        _, signs = ends(settled, state.signs)
        endings = []
        for end in found:
            if end.index >= len(settled):
                break
            if end.timed_out:
                endings.append(unknown(end.time, crash=self._config.unknown_is_crash))
                continue
            endings.append(ending(end.how, end.time, stop_requested=end.stop_requested, oom_killed=end.out_of_memory))
        return endings, settled[-1].cursor if settled else state.position or "", signs

    def _restarts(self, state: _State, restarts: int, started: str) -> list[Ending]:
        """An end of unknown cause per restart since *state*, by systemd's count alone."""
        count = restarts - state.restarts if restarts >= state.restarts else restarts
        if not count and started and state.started and started != state.started:
            count = 1
        return [unknown(self._clock.wall(), crash=self._config.unknown_is_crash)] * count

    # --- asking ------------------------------------------------------------------------------------

    def _show(self, deadline: Deadline) -> dict[str, str]:
        """The properties of the unit."""
        command = [self._config.systemctl, "show", f"--property={_PROPERTIES}", "--", self._config.unit]
        done = _run(command, deadline)
        shown = dict(line.split("=", 1) for line in done.stdout.decode(errors="replace").splitlines() if "=" in line)
        if done.returncode or "Id" not in shown:
            words = _first_line(done)
            kind = SourceDenied if "denied" in words.lower() else SourceUnavailable
            raise kind(f"{self._config.systemctl}: {words}")
        return shown

    def _newest(self, deadline: Deadline) -> str | None:
        """The place behind the service manager's newest record; None if it may not be read."""
        found = self._read(["--lines=1", "--output-fields=MESSAGE_ID", "_PID=1"], deadline)
        return found[-1].cursor if found else None

    def _written(self, unit: str, position: str, deadline: Deadline) -> list[Record] | None:
        """What the service manager wrote of *unit* behind *position*; None if it may not be read, or is lost.

        `--after-cursor` leaves out one record that matches, even where that at *position* does not.
        """
        matches = ["_PID=1", f"UNIT={unit}", *(f"MESSAGE_ID={message}" for message in MESSAGES)]
        found = self._read([f"--cursor={position}", f"--output-fields={','.join(FIELDS)}", *matches], deadline)
        return None if found is None else [record for record in found if record.cursor != position]

    def _read(self, words: list[str], deadline: Deadline) -> list[Record] | None:
        done = _run([self._config.journalctl, "--output=json", "--no-pager", *words], deadline)
        said = done.stderr.decode(errors="replace")
        if any(hint in said for hint in _NOT_READABLE):
            return None
        if done.returncode:
            raise SourceUnavailable(f"{self._config.journalctl}: {_first_line(done)}")
        try:
            return records(done.stdout)
        except msgspec.DecodeError:
            raise SourceDataError(f"{self._config.journalctl}: its records cannot be read") from None


def _run(command: list[str], deadline: Deadline) -> subprocess.CompletedProcess[bytes]:
    """Runs *command* to its end in the C locale and UTC; raises a SourceError if it cannot, or takes too long."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    left = deadline.remaining()
    try:
        return subprocess.run(  # noqa: S603 - the config's author names the program
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=left, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise SourceTimeout(f"{command[0]}: no answer in time") from None
    except PermissionError:
        raise SourceDenied(f"{command[0]}: permission denied") from None
    except OSError as error:
        raise SourceUnavailable(f"{command[0]}: {error.strerror}; is systemd installed here?") from None


def _detail(shown: dict[str, str], unit: str) -> str:
    if shown.get("LoadState") == "not-found":
        return f"there is no unit {unit}"
    active = shown.get("ActiveState", "unknown")
    return "" if active in _UP else f"the unit is {active} ({shown.get('SubState', 'unknown')})"


def _first_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[0][:200] if lines else f"ended with exit code {done.returncode}"


def _epoch(text: str) -> float | None:
    """Seconds since 1970 of a time as systemctl writes it in UTC: `Sun 2026-11-22 05:31:05 UTC`."""
    try:
        return datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
