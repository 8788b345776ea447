"""Stub sources, so that the config is tested without any real one."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from exporter import plugins
from exporter.config.types import Duration, Secret


class Auth(Struct, frozen=True, kw_only=True):
    """A mapping inside a source."""

    user: Annotated[str, Meta(description="Name to log in with.")]
    password: Annotated[Secret, Meta(description="Password to log in with.")]


class FilesConfig(Struct, frozen=True, kw_only=True):
    """A stub of a source that reads files."""

    path: Annotated[str, Meta(min_length=1, description="Path or glob.")]
    format: Annotated[Literal["jsonl", "csv"] | None, Meta(description="Format; by the name's ending if absent.")] = (
        None
    )
    line_bytes: Annotated[int, Meta(ge=1, le=1 << 30, description="Longest line.")] = 1 << 24
    settle: Annotated[Duration, Meta(description="How long a file must rest.", extra={"ge": 1.0})] = Duration(5)


class SqlConfig(Struct, frozen=True, kw_only=True):
    """A stub of a source that asks a database."""

    url: Annotated[Secret, Meta(description="SQLAlchemy URL.")]
    table: Annotated[Annotated[str, Meta(pattern="^[a-z_]+$")] | None, Meta(description="Table to read.")] = None
    query: Annotated[str | None, Meta(description="Query to read instead.")] = None
    auth: Annotated[Auth | None, Meta(description="Log in.")] = None
    options: Annotated[dict[str, str | int], Meta(description="Options of the driver.")] = {}
    headers: Annotated[dict[str, Secret], Meta(description="Headers.")] = {}
    ratio: Annotated[float, Meta(gt=0, lt=1, description="A ratio.")] = 0.5
    strict: Annotated[bool, Meta(description="A switch.")] = False
    pages: Annotated[tuple[int, ...], Meta(max_length=3, description="Some numbers.")] = ()

    def __post_init__(self):
        if (self.table is None) == (self.query is None):
            raise ValueError(f"give either table or query for {self.url.reveal()}")


class Files:
    Config = FilesConfig


class Sql:
    Config = SqlConfig


@pytest.fixture(autouse=True)
def _stub_sources(monkeypatch):
    stubs = {"files": Files, "sql": Sql}
    monkeypatch.setattr(plugins, "sources", lambda: list(stubs))
    monkeypatch.setattr(plugins, "source", stubs.__getitem__)
