"""What each path answers: a request becomes a response, without sockets.

A handler that may take longer than a moment returns a callable instead of a response; the server runs it in a
worker thread, so that no scrape waits behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from exporter.contracts import Snapshot
from exporter.web.negotiation import CONTENT_TYPES, GZIP_SUFFIX, Encodings, accepts_gzip, choose_format
from exporter.web.page import ReloadState, render

SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
_TEXT = "text/plain; charset=utf-8"
_NO_SNAPSHOT_YET = "There are no metrics yet: the first cycle has not ended. Ask again in a second."
_RELOAD_IS_OFF = "Reloading over HTTP is off; start with --web.enable-lifecycle, or send SIGHUP to the process."


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body: `path` has no query, `headers` have lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A response; the server adds Content-Length and Date, and leaves the body out for HEAD."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Answer: TypeAlias = "Response | Callable[[], Response]"


def text(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A short answer for people."""
    return Response(status, _TEXT, (message.rstrip() + "\n").encode(), headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the pages show, as callables that any thread may call at any time.

    `healthy` and `ready` give the text of a problem, or None.  `reload` does so after it has tried, and must come
    back within seconds; it is None unless reloading over HTTP is allowed.  `config_text` has its secrets masked.
    """

    current: Callable[[], Snapshot | None]
    healthy: Callable[[], str | None]
    ready: Callable[[], str | None]
    config_text: Callable[[], str]
    reload_state: Callable[[], ReloadState]
    version: str
    documentation: str
    reload: Callable[[], str | None] | None = None
    telemetry_path: str = "/metrics"
    encodings: Encodings = field(default_factory=Encodings)


class Routes:
    """The paths of a site: `routes(request)` is the answer to it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        read, change = ("GET", "HEAD"), ("POST", "PUT")
        self._table: dict[str, tuple[tuple[str, ...], Callable[[Request], Answer]]] = {
            "/": (read, self._landing_page),
            "/config": (read, self._config),
            "/-/healthy": (read, self._healthy),
            "/-/ready": (read, self._ready),
            "/-/reload": (change, self._reload),
            site.telemetry_path: (read, self._metrics),  # last: with the path "/" there is no landing page
        }

    def __call__(self, request: Request) -> Answer:
        entry = self._table.get(request.path)
        if entry is None:
            return text(404, "There is nothing at this path. Known paths: " + ", ".join(sorted(self._table)))
        methods, handler = entry
        if request.method not in methods:
            allowed = ", ".join(methods)
            return text(405, f"This path answers {allowed} only.", (("Allow", allowed),))
        return handler(request)

    def _metrics(self, request: Request) -> Answer:
        snapshot = self._site.current()
        if snapshot is None:
            return text(503, _NO_SNAPSHOT_YET, (("Retry-After", "1"),))
        kind = choose_format(request.headers.get("accept", ""))
        headers: tuple[tuple[str, str], ...] = (("Vary", "Accept, Accept-Encoding"),)
        variant: str = kind
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            variant += GZIP_SUFFIX
            headers += (("Content-Encoding", "gzip"),)

        def hand_over() -> Response:
            body = self._site.encodings.body(snapshot, variant)
            if request.method == "GET":
                snapshot.served = True
            return Response(200, CONTENT_TYPES[kind], body, headers)

        return hand_over() if self._site.encodings.is_ready(snapshot, variant) else hand_over

    def _landing_page(self, _: Request) -> Answer:
        site = self._site

        def draw() -> Response:
            page = render(
                site.current(),
                version=site.version,
                documentation=site.documentation,
                telemetry_path=site.telemetry_path,
                reload=site.reload_state(),
                problem=site.healthy() or site.ready(),
            )
            return Response(200, "text/html; charset=utf-8", page.encode())

        return draw

    def _config(self, _: Request) -> Answer:
        return lambda: text(200, self._site.config_text())

    def _healthy(self, _: Request) -> Answer:
        problem = self._site.healthy()
        return text(200, "Model Exporter is healthy.") if problem is None else text(503, problem)

    def _ready(self, _: Request) -> Answer:
        problem = self._site.ready()
        return text(200, "Model Exporter is ready.") if problem is None else text(503, problem)

    def _reload(self, request: Request) -> Answer:
        reload = self._site.reload
        if reload is None:
            return text(403, _RELOAD_IS_OFF)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return text(403, "A page of another site may not reload the config.")

        def try_to_reload() -> Response:
            problem = reload()
            if problem is None:
                return text(200, "The config was reloaded.")
            return text(500, f"The config was not reloaded; the old one runs on.\n{problem}")

        return try_to_reload
