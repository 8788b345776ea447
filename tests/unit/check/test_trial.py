"""What `check --read` finds in real files: rows, refusals, the join, and why ids do not meet."""

import contextlib
import gzip
import io
import json
import re
import sqlite3

import pytest

from exporter import check
from exporter.contracts import Clock

NOW = 1_800_000_000.0
BENTOML = """
models:
  tumour:
    positive: malignant
    predictions:
      files: {{path: {data}/monitoring/*/data/*.log}}
      fields: {{id: {id}, time: timestamp, predicted: prediction}}
      where: {{record_id: {{not: np-1}}}}
    labels:
      files: {{path: {data}/{labels}}}
      fields: {fields}
"""
PAIR = """
models:
  fraud:
    positive: fraud
    predictions:
      files: {path: predictions.jsonl}
      fields: {id: rid, time: ts, predicted: prediction, score: p, version: v, latency: {field: took, unit: ms}}
      where: {kind: served}
    labels:
      files: {path: labels.csv}
      fields: {id: rid, time: at, actual: label}
    horizon: 1d
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(config, read)` checks a config in an empty folder; returns the exit code and the text."""
    monkeypatch.chdir(tmp_path)

    def checked(config, read=1000, out=None):
        path = tmp_path / "x.yml"
        path.write_text(config)
        out = out or io.StringIO()
        code = check.run(path, read, out, Clock(wall=lambda: NOW))
        return code, out.getvalue()

    return checked


@pytest.fixture
def bentoml(request):
    return request.config.rootpath / "tests/data/bentoml"


def words(text):
    return " ".join(text.split())


