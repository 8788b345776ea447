"""What every metric family must keep, the built-in ones and those of others alike."""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest

from exporter import plugins
from exporter.contracts import (
    TASKS,
    Calibrated,
    Calibration,
    EstimatesSpec,
    Family,
    ManyWindows,
    ModelSpec,
    RankingSpec,
    RegressionSpec,
    Scored,
    SegmentSpec,
    Traffic,
)
from exporter.pipeline import CATALOGUE

NAME = re.compile(r"model_[a-z0-9]+(_[a-z0-9]+)*")
UNITS = ("milliseconds", "ms", "minutes", "hours", "percent", "kilobytes", "millis")
ERRORS = ["timeout", "refused"]
HISTOGRAM = ("_bucket", "_count", "_sum")

SEGMENTS = (SegmentSpec(name="region", top=4), SegmentSpec(name="device", top=2))
PLACED = (SegmentSpec(name="region", top=2, min_group_size=1, coordinates={"x": (52.5, 13.4), "z": (0.0, -1.5)}),)
SPECS = {
    "declared": ModelSpec(name="m", task="multiclass", classes=tuple("abcd")),
    "learned": ModelSpec(name="m", task="multiclass", max_classes=6),
    "folded": ModelSpec(name="m", task="multiclass", classes=tuple("abcd"), confusion_classes=2),
    "unshown": ModelSpec(name="m", task="multiclass", classes=tuple("abcd"), confusion_classes=0),
    "binary": ModelSpec(name="m", task="binary", positive="b", classes=("a", "b")),
    "positive": ModelSpec(name="m", task="binary", positive="a"),
    "weighed": ModelSpec(
        name="m", task="multiclass", classes=tuple("abcd"), probabilities=4, top_k=(2, 3), segments=SEGMENTS
    ),
    "labels": ModelSpec(name="m", task="multilabel", classes=tuple("abcd")),
    "learned labels": ModelSpec(name="m", task="multilabel", max_classes=6),
    "ranking": ModelSpec(name="m", task="ranking", ranking=RankingSpec(depth=10, relevant=5, cutoffs=(1, 5, 10))),
    "deep": ModelSpec(name="m", task="ranking", ranking=RankingSpec(depth=3, relevant=20, cutoffs=(2,))),
    "grouped": ModelSpec(name="m", task="binary", positive="a", segments=PLACED),
    "regression": ModelSpec(name="m", task="regression"),
    "quantiles": ModelSpec(
        name="m",
        task="regression",
        segments=SEGMENTS,
        regression=RegressionSpec(residual_buckets=(-10.0, 0.0, 10.0), quantiles=(0.1, 0.9), center=5.0),
    ),
}
BUCKETS = {
    "latency_buckets": (0.01, 0.1, 1.0),
    "delay_buckets": (1.0, 60.0),
    "score_edges": (0.1, 0.5, 0.9),
    "estimates": EstimatesSpec(),
}


def _id(kind):
    return kind.__name__


@pytest.fixture(params=plugins.families(), ids=_id)
def kind(request):
    """Every registered family."""
    return request.param


SPECS = {name: msgspec.structs.replace(spec, **BUCKETS) for name, spec in SPECS.items()}
SERVED = [(kind, spec) for kind in plugins.families() for spec in SPECS if kind(SPECS[spec]).size]


@pytest.fixture(params=SERVED, ids=lambda pair: f"{pair[0].__name__}-{pair[1]}")
def served(request):
    """Every family with models of several shapes, of which it counts something."""
    kind, spec = request.param
    return learned(kind(SPECS[spec])), SPECS[spec]


def learned(family):
    """A family that takes a calibration, with one; any other as it is."""
    if not isinstance(family, Calibrated):
        return family
    zeros = np.zeros((2, family.size))
    first = Calibration(
        probability=np.linspace(0.1, 0.8, 4), labelled=1000, newest=1e6, sums=zeros, before=np.zeros((2, 1))
    )
    return family.calibrated(first)


@pytest.fixture
def family(served):
    return served[0]


