"""Whatever is put comes out of the reference parsers as it went in, and nothing unparsable ever leaves."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from exporter.contracts import MetricSpec, Series, Status
from exporter.exposition import Exposition
from tests.ledgers import OWN, parsed

SPECS = (
    MetricSpec("made_total", "counter", "Made.", ("model", "kind")),
    MetricSpec("level", "gauge", "Level.", ("model", "kind")),
)
ANY_TEXT = st.text(st.characters(), max_size=12)
CLEAN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=12)
NUMBERS = st.floats() | st.integers(0, 2**53)


def _exposed(blocks, **limits):
    exposition = Exposition(SPECS, **limits)
    for owner, block in enumerate(blocks):
        series = [Series(metric, (("kind", kind),)) for metric, kind, _ in block]
        exposition.put((str(owner),), 0, (("model", "m"),), lambda series=series: series, [row[2] for row in block])
    return exposition, exposition.render(0.0, OWN, Status())


def _blocks(texts):
    row = st.tuples(st.sampled_from(["made_total", "level"]), texts, NUMBERS)
    return st.lists(st.lists(row, max_size=8), max_size=5)


@given(_blocks(CLEAN))
def test_what_is_put_is_what_is_parsed(blocks):
    """Finite values of the first owner of each series, and nothing else, in both formats."""
    expected, seen, twice = {}, set(), 0
    for block in blocks:
        for metric, kind, value in block:
            at = metric, frozenset({("model", "m"), ("kind", kind)})
            twice += at in seen
            if at not in seen and math.isfinite(value):
                expected[at] = float(value)
            seen.add(at)
    exposition, snapshot = _exposed(blocks)
    assert parsed(snapshot.text.decode()) == expected
    counters_allow = {at: value for at, value in expected.items() if at[0] == "level" or value >= 0}
    if counters_allow == expected:  # the OpenMetrics parser refuses counters below zero, which no family has
        assert parsed(snapshot.openmetrics.decode(), openmetrics=True) == expected
    assert exposition.dropped["duplicate"] == twice
    assert snapshot.series == len(seen)


@given(_blocks(ANY_TEXT), st.integers(0, 12), st.integers(8, 20))
def test_any_text_leaves_parsable_and_within_limits(blocks, limit, length):
    """Surrogates, controls and over-long texts never break the exposition, and the limit on series holds."""
    exposition, snapshot = _exposed(blocks, limit=limit, label_length=length)
    found = parsed(snapshot.text.decode())
    assert len(found) <= exposition.series <= limit
    assert all(len(dict(labels)["kind"]) <= max(length, 9) for _, labels in found)
    rows = sum(map(len, blocks))
    assert exposition.series + exposition.dropped.total() == rows


STEPS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), st.integers(1, 5), st.booleans()),
    max_size=12,
)


@given(STEPS)
def test_every_new_counter_is_served_at_zero_first(steps):
    """Whatever joins, leaves or comes back, the first scrape of a counter series shows 0, and no later one falls."""
    exposition, total = Exposition(SPECS), 0
    seen: dict = {}
    exposition.ready = True
    for kinds, growth, scraped in steps:
        total += growth
        exposition.grow_up()
        series = [Series("made_total", (("kind", kind),)) for kind in kinds]
        exposition.put(("x",), tuple(kinds), (), lambda series=series: series, [total] * len(kinds))
        snapshot = exposition.render(0.0, OWN, Status())
        if scraped:
            snapshot.served = True
            now = parsed(snapshot.text.decode())
            for at, value in now.items():
                assert value == 0 if at not in seen else value >= seen[at]
            seen |= now
