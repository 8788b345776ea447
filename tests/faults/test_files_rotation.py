"""Logs that are rotated by renaming, by copying, while nobody looks, and compressed afterwards."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from exporter.errors import SourceUnavailable


@pytest.fixture(params=["x.log", "*.log", "x.log*"])
def pattern(request, tmp_path):
    """The log by its path, by a glob that rotated files do not match, and by one that they do."""
    return tmp_path / request.param


@pytest.fixture
def log(tmp_path):
    return tmp_path / "x.log"


def append(path, data):
    with path.open("ab") as file:
        file.write(data)


def rename(path, ending=".1"):
    return path.rename(f"{path}{ending}")


def compress(path):
    status = path.stat()
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return packed


def test_rename_rotation_writer_follows_at_once(log, pattern, reads, lines):
    """Lines that were unread when the log was renamed, and those of the new file, are read in that order."""
    append(log, lines(1))
    labels = reads(pattern)
    assert labels.drain() == ["1"]
    append(log, lines(2))
    rename(log)
    append(log, lines(3))
    assert labels.drain() == ["2", "3"]


def test_rename_rotation_writer_follows_late(log, pattern, reads, lines):
    """A writer that still holds the renamed file is read on, also after the new file has begun."""
    append(log, lines(1))
    labels = reads(pattern)
    assert labels.drain() == ["1"]
    old = rename(log)
    assert labels.drain() == []
    append(old, lines(2))
    assert labels.drain() == ["2"]
    append(log, lines(3))
    append(old, lines(4))
    assert sorted(labels.drain()) == ["3", "4"]


def test_rename_rotation_to_another_folder(log, reads, lines, tmp_path, hands):
    """A log that is moved out of its folder is read to its end through the open file, and then let go."""
    append(log, lines(1))
    labels = reads(log)
    assert labels.drain() == ["1"]
    (tmp_path / "old").mkdir()
    old = log.rename(tmp_path / "old" / "x.log")
    append(old, lines(2))
    append(log, lines(3))
    assert sorted(labels.drain()) == ["2", "3"]
    append(old, lines(4))
    assert labels.drain() == ["4"]
    hands.monotonic += 30
    assert labels.drain() == []
    hands.monotonic += 61
    assert labels.drain() == []
    assert [entry["path"] for entry in labels.cursor["files"]] == [str(log)]
    assert old not in [descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()]


def test_rotation_while_the_process_is_down(log, pattern, reads, lines):
    """After a restart the renamed file is found by what it is, and read from where it was."""
    append(log, lines(1))
    labels = reads(pattern)
    assert labels.drain() == ["1"]
    labels.restart()
    append(log, lines(2))
    rename(log, ".2026-11-22")
    append(log, lines(3))
    assert labels.drain() == ["2", "3"]


def test_rotation_by_any_name_while_the_process_is_down(log, reads, lines, tmp_path):
    """A rotated file is found by its inode under whatever name, and foreign files beside it are left alone."""
    append(log, lines(1))
    labels = reads(log)
    assert labels.drain() == ["1"]
    labels.restart()
    append(log, lines(2))
    log.rename(tmp_path / "kept aside")
    append(log, lines(3))
    append(tmp_path / "x.log.audit", lines(9))
    assert labels.drain() == ["2", "3"]


def test_rotation_twice_while_the_process_is_down(log, pattern, reads, lines, tmp_path):
    """A file that came and was rotated while nobody looked is read too; older ones, never asked for, are not."""
    if pattern.name != "x.log*":
        append(tmp_path / "x.log.7", lines(0))
        os.utime(tmp_path / "x.log.7", (1, 1))
    append(log, lines(1))
    labels = reads(pattern)
    assert labels.drain() == ["1"]
    labels.restart()
    append(log, lines(2))
    rename(log, ".2")
    append(log, lines(3))
    rename(log, ".1")
    append(log, lines(4))
    assert labels.drain() == ["2", "3", "4"]


def test_rotated_and_compressed_after_it_was_read(log, pattern, reads, lines):
    """A log that was read is known again in its .gz, now and after a restart."""
    append(log, lines(*range(50)))
    labels = reads(pattern)
    assert len(labels.drain()) == 50
    old = rename(log)
    append(log, lines(50))
    assert labels.drain() == ["50"]
    compress(old)
    assert labels.drain() == []
    labels.restart()
    assert labels.drain() == []
    append(log, lines(51))
    assert labels.drain() == ["51"]


def test_rotated_and_compressed_before_it_was_read_to_its_end(log, pattern, reads, lines):
    """The .gz of a log goes on where the log was left while the process was down."""
    append(log, lines(1, 2))
    labels = reads(pattern)
    assert labels.drain() == ["1", "2"]
    labels.restart()
    append(log, lines(3))
    compress(rename(log))
    append(log, lines(4))
    assert labels.drain() == ["3", "4"]


def test_gzip_and_its_original_side_by_side(log, reads, lines, tmp_path):
    """While a log is being compressed both files are there, and each line is read once."""
    append(log, lines(1))
    labels = reads(tmp_path / "x.log*")
    packed = tmp_path / "x.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes())[:-9])
    assert labels.drain() == ["1"]
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert labels.drain() == []
    log.unlink()
    labels.restart()
    assert labels.drain() == []


def test_gzip_that_is_still_written_waits(tmp_path, reads, lines):
    """Of a .gz that is being written whole lines are read as they come; its missing end is no error."""
    content = lines(*range(5000))
    packed = gzip.compress(content)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(packed[:5])
    labels = reads(path)
    assert labels.drain() == []
    path.write_bytes(packed[: len(packed) // 2])
    some = labels.drain()
    assert 0 < len(some) < 5000
    path.write_bytes(packed)
    assert some + labels.drain() == [str(number) for number in range(5000)]
    append(path, gzip.compress(lines(5000)))
    assert labels.drain() == ["5000"]


def test_copy_truncate(log, pattern, reads, lines):
    """What had not been read before the truncation is read from the copy, and the log from its beginning."""
    append(log, lines(1))
    labels = reads(pattern)
    assert labels.drain() == ["1"]
    append(log, lines(2))
    shutil.copy2(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, lines(3))
    assert sorted(labels.drain()) == ["2", "3"]
    assert labels.files.truncations == 1
    append(log, lines(4))
    assert labels.drain() == ["4"]


def test_copy_truncate_of_a_log_that_is_longer_again(log, reads, lines):
    """A log that has outgrown its old size is still seen to be another one."""
    append(log, lines(1))
    labels = reads(log)
    assert labels.drain() == ["1"]
    os.truncate(log, 0)
    append(log, lines(*range(2, 9)))
    assert labels.drain() == [str(number) for number in range(2, 9)]
    assert labels.files.truncations == 1


def test_copy_truncate_under_a_writer_that_keeps_its_offset(log, reads, lines):
    """The zeros that such a writer leaves before its next line are stepped over."""
    with log.open("wb", buffering=0) as writer:
        writer.write(lines(*range(2000)))
        labels = reads(log)
        assert len(labels.drain()) == 2000
        os.truncate(log, 0)
        writer.write(lines(2000))
        assert labels.drain() == ["2000"]
        writer.write(lines(2001))
        assert labels.drain() == ["2001"]
    assert labels.refused == {}


def test_overwritten_in_place_by_as_many_bytes(log, reads, lines):
    """Other content of the same size is read from its beginning, a mere touch is not."""
    append(log, lines(*range(100, 200)))
    labels = reads(log)
    assert len(labels.drain()) == 100
    os.utime(log, (1e9, 1e9))
    assert labels.drain() == []
    changed = [*range(100, 150), 999, *range(151, 200)]
    log.write_bytes(lines(*changed))
    assert labels.drain() == [str(number) for number in changed]


def test_replaced_whole_with_what_was_read_and_more(log, reads, lines):
    """A label file that is exported anew, with its old rows first, gives only the new ones."""
    append(log, lines(*range(1000)))
    labels = reads(log)
    assert len(labels.drain()) == 1000
    new = log.with_name("new")
    new.write_bytes(lines(*range(1002)))
    new.replace(log)
    assert labels.drain() == ["1000", "1001"]


def test_replaced_whole_with_a_correction_inside(log, reads, lines):
    """A label file that differs anywhere in what was read is read again from its beginning."""
    append(log, lines(*range(1000)))
    labels = reads(log)
    assert len(labels.drain()) == 1000
    new = log.with_name("new")
    new.write_bytes(lines(*range(500), 7, *range(501, 1002)))
    new.replace(log)
    assert len(labels.drain()) == 1002


def test_missing_during_rotation_is_no_error(log, reads, lines):
    """While a log is renamed and not written again yet, the source is up; without any of its files it is not."""
    append(log, lines(1))
    labels = reads(log)
    assert labels.drain() == ["1"]
    old = rename(log)
    assert labels.drain() == []
    labels.restart()
    assert labels.drain() == []
    old.unlink()
    with pytest.raises(SourceUnavailable):
        labels.poll()
