"""What tests of several folders share: Debian's programs, a real PostgreSQL, and the rule that CI skips nothing."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NO_SKIP = "MODEL_EXPORTER_TESTS_NO_SKIP"


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


def _program(package: str, program: str) -> Path | None:
    found = shutil.which(program)
    if found:
        return Path(found)
    versions = list(Path(f"/usr/lib/{package}").glob(f"*/bin/{program}"))
    return max(versions, key=lambda path: float(path.parts[4])) if versions else None


def require_debian(package: str, program: str) -> Path:
    """The path of *program*; Debian's *package* is installed if it is missing and we may, else the test is skipped."""
    found = _program(package, program)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # starts no service
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package]
        for command in (install, ["apt-get", "update", "--quiet"], install):
            done = subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            found = _program(package, program)
            if found or (command is not install and done.returncode):
                break
    if found is None:
        pytest.skip(f"{program} is missing: install Debian's package {package} (or run the tests as root)")
    return found


@pytest.fixture(scope="session")
def debian() -> Callable[[str, str], Path]:
    """`debian(package, program)` is the path of a program of a Debian package; see `require_debian`."""
    return require_debian


# --- PostgreSQL ----------------------------------------------------------------------------------


@dataclass
class PostgresServer:
    """A server of our own: superuser `postgres` through the socket, `reader` with a password through TCP."""

    programs: Path
    folder: Path
    port: int
    owner: dict[str, Any] = field(default_factory=dict)

    def control(self, *words: str) -> None:
        subprocess.run(
            [self.programs / "pg_ctl", "-D", self.folder / "data", "-w", "-t", "60", *words],
            check=True,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self.owner,
        )

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=32MB"
        self.control("-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.control("-m", "fast", "stop")

    @property
    def pid(self) -> int:
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def url(self, database: str, user: str = "reader", password: str = "s3cr3t-word") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres"):
        import psycopg

        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database, autocommit=True
        )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A running PostgreSQL from Debian's package, in a folder of its own."""
    programs = require_debian("postgresql", "postgres").resolve().parent
    owner: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {user.pw_name: user for user in pwd.getpwall()}
        user = names.get("postgres") or names["nobody"]
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = PostgresServer(programs, folder, port, owner)
    try:
        server.control(
            "initdb", "-o", "-U postgres --auth-local=trust --auth-host=scram-sha-256 --no-sync -E UTF8 --locale=C"
        )
        server.start()
        try:
            with server.connect() as connection:
                connection.execute("CREATE USER reader PASSWORD 's3cr3t-word'")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
