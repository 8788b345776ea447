"""When calibration is fitted, what an answer changes, and what of it survives a restart."""

from __future__ import annotations

import numpy as np
import pytest

from exporter import plugins
from exporter.errors import StateDamaged
from exporter.families.estimates import Estimates
from exporter.pipeline import Pipeline
from exporter.pipeline.report import status
from exporter.state import State
from tests.estimating import EDGES, drawn, fitted, made, spec, told
from tests.ledgers import config, model, sample, samples, shown

FIT = "model_calibration_labelled_predictions"
OUTCOMES = ("tp", "fp", "fn", "tn")


class Model:
    """One model over a state, with rows that are drawn one after the other."""

    def __init__(self, state, **words):
        self.state = state
        self.pipeline = Pipeline(config(spec(**words)), state)
        self.made = 0

    def give(self, count, *, labelled=True, time=0.0, seed=0, power=1.0):
        """Predictions, and their labels ten seconds later."""
        score, outcome = drawn(count, seed, power)
        self.pipeline.absorb([made(score, self.made, time)])
        if labelled:
            self.pipeline.absorb([told(outcome, self.made, time + 10)])
        self.made += count

    def fit(self):
        fits = fitted(self.pipeline)
        self.pipeline.count([], fits=fits)
        self.pipeline.save()
        return len(fits)

    def samples(self):
        return samples(shown(self.pipeline))

    def value(self, name, **labels):
        return self.samples().get(sample(name, **labels))

    def estimated(self):
        found = self.samples()
        name = "model_estimated_outcomes_total"
        return [found[sample(name, **{"class": "yes", "outcome": one})] for one in OUTCOMES]


@pytest.fixture
def one():
    return Model(State(None))


# --- when ----------------------------------------------------------------------------------------


def test_the_first_fit_waits_for_labels(one):
    """Unlabelled predictions, or too few labels, make no fit due."""
    one.give(500, labelled=False)
    one.give(99)
    assert not one.pipeline.due()
    one.give(1)
    (fit,) = one.pipeline.due()
    assert (fit.model, fit.group, fit.labelled.sum()) == ("m", 0, 100)


def test_a_fit_needs_labels_of_both_classes(one):
    """With fewer than 30 of the rarer class, a share of positives would be a guess."""
    score = np.full(300, 0.3)
    one.pipeline.absorb([made(score)])
    outcome = np.arange(300) >= 271
    one.pipeline.absorb([told(outcome)])
    assert outcome.sum() == 29
    assert not one.pipeline.due()
    one.pipeline.absorb([told(np.arange(300) >= 270, time=99)])
    assert len(one.pipeline.due()) == 1


def test_fits_are_made_again_as_labels_double_up_to_the_reference(one):
    """At 100, 200, 400 and 800 labels and at last at the reference of 1,000; then what scores meant is settled."""
    at = []
    for _ in range(30):
        one.give(50)
        if one.fit():
            at.append(one.made)
    assert at == [100, 200, 400, 800, 1000]
    assert one.value(FIT) == 1000
    assert one.value("model_calibration_fits_total", result="fitted") == 5


def test_every_version_has_its_own(one):
    """What the scores of one version mean says nothing of another's."""
    score, outcome = drawn(200)
    one.pipeline.absorb([made(score, 0, version="1"), made(score, 1000, version="2")])
    one.pipeline.absorb([told(outcome)])
    assert one.fit() == 1
    one.pipeline.absorb([told(~outcome, 1000)])
    assert one.fit() == 1
    known = list(one.pipeline.ledgers["m"].calibrations.known.values())
    assert [sorted(calibrations) for calibrations in known] == [[0, 1]] * 2
    first, second = (known[0][group].probability for group in (0, 1))
    assert first[-1] > 0.9
    assert second[-1] == pytest.approx(second[0])


# --- what an answer changes ----------------------------------------------------------------------


def test_predictions_are_estimated_from_the_first_fit_on(one):
    """Counters hold what came after it, labelled or not; gauges speak of the whole window at once."""
    one.give(200)
    assert one.estimated() == [0] * 4
    one.fit()
    assert one.estimated() == [0] * 4
    gauge = one.value("model_estimated_accuracy_ratio", window="3600s")
    assert gauge == pytest.approx(one.value("model_realised_ratio", window="3600s", measure="accuracy"), abs=0.05)
    one.give(100, labelled=False, time=20)
    assert sum(one.estimated()) == pytest.approx(100)
    assert one.value("model_window_estimated_predictions", window="3600s") == 300
    assert one.value("model_window_realised_predictions", window="3600s") == 200


def test_a_new_fit_leaves_counters_as_they_are(one):
    """It speaks of what comes after it."""
    one.give(100)
    one.fit()
    one.give(150, power=4.0)
    before = one.estimated()
    assert one.fit() == 1
    assert one.estimated() == before
    one.give(50)
    assert all(now >= then for now, then in zip(one.estimated(), before, strict=True))


def test_checked_counters_are_of_the_same_predictions(one):
    """Expected and realised outcomes are of what was labelled since the first fit, with as many of each."""
    one.give(200)
    one.fit()
    one.give(300, seed=1)
    found = one.samples()

    def total(name):
        return [found[sample(name, **{"class": "yes", "outcome": outcome})] for outcome in OUTCOMES]

    estimated, realised = (
        total("model_checked_estimated_outcomes_total"),
        total("model_checked_realised_outcomes_total"),
    )
    assert sum(estimated) == pytest.approx(300)
    assert sum(realised) == 300
    assert estimated[0] + estimated[1] == pytest.approx(realised[0] + realised[1])
    assert not any(total("model_checked_realised_outcomes_retracted_total"))


