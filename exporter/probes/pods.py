"""What the Kubernetes API answers about a pod, as far as the ends of its containers go."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Running(msgspec.Struct, rename="camel"):
    started_at: datetime | None = None


class Terminated(msgspec.Struct, rename="camel"):
    exit_code: int = 0
    signal: int | None = None
    reason: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    container_id: str = msgspec.field(default="", name="containerID")

    @property
    def identity(self) -> str:
        """What no other instance has."""
        return self.container_id or str(self.finished_at)


class Waiting(msgspec.Struct):
    reason: str = ""


class Instance(msgspec.Struct):
    """One instance of a container, which is in one of these states."""

    running: Running | None = None
    terminated: Terminated | None = None
    waiting: Waiting | None = None


class Container(msgspec.Struct, rename="camel"):
    name: str
    restart_count: int = 0
    state: Instance = msgspec.field(default_factory=Instance)
    last_state: Instance = msgspec.field(default_factory=Instance)

    @property
    def last(self) -> Terminated | None:
        """How the newest instance that ended did so."""
        return self.state.terminated or self.last_state.terminated

    @property
    def ended(self) -> int:
        """How many instances have ended.

        The count of restarts rises only when the next instance is there, not while it is waited for.
        """
        return self.restart_count + (self.state.running is None and self.last is not None)

    @property
    def detail(self) -> str:
        """Why it does not run, for people."""
        if self.state.waiting is not None:
            return f"the container waits: {self.state.waiting.reason or 'no reason is given'}"
        over = self.state.terminated
        return f"the container ended with exit code {over.exit_code}" if over is not None else ""


class Metadata(msgspec.Struct, rename="camel"):
    uid: str
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None


class Status(msgspec.Struct, rename="camel"):
    container_statuses: list[Container] | None = None
    init_container_statuses: list[Container] | None = None


class Pod(msgspec.Struct):
    """The answer to `GET /api/v1/namespaces/{namespace}/pods/{name}`."""

    metadata: Metadata
    status: Status = msgspec.field(default_factory=Status)

    @property
    def containers(self) -> list[Container]:
        """Also init containers, because those that restart always run beside the others."""
        return (self.status.container_statuses or []) + (self.status.init_container_statuses or [])


class Happening(msgspec.Struct, rename="camel"):
    message: str = ""
    last_timestamp: datetime | None = None
    event_time: datetime | None = None

    def kills(self, container: str, end: Terminated) -> bool:
        """Whether the kubelet killed that instance of *container* because a probe of its health failed."""
        moment = epoch(self.last_timestamp or self.event_time)
        since, until = epoch(end.started_at), epoch(end.finished_at)
        if moment is None or since is None or until is None or not since <= moment <= until + 1:
            return False
        return f"Container {container} failed " in self.message and " probe" in self.message


class Happenings(msgspec.Struct):
    """The answer to `GET /api/v1/namespaces/{namespace}/events`."""

    items: list[Happening] = []


def epoch(moment: datetime | None) -> float | None:
    """Seconds since 1970."""
    return None if moment is None else moment.timestamp()
