"""Asking a Prometheus: in pieces, with credentials, and what is said when it does not answer as one."""

from __future__ import annotations

import base64
import json
import math
import time

import numpy as np
import pytest

from exporter.config.types import Duration, Secret
from exporter.contracts import Clock
from exporter.errors import ConfigError, SourceDataError, SourceDenied, SourceTimeout, SourceUnavailable
from exporter.proposing.prometheus import MOST_POINTS, Access, Prometheus, Times, access, address
from exporter.sources.requesting import Auth, Basic
from tests.answering import serving

TIMES = Times(end=1_000_000.0, step=60.0, count=5)


def success(data):
    return 200, json.dumps({"status": "success", "data": data}).encode()


def matrix(*series):
    result = [{"metric": labels, "values": values} for labels, values in series]
    return success({"resultType": "matrix", "result": result})


@pytest.fixture
def ask():
    """`ask(answer, **access)` is a Prometheus that answers so, asked without pauses."""
    made = []

    def make(answer, **how):
        place = serving(answer)
        port = place.__enter__()
        server = Prometheus(f"http://127.0.0.1:{port}", Access(**how), Clock(), sleep=lambda seconds: None)
        made.append((place, server))
        return server

    yield make
    for place, server in made:
        server.close()
        place.__exit__(None, None, None)


def test_series_are_put_on_the_evaluations(ask):
    """Gaps and NaN are NaN, infinity stays, and the labels are told."""
    start = TIMES.start
    one = ({"a": "1"}, [[start, "0.5"], [start + 120, "NaN"], [start + 240, "+Inf"]])
    found = ask(lambda *request: matrix(one, ({}, [])), retries=0).over("q", TIMES)
    assert [series.labels for series in found] == [{"a": "1"}, {}]
    np.testing.assert_array_equal(found[0].values, [0.5, math.nan, math.nan, math.nan, math.inf])
    assert np.isnan(found[1].values).all()


def test_a_long_history_is_asked_for_in_pieces(ask):
    """No answer has more points than Prometheus gives, none is asked for twice, and a series may begin halfway."""
    times = Times(end=6_000_000.0, step=60.0, count=2 * MOST_POINTS + 7)
    asked = []

    def answer(path, query, headers):
        start, end, step = (float(query[key]) for key in ("start", "end", "step"))
        moments = np.arange(start, end + 1, step)
        asked.append(len(moments))
        found = [({"a": "all"}, [[at, str(at)] for at in moments.tolist()])]
        if len(asked) > 1:
            found.append(({"a": "late"}, [[start, "1"]]))
        return matrix(*found)

    found = {series.labels["a"]: series.values for series in ask(answer).over("q", times)}
    assert asked == [MOST_POINTS, MOST_POINTS, 7]
    np.testing.assert_array_equal(found["all"], times.start + 60 * np.arange(times.count))
    assert np.flatnonzero(~np.isnan(found["late"])).tolist() == [MOST_POINTS, 2 * MOST_POINTS]


@pytest.mark.parametrize(
    ("how", "header", "value"),
    [
        ({"auth": Auth(bearer=Secret("t0ken"))}, "Authorization", "Bearer t0ken"),
        ({"auth": Auth(basic=Basic(username="u", password=Secret("p")))}, "Authorization",
         "Basic " + base64.b64encode(b"u:p").decode()),
        ({"headers": {"X-Scope-OrgID": Secret("team")}}, "X-Scope-OrgID", "team"),
    ],
)  # fmt: skip
def test_credentials_are_those_of_the_http_source(ask, how, header, value):
    """Every request carries them."""
    seen = []

    def answer(path, query, headers):
        seen.append(headers[header])
        return success({"groups": []}) if path.endswith("rules") else matrix()

    server = ask(answer, **how)
    assert server.alerts() == server.over("q", TIMES) == []
    assert seen == [value, value]


@pytest.mark.parametrize("status", [503, 429])
def test_faults_that_pass_are_asked_again(ask, status):
    """With the retries of the http source; the answer is then what counts."""
    left = [(status, b"busy")] * 3
    assert ask(lambda *request: left.pop() if left else matrix()).over("q", TIMES) == []
    assert left == []


