"""Raw records become a batch: fields by their paths, each row judged, none lost without a reason.

A row leaves at the first fault found, in the order id, time, error, prediction, label, latency, model, version,
segments; later steps never see it.  While nothing is wrong no step looks at single rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from exporter.contracts import (
    ABSENT,
    ANY,
    CLASSIFICATION,
    Batch,
    Categorical,
    Clock,
    Codes,
    Floats,
    MappingSpec,
    ModelSpec,
)
from exporter.sources.classes import Classes
from exporter.sources.fields import Fields, Mask, Reader
from exporter.sources.names import Encoder, Vocabulary, classed, condition, errors, named, statuses
from exporter.sources.payloads import LabelSets, Values
from exporter.sources.rankings import Rankings
from exporter.sources.records import Records
from exporter.sources.sieve import Sieve
from exporter.sources.times import PER_SECOND, Times
from exporter.sources.values import Rows, identify, numbers, scoped

NAMELESS = "unknown"
"""The model, version or segment of a row that names none."""

_SEGMENT, _MADE, _TRUTH = "segment.", "made.", "truth."
"""What the names of columns begin with while their rows are on their way."""

_READERS: dict[str, Callable[[Fields, ModelSpec], Reader]] = {
    "binary": Classes,
    "multiclass": Classes,
    "multilabel": LabelSets,
    "regression": Values,
    "ranking": Rankings,
}
"""Who reads the answers and labels of each task."""


class Mapper:
    """Makes batches of one role from raw records, by the config's mapping; one Mapper serves one source.

    Its vocabularies live as long as it does, so that a code means the same in all its batches.  With *keep_ids* a
    batch carries the id texts; with *scope_by_model* its keys also tell models apart, for ids that repeat between
    models (then both roles must map `model`).
    """

    def __init__(
        self,
        spec: MappingSpec,
        model: ModelSpec,
        clock: Clock,
        keep_ids: bool = False,
        *,
        scope_by_model: bool = False,
    ) -> None:
        self.spec = spec
        self.model = model
        self._clock = clock
        self._keep_ids = keep_ids
        self._scope_by_model = scope_by_model
        self._times = Times(spec.timezone)
        plain = model.task in CLASSIFICATION
        classes = Vocabulary(model.classes if plain else [ANY])
        self._names = {
            "model": Vocabulary(),
            "version": Vocabulary(),
            "predicted": classes,
            "actual": classes,
            "error": Vocabulary(),
        }
        judges = {
            "model": named(self._names["model"]),
            "version": named(self._names["version"]),
            "error": errors(self._names["error"]),
            "status": statuses(self._names["error"]),
        }
        if plain:
            judges |= {"predicted": classed(classes, model), "actual": classed(classes, model)}
        self._fields = Fields(spec.fields, self._names, judges)
        self._answers = _READERS[model.task](self._fields, model)
        self._conditions = [(path, Encoder(condition(where))) for path, where in spec.where.items()]
        attributes = {f"{_SEGMENT}{name}": field for name, field in spec.segments.items()}
        groups = {name: Vocabulary() for name in attributes}
        self._segments = Fields(attributes, groups, {name: named(groups[name]) for name in groups})

    @property
    def paths(self) -> tuple[str, ...]:
        """Every dotted path that a record is asked for."""
        specs = [*self.spec.fields.values(), *self.spec.segments.values()]
        fields = [field.field for field in specs if field.field is not None]
        return tuple(dict.fromkeys([*fields, *self.spec.where]))

    def batch(self, records: Records) -> Batch:
        """The rows of *records* that hold; the others are in `skipped` or, with a reason, in `refused`.

        Never raises for what the records hold.
        """
        rows = Sieve(records)
        self._skip(rows)
        skipped = records.count - rows.count
        self._identify(rows)
        self._date(rows)
        if self.spec.role == "predictions":
            self._fail(rows)
            self._answers.predict(rows)
        self._label(rows)
        self._measure(rows)
        self._group(rows)
        done = rows.done
        columns = {
            name: Categorical(done[name], vocabulary.names) for name, vocabulary in self._names.items() if name in done
        }
        key = done["key"]
        if self._scope_by_model:
            one = Categorical(np.zeros(rows.count, np.int32), [self.model.name])
            key = scoped(key, columns.get("model", one))
        return Batch(
            role=self.spec.role,
            key=key,
            time=done["time"],
            model=columns.get("model"),
            version=columns.get("version"),
            predicted=columns.get("predicted"),
            actual=columns.get("actual"),
            actual_time=done.get("actual_time"),
            score=done.get("score"),
            latency=done.get("latency"),
            error=columns.get("error"),
            made=_part(done, _MADE),
            truth=_part(done, _TRUTH),
            labels=self._answers.labels,
            segments=self._grouped(done),
            refused=rows.refused,
            skipped=skipped,
            ids=done.get("ids"),
        )

    def _grouped(self, done: dict[str, Any]) -> dict[str, Categorical]:
        known = self._segments.names
        columns = _part(done, _SEGMENT)
        return {name: Categorical(codes, known[_SEGMENT + name].names) for name, codes in columns.items()}

    # --- one step each, in their order ---

    def _skip(self, rows: Sieve) -> None:
        for path, encoder in self._conditions:
            wanted = encoder.codes(rows.raw(path)) == 0
            if not wanted.all():
                rows.keep(np.flatnonzero(wanted))

    def _identify(self, rows: Sieve) -> None:
        ids, rows.done["key"], faults = identify(self._fields.column(rows, "id"))
        if self._keep_ids:
            rows.done["ids"] = ids
        if faults:
            rows.refuse(faults, "id")

    def _date(self, rows: Sieve) -> None:
        now = self._clock.wall()
        latest = now + self.spec.max_ahead
        name = "label_time" if self.spec.role == "labels" and "time" not in self._fields else "time"
        if name not in self._fields:
            rows.done["time"] = np.full(rows.count, now)
            return
        time, bad = self._times.seconds(self._fields.column(rows, name), self.spec.fields[name].unit)
        rows.done["time"] = time
        if len(bad) or not (time <= latest).all():
            rows.refuse({**_time_faults(time, bad, latest), "missing_time": _without(np.isnan(time), bad)}, name)

    def _fail(self, rows: Sieve) -> None:
        """Notes the error reason of rows that report a failure instead of a prediction."""
        if "status" in self._fields:
            self._fields.encode(rows, "status", "error", "status")
        if "error" in self._fields:
            told = self._fields.codes(rows, "error")
            noted: Codes | None = rows.done.get("error")
            rows.done["error"] = told if noted is None else np.where(told == ABSENT, noted, told)
        error: Codes | None = rows.done.get("error")
        if error is not None and (error >= 0).any():
            rows.done["failed"] = error >= 0

    def _label(self, rows: Sieve) -> None:
        labels = self.spec.role == "labels"
        if "actual" not in self._fields and not labels:
            return
        self._answers.label(rows)
        if labels:
            self._fields.require(rows, "actual", "missing_label")
            return
        rows.done["actual_time"] = rows.done["time"]
        if "label_time" in self._fields:
            latest = self._clock.wall() + self.spec.max_ahead
            unit = self.spec.fields["label_time"].unit
            told, bad = self._times.seconds(self._fields.column(rows, "label_time"), unit)
            rows.done["actual_time"] = np.where(np.isnan(told), rows.done["time"], told)
            if len(bad) or (told > latest).any():
                known = np.flatnonzero(rows.done["actual"] != ABSENT)
                faults = _time_faults(told, bad, latest)
                rows.refuse({reason: np.intersect1d(at, known) for reason, at in faults.items()}, "label_time")
        if len(rows.done["actual"]) and rows.done["actual"].min() == ABSENT:
            rows.done["actual_time"] = np.where(rows.done["actual"] == ABSENT, np.nan, rows.done["actual_time"])

    def _measure(self, rows: Sieve) -> None:
        if "latency" not in self._fields or self.spec.role == "labels":
            return
        latency, bad = numbers(self._fields.column(rows, "latency"), 0.0, np.inf)
        rows.done["latency"] = latency / PER_SECOND[self.spec.fields["latency"].unit or "s"]
        if len(bad):
            rows.refuse({"bad_latency": bad}, "latency")

    def _group(self, rows: Sieve) -> None:
        for name in ("model", "version"):
            if name in self._fields:
                self._fields.group(rows, name, name, NAMELESS)
        for name in self._segments.specs:
            self._segments.group(rows, name, "segment", NAMELESS)


def _part(done: dict[str, Any], beginning: str) -> dict[str, Any]:
    """The finished columns whose names begin so, by the rest of their names."""
    return {name.removeprefix(beginning): done[name] for name in done if name.startswith(beginning)}


def _time_faults(time: Floats, bad: Rows, latest: float) -> dict[str, Rows]:
    return {"bad_time": bad, "future_time": _without(time > latest, bad)}


def _without(mask: Mask, rows: Rows) -> Rows:
    """Where *mask* is true, *rows* left out."""
    mask[rows] = False
    return np.flatnonzero(mask)
