"""What the landing page says, and what it must never let through."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contracts import (
    ModelStatus,
    ProbeStatus,
    Snapshot,
    SourceStatus,
    Status,
    VersionStatus,
    WindowStatus,
)
from exporter.web import page
from exporter.web.page import ReloadState

NOW = 1_795_000_000.0
VOID = {"meta"}


class Reader(HTMLParser):
    """Collects texts, tags and attributes, and insists on tags that close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID and tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


def draw(status: Status | None, problem: str | None = None, fault: str | None = None) -> str:
    snapshot = None if status is None else Snapshot(b"", b"", 42, NOW - 1, status)
    return page.render(
        snapshot,
        version="1.2.3",
        documentation="https://example.org/docs",
        telemetry_path="/metrics",
        reload=ReloadState(NOW - 60, fault),
        problem=problem,
        now=NOW,
    )


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def words(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(read(html).texts))


def status_of(text: str, number: float | None = 0.5) -> Status:
    window = WindowStatus(
        name=text, labelled=3, accuracy=number, precision=number, recall=number, f1=number, estimated=0.8765,
        average="macro",
    )  # fmt: skip
    version = VersionStatus(version=text, predictions=8, labelled=3, pending=5, last_label=NOW - 90, windows=(window,))
    return Status(
        models=(ModelStatus(name=text, task="multiclass", orphan_labels=1, versions=(version,)),),
        sources=(
            SourceStatus(
                model=text,
                role="labels",
                kind=text,
                up=False,
                last_success=NOW - 7200,
                rows=1234567,
                refused={text: 3},
                last_error=text,
                note=text,
            ),
        ),
        probes=(
            ProbeStatus(
                target=text,
                model=text,
                up=True,
                detail=text,
                since=NOW - 300,
                restarts=4,
                crashes={text: 2},
                crashes_per_hour={text: 0.125},
                cpu=0.437,
                memory=0.95,
                disks={text: 0.162},
                gpus={text: 0.37},
                errors=(text,),
            ),
        ),
    )


def test_quality_and_sources_are_shown():
    """A reader finds the numbers of a model and the state of its sources, with ages and counts made readable."""
    shown = words(draw(status_of("fraud")))
    facts = ("50.00 %", "37.5 %", "down", "2 h ago", "1 234 567", "2 min ago", "42 series", "macro", "87.65 %")
    for expected in facts:
        assert expected in shown


@pytest.mark.parametrize(
    ("latency", "text"),
    [
        ((0.0038, 0.00755), "3.8 ms mean 7.55 ms p95"),
        ((1.25, 10.0), "1.25 s mean 10 s p95"),
        ((0.000_042, 0.9994), "42 us mean 999 ms p95"),
        ((0.0, 119.0), "0 us mean 119 s p95"),
    ],
)
def test_latency_and_failures_are_shown(latency, text):
    """A reader finds how long predictions take and how many fail, where the log tells."""
    version = VersionStatus(version="1", predictions=990, failed=10, latency=latency)
    shown = words(draw(Status(models=(ModelStatus(name="m", task="binary", versions=(version,)),))))
    assert f"Latency {text} Failed 10 1.00 %" in shown
    assert "Latency" not in words(draw(status_of("fraud")))
    assert "Failed" not in words(draw(status_of("fraud")))


def test_versions_stand_in_their_order_and_models_can_be_jumped_to():
    """1.9 comes before 1.10, and where there are several models, each is linked to; one alone is not."""
    versions = tuple(VersionStatus(version=version) for version in ("1.10", "1.9", "1.1"))
    first = ModelStatus(name="first", task="binary", versions=versions)
    second = ModelStatus(name="a & b", task="ranking")
    html = draw(Status(models=(first, second)))
    places = [html.index(f"</span> {one}</h4>") for one in ("1.1", "1.9", "1.10")]
    assert places == sorted(places)
    assert '<a href="#model-1">a &amp; b</a>' in html
    assert '<article id="model-1"><h3>a &amp; b' in html
    assert 'href="#model' not in draw(Status(models=(first,)))


def test_nothing_yet_is_said_in_words():
    """Before the first snapshot the page has no empty tables, and says why it is not ready."""
    html = draw(None, problem="the first cycle has not ended")
    assert "No predictions yet" in words(html)
    assert "Not ready: the first cycle has not ended" in words(html)
    assert "<table" not in html


