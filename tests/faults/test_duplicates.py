"""The same rows again: each counts once, however often it is delivered."""

from __future__ import annotations

from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import L, P, config, labels, of_model, predictions, sample, samples, shown


def test_repeated_rows_are_counted_once_and_told():
    """Predictions and labels that come three times, in one poll and in later ones, only count as repeated."""
    once, thrice = Pipeline(config(), State(None)), Pipeline(config(), State(None))
    made, told = [P(one, 1.0) for one in range(20)], [L(one, 2.0, "ab"[one % 2]) for one in range(20)]
    once.absorb([predictions(*made), labels(*told)])
    thrice.absorb([predictions(*made, *made), labels(*told)])
    thrice.absorb([labels(*told, *told)])
    thrice.absorb([predictions(*made)])
    joins = {"model_joins_total"}
    assert {at: value for at, value in samples(shown(thrice)).items() if at[0] not in joins} == {
        at: value for at, value in samples(shown(once)).items() if at[0] not in joins
    }
    found = samples(shown(thrice))
    assert found[of_model("model_joins_total", result="matched")] == 20
    assert found[of_model("model_joins_total", result="repeated")] == 40
    assert found[of_model("model_joins_total", result="duplicate")] == 40


def test_an_id_may_come_back_as_another_type_of_text():
    """Ids are texts: `1` and `01` are two predictions."""
    pipeline = Pipeline(config(), State(None))
    pipeline.absorb([predictions(P("1"), P("01")), labels(L("01"))])
    assert samples(shown(pipeline))[sample("model_pending_predictions")] == 1
