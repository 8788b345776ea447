"""Quality of predicted sets of labels: every label as a yes or no of its own, and each set as a whole.

Definitions are scikit-learn's for indicator matrices (User Guide 3.4.4).  Per label there are the outcomes of one
against the rest; `micro`, `macro` and `weighted` average over the labels that occur in the window, as for classes.
`samples` is the mean over the predictions for which a measure is defined (`zero_division=nan`): precision needs a
predicted label, recall a true one, F1 one of both.  Accuracy is that of whole sets; the Hamming loss is the share of
wrong labels among all known labels of all predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from exporter.contracts import Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import labelled
from exporter.families.labelled import UNDEFINED, both, mean_ratio, twin
from exporter.families.quality import MEASURES, OUTCOMES

AVERAGES = ("micro", "macro", "weighted", "samples")


class Multilabel:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *labelled.LABELLED,
        *labelled.OUTCOMES,
        *twin(
            "model_sample_scores_total",
            "Labelled predictions of which a measure of their own set of labels is defined.",
            ("measure",),
        ),
        *twin(
            "model_sample_score_sum_total",
            "Sum of precision, recall or F1 of the sets of labels of single predictions; over their number it is the "
            "`samples` average.",
            ("measure",),
        ),
        labelled.ACCURACY,
        labelled.PRECISION,
        labelled.RECALL,
        labelled.F1,
        MetricSpec(
            "model_hamming_loss_ratio",
            "gauge",
            "Share of wrong labels (fp + fn) among all known labels of the labelled predictions whose label falls "
            "into the window; computed each cycle.",
            ("window",),
        ),
        labelled.IN_WINDOW,
    )
    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel"})
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    windowed: ClassVar[bool] = True
    meaning = ""

    def __init__(self, model: ModelSpec) -> None:
        self.labels = model.label_capacity
        self.total = 3 * self.labels
        """The cell of all rows; the next one is of those that are right as a whole.  Before them stand tp, fp and fn
        of every label, behind them the sums and the counts of the three measures of single sets."""
        self.size = self.total + 2 + 2 * len(MEASURES) if model.task in self.tasks else 0

    def cells(self, rows: Scored) -> Cells:
        assert rows.made is not None  # noqa: S101 - the layout of a multilabel model has both
        assert rows.truth is not None  # noqa: S101
        predicted, actual = (self._bits(side["labels"]) for side in (rows.made, rows.truth))
        outcome = np.stack([predicted & actual, predicted & ~actual, ~predicted & actual], axis=2)
        row, label, kind = np.nonzero(outcome)
        everyone = np.arange(len(rows))
        exact = np.flatnonzero((predicted == actual).all(axis=1))
        who, measure, score = _of_samples(*outcome.sum(axis=1).T)
        first = self.total + 2
        return Cells(
            row=np.concatenate([row, everyone, exact, who, who]),
            local=np.concatenate(
                [3 * label + kind, 0 * everyone + self.total, 0 * exact + self.total + 1,
                 first + measure, first + len(MEASURES) + measure]
            ).astype(np.int64),
            weight=np.concatenate([np.ones(len(row) + len(rows) + len(exact)), score, np.ones(len(who))]),
        )  # fmt: skip

    def _bits(self, sets: np.ndarray) -> np.ndarray:
        """Which labels are in each of *sets*, shape (n, labels)."""
        bits: np.ndarray = (sets[:, None] >> np.arange(self.labels, dtype=np.uint64)) & np.uint64(1) > 0
        return bits

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        measures = [(("measure", measure),) for measure in MEASURES]
        return [
            *both("model_labelled_predictions", (("correct", "true"),), (("correct", "false"),)),
            *both("model_outcomes", *((("class", c), ("outcome", o)) for c in names["label"] for o in OUTCOMES)),
            *both("model_sample_score_sum", *measures),
            *both("model_sample_scores", *measures),
        ]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        known, sides = len(names["label"]), (added, retracted)
        out: list[float] = []
        for side in sides:
            total, exact = int(side[self.total]), int(side[self.total + 1])
            out += [exact, total - exact]
        for side in sides:
            per_label = side[: self.total].reshape(-1, 3)[:known]
            rest = side[self.total] - per_label.sum(axis=1)
            out += np.column_stack([per_label, rest]).ravel().astype(np.int64).tolist()
        first = self.total + 2
        for side in sides:
            out += side[first : first + len(MEASURES)].tolist()
        return out + [int(count) for side in sides for count in side[first + len(MEASURES) :]]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        averaged = [Series(f"model_{measure}_ratio", (("average", a),)) for measure in MEASURES for a in AVERAGES]
        first = ("model_window_labelled_predictions", "model_accuracy_ratio", "model_hamming_loss_ratio")
        return [*map(Series, first), *averaged]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        total, known = float(counts[self.total]), len(names["label"])
        if not total:
            return [0, *[UNDEFINED] * (2 + len(MEASURES) * len(AVERAGES))]
        tp, fp, fn = counts[: self.total].reshape(-1, 3)[:known].T
        here = (tp + fp + fn) > 0
        tp, fp, fn = tp[here], fp[here], fn[here]
        wrong = float((fp + fn).sum())
        out = [int(total), float(counts[self.total + 1] / total), wrong / (total * known) if known else UNDEFINED]
        parts = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
        first = self.total + 2
        for at, (upper, lower) in enumerate(parts.values()):
            defined = counts[first + len(MEASURES) + at]
            out += [
                float(upper.sum() / lower.sum()) if lower.sum() else UNDEFINED,
                mean_ratio(upper.tolist(), lower.tolist()),
                mean_ratio(upper.tolist(), lower.tolist(), (tp + fn).tolist()),
                float(np.clip(counts[first + at] / defined, 0, 1)) if defined else UNDEFINED,
            ]
        return out


def _of_samples(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> tuple[np.ndarray, np.ndarray, Floats]:
    """Precision, recall and F1 of each row for which they are defined: its number, which measure, and the value."""
    upper = np.stack([tp, tp, 2 * tp])
    lower = np.stack([tp + fp, tp + fn, 2 * tp + fp + fn])
    measure, row = np.nonzero(lower)
    return row, measure, upper[measure, row] / lower[measure, row]
