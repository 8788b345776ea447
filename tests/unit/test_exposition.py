"""Counts to bytes: order, escapes, births, limits and what is left out."""

from __future__ import annotations

import math

import pytest

from exporter.contracts import MetricSpec, Series, Status
from exporter.exposition import Exposition
from tests.ledgers import OWN, parsed

SPECS = (
    MetricSpec("made_total", "counter", 'Rows "made", with a \\ and\na new line.', ("model", "kind")),
    MetricSpec("ratio", "gauge", "A ratio.", ("model", "kind")),
    MetricSpec("took_seconds", "histogram", "Time.", ("model",)),
)


def series(metric, *kinds):
    return [Series(metric, (("kind", kind),)) for kind in kinds]


def put(exposition, owner, values, shown, shape=None, model="m"):  # noqa: PLR0917 - as `Exposition.put` itself
    exposition.put((owner,), shape or tuple(shown), (("model", model),), lambda: shown, values)


def text(exposition):
    return exposition.render(0.0, OWN, Status()).text.decode()


@pytest.fixture
def exposition():
    return Exposition(SPECS)


def test_series_stand_under_their_help_in_the_order_of_the_catalogue(exposition):
    """Blocks of several owners are woven together by metric; help texts are escaped."""
    put(exposition, "x", [0.5, 3], [*series("ratio", "a"), *series("made_total", "a")])
    put(exposition, "y", [4], series("made_total", "b"))
    assert text(exposition) == (
        '# HELP made_total Rows "made", with a \\\\ and\\na new line.\n# TYPE made_total counter\n'
        'made_total{model="m",kind="a"} 3\nmade_total{model="m",kind="b"} 4\n'
        '# HELP ratio A ratio.\n# TYPE ratio gauge\nratio{model="m",kind="a"} 0.5\n'
    )


def test_openmetrics_names_counters_without_total_and_ends(exposition):
    """The second body is OpenMetrics: families without `_total`, quotes escaped in help, and an end mark."""
    put(exposition, "x", [3], series("made_total", "a"))
    snapshot = exposition.render(7.0, (b"own 1\n", b"own_ 1\n"), Status())
    assert snapshot.openmetrics == (
        b'# HELP made Rows \\"made\\", with a \\\\ and\\na new line.\n# TYPE made counter\n'
        b'made_total{model="m",kind="a"} 3\nown_ 1\n# EOF\n'
    )
    assert snapshot.text.endswith(b"own 1\n")
    assert (snapshot.made_at, snapshot.series) == (7.0, 1)


def test_a_metric_without_series_has_no_header(exposition):
    """Nothing is said of a metric that has nothing to show."""
    put(exposition, "x", [math.nan], series("ratio", "a"))
    assert text(exposition) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_left_out(exposition, value):
    """An undefined value is absent, and comes back once it is defined."""
    put(exposition, "x", [1.0, value, 2.0], series("ratio", "a", "b", "c"))
    assert len(parsed(text(exposition))) == 2
    put(exposition, "x", [1.0, 0.25, 2.0], series("ratio", "a", "b", "c"))
    assert parsed(text(exposition))["ratio", frozenset({("model", "m"), ("kind", "b")})] == 0.25


def test_series_are_asked_for_only_when_their_shape_changes(exposition):
    """Prefixes are cached: a new shape asks for the series again, the same one does not."""
    asked = []

    def ask():
        asked.append(1)
        return series("ratio", "a")

    for shape in (1, 1, 2):
        exposition.put(("x",), shape, (), ask, [0.5])
    assert len(asked) == 2
    assert exposition.series == 1


def test_a_duplicate_is_dropped_and_counted(exposition):
    """Two owners cannot show the same series: the first one has it."""
    put(exposition, "x", [1], series("made_total", "a"))
    put(exposition, "y", [2, 3], series("made_total", "a", "b"))
    assert parsed(text(exposition)) == {
        ("made_total", frozenset({("model", "m"), ("kind", "a")})): 1,
        ("made_total", frozenset({("model", "m"), ("kind", "b")})): 3,
    }
    assert exposition.dropped == {"duplicate": 1}


def test_what_is_beyond_the_limit_is_dropped_and_counted():
    """The limit is on all series together; what was there first stays."""
    exposition = Exposition(SPECS, limit=3)
    put(exposition, "x", [1, 2], series("ratio", "a", "b"))
    put(exposition, "y", [3, 4, 5], series("ratio", "c", "d", "e"))
    assert sorted(parsed(text(exposition)).values()) == [1, 2, 3]
    assert exposition.dropped == {"limit": 2}
    exposition.drop(("x",))
    put(exposition, "y", [3, 4, 5], series("ratio", "c", "d", "e"), shape="again")
    assert sorted(parsed(text(exposition)).values()) == [3, 4, 5]


