"""Records become batches: every field in its column, every bad row refused under its reason."""

import json
from collections import Counter
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from exporter.contracts import ABSENT, Clock, FieldSpec, MappingSpec, ModelSpec, WhereSpec
from exporter.sources.formats.csv import Csv
from exporter.sources.formats.jsonl import JsonLines
from exporter.sources.mapping import Mapper
from exporter.sources.records import Records, Texts
from exporter.sources.values import keys

NOW = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
CLOCK = Clock(wall=lambda: NOW)
BINARY = ModelSpec(name="m", classes=("no", "yes"), positive="yes")
MANY = ModelSpec(name="m", task="multiclass", classes=("a", "b", "c"))


def fields(**given):
    return {name: spec if isinstance(spec, FieldSpec) else FieldSpec(field=spec) for name, spec in given.items()}


def mapped(rows, of=BINARY, role="predictions", *, where=None, timezone="UTC", **given):
    """Batch of JSON *rows* whose mapped fields have the names of their roles, unless *given* otherwise."""
    spec = MappingSpec(role=role, fields=fields(**given), where=where or {}, timezone=timezone)
    mapper = Mapper(spec, of, CLOCK, keep_ids=True)
    block = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return mapper.batch(JsonLines(mapper.paths).decode(block, "byte {}".format))


def names(categorical):
    return [None if code == ABSENT else categorical.names[code] for code in categorical.codes]


def refused(batch):
    return dict(batch.refused.counts)


PREDICTION = {"id": "id", "time": "time", "predicted": "predicted"}
GOOD = {"id": "r", "time": NOW, "predicted": "yes"}


def test_a_prediction_with_all_its_fields():
    """Every mapped field arrives in its column, in its unit."""
    row = GOOD | {"score": 0.75, "took": 250, "v": 3, "m": "fraud"}
    batch = mapped(
        [row, row | {"id": 5, "predicted": "no", "took": None, "v": None, "m": None}],
        **PREDICTION,
        score="score",
        latency=FieldSpec(field="took", unit="ms"),
        version="v",
        model="m",
    )
    assert len(batch) == 2
    assert batch.ids == ["r", "5"]
    assert batch.key.tolist() == keys(["r", "5"]).tolist()
    assert batch.time.tolist() == [NOW, NOW]
    assert names(batch.predicted) == ["yes", "no"]
    assert names(batch.version) == ["3", "unknown"]
    assert names(batch.model) == ["fraud", "unknown"]
    assert batch.score.tolist() == [0.75, 0.75]
    assert batch.latency[0] == 0.25
    assert np.isnan(batch.latency[1])
    assert batch.actual is batch.actual_time is batch.error is None


def test_a_label():
    """A label has a key, a time and a class."""
    batch = mapped([{"id": 7, "y": True, "t": "2026-11-22"}], BINARY_BOOL, "labels", id="id", time="t", actual="y")
    assert names(batch.actual) == ["yes"]
    assert batch.key.tolist() == keys(["7"]).tolist()


BINARY_BOOL = ModelSpec(name="m", classes=("no", "yes"), aliases={"true": "yes", "1": "yes"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "missing_id"),
        ({"id": ""}, "missing_id"),
        ({"id": 1.5}, "bad_id"),
        ({"id": True}, "bad_id"),
        ({"id": ["x"]}, "bad_id"),
        ({"time": None}, "missing_time"),
        ({"time": "x"}, "bad_time"),
        ({"time": True}, "bad_time"),
        ({"time": NOW + 301}, "future_time"),
        ({"predicted": None}, "missing_prediction"),
        ({"predicted": float("nan")}, "missing_prediction"),
        ({"predicted": {"x": 1}}, "bad_prediction"),
        ({"predicted": "x" * 1_000_000}, "value_too_long"),
        ({"predicted": "maybe"}, "unknown_class"),
        ({"score": float("nan")}, "bad_score"),
        ({"score": float("inf")}, "bad_score"),
        ({"score": 1.01}, "bad_score"),
        ({"score": "high"}, "bad_score"),
        ({"score": True}, "bad_score"),
        ({"latency": -1}, "bad_latency"),
        ({"latency": float("inf")}, "bad_latency"),
        ({"latency": "x"}, "bad_latency"),
        ({"actual": [1]}, "bad_label"),
        ({"actual": "maybe"}, "unknown_class"),
        ({"actual": "yes", "label_time": "x"}, "bad_time"),
        ({"actual": "yes", "label_time": NOW + 301}, "future_time"),
        ({"version": {}}, "bad_version"),
        ({"version": "v" * 257}, "value_too_long"),
        ({"model": []}, "bad_model"),
        ({"status": "fine"}, "bad_status"),
    ],
)
@pytest.mark.parametrize("around", [0, 3])
def test_a_bad_row_is_refused_under_its_reason_and_costs_no_other(change, reason, around):
    """Each fault has one reason and the offset of its line; the rows around it are kept."""
    row = GOOD | {"score": 0.5, "latency": 1, "version": "1", "model": "m", "status": 200}
    names_of_fields = ["score", "latency", "version", "model", "status", "actual", "label_time"]
    rows = [row] * around + [row | change] + [row] * around
    batch = mapped(rows, **PREDICTION, **{name: name for name in names_of_fields})
    assert len(batch) == 2 * around
    assert refused(batch) == {reason: 1}
    offset = around * (len(json.dumps(row)) + 1)
    assert [one.place for one in batch.refused.examples] == [f"byte {offset}"]


