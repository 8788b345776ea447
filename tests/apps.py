"""An exporter inside the test's own process: real files, threads, web server and state, on a clock that can leap."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter import plugins
from exporter.app import App, Options
from exporter.cli import main
from exporter.contracts import Clock, Poll, Sight
from exporter.scheduler import Feed, feed, loop
from tests.running import Values, wait_for

START = 1_700_000_000.0
SOON = 0.02

MODEL = """
    positive: a
    classes: [a, b]
    predictions:
      files: {{path: {folder}/{name}-predictions.jsonl}}
      fields: {{id: id, time: t, predicted: p, version: v}}
      interval: 1s
    labels:
      {labels}
      fields: {{id: id, time: t, actual: y}}
      interval: 1s
    windows: [{windows}]
"""


def config(folder: Path, *names: str, windows: str = "last 10", labels: str = "", more: str = "") -> str:
    """A config of models called *names*, whose logs are `<name>-predictions.jsonl` and `<name>-labels.jsonl`."""
    text = "models:\n"
    for name in names or ("m",):
        source = labels or f"files: {{path: {folder}/{name}-labels.jsonl}}"
        text += f"  {name}:" + MODEL.format(folder=folder, name=name, windows=windows, labels=source) + more
    return text


def write(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    """Append *rows* to a log as JSON Lines."""
    with (folder / name).open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def predict(folder: Path, *ids: Any, model: str = "m", version: str = "1", predicted: str = "a") -> None:
    """Append predictions to the log of a model."""
    rows = [{"id": one, "t": START, "p": predicted, "v": version} for one in ids]
    write(folder, f"{model}-predictions.jsonl", *rows)


def label(folder: Path, *ids: Any, model: str = "m", actual: str = "a") -> None:
    """Append labels to the log of a model."""
    write(folder, f"{model}-labels.jsonl", *({"id": one, "t": START + 1, "y": actual} for one in ids))


class Leaps:
    """A clock that goes on as the machine's does, and leaps when told to."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.clock = Clock(wall=lambda: time.time() + self.ahead, monotonic=lambda: time.monotonic() + self.ahead)


class Running:
    """An App with its server; `app` is the thing itself."""

    def __init__(self, app: App, port: int, leaps: Leaps) -> None:
        self.app = app
        self.address = f"http://127.0.0.1:{port}"
        self.leaps = leaps

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and body of an answer."""
        request = urllib.request.Request(self.address + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def values(self) -> Values:
        """One scrape."""
        status, body = self.get("/metrics")
        return Values(body if status == 200 else "")

    def once(self, condition: Callable[[Values], object], seconds: float = 10) -> Values:
        """The first scrape for which *condition* holds."""
        last: list[Values] = []

        def holds() -> bool:
            last[:] = [self.values()]
            try:
                return bool(condition(last[0]))
            except (AssertionError, ValueError):  # a series is not there yet
                return False

        wait_for(holds, seconds, "values")
        return last[0]

    def ready(self) -> Running:
        wait_for(lambda: self.get("/-/ready")[0] == 200, 10, "ready")
        return self


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals, back-off and ticks last a moment."""
    monkeypatch.setattr(loop, "TICK", SOON)
    monkeypatch.setattr(feed, "LONGEST_BACKOFF", SOON)
    built = App._feed

    def quick(self: App, *words: Any) -> Feed:
        made = built(self, *words)
        made.interval = SOON
        return made

    monkeypatch.setattr(App, "_feed", quick)


@contextlib.contextmanager
def running(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, **options: Any) -> Iterator[Running]:
    """The exporter on the config *text*, in a hurry, until the end of the context."""
    (folder / "model-exporter.yml").write_text(text)
    leaps = Leaps()
    words = {"config": folder / "model-exporter.yml", "state": folder / "state", "address": "127.0.0.1:0", **options}
    with monkeypatch.context() as patch:
        hurry(patch)
        app = App(Options(**words), leaps.clock)
        with app.serving() as server:
            yield Running(app, server.port, leaps)


class ScriptedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes nothing."""


class Scripted:
    """The source `scripted: {}`: does what a test puts in place of `answer`."""

    Config = ScriptedConfig
    answer: Callable[[Any], Poll]
    polls: int
    at_once: threading.Lock

    def __init__(self, config: Any, mapper: Any, **words: Any) -> None: ...

    def poll(self, cursor: Any, deadline: Any) -> Poll:
        Scripted.polls += 1
        at_once = Scripted.at_once  # a poll that is left behind may return when the test is over
        assert at_once.acquire(blocking=False), "two polls of one source at once"
        try:
            return Scripted.answer(cursor)
        finally:
            at_once.release()

    def close(self) -> None: ...


class ScriptedProbe:
    """The probe `scripted: {}`: does what a test puts in place of `answer`, and may give any metric of any probe."""

    Config = ScriptedConfig
    specs = tuple({one.name: one for name in plugins.probes() for one in plugins.probe(name).specs}.values())
    answer: Callable[[Any, Any], Sight]
    closed: int

    def __init__(self, config: Any, **words: Any) -> None: ...

    def look(self, cursor: Any, deadline: Any) -> Sight:
        return ScriptedProbe.answer(cursor, deadline)

    def close(self) -> None:
        ScriptedProbe.closed += 1


def script_probe(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any, Any], Sight]) -> type[ScriptedProbe]:
    """Let configs name the probe `scripted`, which tells life; *answer* is given a cursor and a deadline."""
    monkeypatch.setitem(plugins.PROBES, "scripted", f"{__name__}:ScriptedProbe")
    for name, value in (("answer", staticmethod(answer)), ("closed", 0)):
        monkeypatch.setattr(ScriptedProbe, name, value, raising=False)
    return ScriptedProbe


def script(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Poll]) -> type[Scripted]:
    """Let configs name the source `scripted`, of which there is to be one; *answer* is given a cursor."""
    monkeypatch.setitem(plugins.SOURCES, "scripted", f"{__name__}:Scripted")
    for name, value in (("answer", staticmethod(answer)), ("polls", 0), ("at_once", threading.Lock())):
        monkeypatch.setattr(Scripted, name, value, raising=False)
    return Scripted


def command(*words: str) -> int:
    """The exit code of a command line; the root logger is afterwards as it was before."""
    root, ours = logging.getLogger(), logging.getLogger("exporter")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    try:
        return main(words)
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
