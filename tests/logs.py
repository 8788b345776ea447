"""Records as a log has them, on the whole way that they go: JSON Lines, mapping, join, counts, exposition."""

from __future__ import annotations

import json
from typing import Any

from exporter.contracts import Batch, Clock, FieldSpec, MappingSpec, ModelSpec, Poll
from exporter.pipeline import Delivery
from exporter.sources.formats.jsonl import JsonLines
from exporter.sources.mapping import Mapper

CLOCK = Clock(wall=lambda: 1.8e9)
FIELDS = {
    "predictions": ("id", "time", "predicted", "version", "error"),
    "labels": ("id", "time", "actual"),
}


class Logs:
    """The two logs of one model; fields are called as in the config, *more* are further ones of the predictions."""

    def __init__(self, spec: ModelSpec, *more: str, segments: tuple[str, ...] = ()) -> None:
        self.spec = spec
        self.mappers = {}
        for role, usual in FIELDS.items():
            of_predictions = role == "predictions"
            fields = {name: FieldSpec(field=name) for name in (*usual, *(more if of_predictions else ()))}
            attributes = {name: FieldSpec(field=name) for name in (segments if of_predictions else ())}
            mapping = MappingSpec(role=role, fields=fields, segments=attributes)
            self.mappers[role] = Mapper(mapping, spec, CLOCK)

    def batch(self, role: str, *rows: dict[str, Any]) -> Batch:
        """What the mapping makes of *rows*."""
        mapper = self.mappers[role]
        block = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return mapper.batch(JsonLines(mapper.paths).decode(block, lambda at: f"byte {at}"))

    def predictions(self, *rows: dict[str, Any]) -> Delivery:
        """A poll of the predictions' log; a row has time 1e9 and version 1 unless it says otherwise."""
        rows = tuple({"time": 1e9, "version": "1", **row} for row in rows)
        return Delivery(self.spec.name, "predictions", Poll(self.batch("predictions", *rows), None))

    def labels(self, *rows: dict[str, Any]) -> Delivery:
        """A poll of the labels' log; a row is a second later unless it says otherwise."""
        rows = tuple({"time": 1e9 + 1, **row} for row in rows)
        return Delivery(self.spec.name, "labels", Poll(self.batch("labels", *rows), None))
