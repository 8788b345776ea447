"""Weeks of what alerts look at, made up, and Prometheus' own states of an alert, one evaluation after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tests.dashboards.backfill import Course, Labels

JOB = "model-exporter"
STEP = 60
DAY = 86_400


def noise(days: float, seed: int, *, window: int = 60, step: int = STEP) -> Any:
    """Standard noise, averaged over so many evaluations: neighbours share most of their window."""
    count = round(days * DAY / step)
    steps = np.random.default_rng(seed).normal(size=count + window)
    return np.convolve(steps, np.ones(window) / window**0.5, "valid")[:count]


def courses(end: int, series: Iterable[tuple[str, Labels, Any]]) -> Iterator[Course]:
    """Series whose last value was at *end*, NaN where there is a gap."""
    for name, labels, values in series:
        yield name, {"job": JOB, **labels}, range(end - (len(values) - 1) * STEP, end + 1, STEP), values.tolist()


def episodes(bad: Sequence[bool], wait: float, keep: float, step: float) -> list[tuple[int, int]]:
    """The evaluations from which and before which an alert fires: what Prometheus' rules/alerting.go (Eval) does."""
    found: list[tuple[int, int]] = []
    state, active, kept = "inactive", 0.0, None
    for number, beyond in enumerate(bad):
        now = number * step
        if beyond:
            kept = None
            if state == "inactive":
                state, active = "pending", now
            if state == "pending" and now - active >= wait:
                state = "firing"
                found.append((number, len(bad)))
        elif state == "pending":
            state = "inactive"
        elif state == "firing":
            kept = now if kept is None else kept
            if not (keep > 0 and now - kept < keep):
                state = "inactive"
                found[-1] = found[-1][0], number
    return found