@pytest.mark.parametrize("value", [None, float("nan"), ""])
def test_a_label_without_a_class_is_refused(value):
    """A label must say something."""
    batch = mapped([{"id": 1, "y": value}, {"id": 1, "y": "yes"}], role="labels", id="id", actual="y")
    assert refused(batch) == {"missing_label": 1}
    assert len(batch) == 1


def test_places_point_behind_skipped_and_refused_rows():
    """A row's place is that of its line, though others before it were skipped or refused."""
    rows = [{"k": "no"}, {"k": "yes", "id": 1}, GOOD | {"k": "yes"}, GOOD | {"k": "yes", "predicted": [1]}]
    batch = mapped(rows, **PREDICTION, where={"k": WhereSpec(one_of=("yes",))})
    offsets = np.cumsum([0] + [len(json.dumps(row)) + 1 for row in rows])
    assert [(one.reason, one.place) for one in batch.refused.examples] == [
        ("missing_time", f"byte {offsets[1]}"),
        ("bad_prediction", f"byte {offsets[3]}"),
    ]
    assert (len(batch), batch.skipped) == (1, 1)


def test_all_refused_rows_are_counted_though_few_are_shown():
    """Examples are bounded for each reason, counts are not."""
    batch = mapped([GOOD | {"id": None}] * 50 + [GOOD | {"predicted": None}] * 7, **PREDICTION)
    assert refused(batch) == {"missing_id": 50, "missing_prediction": 7}
    shown = [example.reason for example in batch.refused.examples]
    assert shown == ["missing_id"] * batch.refused.keep + ["missing_prediction"] * 7


def test_where_skips_before_anything_is_judged():
    """A record of another kind is no fault, whatever it holds."""
    batch = mapped(
        [GOOD | {"e": "served"}, {"e": "startup"}, {"id": []}, GOOD | {"e": "served", "level": "debug"}],
        **PREDICTION,
        where={"e": WhereSpec(one_of=("served",)), "level": WhereSpec(none_of=("debug",))},
    )
    assert (len(batch), batch.skipped, refused(batch)) == (1, 3, {})


def test_maps_and_constants():
    """Values are replaced by their text before they are judged; a constant stands for every row."""
    batch = mapped(
        [GOOD | {"predicted": 1, "grade": "high"}, GOOD | {"predicted": 0.0, "grade": 0.25}],
        id="id",
        predicted=FieldSpec(field="predicted", map={"1": "yes", "0": "no"}),
        score=FieldSpec(field="grade", map={"high": 0.9}),
        version=FieldSpec(constant=7),
    )
    assert names(batch.predicted) == ["yes", "no"]
    assert names(batch.version) == ["7", "7"]
    assert batch.score.tolist() == [0.9, 0.25]


def test_without_a_time_the_arrival_counts():
    """Rows of a log without times are dated by the wall clock."""
    assert mapped([GOOD], id="id", predicted="predicted").time.tolist() == [NOW]


def test_naive_times_are_in_the_configured_zone():
    """The zone of the mapping holds for times that name none."""
    batch = mapped([GOOD | {"time": "2026-11-22 05:32:19,453"}], **PREDICTION, timezone="Europe/Berlin")
    assert batch.time.tolist() == [datetime(2026, 11, 22, 4, 32, 19, 453_000, tzinfo=UTC).timestamp()]


