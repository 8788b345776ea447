"""The files source: config, formats by name, order, globs, where the first start begins."""

from __future__ import annotations

import gzip
import os

import msgspec
import pytest

from exporter.contracts import Clock, FieldSpec, MappingSpec, ModelSpec, Source
from exporter.errors import SourceDataError, SourceUnavailable
from exporter.sources.files import Files
from exporter.sources.finding import descends, format_of, log_of
from exporter.sources.mapping import Mapper


def at(path, second, content):
    """Write *content* with a change time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (second, second))


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.jsonl", "jsonl"),
        ("a.NDJSON", "jsonl"),
        ("a.json.gz", "jsonl"),
        ("data.1.log", "jsonl"),
        ("data.1.log.2026-11-22", "jsonl"),
        ("a.log.1", "jsonl"),
        ("a.log.3.gz", "jsonl"),
        ("a.log-20261122.gz", "jsonl"),
        ("a.log.old", "jsonl"),
        ("a-2026-11-22.csv", "csv"),
        ("a.tsv.gz", "csv"),
        ("a.parquet", "parquet"),
        ("a.npy", "numpy"),
        ("a.npz", "numpy"),
        ("a.txt", None),
        ("a", None),
        ("logs.csv/a", None),
    ],
)
def test_format_by_ending(name, format_):
    """The ending tells the format, also behind what rotation and compression add."""
    assert format_of(f"/var/log/{name}") == format_


@pytest.mark.parametrize(
    ("path", "log"),
    [
        ("/d/x.log", "/d/x.log"),
        ("/d/x.log.1", "/d/x.log"),
        ("/d/x.log.12.gz", "/d/x.log"),
        ("/d/x.log-20261122-1763769600", "/d/x.log"),
        ("/d/x.log.2026-11-22_04-32", "/d/x.log"),
        ("/d/data.1.log", "/d/data.1.log"),
        ("/d/part-0001", "/d/part-0001"),
        ("/d/x-2026.csv.gz", "/d/x-2026.csv"),
    ],
)
def test_log_that_a_rotated_file_belongs_to(path, log):
    """A rotated file is traced to its log's path, a name that only ends with a number is its own."""
    assert log_of(path) == log
    assert descends(path, log) == (path != log)


@pytest.mark.parametrize("other", ["x.log.audit", "x.log1", "x.logs", "y.log.1", "x.log.1.bak", "x"])
def test_foreign_names(other):
    """Only what rotation adds makes a name a generation of a log."""
    assert not descends(f"/d/{other}", "/d/x.log")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"path": ""}, "path is empty"),
        ({"path": []}, "path is empty"),
        ({"path": "a.txt"}, "the ending of a.txt tells no format; set format to one of jsonl, csv, parquet, numpy"),
        ({"path": "*.txt", "format": "xml"}, "format must be one of jsonl, csv"),
        ({"path": "a.log", "line_bytes": 10}, "line_bytes"),
        ({"path": "a.log", "paths": "b.log"}, "paths"),
    ],
)
def test_config_that_cannot_be(config, message):
    """A wrong config is refused with what to write instead."""
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(config, Files.Config)


def test_source_protocol(tmp_path, reads):
    """Files is a Source."""
    assert isinstance(reads(tmp_path / "x.log").files, Source)


def test_order_of_unread_files(tmp_path, reads, lines):
    """Unread files come in the order of their last change, then of their names, several of them in one poll."""
    at(tmp_path / "b.jsonl", 100, lines(1))
    at(tmp_path / "c.jsonl", 300, lines(4))
    at(tmp_path / "a.jsonl", 200, lines(2))
    at(tmp_path / "z" / "y" / "a.jsonl", 200, lines(3))
    labels = reads(tmp_path / "**" / "*.jsonl")
    assert labels.poll() == ["1", "2", "3", "4"]
    assert not labels.more


def test_list_of_paths_and_symbolic_links(tmp_path, reads, lines):
    """Several paths are one source; a file that is reached by two names is read once."""
    at(tmp_path / "a.jsonl", 1, lines(1))
    at(tmp_path / "b.jsonl", 2, lines(2))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "b.jsonl")
    os.link(tmp_path / "a.jsonl", tmp_path / "hard.jsonl")
    labels = reads([tmp_path / "a.jsonl", tmp_path / "*.jsonl", tmp_path / "link.jsonl"])
    assert labels.drain() == ["1", "2"]
    assert labels.drain() == []


