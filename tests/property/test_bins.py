"""Looking a score up in the grid of bins is searching for it among the edges."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.edges import FIXED, balanced
from exporter.contracts import fixed_width
from exporter.families.bins import Bins

INSIDE = (
    st.floats(0, 1, exclude_min=True, exclude_max=True)
    | st.sampled_from(FIXED)
    | st.floats(0.99, 1).map(lambda number: min(number, 1 - 2**-53))
)
EDGES = st.lists(INSIDE, min_size=1, max_size=60, unique=True).map(sorted)
SCORES = st.lists(st.floats(0, 1) | st.integers(0, 60).map(lambda halvings: 1 - 0.5**halvings), min_size=1)


def near(numbers):
    """*numbers*, and the floats right below and above each of them."""
    numbers = np.array(numbers)
    both = np.concatenate([numbers, np.nextafter(numbers, 0), np.nextafter(numbers, 1)])
    return np.abs(both)


@settings(deadline=None)
@given(EDGES, SCORES)
def test_a_score_is_found_in_its_bin(edges, scores):
    """Every score falls where a search puts it, at the very edges, too."""
    score = np.concatenate([near(scores), near(edges), [0.0, 0.5, 1.0]])
    assert Bins(edges).of(score).tolist() == np.searchsorted(edges, score, side="right").tolist()


@settings(deadline=None)
@given(EDGES.map(lambda edges: sorted({round(edge, 12) for edge in edges} - {0.0, 1.0})))
def test_texts_of_edges_sort_and_say_the_truth(edges):
    """The label of an edge is as long as any, sorts as the number does, and reads back as it."""
    texts = fixed_width([0.0, *edges])
    assert texts == sorted(texts)
    assert len(set(map(len, texts))) == 1
    assert [float(text) for text in texts] == [0.0, *edges]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2), st.integers(2, 50))
def test_balanced_edges_are_edges(rows, bins):
    """Whatever the reference, what comes of it can be written into a config: ascending, inside 0 to 1, few."""
    score, outcome = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    if outcome.all() or not outcome.any():
        return
    edges = balanced(score, outcome, bins)
    assert len(edges) < bins
    assert list(edges) == sorted(set(edges))
    assert all(0 < edge < 1 and float(text) == edge for edge, text in zip(edges, fixed_width(edges), strict=True))
