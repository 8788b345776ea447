"""The probe that asks the Kubernetes API for the state of one container of a pod.

The API keeps how the last instance of a container ended, and how often it was restarted: of several ends between two
looks only the last has a cause, the others are of unknown cause.  Which pod it is says its UID: another one by the
same name starts from nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from exporter.contracts import Clock, Cursor, Deadline, Ending, MetricSpec, Sight
from exporter.errors import SourceDenied, SourceError, SourceUnavailable
from exporter.probes.asking import Address, Answer, address, decode, expect, get
from exporter.probes.endings import Exit, ending
from exporter.probes.observing import Stopwatch, UnknownIsCrash, unknown
from exporter.probes.pods import Container, Happenings, Pod, Terminated, epoch

_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_WAY_OUT: Final = "give the pod's service account a role with the verb get on pods"
_NAME = Meta(pattern="^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")


class KubernetesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A container of a pod: up, restarts and their causes.  By default of the exporter's own pod."""

    container: Annotated[str, Meta(description="Name of the model server's container."), _NAME]
    pod: Annotated[
        Annotated[str, _NAME] | None,
        Meta(description="Name of the pod. Default: POD_NAME of the environment, else HOSTNAME."),
    ] = None
    namespace: Annotated[
        Annotated[str, _NAME] | None, Meta(description="Namespace of the pod. Default: that of the service account.")
    ] = None
    api: Annotated[
        Annotated[str, Meta(pattern="^https?://")] | None,
        Meta(description="Address of the API. Default: that of the cluster."),
    ] = None
    account: Annotated[
        str, Meta(description="Folder with the token, ca.crt and namespace of the service account.")
    ] = _ACCOUNT
    unknown_is_crash: UnknownIsCrash = False

    def __post_init__(self) -> None:
        if self.api is not None:
            address(self.api)


class _State(msgspec.Struct, kw_only=True):
    """What the cursor says: of which pod and container how many instances had ended, and which last, at `looked`."""

    uid: str
    container: str
    looked: float
    ended: int = 0
    last: str = ""


