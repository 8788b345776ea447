"""The http source against real servers on the loopback: paging, since, conditional requests, retries, secrets."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from exporter.config.kinds import description, struct_type
from exporter.config.types import Duration, Secret
from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
from exporter.errors import SourceDataError, SourceDenied, SourceTimeout, SourceUnavailable
from exporter.sources.http import Http, PageCursor, PageNumber, Paging, Since
from exporter.sources.mapping import Mapper
from exporter.sources.requesting import Auth, Basic

START = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Server:
    """Answers GET with what `answer(path, query, headers)` gives: (status, headers, body), or JSON to be sent."""

    def __init__(self) -> None:
        self.answer: Callable = lambda path, query, headers: []
        self.requests: list[tuple[str, dict, dict]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((parts.path, query, headers))
                given = outer.answer(parts.path, query, headers)
                status, extra, body = given if isinstance(given, tuple) else (200, {}, given)
                body = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | extra).items():
                    self.send_header(name, value)
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def new_server():
    """Makes servers, closed at the end."""
    made = []

    def make():
        made.append(Server())
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def server(new_server):
    return new_server()


class Times:
    """A clock that stands still, but for the pauses that the source makes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.clock = Clock(wall=lambda: START + 1000 + self.now, monotonic=lambda: self.now)

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds

    def deadline(self, seconds=60.0):
        return Deadline(self.now + seconds, self.clock)


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def source(server, times):
    """Makes Http sources that ask the server, closed at the end."""
    made = []

    def make(lookback=None, **config):
        fields = {"id": "id", "time": "at", "actual": "label"}
        spec = MappingSpec(role="labels", fields={name: FieldSpec(field=path) for name, path in fields.items()})
        mapper = Mapper(spec, ModelSpec(name="fraud", positive="yes"), times.clock, keep_ids=True)
        given = Http.Config(**{"url": server.url + "/labels"} | config)
        made.append(Http(given, mapper, name="h", clock=times.clock, lookback=lookback, sleep=times.sleep))
        return made[-1]

    yield make
    for one in made:
        one.close()


def record(number, seconds=0.0, label="yes"):
    return {"id": f"r{number}", "at": START + seconds, "label": label}


def drain(source, times, cursor=None):
    """The ids that are there now, and the cursor behind them; every poll is replayed once."""
    ids = []
    more = True
    while more:
        poll, again = (source.poll(cursor, times.deadline()) for _ in range(2))
        assert ids_of(poll) == ids_of(again)
        assert poll.cursor == again.cursor
        ids += ids_of(poll)
        cursor, more = json.loads(json.dumps(poll.cursor)), poll.more
    return ids, cursor


def ids_of(poll):
    return [] if poll.batch is None else list(poll.batch.ids)


# --- paging --------------------------------------------------------------------------------------


def test_one_list(server, source, times):
    """An answer that is a list needs no more config; unchanged answers are not delivered again, changed ones are."""
    server.answer = lambda *_: [record(1), record(2)]
    ids, cursor = drain(one := source(params={"project": "7"}), times)
    assert ids == ["r1", "r2"]
    assert server.requests[0][:2] == ("/labels", {"project": "7"})
    ids, cursor = drain(one, times, cursor)
    assert ids == []
    server.answer = lambda *_: [record(1), record(2), record(3)]
    assert drain(one, times, cursor)[0] == ["r1", "r2", "r3"]


def paged(server, way):
    """An API of seven records on three pages."""
    pages = [[record(1), record(2), record(3)], [record(4), record(5), record(6)], [record(7)]]

    def answer(path, query, headers):
        number = int(query.get("p", "0"))
        last = number == len(pages) - 1
        if way == "page":
            number -= 1
            return {"data": {"items": pages[number] if number < len(pages) else []}}
        if way == "page404":
            number -= 1
            return {"data": {"items": pages[number]}} if number < len(pages) else (404, {}, b"")
        following = None if last else f"/labels?p={number + 1}"
        body = {"data": {"items": pages[number], "next": following, "token": None if last else str(number + 1)}}
        link = {} if last else {"Link": f'<{server.url}{following}>; rel="next", </>; rel="first"'}
        return 200, link, json.dumps(body).encode()

    return answer


