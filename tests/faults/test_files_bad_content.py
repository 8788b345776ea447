"""Content that is half-written, broken, oversized, or of another shape than before."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from exporter.contracts import Deadline
from exporter.errors import SourceDataError, SourceTimeout


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "x.jsonl"


def test_half_written_line(log, reads, lines):
    """A line without its end waits outside the committed offset, and is read once when it is whole."""
    whole = lines(1, 2)
    log.write_bytes(whole[:-7])
    labels = reads(log)
    assert labels.drain() == ["1"]
    assert labels.cursor["files"][0]["offset"] == len(lines(1))
    assert labels.drain() == []
    labels.restart()
    append(log, whole[-7:-3])
    assert labels.drain() == []
    append(log, whole[-3:])
    assert labels.drain() == ["2"]
    assert labels.refused == {}


def test_half_written_line_is_never_taken_for_a_whole_one(log, reads, lines, hands):
    """However long half a JSON object lies there, it is neither read nor refused."""
    log.write_bytes(lines(1) + lines(2)[:-7])
    labels = reads(log)
    hands.wall = log.stat().st_mtime + 1e6
    assert labels.drain() == ["1"]
    assert labels.drain() == []
    append(log, lines(2)[-7:])
    assert labels.drain() == ["2"]
    assert labels.refused == {}


def test_last_line_without_its_end(log, reads, lines, hands):
    """A whole JSON object that stays without a line end is read after a while, and not again when the end comes."""
    log.write_bytes(lines(1, 2)[:-1])
    hands.wall = log.stat().st_mtime
    labels = reads(log)
    assert labels.drain() == ["1"]
    hands.wall += 6
    assert labels.drain() == ["2"]
    append(log, b"\n" + lines(3))
    assert labels.drain() == ["3"]


def test_last_csv_line_without_its_end(tmp_path, reads, hands):
    """A CSV row without a line end may be half a row: it is taken only where `settle` says when a file is finished."""
    table = tmp_path / "x.csv"
    table.write_bytes(b"id,y\n1,a\n2,b")
    hands.wall = table.stat().st_mtime + 1e6
    assert reads(table).drain() == ["1"]
    hands.wall = table.stat().st_mtime + 9
    settled = reads(table, settle=10.0)
    assert settled.drain() == ["1"]
    hands.wall += 2
    assert settled.drain() == ["2"]


def test_bad_utf8_nul_bom_crlf(log, reads, lines):
    """Lines that cannot be read are refused with file and offset, the others are read."""
    good = [line + b"\n" for line in lines(1, 2, 3, 4).splitlines()]
    bad = b'{"id": "\xff", "y": "a"}\n'
    nul = b'{"id": "5", "y": "\0"}\n'
    content = b"\xef\xbb\xbf" + good[0] + bad + good[1].replace(b"\n", b"\r\n") + nul + b"\n" + good[2] + b"[]\n"
    log.write_bytes(content)
    labels = reads(log)
    assert labels.drain() == ["1", "2", "3"]
    assert labels.refused == {"bad_utf8": 1, "bad_json": 1, "not_an_object": 1}
    assert labels.places == [f"{log}, byte {content.index(start)}" for start in (bad, nul, b"[]")]
    append(log, good[3])
    assert labels.drain() == ["4"]


def test_bom_that_is_half_written(log, reads, lines):
    """The first bytes of a byte-order mark wait for the others."""
    content = b"\xef\xbb\xbf" + lines(1)
    log.write_bytes(content[:2])
    labels = reads(log)
    assert labels.drain() == []
    log.write_bytes(content)
    assert labels.drain() == ["1"]
    assert labels.refused == {}


def test_line_longer_than_allowed(log, reads, lines):
    """A line beyond `line_bytes` is refused once, wherever polls and restarts cut it, and the next ones are read."""
    long = lines(2, padding=300_000)
    log.write_bytes(lines(1) + long + lines(3))
    labels = reads(log, line_bytes=200_000, block_bytes=8192)
    assert labels.drain() == ["1", "3"]
    assert labels.refused == {"line_too_long": 1}
    assert labels.places == [f"{log}, byte {len(lines(1))}"]
    append(log, long[:250_000])
    assert labels.drain() == []
    labels.restart()
    append(log, long[250_000:] + lines(4))
    assert labels.drain() == ["4"]
    assert labels.refused == {"line_too_long": 2}


def test_line_as_long_as_allowed(log, reads, lines):
    """A line of exactly `line_bytes` is read, one more byte is too much."""
    line = lines(1, padding=3000)
    log.write_bytes(line)
    assert reads(log, line_bytes=len(line)).drain() == ["1"]
    assert reads(log, line_bytes=len(line) - 1).drain() == []


def test_line_of_100_mb(tmp_path, reads, lines):
    """A line of 100 MB costs less than 40 MB of memory, plain and gzip'd."""
    log = tmp_path / "x.jsonl"
    with log.open("wb") as file:
        file.write(lines(1))
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + lines(2))
    with log.open("rb") as plain, gzip.open(tmp_path / "y.jsonl.gz", "wb", compresslevel=1) as packed:
        while block := plain.read(1 << 20):
            packed.write(block)
    for path in (log, tmp_path / "y.jsonl.gz"):
        program = textwrap.dedent(f"""
            import json, resource
            from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
            from exporter.sources.files import Files
            from exporter.sources.mapping import Mapper

            def peak():  # of this process alone: ru_maxrss would hold what its parent had
                return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

            fields = {{"id": FieldSpec(field="id"), "actual": FieldSpec(field="y")}}
            mapper = Mapper(MappingSpec(role="labels", fields=fields), ModelSpec(name="m"), Clock(), keep_ids=True)
            files = Files(Files.Config(path={str(path)!r}), mapper, name="labels", clock=Clock())
            Files(Files.Config(path="/dev/null/*.jsonl"), mapper, name="", clock=Clock()).poll(None, Deadline(1e99))
            before, cursor, ids, refused, more = peak(), None, [], 0, True
            while more:
                poll = files.poll(cursor, Deadline(1e99))
                cursor, more = poll.cursor, poll.more
                if poll.batch is not None:
                    ids += poll.batch.ids
                    refused += poll.batch.refused.counts["line_too_long"]
            print(json.dumps([ids, refused, (peak() - before) / 1024]))
        """)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        ids, refused, megabytes = json.loads(done.stdout)
        assert (ids, refused) == (["1", "2"], 1)
        assert megabytes < 40


