"""What it costs to watch a model server: CPU of a look at a tree of ten processes, memory that a probe adds."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.processes import Server, Ticks

WORKERS = 9
LOOKS, EVERY = 240, 5.0
"""Twenty minutes, in which searches of all processes and proportional memory come as rarely as they do."""


@contextlib.contextmanager
def _server() -> Iterator[Server]:
    """A parent and nine workers, all idle."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server.start(Path(folder) / "server.py", WORKERS)
        try:
            yield server
        finally:
            server.close()


def look() -> dict[str, float]:
    """CPU seconds of a look of the probe `process`: the median, and the mean with all that is done rarely."""
    from exporter.contracts import Deadline
    from exporter.probes.process import Process

    with _server() as server:
        ticks = Ticks()
        probe = Process(Process.Config(command=server.process.args[1]), name="t", clock=ticks.clock())
        times, cursor = [], None
        for _ in range(LOOKS):
            ticks.pass_by(EVERY)
            begun = time.process_time()
            sight = probe.look(cursor, Deadline(ticks.monotonic + 10, ticks.clock()))
            times.append(time.process_time() - begun)
            cursor = sight.cursor
        found = {one.metric: one.value for one in sight.readings}
        assert found["model_server_processes"] == WORKERS + 1
        probe.close()
    return _costs(times)


def psutil_walk() -> dict[str, float]:
    """The same by the walk that psutil's documentation shows: the same values, no ends, no proportional memory."""
    import psutil

    with _server() as server:
        times = []
        for _ in range(LOOKS):
            begun = time.process_time()
            root = psutil.Process(server.pid)
            tree = [root, *root.children(recursive=True)]
            cpu = resident = threads = files = 0.0
            for process in tree:
                with process.oneshot():
                    cpu += sum(process.cpu_times()[:2])
                    resident += process.memory_info().rss
                    threads += process.num_threads()
                    files = max(files, process.num_fds())
            times.append(time.process_time() - begun)
        assert len(tree) == WORKERS + 1
    return _costs(times)


def _costs(times: list[float]) -> dict[str, float]:
    return {"median": float(np.median(times[1:])), "mean": float(np.mean(times[1:]))}


def memory(folder: Path) -> dict[str, float]:
    """MB of RSS by which one target with this probe makes a sidecar larger, by kind."""
    from tests.answering import serving
    from tests.cluster import Pods
    from tests.engine import Engine, container
    from tests.journal import RECORDED, Systemd
    from tests.servers import CAPTURES

    folder.mkdir(parents=True, exist_ok=True)
    systemd = Systemd(folder, [{**RECORDED[0], "__REALTIME_TIMESTAMP": f"{time.time() * 1e6:.0f}"}])
    engine = Engine([], now=time.time() + 3600)
    engine.containers["server"] = container(started=time.time())
    engine.stats = (Path(__file__).parents[1] / "data/docker_api/stats_always.json").read_bytes()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server())
        place = stack.enter_context(engine.serve(folder / "engine.sock"))
        api = stack.enter_context(serving(Pods().answer))
        metrics = stack.enter_context(serving(lambda *asked: (200, CAPTURES["kserve"].read_bytes())))
        lives = {
            "process": f"{{command: {server.process.args[1]}}}",
            "docker": f"{{container: server, socket: {place}}}",
            "kubernetes": f'{{container: model, pod: server-0, namespace: prod, api: "http://127.0.0.1:{api}"}}',
            "systemd": "{{unit: model.service, journalctl: {journalctl}, systemctl: {systemctl}}}".format(
                **systemd.programs
            ),
            "prometheus": f'{{url: "http://127.0.0.1:{metrics}/metrics"}}',
        }
        measures = {"cgroup": "{scopes: [host]}", "disk": "{mountpoints: [/]}", "gpu": "{}"}
        alone = _resident(folder, "")
        found = {kind: _resident(folder, f"    {kind}: {words}\n") - alone for kind, words in lives.items()}
        life = f"    prometheus: {lives['prometheus']}\n"
        for kind, words in measures.items():
            found[kind] = _resident(folder, f"{life}    {kind}: {words}\n") - alone - found["prometheus"]
    return found


def _resident(folder: Path, probes: str) -> float:
    """MB of RSS of a sidecar with a model that is never asked, and with these *probes* after three looks."""
    from tests.benchmarks.serving import get, start

    config = folder / "m.yml"
    config.write_text(
        f"""\
models:
  idle:
    positive: "1"
    predictions:
      files: {{path: {folder}/nothing-*.jsonl}}
      fields: {{id: id, time: ts, predicted: p, actual: y}}
"""
        + (f"targets:\n  t:\n    interval: 1s\n{probes}" if probes else "")
    )
    process, port, _ = start(config, Path(tempfile.mkdtemp(dir=folder)))
    try:
        for _ in range(12):
            body = gzip.decompress(get(port) or b"").decode()
            time.sleep(0.3)
        status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
    assert not probes or 'model_server_up{target="t"} 1' in body, body
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
