"""Predictions by class and failures by reason."""

from __future__ import annotations

import numpy as np

from exporter.contracts import ModelSpec, Traffic
from exporter.families.traffic import TrafficFamily


def test_a_failure_is_no_prediction():
    """A failed row counts under its reason only, also if it names a class."""
    family = TrafficFamily(ModelSpec(name="m", classes=("a", "b")))
    rows = Traffic(
        group=np.zeros(4, np.int32),
        time=np.zeros(4),
        predicted=np.array([0, 1, 1, -1], np.int32),
        score=np.full(4, np.nan),
        latency=np.full(4, np.nan),
        error=np.array([-1, -1, 1, 0], np.int32),
    )
    names = {"class": ["a", "b"], "error": ["timeout", "refused"]}
    sums = np.bincount(family.cells(rows).local, minlength=family.size).astype(float)
    values = family.values(names, sums, np.zeros(family.size))
    seen = {one.labels[0]: value for one, value in zip(family.series(names), values, strict=True)}
    assert seen == {("predicted", "a"): 1, ("predicted", "b"): 1, ("reason", "timeout"): 1, ("reason", "refused"): 1}
