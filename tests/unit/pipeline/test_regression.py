"""A regression on its whole way: logged numbers, late and corrected labels, counters and gauges."""

from __future__ import annotations

import pytest

from exporter.contracts import ModelSpec, RegressionSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import config, model, result, sample, samples, shown
from tests.logs import Logs

AT = 1e9


def regression(**words):
    return model("m", **{"task": "regression", "classes": (), "windows": ["60s", "last 2"], **words})


@pytest.fixture
def logs():
    return Logs(ModelSpec(name="m", task="regression"))


@pytest.fixture
def pipeline():
    return Pipeline(config(regression()), State(None))


def test_numbers_are_joined_and_measured(pipeline, logs):
    """Numbers, also those written as text, meet their labels; counters and the gauges of both windows tell of them."""
    pipeline.absorb(
        [
            logs.predictions(*({"id": one, "predicted": value} for one, value in enumerate([10.0, "20", 5, 1]))),
            logs.labels({"id": 0, "actual": 12.0}, {"id": 1, "actual": 15}, {"id": 2, "actual": "5", "time": AT + 2}),
        ]
    )
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="any")] == 4
    assert found[sample("model_labelled_predictions_total", correct="any")] == 3
    assert found[sample("model_absolute_error_sum_total", direction="over")] == 5
    assert found[sample("model_absolute_error_sum_total", direction="under")] == 2
    assert found[sample("model_mean_absolute_error", window="60s")] == 7 / 3
    assert found[sample("model_bias", window="60s")] == 1
    assert found[sample("model_mean_absolute_error", window="last 2")] == 2.5
    assert found[sample("model_pending_predictions")] == 1
    assert not any(name in {"model_accuracy_ratio", "model_outcomes_total"} for name, _ in found)


def test_a_correction_is_a_recount(pipeline, logs):
    """A different number corrects, the same repeats, an older one is outdated; what is left is the newest alone."""
    made = logs.predictions({"id": 1, "predicted": 10.0}, {"id": 2, "predicted": 10.0})
    pipeline.absorb([made, logs.labels({"id": 1, "actual": 13.0}, {"id": 2, "actual": 11.0})])
    pipeline.absorb([made, logs.labels({"id": 1, "actual": 13.0, "time": AT + 5})])
    pipeline.absorb([logs.labels({"id": 1, "actual": 1e6, "time": AT + 3})])
    pipeline.absorb([logs.labels({"id": 1, "actual": 8.0, "time": AT + 9}, {"id": 1, "actual": 9.0, "time": AT + 9})])
    counts = {word: result(pipeline, word) for word in ("matched", "repeated", "outdated", "corrected", "duplicate")}
    assert counts == {"matched": 2, "repeated": 1, "outdated": 1, "corrected": 2, "duplicate": 2}
    found = samples(shown(pipeline))
    under = sample("model_absolute_error_sum_total", direction="under")
    assert found[under] - found[sample("model_absolute_error_sum_retracted_total", direction="under")] == 1
    over = sample("model_absolute_error_sum_total", direction="over")
    assert found[over] - found[sample("model_absolute_error_sum_retracted_total", direction="over")] == 1
    for window in ("60s", "last 2"):
        assert found[sample("model_window_labelled_predictions", window=window)] == 2
        assert found[sample("model_mean_absolute_error", window=window)] == 1
        assert found[sample("model_bias", window=window)] == 0


def test_a_correction_at_the_very_time_of_the_label_stands(pipeline, logs):
    """Two numbers for one prediction at one instant: the later row corrects, and is what a repetition is held to."""
    pipeline.absorb([logs.predictions({"id": 1, "predicted": 1.0}), logs.labels({"id": 1, "actual": 5.0})])
    pipeline.absorb([logs.labels({"id": 1, "actual": 2.0})])
    pipeline.absorb([logs.labels({"id": 1, "actual": 2.0})])
    assert (result(pipeline, "corrected"), result(pipeline, "repeated")) == (1, 1)
    assert samples(shown(pipeline))[sample("model_mean_absolute_error", window="60s")] == 1


def test_a_label_may_come_first(pipeline, logs):
    """A number waits for its prediction, and the newest of several is the one that is kept."""
    pipeline.absorb([logs.labels({"id": 1, "actual": 4.0}, {"id": 1, "actual": 5.0, "time": AT + 2})])
    assert result(pipeline, "early") == 2
    pipeline.absorb([logs.predictions({"id": 1, "predicted": 7.0})])
    found = samples(shown(pipeline))
    assert found[sample("model_mean_absolute_error", window="60s")] == 2


