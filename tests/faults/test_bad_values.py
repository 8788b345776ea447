"""Values that are no scores, and labels that are no labels: the row is refused and counted, the others are read."""

import json

import pytest

from exporter.app import source
from exporter.config.schema import parse
from exporter.contracts import Clock, Deadline

CONFIG = """\
models:
  m:
    positive: fraud
    classes: [ok, fraud]
    predictions:
      files: {{path: {path}/predictions.jsonl}}
      fields: {{id: id, time: ts, score: {{field: proba, threshold: 0.5}}}}
    labels:
      files: {{path: {path}/labels.jsonl}}
      fields: {{id: id, time: ts, actual: label}}
"""


def batch(tmp_path, role, lines):
    """What one poll of a log with these *lines* gives."""
    (tmp_path / f"{role}.jsonl").write_text("".join(line + "\n" for line in lines))
    model = parse(CONFIG.format(path=tmp_path), "m.yml").models["m"]
    stream = model.predictions if role == "predictions" else model.labels
    clock = Clock(wall=lambda: 1_700_000_000.0)
    feed = source(stream, model, clock)
    found = feed.poll(None, Deadline(clock.monotonic() + 10, clock)).batch
    feed.close()
    return found


SCORES = ["NaN", "Infinity", "-Infinity", '"NaN"', '"high"', "null", "1.5", "-0.1", "[0.5]", "true"]


@pytest.mark.parametrize("score", SCORES)
def test_nan_inf_null_and_strings_as_scores(tmp_path, score):
    """A score that is no probability costs its own row only."""
    good = '{"id": "a", "ts": 1600000000, "proba": 0.9}'
    bad = f'{{"id": "b", "ts": 1600000000, "proba": {score}}}'
    found = batch(tmp_path, "predictions", [good, bad, good.replace('"a"', '"c"')])
    assert len(found) == 2
    assert found.score.tolist() == [0.9, 0.9]
    ((reason, count),) = found.refused.counts.items()
    assert (reason in {"bad_score", "missing_prediction"}, count) == (True, 1)
    assert f"{tmp_path}/predictions.jsonl, byte {len(good) + 1}" == found.refused.examples[0].place


def test_label_value_of_one_megabyte(tmp_path):
    """A label of a million characters is refused, and stands neither in a name nor in a message."""
    huge = json.dumps({"id": "a", "ts": 1_600_000_000, "label": "x" * 1_000_000})
    good = json.dumps({"id": "b", "ts": 1_600_000_000, "label": "ok"})
    found = batch(tmp_path, "labels", [huge, good])
    assert (len(found), dict(found.refused.counts)) == (1, {"value_too_long": 1})
    assert [found.actual.names[code] for code in found.actual.codes] == ["ok"]
    assert "xxx" not in repr(found.refused)


def test_class_never_declared(tmp_path):
    """A class outside the declared ones is refused by its name, the declared ones are read."""
    lines = [json.dumps({"id": label, "ts": 1_600_000_000, "label": label}) for label in ("ok", "maybe", "fraud")]
    found = batch(tmp_path, "labels", lines)
    assert (len(found), dict(found.refused.counts)) == (2, {"unknown_class": 1})
