"""The HTTP server: one thread with an event loop, bounded in connections, requests, bytes and waiting time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from exporter.errors import ListenError
from exporter.web.connection import Connection, Limits, Shared
from exporter.web.routes import Answer, Request

_WORKERS = 4
_BACKLOG = 128
_ADVICE = {
    errno.EADDRINUSE: "the port is in use; stop the program that holds it (`ss -ltnp` tells which), or choose another",
    errno.EACCES: "ports below 1024 need the right to bind them; choose a higher one",
    errno.EADDRNOTAVAIL: "this machine does not have that address; leave the host out to listen on all of them",
}


def parse_address(address: str) -> tuple[str, int]:
    """Split "HOST:PORT", ":PORT" or "[IPV6]:PORT"; the host is "" for all addresses.  Raises ListenError."""
    host, colon, port = address.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not colon or not 0 <= number <= 65535 or (":" in host and not is_bracketed):
        raise ListenError(
            f"{address!r} is no listen address; write HOST:PORT, such as :9884, 127.0.0.1:9884, [::1]:9884"
        )
    return host.strip("[]"), number


def _listen(address: str) -> socket.socket:
    host, port = parse_address(address)
    try:
        if host in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)  # noqa: S104 - asked for
        family, _, _, _, where = min(found, key=lambda entry: entry[0] is not socket.AF_INET)
        return socket.create_server((str(where[0]), port), family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        raise ListenError(f"cannot listen on {address}: the host {host!r} is not known ({error.strerror})") from error
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, os.strerror(error.errno or 0))
        raise ListenError(f"cannot listen on {address}: {advice}") from error


def free(address: str, way_out: str) -> None:
    """Raise ListenError, with the *way_out*, if *address* cannot be listened on: before other work is done in vain."""
    try:
        _listen(address).close()
    except ListenError as error:
        raise ListenError(f"{error}; {way_out}") from error


class Server:
    """Serves what *respond* answers, from `start` until `stop`, in a thread of its own.

    *respond* is called in the event loop's thread; a callable that it returns runs in one of a few workers.
    """

    def __init__(self, respond: Callable[[Request], Answer], address: str, limits: Limits | None = None) -> None:
        self._address = address
        self._executor = ThreadPoolExecutor(_WORKERS, "web-worker")
        self._shared = Shared(respond, limits or Limits(), self._executor)
        self.port = 0
        """The port that is listened on once `start` has returned, also when 0 was asked for."""
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_within: asyncio.Future[float] | None = None

    def start(self) -> None:
        """Listen, and return when requests are answered; raises ListenError if that cannot be."""
        listening = _listen(self._address)
        self.port = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(listening,), name="web", daemon=True)
        self._thread.start()
        self._started.wait()

    def stop(self, timeout: float = 5.0) -> None:
        """Take no more connections, let responses that are under way leave, cut what is left after *timeout* s."""
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            return
        try:
            self._loop.call_soon_threadsafe(self._ask_to_stop, timeout)
        except RuntimeError:  # it has just ended by itself
            return
        self._thread.join(timeout + 1.0)

    # --- in the server's thread ---------------------------------------------------------------------

    def _run(self, listening: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listening))
        finally:
            self._started.set()

    def _ask_to_stop(self, timeout: float) -> None:
        if self._stop_within is not None and not self._stop_within.done():
            self._stop_within.set_result(timeout)

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_within = self._loop.create_future()
        server = await self._loop.create_server(lambda: Connection(self._shared), sock=listening)
        self._started.set()
        timeout = await self._stop_within
        server.close()
        self._shared.stopping = True
        for connection in list(self._shared.waiting):
            connection.abort()
        if self._shared.serving:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._shared.served_all.wait(), timeout)
        for connection in list(self._shared.serving):
            connection.abort()
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.sleep(0)  # closed transports say so in the loop's next turn