def test_a_row_slightly_ahead_of_the_clock_is_kept():
    """Clocks differ; up to five minutes are no fault."""
    assert len(mapped([GOOD | {"time": NOW + 300}], **PREDICTION)) == 1


# --- prediction from scores ----------------------------------------------------------------------


def test_a_threshold_on_the_score():
    """The positive class is predicted from the threshold on; a row without a score predicts nothing."""
    batch = mapped(
        [GOOD | {"score": score} for score in (0.3, 0.29, "0.31", None)],
        id="id",
        score="score",
        predicted=FieldSpec(threshold=0.3),
    )
    assert names(batch.predicted) == ["yes", "no", "yes"]
    assert batch.score.tolist() == [0.3, 0.29, 0.31]
    assert refused(batch) == {"missing_prediction": 1}


def test_a_threshold_on_a_field_of_its_own():
    """A predicted field with a threshold is the score, unless another field is."""
    rows = [GOOD | {"raw": 0.9, "calibrated": 0.6}]
    alone = mapped(rows, id="id", predicted=FieldSpec(field="raw", threshold=0.7))
    beside = mapped(rows, id="id", predicted=FieldSpec(field="raw", threshold=0.7), score="calibrated")
    assert names(alone.predicted) == names(beside.predicted) == ["yes"]
    assert (alone.score.tolist(), beside.score.tolist()) == ([0.9], [0.6])


def test_a_score_alone_predicts_at_one_half():
    """Where nothing else says what was predicted, the likelier class was."""
    assert names(mapped([GOOD | {"s": 0.5}, GOOD | {"s": 0.4}], id="id", score="s").predicted) == ["yes", "no"]


@pytest.mark.parametrize("name", ["score", "latency"])
def test_a_number_is_absent_from_rows_without_it_whatever_came_before(name):
    """Rows without the key of a number keep their prediction, though all rows of the block before had one."""
    spec = MappingSpec(role="predictions", fields=fields(id="id", predicted="class", **{name: "number"}))
    mapper = Mapper(spec, BINARY, CLOCK)
    reader = JsonLines(mapper.paths)
    whole = b"".join(b'{"id":"%d","class":"yes","number":0.25}\n' % at for at in range(3))
    lacking = b'{"id":"3","class":"yes"}\n'
    for block, numbers in ((whole, [0.25] * 3), (whole + lacking, [0.25] * 3 + [np.nan])):
        batch = mapper.batch(reader.decode(block, str))
        assert not batch.refused.counts
        np.testing.assert_array_equal(getattr(batch, name), numbers)


@pytest.mark.parametrize("lists", [([0.1, 0.9], [0.6, 0.4]), ("[0.1 0.9]", "[0.6, 0.4]"), ([0.1, 0.9], "[0.6 0.4]")])
def test_probabilities_of_two_classes(lists):
    """The likelier class is predicted; the score is the positive one's probability, in the order of the classes."""
    batch = mapped([GOOD | {"p": value} for value in lists], id="id", probabilities="p")
    assert names(batch.predicted) == ["yes", "no"]
    assert batch.score.tolist() == [0.9, 0.4]
    turned = ModelSpec(name="m", classes=("no", "yes"), positive="no")
    assert mapped([GOOD | {"p": lists[0]}], turned, id="id", probabilities="p").score.tolist() == [0.1]


def test_probabilities_of_many_classes():
    """The score is the probability of the predicted class, also where the class is mapped by itself."""
    rows = [GOOD | {"p": [0.2, 0.5, 0.3], "c": "c"}]
    alone = mapped(rows, MANY, id="id", probabilities="p")
    beside = mapped(rows, MANY, id="id", probabilities="p", predicted="c")
    assert (names(alone.predicted), alone.score.tolist()) == (["b"], [0.5])
    assert (names(beside.predicted), beside.score.tolist()) == (["c"], [0.3])


def test_probabilities_of_undeclared_classes_go_by_number():
    """Without declared classes a list's position is the class."""
    batch = mapped([{"id": 1, "p": [0.2, 0.8]}, {"id": 2, "p": [0, 0, 1]}, {"id": 3, "p": [1]}],
                   ModelSpec(name="m", task="multiclass"), id="id", probabilities="p")  # fmt: skip
    assert names(batch.predicted) == ["1", "2"]
    assert refused(batch) == {"bad_probabilities": 1}


