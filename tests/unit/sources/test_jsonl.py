"""JSON Lines as columns: whole lines only, paths into records, and lines that are no JSON."""

import json

import numpy as np
import pytest

from exporter.sources.formats.jsonl import JsonLines
from exporter.sources.records import Texts, Words


def read(lines, *paths, reader=None):
    block = lines if isinstance(lines, bytes) else "".join(json.dumps(line) + "\n" for line in lines).encode()
    records = (reader or JsonLines(paths)).decode(block, "byte {}".format)
    for column in records.columns.values():
        assert len(column) == records.count
    return records


def column(records, path):
    values = records.columns[path]
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def reasons(records):
    return [(refusal.reason, refusal.place) for refusal in records.refused.examples]


def test_complete_counts_whole_lines_only():
    """A half-written last line waits."""
    reader = JsonLines(["a"])
    assert reader.complete(b'{"a":1}\n{"a"') == 8
    assert reader.complete(b'{"a"') == 0
    assert reader.complete(b"") == 0


def test_nested_paths_list_positions_and_keys_with_dots():
    """A dotted path finds nested values, positions of lists, and a top-level key of that very name."""
    lines = [{"a": {"b": {"c": 1}}}, {"a": {"b": [5, 6]}}, {"a.b.c": 3}, {"a": {"b": "text"}}, {"a": None}, {"a": 7}]
    for _ in range(2):
        records = read(lines, "a.b.c", "a.b.1")
        assert column(records, "a.b.c") == [1, None, 3, None, None, None]
        assert column(records, "a.b.1") == [None, 6, None, None, None, None]


def test_a_path_and_a_path_inside_it():
    """A value may be wanted whole and in parts."""
    records = read([{"p": {"x": 1}}, {"p": [0.5]}, {}], "p", "p.x", "p.0")
    assert column(records, "p") == [{"x": 1}, [0.5], None]
    assert column(records, "p.x") == [1, None, None]
    assert column(records, "p.0") == [None, 0.5, None]


def test_many_paths():
    """More paths than there are ready-made accessors are read alike."""
    names = [f"k{at}" for at in range(25)]
    records = read([{name: at for at, name in enumerate(names)}] * 3, *names)
    assert [column(records, name) for name in names] == [[at] * 3 for at in range(25)]


def test_columns_say_what_they_hold():
    """Texts, repeated words, small and large integers, floats and booleans come as columns of their kind."""
    lines = [{"t": f"id-{at}", "w": "ab"[at % 2], "i": 1, "l": 10**12, "f": 0.5, "m": [1, 0.5][at % 2], "b": True}
             for at in range(20)]  # fmt: skip
    reader = JsonLines(list("twilfmb"))
    for _ in range(2):
        records = read(lines, reader=reader)
    kinds = {path: getattr(values, "dtype", type(values)) for path, values in records.columns.items()}
    assert kinds == {
        "t": Texts, "w": Words, "i": np.uint8, "l": np.int64, "f": np.float64, "m": np.float64, "b": np.bool_,
    }  # fmt: skip
    for path in "twilfmb":
        assert column(records, path) == [line[path] for line in lines]


def test_a_change_of_type_midstream_costs_nothing():
    """Values of any type may follow values of another; each is read as it was written."""
    reader = JsonLines(["v", "n.x"])
    stream = [1, "a", 0.5, None, True, [1], {"k": 1}, 10**30, "b", 2, 300, "a", 2**60, 1.5]
    for size in (1, 3, 14):
        for start in range(0, len(stream), size):
            part = stream[start : start + size]
            found = column(read([{"v": v, "n": {"x": v} if v != "b" else v} for v in part], reader=reader), "v")
            assert [(type(one), one) for one in found] == [(type(one), one) for one in part] or all(
                isinstance(one, (int, float)) for one in part
            )
            assert found == part


def test_a_key_that_vanishes_and_returns():
    """A missing key is None in its rows only."""
    reader = JsonLines(["a", "b"])
    read([{"a": 1, "b": "x"}] * 8, reader=reader)
    records = read([{"a": 1}, {"b": "x"}, {}, {"a": 2, "b": "y"}], reader=reader)
    assert column(records, "a") == [1, None, None, 2]
    assert column(records, "b") == [None, "x", None, "y"]


def test_large_integers_among_floats_keep_their_digits():
    """An integer that no float can hold is not rounded by the floats beside it, in this block or a later one."""
    reader = JsonLines(["a"])
    for big in (2**53 + 1, 292262729019718291158141749552300847579):
        assert column(read([{"a": 0.5}, {"a": 2}], reader=reader), "a") == [0.5, 2]
        assert column(read([{"a": 0.5}, {"a": big}], reader=reader), "a") == [0.5, big]


def test_large_integers_keep_their_digits_where_a_key_is_missing():
    """Nor is it rounded in a block of which some rows lack the key."""
    big = 2**60 + 1
    reader = JsonLines(["a"])
    for values in ([0.5, 2], [0.5, big, None], [big, None, 0.5], [0.5, big]):
        lines = [{} if one is None else {"a": one} for one in values]
        assert column(read(lines, reader=reader), "a") == values


@pytest.mark.parametrize("big", [{"a": {"b": 2**53 + 1}}, {"a.b": 2**53 + 1}], ids=["nested", "flat"])
@pytest.mark.parametrize(
    "rest", [[], [{}], [{"a": {"b": 0.5}}, {"a.b": 2}, {}]], ids=["alone", "beside none", "mixed"]
)
def test_large_integers_keep_their_digits_where_a_path_is_both_flat_and_nested(big, rest):
    """Whichever of the two holds it, and whichever is missing from the other rows of its block."""
    reader = JsonLines(["a.b"])
    for _ in range(2):
        read([{"a": {"b": 0.5}, "a.b": 0.25}, {"a": {"b": 2}, "a.b": 3}], reader=reader)
        (first, *_) = column(read([big, *rest], reader=reader), "a.b")
        assert first == 2**53 + 1
        assert isinstance(first, int)