def part(text, title):
    """The lines under *title*, without their layout."""
    found = re.search(rf"^{re.escape(title)}$(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, text
    return words(found[1])


def rows(count=10, **change):
    return "".join(
        json.dumps(
            {
                "rid": f"r-{at}", "ts": 1.79e9 + at, "prediction": "fraud", "p": 0.5, "v": "1.4", "took": 2.5,
                "kind": "served", **change,
            }
        )
        + "\n"
        for at in range(count)
    )  # fmt: skip


def labels(count=10, form="r-{}"):
    return "rid,at,label\n" + "".join(f"{form.format(at)},{1.79e9 + 60 + at},legit\n" for at in range(count))


# --- real data -----------------------------------------------------------------------------------


def test_bentoml_joins_by_record_id(run, bentoml):
    """On a real server's log the shares, the corrections and the orphan's shape are those of its expected.json."""
    expected = json.loads((bentoml / "expected.json").read_text())
    fields = "{id: record_id, time: labelled_at, actual: diagnosis}"
    code, text = run(BENTOML.format(data=bentoml, id="record_id", labels="labels.csv", fields=fields))
    assert code == 0
    assert f"read {expected['prediction_rows']} rows; 2 skipped by where" in part(text, "tumour: predictions")
    assert f"read {expected['label_rows']} rows" in part(text, "tumour: labels")
    join = part(text, "tumour: join")
    assert "labels that found a prediction 101 of 102 ids 99.0 %" in join
    assert "predictions that found a label 101 of 116 ids 87.1 %" in join
    assert "predictions 15 rec-9999 labels 1 rec-9999" in join
    assert f"matched {expected['joined']} labels" in join
    assert f"corrected {expected['corrected_ids']} labels" in join
    assert f"repeated {expected['exact_duplicate_label_rows']} labels" in join
    assert "hint" not in join


def test_bentoml_request_ids_in_hex_and_decimal(run, bentoml):
    """The request id is decimal in the log and hex in the response headers: nothing joins, and the hint says why."""
    fields = "{id: headers.x-bentoml-request-id, actual: body.prediction}"
    code, text = run(BENTOML.format(data=bentoml, id="request_id", labels="client_responses.jsonl", fields=fields))
    join = part(text, "tumour: join")
    assert code == 4
    assert "labels that found a prediction 0 of 100 ids 0.0 %" in join
    assert "labels 100 hex 16 characters" in join
    assert "hint labels write in hex the number that predictions write in decimal: 100 more labels" in join


# --- rows ----------------------------------------------------------------------------------------


def test_rows_are_shown_as_parsed(run, tmp_path):
    """The first five rows are shown with id, time, version, classes, score and latency, under their heads."""
    (tmp_path / "predictions.jsonl").write_text(rows(7))
    (tmp_path / "labels.csv").write_text(labels())
    code, text = run(PAIR)
    predictions = part(text, "fraud: predictions")
    assert code == 0
    assert "id time version predicted score latency r-0 2026-09-21T14:13:20.000Z 1.4 fraud 0.5 2.500 ms" in predictions
    assert "r-4" in predictions
    assert "r-5" not in predictions
    assert "time 2026-09-21T14:13:20.000Z to 2026-09-21T14:13:26.000Z" in predictions


def test_a_predicted_number_is_shown_once(run, tmp_path):
    """A number that a regression predicts is no score beside."""
    (tmp_path / "p.jsonl").write_text('{"id": 1, "t": 1799999990, "p": 12.5, "y": 12}\n')
    fields = "{id: id, time: t, predicted: p, actual: y, label_time: t}"
    source = f"{{files: {{path: p.jsonl}}, fields: {fields}}}"
    _, text = run(f"models: {{price: {{task: regression, predictions: {source}}}}}\n")
    assert re.search(r"id +time +predicted +actual +label time\n", text)


def test_refused_rows_are_told_with_their_places(run, tmp_path):
    """Refused rows are counted by reason, at most five of each with their place, and their content is not shown."""
    text = rows(3) + rows(7, p="swordfish") + "{nonsense\n" + rows(2, kind="startup")
    (tmp_path / "predictions.jsonl").write_text(text)
    (tmp_path / "labels.csv").write_text(labels())
    _, text = run(PAIR)
    predictions = part(text, "fraud: predictions")
    assert "read 3 rows; 2 skipped by where; 8 refused" in predictions
    path = tmp_path / "predictions.jsonl"
    assert f"refused 7 bad_score at {path}, byte " in predictions
    assert predictions.count(f" at {path}, byte ") == 5 + 1
    assert "and 2 more" in predictions
    assert "refused 1 bad_json" in predictions
    for raw in ("swordfish", "nonsense"):
        assert raw not in text


def test_a_wrong_path_in_fields_is_named(run, tmp_path):
    """If no record has what a required field names, the hint names the path."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels())
    code, text = run(PAIR.replace("{id: rid, time: ts", "{id: req, time: ts"))
    assert code == 4
    assert "no record has 'req', which fields.id names" in part(text, "fraud: predictions")
    assert "there are no predictions" in part(text, "fraud: join")


def test_times_ahead_of_the_clock(run, tmp_path):
    """Times in the future come with the clock's time and the zone that they were read in."""
    (tmp_path / "predictions.jsonl").write_text(rows(ts="2027-01-15 09:30:00"))
    (tmp_path / "labels.csv").write_text(labels())
    _, text = run(PAIR)
    assert "clock says 2027-01-15T08:00:00.000Z, and times without a zone are read as UTC" in words(text)


def test_failed_predictions(run, tmp_path):
    """Predictions that failed are told by their reason, and are no partners of labels."""
    (tmp_path / "predictions.jsonl").write_text(rows(2) + rows(1, rid="r-2", err="timeout"))
    (tmp_path / "labels.csv").write_text(labels(3))
    _, text = run(PAIR.replace("{id: rid, time: ts", "{id: rid, error: err, time: ts"))
    assert "failed timeout 1" in part(text, "fraud: predictions")
    assert "labels that found a prediction 2 of 3 ids" in part(text, "fraud: join")


def test_a_column_that_is_not_mapped(run, tmp_path):
    """A one-row log has no second source; the share of rows that bring their label is told."""
    (tmp_path / "d.csv").write_text("i,p,y\n" + "".join(f"{at},a,{'b' if at % 2 else ''}\n" for at in range(10)))
    code, text = run(
        "models: {m: {task: multiclass, predictions: "
        "{files: {path: d.csv}, fields: {id: i, predicted: p, actual: y}}}}"
    )
    assert code == 0
    assert "5 of 10 rows (50.0 %) bring their label" in part(text, "m: join")
    assert "the moment of reading: rows carry no time" in part(text, "m: predictions")


# --- how much is read ----------------------------------------------------------------------------


def test_no_more_rows_than_asked_for_are_used(run, tmp_path):
    """Of a longer file the first N rows are used, and the join says that there are more."""
    (tmp_path / "predictions.jsonl").write_text(rows(5000))
    (tmp_path / "labels.csv").write_text(labels(5000))
    _, text = run(PAIR, 100)
    assert "read 100 rows, the first of" in part(text, "fraud: predictions")
    join = part(text, "fraud: join")
    assert "100 of 100 ids" in join
    assert "try a larger --read" in join


def test_reading_begins_at_the_beginning(run, tmp_path):
    """A source that would start at the end, or look back only a little, is still read from its beginning."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels())
    config = PAIR.replace("path: labels.csv}", "path: labels.csv}\n      start: end").replace(
        "      where:", "      lookback: 1s\n      where:"
    )
    _, text = run(config)
    assert "read 10 rows; that is all there is" in part(text, "fraud: predictions")
    assert "read 10 rows; that is all there is" in part(text, "fraud: labels")


def test_nothing_is_written(run, tmp_path):
    """A trial leaves no file behind, neither state nor cursor."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels())
    run(PAIR)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["labels.csv", "predictions.jsonl", "x.yml"]


def test_a_source_that_cannot_be_read(run, tmp_path):
    """A missing file is told for its source, the other is read all the same, and the exit code is 1."""
    (tmp_path / "labels.csv").write_text(labels())
    code, text = run(PAIR)
    assert code == 1
    assert "predictions.jsonl: no such file" in part(text, "fraud: predictions")
    assert "read 10 rows" in part(text, "fraud: labels")


def in_database(url):
    return PAIR.replace("files: {path: labels.csv}", f"sql: {{url: '{url}', table: labels, cursor: at}}")


def test_labels_in_a_database(run, tmp_path):
    """Labels of a database are read and joined like those of a file."""
    pytest.importorskip("sqlalchemy")
    (tmp_path / "predictions.jsonl").write_text(rows())
    with contextlib.closing(sqlite3.connect(tmp_path / "l.db")) as database, database:
        database.execute("CREATE TABLE labels (rid TEXT, at REAL, label TEXT)")
        database.executemany(
            "INSERT INTO labels VALUES (?, ?, 'legit')", [(f"r-{n}", 1.79e9 + n) for n in range(5, 15)]
        )
    code, text = run(in_database(f"sqlite:///{tmp_path}/l.db"))
    assert code == 0
    assert "from sql table labels at sqlite read 10 rows" in part(text, "fraud: labels")
    assert "labels that found a prediction 5 of 10 ids 50.0 %" in part(text, "fraud: join")


def test_a_database_that_cannot_be_read_shows_no_password(run, tmp_path):
    """The error of a database is told without the password of its URL."""
    pytest.importorskip("psycopg")
    (tmp_path / "predictions.jsonl").write_text(rows())
    code, text = run(in_database("postgresql://reader:hunter2@127.0.0.1:1/app"))
    assert code == 1
    assert "error" in part(text, "fraud: labels")
    assert "read 10 rows" in part(text, "fraud: predictions")
    assert "hunter2" not in text


def test_an_empty_glob(run, tmp_path):
    """A pattern that matches nothing is no failure, but it is said that nothing was found."""
    (tmp_path / "labels.csv").write_text(labels())
    code, text = run(PAIR.replace("path: predictions.jsonl", "path: none-*.jsonl"))
    assert code == 0
    assert "nothing: no record was found there" in part(text, "fraud: predictions")


# --- the join ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "words"),
    [("R-{}", "upper and lower case"), ("{}", "ids of predictions begin with 'r-'"), ("' r-{}'", "")],
)
def test_hints(run, tmp_path, form, words):
    """Ids that differ in a known way give the hint beside their shapes."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels(form=form))
    _, text = run(PAIR)
    join = part(text, "fraud: join")
    assert "0 of 10 ids 0.0 %" in join
    assert words in join


def test_nothing_in_common(run, tmp_path):
    """If no id is on both sides and no cause is known, it is asked whether both sides name the same thing."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels(form="customer{}x"))
    _, text = run(PAIR)
    assert "do both fields.id name the same thing?" in part(text, "fraud: join")


