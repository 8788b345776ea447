"""A Kubernetes API with one pod, whose containers a test decides."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

T = 1_800_000_000.0


def stamp(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def running(at: float = 0.0) -> dict[str, Any]:
    """The state of an instance that started *at* seconds after T."""
    return {"running": {"startedAt": stamp(T + at)}}


def over(code: int, at: float = 0.0, reason: str = "Error", number: int = 1, **more: Any) -> dict[str, Any]:
    """The state of an instance that ended *at* seconds after T; *number* makes its container id."""
    told = {"exitCode": code, "reason": reason, "containerID": f"containerd://{number:064x}"}
    return {"terminated": {**told, "startedAt": stamp(T + at - 50), "finishedAt": stamp(T + at), **more}}


def waiting(reason: str = "CrashLoopBackOff") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": "back-off 5m0s restarting failed container"}}


def container(
    state: dict[str, Any], last: dict[str, Any] | None = None, restarts: int = 0, name: str = "model"
) -> dict[str, Any]:
    """The status of a container."""
    return {"name": name, "restartCount": restarts, "state": state, "lastState": last or {}, "ready": True}


class Pods:
    """Answers for the pod `server-0` of the namespace `prod`, and its events unless they are None."""

    def __init__(self, started: float = -900) -> None:
        self.uid, self.born = "u1", T + started - 100
        self.deleted: float | None = None
        self.containers = [container(running(started))]
        self.init: list[dict[str, Any]] | None = None
        self.events: list[dict[str, Any]] | None = None
        self.status = 200
        self.tokens: list[str | None] = []

    def answer(self, path: str, query: dict[str, str], headers: Any) -> tuple[int, bytes]:
        self.tokens.append(headers.get("Authorization"))
        if path == "/api/v1/namespaces/prod/events":
            if self.events is None:
                return 403, b'{"kind": "Status", "code": 403}'
            assert query["fieldSelector"] == f"involvedObject.uid={self.uid},reason=Killing"
            return 200, json.dumps({"items": self.events}).encode()
        if path != "/api/v1/namespaces/prod/pods/server-0":
            return 404, b'{"kind": "Status", "code": 404}'
        metadata = {"name": "server-0", "uid": self.uid, "creationTimestamp": stamp(self.born)}
        if self.deleted is not None:
            metadata["deletionTimestamp"] = stamp(self.deleted)
        status = {"phase": "Running", "containerStatuses": self.containers, "initContainerStatuses": self.init}
        return self.status, json.dumps({"kind": "Pod", "metadata": metadata, "spec": {}, "status": status}).encode()

    def becomes(self, state: dict[str, Any], last: dict[str, Any] | None = None, restarts: int = 0) -> None:
        self.containers = [container(state, last, restarts)]
