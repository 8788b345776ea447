"""Ends of a pod's container, as the Kubernetes API tells them; answers in the API's shape over real TCP and TLS."""

import json
import ssl
import subprocess

import pytest

from exporter.contracts import Deadline, Probe
from exporter.errors import SourceDenied, SourceUnavailable
from exporter.probes.kubernetes import Kubernetes
from tests.answering import serving
from tests.cluster import Pods, T, container, over, running, stamp, waiting
from tests.engine import kinds


class Cluster(Pods):
    """One pod of an API server, and the probe that watches its container."""

    def __init__(self, hands):
        super().__init__()
        self.hands, self.cursor, self.found = hands, None, []
        self.hands.wall = T

    def watch(self, port, **config):
        words = {"container": "model", "pod": "server-0", "namespace": "prod", "api": f"http://127.0.0.1:{port}"}
        self.config = Kubernetes.Config(**(words | config))
        self.probe = Kubernetes(self.config, name="t", clock=self.hands.clock)

    def look(self, at=None):
        if at is not None:
            self.hands.monotonic += T + at - self.hands.wall
            self.hands.wall = T + at
        sight = self.probe.look(self.cursor, Deadline(self.hands.monotonic + 5, self.hands.clock))
        self.cursor = json.loads(json.dumps(sight.cursor))
        self.found += sight.endings
        return sight


@pytest.fixture
def cluster(hands):
    made = Cluster(hands)
    with serving(made.answer) as port:
        made.watch(port)
        yield made


def test_up(cluster):
    """A running container is up since its start."""
    sight = cluster.look()
    assert (sight.up, sight.start_time, sight.endings, sight.observed) == (True, T - 900, (), 0.0)
    assert isinstance(cluster.probe, Probe)


def test_first_look_imports_nothing_old(cluster):
    """Restarts from before the first look are no news."""
    cluster.becomes(running(-5), over(137, -10, "OOMKilled"), restarts=7)
    assert cluster.look().endings == ()
    assert cluster.look(10).endings == ()


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (over(137, 5, "OOMKilled"), ("crash", "oom")),
        (over(137, 5), ("crash", "killed")),
        (over(139, 5), ("crash", "SIGSEGV")),
        (over(0, 5, signal=11), ("crash", "SIGSEGV")),
        (over(3, 5), ("crash", "exit")),
        (over(143, 5), ("planned", "stop")),
        (over(0, 5, "Completed"), ("planned", "clean")),
        (over(137, 5, "ContainerStatusUnknown"), ("unknown", "unknown")),
    ],
)
def test_causes(cluster, last, told):
    """The last instance's own exit code, signal and reason say how it ended, and when."""
    cluster.look()
    cluster.becomes(running(6), last, restarts=1)
    sight = cluster.look(10)
    assert [(one.kind, one.reason, one.time) for one in sight.endings] == [(*told, T + 5)]
    assert cluster.look(20).endings == ()


def test_end_is_told_once_through_all_states(cluster):
    """Ended, waiting for its restart, running again: the same end, told when it is first seen."""
    cluster.look()
    end = over(1, 5)
    told = []
    for at, state, last, restarts in (
        (10, end, None, 0),
        (20, waiting(), end, 0),
        (30, running(25), end, 1),
        (40, over(1, 35, number=2), end, 1),
        (50, waiting(), over(1, 35, number=2), 1),
    ):
        cluster.becomes(state, last, restarts)
        sight = cluster.look(at)
        told.append(len(sight.endings))
        assert sight.up is ("running" in state)
    assert told == [1, 0, 0, 1, 0]
    assert sight.detail == "the container waits: CrashLoopBackOff"


@pytest.mark.parametrize(("configured", "kind"), [(False, "unknown"), (True, "crash")])
def test_several_ends_between_looks(cluster, configured, kind):
    """Of several ends only the last has a cause; the others are crashes only if configured."""
    cluster.look()
    cluster.watch(cluster.config.api.rpartition(":")[2], unknown_is_crash=configured)
    cluster.becomes(running(60), over(139, 55), restarts=3)
    assert kinds(cluster.look(70).endings) == {(kind, "unknown"): 2, ("crash", "SIGSEGV"): 1}


def test_crash_while_the_exporter_was_down(cluster):
    """A crash in the time when nobody looked is counted once, and that time as observed."""
    cluster.look()
    cluster.becomes(running(60), over(137, 55), restarts=1)
    cluster.watch(cluster.config.api.rpartition(":")[2])
    sight = cluster.look(3600)
    assert (kinds(sight.endings), sight.observed) == ({("crash", "killed"): 1}, 3600.0)
    assert cluster.look(3610).endings == ()


def test_planned_deletion(cluster):
    """A container killed because its pod is deleted did not crash."""
    cluster.look()
    cluster.deleted = T + 3
    cluster.becomes(over(137, 5))
    assert kinds(cluster.look(10).endings) == {("planned", "forced_stop"): 1}


def test_new_pod_resets_the_baseline(cluster):
    """Another pod by the same name has restarts of its own, all new, and is observed from its birth."""
    cluster.becomes(running(-5), over(1, -10), restarts=9)
    cluster.look()
    cluster.uid, cluster.born = "u2", T + 100
    cluster.becomes(running(101))
    sight = cluster.look(130)
    assert (sight.endings, sight.observed) == ((), 30.0)
    cluster.uid, cluster.born = "u3", T + 200
    cluster.becomes(running(230), over(2, 220, number=5), restarts=1)
    assert kinds(cluster.look(240).endings) == {("crash", "exit"): 1}


