"""What tests of several folders share: Debian's programs, a real PostgreSQL, and the rule that CI skips nothing."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.debian import PostgresServer, debian_program, running_postgres
from tests.spreading import (  # noqa: F401 - hooks
    pytest_collection_modifyitems,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)

NO_SKIP = "MODEL_EXPORTER_TESTS_NO_SKIP"

# How long an example takes says how busy the machine is; whole tests have their time-out.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def _failed_if_skipped(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(NO_SKIP):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{NO_SKIP} is set, so that a skip is a failure: {reason}"
    return report


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what tests/golden shows now as what it should show; look at the difference before you commit it",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _failed_if_skipped((yield))


def require_debian(package: str, program: str) -> Path:
    """The path of *program*; Debian's *package* is installed if it is missing and we may, else the test is skipped."""
    found = debian_program(package, program)
    if found is None:
        pytest.skip(f"{program} is missing: install Debian's package {package} (or run the tests as root)")
    return found


@pytest.fixture(scope="session")
def debian() -> Callable[[str, str], Path]:
    """`debian(package, program)` is the path of a program of a Debian package; see `require_debian`."""
    return require_debian


# --- PostgreSQL ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A running PostgreSQL from Debian's package, in a folder of its own."""
    with running_postgres(require_debian("postgresql", "postgres")) as server:
        yield server


@pytest.fixture
def database(postgresql, request) -> Iterator[tuple[Any, str]]:
    """A superuser's connection to a new database, and the URL by which `reader` may read all of its tables."""
    name = f"t{abs(hash(request.node.nodeid)):x}"
    with postgresql.connect() as server:
        server.execute(f"CREATE DATABASE {name}")
    connection = postgresql.connect(name)
    try:
        connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader")
        yield connection, postgresql.url(name)
    finally:
        connection.close()
        with postgresql.connect() as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


# --- files ---------------------------------------------------------------------------------------


class Reading:
    """A files source with its place in the state: what it reads of labels `{"id": ..., "y": ...}`, by id."""

    def __init__(self, path: Any, clock: Any, lookback: float | None = None, **config: Any) -> None:
        from exporter.sources.files import Files

        paths = [str(one) for one in path] if isinstance(path, list) else str(path)
        self.config = Files.Config(path=paths, **config)
        self.clock = clock
        self.lookback = lookback
        self.cursor: Any = None
        self.batches: list[Any] = []
        self.files = self.new()

    def new(self) -> Any:
        from exporter.contracts import FieldSpec, MappingSpec, ModelSpec
        from exporter.sources.files import Files
        from exporter.sources.mapping import Mapper

        fields = {"id": FieldSpec(field="id"), "actual": FieldSpec(field="y")}
        mapper = Mapper(MappingSpec(role="labels", fields=fields), ModelSpec(name="m"), self.clock, keep_ids=True)
        return Files(self.config, mapper, name="labels", clock=self.clock, lookback=self.lookback)

    def poll(self) -> list[str]:
        """The ids that one poll gave."""
        from exporter.contracts import Deadline

        poll = self.files.poll(self.cursor, Deadline(self.clock.monotonic() + 60, self.clock))
        self.cursor = json.loads(json.dumps(poll.cursor))
        self.more = poll.more
        if poll.batch is None:
            return []
        self.batches.append(poll.batch)
        return list(poll.batch.ids)

    def drain(self) -> list[str]:
        """The ids of all polls until nothing more is waiting."""
        ids = self.poll()
        while self.more:
            ids += self.poll()
        return ids

    def restart(self) -> None:
        self.files.close()
        self.files = self.new()

    @property
    def refused(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for batch in self.batches:
            counts.update(batch.refused.counts)
        return dict(counts)

    @property
    def places(self) -> list[str]:
        return [refusal.place for batch in self.batches for refusal in batch.refused.examples]


@dataclass
class Hands:
    """A clock to be set by hand: the moment of a wall clock, and seconds since the start of the test."""

    wall: float = 0.0
    monotonic: float = 0.0

    @property
    def clock(self) -> Any:
        from exporter.contracts import Clock

        return Clock(wall=lambda: self.wall, monotonic=lambda: self.monotonic)


@pytest.fixture
def hands() -> Hands:
    """The hands of the clock that `reads` gives to its sources; it stands still until a test moves them."""
    return Hands()


@pytest.fixture
def reads(hands) -> Iterator[Callable[..., Reading]]:
    """`reads(path, **config)` is a files source on *path* that reads labels; see `Reading`."""
    made: list[Reading] = []

    def make(path: Any, **words: Any) -> Reading:
        made.append(Reading(path, hands.clock, **words))
        return made[-1]

    yield make
    for reading in made:
        reading.files.close()


def label_lines(*ids: Any, padding: int = 0) -> bytes:
    """Labels as JSON Lines, for `reads`."""
    return b"".join(json.dumps({"id": str(one), "y": "a", "p": "." * padding}).encode() + b"\n" for one in ids)


@pytest.fixture
def lines() -> Callable[..., bytes]:
    """`lines(1, 2)` are labels of these ids as JSON Lines."""
    return label_lines
