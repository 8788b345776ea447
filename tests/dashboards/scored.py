"""Made-up scores of models that tell two classes: how they lie in bins, and all metrics that are counted of them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence

METRICS = frozenset(
    f"model_{name}{kind}_total"
    for name in ("scored_predictions", "log_loss_sum", "brier_sum", "score_at_least", "score_sum")
    for kind in ("", "_retracted")
) | {"model_score_edge"}
EDGES = {"1": (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9), "2": (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)}
"""Lower ends of the bins by version: those of two versions differ."""
SHARPNESS = {"1": 2, "2": 1}
"""How well the scores of a version tell the classes apart."""
RETRACTED = 0.01
"""What corrected labels take back, as a share."""

Course = tuple[str, dict[str, str], Sequence[int], Sequence[float]]


def bins(version: str, *, empty_top: bool) -> dict[str, list[float]]:
    """Shares of the positives and of the negatives by bin: the first rise with the score, the others fall."""
    lower = EDGES[version]
    filled = len(lower) - empty_top
    heights = {"positive": range(1, filled + 1), "negative": range(filled, 0, -1)}
    shares = {actual: [height ** SHARPNESS[version] for height in of] for actual, of in heights.items()}
    return {actual: [one / sum(of) for one in of] + [0.0] * empty_top for actual, of in shares.items()}


def middles(version: str) -> list[float]:
    """The mean score of each bin."""
    return [(low + high) / 2 for low, high in itertools.pairwise([*EDGES[version], 1.0])]


def courses(
    labels: dict[str, str], times: Sequence[int], counts: Mapping[str, Sequence[int]], *, empty_top: bool
) -> Iterator[Course]:
    """Series of one model, version and replica, whose labelled predictions grow as *counts* by actual class do.

    With *empty_top* no score ever reaches the highest bin.
    """
    version = labels["version"]
    shares, means = bins(version, empty_top=empty_top), middles(version)
    texts = [*(f"{edge:.6f}" for edge in EDGES[version]), "+Inf"]
    ends = [{"threshold": low, "next": high} for low, high in itertools.pairwise(texts)]
    for edge, end in zip(EDGES[version], ends, strict=True):
        yield "model_score_edge", labels | end, times, [edge] * len(times)
    for kind, part in (("", 1.0), ("_retracted", RETRACTED)):
        total = [sum(row) * part for row in zip(*counts.values(), strict=True)]
        yield f"model_scored_predictions{kind}_total", labels, times, total
        for name, losses in (("log_loss", _log_losses(means)), ("brier", _squares(means))):
            per_row = {actual: sum(map(operator.mul, of, losses[actual])) for actual, of in shares.items()}
            weighted = [[count * part * per_row[actual] for count in column] for actual, column in counts.items()]
            yield f"model_{name}_sum{kind}_total", labels, times, [sum(row) for row in zip(*weighted, strict=True)]
        for actual, column in counts.items():
            at_least = list(itertools.accumulate(shares[actual][::-1]))[::-1]
            for index, end in enumerate(ends):
                of = labels | end | {"actual": actual, "class": "positive"}
                score = shares[actual][index] * means[index]
                yield f"model_score_at_least{kind}_total", of, times, [n * part * at_least[index] for n in column]
                yield f"model_score_sum{kind}_total", of, times, [n * part * score for n in column]


def _log_losses(means: Sequence[float]) -> dict[str, list[float]]:
    return {"positive": [-math.log(p) for p in means], "negative": [-math.log(1 - p) for p in means]}


def _squares(means: Sequence[float]) -> dict[str, list[float]]:
    return {"positive": [(1 - p) ** 2 for p in means], "negative": [p**2 for p in means]}
