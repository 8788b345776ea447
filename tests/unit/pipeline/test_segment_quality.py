"""Quality by group on its whole way: attributes in the log, late and corrected labels, counters, gauges, places."""

from __future__ import annotations

import pytest

from exporter.check import series
from exporter.contracts import ModelSpec, SegmentSpec
from exporter.pipeline import Pipeline
from exporter.state import State
from tests.ledgers import config, model, of_model, sample, samples, shown
from tests.logs import Logs

REGION = SegmentSpec(name="region", top=2, min_group_size=2, coordinates={"DE": (52.5, 13.4), "XX": (0.0, 0.0)})
SPEC = ModelSpec(name="m", task="binary", positive="yes", classes=("no", "yes"), segments=(REGION,))


@pytest.fixture
def logs():
    return Logs(SPEC, segments=("region",))


def fresh(state=None):
    words = {name: getattr(SPEC, name) for name in ("task", "positive", "classes", "segments")}
    return Pipeline(config(model("m", windows=["60s", "last 4"], **words)), state or State(None))


def outcome(group, word, retracted=""):
    name = f"model_segment_outcomes{retracted}_total"
    return sample(name, **{"attribute": "region", "group": group, "class": "yes", "outcome": word})


def gauge(name, window="60s", **more):
    return sample(f"model_segment_{name}", window=window, attribute="region", **more)


def rows(*regions, start=0, predicted="yes"):
    return [{"id": start + at, "predicted": predicted, "region": region} for at, region in enumerate(regions)]


def test_small_groups_and_those_that_come_late_are_other(logs):
    """A group has series of its own once it is large enough, up to `top` groups; what came before stays in `other`."""
    pipeline = fresh()
    pipeline.absorb([logs.predictions(*rows("DE", "DE", "FR", "DE", "FR", "IT", "IT", None))])
    pipeline.absorb([logs.labels(*({"id": at, "actual": "yes" if at % 2 else "no"} for at in range(8)))])
    found = samples(shown(pipeline))
    made = {
        dict(labels)["group"]: value
        for (name, labels), value in found.items()
        if name == "model_segment_predictions_total" and ("predicted", "yes") in labels
    }
    assert made == {"other": 5, "DE": 2, "FR": 1}
    assert [found[outcome("DE", word)] for word in ("tp", "fp", "fn", "tn")] == [2, 0, 0, 0]
    assert [found[outcome("other", word)] for word in ("tp", "fp", "fn", "tn")] == [2, 3, 0, 0]
    assert found[of_model("model_segment_min_group_size", attribute="region")] == 2


def test_a_promoted_group_starts_at_zero_and_stays(logs):
    """Once the exporter is ready, all series of a new group show 0 to one scrape, and none of them ever falls."""
    pipeline = fresh()
    pipeline.exposition.ready = True
    pipeline.absorb([logs.predictions(*rows("DE")), logs.labels({"id": 0, "actual": "yes"})])
    first = samples(shown(pipeline))
    assert first[outcome("other", "tp")] == 0
    assert outcome("DE", "tp") not in first
    pipeline.exposition._last.served = True
    pipeline.absorb([logs.predictions(*rows("DE", "DE", start=1)), logs.labels({"id": 2, "actual": "yes"})])
    second = samples(shown(pipeline))
    assert (second[outcome("other", "tp")], second[outcome("DE", "tp")]) == (1, 0)
    pipeline.exposition._last.served = True
    third = samples(shown(pipeline))
    assert (third[outcome("other", "tp")], third[outcome("DE", "tp")]) == (1, 1)


def test_a_correction_is_taken_back_from_its_group(logs):
    """The twin grows by what was counted before, and windows by time and by count hold the newest label only."""
    pipeline = fresh()
    pipeline.absorb([logs.predictions(*rows("DE", "DE", "DE", "DE")), logs.labels({"id": 2, "actual": "yes"})])
    pipeline.absorb([logs.labels({"id": 3, "actual": "yes"}, {"id": 2, "actual": "no", "time": 1e9 + 5})])
    found = samples(shown(pipeline))
    assert (found[outcome("DE", "tp")], found[outcome("DE", "tp", "_retracted")]) == (2, 1)
    assert found[outcome("DE", "fp")] == 1
    for window in ("60s", "last 4"):
        assert found[gauge("window_labelled_predictions", window, group="DE")] == 2
        assert found[gauge("accuracy_ratio", window, group="DE")] == 0.5
        assert found[gauge("precision_ratio", window, group="DE", average="binary")] == 0.5
        assert found[gauge("window_labelled_predictions", window, group="other")] == 0
        assert gauge("accuracy_ratio", window, group="other") not in found


def test_groups_that_are_small_in_the_window_have_no_measure(logs):
    """Their count says why; fairness is of the others, and undefined where fewer than two are left."""
    pipeline = fresh()
    pipeline.absorb([logs.predictions(*rows(*["DE"] * 4, *["FR"] * 4), *rows("DE", "FR", start=8, predicted="no"))])
    told = [{"id": at, "actual": "yes"} for at in (2, 3, 8, 6)]
    pipeline.absorb([logs.labels(*told)])
    found = samples(shown(pipeline))
    parity = sample("model_demographic_parity_ratio", window="60s", attribute="region")
    assert found[gauge("selection_ratio", group="DE")] == 2 / 3
    assert found[gauge("window_labelled_predictions", group="FR")] == 1
    assert gauge("selection_ratio", group="FR") not in found
    assert parity not in found
    pipeline.absorb([logs.labels({"id": 7, "actual": "no"})])
    assert samples(shown(pipeline))[parity] == 2 / 3


def test_places_are_told_of_groups_that_are_shown(logs):
    """A group has its coordinates beside it from when it has a code; one that never came is not told of."""
    pipeline = fresh()
    pipeline.absorb([logs.predictions(*rows("DE", "FR", "FR"))])
    assert not any(name == "model_segment_info" for name, _ in samples(shown(pipeline)))
    pipeline.absorb([logs.predictions(*rows("DE", start=3))])
    found = {at: value for at, value in samples(shown(pipeline)).items() if at[0] == "model_segment_info"}
    place = sample("model_segment_info", attribute="region", group="DE", latitude="52.5", longitude="13.4")
    assert found == {place: 1}


def test_counts_survive_a_restart(tmp_path, logs):
    """Totals and windows of all groups go on where they were."""
    state = State(tmp_path)
    pipeline = fresh(state)
    told = [{"id": at, "actual": "yes"} for at in range(5)]
    pipeline.absorb([logs.predictions(*rows(*["DE"] * 5)), logs.labels(*told)])
    before = samples(shown(pipeline))
    state._let_go()
    state = State(tmp_path)
    assert samples(shown(fresh(state))) == before
    state.close()


def test_check_promises_the_series_that_there_are(logs):
    """Once all groups have come, with their places, the exposition holds as many series as `check` says."""
    pipeline = fresh()
    pipeline.absorb([logs.predictions(*rows("DE", "DE", "XX", "XX"))])
    shown(pipeline)
    of = pipeline.config.models["m"]
    assert pipeline.exposition.series == series.of_model(of) + series.of_version(of, 2, groups=2)


def test_a_model_without_attributes_pays_nothing():
    """No family by group, hence no cell, no series and no work, serves it."""
    plain = Pipeline(config(model("m", windows=["60s"])), State(None))
    assert not [tally for tally in plain.ledgers["m"].tallies if "Segment" in type(tally.family).__name__]
