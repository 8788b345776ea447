"""Time that leaps: event time goes forward only, and no clock of this machine takes part in a count."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, result, sample, samples, shown


@pytest.fixture
def pipeline():
    return Pipeline(config(model(windows=["60s", "last 10"], horizon=1000.0)), State(None))


def test_event_time_that_falls_back_moves_no_window(pipeline):
    """A row from the past counts for ever, but is in no window that has gone on."""
    pipeline.absorb([predictions(P(1, 0.0), P(2, 5000.0)), labels(L(2, 5000.0))])
    pipeline.absorb([labels(L(1, 10.0, "b"))])
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == 1
    assert found[sample("model_window_labelled_predictions", window="last 10")] == 2
    assert found[sample("model_labelled_predictions_total", correct="false")] == 1
    assert pipeline.ledgers["m"].clock == 5000.0


def test_event_time_that_leaps_ahead_empties_windows_and_no_counter(pipeline):
    """After a leap of years windows are empty and open predictions expired; counters stay, new rows count."""
    pipeline.absorb([predictions(P(1, 0.0), P(2, 0.0)), labels(L(1, 1.0))])
    pipeline.absorb([predictions(P(3, 3e9)), labels(L(9, 3e9))])
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == 0
    assert found[sample("model_labelled_predictions_total", correct="true")] == 1
    assert (result(pipeline, "expired"), found[sample("model_pending_predictions")]) == (1, 1)
    pipeline.absorb([labels(L(3, 3e9 + 1))])
    assert samples(shown(pipeline))[sample("model_accuracy_ratio", window="60s")] == 1


@pytest.mark.parametrize("now", [0.0, 1e18, -1e9])
def test_the_wall_clock_changes_no_number(pipeline, now):
    """Snapshots taken at any wall-clock time show the same."""
    pipeline.absorb([predictions(P(1, 0.0)), labels(L(1, 1.0))])
    assert shown(pipeline, now).text == shown(pipeline, 5.0).text


def test_times_before_the_epoch_are_times(pipeline):
    """Negative event times are counted and windowed as any."""
    pipeline.absorb([predictions(P(1, -500.0), P(2, -100.0)), labels(L(1, -400.0), L(2, -50.0, "b"))])
    found = samples(shown(pipeline))
    assert found[sample("model_window_labelled_predictions", window="60s")] == 1
    assert found[sample("model_last_label_timestamp_seconds")] == -50.0


def test_leaps_to_and_fro_keep_the_sums(pipeline):
    """Whatever the times, counters have every joined row once, and windows never fall below zero."""
    rng = np.random.default_rng(3)
    for turn in range(30):
        ids = [(turn, one) for one in range(10)]
        times = rng.choice([0.0, 1e3, 1e6, 1.7e9], 10) + rng.uniform(0, 100, 10)
        rows = list(zip(ids, times.tolist(), strict=True))
        pipeline.absorb(
            [predictions(*(P(one, time) for one, time in rows)), labels(*(L(one, time) for one, time in rows))]
        )
        found = samples(shown(pipeline))
        assert all(value >= 0 for value in found.values())
    assert found[sample("model_labelled_predictions_total", correct="true")] == 300
    assert found[sample("model_pending_predictions")] == 0
    assert result(pipeline, "expired") == 0
