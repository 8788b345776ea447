"""The newcomer's check: labels joined by a plain dict, measured by scikit-learn."""

from __future__ import annotations

import json

import pytest

from exporter.demo import truth
from exporter.demo.models import CANCER, DIABETES, SEARCH, TRAITS, WINE


def written(folder, records, labels):
    """Logs of one model: (id, output) of predictions of version 1.0, and the text of its labels."""
    folder.mkdir()
    rows = [{"id": name, "model": {"version": "1.0"}, "output": output} for name, output in records]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"id": "f')
    (folder / labels[0]).write_text(labels[1])


@pytest.fixture
def folder(tmp_path):
    """Five predictions of which one failed and one has no label, and labels of every kind."""
    said = [("a", "malignant"), ("b", "malignant"), ("c", "benign"), ("e", "benign"), ("a", "benign")]
    chance = {"benign": 0.25, "malignant": 0.75}
    records = [(name, {"diagnosis": one, "probability": chance}) for name, one in said]
    labels = (
        "id,diagnosis,labelled_at\n"
        "b,malignant,2026-01-01T00:00:01.000Z\n"
        "c,malignant,2026-01-01T00:00:02.000Z\n"
        "a,malignant,2026-01-01T00:00:03.000Z\n"
        "b,benign,2026-01-01T00:00:04.000Z\n"
        "b,malignant,2026-01-01T00:00:00.500Z\n"
        "x,benign,2026-01-01T00:00:05.000Z\n"
        "e,mal"
    )
    written(tmp_path / CANCER, records, ("labels.csv", labels))
    log = tmp_path / CANCER / "predictions.jsonl"
    failed = {"id": "d", "model": {"version": "1.0"}, "error": "missing_feature"}
    log.write_text(json.dumps(failed) + "\n" + log.read_text())
    return tmp_path


def row(actual, **output):
    return truth.Row("t", actual, output)


def test_the_first_prediction_and_the_latest_label_count(folder):
    """Repeated predictions, outdated labels, labels of nothing and unfinished lines change nothing."""
    rows = truth.join(folder, CANCER)["1.0"]
    assert [(one.actual, one.predicted["diagnosis"]) for one in rows] == [
        ("malignant", "benign"),
        ("malignant", "malignant"),
        ("benign", "malignant"),
    ]


def test_labels_that_are_lists_are_joined_as_well(tmp_path):
    """A log of labels may be JSON Lines; the latest label counts there, too."""
    lines = [
        {"id": "a", "traits": ["even"], "labelled_at": "2026-01-01T00:00:02.000Z"},
        {"id": "a", "traits": [], "labelled_at": "2026-01-01T00:00:01.000Z"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    written(tmp_path / TRAITS, [("a", {"traits": []})], ("labels.jsonl", text))
    assert [one.actual for one in truth.join(tmp_path, TRAITS)["1.0"]] == [["even"]]


def test_measures_are_about_the_class_malignant(folder):
    """One right, one false alarm and one that was missed give the ratios of the positive class."""
    found = truth.measure(CANCER, truth.join(folder, CANCER)["1.0"])
    assert found["model_window_labelled_predictions"] == 3
    assert found["model_accuracy_ratio"] == 1 / 3
    for name in ("precision", "recall", "f1"):
        assert found[f'model_{name}_ratio{{average="binary"}}'] == 0.5


def test_what_is_undefined_is_left_out():
    """No row at all, or no positive one, gives no ratio that could be mistaken for zero."""
    assert truth.measure(CANCER, []) == {"model_window_labelled_predictions": 0}
    benign = row("benign", diagnosis="benign", probability={"malignant": 0.1})
    only_benign = truth.measure(CANCER, [benign])
    assert only_benign["model_accuracy_ratio"] == 1.0
    assert 'model_recall_ratio{average="binary"}' not in only_benign
    assert 'model_roc_auc_ratio{average="binary"}' not in only_benign
    wine = row("barolo", cultivar="barbera", probabilities=[0.2, 0.1, 0.7])
    never_right = truth.measure(WINE, [wine])
    assert 'model_precision_ratio{average="macro"}' not in never_right
    assert never_right['model_precision_ratio{average="micro"}'] == 0
    assert "model_r2_score" not in truth.measure(DIABETES, [row("1.0", progression=2.0)])


def test_measures_of_the_other_tasks():
    """By hand: an error of 1 and one of 3, the second likeliest class, one wrong label of four, the third item."""
    numbers = truth.measure(DIABETES, [row("10.0", progression=11.0), row("20.0", progression=17.0)])
    assert (numbers["model_mean_absolute_error"], numbers["model_bias"]) == (2, -1)
    assert numbers["model_r2_score"] == pytest.approx(1 - 10 / 50)
    wine = truth.measure(WINE, [row("barolo", cultivar="barbera", probabilities=[0.3, 0.1, 0.6])])
    assert wine['model_top_k_accuracy_ratio{k="2"}'] == 1
    sets = truth.measure(TRAITS, [row(["even", "loop"], traits=["even"]), row([], traits=[])])
    assert (sets["model_hamming_loss_ratio"], sets["model_accuracy_ratio"]) == (1 / 8, 0.5)
    assert sets['model_f1_ratio{average="samples"}'] == pytest.approx(2 / 3)
    search = truth.measure(SEARCH, [row(["c"], results=["a", "b", "c"]), row([], results=["a"])])
    assert search['model_mean_reciprocal_rank_ratio{k="5"}'] == pytest.approx(1 / 3)
    assert search['model_ndcg_ratio{k="5"}'] == pytest.approx(0.5)
    assert (search['model_hit_rate_ratio{k="1"}'], search['model_hit_rate_ratio{k="10"}']) == (0, 1)


def test_rotated_logs_are_read_before_the_new_ones(folder):
    """What was renamed to *.1 still counts, and comes first."""
    record = {"id": "c", "model": {"version": "1.0"}, "output": {"diagnosis": "malignant"}}
    (folder / CANCER / "predictions.jsonl.1").write_text(json.dumps(record) + "\n")
    assert truth.join(folder, CANCER)["1.0"][0].predicted == {"diagnosis": "malignant"}


def test_there_is_a_table_per_model_with_columns_per_version(folder, capsys):
    """The newcomer sees every measure under the name of its gauge, to four digits."""
    written(folder / DIABETES, [("a", {"progression": 1.0})], ("labels.csv", "id,progression,labelled_at\na,2,t\n"))
    assert truth.main([str(folder)]) == 0
    cancer, diabetes = capsys.readouterr().out.split("\n\n")
    head, *lines = cancer.splitlines()
    assert head.split() == [CANCER, "1.0", "all", "1.0", "last", "500"]
    assert "model_accuracy_ratio 0.3333 0.3333" in [" ".join(line.split()) for line in lines]
    assert "model_mean_absolute_error 1.0000 1.0000" in [" ".join(line.split()) for line in diabetes.splitlines()]


def test_a_wrong_folder_is_told(tmp_path, capsys):
    """A folder without logs gives a sentence, not a traceback."""
    with pytest.raises(SystemExit):
        truth.main([str(tmp_path)])
    assert "no log of the demo's models" in capsys.readouterr().err
