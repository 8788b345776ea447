"""Whatever stands in records, no row is lost unseen, and how they are read changes nothing about them."""

import json
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import ABSENT, Clock, FieldSpec, MappingSpec, ModelSpec, WhereSpec
from exporter.sources.formats.csv import Csv
from exporter.sources.formats.jsonl import JsonLines
from exporter.sources.mapping import Mapper

CLOCK = Clock(wall=lambda: 1.8e9)
FIELDS = ["id", "time", "predicted", "score", "latency", "version", "model", "actual", "label_time", "error", "status"]
SPEC = {name: FieldSpec(field=name if name != "version" else "deep.version") for name in FIELDS}
WHERE = {"kind": WhereSpec(none_of=("other",))}
MODELS = [
    ModelSpec(name="m"),
    ModelSpec(name="m", classes=("no", "yes"), aliases={"1": "yes", "true": "yes"}),
    ModelSpec(name="m", task="multiclass"),
]

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([1, 1.0, True, "1", "yes", 0, 2**53, 2**53 + 1, 2.0**60, 1.7e9, 10**25, -0.0, 0.5, "0.5", ""])
    | st.sampled_from(["2026-11-22T04:32:19Z", "\ud800", "\x00", "other", "[0.1 0.9]"])
)  # fmt: skip
anything = scalars | st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
likely = {
    "id": st.integers(0, 3) | st.sampled_from(["a", "b"]),
    "time": st.floats(1.6e9, 1.7e9) | st.integers(1_600_000_000, 1_700_000_000) | st.just("2026-11-22 04:32:19"),
    "predicted": st.sampled_from(["yes", "no", 1, True, 0.0]),
    "score": st.floats(0, 1) | st.integers(0, 1),
    "latency": st.floats(0, 10),
    "actual": st.sampled_from(["yes", "no", None]),
    "probabilities": st.lists(st.floats(0, 1), min_size=2, max_size=2),
}
records = st.fixed_dictionaries(
    {},
    optional={
        name: likely.get(name, st.nothing()) | anything
        for name in [*FIELDS, "probabilities", "deep", "kind", "deep.version"]
    },
) | st.fixed_dictionaries({name: likely[name] for name in ("id", "time", "predicted", "score")})
lines = (
    records.map(lambda record: json.dumps(record).encode())
    | anything.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=20).map(lambda text: text.replace(b"\n", b""))
)


def mapper(model, role, *, listed):
    fields = dict(SPEC)
    if listed:
        fields["probabilities"] = FieldSpec(field="probabilities")
        del fields["predicted"], fields["score"]
    return Mapper(MappingSpec(role=role, fields=fields, where=WHERE), model, CLOCK, keep_ids=True)


def outcome(batches):
    """Rows of *batches* as plain values, and what was refused and skipped."""
    rows, refused, skipped = [], [], 0
    for batch in batches:
        columns = [batch.ids, batch.key[:, 0].tolist(), batch.time.tolist()]
        columns += [
            [None if code == ABSENT else column.names[code] for code in column.codes]
            for column in (batch.predicted, batch.actual, batch.error, batch.model, batch.version)
            if column is not None
        ]
        columns += [
            [None if np.isnan(value) else value for value in column]
            for column in (batch.score, batch.latency, batch.actual_time)
            if column is not None
        ]
        assert all(len(column) == len(batch) for column in columns)
        rows += list(zip(*columns, strict=True))
        refused += batch.refused.counts.elements()
        skipped += batch.skipped
    return rows, sorted(refused), skipped


def judged(blocks, model, role, *, listed):
    one = mapper(model, role, listed=listed)
    reader = JsonLines(one.paths)
    read = [reader.decode(block, str) for block in blocks]
    batches = [one.batch(part) for part in read]
    for part, batch in zip(read, batches, strict=True):
        assert part.count + part.refused.counts.total() == len(batch) + batch.refused.counts.total() + batch.skipped
        assert not np.isnan(batch.time).any()
    return outcome(batches)


ways = {"model": st.sampled_from(MODELS), "role": st.sampled_from(["predictions", "labels"]), "listed": st.booleans()}


@settings(deadline=None, max_examples=300)
@given(lines=st.lists(lines, max_size=12), **ways)
def test_no_input_raises_and_no_row_is_lost(lines, model, role, listed):
    """Whatever a line holds, it is kept, refused or skipped, once; blank lines are none of these."""
    rows, refused, skipped = judged([b"\n".join(lines)], model, role, listed=listed)
    assert len(rows) + len(refused) + skipped == sum(
        bool(line.removeprefix(b"\xef\xbb\xbf").strip()) for line in lines
    )


@settings(deadline=None, max_examples=300)
@given(lines=st.lists(lines, max_size=12), cuts=st.lists(st.integers(0, 12), max_size=6), **ways)
def test_blocks_may_be_cut_anywhere_between_records(lines, cuts, model, role, listed):
    """What was read before, and together with what, changes nothing about a row."""
    whole = judged([b"".join(line + b"\n" for line in lines)], model, role, listed=listed)
    edges = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    blocks = [b"".join(line + b"\n" for line in lines[start:end]) for start, end in pairwise(edges)]
    assert judged(blocks, model, role, listed=listed) == whole


@settings(deadline=None, max_examples=200)
@given(data=st.binary(max_size=200) | st.text(alphabet='a1,"\n\r\x00;ü', max_size=60).map(str.encode))
def test_any_bytes_are_csv_of_some_kind(data):
    """No bytes make the reader raise, and places of all records are known."""
    reader = Csv(["a", "b"])
    records = reader.decode(data[: reader.complete(data)], str, b"a,b\n")
    assert all(len(column) == records.count for column in records.columns.values())
    assert [int(records.place(row)) for row in range(records.count)] == sorted(
        {int(records.place(row)) for row in range(records.count)}
    )