FAULTS = [
    (lambda *request: (401, b""), SourceDenied, "check auth and headers in the file that --prometheus.config names"),
    (lambda *request: (503, b"busy"), SourceUnavailable, "HTTP 503; is this the address of a Prometheus"),
    (lambda *request: (404, b""), SourceUnavailable, "HTTP 404: nothing is there; is this the address"),
    (lambda *request: (200, b"<html>Grafana</html>"), SourceDataError, "found HTML; is this the address"),
    (lambda *request: (200, b""), SourceDataError, "found an empty answer"),
    (lambda *request: (200, b'{"status": "success", "data": {"gro'), SourceDataError, "expected JSON"),
    (lambda *request: success({"result": []}), SourceDataError, "not that of a Prometheus"),
    (lambda *request: (200, b'{"status": "error"}'), SourceDataError, "not that of a Prometheus"),
]


@pytest.mark.parametrize(("answer", "kind", "words"), FAULTS)
def test_faults_say_what_to_do(ask, answer, kind, words):
    """Refused, down, a wrong address, no JSON, half of it: each is a typed error with its place and a way out."""
    with pytest.raises(kind, match=r"http://127\.0\.0\.1:\d+/api/v1/rules: ") as caught:
        ask(answer, retries=1).alerts()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([[1_000_060.0, "1"]], "of other times"),
        ([[0.0, "1"]], "of other times"),
        ([[1_000_000.0, "much"]], "no number"),
    ],
)
def test_values_that_nobody_asked_for(ask, values, words):
    """A proxy that shifts times, or values that are no numbers, are no history."""
    with pytest.raises(SourceDataError, match=words):
        ask(lambda *request: matrix(({}, values))).over("q", TIMES)


def test_a_query_that_is_refused_names_what_to_try(ask):
    """Limits of the server are the usual cause once it has answered at all."""
    with pytest.raises(SourceDataError, match=r"query_range: HTTP 422: .*shorten --since"):
        ask(lambda *request: (422, b"too many samples")).over("q", TIMES)


def test_a_server_that_does_not_answer(ask):
    """The wait ends, and says so."""

    def answer(path, query, headers):
        time.sleep(0.5)
        return matrix()

    with pytest.raises(SourceTimeout, match="no answer in time"):
        ask(answer, timeout=Duration(0.05), retries=0).over("q", TIMES)


def test_nobody_listens():
    """Neither a trace nor a riddle."""
    server = Prometheus("http://127.0.0.1:1", Access(retries=0), Clock())
    with pytest.raises(SourceUnavailable, match=r"Connection refused; is this the address of a Prometheus"):
        server.alerts()


# --- how to ask ------------------------------------------------------------------------------------


def test_how_to_ask_is_read_as_a_config(tmp_path, monkeypatch):
    """Secrets come from files and the environment, durations have units."""
    (tmp_path / "password").write_text("p4ss\n")
    monkeypatch.setenv("TEAM", "blue")
    path = tmp_path / "access.yml"
    path.write_text(
        "auth: {basic: {username: u, password: !file password}}\nheaders: {X-Scope-OrgID: !env TEAM}\ntimeout: 5s\n"
    )
    found = access(path)
    assert found.auth is not None
    assert found.auth.basic is not None
    assert (found.auth.basic.password.reveal(), found.headers["X-Scope-OrgID"].reveal()) == ("p4ss", "blue")
    assert (found.timeout, found.retries) == (5, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auht: {}", "did you mean auth?"),
        ("auth: {bearer: s3cret, bearer_file: f}", "auth needs one of"),
        ("timeout: 5", "a duration needs a unit"),
        ("", "expected a mapping"),
        (None, "cannot be read: no such file or directory"),
    ],
)
def test_a_faulty_file_is_told_with_its_line(tmp_path, text, words):
    """As of any config; no secret is shown."""
    path = tmp_path / "access.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        access(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:1:")
    assert "s3cret" not in str(caught.value)


def test_a_password_in_the_url_is_refused():
    """It would stand in the list of processes and in error messages."""
    with pytest.raises(ValueError, match=r"must not hold a user or password; .*--prometheus.config"):
        address("http://u:s3cret@localhost:9090")
    with pytest.raises(ValueError, match="must begin with http://"):
        address("localhost:9090")
    assert address("http://localhost:9090/prefix/") == "http://localhost:9090/prefix"
