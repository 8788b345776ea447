"""Quality of predicted sets of labels: every label as a yes or no of its own, and each set as a whole.

Definitions are scikit-learn's for indicator matrices (User Guide 3.4.4).  Per label there are the outcomes of one
against the rest; `micro`, `macro` and `weighted` average over the labels that occur in the window, as for classes.
`samples` is the mean over the predictions for which a measure is defined (`zero_division=nan`): precision needs a
predicted label, recall a true one, F1 one of both.  Accuracy is that of whole sets; the Hamming loss is the share of
wrong labels among all known labels of all predictions.

A row is counted once for each few labels, by which of these were predicted and which are true, instead of once for
each label: what became of a single label is a sum over that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import LABELS, Cells, Floats, MetricSpec, ModelSpec, Scored, Series
from exporter.families import labelled
from exporter.families.labelled import UNDEFINED, both, finite, over_classes, twin
from exporter.families.quality import MEASURES, OUTCOMES

_WIDTHS = ((16, 4), (48, 3), (LABELS, 2))
"""How many labels are counted together, by how many there can be: a thousand states at most."""
_MOST = 2 * LABELS + 1
_QUOTIENT = np.arange(LABELS + 1)[:, None] / np.maximum(np.arange(_MOST), 1)
"""Upper by lower, 0 where lower is; shape (LABELS + 1, _MOST)."""
_KINDS = np.array(
    [
        [1, 1, 0, 0, 0],  # nothing predicted, nothing true
        [1, 0, 1, 0, 1],  # something predicted
        [1, 0, 0, 1, 1],  # something true
        [1, 0, 1, 1, 1],  # both
        [1, 1, 1, 1, 1],  # both, and the same
    ]
)
"""What a row adds by its kind: to all, to those right as a whole, to those with a precision, a recall, an F1."""
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
    meaning = "few labels at a time"

    def __init__(self, model: ModelSpec) -> None:
        self.labels = model.label_capacity
        self.width = next(width for most, width in _WIDTHS if self.labels <= most)
        """How many labels are counted together."""
        self.sums = -(-self.labels // self.width) * 4**self.width
        """Where sums of the measures of single sets begin, behind the states of all labels; then come the numbers of
        rows by their kind."""
        self.kinds = self.sums + len(MEASURES)
        self.size = self.kinds + len(_KINDS) if model.task in self.tasks else 0
        self.outcomes = _outcomes(self.width)

    def cells(self, rows: Scored) -> Cells:
        assert rows.made is not None  # noqa: S101 - the layout of a multilabel model has both
        assert rows.truth is not None  # noqa: S101
        predicted, actual = (side["labels"].astype(np.uint64) for side in (rows.made, rows.truth))
        hit, made, true = (np.bitwise_count(one).astype(np.intp) for one in (predicted & actual, predicted, actual))
        some = made > 0
        kind = some + 2 * (true > 0) + (some & (predicted == actual))
        scores = [_QUOTIENT.take(hit * _MOST + made), _QUOTIENT.take(hit * _MOST + true)]
        scores.append(2 * _QUOTIENT.take(hit * _MOST + made + true))
        return Cells(
            row=None,
            local=self.kinds + kind,
            more=(
                *((self.sums + at, score) for at, score in enumerate(scores)),
                *self._states(predicted, actual),
            ),
        )

    def _states(self, predicted: np.ndarray, actual: np.ndarray) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """The cells of every few labels, and 1 for rows that have any of them; shapes (n,) each."""
        used = int(np.bitwise_or.reduce(predicted | actual, initial=0)).bit_length()
        few = np.uint64(2**self.width - 1)
        for at in range(-(-used // self.width)):
            shift = np.uint64(at * self.width)
            state = (predicted >> shift & few) | (actual >> shift & few) << np.uint64(self.width)
            yield state.astype(np.int64) + at * 4**self.width, (state > 0).astype(np.float64)

    def _counted(self, sums: Floats, known: int) -> tuple[Floats, list[float]]:
        """tp, fp and fn of the *known* labels, shape (known, 3), and the numbers of rows by what `_KINDS` adds to."""
        states = sums[: self.sums].reshape(-1, 4**self.width)[: -(-known // self.width)]
        outcomes: Floats = (states @ self.outcomes).reshape(-1, 3)[:known]
        return outcomes, (sums[self.kinds :] @ _KINDS).tolist()

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
        known, out = len(names["label"]), list[float]()
        sides = [(side, *self._counted(side, known)) for side in (added, retracted)]
        for _, _, (total, exact, *_) in sides:
            out += [int(exact), int(total - exact)]
        for _, per_label, (total, *_) in sides:
            rest = total - per_label.sum(axis=1)
            out += np.column_stack([per_label, rest]).ravel().astype(np.int64).tolist()
        for side, _, _ in sides:
            out += side[self.sums : self.kinds].tolist()
        return out + [int(count) for _, _, (_, _, *defined) in sides for count in defined]

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        del names
        averaged = [Series(f"model_{measure}_ratio", (("average", a),)) for measure in MEASURES for a in AVERAGES]
        first = ("model_window_labelled_predictions", "model_accuracy_ratio", "model_hamming_loss_ratio")
        return [*map(Series, first), *averaged]

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        known = len(names["label"])
        outcomes, (total, exact, *defined) = self._counted(counts, known)
        if not total:
            return [0, *[UNDEFINED] * (2 + len(MEASURES) * len(AVERAGES))]
        tp, fp, fn = outcomes[outcomes.any(axis=1)].T
        wrong = float((fp + fn).sum())
        out = [int(total), exact / total, wrong / (total * known) if known else UNDEFINED]
        parts = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}
        with np.errstate(divide="ignore", invalid="ignore"):
            for at, (upper, lower) in enumerate(parts.values()):
                means = over_classes(upper / lower, np.ones(len(tp), np.bool_), tp + fn)
                # Where none is defined, what was taken back may have left a rounding.
                of_samples = np.clip(counts[self.sums + at] / (defined[at] or np.nan), 0, 1)
                out += finite(np.array([upper.sum() / lower.sum(), *means, of_samples])).tolist()
        return out


def _outcomes(width: int) -> Floats:
    """Which of `width` labels are tp, fp, fn in each state of predicted, then true bits; shape (states, 3 width)."""
    state, label = np.arange(4**width)[:, None], np.arange(width)
    predicted, actual = state >> label & 1 > 0, state >> width >> label & 1 > 0
    outcomes = np.stack([predicted & actual, predicted & ~actual, ~predicted & actual], axis=2)
    return outcomes.reshape(len(state), -1).astype(np.float64)
