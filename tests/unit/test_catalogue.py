"""The catalogue is what /metrics shows: no metric more, and none less."""

from __future__ import annotations

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter import catalogue
from exporter.contracts import Reading, Sight
from exporter.families.formulas import SOURCES
from tests.apps import START, ScriptedProbe, config, label, running, script_probe, write

CONFIG_GAUGES = """\
    thresholds: {accuracy: {warning: 0.9}}
    objectives: {accuracy: 0.95}
    baseline: {accuracy: 0.97}
    champion: 1
    betas: [2]
    costs: {a: {b: 5}}
    maturity: 1s
"""


OTHERS = {
    "regression": (
        "regression: {residual_buckets: [0]}\n    baseline: {mean_absolute_error: 1}",
        {"p": 5},
        [1, 2],
    ),
    "multilabel": ("classes: [a, b, c]", {"p": ["a", "b"]}, [["a", "b"], ["a", "b"]]),
    "ranking": ("ranking: {depth: 5}", {"p": ["a", "b", "c"]}, [["b"], ["x"]]),
    "multiclass": ("classes: [a, b, c]", {"p": "a", "probabilities": [0.5, 0.3, 0.2]}, ["a", "b"]),
}
"""Tasks that a binary model does not show whole: settings, what its predictions hold, and the labels."""


def other_task(folder, task, settings, predicted, labels):
    """A model of another *task* in a config, and its logs."""
    for number, actual in enumerate(labels):
        write(folder, f"{task}-predictions.jsonl", {"id": number, "t": START, "v": "1", **predicted})
        write(folder, f"{task}-labels.jsonl", {"id": number, "t": START, "y": actual})
    text = config(folder, task).replace("models:\n", "")
    text = text.replace("    positive: a\n    classes: [a, b]\n", f"    task: {task}\n    {settings}\n")
    more = "".join(f", {name}: {name}" for name in predicted if name != "p")
    return text.replace("version: v}", f"version: v{more}}}")


GROUPED = [("A", "a"), ("A", "b"), ("B", "a"), ("B", "b")]
"""Region and label of the predictions of a model with segments: with them, groups differ in no undefined way."""


def grouped(folder):
    """A model with segments in a config, and its logs."""
    for number, (region, actual) in enumerate(GROUPED):
        made = {"id": number, "t": START, "v": "1", "p": "a", "region": region}
        write(folder, "grouped-predictions.jsonl", made)
        write(folder, "grouped-labels.jsonl", {"id": number, "t": START, "y": actual})
    more = "    segments: {region: {min_group_size: 1, coordinates: {A: [52.5, 13.4]}}}\n"
    text = config(folder, "grouped", more=more).replace("models:\n", "")
    return text.replace("version: v}", "version: v, segments: {region: region}}")


ESTIMATED = 120


def estimated(folder):
    """A model with scores in a config, with labels enough for estimates, and its logs."""
    for number in range(ESTIMATED):
        score = number % 2 * 0.4 + 0.3
        made = {"id": number, "t": START, "v": "1", "p": "a" if score > 0.5 else "b", "s": score}
        write(folder, "estimated-predictions.jsonl", made)
        label(folder, number, model="estimated", actual="a" if (score > 0.5) == (number % 5 > 0) else "b")
    more = "    estimates: {labelled: 100}\n"
    text = config(folder, "estimated", windows="30d", more=more).replace("models:\n", "")
    return text.replace("version: v}", "version: v, score: s}")


def all_readings(cursor, deadline):
    readings = [Reading(one.name, tuple((name, "x") for name in one.labels), 1.0) for one in ScriptedProbe.specs]
    return Sight(up=True, start_time=START, observed=1.0, readings=tuple(readings), cursor={})


