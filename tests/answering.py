"""A web server on a Unix socket or the loopback whose answers a test decides, one function for all requests."""

from __future__ import annotations

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answering = Callable[[str, dict[str, str], Any], tuple[int, bytes]]


class _Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


class _Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


@contextlib.contextmanager
def serving(
    answer: Answering,
    place: Any = ("127.0.0.1", 0),
    *,
    now: Callable[[], float] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Any]:
    """Serves `answer(path, query, headers)`, which gives a status and a body, at *place*: a path, or host and port.

    Gives the path, or the port.  *now* is what the server takes for the time of day; without it tells no time.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            status, body = answer(parts.path, query, self.headers)
            with contextlib.suppress(OSError):
                self.send_response_only(status)
                if now is not None:
                    self.send_header("Date", formatdate(int(now()), usegmt=True))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = _Tcp(place, Handler) if isinstance(place, tuple) else _Unix(str(place), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *words: None  # a client may refuse the certificate
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1] if isinstance(place, tuple) else str(place)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
