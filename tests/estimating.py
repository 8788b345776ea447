"""Predictions with scores and their labels as deliveries, and fits made at once, for tests of estimates."""

from __future__ import annotations

import numpy as np

from exporter.contracts import EstimatesSpec
from exporter.families.isotonic import shares
from tests.ledgers import L, P, labels, model, predictions

EDGES = tuple(np.round(np.arange(0.05, 1.0, 0.05), 6).tolist())


def spec(name="m", *, labelled=100, reference=1000, windows=("3600s",), **words):
    """A model of the classes no and yes whose scores have bins of 0.05."""
    words = {"score_edges": EDGES, **words}
    return model(
        name,
        windows,
        task="binary",
        positive="yes",
        classes=("no", "yes"),
        estimates=EstimatesSpec(labelled=labelled, reference=reference),
        **words,
    )


def drawn(count, seed=0, power=1.0):
    """Scores, and whether each is of a positive: with the probability score ** *power*."""
    rng = np.random.default_rng(seed)
    score = rng.random(count)
    return score, rng.random(count) < score**power


def made(score, first=0, time=0.0, version="1", name="m"):
    """A delivery of predictions with *score*s; ids count from *first*, times go on by a millisecond."""
    rows = [
        P(first + at, time + at / 1000, "yes" if one >= 0.5 else "no", version, score=one)
        for at, one in enumerate(score.tolist())
    ]
    return predictions(*rows, model=name)


def told(outcome, first=0, time=0.0, name="m"):
    """A delivery of the labels of predictions whose ids count from *first*."""
    rows = [L(first + at, time + at / 1000, "yes" if one else "no") for at, one in enumerate(outcome.tolist())]
    return labels(*rows, model=name)


def fitted(pipeline):
    """All fits that are due, made here and now."""
    return [fit.answered(shares(**fit.request)) for fit in pipeline.due()]
