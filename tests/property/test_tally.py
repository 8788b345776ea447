"""A family's sums are the same however many windows share the work, and however rows are cut into batches."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.contracts import WindowSpec
from exporter.families.losses import Losses
from exporter.families.quality import Quality
from exporter.families.scores import Scores
from exporter.pipeline.tally import Stretches, Tally
from exporter.windows import RESOLUTION
from tests.scored import model, rows

SECONDS = st.lists(st.sampled_from([1.0, 60.0, 90.0, 600.0, 3600.0, 86400.0]), min_size=1, max_size=4, unique=True)
ROW = st.tuples(
    st.booleans(),
    st.none() | st.integers(0, 64).map(lambda number: number / 64),
    st.integers(0, 3),
    st.integers(0, 40_000).map(lambda number: 1.7e9 + number / 8),
    st.sampled_from([1, 1, 1, -1]),
)
BATCHES = st.lists(st.lists(ROW, min_size=1, max_size=30), min_size=1, max_size=5)


def scored(batch):
    columns = list(zip(*batch, strict=True))
    score = [np.nan if one is None else one for one in columns[1]]
    return rows(columns[0], score, group=columns[2], label_time=columns[3], sign=columns[4])


def inside(scored, group, seconds, clock):
    """Which rows of *group* are inside a window that ends at *clock*, by the words of its definition."""
    width = seconds / RESOLUTION
    bucket = np.floor(scored.label_time / width + 1e-9)
    return (scored.group == group) & (bucket > np.floor(clock / width + 1e-9) - RESOLUTION)


def part(scored, where):
    columns = {name: getattr(scored, name) for name in scored.__slots__}
    return type(scored)(**{name: None if column is None else column[where] for name, column in columns.items()})


def added_up(family, scored):
    cells = family.cells(scored)
    sign = scored.sign if cells.row is None else scored.sign[cells.row]
    out = np.zeros(family.size)
    for local, weight in ((cells.local, cells.weight), *cells.more):
        np.add.at(out, cells.local * 0 + local, sign * (1 if weight is None else weight))
    return out


@settings(deadline=None)
@given(SECONDS, BATCHES)
def test_every_window_holds_its_rows(seconds, batches):
    """Each window, whether its rows were counted or its table made of another's, holds what it would hold alone."""
    windows = [WindowSpec(name=f"{each:g}s", seconds=each) for each in seconds]
    everything = [scored(batch) for batch in batches]
    for kind in (Quality, Losses, Scores):
        family = kind(model())
        tally, clock = Tally(family, windows), -np.inf
        for batch in everything:
            tally.add(batch, Stretches(batch.label_time))
            clock = max(clock, float(batch.label_time.max()))
            tally.advance(clock)
        for group in range(4):
            for window in windows:
                expected = sum(
                    added_up(family, part(batch, inside(batch, group, window.seconds, clock))) for batch in everything
                )
                np.testing.assert_allclose(tally.inside(window.name, group), expected, atol=1e-9)
            kept = [part(batch, batch.group == group) for batch in everything]
            added, retracted = tally.totals.of(group)
            np.testing.assert_allclose(added - retracted, sum(added_up(family, batch) for batch in kept), atol=1e-9)
            assert (added >= 0).all()
            assert (retracted >= 0).all()


class Scaled(Quality):
    """A family that makes many windows at once and takes a calibration, as one of somebody else's may."""

    by_prediction = True
    factor = 1.0

    def all_window_values(self, names, counts):
        return [[self.factor * value for value in row] for row in super().all_window_values(names, counts)]


def test_gauges_made_at_once_are_by_the_calibration_of_their_group():
    """A group that has a calibration of its own keeps it when the gauges of all groups are made; the others share."""
    window, names = WindowSpec(name="60s", seconds=60.0), {"class": ["no", "yes"], "error": []}
    tally, own = Tally(Scaled(model()), [window]), Scaled(model())
    own.factor = 3.0
    batch = rows([True, False, True], [0.9, 0.9, 0.1], group=[0, 1, 1])
    tally.add(batch, Stretches(batch.label_time))
    tally.calibrate(1, own)
    tally.make_gauges(names, [0, 1])
    assert [tally.gauges(names, "60s", group)[0] for group in (0, 1)] == [1, 6]


def test_no_gauges_are_made_where_no_window_is_the_familys():
    """Of windows by count alone a family by the time of predictions has no gauges, and there is nothing to make."""
    names, window = {"class": ["no", "yes"], "error": []}, WindowSpec(name="last 5", rows=5)
    tally = Tally(Scaled(model()), [window])
    tally.make_gauges(names, [0, 1])
    assert tally.values(names, [window], 0) == Quality(model()).values(names, *tally.totals.of(0))
