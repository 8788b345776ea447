"""Quality by group of an attribute such as region, and how far apart the groups are (fairness).

Counted are tp, fp, fn and tn of every class against the rest, in every group: all else follows from them.  A group has
the measures of the whole model: scikit-learn's precision, recall and F1, of a binary model about the positive class,
else macro averages.  Measures of fairness are fairlearn's, with their names (User Guide, "Assessment"), about the
positive class of a binary model; d is the largest less the smallest value of groups, r the smallest by the largest:

    selection rate                 (tp + fp) / all            what is predicted positive
    demographic parity             d or r of selection rates; r is the disparate impact
    equal opportunity              d or r of recalls, tp / (tp + fn)
    equalized odds                 the larger d, or the smaller r, of recalls and of fp / (fp + tn)

Groups that hold fewer than `min_group_size` labelled predictions of a window have no measure there.  `other` is no
group but a mixture, and is compared with none.  Where fairlearn answers 0 for a group without positives (or without
negatives), that group has no such rate, and is left out; between fewer than two groups a difference is undefined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporter.contracts import CLASSIFICATION, Cells, Floats, MetricSpec, ModelSpec, Scored, SegmentSpec, Series
from exporter.families.labelled import UNDEFINED, both, twin
from exporter.families.quality import OUTCOMES

_GROUP = ("attribute", "group")
_TP, _FP, _FN = range(3)
_COUNTED = 3
"""Outcomes that have cells; tn is what the three leave of the group's labelled predictions."""
_AVERAGED = ("precision", "recall", "f1")
_ABOUT_POSITIVE = 5
"""Measures of a group that are about the positive class."""
_FAIRNESS = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equal_opportunity_difference",
    "equal_opportunity_ratio",
    "equalized_odds_difference",
    "equalized_odds_ratio",
)


def _of_group(name: str, formula: str, labels: tuple[str, ...] = ()) -> MetricSpec:
    text = (
        f"{formula}, over the labelled predictions of the group whose label falls into the window; absent where those "
        "are fewer than model_segment_min_group_size; computed each cycle."
    )
    return MetricSpec(f"model_segment_{name}_ratio", "gauge", text, ("window", *_GROUP, *labels))


def _between(name: str, formula: str) -> MetricSpec:
    text = (
        f"{formula} of the positive class, over the groups of an attribute (without other) that hold at least "
        "model_segment_min_group_size labelled predictions of the window; computed each cycle."
    )
    return MetricSpec(f"model_{name}", "gauge", text, ("window", "attribute"))


