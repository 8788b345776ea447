"""Files that are missing, vanish, are forbidden, or are no files at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from exporter.errors import SourceDenied, SourceUnavailable
from exporter.sources import reading


def test_source_down_at_start(tmp_path, reads, lines):
    """A path that does not exist yet is unavailable, and is read from its beginning once it is there."""
    labels = reads(tmp_path / "x.jsonl")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"x\.jsonl: no such file; check the path"):
            labels.poll()
    (tmp_path / "x.jsonl").write_bytes(lines(1))
    assert labels.drain() == ["1"]


def test_what_a_poll_raises_is_not_logged_as_well(tmp_path, reads, caplog):
    """The scheduler tells of it; twice is noise."""
    labels = reads(tmp_path / "x.jsonl")
    with pytest.raises(SourceUnavailable):
        labels.poll()
    assert caplog.messages == []


def test_source_dies_later(tmp_path, reads, lines):
    """A file that is deleted makes the source unavailable; what is written there later is new."""
    log = tmp_path / "x.jsonl"
    log.write_bytes(lines(1))
    labels = reads(log)
    assert labels.drain() == ["1"]
    log.unlink()
    with pytest.raises(SourceUnavailable):
        labels.poll()
    log.write_bytes(lines(2))
    assert labels.drain() == ["2"]


def test_folder_vanishes_and_comes_back(tmp_path, reads, lines):
    """A folder that is away for a while, as a volume that is mounted again, is read on where it stopped."""
    folder, away = tmp_path / "logs", tmp_path / "away"
    folder.mkdir()
    log = folder / "x.jsonl"
    log.write_bytes(lines(1))
    labels = reads(log)
    assert labels.drain() == ["1"]
    labels.restart()
    folder.rename(away)
    with pytest.raises(SourceUnavailable):
        labels.poll()
    shutil.copytree(away, folder)
    with log.open("ab") as file:
        file.write(lines(2))
    assert labels.drain() == ["2"]


def test_glob_without_match_is_no_error(tmp_path, reads, lines):
    """A glob may match nothing, even in a folder that does not exist yet."""
    labels = reads(tmp_path / "logs" / "*.jsonl")
    assert labels.drain() == []
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.jsonl").write_bytes(lines(1))
    assert labels.drain() == ["1"]


def test_permission_denied_for_a_while(tmp_path, reads, lines, monkeypatch):
    """A forbidden file is an error only while nothing else can be read, and is read once it is allowed."""
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    labels = reads(tmp_path / "*.jsonl")
    forbidden = {str(tmp_path / "a.jsonl")}
    real = os.open

    def guarded(path, flags, *rest):
        if path in forbidden:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *rest)

    monkeypatch.setattr(reading.os, "open", guarded)
    with pytest.raises(SourceDenied, match="let the exporter's user read"):
        labels.poll()
    (tmp_path / "b.jsonl").write_bytes(lines(2))
    assert labels.drain() == ["2"]
    assert labels.poll() == []
    assert isinstance(labels.files.failing[str(tmp_path / "a.jsonl")], SourceDenied)
    forbidden.clear()
    assert labels.drain() == ["1"]
    assert labels.files.failing == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("closed", ["x.jsonl", "."])
def test_permission_denied_by_the_file_system(tmp_path, lines, closed):
    """Modes of a file or of its folder deny as the file system says, also in a glob."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(lines(1))
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and str(parent) not in ("/", "/tmp"):
            parent.chmod(0o755)
    (folder / closed).chmod(0)
    program = textwrap.dedent(f"""
        import logging, os
        from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
        from exporter.errors import SourceDenied
        from exporter.sources.files import Files
        from exporter.sources.formats import jsonl
        from exporter.sources.mapping import Mapper

        logging.disable()
        os.setuid(65534)
        fields = {{"id": FieldSpec(field="id"), "actual": FieldSpec(field="y")}}
        for name in ("x.jsonl", "*.jsonl"):
            mapper = Mapper(MappingSpec(role="labels", fields=fields), ModelSpec(name="m"), Clock())
            path = os.path.join({str(folder)!r}, name)
            files = Files(Files.Config(path=path), mapper, name="labels", clock=Clock())
            try:
                files.poll(None, Deadline(float("inf")))
            except SourceDenied:
                print("denied", flush=True)
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["denied", "denied"], "")


def test_fifo_folder_and_device_in_a_glob(tmp_path, reads, lines):
    """What is no regular file is passed by without waiting for it; as a plain path it is an error."""
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    (tmp_path / "c.jsonl").symlink_to("/dev/null")
    (tmp_path / "d.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "e.jsonl").write_bytes(lines(1))
    assert reads(tmp_path / "*.jsonl").drain() == ["1"]
    for name in "abc":
        with pytest.raises(SourceUnavailable, match="is not a regular file"):
            reads(tmp_path / f"{name}.jsonl").poll()


def test_file_swapped_for_a_fifo_after_it_was_listed(tmp_path, reads, lines, monkeypatch):
    """A FIFO that takes a file's name between the look and the opening does not block the poll."""
    log = tmp_path / "x.jsonl"
    log.write_bytes(lines(1))
    labels = reads(log)
    real = os.open

    def swapped(path, flags, *rest):
        log.unlink()
        os.mkfifo(log)
        return real(path, flags, *rest)

    monkeypatch.setattr(reading.os, "open", swapped)
    assert labels.poll() == []
