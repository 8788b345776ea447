"""A real Prometheus for the tests: back-filled by promtool, with the shipped recording rules, asked over HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.running import wait_for

Found = list[dict[str, Any]]
"""Series of an answer: `metric`, and `value` or `values`."""


class QueryError(Exception):
    """Prometheus refused a query."""


@dataclass
class Prometheus:
    """A server on the data in *folder*; `program` and `promtool` are Debian's."""

    program: Path
    promtool: Path
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    address: str = ""

    # --- life ------------------------------------------------------------------------------------

    def start(self, rules: Sequence[Path] = (), scraped: Sequence[str] = ()) -> Prometheus:
        """Evaluate the *rules* and scrape the addresses *scraped* as the job `live`, every second."""
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "live", "static_configs": [{"targets": [*scraped]}]}],
        }
        (self.folder / "prometheus.yml").write_text(json.dumps(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        flags = [f"--web.listen-address={self.address}", "--storage.tsdb.path=data"]
        flags.append("--storage.tsdb.retention.time=60d")
        with (self.folder / "prometheus.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--config.file=prometheus.yml", *flags],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._ready, 30, "a ready Prometheus")
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5) as response:
                return response.status == 200
        except OSError:  # it does not listen, or is not ready yet
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def backfill(self, text: Iterable[str]) -> None:
        """Add OpenMetrics *text* as blocks; they are seen from the next start on."""
        path = self.folder / "backfill.txt"
        with path.open("w") as file:
            file.writelines(text)
        words = ["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=216h", path, self.folder / "data"]
        done = subprocess.run([self.promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        path.unlink()

    # --- questions -------------------------------------------------------------------------------

    def get(self, path: str, **words: object) -> Any:
        """The data of an answer of the API."""
        body = urllib.parse.urlencode(words, doseq=True).encode()
        request = urllib.request.Request(f"http://{self.address}/api/v1/{path}", body if path[:5] == "query" else None)
        if path[:5] != "query":
            request.full_url += f"?{body.decode()}"
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                answer = json.load(error)
        if answer["status"] != "success":
            raise QueryError(answer["error"])
        assert not answer.get("warnings"), answer["warnings"]
        return answer["data"]

    def evaluated(self) -> float:
        """When the group of rules whose newest evaluation began first was evaluated; long ago if one never was."""
        groups = self.get("rules")["groups"]
        return min(datetime.fromisoformat(group["lastEvaluation"]).timestamp() for group in groups)

    def now(self, expr: str, at: float) -> Found:
        """An instant query."""
        found: Found = self.get("query", query=expr, time=at)["result"]
        return found

    def over(self, expr: str, start: float, end: float, step: float) -> Found:
        """A query over time."""
        found: Found = self.get("query_range", query=expr, start=start, end=end, step=step)["result"]
        return found
