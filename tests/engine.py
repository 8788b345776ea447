"""A container engine that answers as a recorded one did, up to a moment that a test sets."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.answering import serving

DATA = Path(__file__).parent / "data/docker_api"
EVENTS = [json.loads(line) for line in (DATA / "events.jsonl").read_text().splitlines()]
BEGIN, END = 1_795_324_085.0, 1_795_324_160.0


def event(action: str, time: float, name: str = "model", **attributes: str) -> dict[str, Any]:
    """An event as Docker writes it."""
    actor = {"ID": "c" * 64, "Attributes": {"image": "i", "name": name, **attributes}}
    nano = round(time * 1e9)
    return {"Type": "container", "Action": action, "Actor": actor, "time": nano // 10**9, "timeNano": nano}


def moment(seconds: float | None) -> str:
    if seconds is None:
        return "0001-01-01T00:00:00Z"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}123Z"


def container(*, running: bool = True, started: float | None = None, **changes: Any) -> dict[str, Any]:
    """The state of a container as Docker writes it."""
    state = {
        "Running": running,
        "ExitCode": 0,
        "OOMKilled": False,
        "StartedAt": moment(started),
        "FinishedAt": moment(None),
    }
    state.update({key: value for key, value in changes.items() if key in {"ExitCode", "OOMKilled", "FinishedAt"}})
    state.update({key: value for key, value in changes.items() if key in {"Paused", "Restarting"}})
    return {"Id": "c" * 64, "State": state, "RestartCount": changes.get("RestartCount", 0), "HostConfig": {}}


class Engine:
    """Answers by what happened up to `now`; `forgets` hides the events before that moment, as a restarted engine."""

    def __init__(self, events: list[dict[str, Any]] | None = None, now: float = BEGIN) -> None:
        self.events = EVENTS if events is None else events
        self.now = now
        self.forgets = 0.0
        self.containers: dict[str, Any] = {}
        self.stats: bytes | None = None
        self.asked: list[str] = []

    def serve(self, place: Any) -> Any:
        return serving(self.answer, place, now=lambda: self.now)

    def answer(self, path: str, query: dict[str, str], headers: Any) -> tuple[int, bytes]:
        self.asked.append(path)
        if path == "/events":
            since, until = float(query["since"]), float(query["until"])
            names = json.loads(query["filters"])["container"]
            if until < since:
                return 400, b'{"message": "until is before since"}'
            if until > self.now:
                return 500, b"a real engine would not answer before that moment"
            kept = [
                one
                for one in self.events
                if one["Actor"]["Attributes"]["name"] in names
                and max(since, self.forgets) <= one["timeNano"] / 1e9 <= until
            ]
            return 200, b"".join(json.dumps(one).encode() + b"\n" for one in kept)
        name = path.split("/")[2]
        if path.endswith("/stats"):
            return (404, b"{}") if self.stats is None else (200, self.stats)
        if name not in self.containers:
            return 404, b'{"message": "no such container"}'
        return 200, json.dumps(self.containers[name]).encode()

    def recorded(self, *names: str) -> None:
        """The containers *names* are as they were at the end of the recording."""
        for name in names:
            self.containers[name] = json.loads((DATA / f"inspect_{name}.json").read_text())


def kinds(endings: Any) -> Counter[tuple[str, str]]:
    """How many of each kind and reason."""
    return Counter((one.kind, one.reason) for one in endings)
