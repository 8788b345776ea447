"""Records of the service manager in the journal, and the ends of a unit's main process that they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from exporter.probes.endings import Exit

_EXITED: Final = "98e322203f7a4ed290d09fe03c09fe15"
_SUCCEEDED: Final = "7ad2d189f7e94e70a38c781354912448"
_FAILED: Final = "d9b373ed55a64feb8242e02dbe79a49c"
_STARTED: Final = "39f53479d3a045ac8e11786248231fbf"
_STOPPING: Final = "de5b426a63be47a7b6ac3eaac82e2f6f"
_OOM_RESULT: Final = "oom-kill"
_OUT_OF_MEMORY: Final = "fe6faa94e7774663a0da52717891d8ef"

MESSAGES: Final = (_EXITED, _SUCCEEDED, _FAILED, _STARTED, _STOPPING, _OUT_OF_MEMORY)
"""The kinds of records that are needed; see `man systemd.journal-fields` and systemd's catalog."""

FIELDS: Final = ("MESSAGE_ID", "EXIT_CODE", "EXIT_STATUS", "COMMAND", "UNIT_RESULT")


class Record(msgspec.Struct):
    """One record, as `journalctl --output=json` writes it: all values are texts."""

    cursor: str = msgspec.field(name="__CURSOR")
    microseconds: str = msgspec.field(name="__REALTIME_TIMESTAMP")
    message: str = msgspec.field(default="", name="MESSAGE_ID")
    exit_code: str = msgspec.field(default="", name="EXIT_CODE")
    exit_status: str = msgspec.field(default="", name="EXIT_STATUS")
    command: str = msgspec.field(default="", name="COMMAND")
    result: str = msgspec.field(default="", name="UNIT_RESULT")

    @property
    def time(self) -> float:
        """Seconds since 1970."""
        return int(self.microseconds) / 1e6

    @property
    def ends(self) -> bool:
        """Whether it tells of the end of the main process, not of a helper such as ExecStartPre."""
        return self.message == _EXITED and self.command in {"", "ExecStart"}

    @property
    def how(self) -> Exit | None:
        """How the process ended; None if it says nothing that is known."""
        if not self.exit_status.isdecimal():
            return None
        number = int(self.exit_status)
        if self.exit_code == "exited":
            return Exit(code=number)
        return Exit(signal=number, core_dumped=self.exit_code == "dumped")


class Signs(msgspec.Struct, frozen=True):
    """What the records so far say of the end to come: a stop was asked for, memory ran out.

    `told`: the end of this run has been told already, so that the unit's result is no further one.
    """

    stopping: bool = False
    out_of_memory: bool = False
    told: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """An end of the main process, told by record number *index*; `timed_out`: stopped by systemd for being slow."""

    index: int
    time: float
    how: Exit | None
    stop_requested: bool
    out_of_memory: bool
    timed_out: bool = False


_decoder: Final = msgspec.json.Decoder(Record)


def records(output: bytes) -> list[Record]:
    """The records of journalctl's *output*, one a line; raises msgspec.DecodeError."""
    return _decoder.decode_lines(output)


def ends(written: Sequence[Record], signs: Signs) -> tuple[list[End], Signs]:
    """The ends in order, and the signs behind the last record; *signs* are those before the first.

    The journal holds the exit of a main process only where it was no clean one; a clean one shows as the unit's
    success.  systemd repeats the result of a unit that it gives up, though no process ended.
    """
    found: list[End] = []
    for index, record in enumerate(written):
        if record.message == _STARTED:
            signs = Signs()
        elif record.message == _STOPPING:
            signs = msgspec.structs.replace(signs, stopping=True)
        elif record.message == _OUT_OF_MEMORY:
            signs = _starved(found, signs)
        elif record.ends:
            found.append(End(index, record.time, record.how, signs.stopping, signs.out_of_memory))
            signs = Signs(told=True)
        elif record.message in {_SUCCEEDED, _FAILED}:
            found += _result(index, record, signs)
            if record.result == _OOM_RESULT:
                _starved(found, signs)
            signs = Signs()
    return found, signs


def _result(index: int, record: Record, signs: Signs) -> list[End]:
    """The end that only the result of the unit tells of, if it does."""
    if signs.told:
        return []
    if record.message == _SUCCEEDED:
        return [End(index, record.time, Exit(code=0), signs.stopping, out_of_memory=False)]
    if record.result == "timeout":
        return [End(index, record.time, None, signs.stopping, out_of_memory=False, timed_out=True)]
    return []


def _starved(found: list[End], signs: Signs) -> Signs:
    """The kernel killed a process of the unit: the one whose end was just told, or is to be told next."""
    if not signs.told:
        return msgspec.structs.replace(signs, out_of_memory=True)
    if found:
        found[-1] = replace(found[-1], out_of_memory=True)
    return signs
