"""What every source must do, whatever it reads.

A source joins by a function that makes its world, and one entry in WORLDS.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import numpy as np
import pytest

from exporter import plugins
from exporter.contracts import ABSENT, Clock, Deadline, FieldSpec, MappingSpec, ModelSpec, Source
from exporter.errors import SourceError, SourceTimeout
from exporter.sources.files import Files
from exporter.sources.mapping import Mapper

NOW = 1_772_366_400.0
CLOCK = Clock(wall=lambda: NOW, monotonic=lambda: 0.0)
SOON = Deadline(60.0, CLOCK)


def new_mapper() -> Mapper:
    fields = {"id": FieldSpec(field="id"), "time": FieldSpec(field="at"), "actual": FieldSpec(field="label")}
    model = ModelSpec(name="fraud", classes=("no", "yes"), positive="yes")
    return Mapper(MappingSpec(role="labels", fields=fields), model, CLOCK, keep_ids=True)


class World(ABC):
    """What a source reads from: rows of `id`, `at` (epoch seconds) and `label`, oldest first."""

    name: str

    @abstractmethod
    def source(self) -> Source:
        """A new source on this world, as after a restart of the process."""

    @abstractmethod
    def add(self, rows: Sequence[tuple[str, float, str]]) -> None:
        """Make *rows* appear behind all others."""

    @abstractmethod
    def down(self) -> None:
        """Make the world unreachable."""

    @abstractmethod
    def up(self) -> None:
        """Undo `down`."""

    def close(self) -> None:  # noqa: B027  many worlds hold nothing
        """Give back what the world holds."""


class FilesWorld(World):
    name = "files"

    def __init__(self, folder: Path) -> None:
        self.log = folder / "labels.jsonl"
        self.away = folder / "away" / "labels.jsonl"
        self.away.parent.mkdir()
        self.log.touch()

    def source(self) -> Source:
        config = Files.Config(path=str(self.log), block_bytes=4096)
        return Files(config, new_mapper(), name="labels", clock=CLOCK)

    def add(self, rows):
        with self.log.open("ab") as file:
            for identity, at, label in rows:
                file.write(json.dumps({"id": identity, "at": at, "label": label}).encode() + b"\n")

    def down(self):
        self.log.rename(self.away)

    def up(self):
        self.away.rename(self.log)


WORLDS = [FilesWorld]


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def source(world):
    made = world.source()
    yield made
    made.close()


def rows(*numbers: int, label: str = "yes") -> list[tuple[str, float, str]]:
    return [(f"r{number}", NOW - 10_000 + number, label) for number in numbers]


def drain(source: Source, cursor: Any) -> tuple[list[str], Any, dict[str, int]]:
    """Ids until nothing more waits, the cursor behind them, and what was refused; batches are checked on the way."""
    ids: list[str] = []
    refused: dict[str, int] = {}
    for _ in range(10_000):
        poll = source.poll(cursor, SOON)
        cursor = poll.cursor
        if poll.batch is not None:
            check(poll.batch)
            ids += poll.batch.ids
            for reason, count in poll.batch.refused.counts.items():
                refused[reason] = refused.get(reason, 0) + count
        if not poll.more:
            return ids, cursor, refused
    raise AssertionError("the source never ends")


def check(batch) -> None:
    """Columns are of equal length and of the types of the contract."""
    count = len(batch)
    assert (batch.key.shape, batch.key.dtype) == ((count, 2), np.uint64)
    assert (batch.time.shape, batch.time.dtype) == ((count,), np.float64)
    assert (batch.actual.codes.shape, batch.actual.codes.dtype) == ((count,), np.int32)
    assert ((batch.actual.codes >= ABSENT) & (batch.actual.codes < len(batch.actual.names))).all()
    assert len(batch.ids) == count
    assert batch.role == "labels"


def test_every_built_in_source_is_tested_here():
    """No source is registered without taking part in the contract (http and sql may still be on their way)."""
    assert {world.name for world in WORLDS} <= set(plugins.SOURCES)


def test_is_a_source_with_a_described_config(world, source):
    """The class follows the protocol, is registered, and each field of its config says what it is for."""
    assert isinstance(source, Source)
    assert plugins.source(world.name) is type(source)
    config = type(source).Config
    assert issubclass(config, msgspec.Struct)
    assert config.__struct_config__.frozen
    for name, hint in get_type_hints(config, include_extras=True).items():
        if name in config.__struct_fields__:
            described = [
                meta.description for meta in getattr(hint, "__metadata__", ()) if hasattr(meta, "description")
            ]
            assert any(described), f"{config.__name__}.{name} has no description"


def test_reads_each_row_once(world, source):
    """What is there is read in order, then what is added, and nothing a second time."""
    world.add(rows(*range(300)))
    ids, cursor, refused = drain(source, None)
    assert (ids, refused) == ([f"r{number}" for number in range(300)], {})
    assert drain(source, cursor)[0] == []
    world.add(rows(300, 301))
    ids, cursor, _ = drain(source, cursor)
    assert ids == ["r300", "r301"]
    assert drain(source, cursor)[0] == []


def test_nothing_there_is_no_error(world, source):
    """An empty world gives no rows, and later ones are not missed."""
    ids, cursor, _ = drain(source, None)
    assert ids == []
    world.add(rows(1))
    assert drain(source, cursor)[0] == ["r1"]


def test_replaying_a_cursor_gives_the_same_rows(world, source):
    """Whatever was polled in between, and in a new process too, a cursor gives what it gave before."""
    world.add(rows(*range(300)))
    polls, cursor, more = [], None, True
    while more:
        poll = source.poll(cursor, SOON)
        polls.append((cursor, list(poll.batch.ids) if poll.batch is not None else []))
        cursor, more = poll.cursor, poll.more
    other = world.source()
    try:
        for cursor, ids in reversed(polls):
            for again in (source, other):
                batch = again.poll(cursor, SOON).batch
                given = [] if batch is None else list(batch.ids)
                assert given[: len(ids)] == ids
    finally:
        other.close()


def test_cursor_is_plain_data_and_left_alone(world, source):
    """A cursor is JSON, comes back from it unharmed, and a poll does not change the one it was given."""
    world.add(rows(*range(100)))
    cursor = source.poll(None, SOON).cursor
    stored = json.loads(json.dumps(cursor))
    assert stored == cursor
    before = copy.deepcopy(cursor)
    world.add(rows(100))
    source.poll(cursor, SOON)
    assert cursor == before


def test_goes_on_after_a_restart(world, source):
    """A new process with the stored cursor reads what the old one had not, and no more."""
    world.add(rows(*range(200)))
    poll = source.poll(None, SOON)
    first = list(poll.batch.ids)
    source.close()
    world.add(rows(200))
    other = world.source()
    try:
        rest, _, _ = drain(other, json.loads(json.dumps(poll.cursor)))
    finally:
        other.close()
    assert first + rest == [f"r{number}" for number in range(201)]


def test_goes_on_after_it_was_closed(world, source):
    """`close` gives back what is held; it may be called twice, and a later poll works."""
    world.add(rows(1))
    _, cursor, _ = drain(source, None)
    source.close()
    source.close()
    world.add(rows(2))
    assert drain(source, cursor)[0] == ["r2"]


def test_down_is_a_source_error_and_passes(world, source):
    """An unreachable world is a SourceError with a text; afterwards the rows come, each once."""
    world.add(rows(1))
    _, cursor, _ = drain(source, None)
    world.add(rows(2))
    source.close()
    world.down()
    for _ in range(2):
        with pytest.raises(SourceError, match=r"\w"):
            source.poll(cursor, SOON)
    world.up()
    assert drain(source, cursor)[0] == ["r2"]


def test_down_at_the_start(world, source):
    """A source may start before what it reads."""
    world.add(rows(1))
    world.down()
    with pytest.raises(SourceError):
        source.poll(None, SOON)
    world.up()
    assert drain(source, None)[0] == ["r1"]


def test_bad_row_is_refused_with_its_place_and_nothing_else_is_lost(world, source):
    """A row that cannot be used is counted under a reason, with a place, and its neighbours are read."""
    world.add(rows(1) + rows(2, label="perhaps") + rows(3))
    poll = source.poll(None, SOON)
    assert list(poll.batch.ids) == ["r1", "r3"]
    assert sum(poll.batch.refused.counts.values()) == 1
    (example,) = poll.batch.refused.examples
    assert example.place
    assert example.reason.replace("_", "").islower()


def test_deadline_that_has_passed(world, source):
    """A poll without any time left raises SourceTimeout or gives rows; in both cases none is lost."""
    world.add(rows(1))
    ids: list[str] = []
    cursor = None
    try:
        poll = source.poll(None, Deadline(0.0, CLOCK))
    except SourceTimeout:
        pass
    else:
        ids, cursor = list(poll.batch.ids) if poll.batch is not None else [], poll.cursor
    assert ids + drain(source, cursor)[0] == ["r1"]


def test_descriptors_are_given_back(world):
    """A hundred sources that are made, polled and closed leave no descriptor behind."""
    world.add(rows(1))
    counts = []
    for _ in range(100):
        source = world.source()
        source.poll(None, SOON)
        source.close()
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(counts[50:]) <= max(counts[:50])
