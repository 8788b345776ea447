"""Made-up estimates of models that tell two classes: of all predictions, and of those that are labelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

SIDES = ("estimated", "realised")
METRICS = frozenset(f"model_checked_{side}_outcomes{kind}_total" for side in SIDES for kind in ("", "_retracted")) | {
    "model_estimated_outcomes_total"
}
PROMISED = 0.93
"""How often predictions are right by their calibrated scores, whatever becomes of them."""
MORE = 10 / 9
"""All predictions by the labelled ones."""

Course = tuple[str, dict[str, str], Sequence[int], Sequence[float]]


def courses(labels: dict[str, str], times: Sequence[int], realised: Mapping[str, Sequence[int]]) -> Iterator[Course]:
    """Series of one model, version, replica and positive class, whose labelled outcomes grow as *realised*."""
    positive = [tp + fp for tp, fp in zip(realised["tp"], realised["fp"], strict=True)]
    negative = [tn + fn for tn, fn in zip(realised["tn"], realised["fn"], strict=True)]
    shares = {"tp": PROMISED, "fp": 1 - PROMISED, "tn": PROMISED, "fn": 1 - PROMISED}
    for outcome, share in shares.items():
        of = labels | {"outcome": outcome}
        expected = [share * count for count in (positive if outcome in {"tp", "fp"} else negative)]
        yield "model_estimated_outcomes_total", of, times, [MORE * count for count in expected]
        for side, counts in zip(SIDES, (expected, realised[outcome]), strict=True):
            yield f"model_checked_{side}_outcomes_total", of, times, counts
            yield f"model_checked_{side}_outcomes_retracted_total", of, times, [0.0] * len(times)