class Kubernetes:
    """A Probe of one container; see the module for what it can tell."""

    Config: ClassVar[type[msgspec.Struct]] = KubernetesConfig
    specs: ClassVar[tuple[MetricSpec, ...]] = ()

    def __init__(self, config: KubernetesConfig, *, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._stopwatch = Stopwatch(clock)

    def look(self, cursor: Cursor | None, deadline: Deadline) -> Sight:
        """See what happened to the container; raises a SourceError when the API does not answer."""
        state = self._remembered(cursor)
        api = self._api()
        pod = self._pod(api, deadline)
        if pod is None:
            return self._absent(state, f"there is no pod {api.pod} in {api.namespace}; check pod and namespace")
        if state is not None and state.uid != pod.metadata.uid:
            state = _successor(state, pod)
        container = next((one for one in pod.containers if one.name == self._config.container), None)
        if container is None:
            names = ", ".join(one.name for one in pod.containers) or "none yet"
            missing = f"pod {api.pod} has no container {self._config.container}; it has {names}"
            return self._absent(state or self._begun(pod), missing)
        endings = self._endings(state, pod, container, api, deadline) if state is not None else ()
        observed, looked = self._stopwatch.lap(state.looked if state else None)
        last = container.last.identity if container.last else ""
        after = replace(self._begun(pod), looked=looked, ended=container.ended, last=last)
        running = container.state.running
        return Sight(
            up=running is not None,
            start_time=epoch(running.started_at) if running else None,
            endings=tuple(endings),
            observed=observed,
            cursor=msgspec.to_builtins(after),
            detail=container.detail,
        )

    def close(self) -> None:
        """Nothing: no connection outlives a look."""

    # --- remembering -------------------------------------------------------------------------------

    def _remembered(self, cursor: Cursor | None) -> _State | None:
        state = msgspec.convert(cursor, _State) if cursor is not None else None
        return state if state is not None and state.container == self._config.container else None

    def _begun(self, pod: Pod) -> _State:
        return _State(uid=pod.metadata.uid, container=self._config.container, looked=self._clock.wall())

    def _absent(self, state: _State | None, detail: str) -> Sight:
        observed, looked = self._stopwatch.lap(state.looked if state else None)
        after = None if state is None else msgspec.to_builtins(replace(state, looked=looked))
        return Sight(up=False, observed=observed, cursor=after, detail=detail)

    # --- judging -----------------------------------------------------------------------------------

    def _endings(
        self, state: _State, pod: Pod, container: Container, api: _Api, deadline: Deadline
    ) -> Iterator[Ending]:
        """The ends since *state*: all but the last of unknown cause."""
        last = container.last
        count = container.ended - state.ended
        if last is None or (count <= 0 and last.identity == state.last):
            return
        for _ in range(count - 1):
            yield unknown(self._clock.wall(), crash=self._config.unknown_is_crash)
        moment = epoch(last.finished_at) or self._clock.wall()
        if last.reason == "ContainerStatusUnknown":
            yield unknown(moment, crash=self._config.unknown_is_crash)
        elif last.reason != "OOMKilled" and self._failed_a_probe(pod, last, api, deadline):
            yield Ending("crash", "probe", moment)
        else:
            how = Exit(signal=last.signal) if last.signal else Exit(code=last.exit_code)
            yield ending(
                how,
                moment,
                stop_requested=pod.metadata.deletion_timestamp is not None,
                oom_killed=last.reason == "OOMKilled",
            )

    def _failed_a_probe(self, pod: Pod, last: Terminated, api: _Api, deadline: Deadline) -> bool:
        """Whether the pod's events say that it failed its liveness or startup probe; no if we may not read them."""
        selector = urlencode({"fieldSelector": f"involvedObject.uid={pod.metadata.uid},reason=Killing"})
        target = f"{api.path}/events?{selector}"
        try:
            answer = expect(self._get(api, target, deadline), api.server, target)
            happenings = decode(answer.body, Happenings, api.server).items
        except SourceError:
            return False
        return any(one.kills(self._config.container, last) for one in happenings)

    # --- asking ------------------------------------------------------------------------------------

    def _pod(self, api: _Api, deadline: Deadline) -> Pod | None:
        target = f"{api.path}/pods/{api.pod}"
        answer = self._get(api, target, deadline)
        return None if answer.status == 404 else decode(expect(answer, api.server, target).body, Pod, api.server)

    def _get(self, api: _Api, target: str, deadline: Deadline) -> Answer:
        headers = {"Accept": "application/json"}
        if api.server.scheme != "https":  # such as that of kubectl proxy, which knows who it is by itself
            return get(api.server, target, deadline, headers=headers, way_out=_WAY_OUT)
        headers["Authorization"] = f"Bearer {self._account('token')}"
        return get(
            api.server, target, deadline, headers=headers, ca_file=self._account_path("ca.crt"), way_out=_WAY_OUT
        )

    def _api(self) -> _Api:
        """Where to ask for which pod; read anew at each look, as tokens are renewed."""
        url = self._config.api or _in_cluster()
        namespace = self._config.namespace or self._account("namespace")
        pod = self._config.pod or os.environ.get("POD_NAME") or os.environ.get("HOSTNAME")
        if not pod:
            raise SourceUnavailable("the name of the pod is not known; set pod, or POD_NAME in the environment")
        return _Api(address(url), quote(namespace), quote(pod))

    def _account(self, name: str) -> str:
        try:
            return Path(self._account_path(name)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            way_out = "mount the token of a service account (automountServiceAccountToken), or set account"
            raise SourceDenied(f"{self._account_path(name)}: {reason}; {way_out}") from None

    def _account_path(self, name: str) -> str:
        return f"{self._config.account}/{name}"


@dataclass(frozen=True, slots=True)
class _Api:
    server: Address
    namespace: str
    pod: str

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"


def _successor(state: _State, pod: Pod) -> _State:
    """The state at the birth of another pod by the same name: all ends of its containers are new."""
    born = epoch(pod.metadata.creation_timestamp)
    looked = state.looked if born is None else max(state.looked, born)
    return replace(state, uid=pod.metadata.uid, looked=looked, ended=0, last="")


def _in_cluster() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT_HTTPS", "443")
    if not host:
        raise SourceUnavailable("this is no pod of Kubernetes (no KUBERNETES_SERVICE_HOST); set api")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