@pytest.fixture
def spec(served):
    return served[1]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def known(spec, classes):
    names = {"class": [*(spec.classes or "abcdefgh")][:classes], "error": ERRORS}
    if spec.label_capacity:
        names["label"] = names["class"][: spec.label_capacity]
    return names | {one.vocabulary: ["other", "x", "y"][: one.capacity] for one in spec.segments}


def some_rows(family, spec, rng, count=200):
    """Rows as the pipeline hands them over: any valid codes, any finite numbers, NaN where a value is absent."""
    group = rng.integers(0, 3, count).astype(np.int32)
    time = rng.uniform(0, 1e9, count)
    predicted = rng.integers(0, spec.capacity, count).astype(np.int32)
    if family.feed == "traffic":
        failed = rng.random(count) < 0.2
        return Traffic(
            group=group,
            time=time,
            predicted=np.where(failed, -1, predicted).astype(np.int32),
            score=scores(spec, rng, count),
            latency=np.where(rng.random(count) < 0.3, np.nan, rng.exponential(0.1, count)),
            error=np.where(failed, rng.integers(0, len(ERRORS), count), -1).astype(np.int32),
            made=payload(spec, spec.layout.made_dtype, rng, count),
        )
    return Scored(
        sign=rng.choice(np.array([1, 1, -1], np.int8), count),
        slot=np.arange(count),
        group=group,
        actual=rng.integers(0, spec.capacity, count).astype(np.int32),
        predicted=predicted,
        score=scores(spec, rng, count),
        time=time,
        label_time=time + rng.normal(30, 60, count),
        made=payload(spec, spec.layout.made_dtype, rng, count),
        truth=payload(spec, spec.layout.truth_dtype, rng, count),
    )


def scores(spec, rng, count):
    """Probabilities, absent for some rows, or the values that a regression predicts."""
    if spec.task == "regression":
        return rng.normal(0, 100, count)
    return np.where(rng.random(count) < 0.3, np.nan, rng.random(count))


def payload(spec, dtype, rng, count):
    """Extra columns as the layout has them, None where it has none."""
    if not dtype.names:
        return None
    out = np.zeros(count, dtype)
    for name in dtype.names:
        shape = out[name].shape
        match name:
            case "value":
                out[name] = np.where(rng.random(count) < 0.1, 0.0, rng.normal(0, 100, count))
            case "labels":
                out[name] = rng.integers(0, 1 << spec.label_capacity, count)
            case "items":
                items = rng.permuted(np.tile(np.arange(1, 31), (count, 1)), axis=1)[:, : shape[1]]
                there = np.arange(shape[1]) < rng.integers(0, shape[1] + 1, (count, 1))
                out[name] = np.where(there, items, 0)
            case "gains":
                out[name] = np.where(out["items"] > 0, rng.integers(1, 4, shape), 0.0)
            case "probabilities":
                out[name] = rng.dirichlet(np.ones(shape[1]), count)
                out[name][rng.random(count) < 0.2] = np.nan
            case "segments":
                out[name] = rng.integers(0, 3, shape)
    return out


def part(rows, where):
    columns = {name: getattr(rows, name) for name in rows.__slots__}
    return type(rows)(**{name: None if column is None else column[where] for name, column in columns.items()})


def sums(family, rows, where=slice(None)):
    """Cell sums of all *rows*, whatever their group and sign."""
    cells = family.cells(part(rows, where))
    return sum(
        np.bincount(cells.local * 0 + local, weight, minlength=family.size).astype(float)
        for local, weight in ((cells.local, cells.weight), *cells.more)
    )


# --- specs ---------------------------------------------------------------------------------------


def test_it_serves_its_tasks_only(kind):
    """A family counts something of at least one model here, and nothing of tasks that it does not name."""
    assert kind.tasks <= TASKS
    assert any(one is kind for one, _ in SERVED)
    for spec in SPECS.values():
        assert spec.task in kind.tasks or not kind(spec).size


def test_it_is_a_family(family):
    """It has all that the pipeline asks of a family, a feed and a size."""
    assert isinstance(family, Family)
    assert family.feed in {"traffic", "scored"}
    assert isinstance(family.size, int)
    assert family.size > 0