@pytest.mark.parametrize(
    ("way", "paging"),
    [
        ("next", Paging(next="data.next")),
        ("link", Paging(link=True)),
        ("cursor", Paging(cursor=PageCursor(field="data.token", parameter="p"))),
        ("page", Paging(page=PageNumber(parameter="p"))),
        ("page404", Paging(page=PageNumber(parameter="p"))),
        ("page", Paging(page=PageNumber(parameter="p", size=3, size_parameter="n"))),
    ],
)
def test_paging(server, source, times, way, paging):
    """All pages are read in each way of paging; a second sweep delivers nothing that did not change."""
    server.answer = paged(server, way)
    ids, cursor = drain(one := source(records="data.items", paging=paging), times)
    assert ids == [f"r{i}" for i in range(1, 8)]
    assert drain(one, times, cursor)[0] == []


def test_paging_needs_one_way():
    """Two ways of paging at once are a fault of the config, as is none."""
    with pytest.raises(ValueError, match="one of next, page, cursor and link"):
        Paging(next="a", link=True)
    with pytest.raises(ValueError, match="one of"):
        Paging()


def test_endless_next_links(server, source, times):
    """Links that lead in a circle end in an error, not in an endless sweep."""
    server.answer = lambda path, query, headers: {
        "items": [record(query.get("p", "0"))], "next": f"/labels?p={(int(query.get('p', '0')) + 1) % 4 or 1}",
    }  # fmt: skip
    one, cursor, ids = source(records="items", paging=Paging(next="next")), None, []
    for _ in range(4):
        poll = one.poll(cursor, times.deadline())
        ids, cursor = ids + ids_of(poll), poll.cursor
    with pytest.raises(SourceDataError, match="no end"):
        one.poll(cursor, times.deadline())
    assert ids == ["r0", "r1", "r2", "r3"]


def test_page_parameter_without_effect(server, source, times):
    """A server that does not know the page parameter is noticed on the second page."""
    server.answer = lambda *_: [record(1)]
    one = source(paging=Paging(page=PageNumber(parameter="wrong")))
    cursor = one.poll(None, times.deadline()).cursor
    with pytest.raises(SourceDataError, match="repeats the one before; check paging"):
        one.poll(cursor, times.deadline())


@pytest.mark.parametrize("since", [None, Since(parameter="since", field="at", format="s")])
def test_page_cursor_that_went_out_of_date(server, source, times, since, caplog):
    """A next page that is gone starts the sweep again, and repeats nothing that it delivered."""
    server.answer = paged(server, "cursor")
    one = source(
        records="data.items", paging=Paging(cursor=PageCursor(field="data.token", parameter="p")), since=since
    )
    first = one.poll(None, times.deadline())
    server.answer = lambda path, query, headers: (410, {}, b"")
    gone = one.poll(first.cursor, times.deadline())
    assert not gone.more
    server.answer = paged(server, "cursor")
    assert ids_of(first) + drain(one, times, gone.cursor)[0] == [f"r{i}" for i in range(1, 8)]
    assert "starting again" in caplog.text


# --- since ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "first", "then"),
    [("s", "1772366500", "1772366950"), ("ms", "1772366500000", "1772366950000"),
     ("iso", "2026-03-01T12:01:40Z", "2026-03-01T12:09:10Z")],
)  # fmt: skip
def test_since(server, source, times, *, form, first, then):
    """Each sweep asks from the newest record less the look-back, and repeats nothing that it saw there."""
    rows = [record(1, 90), record(2, 500), record(3, 600)]
    server.answer = lambda path, query, headers: rows
    since = Since(parameter="from", field="at", format=form, look_back=Duration(50))
    ids, cursor = drain(one := source(since=since, lookback=900.0), times)
    assert ids == ["r2", "r3"]
    assert server.requests[-1][1] == {"from": first}
    assert drain(one, times, cursor)[0] == []
    assert server.requests[-1][1] == {"from": then}
    rows += [record("late", 555), record("too late", 549), record(3, 601, "no"), record("new", 700)]
    ids, cursor = drain(one, times, cursor)
    assert ids == ["rlate", "r3", "rnew"]


