"""The server on real sockets: protocol, limits, and a stop that ends."""

import contextlib
import gzip
import http.client
import logging
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import Snapshot
from exporter.errors import ListenError
from exporter.web.connection import MAX_BODY_BYTES, Limits
from exporter.web.page import ReloadState
from exporter.web.routes import Request, Response, Routes, Site, text
from exporter.web.server import Server, parse_address

BIG = bytes(range(256)) * 65536  # 16 MiB: more than the kernel buffers of a loopback connection hold
HALF_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "


def respond(request: Request):
    if request.path == "/big":
        return Response(200, "application/octet-stream", BIG)
    if request.path == "/worker":
        return lambda: text(200, threading.current_thread().name)
    if request.path == "/broken":
        raise ValueError("a fault of ours")
    if request.path == "/broken-worker":
        return lambda: 1 / 0
    return text(200, f"{request.method} {request.path}")


@contextlib.contextmanager
def running(answer=respond, limits: Limits | None = None, address: str = "127.0.0.1:0"):
    server = Server(answer, address, limits)
    server.start()
    try:
        yield server
    finally:
        server.stop(0.0)


def client(server: Server, timeout: float = 10.0) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, **options
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, path, **options)
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def raw(server: Server, request: bytes = b"") -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    plain.sendall(request)
    return plain


def read_all(plain: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while block := plain.recv(65536):
            received += block
    return received


def is_serving(server: Server) -> bool:
    with contextlib.closing(client(server)) as connection:
        return ask(connection, "GET", "/alive")[0] == 200


# --- protocol ------------------------------------------------------------------------------------


def test_connection_is_kept_for_the_next_request():
    """Two scrapes travel over one connection."""
    with running() as server, contextlib.closing(client(server)) as connection:
        assert ask(connection, "GET", "/a")[2] == b"GET /a\n"
        first = connection.sock
        assert ask(connection, "GET", "/b?c=d")[2] == b"GET /b\n"
        assert connection.sock is first


def test_head_tells_the_length_and_sends_no_body():
    """The connection stays usable after a HEAD, which it would not with a stray body."""
    with running() as server, contextlib.closing(client(server)) as connection:
        status, headers, body = ask(connection, "HEAD", "/big")
        assert (status, headers["content-length"], body) == (200, str(len(BIG)), b"")
        assert ask(connection, "GET", "/after")[2] == b"GET /after\n"


def test_large_body_arrives_whole():
    """A body larger than every buffer on the way is not cut or mixed up."""
    with running() as server, contextlib.closing(client(server)) as connection:
        for _ in range(2):
            assert ask(connection, "GET", "/big")[2] == BIG


def test_scrape_survives_gzip_from_end_to_end():
    """Routes and server together hand over the snapshot, compressed once and marked as served."""
    snapshot = Snapshot(text=b"up 1\n" * 5000, openmetrics=b"# EOF\n", series=1, made_at=0.0)
    site = Site(
        current=lambda: snapshot,
        healthy=lambda: None,
        ready=lambda: None,
        config_text=str,
        reload_state=lambda: ReloadState(0.0),
        version="1",
        documentation="https://example.org/",
    )
    with running(Routes(site)) as server, contextlib.closing(client(server)) as connection:
        for _ in range(2):
            status, headers, body = ask(connection, "GET", "/metrics", headers={"Accept-Encoding": "gzip"})
            assert (status, headers["content-encoding"]) == (200, "gzip")
            assert gzip.decompress(body) == snapshot.text
        assert snapshot.served


def test_answers_are_guarded_and_name_no_library():
    """Every answer forbids sniffing, framing and scripts, and there is no banner to look up faults by."""
    with running() as server, contextlib.closing(client(server)) as connection:
        headers = ask(connection, "GET", "/")[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
        assert "date" in headers
        assert "server" not in headers


def test_pipelined_requests_are_answered_in_order():
    """Hundreds of requests in one packet are no way to exhaust the stack."""
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(900))
    with (
        running() as server,
        raw(server, requests + b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as plain,
    ):
        bodies = [line for line in read_all(plain).split(b"\r\n") if line.startswith(b"GET /")]
    assert [body.partition(b"\n")[0] for body in bodies] == [b"GET /%d" % n for n in range(900)] + [b"GET /end"]


def test_old_clients_and_whole_urls_are_understood():
    """HTTP/1.0 without a Host, and a target in absolute form."""
    with running() as server:
        with raw(server, b"GET /old HTTP/1.0\r\n\r\n") as plain:
            assert read_all(plain).endswith(b"GET /old\n")
        with raw(server, b"GET http://x/whole?a=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as plain:
            assert read_all(plain).endswith(b"GET /whole\n")


def test_client_that_waits_to_send_its_body_is_told_to_go_on():
    """`Expect: 100-continue` gets its 100, then the answer."""
    head = b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with running() as server, raw(server, head) as plain:
        assert plain.recv(4096).startswith(b"HTTP/1.1 100 ")
        plain.sendall(b"{}")
        assert read_all(plain).endswith(b"POST /up\n")


# --- bad requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET /" + b"a" * 100_000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * (MAX_BODY_BYTES + 1), 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n" + b"a" * 0x11000, 413),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_request_that_cannot_be_served_is_refused_and_closed(request_bytes, status):
    """The client is told in a status, the connection ends, and the server goes on."""
    with running() as server:
        with raw(server, request_bytes) as plain:
            assert read_all(plain).startswith(b"HTTP/1.1 %d " % status)
        assert is_serving(server)


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"Host: x", b":"])).map(b"".join)
)
@settings(max_examples=60, deadline=None)
def test_no_bytes_stop_the_server(shared_server, request_bytes):
    """Whatever arrives is answered or cut off, and the next client is served."""
    with raw(shared_server, request_bytes) as plain:
        with contextlib.suppress(OSError):
            plain.shutdown(socket.SHUT_WR)
        read_all(plain)
    assert is_serving(shared_server)


