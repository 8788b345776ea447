"""Batches in codes of our own: what the join and the families compute with instead of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import (
    ABSENT,
    ANY,
    CLASSIFICATION,
    PLAIN,
    UNKNOWN,
    Batch,
    Categorical,
    Codes,
    Floats,
    Keys,
    ModelSpec,
    Refusals,
    picked,
)
from exporter.families.traffic import ERRORS
from exporter.join import Made, Told
from exporter.pipeline.names import OTHER, Vocabulary
from exporter.pipeline.payload import Payload

MODELS = 1000
"""How many values of a `model` column are told apart; later ones count as `other`."""
VERSION = "unknown"
"""The version of predictions whose log names none."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Batches of one role, with our codes instead of theirs; columns as in `Batch`, none of them missing.

    `made` and `truth` are whole columns of the model's layout, None where it has none (or the role).
    """

    key: Keys
    time: Floats
    group: Codes
    predicted: Codes
    actual: Codes
    actual_time: Floats
    score: Floats
    latency: Floats
    error: Codes
    made: NDArray[np.void] | None = None
    truth: NDArray[np.void] | None = None

    @property
    def remembered(self) -> NDArray[np.bool_]:
        """Which rows are predictions that a label can answer: those that did not fail."""
        return (self.predicted >= 0) & (self.error < 0)

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        columns = (getattr(self, name) for name in self.__slots__)
        kept: Iterator[Any] = (None if column is None else column[keep] for column in columns)
        return Rows(*kept)


class Codebook:
    """The names that one model's codes stand for; it grows with the data, up to the configured limits.

    A *group* is a (model, version) pair, and the unit of all counts.
    """

    def __init__(self, spec: ModelSpec, max_versions: int) -> None:
        self.spec = spec
        self.max_versions = max_versions
        known = spec.classes or ((spec.positive,) if spec.positive else ())
        if spec.task not in CLASSIFICATION:
            known = (ANY,)
        self.classes = Vocabulary(spec.capacity, known)
        self.errors = Vocabulary(ERRORS, overflow=OTHER)
        # A record has two bytes for its group.
        self.models = Vocabulary(max(2, min(MODELS, UNKNOWN // max_versions)), [spec.name], overflow=OTHER)
        self.versions = Vocabulary(max_versions, overflow=OTHER)
        self.groups: list[tuple[int, int]] = []
        self.payload = Payload(spec)

    @property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The vocabularies that families know of."""
        return {"class": self.classes.names, "error": self.errors.names, **self.payload.names}

    @property
    def folded(self) -> dict[str, int]:
        """How many values since this process began are beyond the limit of their label, and count as `other`."""
        limited = {"model": self.models, "version": self.versions, "reason": self.errors}
        return {label: vocabulary.folded for label, vocabulary in limited.items()}

    def labels(self, group: int) -> tuple[tuple[str, str], ...]:
        """The model and version labels of *group*."""
        model, version = self.groups[group]
        return ("model", self.models.names[model]), ("version", self.versions.names[version])

    def save(self) -> dict[str, list[str]]:
        """The names of every vocabulary, in code order."""
        return {name: vocabulary.names for name, vocabulary in self._vocabularies.items()}

    def restore(self, names: Mapping[str, Sequence[str]], groups: Sequence[tuple[int, int]]) -> None:
        """Take back what `save` gave, before anything else was coded."""
        for name, vocabulary in self._vocabularies.items():
            for text in names[name]:
                vocabulary.code(text)
        self.groups = list(groups)

    @property
    def _vocabularies(self) -> dict[str, Vocabulary]:
        own = {"classes": self.classes, "errors": self.errors, "models": self.models, "versions": self.versions}
        return own | self.payload.vocabularies

    # --- batches ---------------------------------------------------------------------------------

    def rows(self, batches: Sequence[Batch], refused: Refusals) -> Rows:
        """All *batches*, one after the other, without rows of classes for which there is no room: *refused*."""
        parts = [self._coded(batch, refused) for batch in batches]
        if len(parts) == 1:
            return parts[0]
        code, number = np.empty(0, np.int32), np.empty(0)
        empty = Rows(
            np.empty((0, 2), np.uint64), number, code, code, code, number, number, number, code, *self.payload.empty
        )
        parts = [part for part in parts if len(part.key)] or [empty]
        columns = ([getattr(part, name) for part in parts] for name in Rows.__slots__)
        joined: Iterator[Any] = (None if column[0] is None else _concatenated(column) for column in columns)
        return Rows(*joined)

    def _coded(self, batch: Batch, refused: Refusals) -> Rows:
        count = len(batch)
        absent, unknown = np.broadcast_to(np.int32(ABSENT), count), np.broadcast_to(np.nan, count)
        predicted = self.classes.codes(batch.predicted) if batch.predicted else absent
        actual = self.classes.codes(batch.actual) if batch.actual else absent
        rows = Rows(
            key=batch.key,
            time=batch.time,
            group=self._group(batch) if batch.role == "predictions" else absent,
            predicted=predicted,
            actual=actual,
            actual_time=batch.time if batch.actual_time is None else batch.actual_time,
            score=unknown if batch.score is None else batch.score,
            latency=unknown if batch.latency is None else batch.latency,
            error=self.errors.codes(batch.error) if batch.error else absent,
        )
        crowded = np.zeros(count, np.bool_)
        if self.payload.layout != PLAIN:
            made, truth, crowded = self.payload.coded(batch)
            rows = replace(rows, made=made, truth=truth)
        for column, codes in ((batch.predicted, predicted), (batch.actual, actual)):
            if column is not None:
                crowded |= (column.codes >= 0) & (codes == ABSENT)
        if crowded.any():
            reason, hint = self._crowded()
            refused.add(reason, self.spec.name, hint, int(crowded.sum()))
            rows = rows.where(~crowded)
        return rows

    def _crowded(self) -> tuple[str, str]:
        """The reason for which a row of one class too many is refused, and the way out."""
        if self.spec.task == "binary":
            taken = " and ".join(self.classes.names)
            return "unknown_class", f"two classes were seen before, {taken}: check `positive`, or declare `classes`"
        if self.spec.task == "multilabel":
            return "too_many_classes", f"more than {self.spec.label_capacity} labels: declare `classes`"
        return "too_many_classes", f"more than {self.spec.capacity} classes: declare `classes`, or raise `max_classes`"

    def _group(self, batch: Batch) -> Codes:
        """Group codes of a batch of predictions; a pair that was never seen gets one."""
        model = _named(self.models, batch.model, self.spec.name, len(batch))
        version = _named(self.versions, batch.version, VERSION, len(batch))
        pair = model.astype(np.int64) * self.max_versions + version
        known = {m * self.max_versions + v: code for code, (m, v) in enumerate(self.groups)}
        table = np.full(len(self.models.names) * self.max_versions, ABSENT, np.int32)
        table[list(known)] = list(known.values())
        for new in sorted(set(pair[table[pair] == ABSENT].tolist())):
            table[new] = len(self.groups)
            self.groups.append(divmod(new, self.max_versions))
        codes: Codes = table[pair]
        return codes


