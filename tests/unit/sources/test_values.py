"""Values of columns: ids become keys, times become seconds, and what is neither is told."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import xxhash

from exporter.contracts import ABSENT, Categorical, ModelSpec, WhereSpec
from exporter.sources.names import (
    BAD,
    TOO_LONG,
    UNKNOWN_CLASS,
    Encoder,
    Vocabulary,
    classed,
    condition,
    errors,
    named,
    statuses,
    two_classes,
)
from exporter.sources.records import Instants, Texts, Words
from exporter.sources.times import Times
from exporter.sources.values import identify, keys, listed_numbers, numbers, scoped, take

# --- ids -----------------------------------------------------------------------------------------


def test_keys_are_the_xxh3_fingerprints_of_utf8():
    """A key is the 128-bit xxh3 digest of the id's UTF-8, so that every format gives one id one key."""
    texts = ["rec-0063", "", "ü", "\ud800", "x" * 1000]
    expected = [xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in texts]
    assert [row.tobytes() for row in keys(texts)] == expected


def test_an_empty_column_has_no_keys():
    """No rows give a key array of shape (0, 2)."""
    assert keys([]).shape == (0, 2)
    assert identify(Texts())[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("rec-1", "rec-1"),
        (" a ", " a "),
        (7, "7"),
        (-7, "-7"),
        (292262729019718291158141749552300847579, "292262729019718291158141749552300847579"),
        (7.0, "7"),
        (-0.0, "0"),
        (Decimal(14468740374550852257), "14468740374550852257"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (np.int64(5), "5"),
        (b"abc", "abc"),
    ],
)
def test_ids_of_all_types_become_their_text(value, text):
    """A number is joined with its decimal text, in a column of its own kind and among others."""
    for column in ([value], [value, None]):
        texts, key, _ = identify(column)
        assert texts[0] == text
        assert key[0].tolist() == keys([text])[0].tolist()


@pytest.mark.parametrize("value", [1.5, 2.0**53, float("nan"), float("inf"), True, [1], {}, Decimal("NaN")], ids=repr)
def test_what_can_be_no_id_is_refused(value):
    """Floats that may have lost digits, booleans and containers join nothing and are refused as bad_id."""
    _, _, faults = identify(["a", value])
    assert {reason: rows.tolist() for reason, rows in faults.items()} == {"bad_id": [1]}


@pytest.mark.parametrize("column", [["a", None, ""], Texts(["a", None, ""]), Texts(["a", "", ""])])
def test_missing_ids_are_refused(column):
    """None and the empty text are no id, also in a column of texts only."""
    assert identify(column)[2]["missing_id"].tolist() == [1, 2]


def test_an_array_of_integers_gives_the_keys_of_its_texts():
    """64-bit ids from Parquet join with ids that were written as texts."""
    column = np.array([2**63, 2**64 - 1], np.uint64)
    assert identify(column)[1].tolist() == keys([str(2**63), str(2**64 - 1)]).tolist()


def test_scoped_keys_tell_models_apart():
    """The same id under two models has two keys, and one key under one model."""
    scope = Categorical(np.array([0, 1, 0], np.int32), ["a", "b"])
    one, two, three = scoped(keys(["x", "x", "x"]), scope).tolist()
    assert one == three != two


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        [0.5, "0.5", None, "x", True, float("nan"), float("inf"), 2, -1, [1], {}, Decimal("0.5"), 10**400],
    ],
)
def test_numbers_are_read_and_others_named(column):
    """Numbers and their texts are taken, None is absent, and everything else is at fault."""
    values, bad = numbers(column, 0.0, 1.0)
    assert values[[0, 1, 11]].tolist() == [0.5, 0.5, 0.5]
    assert np.isnan(values[2])
    assert bad.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 12]


def test_typed_columns_give_the_same_numbers_as_untyped_ones():
    """The fast paths for arrays and texts agree with the look at each value."""
    values = [0.0, 1.0, 0.25, 2.0, -1.0, float("nan"), float("inf")]
    expected, bad = numbers(list(values), 0.0, 1.0)
    for column in (np.array(values), Texts(map(str, values))):
        found, rows = numbers(column, 0.0, 1.0)
        assert rows.tolist() == bad.tolist() == [3, 4, 5, 6]
        assert found[:3].tolist() == expected[:3].tolist()


