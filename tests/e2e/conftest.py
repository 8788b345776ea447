"""What end-to-end tests share: exporters that are ended with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import Exporter


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Callable[[str], Exporter]]:
    """`exporter(config)` runs one in `tmp_path` and returns once it has read its backlog."""
    started: list[Exporter] = []

    def start(config: str) -> Exporter:
        started.append(Exporter(tmp_path, config).start())
        return started[-1].ready()

    yield start
    for one in started:
        one.kill()