@pytest.mark.parametrize(
    "value",
    [[0.5], [0.1, 0.2, 0.7], [1.5, -0.5], [float("nan"), 1], ["x", 0.1], 0.5, "0.1 0.9", "[a]", {"a": 1},
     [[0.1], [0.9]], []],
)  # fmt: skip
def test_bad_probabilities(value):
    """A list of the wrong length, or of anything but probabilities, is refused and costs no other."""
    batch = mapped([GOOD | {"p": value}, GOOD | {"p": [0.1, 0.9]}], id="id", probabilities="p")
    assert refused(batch) == {"bad_probabilities": 1}
    assert batch.score.tolist() == [0.9]


@pytest.mark.parametrize(
    ("value", "shares"),
    [
        ({"c": 0.7, "a": 0.1, "b": 0.2}, [0.1, 0.2, 0.7]),
        ({"C": 0.7, "b": 0.3}, [0.0, 0.3, 0.7]),
        ('{"a": 0.5, "b": 0.25, "c": 0.25}', [0.5, 0.25, 0.25]),
        ("{'a': 0.5, 'b': 0.25, 'c': 0.25}", [0.5, 0.25, 0.25]),
        ({"a": 0.5, "d": 0.5}, None),
        ({"c": 0.4, "C": 0.6}, None),
        ({"a": 0.5, "b": 0.3}, None),
        ({"a": 1.5, "b": -0.5}, None),
        ({"a": True, "b": 0.0}, None),
        ({"a": None, "b": 1.0}, None),
        ({}, None),
    ],
)
def test_probabilities_as_a_mapping(value, shares):
    """Classes go by name, under any of their spellings; those left out have 0; any other class costs the row only."""
    model = msgspec.structs.replace(MANY, probabilities=3, aliases={"C": "c"})
    batch = mapped([GOOD | {"p": value}, GOOD | {"p": [0.1, 0.8, 0.1]}], model, id="id", probabilities="p")
    rest = [[0.1, 0.8, 0.1]]
    np.testing.assert_array_equal(batch.made["probabilities"], rest if shares is None else [shares, *rest])
    assert names(batch.predicted)[-1] == "b"
    assert refused(batch) == ({"bad_probabilities": 1} if shares is None else {})


@pytest.mark.parametrize(
    ("shares", "held"),
    [([0.33, 0.33, 0.33], True), ([0.34, 0.34, 0.34], True), ([0.0, 1.0, 0.0], True), ([0.9, 0.9, 0.9], False),
     ([0.3, 0.3, 0.3], False), ([0.0, 0.0, 0.0], False)],
)  # fmt: skip
def test_probabilities_that_cannot_be_those_of_all_classes(shares, held):
    """A sum that rounding to two decimals cannot explain is that of something else, such as of labels or of odds."""
    batch = mapped([GOOD | {"p": shares}], MANY, id="id", probabilities="p")
    assert refused(batch) == ({} if held else {"bad_probabilities": 1})


def test_all_probabilities_are_kept_where_the_model_remembers_them():
    """The whole list of each row, absent ones as NaN, in the order of the classes."""
    model = msgspec.structs.replace(MANY, probabilities=len(MANY.classes))
    rows = [GOOD | {"p": [0.2, 0.5, 0.3]}, GOOD | {"p": None}, GOOD | {"p": [0.2, 0.5]}]
    batch = mapped(rows, model, id="id", probabilities="p", predicted=FieldSpec(constant="a"))
    np.testing.assert_array_equal(batch.made["probabilities"], [[0.2, 0.5, 0.3], [np.nan] * 3])
    assert refused(batch) == {"bad_probabilities": 1}
    assert not mapped(rows, MANY, id="id", probabilities="p").made


def test_attributes_are_names_by_their_paths():
    """Every attribute is a column of names; a row that has none is of the group `unknown`, a list is no name."""
    spec = MappingSpec(
        role="predictions",
        fields=fields(id="id", predicted="predicted"),
        segments=fields(region="geo.country", score="s"),
    )
    rows = [GOOD | {"geo": {"country": "DE"}, "s": 1}, GOOD | {"s": 1.0}, GOOD | {"geo": {"country": ["DE"]}}]
    mapper = Mapper(spec, BINARY, CLOCK)
    assert set(mapper.paths) == {"id", "predicted", "geo.country", "s"}
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    batch = mapper.batch(JsonLines(mapper.paths).decode(lines, str))
    assert names(batch.segments["region"]) == ["DE", "unknown"]
    assert names(batch.segments["score"]) == ["1", "1"]
    assert refused(batch) == {"bad_segment": 1}