@pytest.mark.parametrize("count", [1, 15, 16, 65_535, 65_536])
def test_floats_are_those_that_json_reads_however_many_there_are(count):
    """Not a bit of a float is lost, in a block of any length, with integers of any size among them or with none."""
    rng = np.random.default_rng(count)
    floats = rng.standard_normal(count) * 10.0 ** rng.integers(-300, 14, count)
    floats[0] = -0.0
    mixed = [at << at % 30 if at % 3 else float(value) for at, value in enumerate(floats)]
    reader = JsonLines(["a"])
    for values in (floats.tolist(), floats.tolist(), mixed, mixed):
        found = read([{"a": value} for value in values], reader=reader).columns["a"]
        assert found.dtype == np.float64
        assert found.tobytes() == np.array(values, np.float64).tobytes()
    assert column(read([{"a": 0.5}, {}] * count, reader=reader), "a") == [0.5, None] * count


def test_words_that_stop_repeating_become_texts():
    """A column that looked like classes may turn into ids."""
    reader = JsonLines(["a"])
    read([{"a": "x"}] * 100, reader=reader)
    many = [{"a": f"id-{at}"} for at in range(200)]
    for _ in range(2):
        assert column(read(many, reader=reader), "a") == [line["a"] for line in many]
    assert isinstance(read(many, reader=reader).columns["a"], Texts)


def test_byte_order_mark_crlf_and_blank_lines():
    """None of them is a record, a fault, or part of a value."""
    block = b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"a":2}\r\n\n\xef\xbb\xbf{"a":3}\n'
    records = read(block, "a")
    assert column(records, "a") == [1, 2, 3]
    assert [records.place(row) for row in range(3)] == ["byte 0", "byte 17", "byte 27"]
    assert not records.refused.counts


def test_places_name_the_byte_where_a_line_starts():
    """The place of a record is the offset of its line, on the fast way too."""
    reader = JsonLines(["a"])
    for _ in range(2):
        records = read(b'{"a":1}\n{"a":22}\n{"a":3}', reader=reader)
        assert [records.place(row) for row in range(3)] == ["byte 0", "byte 8", "byte 17"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a":', "bad_json"),
        (b"nonsense", "bad_json"),
        (b'{"a":1}{"a":2}', "bad_json"),
        (b'{"a":"x\x00y"}', "bad_json"),
        (b"\x00\x00\x00\x00", "bad_json"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_json"),
        (b'{"z":' + b'{"z":' * 100_000 + b"1" + b"}" * 100_001, "bad_json"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "bad_json"),
        (b'{"a":"\xff\xfe"}', "bad_utf8"),
        (b"5", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"[1,2]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"NaN", "not_an_object"),
    ],
)
def test_a_bad_line_is_refused_and_costs_no_other(line, reason):
    """The line is counted under its reason with its offset; the rows around it are read."""
    good = b'{"a":1}\n'
    records = read(good + line + b"\n" + good, "a")
    assert column(records, "a") == [1, 1]
    assert dict(records.refused.counts) == {reason: 1}
    assert reasons(records) == [(reason, "byte 8")]
    assert records.place(1) == f"byte {8 + len(line) + 1}"


def test_bytes_that_are_not_utf8_only_matter_where_they_are_wanted():
    """A row is kept if its bad bytes stand in a value that nobody asked for."""
    records = read(b'{"a":1,"z":"\xff"}\n', "a")
    assert column(records, "a") == [1]


def test_bare_nan_and_infinity_are_read():
    """Python's own spelling of floats that JSON does not have is no fault of the row."""
    records = read(b'{"a":1,"z":NaN}\n{"a":NaN}\n{"a":-Infinity,"b":{"c":"x"}}\n', "a", "b.c")
    assert repr(column(records, "a")) == "[1, nan, -inf]"
    assert column(records, "b.c") == [None, None, "x"]


def test_escaped_surrogates_and_nuls_survive():
    """A lone surrogate, which Python's json writes, is read as it stands."""
    records = read(b'{"a":"\\ud800"}\n{"a":"\\u0000"}\n', "a")
    assert column(records, "a") == ["\ud800", "\x00"]


def test_a_real_bentoml_log(request):
    """Ids stay decimal texts, and the second record shape in the file is read beside the first."""
    path = request.config.rootpath / "tests/data/bentoml/monitoring/numpy_values/data/data.1.log"
    records = read(path.read_bytes(), "request_id", "score", "score_benign", "vec", "maybe_nan")
    assert column(records, "request_id")[0] == "17221584253306969720"
    assert column(records, "score")[:3] == ["0.99993825", "0.99993825", None]
    assert column(records, "score_benign")[2] == 1.89439732023339e-05
    assert column(records, "vec")[0] == "[1. 2.]"
    assert not records.refused.counts
    assert records.count == 5


def test_no_paths_still_count_records():
    """A mapping of constants only asks for no path; its records are counted all the same."""
    assert read([{"a": 1}, {}]).count == 2


def test_texts_where_objects_were_expected():
    """Objects and repeated texts may take turns at one place."""
    lines = [{"a": "x"}, {"a": {"b": 1}}, {"a": "x"}, {"a": "x"}]
    reader = JsonLines(["a.b"])
    read([{"a": "x"}] * 8, reader=reader)
    for _ in range(2):
        assert column(read(lines, reader=reader), "a.b") == [None, 1, None, None]