@pytest.fixture
def full(monkeypatch, tmp_path):
    """A scrape in which no metric is missing: rows with latency, errors, labels and faults, thresholds, a target."""
    write(
        tmp_path,
        "m-predictions.jsonl",
        {"id": 1, "t": START, "p": "a", "v": "1", "s": 0.7, "ms": 5, "e": None},
        {"id": 4, "t": START, "p": "b", "v": "1", "s": 0.6, "ms": 5, "e": None},
        {"id": 5, "t": START + 10, "p": "a", "v": "1", "s": 0.6, "ms": 5, "e": None},
        {"id": 2, "t": START, "p": None, "v": "1", "ms": 5, "e": "timeout"},
        {"id": 3, "t": "no time", "p": "a", "v": "1"},
    )
    label(tmp_path, 1)
    label(tmp_path, 4, actual="b")
    write(tmp_path, "m-labels.jsonl", {"id": 5, "t": START + 11, "y": "a"})
    text = config(tmp_path, windows="last 10, 1h", more=CONFIG_GAUGES)
    text += "targets: {t: {model: m, scripted: {}, windows: [1h]}}\n"
    script_probe(monkeypatch, all_readings)
    text = text.replace("version: v}", "version: v, error: e, score: s, latency: {field: ms, unit: ms}}")
    models = "".join(other_task(tmp_path, task, *words) for task, words in OTHERS.items())
    models += grouped(tmp_path) + estimated(tmp_path)
    text = text.replace("targets:", f"{models}targets:")
    with running(monkeypatch, tmp_path, text) as exporter:
        exporter.ready()
        labelled = 3 + 2 * len(OTHERS) + len(GROUPED) + ESTIMATED
        exporter.once(lambda v: v.sum("model_labelled_predictions_total") == labelled)
        exporter.once(lambda v: v.one("model_estimated_f1_ratio", model="estimated", version="1", window="30d"), 60)
        return exporter.get("/metrics")[1]


def test_it_is_what_a_full_scrape_shows(full):
    """Names, types, helps and labels of all metrics are the same on both sides."""
    shown = {}
    for family in text_string_to_metric_families(full):
        name = family.name + "_total" * (family.type == "counter")
        labels = set().union(*(sample.labels for sample in family.samples)) - {"le"} if family.samples else None
        shown[name] = family.type, family.documentation, labels
    listed = {spec.name: (spec.type, spec.help, set(spec.labels) - {"le"}) for spec in catalogue.specs()}
    assert shown.keys() == listed.keys()
    for name, (kind, text, labels) in listed.items():
        assert shown[name][:2] == (kind, text), name
        assert shown[name][2] in (labels, None), name


def test_every_metric_stands_once():
    """No name is given twice, and every one has a help that is a sentence or close to one."""
    specs = catalogue.specs()
    assert len({spec.name for spec in specs}) == len(specs)
    assert all(len(spec.help) > 10 for spec in specs)


def test_labels_that_prometheus_keeps_for_itself_are_left_to_it():
    """No metric has the label le or quantile, which promtool allows only where the type makes them."""
    assert [spec.name for spec in catalogue.specs() if {"le", "quantile"} & set(spec.labels)] == []


@pytest.mark.parametrize("kind", ["text", "markdown", "json"])
def test_every_form_holds_every_metric(kind):
    """The three forms name the same metrics, in the same order."""
    text = catalogue.render(kind)
    names = {
        "text": lambda: re.findall(r"^(\w+)(?:{.*})?  \w+$", text, re.MULTILINE),
        "markdown": lambda: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE),
        "json": lambda: [spec["name"] for spec in json.loads(text)],
    }[kind]()
    assert names == [spec.name for spec in catalogue.specs()]
    assert text.endswith("\n")


def test_a_row_of_the_markdown_table_has_four_cells():
    """No help and no label breaks the table."""
    rows = catalogue.render("markdown").splitlines()
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {6}


OWN = {
    "model_bias", "model_hit_rate_ratio", "model_estimation_error", "model_realised_ratio",
    "model_matured_label_coverage_ratio",
}  # fmt: skip
"""Means and shares that their help defines."""


def test_every_measure_names_the_source_of_its_formula():
    """Of gauges over a window all but plain counts, means and shares; and nothing that is gone."""
    specs = catalogue.specs()
    measures = {
        spec.name for spec in specs if spec.type == "gauge" and {"model", "window"} <= set(spec.labels)
    }  # fmt: skip
    counts = {name for name in measures if "window_" in name}
    assert measures - counts - OWN == SOURCES.keys()
    told = {spec["name"]: spec.get("source") for spec in json.loads(catalogue.render("json"))}
    assert {name: source for name, source in told.items() if source} == SOURCES
    assert "fairlearn, demographic_parity_ratio." in catalogue.render("markdown")
