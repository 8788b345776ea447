"""Predictions that are one class each: named, decided by a score, or the likeliest of a list of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import ABSENT, Codes, Floats, ModelSpec
from exporter.sources.fields import Fields, Mask
from exporter.sources.names import name_of, two_classes
from exporter.sources.records import Column, Texts
from exporter.sources.sieve import Sieve
from exporter.sources.values import Rows, is_absent, listed, listed_numbers, number, numbers, parsed


class Classes:
    """Reads what a binary or multiclass model answered, and what is true."""

    def __init__(self, fields: Fields, model: ModelSpec) -> None:
        self.fields = fields
        self.labels: Sequence[str] = ()
        self.model = model
        two = model.task == "binary" and len(model.classes) != 2
        self._list = two_classes(model) if two else model.classes

    def predict(self, rows: Sieve) -> None:
        """Score and predicted class; what a failed row says of them is passed over."""
        predicted = self.fields.specs.get("predicted")
        if predicted is not None and predicted.threshold is None:
            self.fields.encode(rows, "predicted", "predicted", "prediction")
            self.fields.require(rows, "predicted", "missing_prediction")
        if "probabilities" in self.fields:
            self._weigh(rows, decides=predicted is None)
        if "score" in self.fields:
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

    def label(self, rows: Sieve) -> None:
        """The true class."""
        self.fields.encode(rows, "actual", "actual", "label")

    # --- scores ---

    def _score(self, rows: Sieve, field: str, into: str) -> None:
        """Fills the column *into* with probabilities, and refuses rows that hold something else."""
        score, bad = numbers(self.fields.column(rows, field), 0.0, 1.0)
        failed: Mask | None = rows.done.get("failed")
        if failed is not None:
            score[failed] = np.nan
            bad = bad[~failed[bad]]
        rows.done[into] = score
        if len(bad):
            rows.refuse({"bad_score": bad}, field)

    def _threshold(self, rows: Sieve, compared: str, threshold: float) -> None:
        """The predicted class of each row: the positive one where the column *compared* reaches *threshold*."""
        score: Floats = rows.done[compared]
        negative, positive = map(self.fields.names["predicted"].intern, two_classes(self.model))
        codes = np.where(score >= threshold, positive, negative)
        rows.done["predicted"] = np.where(np.isnan(score), ABSENT, codes).astype(np.int32)
        self.fields.require(rows, "predicted", "missing_prediction")

    def _weigh(self, rows: Sieve, *, decides: bool) -> None:
        """Reads lists of class probabilities: the score, and the likeliest class where that *decides*."""
        column = self.fields.column(rows, "probabilities")
        matrix, absent, bad = probabilities(column, self._list, self.model.max_classes, self.model.aliases)
        failed: Mask | None = rows.done.get("failed")
        if failed is not None:
            absent |= failed
            bad &= ~failed
        bad |= ~absent & ~sums_to_one(matrix)
        likeliest = matrix.argmax(axis=1) if matrix.size else np.zeros(rows.count, np.intp)
        held = ~(absent | bad)
        if decides:
            rows.done["predicted"] = self._class_at(np.where(held, likeliest, ABSENT))
        rows.done["score"] = np.where(held, self._score_of(rows, matrix, likeliest, decides=decides), np.nan)
        if self.model.probabilities:
            rows.done["made.probabilities"] = np.where(held[:, None], matrix, np.nan)
        if bad.any():
            rows.refuse({"bad_probabilities": np.flatnonzero(bad)}, "probabilities")
        if decides:
            self.fields.require(rows, "predicted", "missing_prediction")

    def _score_of(self, rows: Sieve, matrix: Floats, likeliest: Rows, *, decides: bool) -> Floats:
        """The probability of the positive class in a binary task, else of the predicted class; shape (n,)."""
        if not matrix.size:
            return np.full(rows.count, np.nan)
        if self.model.task == "binary":
            column: Floats = matrix[:, self._list.index(two_classes(self.model)[1])]
            return column
        at = likeliest
        if not decides:
            codes: Codes = rows.done["predicted"] if "predicted" in rows.done else np.full(rows.count, ABSENT)
            names = self.fields.names["predicted"].names
            places = {name: place for place, name in enumerate(self._list or map(str, range(matrix.shape[1])))}
            at = np.array([places.get(name, ABSENT) for name in names] + [ABSENT], np.intp)[codes]
        score: Floats = np.where(at == ABSENT, np.nan, matrix[np.arange(len(matrix)), at])
        return score

    def _class_at(self, places: NDArray[np.intp]) -> Codes:
        """Class codes of *places* in the list of probabilities (ABSENT stays); undeclared classes go by number."""
        names = self._list
        intern = self.fields.names["predicted"].intern
        codes = {ABSENT: ABSENT}
        for place in dict.fromkeys(places.tolist()):
            if place != ABSENT:
                codes[place] = intern(names[place] if names else str(place))
        return np.fromiter(map(codes.__getitem__, places.tolist()), np.int32, len(places))


def sums_to_one(matrix: Floats) -> Mask:
    """Which rows of *matrix*, shape (n, k), may be the probabilities of all classes.

    What rounding to two decimals cannot explain is a fault: the sum may be off by 0.005 for each class, and 0.01 more.
    """
    near: Mask = np.abs(matrix.sum(axis=1) - 1) <= 0.01 + 0.005 * matrix.shape[1]
    return near


def probabilities(
    column: Column, classes: Sequence[str], most: int, aliases: Mapping[str, str]
) -> tuple[Floats, Mask, Mask]:
    """Probabilities per class, shape (n, k), and which rows have none, and which have bad ones.

    A row has a list in the order of *classes*, or a mapping of classes (under any of their *aliases*) to
    probabilities, in which those that are left out have 0.  k is the number of *classes*, or where none are declared
    the longest list found, of 2 to *most* numbers; shorter ones are filled with 0.
    """
    count, width = len(column), len(classes)
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
            found = [] if absent[row] else _shares(value, classes, aliases)
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


def _shares(value: Any, classes: Sequence[str], aliases: Mapping[str, str]) -> list[float]:
    """The probabilities in *value*, in the order of *classes*.

    Raises ValueError, TypeError or OverflowError where it holds none, or those of a class that is not among *classes*.
    """
    if isinstance(value, str) and value.startswith("{"):
        value = parsed(value)
    if not isinstance(value, dict):
        return listed_numbers(value)
    told: dict[str | int, float] = {}
    for written, share in value.items():
        name = name_of(written)
        told[aliases.get(name, name) if isinstance(name, str) else name] = number(share)
    if not told.keys() <= set(classes) or len(told) < len(value):
        raise ValueError("not the declared classes, or one of them twice")
    return [told.get(name, 0.0) for name in classes]
