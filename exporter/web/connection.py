"""One HTTP/1.1 connection: h11 reads and writes the protocol, this file sets the limits.

Every wait has an end: for a request to arrive whole, for the next one on a kept-alive connection, for a reader
to take its response.  A connection that is waiting costs a few kilobytes and no thread.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import h11

from exporter.web.routes import SECURITY_HEADERS, Answer, Request, Response, text

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
_LINGER_SECONDS = 2.0  # how long the rest of a refused request is read away, so that its answer arrives
_BUFFERED_BYTES = 4 * 1024 * 1024  # about what asyncio may copy for all slow readers; the rest stays in the snapshot

Event: TypeAlias = "h11.Event | type[h11.NEED_DATA | h11.PAUSED]"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is served at once, and how long is waited (seconds).

    `idle` is longer than a usual scrape interval, so that a Prometheus keeps its connection.
    """

    requests: int = 40
    connections: int = 256
    request: float = 10.0
    response: float = 30.0
    idle: float = 150.0


@dataclass(slots=True)
class Shared:
    """What the connections of one server share; only its event loop touches it.

    `waiting` holds connections without a whole request, in the order in which they began to wait.
    """

    respond: Callable[[Request], Answer]
    limits: Limits
    executor: Executor
    waiting: dict[Connection, None] = field(default_factory=dict)
    serving: set[Connection] = field(default_factory=set)
    stopping: bool = False
    served_all: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self, connection: Connection) -> None:
        """Forget *connection*, and tell whoever waits for the last one."""
        self.waiting.pop(connection, None)
        self.serving.discard(connection)
        if self.stopping and not self.serving:
            self.served_all.set()


class Connection(asyncio.Protocol):
    """Reads one request at a time, answers it, and closes itself when a limit is reached."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._request: h11.Request | None = None
        self._is_refused = False
        self._work: asyncio.Future[Response] | None = None
        self._body_bytes = 0
        self._rest = memoryview(b"")
        self._writable = True

    # --- what the transport calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        # asyncio does this only for sockets that know their protocol, which one from `create_server` does not; without
        # it, a head and its body in two writes wait for the client's delayed acknowledgement, 40 ms.
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting = self._shared.waiting
        if len(waiting) + len(self._shared.serving) >= self._shared.limits.connections and waiting:
            next(iter(waiting)).abort()
        waiting[self] = None
        self._set_timer(self._shared.limits.request)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - a client that hangs up is no news
        self._set_timer(None)
        self._shared.leave(self)
        self._rest = memoryview(b"")
        if self._work is not None:
            self._work.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
            self._set_timer(self._shared.limits.request)  # by a request's first byte only: later ones buy no time
        self._http.receive_data(data)
        self._read()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._write_rest()

    # --- reading ------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take what has arrived, until it ends or a request is whole."""
        try:
            while self in self._shared.waiting:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    if self._http.they_are_waiting_for_100_continue:
                        go_on = h11.InformationalResponse(status_code=100, headers=[])
                        self._transport.write(self._http.send(go_on) or b"")
                    return
                self._take(event)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, "This is no request that can be read.")

    def _take(self, event: Event) -> None:
        if isinstance(event, h11.Request):
            self._request, self._body_bytes = event, 0
        elif isinstance(event, h11.Data):
            self._body_bytes += len(event.data)
            if self._body_bytes > MAX_BODY_BYTES:
                self._refuse(413, f"A body may hold at most {MAX_BODY_BYTES} bytes; none is needed.")
        elif isinstance(event, h11.EndOfMessage) and self._request is not None:
            self._serve(self._request)

    def _serve(self, received: h11.Request) -> None:
        shared = self._shared
        if not self._begin():
            return
        path = _path(received.target)
        if len(shared.serving) > shared.limits.requests and not path.startswith("/-/"):  # busy is not sick
            busy = f"{shared.limits.requests} requests are being served, which is the limit. Ask again in a second."
            self._send(text(503, busy, (("Retry-After", "1"),)))
            return
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in received.headers}
        try:
            answer = shared.respond(Request(received.method.decode("ascii"), path, headers))
        except Exception as error:  # noqa: BLE001 - a fault in one page must not end the server
            answer = _failed(error)
        if isinstance(answer, Response):
            self._send(answer)
        else:
            self._work = asyncio.get_running_loop().run_in_executor(shared.executor, answer)
            self._work.add_done_callback(self._worked)

    def _worked(self, work: asyncio.Future[Response]) -> None:
        if work.cancelled():
            self.abort()
        elif self in self._shared.serving:
            error = work.exception()
            self._send(work.result() if error is None else _failed(error))

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be served, and close: where the next request would begin is not known."""
        if self._begin():
            self._is_refused = True
            self._send(text(status, message, (("Connection", "close"),)))

    def _begin(self) -> bool:
        """Go from waiting to serving; the time for the whole response starts."""
        if self._transport.is_closing():
            return False
        self._shared.waiting.pop(self, None)
        self._shared.serving.add(self)
        self._transport.pause_reading()
        self._set_timer(self._shared.limits.response)
        return True

    # --- writing ------------------------------------------------------------------------------------

    def _send(self, response: Response) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
            *SECURITY_HEADERS,
        ]
        if self._shared.stopping:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode()
        head = self._http.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        is_head = self._request is not None and self._request.method == b"HEAD"
        if not is_head:
            self._http.send_with_data_passthrough(h11.Data(data=response.body))
            self._rest = memoryview(response.body)
        self._http.send(h11.EndOfMessage())
        self._transport.write(head)
        self._write_rest()

    def _write_rest(self) -> None:
        # Each write lets other threads have the interpreter, and may wait for them: few large ones are fast.
        size = _BUFFERED_BYTES // max(1, len(self._shared.serving))
        while self._writable and self._rest and not self._transport.is_closing():
            chunk, self._rest = self._rest[:size], self._rest[size:]
            self._transport.write(chunk)
        if self._writable and not self._rest and self in self._shared.serving:
            self._end()

    def _end(self) -> None:
        """The response has left: wait for the next request, or close."""
        self._shared.leave(self)
        self._request = None
        if self._is_refused and self._transport.can_write_eof():
            self._transport.write_eof()
            self._wait(_LINGER_SECONDS)
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._shared.stopping:
            self._http.start_next_cycle()
            has_more = bool(self._http.trailing_data[0])
            self._wait(self._shared.limits.request if has_more else self._shared.limits.idle)
            if has_more:
                asyncio.get_running_loop().call_soon(self._read)
        else:
            self._transport.close()

    # --- waiting ------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        self._shared.waiting[self] = None
        self._set_timer(seconds)
        self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._shared.leave(self)
        self._transport.abort()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.abort)


def _path(target: bytes) -> str:
    """The path of a request's *target*, which may be a whole URL; "" where it is neither."""
    url = target.decode("ascii")
    try:
        return url.partition("?")[0] if url.startswith("/") else urlsplit(url).path or "/"
    except ValueError:
        return ""


def _failed(error: BaseException) -> Response:
    _log.error("a request could not be answered", exc_info=error)
    return text(500, "This request could not be answered; the log says why.")
