"""What probes of other servers do when those are not there, not for them, silent, slow, or talk nonsense."""

import contextlib
import os
import socket
import stat
import tempfile
import threading
import time
from pathlib import Path

import pytest

from exporter.contracts import Clock, Deadline
from exporter.errors import SourceDataError, SourceDenied, SourceError, SourceTimeout, SourceUnavailable
from exporter.probes.docker import Docker
from exporter.probes.kubernetes import Kubernetes
from exporter.probes.prometheus import Prometheus
from tests.answering import serving
from tests.engine import Engine, container, event, kinds

CLOCK = Clock()
T = 1_800_000_000.0


@contextlib.contextmanager
def talking(words, place=("127.0.0.1", 0), drip=0.0):
    """A server that reads nothing, says *words* to everyone, byte by byte every *drip* seconds, and falls silent."""
    over = threading.Event()
    server = socket.socket(socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX)
    server.bind(place)
    server.listen()
    server.settimeout(0.02)

    def talk():
        connected = []
        while not over.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                one, _ = server.accept()
                connected.append(one)
                for byte in words if drip else [words]:
                    one.sendall(bytes([byte]) if drip else byte)
                    if over.wait(drip):
                        break
        for one in connected:
            one.close()

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield server.getsockname()[1] if isinstance(place, tuple) else place
    finally:
        over.set()
        thread.join()
        server.close()


def docker(port):
    return Docker(Docker.Config(container="model", socket=f"tcp://127.0.0.1:{port}"), name="t", clock=CLOCK)


def kubernetes(port):
    config = Kubernetes.Config(container="m", pod="p", namespace="n", api=f"http://127.0.0.1:{port}")
    return Kubernetes(config, name="t", clock=CLOCK)


def prometheus(port):
    return Prometheus(Prometheus.Config(url=f"http://127.0.0.1:{port}/metrics"), name="t", clock=CLOCK)


def soon(seconds=5.0):
    return Deadline(CLOCK.monotonic() + seconds, CLOCK)


def outcome(probe, seconds=5.0):
    """The kind of error of a look, or that the target is down, and the words that tell why."""
    try:
        sight = probe.look(None, soon(seconds))
    except SourceError as error:
        return type(error), str(error)
    assert not sight.up
    return None, sight.detail


@pytest.mark.parametrize("make", [docker, kubernetes])
@pytest.mark.parametrize("words", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"])
def test_silent_server(make, words):
    """A server that accepts and then says nothing more is a timeout at the deadline, not later."""
    with talking(words) as port:
        began = time.monotonic()
        kind, told = outcome(make(port), 0.3)
        assert kind is SourceTimeout
        assert "no answer in time" in told
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("words", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 999, b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 999])
def test_dripping_server(words):
    """A server that gives a byte now and then has no more time than others."""
    with talking(words, drip=0.05) as port:
        began = time.monotonic()
        assert outcome(docker(port), 0.4)[0] is SourceTimeout
        assert time.monotonic() - began < 2


def test_hung_socket(tmp_path):
    """An engine that hangs on its Unix socket is a timeout; the same look works when it is back."""
    place = str(tmp_path / "engine.sock")
    probe = Docker(Docker.Config(container="model", socket=place), name="t", clock=CLOCK)
    with talking(b"", place):
        assert outcome(probe, 0.3) == (SourceTimeout, f"socket {place}: no answer in time")
    Path(place).unlink()
    engine = Engine([], now=T)
    engine.containers["model"] = container(started=T)
    with engine.serve(place):
        assert probe.look(None, soon()).up


def test_full_backlog(tmp_path):
    """A socket on which nobody accepts any more is not available."""
    place = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as stack:
        server.bind(place)
        server.listen(0)
        for _ in range(3):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(place)
        probe = Docker(Docker.Config(container="model", socket=place), name="t", clock=CLOCK)
        assert outcome(probe, 0.2) == (SourceUnavailable, f"socket {place}: it accepts no more connections")


def test_down_model_server():
    """For the model server's own metrics, silence is what down means."""
    with talking(b"") as port:
        kind, told = outcome(prometheus(port), 0.2)
    assert (kind, told) == (None, f"http://127.0.0.1:{port}/metrics: no answer in time")