def test_zeros_at_the_end_after_a_power_cut(log, reads, lines):
    """Zeros in place of lost lines are one refused line; what is written after them is read."""
    log.write_bytes(lines(1) + bytes(5000) + b"\n" + lines(2))
    labels = reads(log)
    assert labels.drain() == ["1", "2"]
    assert labels.refused == {"bad_json": 1}


def test_schema_change_in_the_middle_of_json_lines(log, reads, lines):
    """Records of another shape are refused or read, each on its own, from the line where the shape changes."""
    other = json.dumps({"identity": 7, "label": "a"}).encode() + b"\n"
    nested = json.dumps({"id": {"x": 1}, "y": ["a"]}).encode() + b"\n"
    numeric = json.dumps({"id": 8, "y": "a", "new": {"deep": [1]}}).encode() + b"\n"
    log.write_bytes(lines(1) + other + nested + numeric + lines(2))
    labels = reads(log)
    assert labels.drain() == ["1", "8", "2"]
    assert sum(labels.refused.values()) == 2


def test_schema_change_between_csv_files(tmp_path, reads):
    """Each CSV file is read by its own header, also when its columns changed with the rotation."""
    log = tmp_path / "x.csv"
    log.write_bytes(b"id,y\n1,a\n")
    labels = reads(log)
    assert labels.drain() == ["1"]
    append(log, b"2,a\n")
    log.rename(tmp_path / "x.csv.1")
    log.write_bytes(b"y;when;id\na;x;3\n")
    assert labels.drain() == ["2", "3"]
    append(log, b"a;x;4\n")
    labels.restart()
    assert labels.drain() == ["4"]
    assert labels.refused == {}