def _named(vocabulary: Vocabulary, column: Categorical | None, nameless: str, count: int) -> Codes:
    """Codes of a *column* in which no row is without a name: *nameless* stands for those that have none."""
    codes = np.full(count, ABSENT, np.int32) if column is None else vocabulary.codes(column)
    if len(codes) and codes.min() == ABSENT:
        codes[codes == ABSENT] = vocabulary.code(nameless)
    return codes


def sides(made: Rows, told: Rows) -> tuple[Made, Told]:
    """Predictions to remember, and labels from both roles: those in prediction rows first."""
    remembered = made.remembered
    good = slice(None) if remembered.all() else np.flatnonzero(remembered)
    own = np.flatnonzero(made.actual >= 0)
    predictions = Made(
        key=made.key[good],
        time=made.time[good],
        group=made.group[good],
        predicted=made.predicted[good],
        score=made.score[good],
        extra=None if made.made is None else picked(made.made, good),
    )
    if not len(own):
        return predictions, Told(key=told.key, time=told.time, actual=told.actual, truth=told.truth)
    labels = Told(
        key=np.concatenate([made.key[own], told.key]),
        time=np.concatenate([made.actual_time[own], told.time]),
        actual=np.concatenate([made.actual[own], told.actual]),
        truth=None if made.truth is None or told.truth is None else np.concatenate([made.truth[own], told.truth]),
    )
    return predictions, labels


def _concatenated(columns: list[NDArray[Any]]) -> NDArray[Any]:
    """One column of all; one that no part has is a single value repeated, and takes no room."""
    if len(columns) > 1 and all(column.strides == (0,) for column in columns):
        return np.broadcast_to(columns[0][0], sum(map(len, columns)))
    return np.concatenate(columns)
