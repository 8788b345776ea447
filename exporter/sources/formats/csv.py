"""CSV with a header: delimiter found from the header, quoting as in RFC 4180, all values texts."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from exporter.contracts import Refusals
from exporter.sources.records import Column, Records, Texts

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t|"
_LONGEST = 1 << 20
"""A record still within quotes after so many bytes has a stray quote, not a long text."""


def _quoted(delimiters: str) -> re.Pattern[bytes]:
    """A cell in quotes, up to the end of the text where they are not closed; group 1 is the closing quote."""
    return re.compile(rb"(?:(?<=[" + re.escape(delimiters.encode()) + rb'\n])|\A)"[^"]*(?:""[^"]*)*("|\Z)')


class Csv:
    """Reads CSV whose first line names the columns; an empty cell is no value.

    The delimiter is the one of `,` `;` tab and `|` that the header has most of.  A wanted path is the name of a
    column, dots and all.  A row of more or fewer cells than the header is refused as `wrong_columns`; one with NUL
    bytes, stray carriage returns or a quote that never closes as `bad_csv`; one with bytes that are not UTF-8 in
    a wanted cell as `bad_utf8`.
    """

    has_header = True

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._pattern = _quoted(_DELIMITERS)
        csv.field_size_limit(1 << 27)  # one cell of a megabyte must not cost the rows beside it

    def complete(self, block: bytes) -> int:
        end = self._masked(block).rfind(b"\n") + 1
        return end or (block.find(b"\n") + 1 if len(block) > _LONGEST else 0)

    def decode(self, block: bytes | memoryview, place: Callable[[int], str], header: bytes = b"") -> Records:
        block = bytes(block)
        names, delimiter = columns_of(header)
        self._pattern = _quoted(delimiter)
        rows = _plain_rows(block, delimiter, len(names))
        starts: list[int] = []
        refused = Refusals()
        wanted = {path: names.index(path) for path in self._paths if path in names}
        if rows is None:
            rows = []
            for start, record in self._records(block):
                row = _row(record, delimiter, len(names), set(wanted.values()), self._pattern)
                if isinstance(row, str):
                    refused.add(row, place(start))
                else:
                    rows.append(row)
                    starts.append(start)
        columns: dict[str, Column] = {
            path: Texts([row[wanted[path]] or None for row in rows] if path in wanted else [None] * len(rows))
            for path in self._paths
        }

        def place_of(row: int) -> str:
            if not starts:
                starts.extend(start for start, _ in self._records(block))
            return place(starts[row])

        return Records(columns, len(rows), place_of, refused)

    def _masked(self, block: bytes) -> bytes:
        """*block* of the same length, in which only the newlines between records are left."""
        text = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(text == ord('"'))
        before = np.searchsorted(quotes, np.flatnonzero(text == ord("\n")))
        if not len(quotes) % 2 and not (before % 2).any():
            return block  # as many quotes open as close in every line
        return self._pattern.sub(lambda cell: b'"' * len(cell[0]), block)

    def _records(self, block: bytes) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of each record, blank lines left out."""
        start = 0
        for masked in self._masked(block).split(b"\n"):
            record = block[start : start + len(masked)].removeprefix(_BOM).removesuffix(b"\r")
            if record.strip():
                yield start, record
            start += len(masked) + 1


def columns_of(header: bytes) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter between them."""
    line = header.removeprefix(_BOM).decode("utf-8", "replace").rstrip("\r\n")
    delimiter = max(_DELIMITERS, key=line.count)
    return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])], delimiter


def _plain_rows(block: bytes, delimiter: str, width: int) -> list[list[str]] | None:
    """The cells of every row, if nothing is wrong with any."""
    if b"\x00" in block or block.startswith(_BOM):
        return None
    try:
        rows = list(csv.reader(io.StringIO(block.decode(), newline="\n"), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    return rows if set(map(len, rows)) <= {width} else None


def _row(record: bytes, delimiter: str, width: int, wanted: set[int], quoted: re.Pattern[bytes]) -> list[str] | str:
    """The cells of one *record*, or why there are none."""
    text = record.decode("utf-8", "surrogateescape")
    try:
        row = next(csv.reader([text], delimiter=delimiter))
    except csv.Error:
        return "bad_csv"
    if b"\x00" in record or any(not cell[1] for cell in quoted.finditer(record)):
        return "bad_csv"
    if len(row) != width:
        return "wrong_columns"
    if any("\udc80" <= letter <= "\udcff" for at in wanted for letter in row[at]):
        return "bad_utf8"
    return row