def test_infinity_is_no_latency():
    """A range without an upper end still takes finite numbers only."""
    assert numbers(np.array([1.0, np.inf]), 0.0, np.inf)[1].tolist() == [1]


@pytest.mark.parametrize("text", ["[0.1, 0.9]", "[0.1 0.9]", " [0.1\n 0.9] ", "[0.1,0.9]"])
def test_lists_are_read_from_texts(text):
    """JSON's and NumPy's way of printing a list give the same numbers."""
    assert listed_numbers(text) == [0.1, 0.9]


# --- times ---------------------------------------------------------------------------------------

MOMENT = datetime(2026, 11, 22, 4, 32, 19, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-22T04:32:19Z", MOMENT),
        ("2026-11-22 04:32:19", MOMENT),
        ("2026-11-22 04:32:19,453", MOMENT + 0.453),
        ("2026-11-22T04:32:19.453909Z", MOMENT + 0.453909),
        ("2026-11-22t04:32:19.123456789z", MOMENT + 0.123456789),
        ("2026-11-22T06:32:19+02:00", MOMENT),
        ("2026-11-22T06:32:19.5+0200", MOMENT + 0.5),
        ("2026-11-22 03:32:19-01", MOMENT),
        ("2026-11-22 04:32:19 UTC", MOMENT),
        ("2026-11-22T04:32", MOMENT - 19),
        ("2026-11-22", MOMENT - 4 * 3600 - 32 * 60 - 19),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC).timestamp()),
        ("1999-12-31T23:59:60Z", datetime(2000, 1, 1, tzinfo=UTC).timestamp()),
        (str(MOMENT), MOMENT),
        (str(int(MOMENT * 1000)), MOMENT),
        (MOMENT, MOMENT),
        (int(MOMENT), MOMENT),
        (int(MOMENT) * 10**3, MOMENT),
        (int(MOMENT) * 10**6, MOMENT),
        (int(MOMENT) * 10**9, MOMENT),
        (datetime(2026, 11, 22, 4, 32, 19, tzinfo=UTC), MOMENT),
        (datetime(2026, 11, 22, 5, 32, 19, tzinfo=timezone(timedelta(hours=1))), MOMENT),
        (datetime(2026, 11, 22, 4, 32, 19), MOMENT),  # noqa: DTZ001
        (date(2026, 11, 22), MOMENT - 4 * 3600 - 32 * 60 - 19),
        (Decimal(int(MOMENT)), MOMENT),
    ],
)
def test_times_in_every_form(text, seconds):
    """ISO 8601, epochs of any unit and datetimes are read, alone and among others."""
    for column in ([text], [None, text, "garbage", 5], *([Texts([text, text])] if isinstance(text, str) else [])):
        found, _ = Times().seconds(column)
        assert found[column.index(text)] == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        "x",
        "2026-13-01T00:00:00Z",
        "2026-02-29",
        "2026-11-22T24:00:00Z",
        "2026-11-22T04:60:00Z",
        "2026-11-22T04:32:61Z",
        "2026-11-22T04:32:19+24:00",
        "2026-11-22T04:32:1٣Z",
        "2026-11-22T04:32:19.",
        "22/Nov/2026:05:40:58 +0000",
        "0000-00-00",
        "1899-12-31",
        True,
        float("inf"),
        1e30,
        -1e10,
        [],
        {},
        "9" * 100,
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_what_is_no_time_is_refused(value):
    """Garbage, dates that no calendar has and times beyond the years 1900 to 9999 are at fault."""
    for column in ([value], [value, "2026-11-22"], Texts([value]) if isinstance(value, str) else [value]):
        assert Times().seconds(column)[1].tolist() == [0]


@pytest.mark.parametrize("column", [[None], [""], [float("nan")], Texts([None]), np.array([np.nan])])
def test_an_absent_time_is_no_fault_of_the_time(column):
    """Null, empty and NaN are absent times, which the mapping judges."""
    times, bad = Times().seconds(column)
    assert np.isnan(times).all()
    assert not len(bad)


