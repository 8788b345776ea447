"""What these tests share: a real Alertmanager, a mail server and a webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.alerting import Alertmanager, Mailbox, Webhook


@pytest.fixture
def alertmanager(tmp_path: Path, debian) -> Iterator[Callable[[str], Alertmanager]]:
    """`alertmanager(text)` runs one on this configuration until the test ends."""
    program = debian("prometheus-alertmanager", "prometheus-alertmanager")
    with ExitStack() as running:
        yield lambda text: running.enter_context(Alertmanager(tmp_path / "alertmanager", program, text))


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    """A mail server that keeps what it gets."""
    with Mailbox() as server:
        yield server


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A web server that keeps what is posted to it."""
    with Webhook() as server:
        yield server
