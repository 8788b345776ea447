"""Every metric of the catalogue is shown by a panel, directly or through a rule, or is listed with a reason."""

from __future__ import annotations

import pytest

from dashboards.not_shown import NOT_SHOWN
from exporter import catalogue
from tests.dashboards.grafana import Choice, asked, panels
from tests.dashboards.promql import names
from tests.dashboards.recorded import rules

PLAIN = Choice("plain", dict.fromkeys(("job", "model", "measure", "loss", "version", "target", "instance"), "a"), 0)
SUFFIXES = ("_bucket", "_count", "_sum")
MADE_BY_PROMETHEUS = {"up", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE"}


def metric(name):
    """The metric that a sample belongs to."""
    histograms = {spec.name for spec in catalogue.specs() if spec.type == "histogram"}
    return next((base for suffix in SUFFIXES if (base := name.removesuffix(suffix)) in histograms), name)


def queried(boards):
    """Names that the panels of *boards* ask for."""
    return {name for board in boards.values() for one in asked(board, PLAIN, {}) for name in names(one.expr)}


def read_by(found):
    """*found*, and all that the rules read to record what is in it."""
    reads = {}
    for rule in rules():
        reads.setdefault(rule.record, set()).update(names(rule.expr))
    out, new = set(), set(found)
    while new:
        out |= new
        new = {name for record in new for name in reads.get(record, ())} - out
    return out


def test_every_metric_is_shown_or_listed(boards):
    """No metric is forgotten, and none is listed that is shown or that does not exist."""
    known = {spec.name for spec in catalogue.specs()}
    shown = {metric(name) for name in read_by(queried(boards))} & known
    assert sorted(known - shown - set(NOT_SHOWN)) == [], "neither shown nor listed in dashboards/not_shown.py"
    assert sorted(shown & set(NOT_SHOWN)) == [], "listed in dashboards/not_shown.py, and yet shown"
    assert sorted(set(NOT_SHOWN) - known) == [], "listed in dashboards/not_shown.py, and no metric"
    assert all(len(reason) > 20 for reason in NOT_SHOWN.values())


def unknown(boards):
    """Names that neither the exporter, a rule nor Prometheus gives."""
    known = {spec.name for spec in catalogue.specs()} | {rule.record for rule in rules()} | MADE_BY_PROMETHEUS
    return sorted({name for name in queried(boards) if metric(name) not in known})


def test_every_name_exists(boards):
    """What the checked-in files ask for is a metric, a record or a series of Prometheus itself."""
    assert unknown(boards) == []


@pytest.mark.parametrize("name", ["model_predictions_total", "model:model_status:max"])
def test_a_renamed_metric_is_noticed(boards, monkeypatch, name):
    """Were a metric or a record called otherwise, the checked-in files would be found to ask for a stranger."""
    renamed = [spec for spec in catalogue.specs() if spec.name != name]
    kept = [rule for rule in rules() if rule.record != name]
    monkeypatch.setattr(catalogue, "specs", lambda: renamed)
    monkeypatch.setitem(globals(), "rules", lambda: kept)
    assert unknown(boards) == [name]


def test_descriptions_name_what_exists(boards):
    """Metrics and records that a description gives as the source are real, and one of them is asked for."""
    known = {spec.name for spec in catalogue.specs()} | {rule.record for rule in rules()} | MADE_BY_PROMETHEUS
    wrong = []
    for board in boards.values():
        for panel in panels(board):
            told = {word for word in panel["description"].split("`")[1::2] if not word.startswith((":", "6h", "3d"))}
            exprs = " ".join(target["expr"] for target in panel.get("targets", []))
            wrong += [(panel["title"], word) for word in told if word not in known or word not in exprs]
    assert wrong == []
