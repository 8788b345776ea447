"""Tasks other than classification, from a config and files to the exposition and to `check`."""

from __future__ import annotations

import io

import pytest

from exporter import check
from exporter.config.masked import masked
from exporter.config.schema import parse
from exporter.contracts import Clock
from exporter.errors import ConfigError
from tests.apps import START, running, write

REGRESSION = """
models:
  price:
    task: regression
    regression: {{residual_buckets: [-10, 0, 10], quantiles: [0.5, 0.9], center: 100}}
    predictions:
      files: {{path: {folder}/p.jsonl}}
      fields: {{id: id, time: t, predicted: out.value, version: v, segments: {{region: geo.country}}}}
      interval: 1s
    labels:
      files: {{path: {folder}/l.jsonl}}
      fields: {{id: id, time: t, actual: y}}
      interval: 1s
    windows: [last 10]
"""


def some(folder):
    rows = [
        {"id": n, "t": START, "v": "1", "out": {"value": 100.0 + n}, "geo": {"country": "DE" if n % 2 else "FR"}}
        for n in range(6)
    ]
    write(folder, "p.jsonl", *rows)
    write(folder, "l.jsonl", *({"id": n, "t": START + 1, "y": 103.0} for n in range(5)), {"id": 5, "t": 1, "y": "x"})


def test_a_regression_from_its_config_to_metrics(tmp_path, monkeypatch):
    """What stands in the files is measured, and what is no number is refused under a reason."""
    some(tmp_path)
    with running(monkeypatch, tmp_path, REGRESSION.format(folder=tmp_path)) as exporter:
        values = exporter.once(lambda values: values.one("model_labelled_predictions_total", correct="any") == 5)
        page = exporter.get("/")[1]
    assert "mean absolute error" in page
    assert values.one("model_absolute_error_sum_total", direction="under") == 6
    assert values.one("model_residuals_total", at_most="0.0") == 2
    assert values.one("model_mean_pinball_loss", alpha="0.9") == pytest.approx((0.9 * 6 + 0.1 * 1) / 5)
    assert values.one("model_exporter_source_rows_rejected_total", role="labels", reason="bad_label") == 1


def test_check_tells_of_numbers(tmp_path):
    """`check --read` shows ranges, rows and groups of what it read, and how many series there will be."""
    some(tmp_path)
    (tmp_path / "c.yml").write_text(REGRESSION.format(folder=tmp_path))
    out = io.StringIO()
    assert check.run(tmp_path / "c.yml", 100, out, Clock(wall=lambda: START + 60)) == 0
    text = out.getvalue()
    assert "price (regression)" in text
    assert "predicted     100 to 105, mean 102.5" in text
    assert "actual        103 to 103, mean 103" in text
    assert "region        FR 3, DE 3" in text
    assert "60 bytes" in text


@pytest.mark.parametrize("count", [1, 4])
def test_check_reads_no_more_than_it_was_told(count, tmp_path):
    """Where a log holds more rows than were asked for, the first of them are joined, whatever their task."""
    values = {
        "regression": (100.0, 103.0, ""),
        "multilabel": (["news", "tech"], ["tech"], OTHERS["multilabel"]),
        "ranking": (["a", "b"], ["b"], OTHERS["ranking"]),
    }
    for task, (predicted, actual, settings) in values.items():
        folder = tmp_path / task
        folder.mkdir()
        write(folder, "p.jsonl", *({"id": n, "t": START, "out": {"value": predicted}, "v": "1"} for n in range(9)))
        write(folder, "l.jsonl", *({"id": n, "t": START + 1, "y": actual} for n in range(9)))
        text = REGRESSION.format(folder=folder).replace("task: regression", f"task: {task}")
        lines = [settings if "residual_buckets" in line else line for line in text.splitlines()]
        (folder / "c.yml").write_text("\n".join(f"    {line}" if line == settings else line for line in lines))
        out = io.StringIO()
        assert check.run(folder / "c.yml", count, out, Clock(wall=lambda: START + 60)) == 0
        assert f"matched  {count}  labels that met their prediction" in out.getvalue()


def test_a_config_is_shown_as_it_can_be_written(tmp_path):
    """The masked form of a config of any task is a config, and means the same."""
    config = parse(REGRESSION.format(folder=tmp_path), "c.yml")
    assert parse(masked(config), "c.yml").models == config.models


OTHERS = {
    "multilabel": "classes: [news, sport, tech]",
    "ranking": "ranking: {depth: 5, relevant: 3}",
    "multiclass": "classes: [a, b, c]\n    top_k: [2]\n    segments: {region: {coordinates: {DE: [51.2, 10.4]}}}",
}


