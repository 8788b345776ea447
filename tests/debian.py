"""Programs of Debian's packages, installed when we may, and a PostgreSQL of our own: for tests and benchmarks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def debian_program(package: str, program: str) -> Path | None:
    """The path of *program*, None if it is missing and Debian's *package* cannot be installed."""
    found = _program(package, program)
    if found is not None or os.geteuid() != 0 or not shutil.which("apt-get"):
        return found
    with _alone():
        found = _program(package, program)
        if found is not None:
            return found
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # starts no service
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package]
        for command in (install, ["apt-get", "update", "--quiet"], install):
            done = subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            found = _program(package, program)
            if found or (command is not install and done.returncode):
                break
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Of the processes that tests may run in, one installs at a time: apt refuses the others."""
    with (Path(tempfile.gettempdir()) / "model-exporter-tests-apt.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _program(package: str, program: str) -> Path | None:
    found = shutil.which(program) or shutil.which(program, path="/usr/lib/systemd")
    if found:
        return Path(found)
    versions = list(Path(f"/usr/lib/{package}").glob(f"*/bin/{program}"))
    return max(versions, key=lambda path: float(path.parts[4])) if versions else None


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


@contextlib.contextmanager
def running_postgres(program: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL of our own while the context lasts; *program* is the path of `postgres`."""
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
    server = PostgresServer(program.resolve().parent, folder, port, owner)
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