def test_classes_that_never_agree(run, tmp_path):
    """Predictions and labels without a common class are warned of: no prediction could be right."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels())
    assert "warning predictions and labels have no class in common" in part(run(PAIR)[1], "fraud: join")
    (tmp_path / "labels.csv").write_text(labels().replace("legit", "fraud"))
    assert "warning" not in part(run(PAIR)[1], "fraud: join")


def test_labels_after_the_horizon(run, tmp_path):
    """A label that comes too late is told as such, though its prediction is there."""
    (tmp_path / "predictions.jsonl").write_text(rows(2))
    (tmp_path / "labels.csv").write_text(f"rid,at,label\nr-0,{1.79e9 + 60},legit\nr-1,{1.79e9 + 2 * 86400},legit\n")
    join = part(run(PAIR)[1], "fraud: join")
    assert "matched 1 labels" in join
    assert "late 1 labels that came after the horizon" in join


# --- the terminal --------------------------------------------------------------------------------


def test_progress_is_for_terminals_only(tmp_path):
    """A long read moves one line on a terminal and erases it; a file or pipe gets none of it."""
    (tmp_path / "predictions.jsonl").write_text(rows(5000))
    (tmp_path / "labels.csv").write_text(labels())
    path = tmp_path / "x.yml"
    path.write_text(PAIR.replace("path: ", f"path: {tmp_path}/"))
    ticks = iter(range(1_000_000))
    texts = []
    for out in (Terminal(), io.StringIO()):
        check.run(path, 4500, out, Clock(wall=lambda: NOW, monotonic=lambda: float(next(ticks))))
        texts.append(out.getvalue())
    assert "\r\033[Kfraud: predictions: " in texts[0]
    assert "so far ...\r\033[K\nfraud: predictions\n" in texts[0]
    assert "\r" not in texts[1]
    assert re.sub(r"\r\033\[K([^\n\r]*so far \.\.\.)?", "", texts[0]) == texts[1]


def test_ids_cannot_move_the_cursor(run, tmp_path):
    """Control characters in ids and classes are spelled out."""
    (tmp_path / "predictions.jsonl").write_text(rows(1, rid="a\x1b[2Jb", prediction="c\x1bd"))
    (tmp_path / "labels.csv").write_text(labels())
    _, text = run(PAIR)
    assert "\x1b" not in text
    assert "a\\x1b[2Jb" in text


# --- wrong paths ---------------------------------------------------------------------------------

NESTED = {"output": {"label": "fraud", "proba": {"fraud": 0.9}}, "at": 1.79e9}


def test_all_wrong_paths_are_named_at_once(run, tmp_path):
    """Each with the path that was probably meant, of those that the records have, also where all rows are refused."""
    lines = [json.dumps({"meta": {"request_id": f"r-{at}"}, **NESTED}) + "\n" for at in range(10)]
    (tmp_path / "predictions.jsonl").write_text("".join(lines))
    (tmp_path / "labels.csv").write_text(labels())
    wrong = "id: request_id, time: att, predicted: output.lable, score: proba.fraud, version: release"
    config = PAIR.replace("id: rid, time: ts, predicted: prediction, score: p, version: v", wrong)
    config = config.replace("      where: {kind: served}\n", "").replace("actual: label", "actual: lable")
    code, text = run(config)
    predictions = part(text, "fraud: predictions")
    for path, name, near in (
        ("request_id", "fields.id", "meta.request_id"),
        ("att", "fields.time", "at"),
        ("output.lable", "fields.predicted", "output.label"),
        ("proba.fraud", "fields.score", "output.proba.fraud"),
    ):
        assert f"no record has {path!r}, which {name} names; did you mean {near}?" in predictions
    assert (
        "no record has 'release', which fields.version names; records have meta.request_id, output.label, "
        "output.proba.fraud, at" in predictions
    )
    assert "no record has 'lable', which fields.actual names; did you mean label?" in part(text, "fraud: labels")
    assert code == 4


def test_a_wrong_path_of_a_condition(run, tmp_path):
    """A `where` that names nothing skips everything, and says so."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels())
    code, text = run(PAIR.replace("where: {kind: served}", "where: {knd: served}"))
    assert "no record has 'knd', which where names; did you mean kind?" in part(text, "fraud: predictions")
    assert code == 4