def test_rotation_behind_a_symbolic_link(tmp_path, reads, lines):
    """A container's log is reached through a link and rotated where it lies."""
    log = tmp_path / "pods" / "0.log"
    at(log, 1, lines(1))
    (tmp_path / "app.log").symlink_to(log)
    labels = reads(tmp_path / "app.log")
    assert labels.drain() == ["1"]
    labels.restart()
    with log.open("ab") as file:
        file.write(lines(2))
    log.rename(log.with_name("0.log.20261122-043210"))
    log.write_bytes(lines(3))
    assert labels.drain() == ["2", "3"]


def test_hidden_files_are_not_matched(tmp_path, reads, lines):
    """A glob passes hidden files by, as a shell does, unless it asks for them."""
    at(tmp_path / ".a.jsonl", 1, lines(1))
    assert reads(tmp_path / "*.jsonl").drain() == []
    assert reads(tmp_path / ".*.jsonl").drain() == ["1"]


def test_formats_side_by_side(tmp_path, reads, lines):
    """One glob may match several formats, each is read by its own; an unknown one is said, not read."""
    at(tmp_path / "a.jsonl", 1, lines(1))
    at(tmp_path / "b.csv", 2, b"id,y\n2,a\n")
    at(tmp_path / "c.csv.gz", 3, gzip.compress(b"id,y\n3,a\n"))
    at(tmp_path / "d.csv", 4, b"y,id\na,4\n")
    at(tmp_path / "e.txt", 5, lines(5))
    labels = reads(tmp_path / "*")
    assert labels.drain() == ["1", "2", "3", "4"]
    (path,) = labels.files.failing
    assert path == str(tmp_path / "e.txt")


def test_configured_format(tmp_path, reads, lines):
    """`format` reads files of any ending."""
    at(tmp_path / "a.txt", 1, lines(1))
    assert reads(tmp_path / "a.txt", format="jsonl").drain() == ["1"]


def test_gzipped_table_is_refused(tmp_path, reads):
    """A table inside gzip is no growing file, and is said to be unreadable."""
    at(tmp_path / "a.parquet.gz", 1, gzip.compress(b"PAR1"))
    with pytest.raises(SourceDataError, match="unpack it"):
        reads(tmp_path / "*").poll()


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_block_size_does_not_matter(tmp_path, reads, lines, ending):
    """Whatever the size of blocks, the same lines are read."""
    content = b"".join(lines(number, padding=number * 7919 % 600) for number in range(2000))
    at(tmp_path / f"a.{ending}", 1, gzip.compress(content) if ending.endswith("gz") else content)
    for size in (4096, 65_536, 1 << 20):
        assert reads(tmp_path / f"a.{ending}", block_bytes=size).drain() == [str(number) for number in range(2000)]


def test_two_gzip_members_longer_than_a_chunk(tmp_path, reads, lines):
    """Concatenated gzip members and zero padding between them are one file."""
    parts = [gzip.compress(lines(*range(start, start + 20_000))) for start in (0, 20_000)]
    at(tmp_path / "a.jsonl.gz", 1, bytes(512).join(parts) + bytes(512))
    assert reads(tmp_path / "a.jsonl.gz").drain() == [str(number) for number in range(40_000)]


def test_start_at_the_end(tmp_path, reads, lines):
    """With a look-back of 0 only what is written after the first poll is read, of files old and new."""
    log = tmp_path / "a.jsonl"
    at(log, 100, lines(1) + lines(2)[:-5])
    at(tmp_path / "old.jsonl.gz", 50, gzip.compress(lines(9)))
    labels = reads(tmp_path / "*.jsonl*", lookback=0.0)
    assert labels.drain() == []
    labels.restart()
    with log.open("ab") as file:
        file.write(lines(2)[-5:] + lines(3))
    at(tmp_path / "b.jsonl", 200, lines(4))
    assert sorted(labels.drain()) == ["3", "4"]
    assert labels.refused == {}


def test_start_at_the_end_of_nothing(tmp_path, reads, lines):
    """With a look-back of 0, a file that appears after the first poll is read from its beginning."""
    labels = reads(tmp_path / "*.jsonl", lookback=0.0)
    assert labels.drain() == []
    at(tmp_path / "a.jsonl", 100, lines(1))
    assert labels.drain() == ["1"]


def test_lookback(tmp_path, reads, lines, hands):
    """The first start passes by files last written before the look-back; what is added to them later is read."""
    hands.wall = 1000.0
    at(tmp_path / "old.jsonl", 100, lines(1))
    at(tmp_path / "new.jsonl", 900, lines(2))
    labels = reads(tmp_path / "*.jsonl", lookback=200.0)
    assert labels.drain() == ["2"]
    at(tmp_path / "old.jsonl", 1000, lines(1, 3))
    assert labels.drain() == ["3"]