def test_since_passes_over_the_far_future(server, source, times):
    """One record with a wrong clock does not make all later ones too old."""
    rows = [record(1, 10), record(2, 10_000_000)]
    server.answer = lambda path, query, headers: rows
    ids, cursor = drain(one := source(since=Since(parameter="from", field="at", format="s")), times)
    assert ids == ["r1"]
    rows.append(record(3, 20))
    assert drain(one, times, cursor)[0] == ["r3"]


def test_records_that_are_no_records(server, source, times):
    """A record that is no object, or has no time, is refused with its place; the others arrive."""
    server.answer = lambda *_: [record(1), 7, {"id": "r2", "label": "yes"}]
    poll = source(since=Since(parameter="from", field="at")).poll(None, times.deadline())
    assert ids_of(poll) == ["r1"]
    assert poll.batch.refused.counts["not_an_object"] == 1
    assert poll.batch.refused.counts.total() == 2
    assert poll.batch.refused.examples[0].place == f"{server.url}/labels, page 1, record 2"


# --- conditional requests ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "asked"), [({"ETag": '"7"'}, "if-none-match"), ({"Last-Modified": "yesterday"}, "if-modified-since")]
)
def test_not_modified(server, source, times, given, asked):
    """An unchanged answer is asked for with its validator, and 304 brings no rows."""
    value = next(iter(given.values()))

    def answer(path, query, headers):
        return (304, given, b"") if headers.get(asked) == value else (200, given, json.dumps([record(1)]).encode())

    server.answer = answer
    ids, cursor = drain(one := source(), times)
    assert ids == ["r1"]
    for _ in range(2):
        ids, cursor = drain(one, times, cursor)
        assert ids == []
        assert server.requests[-1][2][asked] == value


def test_gzip_and_nan(server, source, times):
    """Packed answers are unpacked, and a bare NaN in a field nobody needs does no harm."""
    body = gzip.compress(json.dumps([record(1) | {"unused": float("nan")}]).encode())
    server.answer = lambda *_: (200, {"Content-Encoding": "gzip"}, body)
    assert drain(source(), times)[0] == ["r1"]


# --- retries -------------------------------------------------------------------------------------


def failing(times_, status, headers=None):
    left = [times_]

    def answer(*_):
        left[0] -= 1
        return (status, headers or {}, b"") if left[0] >= 0 else [record(1)]

    return answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retries(server, source, times, status):
    """Faults that may pass are tried again after growing random pauses."""
    server.answer = failing(3, status)
    assert ids_of(source().poll(None, times.deadline())) == ["r1"]
    assert len(times.pauses) == 3
    assert all(0 <= pause <= 0.5 * 2**n for n, pause in enumerate(times.pauses))


def test_retries_end(server, source, times):
    """After the last retry the fault is reported as unavailable."""
    server.answer = failing(99, 503)
    with pytest.raises(SourceUnavailable, match=r"/labels: HTTP 503"):
        source(retries=2).poll(None, times.deadline())
    assert len(server.requests) == 3


@pytest.mark.parametrize("header", ["7", "Sun, 01 Mar 2026 12:16:47 GMT"])
def test_retry_after(server, source, times, header):
    """The server's own wish for a pause is honoured."""
    server.answer = failing(1, 429, {"Retry-After": header})
    assert ids_of(source().poll(None, times.deadline())) == ["r1"]
    assert times.pauses == [7]


