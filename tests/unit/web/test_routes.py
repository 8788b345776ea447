"""What each path answers, without sockets."""

import dataclasses
import gzip

import pytest

from exporter.contracts import ModelStatus, Snapshot, Status
from exporter.web.page import ReloadState
from exporter.web.routes import Request, Response, Routes, Site


def snapshot() -> Snapshot:
    return Snapshot(
        text=b"up 1\n",
        openmetrics=b"up 1\n# EOF\n",
        series=1,
        made_at=0.0,
        status=Status(models=(ModelStatus(name="fraud", task="binary"),)),
    )


def site(**changes) -> Site:
    plain = Site(
        current=snapshot,
        healthy=lambda: None,
        ready=lambda: None,
        config_text=lambda: "models:\n  fraud: {url: <secret>}\n",
        reload_state=lambda: ReloadState(0.0),
        version="1.2.3",
        documentation="https://example.org/docs",
    )
    return dataclasses.replace(plain, **changes)


def ask(site: Site, method: str, path: str, **headers: str) -> Response:
    answer = Routes(site)(Request(method, path, {name.replace("_", "-"): text for name, text in headers.items()}))
    return answer if isinstance(answer, Response) else answer()


def test_metrics_hands_over_the_text_of_the_current_snapshot():
    """Without wishes, a client gets text 0.0.4, uncompressed."""
    response = ask(site(), "GET", "/metrics")
    assert (response.status, response.body) == (200, b"up 1\n")
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "Content-Encoding" not in dict(response.headers)


def test_metrics_speaks_openmetrics_and_gzip_on_request():
    """Format and compression come from the request's headers, and caches are told so."""
    response = ask(site(), "GET", "/metrics", accept="application/openmetrics-text", accept_encoding="gzip")
    assert response.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert gzip.decompress(response.body) == b"up 1\n# EOF\n"
    assert dict(response.headers) == {"Vary": "Accept, Accept-Encoding", "Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/html", "text/plain;version=1.0.0;escaping=allow-utf-8", "application/openmetrics-text"]
)
def test_the_content_type_is_one_that_prometheus_takes(accept):
    """Prometheus 3 drops a scrape whose media type is none of its own; the type is that of the body."""
    from email.message import Message

    response = ask(site(), "GET", "/metrics", accept=accept)
    told = Message()
    told["Content-Type"] = response.content_type
    openmetrics = told.get_content_type() == "application/openmetrics-text"
    assert openmetrics or told.get_content_type() == "text/plain"
    assert (told.get_param("version"), told.get_param("charset")) == ("1.0.0" if openmetrics else "0.0.4", "utf-8")
    assert response.body.endswith(b"# EOF\n") is openmetrics


def test_only_a_whole_scrape_marks_a_snapshot_as_served():
    """HEAD shows nothing to a Prometheus, so the snapshot stays unserved; GET marks it."""
    shown = snapshot()
    ask(site(current=lambda: shown), "HEAD", "/metrics")
    assert not shown.served
    ask(site(current=lambda: shown), "GET", "/metrics", accept_encoding="gzip")
    assert shown.served


def test_compressing_is_left_to_a_worker_only_when_it_must_be_done():
    """A variant that is not made yet must not hold up the event loop; one that is made is answered at once."""
    shown = snapshot()
    routes = Routes(site(current=lambda: shown))
    request = Request("GET", "/metrics", {"accept-encoding": "gzip"})
    first = routes(request)
    assert not isinstance(first, Response)
    assert not shown.served
    assert routes(Request("GET", "/metrics")) == ask(site(current=lambda: shown), "GET", "/metrics")
    made = first()
    assert routes(request) == made


def test_metrics_before_the_first_snapshot_asks_for_patience():
    """No data is not an empty 200, which Prometheus would take for a healthy target."""
    response = ask(site(current=lambda: None), "GET", "/metrics")
    assert response.status == 503
    assert ("Retry-After", "1") in response.headers


def test_telemetry_path_can_be_moved():
    """A configured path serves the metrics, and the default one is gone."""
    moved = site(telemetry_path="/model-metrics")
    assert ask(moved, "GET", "/model-metrics").body == b"up 1\n"
    assert ask(moved, "GET", "/metrics").status == 404


def test_unknown_path_tells_the_known_ones():
    """A 404 helps; it does not repeat what was asked for."""
    response = ask(site(), "GET", "/metricz")
    assert response.status == 404
    assert b"/metrics" in response.body
    assert b"metricz" not in response.body


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", "/metrics", "GET, HEAD"), ("DELETE", "/", "GET, HEAD"), ("GET", "/-/reload", "POST, PUT")],
)
def test_wrong_method_tells_the_right_ones(method, path, allowed):
    """A 405 carries Allow."""
    response = ask(site(), method, path)
    assert response.status == 405
    assert ("Allow", allowed) in response.headers


@pytest.mark.parametrize("path", ["/-/healthy", "/-/ready"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_health_is_told_with_its_reason(path, method):
    """200 while all is well, else 503 and why."""
    assert ask(site(), method, path).status == 200
    problem = dict.fromkeys(("healthy", "ready"), lambda: "the cycle stands still")
    response = ask(site(**problem), method, path)
    assert (response.status, response.body) == (503, b"the cycle stands still\n")


def test_health_and_readiness_are_two_things():
    """A process that still reads its backlog is alive but not ready."""
    starting = site(ready=lambda: "the backlog is being read")
    assert ask(starting, "GET", "/-/healthy").status == 200
    assert ask(starting, "GET", "/-/ready").status == 503


def test_reload_is_off_unless_allowed():
    """The refusal names the flag."""
    response = ask(site(), "POST", "/-/reload")
    assert response.status == 403
    assert b"--web.enable-lifecycle" in response.body


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_reload_tells_how_it_went(method):
    """200 for a new config; 500 with the faults for one that was refused."""
    assert ask(site(reload=lambda: None), method, "/-/reload").status == 200
    response = ask(site(reload=lambda: "a.yml:3:1: models: missing"), method, "/-/reload")
    assert response.status == 500
    assert b"a.yml:3:1: models: missing" in response.body


def test_another_sites_page_may_not_reload():
    """A browser's cross-site request is refused before anything is done; one of our own pages is not."""
    tried = []
    allowed = site(reload=lambda: tried.append(1))
    assert ask(allowed, "POST", "/-/reload", sec_fetch_site="cross-site").status == 403
    assert not tried
    assert ask(allowed, "POST", "/-/reload", sec_fetch_site="same-origin").status == 200
    assert tried


def test_config_shows_the_masked_text():
    """What the app hands over is shown as plain text."""
    response = ask(site(), "GET", "/config")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.body == b"models:\n  fraud: {url: <secret>}\n"


def test_landing_page_shows_version_models_and_links():
    """The page at / is HTML with what a visitor looks for."""
    response = ask(site(reload_state=lambda: ReloadState(0.0, "bad.yml:1:1: oops")), "GET", "/")
    assert response.content_type == "text/html; charset=utf-8"
    page = response.body.decode()
    for expected in ("1.2.3", "fraud", 'href="/metrics"', 'href="https://example.org/docs"', "bad.yml:1:1: oops"):
        assert expected in page
