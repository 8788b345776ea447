"""What moves the time of a model: rows that tell something of it, once all before them were read."""

from __future__ import annotations

import dataclasses

import pytest

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, predictions, result, sample, samples, shown


@pytest.fixture
def pipeline():
    return Pipeline(config(model(windows=["60s"], horizon=1000.0)), State(None))


def more(delivery):
    """The same delivery, behind which more is waiting."""
    return dataclasses.replace(delivery, poll=dataclasses.replace(delivery.poll, more=True))


def in_window(pipeline):
    return samples(shown(pipeline))[sample("model_window_labelled_predictions", window="60s")]


@pytest.mark.parametrize("idle", [frozenset(), frozenset({"predictions"})])
def test_an_orphan_of_the_future_moves_nothing(pipeline, idle):
    """A label without a prediction may be dated anyhow: windows stay, and nothing expires for it."""
    pipeline.absorb([predictions(P(1, 100.0), P(2, 100.0)), labels(L(1, 110.0))])
    pipeline.absorb([labels(L("nobody's", 1e9))], {"m": idle})
    assert in_window(pipeline) == 1
    assert result(pipeline, "expired") == 0
    assert pipeline.ledgers["m"].clock == 110.0
    pipeline.absorb([labels(L(2, 120.0))])
    assert (in_window(pipeline), result(pipeline, "matched")) == (2, 2)


def test_a_late_label_moves_nothing(pipeline):
    """Nor does a label that is not counted, because it came long after its prediction."""
    pipeline.absorb([predictions(P(1, 100.0), P(2, 100.0)), labels(L(1, 110.0))])
    pipeline.absorb([labels(L(2, 1e9))])
    assert (in_window(pipeline), result(pipeline, "late")) == (1, 1)


def test_orphans_let_time_pass_as_far_as_predictions_do(pipeline):
    """Where labels of others are all that comes, predictions without a label expire all the same."""
    pipeline.absorb([predictions(P(1, 100.0)), labels(L("nobody's", 110.0))])
    pipeline.absorb([predictions(P(2, 2000.0)), labels(L("nobody else's", 2050.0))])
    assert result(pipeline, "expired") == 1
    assert pipeline.ledgers["m"].watermark == 2000.0 - pipeline.ledgers["m"].config.allowed_lateness


def test_a_backlog_moves_time_when_it_is_read(pipeline):
    """Older rows may follow newer ones, of another log, for as long as more is waiting."""
    pipeline.absorb([predictions(*(P(one, 100.0 * one) for one in range(100)))])
    pipeline.absorb([more(labels(L(99, 9950.0)))])
    assert result(pipeline, "expired") == 0
    pipeline.absorb([more(labels(L(0, 150.0)))])
    assert (result(pipeline, "matched"), result(pipeline, "late")) == (2, 0)
    pipeline.absorb([labels(L(98, 9900.0))])
    assert result(pipeline, "expired") > 80


def test_a_backlog_that_breaks_off_does_not_hold_time_for_ever(pipeline):
    """A source that has fallen silent on the way counts as read."""
    pipeline.absorb([predictions(*(P(one, 100.0 * one) for one in range(100)))])
    pipeline.absorb([more(labels(L(99, 9950.0)))])
    pipeline.absorb([], {"m": frozenset({"labels"})}, touched=["m"])
    assert result(pipeline, "expired") > 80


def test_a_restart_on_the_way_through_a_backlog(tmp_path):
    """What was read of it before counts when the rest is read."""
    setting = config(model(windows=["60s"], horizon=1000.0))
    state = State(tmp_path)
    pipeline = Pipeline(setting, state)
    pipeline.absorb([predictions(*(P(one, 100.0 * one) for one in range(100)))])
    pipeline.absorb([more(labels(L(99, 9950.0)))])
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(setting, state)
    pipeline.absorb([labels(L(0, 150.0))])
    assert pipeline.ledgers["m"].newest["labels"] == 9950.0
    assert result(pipeline, "expired") > 80
    state.close()
