"""A backlog in several logs that were written side by side, and are read one after another."""

from __future__ import annotations

import json
import random

import pytest

from exporter.app import source
from exporter.config.schema import parse
from exporter.contracts import Clock, Deadline
from exporter.pipeline import Delivery, Pipeline, ledger
from exporter.state import State, table
from tests.ledgers import shown

CLOCK = Clock()
START, ROWS = 1_700_000_000.0, 3_000
CONFIG = """\
models:
  m:
    positive: a
    predictions:
      files: {{path: {folder}/predictions-*.jsonl, block_bytes: 4096}}
      fields: {{id: id, time: ts, predicted: p{more}}}
{labels}
    horizon: 2h
    windows: [1h, last 50]
"""
LABELS = """\
    labels:
      files: {{path: {folder}/labels-*.jsonl, block_bytes: 4096}}
      fields: {{id: id, time: ts, actual: l}}
"""


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    """Rows older than the horizon are really forgotten."""
    monkeypatch.setattr(table, "SMALLEST", 16)
    monkeypatch.setattr(ledger, "_eighth", lambda rows: 64)


def rows():
    """Predictions every 10 s over four horizons, each with its label 600 s later; both in order."""
    rng = random.Random(6)
    made = [{"id": f"i{at}", "ts": START + at * 10.0, "p": rng.choice("ab")} for at in range(ROWS)]
    told = [{"id": row["id"], "ts": row["ts"] + 600, "l": rng.choice("ab")} for row in made]
    return made, told


def written(folder, name, lines, order):
    """*lines* dealt out to one log for each letter of *order*."""
    folder.mkdir(exist_ok=True)
    for at, letter in enumerate(order):
        text = "".join(json.dumps(line) + "\n" for line in lines[at :: len(order)])
        (folder / f"{name}-{letter}.jsonl").write_text(text)


def read(config, path):
    """What is shown once all is read; now and then the state is opened anew."""
    model = config.models["m"]
    state = State(path)
    pipeline = Pipeline(config, state)
    for stream in (model.predictions, model.labels):
        if stream is None:
            continue
        feed, polls = source(stream, model, CLOCK), 0
        while True:
            cursor = pipeline.cursor("m", stream.mapping.role)
            poll = feed.poll(cursor, Deadline(CLOCK.monotonic() + 60, CLOCK))
            pipeline.absorb([Delivery("m", stream.mapping.role, poll)])
            if not poll.more:
                break
            polls += 1
            if polls % 20 == 0:
                state.close()
                state = State(path)
                pipeline = Pipeline(config, state)
        feed.close()
    text = shown(pipeline).text.decode()
    state.close()
    return text


def test_logs_side_by_side_give_what_one_log_in_order_gives(tmp_path):
    """No label is lost or late because another log was read before it, and windows hold the newest labels of all."""
    made, told = rows()
    texts = []
    for name, order in (("one", "a"), ("many", "abc")):
        folder = tmp_path / name
        written(folder, "predictions", made, order)
        written(folder, "labels", told, order)
        config = parse(CONFIG.format(folder=folder, more="", labels=LABELS.format(folder=folder)), "x.yml")
        texts.append(read(config, tmp_path / f"state-{name}"))
    assert f'model_joins_total{{model="m",result="matched"}} {ROWS}' in texts[0]
    assert 'result="expired"} 0' in texts[0]
    assert texts[1] == texts[0]


def test_one_row_logs_side_by_side_give_what_one_log_in_order_gives(tmp_path):
    """The same where each row brings its label, and some rows never get one."""
    made, told = rows()
    lines = [
        row | {"l": label["l"] if at % 3 else None} for at, (row, label) in enumerate(zip(made, told, strict=True))
    ]
    texts = []
    for name, order in (("one", "a"), ("many", "abcd")):
        written(tmp_path / name, "predictions", lines, order)
        config = parse(CONFIG.format(folder=tmp_path / name, more=", actual: l", labels=""), "x.yml")
        texts.append(read(config, tmp_path / f"state-{name}"))
    assert f'model_joins_total{{model="m",result="matched"}} {ROWS * 2 // 3}' in texts[0]
    assert 'result="expired"} 0' not in texts[0]
    assert texts[1] == texts[0]


def test_labels_out_of_order_in_one_log(tmp_path):
    """A label table without any order, older than the horizon for the most part, is joined whole."""
    made, told = rows()
    texts = []
    for name, lines in (("ordered", told), ("mixed", random.Random(1).sample(told, ROWS))):
        folder = tmp_path / name
        written(folder, "predictions", made, "a")
        written(folder, "labels", lines, "a")
        config = parse(CONFIG.format(folder=folder, more="", labels=LABELS.format(folder=folder)), "x.yml")
        texts.append(read(config, tmp_path / f"state-{name}"))
    assert texts[1] == texts[0]
