"""Scores with their outcomes, drawn from distributions that are hard to bin, as families are given them."""

from __future__ import annotations

import numpy as np

from exporter.contracts import ModelSpec, Scored


def _beta(count, rng):
    """An ordinary model: 30 % positives, scores all over the range."""
    outcome = rng.random(count) < 0.3
    return outcome, np.where(outcome, rng.beta(4, 2, count), rng.beta(2, 4, count))


def _fraud(count, rng):
    """One positive among a thousand, scores far below 1/2."""
    outcome = rng.random(count) < 0.001
    return outcome, logistic(np.where(outcome, rng.normal(-3, 1.8, count), rng.normal(-7, 1.2, count)))


def _squeezed(count, rng):
    """All scores near 0, as of clicks on advertisements."""
    outcome = rng.random(count) < 0.01
    return outcome, np.where(outcome, rng.beta(2, 1500, count), rng.beta(1, 1500, count))


def _saturated(count, rng):
    """An overconfident model: all scores near 1."""
    outcome = rng.random(count) < 0.9
    return outcome, 1 - np.where(outcome, rng.beta(0.3, 3000, count), rng.beta(0.6, 2000, count))


DISTRIBUTIONS = {"beta": _beta, "fraud": _fraud, "squeezed": _squeezed, "saturated": _saturated}


def logistic(odds):
    return 1 / (1 + np.exp(-odds))


def drifted(score, by):
    """*score*s whose log-odds have moved."""
    inside = np.clip(score, 1e-300, 1 - 2**-53)
    return logistic(np.log(inside) - np.log1p(-inside) + by)


def model(edges=(0.1, 0.5, 0.9), **more):
    return ModelSpec(name="m", positive="yes", classes=("no", "yes"), score_edges=tuple(edges), **more)


def rows(outcome, score, *, group=None, label_time=None, sign=None, threshold=0.5):
    """Labelled predictions with *score*s, the class "yes" (code 1) being positive; arrays of shape (n,)."""
    count = len(outcome)
    zeros = np.zeros(count)
    return Scored(
        sign=np.ones(count, np.int8) if sign is None else np.asarray(sign, np.int8),
        slot=np.arange(count),
        group=np.zeros(count, np.int32) if group is None else np.asarray(group, np.int32),
        actual=np.asarray(outcome).astype(np.int32),
        predicted=(np.nan_to_num(score) >= threshold).astype(np.int32),
        score=np.asarray(score, float),
        time=zeros,
        label_time=zeros if label_time is None else np.asarray(label_time, float),
    )


def sums(family, scored):
    """Cell sums of all rows of *scored*, shape (size,)."""
    cells = family.cells(scored)
    parts = ((cells.local, cells.weight), *cells.more)
    return sum(np.bincount(cells.local * 0 + at, weight, family.size).astype(float) for at, weight in parts)


def gauges(family, counts, names=None):
    """The gauges of a window by metric, and by further labels where there are any."""
    names = {"class": ["no", "yes"], "error": []} if names is None else names
    values = family.window_values(names, counts)
    return {
        (one.metric, *(value for _, value in one.labels)) if one.labels else one.metric: value
        for one, value in zip(family.window_series(names), values, strict=True)
    }