@pytest.fixture(scope="module")
def shared_server():
    with running() as server:
        yield server


@pytest.mark.parametrize("path", ["/broken", "/broken-worker"])
def test_fault_in_a_page_is_logged_and_answered(path, caplog):
    """One broken page is a 500 that tells nothing of the inside; the connection stays good."""
    with running() as server, contextlib.closing(client(server)) as connection:
        status, _, body = ask(connection, "GET", path)
        assert status == 500
        assert b"fault" not in body
        assert ask(connection, "GET", "/next")[0] == 200
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


# --- limits --------------------------------------------------------------------------------------


def test_slow_reader_holds_up_nobody():
    """A client that asks for much and takes nothing leaves the others alone, and is cut off in the end."""
    request = b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
    with running(limits=Limits(response=1.0)) as server, raw(server, request) as slow:
        assert slow.recv(1) == b"H"
        assert is_serving(server)
        wait_until(lambda: not server._shared.serving)
        assert len(read_all(slow)) < len(BIG)


def test_half_open_connections_cost_neither_threads_nor_the_service():
    """300 requests that never end: no thread more, no more connections than allowed, and all others are served."""
    with running() as server, contextlib.ExitStack() as sockets:
        assert is_serving(server)
        threads = threading.active_count()
        for _ in range(300):
            sockets.enter_context(raw(server, HALF_REQUEST))
        assert is_serving(server)
        assert threading.active_count() == threads
        assert len(server._shared.waiting) <= Limits().connections


def test_longest_waiting_connection_makes_place_for_a_new_one():
    """With all places taken, whoever has waited longest without a request has to go."""
    with running(limits=Limits(connections=3)) as server, contextlib.ExitStack() as sockets:
        waiting = [sockets.enter_context(raw(server, HALF_REQUEST)) for _ in range(3)]
        wait_until(lambda: len(server._shared.waiting) == 3)
        assert is_serving(server)
        assert read_all(waiting[0]) == b""
        waiting[2].sendall(b"x\r\n\r\n")
        assert waiting[2].recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


def test_dripping_a_request_buys_no_time():
    """The time for a request is counted from its first byte, whatever comes after."""
    with running(limits=Limits(request=0.5)) as server, raw(server, HALF_REQUEST) as plain:
        plain.settimeout(0.05)
        end = time.monotonic() + 10
        is_open = True
        while is_open:
            assert time.monotonic() < end
            try:
                plain.sendall(b"a")
                is_open = plain.recv(1) != b""
            except TimeoutError:
                continue
            except OSError:
                is_open = False


def test_idle_connection_is_closed_in_the_end():
    """A kept connection that is not used again is given back."""
    with running(limits=Limits(idle=0.2)) as server, raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as plain:
        assert read_all(plain).endswith(b"GET /\n")


