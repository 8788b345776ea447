"""Up, down and restarts of model servers by the `/metrics` that real ones gave."""

import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.config.types import Secret
from exporter.contracts import Deadline, Probe
from exporter.errors import SourceDataError, SourceDenied
from exporter.probes.prometheus import Prometheus
from tests.answering import serving
from tests.engine import kinds
from tests.servers import CAPTURES

START = 1_795_323_412.4


class Server:
    """A model server whose metrics a test sets, and the probe that watches it."""

    def __init__(self, hands):
        self.hands, self.hands.wall, self.cursor = hands, START + 1000, None
        self.status, self.body, self.headers = 200, metrics(START), []

    def answer(self, path, query, headers):
        self.headers.append(headers)
        return (self.status, self.body) if path == "/metrics" else (404, b"")

    def watch(self, port, path="/metrics", **config):
        self.port = port
        self.config = Prometheus.Config(url=f"http://127.0.0.1:{port}{path}", **config)
        self.probe = Prometheus(self.config, name="t", clock=self.hands.clock)

    def look(self, seconds=0.0):
        self.hands.wall += seconds
        self.hands.monotonic += seconds
        sight = self.probe.look(self.cursor, Deadline(self.hands.monotonic + 5, self.hands.clock))
        self.cursor = json.loads(json.dumps(sight.cursor))
        return sight


def metrics(*starts):
    return "".join(f'process_start_time_seconds{{pid="{at}"}} {at}\n' for at in starts).encode() + b"a 1\n"


@pytest.fixture
def server(hands):
    made = Server(hands)
    with serving(made.answer) as port:
        made.watch(port)
        yield made


@pytest.mark.parametrize("name", CAPTURES)
def test_real_servers(server, name):
    """Of a real server's metrics the start time is read where there is one; without, the reason is shown."""
    server.body = CAPTURES[name].read_bytes()
    families = text_string_to_metric_families(server.body.decode())
    expected = next((one.samples[0].value for one in families if one.name == "process_start_time_seconds"), None)
    sight = server.look()
    assert (sight.up, sight.start_time) == (True, expected)
    assert ("no process_start_time_seconds" in sight.detail) is (expected is None)


def test_some_capture_tells_its_start():
    """The captures hold both kinds of servers."""
    told = {name for name, path in CAPTURES.items() if b"\nprocess_start_time_seconds " in path.read_bytes()}
    assert told == {"kserve"}


@pytest.mark.parametrize(("configured", "kind"), [(False, "unknown"), (True, "crash")])
def test_restart(server, configured, kind):
    """A changed start time is a restart of unknown cause, counted once, and a crash only if configured."""
    server.watch(server.port, unknown_is_crash=configured)
    assert server.look().endings == ()
    server.body = metrics(START + 1005)
    sight = server.look(15)
    assert (kinds(sight.endings), sight.start_time) == ({(kind, "unknown"): 1}, START + 1005)
    assert server.look(15).endings == ()


def test_restart_while_the_exporter_was_down(server):
    """A restart that nobody saw is noticed afterwards; the time in which nobody looked is not observed."""
    server.look()
    server.watch(server.port)
    server.body = metrics(START + 1800)
    sight = server.look(3600)
    assert (kinds(sight.endings), sight.observed) == ({("unknown", "unknown"): 1}, 0.0)


def test_observed_time(server):
    """Between two looks of one process all time is observed, also while the server is down."""
    assert server.look().observed == 0.0
    server.status = 500
    assert server.look(15).observed == 15.0
    server.status = 200
    assert server.look(20).observed == 20.0


def test_down_and_back(server):
    """A server that does not answer is down with a reason; back with the same process it has not restarted."""
    server.look()
    server.status = 503
    sight = server.look(15)
    assert (sight.up, sight.start_time) == (False, None)
    assert "HTTP 503: the server is in trouble" in sight.detail
    server.status = 200
    assert server.look(15).endings == ()
    server.status = 503
    server.look(15)
    server.status, server.body = 200, metrics(START + 1100)
    assert kinds(server.look(15).endings) == {("unknown", "unknown"): 1}


def test_connection_refused_and_wrong_place(hands):
    """Nothing there is down; a redirect or an unknown path says which url to write."""
    server = Server(hands)
    with serving(server.answer) as port:
        server.watch(port, path="/metric")
        assert "HTTP 404: check the url" in server.look().detail
        server.watch(port)
        server.status = 307
        assert "often with a / at the end" in server.look().detail
    sight = server.look()
    assert (sight.up, sight.detail) == (False, f"http://127.0.0.1:{port}/metrics: Connection refused")


@pytest.mark.parametrize("step", [-7200.0, -30.0, 3.0, 86400.0])
@pytest.mark.parametrize("follows", [False, True])
def test_clock_step(server, step, follows):
    """A step of the clock is no restart, whether or not the server reckons its start time anew; a restart still is."""
    server.look()
    server.hands.wall += step
    start = START + step * follows
    server.body = metrics(start)
    sight = server.look(15)
    assert (sight.endings, sight.observed) == ((), 15.0)
    server.body = metrics(start + 1010)
    assert len(server.look(15).endings) == 1


def test_start_time_may_tremble(server):
    """A start time that moves within a second is that of the same process."""
    server.look()
    server.body = metrics(START + 0.9)
    assert server.look(15).endings == ()


def test_several_processes(server):
    """Of several start times the newest counts: that of the process that was replaced last."""
    server.body = metrics(START, START + 50, START + 3)
    assert server.look().start_time == START + 50
    server.body = metrics(START, START + 1010, START + 3)
    assert len(server.look(15).endings) == 1


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e", "--1"])
def test_start_time_is_no_number(server, value):
    """A value that is no number is as good as none."""
    server.body = f"process_start_time_seconds {value}\n".encode()
    sight = server.look()
    assert (sight.up, sight.start_time) == (True, None)


def test_metric_of_another_name(server):
    """Only the metric of exactly that name counts, and no comment."""
    server.body = b"# process_start_time_seconds 5\nmy_process_start_time_seconds 5\nprocess_start_time_seconds_x 5\n"
    assert server.look().start_time is None


def test_no_metrics(server):
    """An answer that holds no metrics is an error that says what to check, and no time is observed by it."""
    server.look()
    server.body = b"<html><body>Welcome</body></html>"
    with pytest.raises(SourceDataError, match="these are no metrics; check the url"):
        server.look(15)
    server.body = metrics(START)
    assert server.look(15).observed == 0.0


def test_denied_without_secrets(server):
    """A server that asks who we are gets the configured headers, which no message shows."""
    server.watch(server.port, path="/metrics?key=s3cr3t", headers={"Authorization": Secret("Bearer s3cr3t")})
    assert server.look().up
    assert server.headers[-1]["Authorization"] == "Bearer s3cr3t"
    server.status = 403
    with pytest.raises(SourceDenied, match="HTTP 403; check headers") as caught:
        server.look(15)
    assert "s3cr3t" not in str(caught.value)
    assert isinstance(server.probe, Probe)


def test_url_with_password():
    """A password in the url is refused without being shown."""
    with pytest.raises(ValueError, match="must not hold a user or password") as caught:
        Prometheus.Config(url="http://me:s3cr3t@localhost/metrics")
    assert "s3cr3t" not in str(caught.value)