def test_retry_after_beyond_the_deadline(server, source, times):
    """A pause that the deadline does not allow ends the poll at once, and the next poll asks nothing too early."""
    server.answer = failing(1, 503, {"Retry-After": "120"})
    one = source()
    with pytest.raises(SourceUnavailable, match="HTTP 503"):
        one.poll(None, times.deadline(30))
    with pytest.raises(SourceUnavailable, match="left alone for 120 s more"):
        one.poll(None, times.deadline(30))
    assert times.pauses == []
    assert len(server.requests) == 1
    times.now += 121
    assert ids_of(one.poll(None, times.deadline(30))) == ["r1"]


def test_no_retry_of_refusals(server, source, times):
    """What will not pass is not tried again: 401 and 403 are denied, 404 is not there, 400 is our fault."""
    for status, error in [(401, SourceDenied), (403, SourceDenied), (400, SourceDataError), (404, SourceUnavailable)]:
        server.requests.clear()
        server.answer = failing(99, status)
        with pytest.raises(error, match=f"HTTP {status}"):
            source().poll(None, times.deadline())
        assert len(server.requests) == 1


# --- faults --------------------------------------------------------------------------------------


def test_nobody_listens(source, times):
    """No server is unavailable, after the retries."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnavailable, match="Connection refused"):
            source(url=f"http://127.0.0.1:{free.getsockname()[1]}/").poll(None, times.deadline())
    assert len(times.pauses) == 3


def test_server_that_never_answers(source, times):
    """A server that accepts and says nothing is a timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = source(url=f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=Duration(0.05), retries=1)
        with pytest.raises(SourceTimeout, match="no answer in time"):
            one.poll(None, times.deadline())


def test_server_that_drips(new_server, source, times):
    """A body that comes byte by byte has no more time than any other."""
    dripping = new_server()

    def answer(*_):
        times.now += 100
        return [record(1)]

    dripping.answer = answer
    with pytest.raises(SourceTimeout, match="not complete in time"):
        source(url=dripping.url, retries=0).poll(None, times.deadline(50))


def test_truncated_body(server, source, times):
    """A body that ends too early is a broken connection, not an answer."""
    server.answer = lambda *_: (200, {"Content-Length": "1000"}, b"[]")
    with pytest.raises(SourceUnavailable):
        source(retries=0).poll(None, times.deadline())


def test_answer_that_is_too_large(server, source, times):
    """A larger answer than allowed is not read on, packed or not."""
    body = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    server.answer = lambda *_: (200, {"Content-Encoding": "gzip"}, body)
    with pytest.raises(SourceDataError, match="more than 1000000 bytes"):
        source(largest_answer=1_000_000).poll(None, times.deadline())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>login</html>", "found HTML"),
        (b"", "an empty answer"),
        (b"[1, 2", "something else"),
        (b"\xff\xfe", "else"),
    ],
)
def test_no_json(server, source, times, body, words):
    """An answer that is no JSON says what it is instead, and quotes nothing."""
    server.answer = lambda *_: (200, {}, body)
    with pytest.raises(SourceDataError, match=words) as caught:
        source().poll(None, times.deadline())
    assert "login" not in str(caught.value)


@pytest.mark.parametrize(
    ("records", "words"),
    [(None, r"the answer is no list; set records to the path of the list \(the answer has results, count\)"),
     ("result", r"no list at 'result' \(did you mean 'results'\?\)"), ("count", "no list at 'count'")],
)  # fmt: skip
def test_no_list(server, source, times, records, words):
    """A wrong path to the records is named with what the answer has."""
    server.answer = lambda *_: {"results": [], "count": 0}
    with pytest.raises(SourceDataError, match=words):
        source(records=records).poll(None, times.deadline())