def test_paths_that_are_right_are_not_doubted(run, tmp_path):
    """Neither those that all records have, nor one that holds nothing so far, as an error that never came."""
    (tmp_path / "predictions.jsonl").write_text(rows(err=None))
    (tmp_path / "labels.csv").write_text(labels())
    code, text = run(PAIR.replace("{id: rid,", "{id: rid, error: err,", 1))
    assert "no record has" not in text
    assert code == 0


def test_keys_that_are_data_are_not_shown(run, tmp_path):
    """Where records have ids for keys, none of them is told."""
    (tmp_path / "predictions.jsonl").write_text('{"c-4711-secret": {"x": 1}, "rid": "1"}\n')
    (tmp_path / "labels.csv").write_text(labels())
    _, text = run(PAIR)
    assert "secret" not in text


@pytest.mark.parametrize("name", ["p.parquet", "p.csv.gz"])
def test_paths_of_other_formats(run, tmp_path, name):
    """Columns of tables, and of what is compressed, are known as well."""
    if name == "p.parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"id": ["1"], "output": [{"label": "fraud"}]}), tmp_path / name)
        wrong, right = "output.lable", "output.label"
    else:
        (tmp_path / name).write_bytes(gzip.compress(b"id;label\n1;fraud\n"))
        wrong, right = "lable", "label"
    code, text = run(
        f"models: {{m: {{positive: fraud, predictions: {{files: {{path: {name}}}, "
        f"fields: {{id: id, predicted: {wrong}, actual: {right}}}}}}}}}"
    )
    assert f"no record has '{wrong}', which fields.predicted names; did you mean {right}?" in words(text)
    assert code == 4


def test_nothing_that_joins_is_an_exit_code_of_its_own(run, tmp_path):
    """A script that checks a config sees that no label would ever be counted."""
    (tmp_path / "predictions.jsonl").write_text(rows())
    (tmp_path / "labels.csv").write_text(labels().replace("r-", "x-"))
    assert run(PAIR)[0] == 4
    (tmp_path / "labels.csv").write_text(labels())
    assert run(PAIR)[0] == 0
    (tmp_path / "labels.csv").write_text(labels(0))
    assert run(PAIR)[0] == 0
