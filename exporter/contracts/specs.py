"""What the config says of a model and of its rows, as the rooms below the config read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

from exporter.contracts.layout import Column, Layout

Task: TypeAlias = Literal["binary", "multiclass", "multilabel", "regression", "ranking"]
TASKS: frozenset[str] = frozenset(get_args(Task))
CLASSIFICATION: frozenset[str] = frozenset({"binary", "multiclass"})
"""Tasks whose predictions and labels are one class each."""

OPPOSITES = {"1": "0", "0": "1", "true": "false", "yes": "no", "positive": "negative"}
"""The negative class of a binary model that declares none, by its positive one."""

LABELS = 63
"""How many labels of a multilabel model are told apart: a set of them is one 64-bit number."""


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one field of a row is read: from a dotted path, or as a constant."""

    field: str | None = None
    constant: str | int | float | bool | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    map: dict[str, str | int | float | bool] | None = None
    threshold: float | None = None


def fixed_width(numbers: Sequence[float]) -> list[str]:
    """*numbers* from 0 to 1 with so many decimals, 6 to 17, that each can be read back: texts that sort as they do."""
    decimals = next((n for n in range(6, 17) if all(float(f"{number:.{n}f}") == number for number in numbers)), 17)
    return [f"{number:.{decimals}f}" for number in numbers]


class MappingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How raw records become rows of one role.

    `segments` are the attributes by which rows are told apart, such as region and device.
    `where` keeps only records whose value at a path is one of the listed texts (or, under `not`, is none of
    them); other records are skipped without a fault.  A row whose event time is more than `max_ahead` seconds ahead
    of the wall clock is refused.
    """

    role: Literal["predictions", "labels"]
    fields: dict[str, FieldSpec]
    segments: dict[str, FieldSpec] = {}
    where: dict[str, WhereSpec] = {}
    timezone: str = "UTC"
    max_ahead: float = 300.0


class WhereSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A condition on one path: the value's text is in `one_of` (if given) and not in `none_of`."""

    one_of: tuple[str, ...] | None = None
    none_of: tuple[str, ...] = ()


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A sliding window, by label time (`seconds`) or by count (`rows`); `name` is its label value."""

    name: str
    seconds: float | None = None
    rows: int | None = None


class SegmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute by which predictions are told apart.

    A group has a code of its own once `min_group_size` predictions of it were read, if it is among the first `top`
    that came so far; all others are `other`, code 0.  `coordinates` are latitude and longitude of groups.
    """

    name: str
    top: int = 20
    min_group_size: int = 50
    coordinates: dict[str, tuple[float, float]] = {}

    @property
    def capacity(self) -> int:
        """How many codes there can be, `other` included."""
        return self.top + 1

    @property
    def vocabulary(self) -> str:
        """The name under which families find the groups' names."""
        return f"segment:{self.name}"


class RegressionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of a regression.

    `center` is near the usual actual value and the same on all replicas: sums of squares are taken around it, so
    that nothing cancels out.
    """

    residual_buckets: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = (0.5,)
    center: float = 0.0


class RankingSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a ranking: the first `depth` items, up to `relevant` relevant ones; and its cut-offs."""

    depth: int = 10
    relevant: int = 20
    cutoffs: tuple[int, ...] = (1, 5, 10)


class EstimatesSpec(msgspec.Struct, frozen=True, kw_only=True):
    """From how many labelled predictions of a version calibration is first fitted, and up to how many again."""

    labelled: int = 1_000
    reference: int = 50_000


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the families know of a model: its task and its classes, but no source.

    `classes` are canonical class names (of a multilabel model: label names) in code order: declared ones first, else
    learned up to `max_classes`.  `probabilities` is how many of them each prediction is remembered with, 0 if none.
    `score_edges` cut the scores into bins; there are none where predictions carry no score.  `costs` are by actual and
    by predicted class.
    """

    name: str
    task: Task = "binary"
    positive: str | None = None
    classes: tuple[str, ...] = ()
    aliases: dict[str, str] = {}
    max_classes: int = 64
    confusion_classes: int = 20
    latency_buckets: tuple[float, ...] = ()
    delay_buckets: tuple[float, ...] = ()
    probabilities: int = 0
    top_k: tuple[int, ...] = ()
    segments: tuple[SegmentSpec, ...] = ()
    regression: RegressionSpec = RegressionSpec()
    ranking: RankingSpec = RankingSpec()
    score_edges: tuple[float, ...] = ()
    betas: tuple[float, ...] = ()
    costs: dict[str, dict[str, float]] = {}
    confidence: float = 0.95
    estimates: EstimatesSpec | None = None

    @property
    def capacity(self) -> int:
        """How many classes the counts have room for; 1 where the task has none, or sets of labels instead."""
        if self.task not in CLASSIFICATION:
            return 1
        if self.classes:
            return len(self.classes)
        return 2 if self.task == "binary" else self.max_classes

    @property
    def label_capacity(self) -> int:
        """How many labels the counts of a multilabel model have room for; 0 for other tasks."""
        if self.task != "multilabel":
            return 0
        return len(self.classes) or min(self.max_classes, LABELS)

    @property
    def layout(self) -> Layout:
        """What is remembered of each prediction and label beyond a class code and a score."""
        made: list[Column] = []
        truth: list[Column] = []
        if self.task == "regression":
            truth = [("value", "<f8", ())]
        elif self.task == "multilabel":
            made, truth = [("labels", "<u8", ())], [("labels", "<u8", ())]
        elif self.task == "ranking":
            wanted = (self.ranking.relevant,)
            made = [("items", "<u8", (self.ranking.depth,))]
            truth = [("items", "<u8", wanted), ("gains", "<f8", wanted)]
        if self.probabilities:
            made.append(("probabilities", "<f8", (self.probabilities,)))
        if self.segments:
            made.append(("segments", "<u2", (len(self.segments),)))
        return Layout(made=tuple(made), truth=tuple(truth))