def test_an_ended_owner_leaves_nothing(exposition):
    """Series of a dropped owner are gone, and their names are free."""
    put(exposition, "x", [1], series("made_total", "a"))
    exposition.drop(("x",))
    exposition.drop(("x",))
    assert text(exposition) == ""
    put(exposition, "y", [2], series("made_total", "a"))
    assert (exposition.series, exposition.dropped) == (1, {})


def test_owners_are_found_by_their_first_word(exposition):
    """All blocks of one model can be listed."""
    for owner in (("m", "1"), ("m", "2"), ("n", "1")):
        exposition.put(owner, owner, (("model", "".join(owner)),), lambda: series("ratio", "a"), [1])
    assert exposition.owned_by("m") == {("m", "1"), ("m", "2")}


# --- births --------------------------------------------------------------------------------------


def test_a_newborn_counter_shows_zero_until_it_was_served(exposition):
    """A counter series first seen in the data starts at 0 for one scrape; gauges do not."""
    exposition.ready = True
    both = [*series("made_total", "a"), *series("ratio", "a"), Series("took_seconds", suffix="_count")]
    put(exposition, "x", [5, 0.5, 7], both)
    for _ in range(2):
        snapshot = exposition.render(0.0, OWN, Status())
        assert sorted(parsed(snapshot.text.decode() + "\n").values()) == [0, 0, 0.5]
        assert exposition.grow_up() == set()
        put(exposition, "x", [6, 0.5, 7], both)
    snapshot = exposition.render(0.0, OWN, Status())
    snapshot.served = True
    assert exposition.grow_up() == {("x",)}
    put(exposition, "x", [6, 0.5, 7], both)
    assert sorted(parsed(text(exposition)).values()) == [0.5, 6, 7]
    assert exposition.grow_up() == set()


def test_only_new_series_of_a_block_are_newborn(exposition):
    """A class that joins the others starts at 0 while they go on."""
    exposition.ready = True
    put(exposition, "x", [5], series("made_total", "a"))
    exposition.render(0.0, OWN, Status()).served = True
    exposition.grow_up()
    put(exposition, "x", [6, 1], series("made_total", "a", "b"))
    assert sorted(parsed(text(exposition)).values()) == [0, 6]


def test_series_born_before_their_siblings_were_served_stay_newborn(exposition):
    """A new shape does not end the infancy of series that no scrape has seen."""
    exposition.ready = True
    put(exposition, "x", [5], series("made_total", "a"))
    text(exposition)
    put(exposition, "x", [6, 1], series("made_total", "a", "b"))
    assert sorted(parsed(text(exposition)).values()) == [0, 0]


def test_the_backlog_counts_at_once(exposition):
    """What was read before the exporter was ready are starting totals."""
    put(exposition, "x", [5], series("made_total", "a"))
    exposition.ready = True
    put(exposition, "x", [6], series("made_total", "a"))
    assert list(parsed(text(exposition)).values()) == [6]


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ('quo"te', 'quo"te'),
        ("back\\slash\\n", "back\\slash\\n"),
        ("new\nline", "new\nline"),
        ("carriage\rreturn", "carriage\ufffdreturn"),
        ("nul\0", "nul"),
        ("", "none"),
        ("\0", "none"),
        ("\ud800", "?"),
        ("100 %s %(x)s %%", "100 %s %(x)s %%"),
        ("π 🚀 \x85\u2028", "π 🚀 \x85\u2028"),
        ("{}=,#", "{}=,#"),
    ],
)
def test_any_label_value_is_clean(exposition, value, seen):
    """Both parsers read the label as it was, or as a clean text where it could not be shown."""
    put(exposition, "x", [1], series("ratio", value))
    snapshot = exposition.render(0.0, OWN, Status())
    expected = {("ratio", frozenset({("model", "m"), ("kind", seen)})): 1}
    assert parsed(snapshot.text.decode()) == expected
    assert parsed(snapshot.openmetrics.decode(), openmetrics=True) == expected


@pytest.mark.parametrize("length", [8, 9, 10, 128])
def test_long_label_values_are_cut_and_told_apart(length):
    """A text of a megabyte takes no more than the limit, or than the hash that tells it from its like."""
    exposition = Exposition(SPECS, label_length=length)
    put(exposition, "x", [1, 2], series("ratio", "a" * 2**20, "a" * 2**20 + "b"))
    shown = [dict(labels)["kind"] for _, labels in parsed(text(exposition))]
    assert len(set(shown)) == 2
    assert {len(one) for one in shown} == {max(length, 9)}


@pytest.mark.parametrize("value", [0, 1, 2**53, 0.1, 1e22, 1.5e-300, 5e-324, -0.0, 123456789.123456789])
def test_numbers_read_back_as_they_were(exposition, value):
    """The shortest text of a number is exact."""
    put(exposition, "x", [value], series("ratio", "a"))
    assert list(parsed(text(exposition)).values()) == [value]