class Segments:
    specs: ClassVar[tuple[MetricSpec, ...]] = (
        *twin("model_segment_outcomes_total", "Labelled predictions by attribute and group, by outcome, for every "
              "class against the rest: tp, fp, fn, tn. Group other holds all groups that are small or came late.",
              (*_GROUP, "class", "outcome")),
        MetricSpec("model_segment_info", "gauge", "Where a group lies, in degrees, of groups with `coordinates`; "
                   "always 1.", (*_GROUP, "latitude", "longitude")),
        MetricSpec("model_segment_window_labelled_predictions", "gauge", "Labelled predictions of a group inside the "
                   "window: what the measures of the group rest on.", ("window", *_GROUP)),
        _of_group("accuracy", "Share of right predictions"),
        _of_group("precision", "tp / (tp + fp)", ("average",)),
        _of_group("recall", "tp / (tp + fn)", ("average",)),
        _of_group("f1", "2 tp / (2 tp + fp + fn)", ("average",)),
        _of_group("selection", "Share of predictions that are positive: (tp + fp) / all of the positive class"),
        _of_group("false_positive", "fp / (fp + tn) of the positive class"),
        _between("demographic_parity_difference", "Largest less smallest selection rate"),
        _between("demographic_parity_ratio", "Smallest by largest selection rate (disparate impact)"),
        _between("equal_opportunity_difference", "Largest less smallest tp / (tp + fn)"),
        _between("equal_opportunity_ratio", "Smallest by largest tp / (tp + fn)"),
        _between("equalized_odds_difference", "The larger of the differences of tp / (tp + fn) and of fp / (fp + tn)"),
        _between("equalized_odds_ratio", "The smaller of the ratios of tp / (tp + fn) and of fp / (fp + tn)"),
    )  # fmt: skip
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION
    feed: ClassVar[Literal["traffic", "scored"]] = "scored"
    meaning = ""
    windowed: ClassVar[bool] = True

    def __init__(self, model: ModelSpec) -> None:
        self.attributes = model.segments if model.task in self.tasks else ()
        self.classes = model.capacity
        self.positive = model.positive
        self.average = "binary" if model.task == "binary" else "macro"
        self.stride = _COUNTED * self.classes
        ends = np.cumsum([0, *(one.capacity * self.stride for one in self.attributes)])
        self.starts: NDArray[np.int64] = ends[:-1].astype(np.int64)
        self.size = int(ends[-1])

    def cells(self, rows: Scored) -> Cells:
        """A right prediction is a tp of its class, a wrong one an fn of the actual and an fp of the predicted one."""
        assert rows.made is not None  # noqa: S101 - the layout of a model with segments has it
        base = rows.made["segments"].astype(np.int64) * self.stride + self.starts
        right = rows.actual == rows.predicted
        wrong = np.flatnonzero(~right)
        actual = np.where(right, _TP, _FN) * self.classes + rows.actual
        predicted = _FP * self.classes + rows.predicted[wrong]
        local = np.concatenate([(base + actual[:, None]).ravel(), (base[wrong] + predicted[:, None]).ravel()])
        row = np.repeat(np.concatenate([np.arange(len(rows)), wrong]), len(self.attributes))
        return Cells(row=row, local=local)

    # --- counters --------------------------------------------------------------------------------

    def series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        pairs = [
            (("attribute", one.name), ("group", group), ("class", name), ("outcome", outcome))
            for one, group in self._groups(names)
            for name in names["class"]
            for outcome in OUTCOMES
        ]
        places = [
            (("attribute", one.name), ("group", group), ("latitude", repr(latitude)), ("longitude", repr(longitude)))
            for one, group in self._groups(names)
            if group in one.coordinates
            for latitude, longitude in [one.coordinates[group]]
        ]
        return [*both("model_segment_outcomes", *pairs), *(Series("model_segment_info", place) for place in places)]

    def values(self, names: Mapping[str, Sequence[str]], added: Floats, retracted: Floats) -> list[float]:
        out: list[float] = []
        for side in (added, retracted):
            for tp, fp, fn, total in self._counts(names, side):
                outcomes = np.stack([tp, fp, fn, total[:, None] - tp - fp - fn], axis=-1)
                out += outcomes.ravel().astype(np.int64).tolist()
        return [*out, *[1] * sum(group in one.coordinates for one, group in self._groups(names))]

    def _groups(self, names: Mapping[str, Sequence[str]]) -> Iterator[tuple[SegmentSpec, str]]:
        for one in self.attributes:
            for group in names[one.vocabulary]:
                yield one, group

    def _counts(self, names: Mapping[str, Sequence[str]], sums: Floats) -> Iterator[tuple[Floats, ...]]:
        """tp, fp and fn, shape (groups, classes), and all labelled predictions, shape (groups,), per attribute."""
        for one, start in zip(self.attributes, self.starts.tolist(), strict=True):
            groups = len(names[one.vocabulary])
            block = sums[start : start + groups * self.stride].reshape(groups, _COUNTED, self.classes)
            known = block[:, :, : len(names["class"])]
            tp, fp, fn = known[:, _TP], known[:, _FP], known[:, _FN]
            yield tp, fp, fn, (tp + fn).sum(axis=1)

    # --- gauges ----------------------------------------------------------------------------------

    def window_series(self, names: Mapping[str, Sequence[str]]) -> list[Series]:
        average = ("average", self.average)
        out: list[Series] = []
        for one in self.attributes:
            groups = [(("attribute", one.name), ("group", group)) for group in names[one.vocabulary]]
            out += [Series("model_segment_window_labelled_predictions", pairs) for pairs in groups]
            out += [Series("model_segment_accuracy_ratio", pairs) for pairs in groups]
            out += [Series(f"model_segment_{name}_ratio", (*pairs, average)) for name in _AVERAGED for pairs in groups]
            if self.positive is not None:
                out += [Series("model_segment_selection_ratio", pairs) for pairs in groups]
                out += [Series("model_segment_false_positive_ratio", pairs) for pairs in groups]
                out += [Series(f"model_{name}", (("attribute", one.name),)) for name in _FAIRNESS]
        return out

    def window_values(self, names: Mapping[str, Sequence[str]], counts: Floats) -> list[float]:
        out: list[float] = []
        for one, sums in zip(self.attributes, self._counts(names, counts), strict=True):
            tp, fp, fn, total = sums
            large = total >= max(1, one.min_group_size)
            out += total.astype(np.int64).tolist()
            out += _shown(_ratio(tp.sum(axis=1), total), large)
            if self.positive is None:
                here = tp + fp + fn > 0
                pairs = ((tp, tp + fp), (tp, tp + fn), (2 * tp, 2 * tp + fp + fn))
                out += [value for upper, lower in pairs for value in _shown(_macro(upper, lower, here), large)]
            else:
                out += self._about_positive(names["class"], sums, large)
        return out

    def _about_positive(
        self, classes: Sequence[str], sums: tuple[Floats, ...], large: NDArray[np.bool_]
    ) -> Iterator[float]:
        """Measures of the positive class by group, then those between groups."""
        if self.positive not in classes:
            yield from [UNDEFINED] * (_ABOUT_POSITIVE * len(large) + len(_FAIRNESS))
            return
        at = classes.index(self.positive)
        tp, fp, fn, total = (*(part[:, at] for part in sums[:3]), sums[3])
        selection, recall, alarms = _ratio(tp + fp, total), _ratio(tp, tp + fn), _ratio(fp, total - tp - fn)
        for rates in (_ratio(tp, tp + fp), recall, _ratio(2 * tp, 2 * tp + fp + fn), selection, alarms):
            yield from _shown(rates, large)
        compared = large & (np.arange(len(large)) > 0)  # without `other`
        parity, opportunity, false = (_spread(rates[compared]) for rates in (selection, recall, alarms))
        yield from (*parity, *opportunity, *_worse(opportunity, false))


