"""Rows of one id that disagree: the first prediction and the newest label stand, and what was taken back is told."""

from __future__ import annotations

import pytest

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, of_model, predictions, sample, samples, shown


@pytest.fixture
def pipeline():
    return Pipeline(config(), State(None))


def confusion(found, side=""):
    """Non-zero cells as "actual predicted"."""
    return {
        f"{labels_['actual']} {labels_['predicted']}": value
        for (name, pairs), value in found.items()
        if name == f"model_confusion{side}_total" and value
        for labels_ in [dict(pairs)]
    }


def test_the_first_of_conflicting_predictions_stands(pipeline):
    """A second prediction under a known id is a duplicate, whatever it says."""
    pipeline.absorb([predictions(P(1, 5.0, "a"), P(1, 6.0, "b", version="2"))])
    pipeline.absorb([predictions(P(1, 4.0, "c")), labels(L(1, 7.0, "b"))])
    found = samples(shown(pipeline))
    assert confusion(found) == {"b a": 1}
    assert found[of_model("model_joins_total", result="duplicate")] == 2


@pytest.mark.parametrize("together", [True, False])
def test_the_newest_of_conflicting_labels_stands(pipeline, together):
    """By label time, not by arrival: within one poll as over several."""
    told = [L(1, 7.0, "b"), L(1, 9.0, "c"), L(1, 8.0, "a")]
    pipeline.absorb([predictions(P(1, 5.0, "a"))])
    for rows in [told] if together else [[row] for row in told]:
        pipeline.absorb([labels(*rows)])
    found = samples(shown(pipeline))
    assert (confusion(found), confusion(found, "_retracted")) == ({"b a": 1, "c a": 1}, {"b a": 1})
    assert found[of_model("model_joins_total", result="corrected")] == 1
    assert found[of_model("model_joins_total", result="outdated")] == 1


def test_a_correction_there_and_back(pipeline):
    """Counters on both sides grow, and their difference is what stands."""
    pipeline.absorb([predictions(P(1, 5.0, "a"))])
    for time, actual in ((6.0, "a"), (7.0, "b"), (8.0, "a")):
        pipeline.absorb([labels(L(1, time, actual))])
    found = samples(shown(pipeline))
    assert (confusion(found), confusion(found, "_retracted")) == ({"a a": 2, "b a": 1}, {"a a": 1, "b a": 1})
    assert found[sample("model_labelled_predictions_total", correct="true")] == 2
    assert found[sample("model_labelled_predictions_retracted_total", correct="true")] == 1
