"""Rows to counts, end to end: the exporter's own path against the plainest way to hold rows in dicts.

The exporter's side parses, joins, counts three windows, renders a snapshot and commits to disk each cycle; the
baselines only parse and join in memory, and compute no metric.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CYCLE = 131_072


def exporter(folder: Path) -> dict[str, float]:
    """CPU seconds of the exporter on each side."""
    import exporter.sources.files
    import exporter.sources.formats.jsonl  # noqa: F401 - imported here, so that no side is timed at importing
    from exporter.app import source
    from exporter.config.schema import parse
    from exporter.contracts import Clock, Deadline, Status
    from exporter.pipeline import Delivery, Pipeline
    from exporter.state import State
    from tests.benchmarks.data import CONFIG

    clock = Clock()
    config = parse(CONFIG.format(folder=folder), "bench.yml")
    model = config.models["bench"]
    path = folder / "state"
    shutil.rmtree(path, ignore_errors=True)
    state = State(path)
    pipeline = Pipeline(config, state)
    seconds = {}
    for stream in (model.predictions, model.labels):
        assert stream is not None
        role = stream.mapping.role
        begun = time.process_time()
        rows, cursor, more = 0, None, True
        feed = source(stream, model, clock)
        waiting: list[Delivery] = []
        while more:
            poll = feed.poll(cursor, Deadline(clock.monotonic() + 60, clock))
            cursor, more = poll.cursor, poll.more
            waiting.append(Delivery("bench", role, poll))
            rows += len(poll.batch) if poll.batch is not None else 0
            if rows >= CYCLE or not more:
                pipeline.absorb(waiting)
                pipeline.snapshot(0, (b"", b""), Status())
                rows, waiting = 0, []
        seconds[role] = time.process_time() - begun
        feed.close()
    joined = pipeline.ledgers["bench"].results["matched"]
    state.close()
    shutil.rmtree(path)
    return {"joined": joined, **seconds}


def dicts(folder: Path, loads: Callable[[bytes], Any]) -> dict[str, float]:
    """CPU seconds of a join in a dict, line by line."""
    begun = time.process_time()
    rows: dict[str, tuple[Any, ...]] = {}
    pairs: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    with (folder / "predictions.jsonl").open("rb") as file:
        for line in file:
            row = loads(line)
            rows[row["id"]] = (
                row["ts"], row["model"], row["version"], row["prediction"], row["score"], row["latency_ms"],
            )  # fmt: skip
    read = time.process_time() - begun
    with (folder / "labels.jsonl").open("rb") as file:
        for line in file:
            row = loads(line)
            found = rows.pop(row["id"], None)
            if found:
                pairs.setdefault((found[1], found[2]), []).append((found[0], row["label"], found[3], found[4]))
    joined = sum(map(len, pairs.values()))
    return {"joined": joined, "predictions": read, "labels": time.process_time() - begun - read}


def orjson_dict(folder: Path) -> dict[str, float]:
    import orjson

    return dicts(folder, orjson.loads)


def json_dict(folder: Path) -> dict[str, float]:
    return dicts(folder, json.loads)
