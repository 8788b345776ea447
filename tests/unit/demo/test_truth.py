"""The newcomer's check: labels joined by a plain dict, measured by scikit-learn."""

from __future__ import annotations

import json
import math

import pytest

from exporter.demo import truth


@pytest.fixture
def folder(tmp_path):
    """Five predictions of which one failed and one has no label, and labels of every kind."""
    rows = [("a", "malignant"), ("b", "malignant"), ("c", "benign"), ("e", "benign"), ("a", "benign")]
    records = [{"id": name, "model": {"version": "1.0"}, "output": {"diagnosis": said}} for name, said in rows]
    records.insert(3, {"id": "d", "model": {"version": "1.0"}, "error": "missing_feature"})
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + '{"id": "f')
    (tmp_path / "labels.csv").write_text(
        "id,diagnosis,labelled_at\n"
        "b,malignant,2026-01-01T00:00:01.000Z\n"
        "c,malignant,2026-01-01T00:00:02.000Z\n"
        "a,malignant,2026-01-01T00:00:03.000Z\n"
        "b,benign,2026-01-01T00:00:04.000Z\n"
        "b,malignant,2026-01-01T00:00:00.500Z\n"
        "x,benign,2026-01-01T00:00:05.000Z\n"
        "e,mal"
    )
    return tmp_path


def test_the_first_prediction_and_the_latest_label_count(folder):
    """Repeated predictions, outdated labels, labels of nothing and unfinished lines change nothing."""
    rows = truth.join(folder)["1.0"]
    assert [(row.actual, row.predicted) for row in rows] == [
        ("malignant", "benign"),
        ("malignant", "malignant"),
        ("benign", "malignant"),
    ]


def test_measures_are_those_of_the_counts(folder):
    """tp, fp, fn and tn are about malignant, and the ratios follow from them."""
    found = truth.measure(truth.join(folder)["1.0"])
    assert (found.labelled, found.tp, found.fp, found.fn, found.tn) == (3, 1, 1, 1, 0)
    assert (found.accuracy, found.precision, found.recall, found.f1) == (1 / 3, 0.5, 0.5, 0.5)


def test_what_is_undefined_is_nan():
    """No row at all, or no positive one, gives no ratio that could be mistaken for zero."""
    nothing = truth.measure([])
    assert nothing.labelled == 0
    assert math.isnan(nothing.accuracy)
    only_benign = truth.measure([truth.Row("t", "benign", "benign")])
    assert only_benign.accuracy == 1.0
    assert math.isnan(only_benign.recall)


def test_rotated_logs_are_read_before_the_new_ones(folder):
    """What was renamed to *.1 still counts, and comes first."""
    (folder / "predictions.jsonl.1").write_text(
        '{"id": "c", "model": {"version": "1.0"}, "output": {"diagnosis": "malignant"}}\n'
    )
    assert truth.measure(truth.join(folder)["1.0"]).tp == 2


def test_the_table_has_a_line_per_version_and_window(folder, capsys):
    """The newcomer sees counts and ratios to four digits."""
    assert truth.main([str(folder)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["version", "rows", "labelled"]
    assert [line.split()[0] for line in lines] == ["1.0", "1.0"]
    assert lines[0].endswith("0.3333     0.5000  0.5000  0.5000")


def test_a_wrong_folder_is_told(tmp_path, capsys):
    """A folder without logs gives a sentence, not a traceback."""
    with pytest.raises(SystemExit):
        truth.main([str(tmp_path)])
    assert "no predictions.jsonl" in capsys.readouterr().err