def test_missing_probabilities_predict_nothing():
    """Null is no list; with a class beside it, it only leaves the score out."""
    rows = [GOOD | {"p": None}]
    assert refused(mapped(rows, id="id", probabilities="p")) == {"missing_prediction": 1}
    assert np.isnan(mapped(rows, id="id", predicted="predicted", probabilities="p").score).all()


# --- errors and one-row logs ---------------------------------------------------------------------


def test_failed_predictions_need_no_prediction():
    """A row that reports an error counts under its reason; what it says of a prediction is passed over."""
    rows = [
        GOOD | {"status": 200, "error": None, "score": 0.5},
        GOOD | {"status": 503, "predicted": None, "score": "n/a"},
        GOOD | {"status": 500, "error": "timeout", "predicted": ["x"]},
        GOOD | {"status": None, "predicted": None},
    ]
    batch = mapped(rows, **PREDICTION, status="status", error="error", score="score")
    assert names(batch.error) == [None, "status_503", "timeout"]
    assert names(batch.predicted) == ["yes", None, None]
    assert batch.score[0] == 0.5
    assert np.isnan(batch.score[1:]).all()
    assert refused(batch) == {"missing_prediction": 1}


def test_failed_predictions_by_threshold_and_probabilities():
    """Errors are passed over by every way to a prediction."""
    rows = [GOOD | {"error": "x", "score": None, "p": None}, GOOD | {"error": "x", "score": 7, "p": [7]}]
    for given in ({"score": "score"}, {"probabilities": "p"}, {"predicted": FieldSpec(field="score", threshold=0.1)}):
        batch = mapped(rows, id="id", error="error", **given)
        assert (names(batch.predicted), refused(batch)) == ([None, None], {})


def test_one_row_logs_may_learn_their_label_later():
    """A null label is not known yet; a label's time is its own, or else the row's."""
    rows = [
        GOOD | {"actual": None, "label_time": "x"},
        GOOD | {"actual": "no", "label_time": NOW + 60},
        GOOD | {"actual": "yes"},
    ]
    batch = mapped(rows, **PREDICTION, actual="actual", label_time="label_time")
    assert names(batch.actual) == [None, "no", "yes"]
    assert np.isnan(batch.actual_time[0])
    assert batch.actual_time[1:].tolist() == [NOW + 60, NOW]


# --- names ---------------------------------------------------------------------------------------


def test_texts_that_no_label_can_hold_are_cleaned():
    """NULs and lone surrogates in what becomes a label are replaced, the row is kept."""
    open_model = ModelSpec(name="m", task="multiclass")
    spec = MappingSpec(role="predictions", fields=fields(id="id", predicted="p"))
    records = Records({"id": Texts(["\ud800"]), "p": Texts(["a\x00\udfff"])}, 1, str)
    batch = Mapper(spec, open_model, CLOCK).batch(records)
    assert names(batch.predicted) == ["a\ufffd\ufffd"]


def test_codes_keep_their_meaning_between_batches():
    """A vocabulary only grows: earlier codes stand for the same names in every later batch."""
    mapper = Mapper(MappingSpec(role="predictions", fields=fields(id="i", predicted="p")),
                    ModelSpec(name="m", task="multiclass"), CLOCK)  # fmt: skip
    first = mapper.batch(Records({"i": [1, 2], "p": ["a", "b"]}, 2, str))
    then = mapper.batch(Records({"i": [1, 2], "p": ["c", "a"]}, 2, str))
    assert (first.predicted.codes.tolist(), then.predicted.codes.tolist()) == ([0, 1], [2, 0])
    assert list(then.predicted.names) == ["a", "b", "c"]