class Spread(NamedTuple):
    """How far apart groups are: the largest less the smallest of their values, and the smallest by the largest."""

    difference: float
    ratio: float


def _spread(rates: Floats) -> Spread:
    """Of *rates* by group, shape (groups,), NaN where a group has none; undefined between fewer than two."""
    known = rates[~np.isnan(rates)]
    if len(known) < 2:
        return Spread(UNDEFINED, UNDEFINED)
    low, high = float(known.min()), float(known.max())
    return Spread(high - low, low / high if high else UNDEFINED)


def _worse(one: Spread, other: Spread) -> Spread:
    """The larger difference and the smaller ratio; undefined where one of the two is."""
    return Spread(float(np.maximum(one.difference, other.difference)), float(np.minimum(one.ratio, other.ratio)))


def _ratio(upper: Floats, lower: Floats) -> Floats:
    """upper / lower by group; NaN where there is nothing to divide by."""
    out: Floats = np.divide(upper, lower, out=np.full(lower.shape, UNDEFINED), where=lower > 0)
    return out


def _macro(upper: Floats, lower: Floats, here: NDArray[np.bool_]) -> Floats:
    """The mean of upper / lower over the classes that are *here*, by group; undefined as soon as one of them is.

    All of shape (groups, classes).
    """
    sums: Floats = np.where(here, _ratio(upper, lower), 0.0).sum(axis=1)
    return _ratio(sums, here.sum(axis=1).astype(np.float64))


def _shown(values: Floats, large: NDArray[np.bool_]) -> list[float]:
    """*values* by group, NaN for groups that are not *large*."""
    out: list[float] = np.where(large, values, UNDEFINED).tolist()
    return out
