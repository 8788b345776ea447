"""Raw records become a batch: fields by their paths, each row judged, none lost without a reason.

A row leaves at the first fault found, in the order id, time, error, prediction, label, latency, model, version;
later steps never see it.  While nothing is wrong no step looks at single rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import ABSENT, Batch, Categorical, Clock, Codes, FieldSpec, Floats, MappingSpec, ModelSpec
from exporter.sources.names import (
    BAD,
    TOO_LONG,
    UNKNOWN_CLASS,
    Encoder,
    Vocabulary,
    classed,
    condition,
    errors,
    named,
    statuses,
    text_of,
    translated,
    two_classes,
)
from exporter.sources.records import Column, Records, Texts, Words
from exporter.sources.sieve import Sieve
from exporter.sources.times import PER_SECOND, Times
from exporter.sources.values import Rows, identify, is_absent, listed, listed_numbers, numbers, scoped

NAMELESS = "unknown"
"""The model or version of a row that names none."""

_Mask = NDArray[np.bool_]


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
        self._fields = spec.fields
        self._clock = clock
        self._keep_ids = keep_ids
        self._scope_by_model = scope_by_model
        self._times = Times(spec.timezone)
        classes = Vocabulary(model.classes)
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
            "predicted": classed(classes, model),
            "actual": classed(classes, model),
            "error": errors(self._names["error"]),
            "status": statuses(self._names["error"]),
        }
        self._encoders = {
            name: Encoder(translated(judge, spec.fields[name].map))
            for name, judge in judges.items()
            if name in spec.fields
        }
        self._conditions = [(path, Encoder(condition(where))) for path, where in spec.where.items()]
        two = model.task == "binary" and len(model.classes) != 2
        self._class_list = two_classes(model) if two else model.classes

    @property
    def paths(self) -> tuple[str, ...]:
        """Every dotted path that a record is asked for."""
        fields = [field.field for field in self._fields.values() if field.field is not None]
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
            self._predict(rows)
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
            refused=rows.refused,
            skipped=skipped,
            ids=done.get("ids"),
        )

    # --- one step each, in their order ---

    def _skip(self, rows: Sieve) -> None:
        for path, encoder in self._conditions:
            wanted = encoder.codes(rows.raw(path)) == 0
            if not wanted.all():
                rows.keep(np.flatnonzero(wanted))

    def _identify(self, rows: Sieve) -> None:
        ids, rows.done["key"], faults = identify(self._column(rows, "id"))
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
        time, bad = self._times.seconds(self._column(rows, name), self._fields[name].unit)
        rows.done["time"] = time
        if len(bad) or not (time <= latest).all():
            rows.refuse({**_time_faults(time, bad, latest), "missing_time": _without(np.isnan(time), bad)}, name)

    def _fail(self, rows: Sieve) -> None:
        """Notes the error reason of rows that report a failure instead of a prediction."""
        if "status" in self._fields:
            self._encode(rows, "status", "error", "status")
        if "error" in self._fields:
            told = self._codes(rows, "error")
            noted: Codes | None = rows.done.get("error")
            rows.done["error"] = told if noted is None else np.where(told == ABSENT, noted, told)
        error: Codes | None = rows.done.get("error")
        if error is not None and (error >= 0).any():
            rows.done["failed"] = error >= 0

    def _predict(self, rows: Sieve) -> None:
        """Score and predicted class; what a failed row says of them is passed over."""
        predicted = self._fields.get("predicted")
        if predicted is not None and predicted.threshold is None:
            self._encode(rows, "predicted", "predicted", "prediction")
            self._require(rows, "predicted", "missing_prediction")
        if "probabilities" in self._fields:
            self._weigh(rows, decides=predicted is None)
        if "score" in self._fields:
            self._score(rows, "score", "score")
        if "predicted" in rows.done:
            return
        if predicted is None:
            if self.model.task == "binary" and "score" in rows.done:
                self._threshold(rows, "score", 0.5)
        elif predicted.threshold is not None and (predicted.field is not None or predicted.constant is not None):
            self._score(rows, "predicted", "compared")
            rows.done.setdefault("score", rows.done["compared"])
            self._threshold(rows, "compared", predicted.threshold)
        elif predicted.threshold is not None and "score" in rows.done:
            self._threshold(rows, "score", predicted.threshold)

    def _label(self, rows: Sieve) -> None:
        labels = self.spec.role == "labels"
        if "actual" not in self._fields and not labels:
            return
        self._encode(rows, "actual", "actual", "label")
        if labels:
            self._require(rows, "actual", "missing_label")
            return
        rows.done["actual_time"] = rows.done["time"]
        if "label_time" in self._fields:
            latest = self._clock.wall() + self.spec.max_ahead
            told, bad = self._times.seconds(self._column(rows, "label_time"), self._fields["label_time"].unit)
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
        latency, bad = numbers(self._column(rows, "latency"), 0.0, np.inf)
        rows.done["latency"] = latency / PER_SECOND[self._fields["latency"].unit or "s"]
        if len(bad):
            rows.refuse({"bad_latency": bad}, "latency")

    def _group(self, rows: Sieve) -> None:
        for name in ("model", "version"):
            if name not in self._fields:
                continue
            self._encode(rows, name, name, name)
            codes = rows.done[name]
            if len(codes) and codes.min() == ABSENT:
                codes[codes == ABSENT] = self._names[name].intern(NAMELESS)

    # --- names ---

    def _codes(self, rows: Sieve, field: str) -> Codes:
        """Codes of a mapped *field*; for a constant, one judgement does for all rows."""
        spec = self._fields.get(field, FieldSpec())
        if spec.field is None:
            code = self._encoders[field].codes([spec.constant])[0] if field in self._encoders else ABSENT
            return np.full(rows.count, code, np.int32)
        return self._encoders[field].codes(rows.raw(spec.field))

    def _encode(self, rows: Sieve, field: str, into: str, what: str) -> None:
        """Fills the column *into* with codes, and refuses rows whose value is no name."""
        codes = self._codes(rows, field)
        failed: _Mask | None = rows.done.get("failed")
        if failed is not None and field == "predicted":
            codes[failed] = ABSENT
        rows.done[into] = codes
        if len(codes) and codes.min() < ABSENT:
            reasons = {BAD: f"bad_{what}", TOO_LONG: "value_too_long", UNKNOWN_CLASS: "unknown_class"}
            rows.refuse({reason: np.flatnonzero(codes == code) for code, reason in reasons.items()}, field)

    def _require(self, rows: Sieve, name: str, reason: str) -> None:
        """Refuses rows without a value in the finished column *name*, unless they report a failure."""
        codes: Codes = rows.done[name]
        if len(codes) and codes.min() < 0:
            failed = rows.done.get("failed")
            rows.refuse({reason: np.flatnonzero(codes < 0 if failed is None else (codes < 0) & ~failed)}, name)

    # --- scores ---

    def _column(self, rows: Sieve, field: str) -> Column:
        """The raw column of a mapped *field*, its `map` applied."""
        spec = self._fields.get(field, FieldSpec())
        if spec.field is None:
            return [spec.constant] * rows.count
        column = rows.raw(spec.field)
        if isinstance(column, Words):
            column = column.texts()
        if spec.map:
            texts = map(text_of, listed(column))
            return [
                value if text is None else spec.map.get(text, value)
                for text, value in zip(texts, listed(column), strict=True)
            ]
        return column

    def _score(self, rows: Sieve, field: str, into: str) -> None:
        """Fills the column *into* with probabilities, and refuses rows that hold something else."""
        score, bad = numbers(self._column(rows, field), 0.0, 1.0)
        failed: _Mask | None = rows.done.get("failed")
        if failed is not None:
            score[failed] = np.nan
            bad = bad[~failed[bad]]
        rows.done[into] = score
        if len(bad):
            rows.refuse({"bad_score": bad}, field)

    def _threshold(self, rows: Sieve, compared: str, threshold: float) -> None:
        """The predicted class of each row: the positive one where the column *compared* reaches *threshold*."""
        score: Floats = rows.done[compared]
        negative, positive = map(self._names["predicted"].intern, two_classes(self.model))
        codes = np.where(score >= threshold, positive, negative)
        rows.done["predicted"] = np.where(np.isnan(score), ABSENT, codes).astype(np.int32)
        self._require(rows, "predicted", "missing_prediction")

    def _weigh(self, rows: Sieve, *, decides: bool) -> None:
        """Reads lists of class probabilities: the score, and the likeliest class where that *decides*."""
        matrix, absent, bad = _probabilities(
            self._column(rows, "probabilities"), len(self._class_list), self.model.max_classes
        )
        failed: _Mask | None = rows.done.get("failed")
        if failed is not None:
            absent |= failed
            bad &= ~failed
        likeliest = matrix.argmax(axis=1) if matrix.size else np.zeros(rows.count, np.intp)
        held = ~(absent | bad)
        if decides:
            rows.done["predicted"] = self._class_at(np.where(held, likeliest, ABSENT))
        rows.done["score"] = np.where(held, self._score_of(rows, matrix, likeliest, decides=decides), np.nan)
        if bad.any():
            rows.refuse({"bad_probabilities": np.flatnonzero(bad)}, "probabilities")
        if decides:
            self._require(rows, "predicted", "missing_prediction")

    def _score_of(self, rows: Sieve, matrix: Floats, likeliest: Rows, *, decides: bool) -> Floats:
        """The probability of the positive class in a binary task, else of the predicted class; shape (n,)."""
        if not matrix.size:
            return np.full(rows.count, np.nan)
        if self.model.task == "binary":
            column: Floats = matrix[:, self._class_list.index(two_classes(self.model)[1])]
            return column
        at = likeliest
        if not decides:
            codes: Codes = rows.done["predicted"] if "predicted" in rows.done else np.full(rows.count, ABSENT)
            names = self._names["predicted"].names
            places = {name: place for place, name in enumerate(self._class_list or map(str, range(matrix.shape[1])))}
            at = np.array([places.get(name, ABSENT) for name in names] + [ABSENT], np.intp)[codes]
        score: Floats = np.where(at == ABSENT, np.nan, matrix[np.arange(len(matrix)), at])
        return score

    def _class_at(self, places: NDArray[np.intp]) -> Codes:
        """Class codes of *places* in the list of probabilities (ABSENT stays); undeclared classes go by number."""
        names = self._class_list
        intern = self._names["predicted"].intern
        codes = {ABSENT: ABSENT}
        for place in dict.fromkeys(places.tolist()):
            if place != ABSENT:
                codes[place] = intern(names[place] if names else str(place))
        return np.fromiter(map(codes.__getitem__, places.tolist()), np.int32, len(places))


def _time_faults(time: Floats, bad: Rows, latest: float) -> dict[str, Rows]:
    return {"bad_time": bad, "future_time": _without(time > latest, bad)}


def _without(mask: _Mask, rows: Rows) -> Rows:
    """Where *mask* is true, *rows* left out."""
    mask[rows] = False
    return np.flatnonzero(mask)


def _probabilities(column: Column, width: int, most: int) -> tuple[Floats, _Mask, _Mask]:
    """Probabilities per class, shape (n, k), and which rows have none, and which have bad ones.

    k is *width*, or where that is 0 the longest list found, of 2 to *most* numbers; shorter ones are filled with 0.
    """
    count = len(column)
    try:
        matrix = np.array(None if isinstance(column, Texts) else column, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.ndim == 2 and count and (matrix.shape[1] == width or (not width and 2 <= matrix.shape[1] <= most)):
        return matrix, np.zeros(count, np.bool_), np.asarray(~((matrix >= 0) & (matrix <= 1)).all(axis=1))
    absent, bad = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    lists: dict[int, list[float]] = {}
    for row, value in enumerate(listed(column)):
        absent[row] = is_absent(value)
        try:
            found = [] if absent[row] else listed_numbers(value)
        except (TypeError, ValueError, OverflowError):
            found = []
        fits = len(found) == width if width else 2 <= len(found) <= most
        if fits and all(0.0 <= share <= 1.0 for share in found):
            lists[row] = found
        else:
            bad[row] = not absent[row]
    matrix = np.zeros((count, width or max(map(len, lists.values()), default=0)))
    for row, found in lists.items():
        matrix[row, : len(found)] = found
    return matrix, absent, bad
