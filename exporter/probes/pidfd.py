"""Holds on to one process that need not be our child, and asks the kernel how it ended (Linux 6.15 and later).

A pidfd stays with its process whoever gets the number after it.  It becomes readable when the process ends; the record
of the exit appears only once the parent has reaped it, so that who finds none asks again.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
from typing import Final

from exporter.probes.endings import Exit

_GET_INFO: Final = 0xC040FF0B
"""PIDFD_GET_INFO of a `struct pidfd_info` of 64 bytes, its first version."""
_SIZE: Final = 64
_EXIT: Final = 1 << 3
"""PIDFD_INFO_EXIT, in the mask that the structure begins with; the wait status is its last field."""


class Pidfd:
    """The process that has the number *pid* now.

    Raises ProcessLookupError if there is none, and OSError where the kernel gives no pidfds.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    @property
    def ended(self) -> bool:
        """Whether the process has ended, reaped or not."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def exit(self) -> tuple[Exit | None, bool]:
        """How the process ended, if that is known, and whether it is worth asking again later."""
        info = bytearray(_SIZE)
        struct.pack_into("Q", info, 0, _EXIT)
        try:
            fcntl.ioctl(self._fd, _GET_INFO, info, True)
        except OSError:  # gone without a record, or a kernel that knows no such question
            return None, False
        (mask,) = struct.unpack_from("Q", info)
        if not mask & _EXIT:
            return None, True
        (status,) = struct.unpack_from("i", info, _SIZE - 4)
        return Exit.of_wait_status(status), False

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
