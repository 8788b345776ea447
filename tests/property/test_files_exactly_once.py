"""Whatever happens to a log between two polls, each of its lines is read exactly once."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from exporter.contracts import Clock, Deadline, FieldSpec, MappingSpec, ModelSpec
from exporter.sources.files import Files
from exporter.sources.mapping import Mapper

CLOCK = Clock(wall=lambda: 0.0, monotonic=lambda: 0.0)
SPEC = MappingSpec(role="labels", fields={"id": FieldSpec(field="id"), "actual": FieldSpec(field="y")})


class World:
    """A log, the program that writes it, logrotate, and a reader that may be killed."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self.log = folder / "x.log"
        self.config = Files.Config(path=str(folder / pattern), block_bytes=4096)
        self.numbers = itertools.count()
        self.ticks = itertools.count(10**18, 10**9)
        self.written: list[str] = []
        self.read: list[str] = []
        self.cursor = None
        self.half = b""
        self.writer = self.log.open("ab", buffering=0)
        self.start()
        self.append(1)
        self.poll()

    def start(self) -> None:
        mapper = Mapper(SPEC, ModelSpec(name="m"), CLOCK, keep_ids=True)
        self.files = Files(self.config, mapper, name="x", clock=CLOCK)

    def append(self, count: int) -> None:
        for _ in range(count):
            number = str(next(self.numbers))
            self.write(
                json.dumps({"id": number, "y": "a", "padding": "." * (int(number) * 37 % 300)}).encode() + b"\n"
            )
            self.written.append(number)

    def write(self, data: bytes) -> None:
        self.writer.write(self.half + data)
        self.half = b""
        self.stamp()

    def stamp(self) -> None:
        tick = next(self.ticks)
        os.utime(self.writer.fileno(), ns=(tick, tick))

    def half_line(self) -> None:
        if self.half:
            return
        number = str(next(self.numbers))
        line = json.dumps({"id": number, "y": "a"}).encode() + b"\n"
        self.write(line[:-4])
        self.half = line[-4:]
        self.written.append(number)

    def reopen(self) -> None:
        if self.half:
            self.write(b"")
        self.writer.close()
        self.writer = self.log.open("ab", buffering=0)
        self.stamp()

    def shift(self) -> None:
        for number in range(8, 0, -1):
            for ending in ("", ".gz"):
                old = Path(f"{self.log}.{number}{ending}")
                if old.exists():
                    old.rename(f"{self.log}.{number + 1}{ending}")

    def rotate(self) -> None:
        self.shift()
        self.log.rename(f"{self.log}.1")
        self.reopen()

    def rotate_late(self) -> None:
        """The writer goes on with the renamed file for a while."""
        self.shift()
        self.log.rename(f"{self.log}.1")
        self.poll()
        self.append(2)
        self.poll()
        self.append(1)
        self.reopen()

    def copy_truncate(self) -> None:
        if self.half:
            self.write(b"")
        self.shift()
        shutil.copy2(self.log, f"{self.log}.1")
        self.writer.truncate(0)
        self.stamp()

    def compress(self) -> None:
        for number in range(1, 9):
            old = Path(f"{self.log}.{number}")
            if old.exists():
                new = Path(f"{old}.gz")
                status = old.stat()
                content = gzip.compress(old.read_bytes())
                new.write_bytes(content[: len(content) // 2])
                self.poll()
                new.write_bytes(content)
                os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
                old.unlink()

    def poll(self) -> None:
        poll = self.files.poll(self.cursor, Deadline(1.0, CLOCK))
        if poll.batch is not None:
            assert not poll.batch.refused.counts
            self.read += poll.batch.ids
        self.cursor = json.loads(json.dumps(poll.cursor))
        self.more = poll.more

    def drain(self) -> None:
        self.poll()
        while self.more:
            self.poll()

    def poll_in_vain(self) -> None:
        """What was read is not committed, and the cycle is repeated."""
        self.files.poll(self.cursor, Deadline(1.0, CLOCK))

    def restart(self) -> None:
        self.files.close()
        self.start()

    def end(self) -> None:
        if self.half:
            self.write(b"")
        self.drain()
        self.drain()
        self.files.close()
        self.writer.close()


OPERATIONS = st.one_of(
    st.tuples(st.just("append"), st.sampled_from([1, 3, 40])),
    *(
        st.tuples(st.just(name))
        for name in (
            "half_line",
            "rotate",
            "rotate_late",
            "copy_truncate",
            "compress",
            "poll",
            "drain",
            "poll_in_vain",
            "restart",
        )
    ),
)


@pytest.mark.parametrize("pattern", ["x.log", "x.log*", "*.log"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=st.lists(OPERATIONS, max_size=25))
def test_each_line_is_read_exactly_once(pattern, operations):
    """Appends, half lines, rotation, compression, restarts and repeated polls neither lose a line nor double one."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), pattern)
        for name, *values in operations:
            getattr(world, name)(*values)
        world.end()
        assert sorted(world.read, key=int) == world.written
