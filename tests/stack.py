"""The stack of a bundle without containers: Debian's Prometheus and Alertmanager, and the demo beside them.

Commands, configurations and rules are those of the bundle. Only two things are put in other words: a path in a
container becomes the folder that docker-compose.yml mounts there, and HOST:PORT of a service that of its process.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.running import ROOT, wait_for

PROGRAMS = {
    "prometheus": ("prometheus", "prometheus"),
    "alertmanager": ("prometheus-alertmanager", "prometheus-alertmanager"),
}
CONFIGURATIONS = ("deploy/prometheus/prometheus.yml", "alert_rules/alertmanager.yml")


@dataclass
class Stack:
    folder: Path
    services: dict[str, Any]
    addresses: dict[str, str]  # by HOST:PORT as the configurations call it
    debian: Callable[[str, str], Path]

    def get(self, service: str, path: str) -> Any:
        """The JSON that a service answers; a failing one is an OSError."""
        with urllib.request.urlopen(f"http://{self.addresses[service]}{path}", timeout=10) as response:
            return json.load(response)

    def here(self, text: str) -> str:
        """*text* with the addresses of this stack."""
        for called, address in self.addresses.items():
            text = text.replace(called, address)
        return text

    def command(self, name: str) -> list[str | Path]:
        """What a service runs, with its paths here and at its address."""
        words = self.services[name]["command"]
        for mount in self.services[name]["volumes"]:
            local, there = mount.split(":")[:2]
            place = self.folder / (local if local.startswith("./") else f"volumes/{local}")
            place.mkdir(parents=True, exist_ok=True)
            words = [re.sub(rf"={there}(?=/|$)", f"={place}", word) for word in words]
        [port] = [called for called in self.addresses if called.startswith(f"{name}:")]
        return [self.debian(*PROGRAMS[name]), *words, f"--web.listen-address={self.addresses[port]}"]

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def _free() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextlib.contextmanager
def standing(folder: Path, debian: Callable[[str, str], Path], own: dict[str, str] | None = None) -> Iterator[Stack]:
    """The stack of a new bundle in *folder*, with files of the user's *own*, once everything is scraped."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    names = ("exporter:9884", "prometheus:9090", "alertmanager:9093", "mail:1025")
    stack = Stack(folder, services, {name: _free() for name in names}, debian)
    stack.addresses["localhost:9090"] = stack.addresses["prometheus:9090"]
    for path, text in (own or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(stack.here(text))
    bundle = [sys.executable, "-m", "exporter", "bundle", str(folder)]
    subprocess.run(bundle, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for path in CONFIGURATIONS:
        (folder / path).write_text(stack.here((folder / path).read_text()))
    demo = [sys.executable, "-m", "exporter", "demo", "--web.listen-address", stack.addresses["exporter:9884"]]
    commands = {"exporter": demo, **{name: stack.command(name) for name in PROGRAMS}}
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, words in commands.items():
            with stack.log(name).open("wb") as log:
                running[name] = subprocess.Popen(
                    words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )

        def scraped() -> bool:
            ended = [name for name, process in running.items() if process.poll() is not None]
            assert not ended, stack.log(ended[0]).read_text()
            with contextlib.suppress(OSError):
                targets = stack.get("prometheus:9090", "/api/v1/targets")["data"]["activeTargets"]
                return bool(targets) and {target["health"] for target in targets} == {"up"}
            return False

        wait_for(scraped, 60, "all targets up")
        yield stack
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def rules(stack: Stack) -> list[tuple[str, dict[str, Any]]]:
    """All rules that Prometheus has loaded: (group, rule)."""
    groups = stack.get("prometheus:9090", "/api/v1/rules")["data"]["groups"]
    return [(group["name"], rule) for group in groups for rule in group["rules"]]