@pytest.mark.parametrize("task", OTHERS)
def test_other_tasks_are_shown_as_they_can_be_written(task, tmp_path):
    """The masked form of their settings means the same, and what belongs to none of them is told."""
    text = REGRESSION.format(folder=tmp_path).replace("task: regression", f"task: {task}")
    settings = "regression: {residual_buckets: [-10, 0, 10], quantiles: [0.5, 0.9], center: 100}"
    with pytest.raises(ConfigError, match="only task: regression has regression; remove it"):
        parse(text, "c.yml")
    text = text.replace(settings, OTHERS[task])
    if task == "multiclass":
        text = text.replace("predicted: out.value", "predicted: out.value, probabilities: q")
    config = parse(text, "c.yml")
    assert parse(masked(config), "c.yml").models == config.models
    spec = config.models["price"].spec
    assert (spec.probabilities, spec.top_k) == ((3, (2,)) if task == "multiclass" else (0, ()))
    assert spec.layout.record.itemsize > 50


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("top_k: [2]", "top_k: needs the probabilities"),
        ("top_k: [3]", "the first 3 always hold"),
        ("top_k: [2]\n    curve_classes: 2", "raise curve_classes"),
    ],
)
def test_top_k_needs_probabilities(settings, message, tmp_path):
    """What cannot be counted is told, with the way out."""
    text = REGRESSION.format(folder=tmp_path).replace("task: regression", "task: multiclass\n    classes: [a, b, c]")
    lines = [line for line in text.splitlines() if "residual_buckets" not in line]
    text = "\n".join(lines).replace("    predictions:", f"    {settings}\n    predictions:")
    with pytest.raises(ConfigError, match=message):
        parse(text, "c.yml")


def test_check_tells_of_labels_and_items(tmp_path):
    """`check --read` shows what a set or a ranking holds, and which labels are the commonest."""
    for task, predicted, actual, shown in (
        ("multilabel", ["news", "tech"], ["tech"], ("news 4, tech 4", "tech 4", "news, tech")),
        ("ranking", ["a", "b", "c"], {"a": 2, "b": 0}, ("3 items", "1 relevant item")),
    ):
        folder = tmp_path / task
        folder.mkdir()
        write(folder, "p.jsonl", *({"id": n, "t": START, "out": {"value": predicted}} for n in range(4)))
        write(folder, "l.jsonl", *({"id": n, "t": START, "y": actual} for n in range(4)))
        text = REGRESSION.format(folder=folder).replace("task: regression", f"task: {task}")
        settings = "regression: {residual_buckets: [-10, 0, 10], quantiles: [0.5, 0.9], center: 100}"
        (folder / "c.yml").write_text(text.replace(settings, OTHERS[task]))
        out = io.StringIO()
        assert check.run(folder / "c.yml", 100, out, Clock(wall=lambda: START + 60)) == 0
        for words in shown:
            assert words in out.getvalue()


FAULTS = {
    "a cut-off": ("    regression:", "    ranking: {depth: 3, cutoffs: [5]}\n    regression:", "raise depth"),
    "a class of none": ("    regression:", "    classes: [a, b]\n    regression:", "only task: binary, multiclass"),
    "a score of none": ("predicted: out.value", "score: out.value, predicted: p", "only task: binary or multiclass"),
    "no prediction": ("predicted: out.value, ", "", "predicted: is missing"),
    "a gap": ("    regression:", "    thresholds: {segment_gap: {warning: 0.1}}\n    regression:", "binary or multi"),
    "a threshold": ("predicted: out.value", "predicted: {field: p, threshold: 0.5}", "decides no class"),
    "buckets": ("[-10, 0, 10]", "[0, -10]", "must be larger than the bound before it"),
    "a quantile": ("[0.5, 0.9]", "[1.0]", "must be less than 1"),
    "an unknown attribute": ("    regression:", "    segments: {regoin: {}}\n    regression:", "did you mean region?"),
    "one attribute": ("{region: geo.country}", "geo.country", "write attributes with their paths"),
    "coordinates": (
        "    regression:",
        "    segments: {region: {coordinates: {DE: [91, 0]}}}\n    regression:",
        "must be latitude",
    ),
    "a measure of classes": (
        "    regression:",
        "    thresholds: {accuracy: {warning: 0.9}}\n    regression:",
        "has accuracy; remove it",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_does_not_belong_to_a_task_is_a_fault(fault, tmp_path):
    """Keys and fields of other tasks are told, with the way out."""
    old, new, message = fault
    text = REGRESSION.format(folder=tmp_path)
    assert old in text
    with pytest.raises(ConfigError, match=message):
        parse(text.replace(old, new, 1), "c.yml")