def test_cursor_of_another_source(tmp_path, reads, lines):
    """A cursor that this source did not write is named as such."""
    at(tmp_path / "a.jsonl", 1, lines(1))
    labels = reads(tmp_path / "a.jsonl")
    labels.cursor = {"after": 7}
    with pytest.raises(SourceDataError, match="not one of the files source"):
        labels.poll()


def test_thousands_of_read_files_are_not_opened_again(tmp_path, reads, lines, monkeypatch):
    """An idle poll looks at files that were read, but opens none, also after a restart."""
    for number in range(2000):
        (tmp_path / f"{number}.jsonl").write_bytes(lines(number))
    labels = reads(tmp_path / "*.jsonl")
    assert len(labels.drain()) == 2000
    labels.restart()
    real, opened = os.open, []

    def counted(path, *rest, **words):
        opened.append(path)
        return real(path, *rest, **words)

    monkeypatch.setattr(os, "open", counted)
    assert labels.drain() == []
    assert opened == []


def test_unchanged_files_leave_the_cursor_alone(tmp_path, reads, lines):
    """Without anything new a poll gives back the very cursor, so that nothing has to be saved."""
    at(tmp_path / "a.jsonl", 1, lines(1))
    labels = reads(tmp_path / "a.jsonl")
    labels.drain()
    poll = labels.files.poll(labels.cursor, _soon(labels.clock))
    assert poll.cursor is labels.cursor
    assert (poll.batch, poll.more) == (None, False)


def test_deleted_files_leave_the_cursor_small(tmp_path, reads, lines):
    """Of files that are gone only the last thousand contents are remembered."""
    labels = reads(tmp_path / "*.jsonl")
    for start in range(0, 1500, 500):
        for number in range(start, start + 500):
            (tmp_path / f"{number}.jsonl").write_bytes(lines(number))
        assert len(labels.drain()) == 500
        labels.restart()
        for path in tmp_path.iterdir():
            path.unlink()
    labels.drain()
    assert (len(labels.cursor["files"]), len(labels.cursor["gone"])) == (0, 1000)


def test_failures_are_logged_once(tmp_path, reads, lines, caplog):
    """What cannot be read is logged when it begins and when it ends, not at each poll."""
    caplog.set_level("INFO", "exporter")
    at(tmp_path / "a.jsonl", 1, lines(1))
    at(tmp_path / "b.jsonl.gz", 2, b"no gzip at all")
    labels = reads(tmp_path / "*.jsonl*")
    labels.drain()
    labels.drain()
    (record,) = caplog.records
    assert "broken gzip" in record.getMessage()
    at(tmp_path / "b.jsonl.gz", 3, gzip.compress(lines(2)))
    assert labels.drain() == ["2"]
    assert len(caplog.records) == 2


def test_name_that_is_not_utf8(tmp_path, reads, lines):
    """A file whose name cannot stand in a cursor is named, and the others are read."""
    with open(os.fsencode(tmp_path) + b"/\xff.jsonl", "wb") as file:  # noqa: PTH123  pathlib has no byte paths
        file.write(lines(1))
    at(tmp_path / "a.jsonl", 1, lines(2))
    labels = reads(tmp_path / "*.jsonl")
    assert labels.drain() == ["2"]
    assert "rename the file" in str(next(iter(labels.files.failing.values())))


def test_relative_path(tmp_path, lines, monkeypatch, reads):
    """Paths are taken from the working directory, in globs too."""
    monkeypatch.chdir(tmp_path)
    at(tmp_path / "a.jsonl", 1, lines(1))
    for path in ("a.jsonl", "*.jsonl", "./*.jsonl", "**/*.jsonl"):
        assert reads(path).drain() == ["1"]


def test_constructor():
    """The source is made from its config, a mapper, a name and a clock, and touches no file before it is polled."""
    mapper = Mapper(MappingSpec(role="labels", fields={"id": FieldSpec(field="id")}), ModelSpec(name="m"), Clock())
    files = Files(Files.Config(path="/nowhere/x.jsonl"), mapper, name="labels", clock=Clock())
    with pytest.raises(SourceUnavailable, match="no such file"):
        files.poll(None, _soon(Clock()))
    files.close()
    files.close()


def _soon(clock):
    from exporter.contracts import Deadline

    return Deadline(clock.monotonic() + 60, clock)