def test_count_of_restarts_falls(cluster):
    """A count that the kubelet lost makes no crashes; a new last end is one all the same."""
    cluster.becomes(running(-5), over(1, -10), restarts=5)
    cluster.look()
    cluster.becomes(running(-5), over(1, -10), restarts=2)
    assert cluster.look(10).endings == ()
    cluster.becomes(running(20), over(1, 15, number=9), restarts=1)
    assert kinds(cluster.look(30).endings) == {("crash", "exit"): 1}


def failed(kind="liveness", at=5.0, name="model"):
    return {"message": f"Container {name} failed {kind} probe, will be restarted", "lastTimestamp": stamp(T + at)}


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([failed()], ("crash", "probe")),
        ([failed("startup", -20)], ("crash", "probe")),
        ([failed(at=-200)], ("planned", "stop")),
        ([failed(name="other")], ("planned", "stop")),
        ([{"message": "Stopping container model", "lastTimestamp": stamp(T + 5)}], ("planned", "stop")),
        ([], ("planned", "stop")),
        (None, ("planned", "stop")),
    ],
)
def test_killed_for_a_failed_probe(cluster, events, told):
    """A server killed because it no longer answers its health probe crashed; without that event its exit tells."""
    cluster.look()
    cluster.events = events
    cluster.becomes(running(6), over(143, 5), restarts=1)
    assert kinds(cluster.look(10).endings) == {told: 1}


def test_init_container(cluster):
    """A model server may be an init container that runs beside the others."""
    cluster.containers, cluster.init = [], [container(running(-3))]
    assert cluster.look().up


def test_container_or_pod_missing(cluster):
    """What is not there is down, with a reason; once it is there, nothing is lost."""
    cluster.look()
    cluster.containers = [container(running(), name="sidecar")]
    sight = cluster.look(10)
    assert (sight.up, sight.detail) == (False, "pod server-0 has no container model; it has sidecar")
    cluster.becomes(running(20), over(1, 15), restarts=1)
    assert len(cluster.look(30).endings) == 1
    cluster.status = 404
    sight = cluster.look(40)
    assert (sight.up, sight.observed) == (False, 10.0)
    assert "there is no pod server-0 in prod" in sight.detail


def test_container_renamed_in_the_config(cluster):
    """Another container begins anew."""
    cluster.look()
    cluster.containers.append(container(running(-5), over(1, -9), restarts=4, name="other"))
    cluster.watch(cluster.config.api.rpartition(":")[2], container="other")
    assert cluster.look(10).endings == ()


def test_clock_step(cluster):
    """A step of the wall clock changes no observed time, and tells no end again."""
    cluster.becomes(running(-5), over(1, -10), restarts=1)
    cluster.look()
    cluster.hands.monotonic += 15
    cluster.hands.wall += 7200
    sight = cluster.look()
    assert (sight.endings, sight.observed) == ((), 15.0)


def test_inside_a_cluster(tmp_path, hands, debian, monkeypatch):
    """In a pod all is found by itself: the API over TLS, its CA, the namespace, the pod, the token of the moment."""
    key, certificate = tmp_path / "key", tmp_path / "ca.crt"
    options = "-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = "-subj /CN=kubernetes -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [debian("openssl", "openssl"), "req", *options.split(), *names.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    (tmp_path / "namespace").write_text("prod")
    (tmp_path / "token").write_text("one\n")
    cluster = Cluster(hands)
    with serving(cluster.answer, tls=tls) as port:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT_HTTPS", str(port))
        monkeypatch.delenv("POD_NAME", raising=False)
        monkeypatch.setenv("HOSTNAME", "server-0")
        config = Kubernetes.Config(container="model", account=str(tmp_path))
        cluster.probe = Kubernetes(config, name="t", clock=hands.clock)
        assert cluster.look().up
        (tmp_path / "token").write_text("two\n")
        assert cluster.look(10).up
        assert cluster.tokens == ["Bearer one", "Bearer two"]
        cluster.probe = Kubernetes(
            Kubernetes.Config(container="model", account=str(tmp_path), api=f"https://localhost:{port}"),
            name="t",
            clock=hands.clock,
        )
        with pytest.raises(SourceUnavailable, match="certificate is not accepted"):
            cluster.look()


def test_token_does_not_leave_without_tls(cluster):
    """Over plain HTTP, as to kubectl proxy, no token is sent."""
    cluster.look()
    assert cluster.tokens == [None]


def test_outside_a_cluster(hands, monkeypatch):
    """Where nothing tells the API or the pod, the error says what to set."""
    for name in ("KUBERNETES_SERVICE_HOST", "POD_NAME", "HOSTNAME"):
        monkeypatch.delenv(name, raising=False)
    deadline = Deadline(5, hands.clock)
    probe = Kubernetes(Kubernetes.Config(container="m", namespace="n"), name="t", clock=hands.clock)
    with pytest.raises(SourceUnavailable, match="set api"):
        probe.look(None, deadline)
    probe = Kubernetes(
        Kubernetes.Config(container="m", namespace="n", api="http://127.0.0.1:1"), name="t", clock=hands.clock
    )
    with pytest.raises(SourceUnavailable, match="set pod"):
        probe.look(None, deadline)


def test_no_service_account(hands, tmp_path):
    """A pod without a token is told to mount one."""
    config = Kubernetes.Config(container="m", pod="p", api="https://127.0.0.1:1", account=str(tmp_path))
    with pytest.raises(SourceDenied, match="automountServiceAccountToken"):
        Kubernetes(config, name="t", clock=hands.clock).look(None, Deadline(5, hands.clock))


def test_denied(cluster):
    """Without the right to read the pod, the error names it."""
    cluster.status = 403
    with pytest.raises(SourceDenied, match=r"HTTP 403; give the pod's service account a role .* get on pods"):
        cluster.look()
