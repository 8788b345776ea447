"""A running exporter: a process of its own in a folder of its own, met through its sockets and signals only."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = ("--state.path", "state", "--web.listen-address", "127.0.0.1:0", "--log.format", "json")
PAUSE = 0.05
Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], seconds: float, what: str = "") -> Found:
    """The first true answer of *condition*, asked as often as goes into *seconds* with a pause each time.

    Where the machine is busy, the answers take longer, and so does the patience.
    """
    for _ in range(math.ceil(seconds / PAUSE)):
        if found := condition():
            return found
        time.sleep(PAUSE)
    if found := condition():
        return found
    raise AssertionError(f"not within {seconds} s: {what or condition}")


class Values:
    """The samples of one exposition, by name and labels."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(self, name: str, **labels: str) -> list[float]:
        """The values of all samples called *name* that carry *labels* (`class_` stands for `class`)."""
        wanted = {(key.rstrip("_"), value) for key, value in labels.items()}
        return [one.value for one in self.samples if one.name == name and wanted <= set(one.labels.items())]

    def sum(self, name: str, **labels: str) -> float:
        """Their sum; there must be at least one."""
        values = self.of(name, **labels)
        assert values, f"no {name} with {labels}"
        return sum(values)

    def one(self, name: str, **labels: str) -> float:
        """The only one."""
        values = self.of(name, **labels)
        assert len(values) == 1, f"{len(values)} of {name} with {labels}"
        return values[0]

    def net(self, name: str, **labels: str) -> float:
        """A counter less what corrected labels took back from it."""
        return self.sum(f"{name}_total", **labels) - self.sum(f"{name}_retracted_total", **labels)


class Exporter:
    """The exporter on a config in *folder*, which is also its working directory.

    It runs from this tree, unless *command* starts one that is installed elsewhere.  With *runs*, it runs that command
    as its own child, with *options*.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        command: Sequence[str | Path] = (),
        runs: Sequence[str | Path] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.command = [*command] or [sys.executable, "-m", "exporter"]
        self.more: list[str | Path] = ["run", *options] if runs else []
        self.runs: list[str | Path] = ["--", *runs] if runs else []
        self.path = {} if command else {"PYTHONPATH": str(ROOT)}
        self.log = folder / "exporter.log"
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "model-exporter.yml").write_text(config)

    def start(self) -> Exporter:
        """Start the process; what it says goes to a new log file."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, *self.more, *ARGUMENTS, *self.runs],
                cwd=self.folder,
                env={**os.environ, **self.path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """SIGKILL, at whatever instant this is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def said(self) -> list[dict[str, Any]]:
        """The whole lines of its log so far."""
        lines = self.log.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    @property
    def address(self) -> str:
        """HOST:PORT, once it is listened on."""

        def port() -> int | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            return next((line["port"] for line in self.said() if line["msg"] == "listening"), None)

        return f"127.0.0.1:{wait_for(port, 30, 'a port')}"

    def get(self, path: str, **headers: str) -> tuple[str, str]:
        """The body and the content type of an answer."""
        request = urllib.request.Request(f"http://{self.address}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode(), response.headers["Content-Type"]

    def ready(self) -> Exporter:
        """Returns once the backlog has been read."""

        def answered() -> bool:
            try:
                return bool(self.get("/-/ready"))
            except urllib.error.HTTPError as error:
                error.close()
                return False

        wait_for(answered, 30, "ready")
        return self

    def values(self) -> Values:
        """One scrape."""
        return Values(self.get("/metrics")[0])

    def values_once(self, condition: Callable[[Values], object], seconds: float = 20) -> Values:
        """The first scrape for which *condition* holds."""
        last: list[Values] = []

        def holds() -> bool:
            last[:] = [self.values()]
            try:
                return bool(condition(last[0]))
            except AssertionError:  # a series is not there yet
                return False

        wait_for(holds, seconds, "values")
        return last[0]