def test_redirects_without_end(server, source, times):
    """A circle of redirects is an error."""
    server.answer = lambda *_: (302, {"Location": "/labels"}, b"")
    with pytest.raises(SourceDataError, match="redirects without end"):
        source().poll(None, times.deadline())


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "header"),
    [(Auth(bearer=Secret("hunter2")), "Bearer hunter2"),
     (Auth(basic=Basic(username="me", password=Secret("hunter2"))), "Basic bWU6aHVudGVyMg==")],
)  # fmt: skip
def test_credentials(server, source, times, auth, header):
    """Tokens, passwords and secret headers reach the server."""
    server.answer = lambda *_: [record(1)]
    source(auth=auth, headers={"X-Key": Secret("k")}).poll(None, times.deadline())
    assert server.requests[0][2]["authorization"] == header
    assert server.requests[0][2]["x-key"] == "k"


def test_token_file_is_read_again(server, source, times, tmp_path):
    """A renewed token is used at the next request; a file that is not there is a denial that names it."""
    token = tmp_path / "token"
    one = source(auth=Auth(bearer_file=str(token)))
    with pytest.raises(SourceDenied, match=r"token: No such file"):
        one.poll(None, times.deadline())
    for word in ("first", "second"):
        token.write_text(word + "\n")
        one.poll(None, times.deadline())
        assert server.requests[-1][2]["authorization"] == f"Bearer {word}"


@pytest.mark.parametrize("way", ["redirect", "next"])
def test_no_secret_goes_to_another_server(server, new_server, source, times, way):
    """Neither a redirect nor a next link to another server carries credentials there."""
    other = new_server()
    other.answer = lambda *_: {"items": [record(2)]}
    if way == "redirect":
        server.answer = lambda *_: (302, {"Location": other.url + "/x"}, b"")
    else:
        server.answer = lambda *_: {"items": [record(1)], "next": other.url + "/x"}
    one = source(
        auth=Auth(bearer=Secret("hunter2")),
        headers={"X-Key": Secret("hunter2")},
        records="items",
        paging=Paging(next="next"),
    )
    drain(one, times)
    assert "hunter2" in str(server.requests)
    assert other.requests
    assert "hunter2" not in str(other.requests)


@pytest.mark.parametrize("status", [400, 401, 404, 418, 500])
def test_no_error_shows_a_secret(server, source, times, status):
    """No message holds a token, a header or a query parameter, whatever the server answers."""
    server.answer = lambda *_: (status, {}, b"hunter2")
    one = source(
        auth=Auth(bearer=Secret("hunter2")), params={"token": "hunter2"}, headers={"X": Secret("hunter2")}, retries=0
    )
    with pytest.raises((SourceDenied, SourceUnavailable, SourceDataError)) as caught:
        one.poll(None, times.deadline())
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "config",
    [{"url": "http://127.0.0.1:1/?token=hunter2"}, {"url": "http://127.0.0.1:port/?token=hunter2"},
     {"url": "http://[::1/?token=hunter2"}, {"headers": {"X": Secret("hunter2\n")}},
     {"headers": {"X": Secret("hunter2\u20ac")}}, {"auth": Auth(bearer=Secret("hunter2\r\nX: y"))}],
)  # fmt: skip
def test_no_request_that_fails_shows_a_secret(source, times, config):
    """Nor does a request that cannot even be made."""
    with pytest.raises((SourceUnavailable, SourceDataError)) as caught:
        source(retries=0, **config).poll(None, times.deadline())
    assert "hunter2" not in str(caught.value)


def test_password_in_url_is_refused():
    """A password belongs under auth, not into the url; the fault does not repeat it."""
    with pytest.raises(ValueError, match="under auth") as caught:
        Http.Config(url="https://me:hunter2@host/x")
    assert "hunter2" not in str(caught.value)


def test_auth_needs_one_way():
    """Two credentials at once are a fault of the config."""
    with pytest.raises(ValueError, match="one of bearer"):
        Auth(bearer=Secret("a"), bearer_file="b")


def test_config_is_described():
    """The config can be decoded and documented: every field says what it is for."""
    fields = struct_type(Http.Config).fields
    assert fields
    assert all(map(description, fields))
