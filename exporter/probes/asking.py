"""Asks an API for one answer over a Unix socket, TCP or TLS, and never waits longer than it may.

The standard library's client is in memory anyway; requests would add 7 MB to a sidecar, urllib3 3 MB.
"""

from __future__ import annotations

import email.utils
import functools
import http.client
import io
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from exporter.contracts import Deadline
from exporter.errors import SourceDataError, SourceDenied, SourceTimeout, SourceUnavailable

_T = TypeVar("_T")
_LARGEST = 32 * 2**20
_WEB = {"http": "http", "tcp": "http", "https": "https"}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: the path of a Unix socket, or a host and port; `path` goes before every target."""

    scheme: str
    host: str
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """For messages: without user, password and query."""
        if self.scheme == "unix":
            return f"socket {self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the whole body, and the server's clock (epoch seconds, whole) if it told."""

    status: int
    body: bytes
    date: float | None = None


def address(text: str) -> Address:
    """The address that *text* writes: a path, or a URL of unix, tcp, http or https; raises ValueError."""
    if text.startswith("/"):
        return Address("unix", text)
    parts = urlsplit(text)
    if parts.scheme == "unix" and parts.path:
        return Address("unix", parts.path)
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address must not hold a user or password")
    scheme = _WEB.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{text!r} is no address; write the path of a socket, or http://HOST:PORT")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Address(scheme, parts.hostname, parts.port or _PORTS[scheme], path)


def get(
    server: Address,
    target: str,
    deadline: Deadline,
    *,
    headers: Mapping[str, str] | None = None,
    ca_file: str | None = None,
    way_out: str = "",
) -> Answer:
    """The answer to GET *target*; raises a SourceError, to which *way_out* tells what to do when denied.

    Statuses 401 and 403 are raised as SourceDenied, all others given.
    """
    hint = f"; {way_out}" if way_out else ""
    try:
        answer = _ask(server, target, deadline, headers or {}, ca_file)
    except PermissionError:
        raise SourceDenied(f"{server}: permission denied{hint}") from None
    except TimeoutError:
        raise SourceTimeout(f"{server}: no answer in time") from None
    except ssl.SSLCertVerificationError as error:
        raise SourceUnavailable(f"{server}: its certificate is not accepted: {error.verify_message}") from None
    except http.client.IncompleteRead:
        raise SourceUnavailable(f"{server}: the answer broke off") from None
    except BlockingIOError:
        raise SourceUnavailable(f"{server}: it accepts no more connections") from None
    except OSError as error:
        raise SourceUnavailable(f"{server}: {error.strerror or 'the connection broke'}") from None
    except (http.client.HTTPException, ValueError) as error:  # their words may hold headers
        raise SourceDataError(f"{server}: this is no HTTP answer ({type(error).__name__})") from None
    if answer.status in {401, 403}:
        raise SourceDenied(f"{server}: HTTP {answer.status}{hint}")
    return answer


def decode(body: bytes, kind: type[_T], server: Address) -> _T:
    """*body*, which is JSON, as *kind*; raises SourceDataError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SourceDataError(f"{server}: the answer cannot be read: {_plain(error)}") from None


def expect(answer: Answer, server: Address, target: str) -> Answer:
    """*answer* if its status is 200; else raises SourceUnavailable, or SourceDataError for a request refused."""
    if answer.status == 200:
        return answer
    words = f"{server}: HTTP {answer.status} for {target.partition('?')[0]}"
    raise SourceUnavailable(words) if answer.status >= 500 or answer.status == 429 else SourceDataError(words)


# --- one request -----------------------------------------------------------------------------------


def _ask(server: Address, target: str, deadline: Deadline, headers: Mapping[str, str], ca_file: str | None) -> Answer:
    with _connected(server, deadline, ca_file) as connected:
        host = "localhost" if server.scheme == "unix" else server.host
        connection = http.client.HTTPConnection(host, server.port or None)
        connection.sock = cast("socket.socket", _Within(connected, deadline))
        path = server.path.removesuffix("/") + target if target else server.path or "/"
        connection.request("GET", path, headers={"User-Agent": "model-exporter", "Connection": "close", **headers})
        with connection.getresponse() as response:
            body = response.read(_LARGEST + 1)
            if len(body) > _LARGEST:
                raise SourceDataError(f"{server}: the answer has more than {_LARGEST} bytes")
            if response.length:  # read(n) gives what came before the connection ended, without a word
                raise http.client.IncompleteRead(body, response.length)
            return Answer(response.status, body, _epoch(response.headers.get("Date")))


def _connected(server: Address, deadline: Deadline, ca_file: str | None) -> socket.socket:
    left = _left(deadline)
    if server.scheme != "unix":
        plain = socket.create_connection((server.host, server.port), left)
        return plain if server.scheme == "http" else _encrypted(plain, server, ca_file)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        plain.settimeout(left)
        plain.connect(server.host)
    except BaseException:
        plain.close()
        raise
    return plain


def _encrypted(plain: socket.socket, server: Address, ca_file: str | None) -> socket.socket:
    try:
        changed = os.stat(ca_file).st_mtime if ca_file else 0.0  # noqa: PTH116 - a path from the config, used once
        return _context(ca_file, changed).wrap_socket(plain, server_hostname=server.host)
    except BaseException:
        plain.close()
        raise


@functools.lru_cache(maxsize=8)
def _context(ca_file: str | None, _changed: float) -> ssl.SSLContext:
    """Kept, because reading the certificates of a whole system takes 20 ms; read again when the file changes."""
    return ssl.create_default_context(cafile=ca_file)


class _Within:
    """What http.client needs of a socket, each wait of which ends at the deadline.

    A timeout of the socket itself begins anew with every byte that a slow server drips.
    """

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Stream(self._socket, self._deadline), 65_536)

    def close(self) -> None:
        """Nothing: who connected closes."""


class _Stream(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)


def _left(deadline: Deadline) -> float:
    left = deadline.remaining()
    if not left:
        raise TimeoutError
    return left


def _epoch(header: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(header).timestamp() if header else None
    except (ValueError, TypeError):
        return None


def _plain(error: Exception) -> str:
    """What msgspec found, and where; never a value."""
    words = str(error)
    return words if isinstance(error, msgspec.ValidationError) and "value" not in words else "it is no valid JSON"