def test_names_follow_the_rules(kind):
    """Names say model, what and unit; `_total` belongs to counters, and none ends as a histogram's sample."""
    for one in kind.specs:
        assert NAME.fullmatch(one.name)
        assert one.name.endswith("_total") == (one.type == "counter")
        assert not one.name.endswith(HISTOGRAM)
        assert not set(UNITS) & set(one.name.split("_"))


def test_help_is_a_sentence(kind):
    """Every metric says in a sentence what it is, and no two say the same."""
    for one in kind.specs:
        assert one.help.endswith(".")
        assert one.help[0].isupper() or one.type == "gauge"
        assert "\n" not in one.help
    assert len({one.help for one in kind.specs}) == len(kind.specs)


def test_names_are_taken_once():
    """No two metrics of the catalogue share a name, nor a sample name."""
    names = [name for one in CATALOGUE for name in [one.name, *(one.name + suffix for suffix in HISTOGRAM)]]
    assert len(names) == len(set(names))


def test_what_comes_of_labels_can_be_taken_back(kind):
    """A counter of labelled rows has a twin of what corrections took back; a histogram says that it has none."""
    names = {one.name for one in kind.specs}
    if kind.feed == "traffic":
        assert not any("_retracted" in name for name in names)
        return
    for one in kind.specs:
        if one.type == "counter" and "_retracted" not in one.name:
            twin = one.name.removesuffix("_total") + "_retracted_total"
            (other,) = [two for two in kind.specs if two.name == twin]
            assert other.labels == one.labels
        elif one.type == "histogram":
            assert "corrections included" in one.help


def test_windows_stand_on_gauges(kind):
    """Whatever is told of a window is a gauge with the label `window`, and only a windowed family has such."""
    of_windows = [one for one in kind.specs if "window" in one.labels]
    assert all(one.type == "gauge" for one in of_windows)
    assert bool(of_windows) == kind.windowed


# --- series and values ---------------------------------------------------------------------------


@pytest.mark.parametrize("classes", range(7))
def test_series_are_of_its_own_specs(family, spec, classes):
    """Every series has a declared name, exactly the declared labels, and stands once."""
    declared = {one.name: one for one in family.specs}
    names = known(spec, min(classes, spec.capacity))
    seen = set()
    for series, more in ((family.series(names), set()), (family.window_series(names), {"window"})):
        for one in series:
            about = declared[one.metric]
            suffixes = HISTOGRAM if about.type == "histogram" else ("",)
            bucket = {"le"} if one.suffix == "_bucket" else set()
            assert one.suffix in suffixes
            assert {name for name, _ in one.labels} | more == set(about.labels) | bucket
            assert all(isinstance(value, str) for _, value in one.labels)
            assert (one.metric, one.suffix, one.labels) not in seen
            seen.add((one.metric, one.suffix, one.labels))


@pytest.mark.parametrize("classes", range(7))
def test_every_series_has_a_value(family, spec, classes):
    """Values come in the order and number of the series, as plain numbers, whatever is known so far."""
    names, zero = known(spec, min(classes, spec.capacity)), np.zeros(family.size)
    values = list(family.values(names, zero, zero))
    assert len(values) == len(family.series(names))
    gauges = list(family.window_values(names, zero))
    assert len(gauges) == len(family.window_series(names))
    assert all(type(value) in {int, float} for value in [*values, *gauges])


def test_no_data_is_zero_for_counters(family, spec):
    """Counters begin at 0, never at NaN; a gauge of a window without rows is a count of 0, or undefined."""
    names, zero = known(spec, spec.capacity), np.zeros(family.size)
    types = {one.name: one.type for one in family.specs}
    for one, value in zip(family.series(names), family.values(names, zero, zero), strict=True):
        assert value == 0 or types[one.metric] == "gauge"
    for value in family.window_values(names, zero):
        assert value == 0 or math.isnan(value)


