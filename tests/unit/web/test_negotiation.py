"""Which format and compression a client gets, and how often a body is made."""

import gzip
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contracts import Clock, Snapshot
from exporter.web.negotiation import REMEMBERED_SECONDS, Encodings, accepts_gzip, choose_format

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What 3.14 sends; a job that asks for one protocol only sends that and `*/*`."""
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


def snapshot() -> Snapshot:
    return Snapshot(text=b"up 1\n" * 1000, openmetrics=b"up 1\n" * 1000 + b"# EOF\n", series=1, made_at=0.0)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
        (f"{PROTOBUF};q=0.7,{PROMETHEUS_3}", "openmetrics"),
        (f"{PROTOBUF};q=0.6,*/*;q=0.5", "text"),
        ("application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5", "openmetrics"),
        ("application/openmetrics-text;version=0.0.1;q=0.6,*/*;q=0.5", "text"),
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5", "text"),
        ("application/openmetrics-text", "openmetrics"),
        ("APPLICATION/OpenMetrics-Text ; VERSION=1.0.0", "openmetrics"),
        ("application/openmetrics-text;version=2.0.0", "text"),
        ("application/openmetrics-text;version=0.0.1", "text"),
        ("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;version=0.0.4;q=0.9", "text"),
        ("application/openmetrics-text;version=1.0.0;q=0", "text"),
        ("application/openmetrics-text;q=much", "text"),
        ("text/plain;version=1.0.0;q=1,application/openmetrics-text;version=1.0.0;q=0.1", "openmetrics"),
        ("application/openmetrics-text;version=1.0.0;q=0.1,*/*;q=0.5", "text"),
    ],
)
def test_format_follows_the_clients_preference(accept, expected):
    """The supported format with the highest q-value wins; text is the answer to everything else."""
    assert choose_format(accept) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0, *", False),
        ("*", True),
        ("identity, *;q=0", False),
        ("br, zstd", False),
    ],
)
def test_gzip_is_used_only_where_it_is_accepted(header, expected):
    """A name beats the star, and a q-value of 0 is a refusal."""
    assert accepts_gzip(header) is expected


@given(st.text())
def test_no_header_breaks_the_choice(header):
    """Whatever a client sends, there is an answer."""
    assert choose_format(header) in {"text", "openmetrics"}
    assert accepts_gzip(header) in {True, False}


@pytest.mark.parametrize("kind", ["text", "openmetrics"])
def test_compressed_body_is_the_body(kind):
    """A gzip variant unpacks to the bytes of its format, and is kept in the snapshot."""
    made = snapshot()
    encodings = Encodings()
    body = encodings.body(made, kind + "+gzip")
    assert gzip.decompress(body) == encodings.body(made, kind)
    assert made.encoded == {kind + "+gzip": body}
    assert encodings.body(made, kind + "+gzip") is body


def test_first_scrapes_at_once_compress_once():
    """Many threads that ask for a new variant together all get the same bytes object."""
    made, encodings = snapshot(), Encodings()
    gate = threading.Barrier(8)
    bodies = []

    def scrape():
        gate.wait()
        bodies.append(encodings.body(made, "text+gzip"))

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(body) for body in bodies}) == 1


def test_asked_variants_are_made_ahead_until_nobody_asks():
    """The next snapshot has the variants of recent scrapes before it is published, and only those."""
    now = [100.0]
    encodings = Encodings(Clock(monotonic=lambda: now[0]))
    unasked = snapshot()
    encodings.prepare(unasked)
    assert unasked.encoded == {}
    encodings.body(snapshot(), "openmetrics+gzip")
    encodings.body(snapshot(), "text")
    now[0] += REMEMBERED_SECONDS
    following = snapshot()
    encodings.prepare(following)
    assert encodings.wanted == set(following.encoded) == {"openmetrics+gzip"}
    assert encodings.is_ready(following, "openmetrics+gzip")
    now[0] += 1
    later = snapshot()
    encodings.prepare(later)
    assert later.encoded == {}
    assert not encodings.is_ready(later, "openmetrics+gzip")