@pytest.mark.parametrize(("unit", "seconds"), [("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0)])
def test_a_unit_settles_what_a_number_means(unit, seconds):
    """A configured unit holds for every number, whatever its size."""
    for column in ([1e9], np.array([1e9]), np.array([10**9]), Texts(["1000000000"])):
        assert Times().seconds(column, unit)[0].tolist() == [seconds]


def test_naive_times_follow_the_zone_through_its_changes():
    """Naive texts and datetime64 are in the configured zone, summer time included, as zoneinfo has it."""
    texts = ["2026-03-29T01:59:59", "2026-03-29T03:00:00", "2026-07-01 12:00:00", "2026-10-25T02:30:00", "2026-12-01"]
    zone = ZoneInfo("Europe/Berlin")
    expected = [datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() for text in texts]
    times = Times("Europe/Berlin")
    assert times.seconds(Texts(texts))[0].tolist() == expected
    assert times.seconds(np.array(texts, "datetime64[ms]"))[0].tolist() == expected
    assert times.seconds(["2026-07-01T12:00:00Z"])[0].tolist() == [datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()]


def test_datetime64_keeps_fractions_and_absence():
    """Nanoseconds become fractions, NaT an absent time, and years beyond the range a fault."""
    column = np.array(["2026-11-22T04:32:19.25", "NaT", "1800-01-01"], "datetime64[ms]")
    times, bad = Times().seconds(column)
    assert times[0] == MOMENT + 0.25
    assert np.isnan(times[1])
    assert bad.tolist() == [2]


def test_instants_are_taken_as_they_are():
    """A column of settled seconds ignores the unit and the zone of the config."""
    column = np.array([MOMENT, np.nan]).view(Instants)
    times, bad = Times("Europe/Berlin").seconds(column, "ns")
    assert times[0] == MOMENT
    assert not len(bad)


# --- names ---------------------------------------------------------------------------------------


def encoded(values, judge=named):
    vocabulary = Vocabulary()
    codes = Encoder(judge(vocabulary)).codes(values)
    return [vocabulary.names[code] if code >= 0 else int(code) for code in codes]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("fraud", "fraud"),
        (" a", " a"),
        (1, "1"),
        (1.0, "1"),
        (True, "true"),
        (False, "false"),
        (0.1, "0.1"),
        (-0.0, "0"),
        ("1.0", "1.0"),
        (Decimal("1.0"), "1"),
        (np.float64(2), "2"),
        (np.bool_(True), "true"),
        (None, ABSENT),
        ("", ABSENT),
        (float("nan"), ABSENT),
        (float("inf"), BAD),
        ([1], BAD),
        ({"a": 1}, BAD),
        ("x" * 257, TOO_LONG),
        pytest.param(10**5000, BAD, id="huge"),
        ("a\x00b\ud800", "a\ufffdb\ufffd"),
    ],
)
def test_names_have_one_canonical_text(value, name):
    """Numbers and booleans go by one text each; what is none, too long or a container gets a code that says so."""
    assert encoded([value]) == [name]
    assert encoded([value, "other", 5]) == [name, "other", "5"]


def test_values_that_python_holds_equal_stay_apart():
    """1, True and "1" in one column are two classes, in whichever order they come."""
    assert encoded([1, True, 1.0, "1", False, 0]) == ["1", "true", "1", "1", "false", "0"]
    assert encoded([True, 1, [1], 1.0]) == ["true", "1", BAD, "1"]


@pytest.mark.parametrize(
    "column",
    [
        np.array([1, 0, 1], np.uint8),
        np.array([1, 0, 1], np.int64),
        np.array([1.0, 0.0, 1.0]),
        Texts(["1", "0", "1"]),
        Words(np.array([0, 1, 0], np.uint8), ("1", "0", "2")),
        [1, 0.0, "1"],
    ],
)
def test_typed_columns_are_named_in_order_of_appearance(column):
    """Every kind of column gives the same codes, and interns only names that occur."""
    vocabulary = Vocabulary()
    assert Encoder(named(vocabulary)).codes(column).tolist() == [0, 1, 0]
    assert vocabulary.names == ["1", "0"]


def test_codes_hold_over_columns_and_dictionaries():
    """A code keeps its meaning when another column, or one with other words, follows."""
    vocabulary = Vocabulary()
    encoder = Encoder(named(vocabulary))
    assert encoder.codes(Words(np.array([0, 1], np.uint8), ("a", "b"))).tolist() == [0, 1]
    assert encoder.codes(Words(np.array([0, 1, 2], np.uint8), ("b", "c", None))).tolist() == [1, 2, ABSENT]
    assert encoder.codes(Texts(["c", "a", None])).tolist() == [2, 0, ABSENT]


def test_a_million_names_cost_bounded_memory():
    """Beyond its cap a vocabulary says other, and the encoder forgets what it has judged."""
    vocabulary = Vocabulary(most=100)
    encoder = Encoder(named(vocabulary))
    for start in range(0, 200_000, 10_000):
        encoder.codes(Texts(f"user-{at}" for at in range(start, start + 10_000)))
    assert len(vocabulary.names) == 101
    assert vocabulary.names[100] == "other"
    assert sum(map(len, encoder._known.values())) < 30_000
    assert encoder.codes(Texts(["user-5", "user-150000"])).tolist() == [5, 100]


def test_more_codes_than_a_byte_are_told_apart():
    """Vocabularies above 256 names take the wider way to the same codes."""
    encoder = Encoder(named(Vocabulary()))
    texts = Texts(f"n{at}" for at in range(1000))
    for _ in range(2):
        assert encoder.codes(texts).tolist() == list(range(1000))


def test_declared_classes_are_closed_and_aliases_lead_to_them():
    """A class that is neither declared nor an alias of one is unknown."""
    model = ModelSpec(name="m", classes=("no", "yes"), aliases={"1": "yes", "true": "yes"})
    codes = Encoder(classed(Vocabulary(model.classes), model)).codes(["yes", 1, True, "no", "maybe", None])
    assert codes.tolist() == [1, 1, 1, 0, UNKNOWN_CLASS, ABSENT]


def test_error_fields_in_every_form():
    """A truthy error names its reason; flags, records and stack traces are just an error."""
    values = ["timeout", "", None, False, "False", 0, True, {"type": "x"}, {}, [], 503, "x" * 300, "  "]
    expected = ["timeout", ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, "error", "error", ABSENT, ABSENT, "503"]
    assert encoded(values, errors) == [*expected, "error", "error"]


def test_status_codes_from_400_on_are_errors():
    """HTTP statuses below 400 are none; what is no status is at fault."""
    values = [200, 500, "404", 500.0, None, "ok", True, 99999, -1]
    assert encoded(values, statuses) == [
        ABSENT, "status_500", "status_404", "status_500", ABSENT, BAD, BAD, BAD, BAD,
    ]  # fmt: skip


def test_conditions_compare_texts():
    """A condition holds by canonical text; null and containers are none of any list."""
    values = ["a", "b", 1, True, None, [1]]
    assert [condition(WhereSpec(one_of=("a", "1", "true")))(value) for value in values] == [0, 1, 0, 0, 1, 1]
    assert [condition(WhereSpec(none_of=("a", "1")))(value) for value in values] == [1, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (ModelSpec(name="m"), ("0", "1")),
        (ModelSpec(name="m", positive="true"), ("false", "true")),
        (ModelSpec(name="m", positive="fraud"), ("not fraud", "fraud")),
        (ModelSpec(name="m", classes=("a", "b")), ("a", "b")),
        (ModelSpec(name="m", classes=("a", "b"), positive="a"), ("b", "a")),
    ],
)
def test_both_classes_of_a_binary_model_have_a_name(model, names):
    """A threshold needs a name for either side of it."""
    assert two_classes(model) == names


def test_taking_rows_keeps_the_kind_of_a_column():
    """Rows are taken from any column without losing what is known of it."""
    rows = np.array([2, 0])
    assert take(Texts(["a", "b", "c"]), rows) == ["c", "a"]
    assert isinstance(take(Texts(["a", "b", "c"]), rows), Texts)
    assert isinstance(take(np.zeros(3).view(Instants), rows), Instants)
    assert list(take(Words(np.array([0, 1, 1]), ("x", "y")), rows)) == ["y", "x"]
    assert take([1, 2, 3], rows) == [3, 1]


def test_a_lone_surrogate_beside_a_missing_id():
    """Two oddities in one column are judged each for itself."""
    texts, key, faults = identify(Texts(["\ud800", None]))
    assert key[0].tolist() == keys(["\ud800"])[0].tolist()
    assert {reason: rows.tolist() for reason, rows in faults.items()} == {"missing_id": [1]}
    assert len(texts) == 2
