"""What tests feed the core with: models without sources, deliveries made of plain rows, and the samples shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.config.resolved import Config, ModelConfig, Stream
from exporter.contracts import Batch, Categorical, MappingSpec, ModelSpec, Poll, Snapshot, Status, WindowSpec
from exporter.pipeline import Delivery, Pipeline
from exporter.state.table import Table

NAN = math.nan
OWN = (b"", b"")

Sample = tuple[str, frozenset[tuple[str, str]]]


class P(NamedTuple):
    """A row of a prediction log."""

    id: Any
    time: float = 0.0
    predicted: str | None = "a"
    version: str | None = "1"
    model: str | None = None
    score: float = NAN
    latency: float = NAN
    error: str | None = None
    actual: str | None = None
    actual_time: float = NAN


class L(NamedTuple):
    """A row of a label table."""

    id: Any
    time: float = 0.0
    actual: str | None = "a"


def keys(ids: Iterable[Any]) -> np.ndarray:
    """Fingerprints of *ids*, shape (n, 2)."""
    whole = [xxhash.xxh3_128_intdigest(str(one).encode()) for one in ids]
    return np.array([[one >> 64, one & (2**64 - 1)] for one in whole], np.uint64).reshape(-1, 2)


def column(values: Sequence[str | None]) -> Categorical:
    names = list(dict.fromkeys(value for value in values if value is not None))
    codes = {name: code for code, name in enumerate(names)}
    return Categorical(np.array([codes.get(value, -1) for value in values], np.int32), names)


def predictions(*rows: P, model: str = "m", cursor: Any = None) -> Delivery:
    """A poll of a prediction log that gave *rows*."""
    floats = {
        name: np.array([getattr(row, name) for row in rows], float)
        for name in ("time", "score", "latency", "actual_time")
    }
    texts = {
        name: column([getattr(row, name) for row in rows])
        for name in ("predicted", "version", "model", "error", "actual")
        if name in {"predicted", "version"} or any(getattr(row, name) is not None for row in rows)
    }
    batch = Batch(role="predictions", key=keys(row.id for row in rows), **floats, **texts)
    return Delivery(model, "predictions", Poll(batch, cursor))


def labels(*rows: L, model: str = "m", cursor: Any = None) -> Delivery:
    """A poll of a label table that gave *rows*."""
    batch = Batch(
        role="labels",
        key=keys(row.id for row in rows),
        time=np.array([row.time for row in rows], float),
        actual=column([row.actual for row in rows]),
    )
    return Delivery(model, "labels", Poll(batch, cursor))


def window(name: str) -> WindowSpec:
    """`window("60s")` and `window("last 3")` as a config would give them."""
    if name.startswith("last "):
        return WindowSpec(name=name, rows=int(name.removeprefix("last ")))
    return WindowSpec(name=name, seconds=float(name.removesuffix("s")))


def model(name: str = "m", windows: Sequence[str] = (), **words: Any) -> ModelConfig:
    """A model of the classes a, b and c; *words* are of ModelSpec or of ModelConfig."""
    of_spec = {word: words.pop(word) for word in list(words) if word in ModelSpec.__struct_fields__}
    of_spec.setdefault("task", "multiclass")
    of_spec.setdefault("classes", ("a", "b", "c"))
    spec = ModelSpec(name=name, **of_spec)
    stream = {
        role: Stream(kind="files", source=None, mapping=MappingSpec(role=role, fields={}))
        for role in ("predictions", "labels")
    }
    words = {"horizon": 1e6, **stream, **words}
    return ModelConfig(spec=spec, windows=tuple(map(window, windows)), **words)


def config(*models: ModelConfig, **words: Any) -> Config:
    return Config(models={one.spec.name: one for one in models or (model(),)}, **words)


def shown(pipeline: Pipeline, now: float = 0.0) -> Snapshot:
    return pipeline.snapshot(now, OWN, Status())


def samples(snapshot: Snapshot) -> dict[Sample, float]:
    """All samples of *snapshot* by name and labels, read by the reference parser."""
    return parsed(snapshot.text.decode())


def parsed(text: str, *, openmetrics: bool = False) -> dict[Sample, float]:
    """All samples of an exposition; fails if one stands in it twice."""
    parse = parse_openmetrics if openmetrics else parse_text
    found: dict[Sample, float] = {}
    for family in parse(text):
        for sample in family.samples:
            at = sample.name, frozenset(sample.labels.items())
            assert at not in found, at
            found[at] = sample.value
    return found


def sample(name: str, **labels: str) -> Sample:
    """What `samples` knows a sample of model m, version 1, by."""
    return name, frozenset({"model": "m", "version": "1", **labels}.items())


def of_model(name: str, **labels: str) -> Sample:
    """What `samples` knows a sample of the whole model m by."""
    return name, frozenset({"model": "m", **labels}.items())


def result(pipeline: Pipeline, word: str, model: str = "m") -> int:
    """How often a row came to *word* at the join."""
    return pipeline.ledgers[model].results[word]


def stored(table: Table, records: NDArray[np.void]) -> NDArray[np.int64]:
    """Let *table* remember *records*; returns their slots."""
    table.remember(records)
    return slots(table, records["key"])


def slots(table: Table, wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where *table* has the rows of the *wanted* keys; -1 of others."""
    return table.look(wanted)[0]


def rows_at(table: Table, slots: NDArray[np.int64]) -> NDArray[np.void]:
    """The rows that *table* remembers at *slots*."""
    known = np.concatenate([np.arange(part.first, part.first + part.rows) for part in table.segments])
    assert np.isin(slots, known).all()
    return np.concatenate(list(table.scan()))[np.searchsorted(known, slots)]