def test_what_is_no_number_is_refused(logs):
    """Rows without a finite number are refused under a reason; one that failed needs none, an absent label waits."""
    bad = ["x", True, [1.0], {"a": 1}, 1e200, "inf", None, ""]
    batch = logs.batch("predictions", *({"id": one, "time": AT, "predicted": value} for one, value in enumerate(bad)))
    assert batch.refused.counts == {"bad_prediction": 6, "missing_prediction": 2}
    batch = logs.batch("labels", *({"id": one, "time": AT, "actual": value} for one, value in enumerate(bad)))
    assert batch.refused.counts == {"bad_label": 6, "missing_label": 2}
    batch = logs.batch("predictions", {"id": 1, "time": AT, "predicted": "x", "error": "timeout"})
    assert (len(batch), batch.refused.counts) == (1, {})


def test_a_restart_goes_on_where_it_was(tmp_path, logs):
    """Remembered numbers, early labels and the windows survive, also without a clean end."""
    setting = config(regression())
    undisturbed = Pipeline(setting, State(None))
    cycles = [
        [logs.predictions({"id": 1, "predicted": 1.5}, {"id": 2, "predicted": 2.5})],
        [logs.labels({"id": 3, "actual": 3})],
        [logs.labels({"id": 1, "actual": 2.0})],
        [logs.labels({"id": 1, "actual": 3.0, "time": AT + 4})],
        [logs.predictions({"id": 3, "predicted": 3.5}), logs.labels({"id": 1, "actual": 3.0, "time": AT + 5})],
        [logs.labels({"id": 2, "actual": 0.5, "time": AT + 6})],
    ]
    for cycle in cycles:
        state = State(tmp_path)
        pipeline = Pipeline(setting, state)
        pipeline.absorb(cycle)
        undisturbed.absorb(cycle)
        assert samples(shown(pipeline)) == samples(shown(undisturbed))
        state._let_go()


def test_another_task_begins_anew(tmp_path, logs):
    """Rows of another layout mean nothing any more: the counts begin anew, and the table takes the new rows."""
    state = State(tmp_path)
    Pipeline(config(model("m")), state)
    state.commit({})
    pipeline = Pipeline(config(regression()), state)
    pipeline.absorb([logs.predictions({"id": 1, "predicted": 1.0}), logs.labels({"id": 1, "actual": 2.0})])
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(config(model("m")), state)
    assert pipeline.ledgers["m"].remembered == 0
    assert ("model_absolute_error_sum_total", frozenset()) not in samples(shown(pipeline))
    state.close()


def test_the_center_is_a_matter_of_its_family_alone(tmp_path, logs):
    """Another center begins the regression's counts anew, and leaves predictions, joins and remembered rows."""
    state = State(tmp_path)
    pipeline = Pipeline(config(regression()), state)
    made = logs.predictions({"id": 1, "predicted": 1.0}, {"id": 2, "predicted": 1.0})
    pipeline.absorb([made, logs.labels({"id": 1, "actual": 2.0})])
    state.close()
    state = State(tmp_path)
    pipeline = Pipeline(config(regression(regression=RegressionSpec(center=1.0))), state)
    found = samples(shown(pipeline))
    assert found[sample("model_predictions_total", predicted="any")] == 2
    assert found[sample("model_labelled_predictions_total", correct="any")] == 0
    assert found[sample("model_window_labelled_predictions", window="60s")] == 0
    assert found[sample("model_mean_absolute_error", window="last 2")] == 1
    pipeline.absorb([logs.labels({"id": 2, "actual": 3.0})])
    assert samples(shown(pipeline))[sample("model_absolute_error_sum_total", direction="under")] == 2
    state.close()


def test_an_outlier_leaves_no_trace_in_the_windows(pipeline, logs):
    """An error a billion times larger than all others is gone from a window once its row is."""
    rows = [{"id": one, "predicted": 0.0} for one in range(40)]
    pipeline.absorb([logs.predictions(*rows)])
    for one in range(40):
        actual = 1e12 if one == 5 else 0.5
        pipeline.absorb([logs.labels({"id": one, "actual": actual, "time": AT + 10 * one})])
    found = samples(shown(pipeline))
    for window in ("60s", "last 2"):
        assert found[sample("model_mean_squared_error", window=window)] == 0.25
        assert found[sample("model_mean_absolute_error", window=window)] == 0.5