def test_windows_go_by_the_time_of_predictions(one):
    """A label that comes late is of the window that its prediction was made in, and that has gone by."""
    one.give(200)
    score, outcome = drawn(50)
    one.pipeline.absorb([made(score, 1000, time=5000.0)])
    assert one.value("model_window_realised_predictions", window="3600s") == 200
    one.pipeline.absorb([told(outcome, 1000, time=8700.0)])
    assert one.value("model_window_labelled_predictions", window="3600s") == 50
    assert one.value("model_window_realised_predictions", window="3600s") == 0
    assert one.value("model_estimated_accuracy_ratio", window="3600s") is None


def test_windows_by_count_have_no_estimates():
    """They hold the newest labels, which no prediction has when it is made."""
    one = Model(State(None), windows=("3600s", "last 100"))
    one.give(200)
    one.fit()
    windows = {dict(labels)["window"] for name, labels in one.samples() if name == "model_estimated_accuracy_ratio"}
    assert windows == {"3600s"}


def test_an_answer_that_is_no_calibration_is_counted_and_not_used(one):
    """A wrong length, a share beyond 1, one that falls, and one that is no number change nothing but a counter."""
    one.give(200)
    (fit,) = one.pipeline.due()
    bins = len(EDGES) + 1
    falling = np.linspace(0.9, 0.1, bins).tolist()
    answers = [[0.5], [1.5] * bins, [float("nan")] * bins, [-0.1] * bins, falling, []]
    fits = [fit.answered(answer) for answer in answers]
    assert {one.result for one in fits} == {"invalid"}
    one.pipeline.count([], fits=fits)
    one.pipeline.save()
    assert one.value("model_calibration_fits_total", result="invalid") == len(answers)
    assert one.value(FIT) == 0
    assert one.value("model_estimated_accuracy_ratio", window="3600s") is None
    assert len(one.pipeline.due()) == 1


def test_the_page_tells_what_is_expected(one):
    """From the first fit on, beside the accuracy of what is labelled, for windows by time."""
    one.give(200)

    def told():
        (version,) = status(one.pipeline.ledgers["m"]).versions
        return [window.estimated for window in version.windows]

    assert told() == [None]
    one.fit()
    assert told() == [one.value("model_estimated_accuracy_ratio", window="3600s")]


# --- state ---------------------------------------------------------------------------------------


def saved(path):
    """A model that was fitted and went on, with all that it then showed; its state is closed."""
    one = Model(State(path))
    one.give(150)
    one.fit()
    one.give(60, time=20)
    before = one.samples()
    one.state.close()
    return one, before


def test_a_restart_goes_on_with_the_calibration(tmp_path):
    """Map, counters and the next fit are as they were, without a child."""
    one, before = saved(tmp_path)
    again = Model(State(tmp_path))
    assert again.samples() == before
    assert sum(again.estimated()) == pytest.approx(60)
    assert not again.pipeline.due()
    again.made = one.made
    again.give(90, time=30)
    assert again.fit() == 1
    again.state.close()


def test_a_further_family_that_takes_a_calibration_finds_what_is_kept(tmp_path, monkeypatch):
    """It uses the fit of the others, and tells of what it counts itself; nothing of theirs is lost."""
    one, before = saved(tmp_path)

    class Further(Estimates):
        """As that of another package."""

    Further.__module__ = "further"
    families_of = plugins.families_of
    monkeypatch.setattr(plugins, "families_of", lambda spec: [*families_of(spec), Further(spec)])
    again = Model(State(tmp_path))
    (ledger,) = again.pipeline.ledgers.values()
    mine = ledger.calibrations.known["Further"][0]
    assert mine.probability.tolist() == ledger.calibrations.known["Estimates"][0].probability.tolist()
    tally = ledger.tallies[-1]
    assert not any(tally.values(ledger.names, (), 0)[:4])
    again.made = one.made
    again.give(40, labelled=False, time=30)
    assert sum(tally.values(ledger.names, (), 0)[:4]) == pytest.approx(40)
    again.state.close()
    monkeypatch.undo()
    last = Model(State(tmp_path))
    fits = "model_calibration_fits_total"
    assert last.value(fits, result="fitted") == before[sample(fits, result="fitted")]
    last.state.close()


@pytest.mark.parametrize("words", [{"score_edges": (0.25, 0.5)}, {"score_edges": ()}])
def test_other_bins_begin_anew(tmp_path, words):
    """A map over bins that are no longer counted means nothing."""
    one = Model(State(tmp_path))
    one.give(150)
    one.fit()
    one.state.close()
    again = Model(State(tmp_path), **words)
    assert not again.value(FIT)
    assert not again.pipeline.due()
    again.give(1)
    assert not [name for name, _ in again.state.scan("model/m/calibration")]
    again.state.close()


def test_damaged_calibration_is_damage_of_the_state(tmp_path):
    """It is told as such, so that the state is moved aside instead of every start failing."""
    one = Model(State(tmp_path))
    one.give(150)
    one.fit()
    for blob in (b"\xc1", b"\x86", bytes(20)):
        one.state.commit({"model/m/calibration/0": blob})
        with pytest.raises(StateDamaged):
            Pipeline(one.pipeline.config, one.state)
    one.state.close()


def test_nothing_is_due_where_estimates_are_not_wanted():
    """A model without them never asks for a child."""
    plain = model(task="binary", positive="yes", classes=("no", "yes"), score_edges=EDGES)
    pipeline = Pipeline(config(plain), State(None))
    score, outcome = drawn(2000)
    pipeline.absorb([made(score), told(outcome)])
    assert not pipeline.due()
