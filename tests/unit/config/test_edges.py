"""Edges between the bins of scores: written, taken from a reference, fixed, or none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from exporter.config.edges import FIXED
from exporter.config.masked import masked
from exporter.config.schema import parse
from exporter.errors import ConfigError

TEXT = """\
models:
  m:
    positive: "1"
    classes: {"1": [1, yes], "0": [0, no]}
    predictions:
      files: {path: a}
      fields: {id: i, predicted: p, score: s}
    labels:
      files: {path: b}
      fields: {id: i, actual: a}
"""


def edges(more="", folder=None, text=TEXT):
    config = parse(text + more, "m.yml", *([folder] if folder else []))
    assert parse(masked(config), "m.yml") == config
    return config.models["m"].spec.score_edges


def faults(more, folder):
    with pytest.raises(ConfigError) as raised:
        parse(TEXT + more, "m.yml", folder)
    return [line.removeprefix("m.yml:") for line in str(raised.value).splitlines()]


def reference(folder, rows, name="scores.csv", head="score,actual"):
    (folder / name).write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return f"    score_edges: {{file: {name}"


def test_without_a_word_edges_are_fixed():
    """They are as fine near 0 as near 1, and 1/2 is one of them."""
    assert edges() == FIXED
    assert len(FIXED) == 49
    assert 0.5 in FIXED
    assert np.allclose(np.array(FIXED) + np.array(FIXED)[::-1], 1)


def test_written_edges_are_kept():
    """What the config lists is what is used; an empty list switches the metrics of scores off."""
    assert edges("    score_edges: [0.1, 0.5, 0.99]\n") == (0.1, 0.5, 0.99)
    assert edges("    score_edges: []\n") == ()


@pytest.mark.parametrize(
    ("text", "there"),
    [
        (TEXT.replace(", score: s", ""), False),
        (TEXT.replace("predicted: p, score: s", "score: {field: s, threshold: 0.4}"), True),
        (TEXT.replace("predicted: p, score: s", "predicted: {field: s, threshold: 0.4}"), True),
        (TEXT.replace("predicted: p, score: s", "probabilities: s"), True),
        (TEXT.replace('    positive: "1"', "    task: multiclass").replace(", score: s", ""), False),
        (TEXT.replace('    positive: "1"', "    task: multiclass").replace("score: s", "probabilities: s"), True),
    ],
    ids=["no score", "score decides", "predicted is a score", "probabilities", "multiclass", "of each class"],
)
def test_only_models_with_scores_have_edges(text, there):
    """Where predictions carry no probability of a positive class, nothing is cut into bins."""
    assert bool(edges(text=text)) is there


def test_edges_of_a_reference_hold_equal_shares(tmp_path):
    """Each bin holds as much of the positives and of the negatives, a half each, as any other; names have aliases."""
    rng = np.random.default_rng(1)
    outcome = rng.random(4000) < 0.02
    score = np.round(np.where(outcome, rng.beta(3, 4, 4000), rng.beta(1, 30, 4000)), 9)
    more = reference(tmp_path, zip(score, np.where(outcome, "yes", "0"), strict=True)) + ", bins: 10}\n"
    found = edges(more, tmp_path)
    assert len(found) == 9
    shares = [np.histogram(score[side], [0, *found, 1])[0] / side.sum() for side in (outcome, ~outcome)]
    np.testing.assert_allclose(sum(shares) / 2, 0.1, atol=0.01)


def test_a_reference_may_be_json_lines(tmp_path):
    """Dotted paths reach into objects; truth values and numbers are classes as anywhere."""
    records = [{"out": {"p": at / 10}, "y": at > 4} for at in range(10)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, records)))
    text = TEXT.replace('"1": [1, yes]', '"1": [1, true]').replace('"0": [0, no]', '"0": [0, false]')
    more = "    score_edges: {file: s.jsonl, score: out.p, actual: y, bins: 5}\n"
    assert edges(more, tmp_path, text) == (0.2, 0.4, 0.6, 0.8)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no row of the positive class; it needs rows of both classes"),
        ([(0.1, 0), (0.2, 0)], "has no row of the positive class; it needs rows of both classes"),
        ([(0.1, 1), (0.2, "yes")], "has only the positive class; it needs rows of both classes"),
        ([(0.1, 1), (7, 0)], "has in line 3 a score that is no probability from 0 to 1"),
        ([("nan", 1)], "has in line 2 a score that is no probability from 0 to 1"),
        ([("high", 1)], "has in line 2 a score that is no probability from 0 to 1"),
        ([(0.5, 1), (0.5, 0)], "has one score only; it needs rows with different scores"),
        ([(0.5,)], "has too few columns in line 2"),
    ],
)
def test_a_reference_that_cannot_be_used(tmp_path, rows, message):
    """The fault names the file's key and the line in the file, and shows no value of it."""
    more = reference(tmp_path, rows) + "}\n"
    assert faults(more, tmp_path) == [f"11:25: models.m.score_edges.file: the reference {message}"]


def test_a_reference_without_the_column(tmp_path):
    """A wrong name is answered with those that there are."""
    more = reference(tmp_path, [(1, 1)], head="proba,label") + "}\n"
    assert faults(more, tmp_path) == [
        "11:25: models.m.score_edges.file: the reference has no column score; its columns are proba, label"
    ]


def test_a_reference_that_is_not_there(tmp_path):
    """The system's word for it is passed on, with the path that was tried: it is relative to the config."""
    tried = tmp_path / "nowhere.csv"
    assert faults("    score_edges: {file: nowhere.csv}\n", tmp_path) == [
        f"11:25: models.m.score_edges.file: the reference {tried} cannot be read: No such file or directory"
    ]


def test_a_reference_is_of_two_classes(tmp_path):
    """Scores of several classes have no one column, so that edges are to be listed."""
    text = TEXT.replace('    positive: "1"', "    task: multiclass").replace("score: s", "probabilities: s")
    with pytest.raises(ConfigError, match="which there is none of; list the edges"):
        parse(text + "    score_edges: {file: a.csv}\n", "m.yml", tmp_path)


@pytest.mark.parametrize("line", ["[1, 2]", '{"score": 0.5}', "{"])
def test_a_line_that_is_no_record(tmp_path, line):
    """A line of JSON that holds no score and class is named."""
    (tmp_path / "s.jsonl").write_text(line + "\n")
    [fault] = faults("    score_edges: {file: s.jsonl}\n", tmp_path)
    assert fault.endswith("in line 1")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[0.5, 0.5]", "11:24: models.m.score_edges[1]: must be larger than the edge before it"),
        ("[0.5, 1]", "11:24: models.m.score_edges[1]: must be less than 1, found 1"),
        ("[0]", "11:19: models.m.score_edges[0]: must be more than 0, found 0"),
        ("[1e-30]", "11:19: models.m.score_edges[0]: has more than 17 decimals, which no label can show; round it"),
    ],
)
def test_edges_that_are_none(tmp_path, written, message):
    """Edges ascend, lie inside 0 to 1, and can be written into a label."""
    assert faults(f"    score_edges: {written}\n", tmp_path) == [message]