def test_csv_header_that_is_half_written(tmp_path, reads):
    """Rows wait for a whole header."""
    log = tmp_path / "x.csv"
    log.write_bytes(b"id,")
    labels = reads(log)
    assert labels.drain() == []
    append(log, b"y\n1,a\n")
    assert labels.drain() == ["1"]


def test_broken_gzip(tmp_path, reads, lines):
    """What comes before the damage is read, then the source says so until the file is written again."""
    first, second = gzip.compress(lines(*range(5_000))), gzip.compress(lines(5_000))
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(first + second[:2] + b"\xee" + second[3:])
    labels = reads(path)
    assert labels.poll() == [str(number) for number in range(5_000)]
    for _ in range(2):
        with pytest.raises(SourceDataError, match="broken gzip"):
            labels.poll()
    path.write_bytes(first + second)
    assert labels.drain() == ["5000"]


def test_deadline_that_passes_while_reading(log, reads, lines, hands):
    """A poll whose time is up gives what it has; one that had no time at all says so and loses nothing."""
    log.write_bytes(lines(1))
    labels = reads(log)
    with pytest.raises(SourceTimeout):
        labels.files.poll(None, Deadline(hands.monotonic, labels.clock))
    assert labels.drain() == ["1"]


def test_slow_decompression_goes_on_with_the_next_poll(tmp_path, reads, lines, hands, monkeypatch):
    """A .gz that takes longer than one poll to get back to its place gets there over several polls."""
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(lines(*range(60_000)), compresslevel=1))
    labels = reads(path)
    assert len(labels.drain()) == 60_000
    append(path, gzip.compress(lines(60_000)))
    labels.restart()
    ticks = iter(range(10**6))
    real = labels.clock

    class Ticking:
        wall = staticmethod(real.wall)
        monotonic = staticmethod(lambda: float(next(ticks)))

    timeouts = 0
    for _ in range(50):
        try:
            poll = labels.files.poll(labels.cursor, Deadline(next(ticks) + 6.0, Ticking()))
        except SourceTimeout:
            timeouts += 1
            continue
        break
    assert timeouts > 1
    assert list(poll.batch.ids) == ["60000"]


def open_files(folder):
    """How many descriptors this process has of files in *folder*, deleted ones included."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, by a thread that has nothing to do with this
            links.append(descriptor.readlink())
    return sum(link.is_relative_to(folder) for link in links)


def test_descriptors_stay_constant_over_1000_polls_with_rotation(log, reads, lines, hands):
    """Rotating, compressing, deleting and failing leave no descriptor behind."""
    log.write_bytes(lines(0))
    labels = reads(log)
    labels.drain()
    old = [log.with_name(f"x.jsonl.{number}") for number in range(3)]
    opened = set()
    for turn in range(1, 1001):
        append(log, lines(turn))
        if turn % 5 == 0:
            for older, newer in ((old[1], old[2]), (old[0], old[1]), (log, old[0])):
                if older.exists():
                    older.replace(newer)
            append(old[0], lines(f"{turn}b"))
            append(log, lines(f"{turn}c"))
        expected = 3 if turn % 5 == 0 else 1
        assert len(labels.drain()) == expected
        opened.add(open_files(log.parent))
        hands.monotonic += 20
    assert len(labels.cursor["files"]) + len(labels.cursor["gone"]) <= 1010
    assert min(opened) > 0
    assert max(opened) <= 5
    labels.files.close()
    assert not open_files(log.parent)
