"""Debian's real Prometheus, started on a config of the test, and asked in PromQL."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import wait_for


@dataclass
class Prometheus:
    address: str

    def query(self, expression: str, time: float | None = None) -> list[tuple[dict[str, str], float]]:
        """The samples of an instant query, at *time* or now: (labels, value)."""
        words = urllib.parse.urlencode({"query": expression, **({} if time is None else {"time": time})})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{words}", timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success"
        return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]

    def value(self, expression: str) -> float | None:
        """The only value; None if there is none."""
        found = self.query(expression)
        assert len(found) <= 1
        return found[0][1] if found else None

    def once(self, expression: str, wanted: float | None, seconds: float = 20) -> None:
        """Returns when *expression* has the value *wanted*."""
        wait_for(lambda: self.value(expression) == wanted, seconds, f"{expression} == {wanted}")


@contextlib.contextmanager
def scraping(program: Any, folder: Path, config: str, targets: int) -> Iterator[Prometheus]:
    """A Prometheus in *folder* on *config*, once so many *targets* have been scraped."""
    (folder / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config.file=prometheus.yml", f"--web.listen-address={address}", "--storage.tsdb.path=data"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        server = Prometheus(address)

        def scraped() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                return server.value("count(up == 1)") == targets
            except OSError:  # it does not listen yet
                return False

        wait_for(scraped, 30, "all targets up")
        yield server
    finally:
        process.kill()
        process.wait()