def test_too_many_requests_at_once_are_sent_away():
    """Beyond the cap the answer is 503 with Retry-After, and the connection is good for another try."""
    entered, release = threading.Event(), threading.Event()

    def slow() -> Response:
        entered.set()
        release.wait(10)
        return text(200, "done")

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running(lambda _: slow, Limits(requests=1)))
        first, second = (stack.enter_context(contextlib.closing(client(server))) for _ in range(2))
        first.request("GET", "/")
        assert entered.wait(10)
        status, headers, _ = ask(second, "GET", "/")
        assert (status, headers["retry-after"]) == (503, "1")
        release.set()
        assert first.getresponse().read() == b"done\n"
        assert ask(second, "GET", "/")[0] == 200


def test_slow_answers_are_made_in_workers():
    """What a route leaves for later does not run in the event loop's thread."""
    with running() as server, contextlib.closing(client(server)) as connection:
        assert ask(connection, "GET", "/worker")[2].startswith(b"web-worker")


# --- start and stop ------------------------------------------------------------------------------


def test_stop_lets_a_running_response_leave():
    """A scrape that is under way is finished; new clients are not taken."""
    entered, release = threading.Event(), threading.Event()

    def slow() -> Response:
        entered.set()
        release.wait(10)
        return text(200, "done")

    with running(lambda _: slow) as server, contextlib.closing(client(server)) as connection:
        connection.request("GET", "/")
        assert entered.wait(10)
        stopping = threading.Thread(target=server.stop, args=(10.0,))
        stopping.start()
        wait_until(lambda: server._shared.stopping)
        with pytest.raises(ConnectionRefusedError):
            raw(server)
        release.set()
        response = connection.getresponse()
        assert (response.read(), response.getheader("connection")) == (b"done\n", "close")
        stopping.join(10)
        assert not stopping.is_alive()


def test_stop_waits_for_nobody_forever():
    """Idle, half-open and slowly reading clients are cut when the time is up."""
    with running() as server, contextlib.ExitStack() as sockets:
        for request in (b"", HALF_REQUEST, b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"):
            sockets.enter_context(raw(server, request))
        wait_until(lambda: server._shared.serving)
        began = time.monotonic()
        server.stop(0.2)
        assert time.monotonic() - began < 5
        assert server._thread is not None
        assert not server._thread.is_alive()


def test_stopping_twice_or_before_the_start_does_no_harm():
    """A signal handler may call stop at any time."""
    server = Server(respond, "127.0.0.1:0")
    server.stop()
    server.start()
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=10)


def test_port_in_use_tells_what_to_do():
    """The error names the address and the way out."""
    with (
        running() as server,
        pytest.raises(ListenError, match=rf"127\.0\.0\.1:{server.port}: the port is in use; stop"),
    ):
        Server(respond, f"127.0.0.1:{server.port}").start()


def test_address_of_another_machine_tells_what_to_do():
    """An address that this machine does not have is no traceback."""
    with pytest.raises(ListenError, match="does not have that address"):
        Server(respond, "192.0.2.1:0").start()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("address", "host"), [("[::]:0", "::1"), ("[::1]:0", "::1"), (":0", "127.0.0.1"), (":0", "::1")]
)
def test_ipv6_is_listened_on(address, host):
    """Brackets mean IPv6, and no host means every address of both kinds."""
    with running(address=address) as server:
        connection = http.client.HTTPConnection(host, server.port, timeout=10)
        with contextlib.closing(connection):
            assert ask(connection, "GET", "/six")[2] == b"GET /six\n"


@pytest.mark.parametrize(
    ("address", "expected"),
    [(":9884", ("", 9884)), ("localhost:1", ("localhost", 1)), ("[::]:80", ("::", 80)), ("0.0.0.0:0", ("0.0.0.0", 0))],
)
def test_address_is_split(address, expected):
    """Host and port of what a flag may say."""
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", "9884", "host", "host:", ":http", ":65536", ":-1", "::1:9884", "::", ":٣"])
def test_bad_address_tells_the_good_form(address):
    """A typo in the flag is answered with examples."""
    with pytest.raises(ListenError, match="write HOST:PORT"):
        parse_address(address)


def wait_until(condition, timeout: float = 10.0) -> None:
    """Poll *condition*, which another thread makes true, without holding the interpreter."""
    turn = threading.Event()
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        turn.wait(0.005)
