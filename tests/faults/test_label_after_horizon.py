"""A label that comes too late, by event time, is told and changes nothing."""

from __future__ import annotations

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, model, of_model, predictions, result, sample, samples, shown


def test_a_late_label_is_counted_as_late_only():
    """The horizon is between the two event times; when the rows are read does not matter."""
    pipeline = Pipeline(config(model(horizon=100.0)), State(None))
    pipeline.absorb([predictions(P(1, 0.0), P(2, 50.0))])
    pipeline.absorb([labels(L(1, 101.0), L(2, 101.0))])
    found = samples(shown(pipeline))
    assert found[of_model("model_joins_total", result="late")] == 1
    assert found[of_model("model_joins_total", result="matched")] == 1
    assert found[sample("model_labelled_predictions_total", correct="true")] == 1


def test_a_late_correction_changes_nothing():
    """A counted label stands against one that is out of the horizon."""
    pipeline = Pipeline(config(model(horizon=100.0)), State(None))
    pipeline.absorb([predictions(P(1, 0.0)), labels(L(1, 50.0, "a"))])
    pipeline.absorb([labels(L(1, 150.0, "b"))])
    assert (result(pipeline, "late"), result(pipeline, "corrected")) == (1, 0)


def test_last_years_log_gives_last_years_result():
    """The same rows, read a year later and in one go, give the same counts: no clock of ours takes part."""
    setting = config(model(horizon=100.0, windows=["60s"]))
    step_by_step, at_once = Pipeline(setting, State(None)), Pipeline(setting, State(None))
    made = [P(one, 10.0 * one) for one in range(50)]
    told = [L(one, 10.0 * one + 7.0 * (one % 20), "ab"[one % 2]) for one in range(50)]
    for at in range(0, 50, 5):
        step_by_step.absorb([predictions(*made[at : at + 5]), labels(*told[at : at + 5])])
    at_once.absorb([predictions(*made), labels(*told)])
    expected = samples(shown(step_by_step))
    assert expected[of_model("model_joins_total", result="late")] == sum(7.0 * (one % 20) > 100 for one in range(50))
    assert samples(shown(at_once)) == expected