def test_undefined_ratio_is_a_dash_not_a_zero():
    """No data is not zero."""
    html = draw(status_of("fraud", None))
    assert "0.00" not in html
    assert html.count(page._NONE) >= 4


def servers(*probes: ProbeStatus) -> str:
    return words(draw(Status(probes=probes))).partition("Model servers ")[2]


def test_model_server_is_shown_with_its_crashes_and_its_use():
    """A reader finds since when a server is up, how often and why it crashed, and what it uses of what it may."""
    probe = ProbeStatus(
        target="fraud-server",
        model="fraud",
        up=True,
        detail="process 4711",
        since=NOW - 7 * 3600,
        restarts=1200,
        crashes={"exit": 0, "SIGSEGV": 1, "oom": 2},
        crashes_per_hour={"1h": 0.0, "24h": 0.125},
        cpu=0.437,
        memory=0.81,
        disks={"/": 0.162, "/models": 0.931},
        gpus={"0": 0.37},
    )
    assert servers(probe).startswith(
        "fraud-server fraud up process 4711 Up for 7 h Restarts 1 200 Crashes 2 oom 1 SIGSEGV "
        "Crashes per hour 0 in 1h 0.125 in 24h CPU 43.7 % Memory 81.0 % Disk / 16.2 % Disk /models 93.1 % GPU 0 37.0 %"
    )


def test_model_server_that_is_down_says_why():
    """A server that is down has the time of it, and each error of its probes."""
    probe = ProbeStatus(target="a", model="m", up=False, since=NOW - 95, errors=("no such file", "connection refused"))
    assert servers(probe).startswith("a m down no such file connection refused Down for 2 min")


def test_what_is_not_known_of_a_model_server_is_left_out():
    """No crash is a zero, crashes that nobody watches are not; use alone says nothing of up or down."""
    assert servers(ProbeStatus(target="a", model="m")).startswith("a m not asked yet")
    assert "Crashes 0 " in servers(ProbeStatus(target="a", model="m", crashes={"oom": 0}))
    measured = servers(ProbeStatus(target="a", model="m", cpu=1.02))
    assert measured.startswith("a m CPU 102.0 %")
    for absent in ("asked", "Crashes", "Restarts", "Memory"):
        assert absent not in measured


def test_bar_of_a_share_is_marked_when_it_is_nearly_full():
    """From 90 % on a bar has another colour, and no bar is longer than its place."""
    html = draw(Status(probes=(ProbeStatus(target="a", model="m", cpu=1.02, memory=0.899),)))
    assert '<progress aria-hidden="true" class="full" value="1.000">' in html
    assert '<progress aria-hidden="true" value="0.899">' in html


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.0, "100.00"), (0.999999, "99.99"), (0.0, "0.00"), (0.12345, "12.35")]
)
def test_only_perfect_quality_reads_as_perfect(ratio, expected):
    """Rounding never turns a rare mistake into none at all."""
    assert page._ratio(ratio).startswith(expected)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "just now"),
        (5, "5 s ago"),
        (150, "2 min ago"),
        (7300, "2 h ago"),
        (900_000, "10 d ago"),
        (-30, "in 30 s"),
    ],
)
def test_age_is_told_in_its_largest_unit(seconds, expected):
    """Ages are for people; a time in the future is told as such, not as a negative age."""
    assert f">{expected}</time>" in page._age(NOW - seconds, NOW)


@given(st.text(min_size=1))
def test_no_text_from_outside_becomes_markup(text):
    """Names, errors and notes of any content leave the document's tags as they are."""
    plain, strange = read(draw(status_of("x"), "x", "x")), read(draw(status_of(text), text, text))
    assert [entry[:2] for entry in strange.attributes] == [entry[:2] for entry in plain.attributes]


def test_page_needs_nothing_from_elsewhere():
    """No script, no style sheet, image or font of another origin: only links that a person may follow."""
    html = draw(status_of("x"), "x", "x")
    loading = {"src", "srcset", "data", "action", "onload"}
    assert not [entry for entry in read(html).attributes if entry[1] in loading or entry[0] in {"script", "link"}]
    assert "url(" not in html
    assert "@import" not in html
