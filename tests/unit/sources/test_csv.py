"""CSV as columns: texts, delimiters, headers, and lines that are no records."""

import csv
import io

import pytest

from exporter.sources.formats.csv import Csv


def read(block, header=b"a,b\n", paths=("a", "b")):
    return Csv(paths).decode(block, "byte {}".format, header)


def rows(records):
    return list(zip(*records.columns.values(), strict=True))


def test_all_values_are_texts_and_empty_cells_are_none():
    """CSV knows no types: 1 and true stay texts; what is empty is absent."""
    assert rows(read(b"1,true\n,x\n")) == [("1", "true"), (None, "x")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_from_the_header(delimiter):
    """Commas, semicolons, tabs and bars are told apart by the header alone."""
    header = delimiter.join(["a", "c", "b"]).encode() + b"\r\n"
    block = delimiter.join(["1", "x,y;z"[:1], "2"]).encode() + b"\r\n"
    assert rows(read(block, header)) == [("1", "2")]


def test_a_header_with_a_byte_order_mark_spaces_and_dots():
    """A mark and blanks are no part of a name; dots are."""
    records = read(b"1,2\n", b"\xef\xbb\xbf a.b , c \n", ("a.b", "c", "d"))
    assert rows(records) == [("1", "2", None)]


def test_quotes_newlines_and_doubled_quotes():
    """A quoted cell may hold delimiters, newlines and quotes."""
    block = b'"x,1","y\nz"\r\n"say ""hi""",5" pipe\n'
    assert rows(read(block)) == [("x,1", "y\nz"), ('say "hi"', '5" pipe')]


@pytest.mark.parametrize(
    ("block", "whole"),
    [
        (b"a,b\nc", 4),
        (b'a,"b\nc', 0),
        (b'a,"b\nc"\n', 8),
        (b'1,2\na,"b\nc', 4),
        (b'1,2\na,"b\nc",d', 4),
        (b'1,5" x\n', 7),
        (b'1,"x ""y\n"""\n2', 13),
        (b"", 0),
    ],
)
def test_complete_does_not_cut_inside_quotes(block, whole):
    """A record ends at a newline that is not within quotes."""
    assert Csv(["a"]).complete(block) == whole


def test_every_cut_of_a_file_gives_the_same_rows():
    """However many bytes have arrived, whole records are given out once and unfinished ones wait."""
    stream = io.StringIO(newline="")
    table = [["1", "x\ny"], ["2", 'q"q'], ["3", "a,b"], ["4", "\n"], ["5", "z"]]
    csv.writer(stream).writerows(table)
    data = stream.getvalue().encode()
    for size in range(1, len(data) + 1):
        reader, held, found = Csv(["a", "b"]), b"", []
        for start in range(0, len(data), size):
            held += data[start : start + size]
            end = reader.complete(held)
            found += rows(reader.decode(held[:end], str, b"a,b\n"))
            held = held[end:]
        assert found == [tuple(row) for row in table]
        assert not held


def test_a_quote_that_never_closes_costs_its_line_only():
    """Beyond a megabyte an open quote is taken for a stray one, so that the lines after it are read."""
    reader = Csv(["a", "b"])
    block = b'1,"open\n' + b"2,3\n" * 300_000
    first = reader.complete(block)
    assert first == 8
    records = reader.decode(block[:first], "byte {}".format, b"a,b\n")
    assert dict(records.refused.counts) == {"bad_csv": 1}
    assert reader.complete(block[first:]) == len(block) - first


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1", "wrong_columns"),
        (b"1,2,3", "wrong_columns"),
        (b"1,\xff", "bad_utf8"),
        (b"1,a\x00b", "bad_csv"),
        (b"1,a\rb", "bad_csv"),
    ],
)
def test_a_bad_row_is_refused_and_costs_no_other(line, reason):
    """The row is counted under its reason with its offset; rows and places around it hold."""
    records = read(b'"a\nb",2\n' + line + b"\n5,6\n")
    assert rows(records) == [("a\nb", "2"), ("5", "6")]
    assert [(one.reason, one.place) for one in records.refused.examples] == [(reason, "byte 8")]
    assert [records.place(row) for row in range(2)] == ["byte 0", f"byte {9 + len(line)}"]


def test_places_without_faults():
    """Places count bytes, not letters, also behind a cell of several lines."""
    records = read('"ü\n",2\n3,4\n'.encode())
    assert [records.place(row) for row in range(2)] == ["byte 0", "byte 8"]


def test_blank_lines_and_bytes_nobody_wants():
    """Blank lines are no records; bad bytes in a column that is not wanted do not matter."""
    records = read(b"1,\xff\n\n\r\n2,x\n", paths=("a",))
    assert rows(records) == [("1",), ("2",)]
    assert not records.refused.counts


def test_a_cell_of_a_megabyte_costs_no_other_row():
    """The cell is read; it is for the mapping to refuse it."""
    records = read(b"1," + b"x" * 1_000_000 + b"\n2,y\n")
    assert records.count == 2


def test_a_file_without_a_header():
    """With no header line there is no column, and every row is refused instead of guessed at."""
    assert dict(read(b"1,2\n", b"").refused.counts) == {"wrong_columns": 1}