def test_keys_may_tell_models_apart():
    """Scoped keys of one id differ between models, and are those of a source that serves one model only."""
    by_column = Mapper(MappingSpec(role="labels", fields=fields(id="i", actual="y", model="m")), BINARY, CLOCK,
                       scope_by_model=True)  # fmt: skip
    alone = Mapper(MappingSpec(role="labels", fields=fields(id="i", actual="y")), BINARY, CLOCK, scope_by_model=True)
    both = by_column.batch(Records({"i": ["1", "1"], "y": ["no", "no"], "m": ["m", "x"]}, 2, str)).key.tolist()
    assert both[0] != both[1]
    assert both[0] == alone.batch(Records({"i": ["1"], "y": ["no"]}, 1, str)).key[0].tolist()


def test_no_records():
    """An empty poll gives an empty batch with all mapped columns."""
    batch = mapped([], **PREDICTION, score="s", actual="a", error="e", status="st", model="m", probabilities="p")
    assert len(batch) == 0
    assert len(batch.predicted.codes) == len(batch.score) == len(batch.actual_time) == 0


# --- real logs -----------------------------------------------------------------------------------


def read(path, mapper, reader, header=False):
    data = path.read_bytes()
    cut = data.index(b"\n") + 1 if header else 0
    return mapper.batch(reader.decode(data[cut:], f"{path.name}:{{}}".format, data[:cut]))


def test_real_bentoml_logs_and_labels(request):
    """Both workers' files, the misplaced rows among NumPy ones, and the labels give the counts expected of them."""
    folder = request.config.rootpath / "tests/data/bentoml"
    expected = json.loads((folder / "expected.json").read_text())
    model = ModelSpec(name="t", classes=("benign", "malignant"), positive="malignant")
    spec = MappingSpec(
        role="predictions",
        fields=fields(id="record_id", time="timestamp", predicted="prediction", score="score_benign"),
        where={"record_id": WhereSpec(none_of=("np-1",))},
    )
    mapper = Mapper(spec, model, CLOCK, keep_ids=True)
    reader = JsonLines(mapper.paths)
    batches = [read(path, mapper, reader) for path in sorted(folder.glob("monitoring/*/data/*.log"))]
    assert sum(map(len, batches)) == expected["prediction_rows"]
    assert [batch.skipped for batch in batches] == [2, 0, 0]
    assert not any(batch.refused.counts for batch in batches)
    spec = MappingSpec(role="labels", fields=fields(id="record_id", time="labelled_at", actual="diagnosis"))
    labels = Mapper(spec, model, CLOCK, keep_ids=True)
    told = read(folder / "labels.csv", labels, Csv(labels.paths), header=True)
    assert len(told) == expected["label_rows"]
    assert not told.refused.counts
    latest = {}
    for row in np.argsort(told.time, kind="stable"):
        latest[told.ids[row]] = names(told.actual)[row]
    made = {key: name for batch in batches for key, name in zip(batch.ids, names(batch.predicted), strict=True)}
    cells = Counter((latest[key], made[key]) for key in latest if key in made)
    yes, no = "malignant", "benign"
    counted = {"tp": cells[yes, yes], "fp": cells[no, yes], "fn": cells[yes, no], "tn": cells[no, no]}
    assert counted == {name: expected[name] for name in counted}


@pytest.mark.parametrize(
    ("file", "event", "time"),
    [
        ("pjl_default.log", "message", None),
        ("pjl_typical.log", "message", "timestamp"),
        ("structlog.log", "event", "timestamp"),
    ],
)
def test_real_application_logs(request, file, event, time):
    """Lines of the prediction event are predictions, with nested paths; the error line beside them is skipped."""
    given = {"id": "record_id", "predicted": "prediction", "score": "score"}
    given |= {"latency": FieldSpec(field="latency_ms", unit="ms"), "version": "model_version"}
    given |= {"time": time} if time else {}
    spec = MappingSpec(
        role="predictions",
        fields=fields(**given),
        where={event: WhereSpec(one_of=("prediction served", "prediction_served")), "features.none": WhereSpec()},
    )
    mapper = Mapper(spec, ModelSpec(name="t"), CLOCK)
    batch = read(request.config.rootpath / "tests/data/app_logs" / file, mapper, JsonLines(mapper.paths))
    assert (len(batch), batch.skipped, refused(batch)) == (50, 1, {})
    assert batch.latency[0] == pytest.approx(0.000871)
    assert batch.time[0] == (pytest.approx(1795323852.4749, abs=0.001) if time else NOW)
    assert names(batch.version)[0] == ("unknown" if file == "structlog.log" else "1.4.2")
