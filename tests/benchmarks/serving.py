"""What a scrape costs: rendering many series, scraping while rows pour in, and the sidecar when nothing happens."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CLASSES, VERSIONS = 60, 13


def render(count: int = 100_000) -> dict[str, float]:
    """CPU seconds to render *count* series of which every value has changed."""
    from exporter.contracts import MetricSpec, Series, Status
    from exporter.exposition import Exposition

    specs = [MetricSpec(f"model_bench{i}_total", "counter", "A counter.", ("class", "outcome")) for i in range(20)]
    exposition = Exposition(specs, limit=count)
    series = [Series(spec.name, (("class", f"class {i}"), ("outcome", "tp"))) for spec in specs for i in range(50)]
    owners = [(f"model-{i}",) for i in range(count // len(series))]
    rng = np.random.default_rng(1)
    times = []
    for _ in range(7):
        values = (rng.random((len(owners), len(series))) * 1000).tolist()
        begun = time.process_time()
        for owner, mine in zip(owners, values, strict=True):
            exposition.put(owner, 0, (("model", owner[0]), ("version", "1.0")), lambda: series, mine)
        snapshot = exposition.render(0, (b"", b""), Status())
        times.append(time.process_time() - begun)
    assert snapshot.series == count
    return {"seconds": float(np.median(times[1:])), "bytes": len(snapshot.text)}


def generate_latest(count: int = 100_000) -> dict[str, float]:
    """CPU seconds of prometheus_client for as many series."""
    from prometheus_client import CollectorRegistry, Gauge
    from prometheus_client import generate_latest as generate

    registry = CollectorRegistry()
    rng = np.random.default_rng(1)
    for i in range(20):
        gauge = Gauge(f"model_bench{i}", "A gauge.", ("model", "version", "klass", "outcome"), registry=registry)
        for at in range(count // 20):
            gauge.labels(f"model-{at // 50}", "1.0", f"class {at % 50}", "tp").set(rng.random() * 1000)
    begun = time.process_time()
    generate(registry)
    return {"seconds": time.process_time() - begun}


def write_wide(folder: Path, rows: int) -> Path:
    """A log of predictions and labels of 60 classes and 13 versions: more than 100,000 series."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(2)
    actual, version = rng.integers(0, CLASSES, rows), np.arange(rows) % VERSIONS
    predicted = np.where(rng.random(rows) < 0.8, actual, rng.integers(0, CLASSES, rows))
    with (folder / "predictions.jsonl").open("w") as file:
        file.writelines(
            f'{{"id":"id-{i:012d}","ts":{1_700_000_000 + i * 0.01},"v":"v{version[i]}",'
            f'"p":"c{predicted[i]}","a":"c{actual[i]}"}}\n'
            for i in range(rows)
        )
    config = folder / "wide.yml"
    names = ", ".join(f"c{i}" for i in range(CLASSES))
    config.write_text(
        f"""\
limits: {{series: 200000}}
models:
  wide:
    task: multiclass
    classes: [{names}]
    confusion_classes: {CLASSES}
    predictions:
      files: {{path: {folder}/predictions.jsonl}}
      fields: {{id: id, time: ts, version: v, predicted: p, actual: a}}
      interval: 1s
"""
    )
    return config


def start(config: Path, state: Path) -> tuple[subprocess.Popen[bytes], int, float]:
    """A running exporter, its port, and the seconds until its first scrape was served."""
    begun = time.perf_counter()
    command = [
        sys.executable, "-m", "exporter", "--config.file", str(config), "--state.path", str(state),
        "--web.listen-address", "127.0.0.1:0", "--log.format", "json",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b'"listening"' in line:
            port = int(line.split(b'"port":')[1].split(b",")[0])
            break
    while get(port) is None:
        time.sleep(0.005)
    return process, port, time.perf_counter() - begun


def get(port: int, connection: http.client.HTTPConnection | None = None) -> bytes | None:
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        "GET", "/metrics", headers={"Accept-Encoding": "gzip", "Accept": "application/openmetrics-text;version=1.0.0"}
    )
    response = connection.getresponse()
    body = response.read()
    return body if response.status == 200 else None


def scrapes(folder: Path, rows: int, count: int = 200) -> dict[str, float]:
    """Seconds of a scrape (p50, p99) of more than 100,000 series while the log is read flat out."""
    process, port, _ = start(write_wide(folder, rows), folder / "state-wide")
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        series, times = 0, []
        while series < 100_000:
            get(port, connection)
            series = _own(port, b"model_exporter_series ")
        before = _own(port, b"model_exporter_source_rows_total")
        for _ in range(count):
            begun = time.perf_counter()
            get(port, connection)
            times.append(time.perf_counter() - begun)
            time.sleep(0.02)
        read = _own(port, b"model_exporter_source_rows_total") - before
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return {
        "p50": float(np.percentile(times, 50)),
        "p99": float(np.percentile(times, 99)),
        "series": series,
        "read": read,
    }


def _own(port: int, name: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics", headers={"Accept": "text/plain"})
    body = connection.getresponse().read()
    _, found, rest = body.partition(b"\n" + name)
    return int(float(rest.split(b"\n", 1)[0].split()[-1])) if found else 0


def idle(folder: Path) -> dict[str, float]:
    """RSS in MB of a sidecar that has nothing to read, seconds to its first scrape, and heavy libraries loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "idle.yml"
    config.write_text(
        f"""\
models:
  idle:
    positive: "1"
    predictions:
      files: {{path: {folder}/nothing-*.jsonl}}
      fields: {{id: id, time: ts, predicted: p}}
    labels:
      files: {{path: {folder}/nothing-*.csv}}
      fields: {{id: id, time: ts, actual: l}}
"""
    )
    seconds = []
    for run in range(3):
        process, port, first = start(config, folder / f"state-idle-{run}")
        seconds.append(first)
        try:
            for _ in range(20):
                get(port)
            time.sleep(3)
            status = Path(f"/proc/{process.pid}/status").read_text()
            maps = Path(f"/proc/{process.pid}/maps").read_text()
        finally:
            process.terminate()
            process.wait()
    rss = int(status.split("VmRSS:")[1].split()[0]) / 1024
    heavy = sum(f"/{name}/" in maps for name in ("sklearn", "pandas", "pyarrow", "scipy"))
    return {"rss": rss, "first": min(seconds), "heavy": heavy}