def test_cells_are_within_the_size(family, spec, rng):
    """Increments name rows that were given, cells that exist, and weights that a counter can take."""
    rows = some_rows(family, spec, rng)
    cells = family.cells(rows)
    assert cells.local.dtype == np.int64
    row = np.arange(len(rows)) if cells.row is None else cells.row
    assert row.shape == cells.local.shape
    for local in map(np.asarray, (cells.local, *(local for local, _ in cells.more))):
        assert ((local >= 0) & (local < family.size)).all()
    assert ((row >= 0) & (row < len(rows))).all()
    for weight in (cells.weight, *(further for _, further in cells.more)):
        assert weight is None or weight.shape == cells.local.shape
        assert weight is None or (np.isfinite(weight) & (weight >= 0)).all()


def test_no_rows_give_no_cells(family, spec, rng):
    """An empty batch counts nothing."""
    cells = family.cells(part(some_rows(family, spec, rng), slice(0)))
    assert len(cells.local) == 0


def test_sums_add_up_over_any_split(family, spec, rng):
    """Counting in two parts, in any order, is counting at once."""
    rows = some_rows(family, spec, rng)
    for _ in range(5):
        order = rng.permutation(len(rows))
        cut = rng.integers(0, len(rows))
        parts = sums(family, rows, order[:cut]) + sums(family, rows, order[cut:])
        np.testing.assert_allclose(parts, sums(family, rows), rtol=1e-12)


def test_rows_are_counted_one_by_one(family, spec, rng):
    """What a row adds does not depend on its neighbours."""
    rows = some_rows(family, spec, rng, count=30)
    alone = sum(sums(family, rows, slice(at, at + 1)) for at in range(len(rows)))
    np.testing.assert_allclose(alone, sums(family, rows), rtol=1e-12)


def test_counters_never_fall(family, spec, rng):
    """More rows, added or taken back, never make the value of a counter smaller."""
    names = known(spec, spec.capacity)
    types = {one.name: one.type for one in family.specs}
    added, retracted = np.zeros(family.size), np.zeros(family.size)
    before = list(family.values(names, added, retracted))
    for _ in range(10):
        rows = some_rows(family, spec, rng, count=20)
        side = added if rng.random() < 0.5 else retracted
        side += sums(family, rows)
        now = list(family.values(names, added, retracted))
        for one, old, new in zip(family.series(names), before, now, strict=True):
            assert new >= old or types[one.metric] == "gauge"
        before = now


def test_the_same_counts_give_the_same_values(family, spec, rng):
    """Values depend on the counts alone, and asking for them changes nothing."""
    names = known(spec, spec.capacity)
    counts, none = sums(family, some_rows(family, spec, rng)), np.zeros(family.size)
    kept = counts.copy()
    first = [list(family.values(names, counts, none)), list(family.window_values(names, counts))]
    assert repr([list(family.values(names, counts, none)), list(family.window_values(names, counts))]) == repr(first)
    assert counts.tolist() == kept.tolist()
    assert not none.any()


def test_many_windows_at_once_are_each_window_alone(family, spec, rng):
    """The gauges of a window do not depend on those that are made beside it; one of them has no rows."""
    for classes in range(7):
        names = known(spec, min(classes, spec.capacity))
        counts = np.array([sums(family, some_rows(family, spec, rng, count=count)) for count in (1, 0, 30, 5)])
        alone = [list(family.window_values(names, one)) for one in counts]
        if isinstance(family, ManyWindows):
            np.testing.assert_allclose(family.all_window_values(names, counts), alone, rtol=1e-15)
        assert [len(one) for one in alone] == [len(family.window_series(names))] * len(counts)


def test_a_window_younger_than_what_is_taken_back_shows_no_infinity(family, spec, rng):
    """A window that the config adds is empty, and corrections may take back from it what it never held."""
    names = known(spec, spec.capacity)
    for counts in ((1, 1), (2, 2), (3, 2), (2, 1)) * 10:
        new, old = (sums(family, some_rows(family, spec, rng, count=count)) for count in counts)
        assert not any(map(math.isinf, family.window_values(names, new - old)))


def test_ratios_are_between_0_and_1(family, spec, rng):
    """A gauge called ratio is one."""
    names = known(spec, spec.capacity)
    values = family.window_values(names, sums(family, some_rows(family, spec, rng)))
    for one, value in zip(family.window_series(names), values, strict=True):
        assert not one.metric.endswith("_ratio") or 0 <= value <= 1