@pytest.mark.parametrize("make", [docker, kubernetes])
def test_nobody_there(make):
    """A refused connection is not available."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert outcome(make(free.getsockname()[1])) == (
            SourceUnavailable,
            f"http://127.0.0.1:{free.getsockname()[1]}: Connection refused",
        )


def test_no_socket(tmp_path):
    """A socket that does not exist is not available, and is found when it is there."""
    probe = Docker(Docker.Config(container="model", socket=str(tmp_path / "s")), name="t", clock=CLOCK)
    assert outcome(probe) == (SourceUnavailable, f"socket {tmp_path}/s: No such file or directory")


@contextlib.contextmanager
def as_nobody():
    """Root may do everything: it becomes nobody meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_permission_denied_on_the_socket():
    """A socket that is not for us is denied, with the way out; once it is, all is told that happened meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        engine = Engine([], now=T)
        engine.containers["model"] = container(started=T)
        with engine.serve(f"{folder}/s") as place:
            clock = Clock(wall=lambda: engine.now, monotonic=lambda: engine.now)
            probe = Docker(Docker.Config(container="model", socket=place), name="t", clock=clock)
            cursor = probe.look(None, Deadline(engine.now + 5, clock)).cursor
            Path(place).chmod(0)
            engine.now = T + 30
            engine.events = [event("die", T + 20, exitCode="1")]
            with as_nobody(), pytest.raises(SourceDenied, match="permission denied; add the exporter's user to the"):
                probe.look(cursor, Deadline(engine.now + 5, clock))
            Path(place).chmod(stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
            engine.now = T + 60
            with as_nobody():
                sight = probe.look(cursor, Deadline(engine.now + 5, clock))
            assert (kinds(sight.endings), sight.observed) == ({("crash", "exit"): 1}, 60.0)


MALFORMED = {
    "HTML": b"<html>secret-word</html>",
    "empty": b"",
    "half": b'{"Id": "x", "State": {"Running": tr',
    "wrong types": b'{"Id": 5, "State": "secret-word", "metadata": "secret-word", "status": 1}',
    "a list": b'["secret-word"]',
    "not UTF-8": b'{"Id": "\xff\xfe", "metadata": {"uid": "\xff"}}',
    "an empty object": b"{}",
    "deep": b'{"State": ' * 20_000,
}


@pytest.mark.parametrize("make", [docker, kubernetes])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_answers(make, name):
    """An answer that is none is an error that says so, without showing it."""
    with serving(lambda *words: (200, MALFORMED[name])) as port:
        kind, told = outcome(make(port))
    assert kind is SourceDataError
    assert "secret-word" not in told


@pytest.mark.parametrize("body", [b"<html>", b'{"Action": 5}\n', b'{"timeNano": "secret-word"}\n', b"null\n"])
def test_malformed_events(body):
    """Events that cannot be read are an error; nothing moves the cursor past them."""
    engine = Engine([], now=T)
    engine.containers["model"] = container(started=T)

    def answer(path, query, headers):
        return (200, body) if path == "/events" else engine.answer(path, query, headers)

    with serving(answer, now=lambda: T) as port:
        probe = docker(port)
        cursor = probe.look(None, soon()).cursor
        with pytest.raises(SourceDataError, match="the events cannot be read") as caught:
            probe.look(cursor, soon())
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" * 200],
)
def test_no_http(words):
    """A server that speaks something else is an error of data, for each probe."""
    with talking(words) as port:
        assert outcome(docker(port), 1.0)[0] is SourceDataError


def test_answer_breaks_off():
    """A connection that ends in the middle of an answer is not available."""

    with socket.create_server(("127.0.0.1", 0)) as server:

        def half():
            one, _ = server.accept()
            one.recv(65_536)
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}")
            one.close()

        thread = threading.Thread(target=half)
        thread.start()
        kind, told = outcome(docker(server.getsockname()[1]))
        thread.join()
    assert (kind, told.partition(": ")[2].rpartition(": ")[2]) == (SourceUnavailable, "the answer broke off")


@pytest.mark.parametrize(
    ("status", "kind"), [(500, SourceUnavailable), (429, SourceUnavailable), (400, SourceDataError)]
)
@pytest.mark.parametrize("make", [docker, kubernetes])
def test_server_in_trouble(make, status, kind):
    """Statuses that bring no answer are errors of their kind."""
    with serving(lambda *words: (status, b"{}")) as port:
        found, told = outcome(make(port))
    assert found is kind
    assert f"HTTP {status}" in told


def test_answer_too_large():
    """An answer without end is refused, before it fills the memory."""
    with serving(lambda *words: (200, b" " * (33 * 2**20))) as port:
        assert outcome(docker(port), 20)[0] is SourceDataError
