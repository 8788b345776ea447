"""Sums over all time, over a stretch of label time and over the last rows, in small."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.contracts import Scored
from exporter.last_rows import CountWindow
from exporter.windows import RESOLUTION, Columns, TimeWindow, Totals, coarser, tabulated


def scored(*rows):
    """Rows (sign, slot, label time) of group 0, or (sign, slot, label time, group)."""
    columns = [[(*row, 0)[at] for row in rows] for at in range(4)]
    zeros = np.zeros(len(rows), np.int32)
    return Scored(
        sign=np.array(columns[0], np.int8),
        slot=np.array(columns[1], np.int64),
        group=np.array(columns[3], np.int32),
        actual=zeros,
        predicted=zeros,
        score=np.zeros(len(rows)),
        time=np.zeros(len(rows)),
        label_time=np.array(columns[2], float),
    )


def test_totals_keep_both_sides_apart():
    """What is taken back does not lower what was added: counters only grow."""
    totals = Totals(2)
    totals.add(np.array([0, 3]), np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    assert [side.tolist() for side in totals.of(0)] == [[1, 0], [0, 0]]
    assert [side.tolist() for side in totals.of(1)] == [[0, 1], [0, 1]]


def test_totals_of_a_group_never_heard_of_are_zero():
    """No group is an error: nothing was counted for it."""
    assert [side.tolist() for side in Totals(3).of(7)] == [[0, 0, 0]] * 2


def test_totals_come_back_from_their_changes():
    """What `changes` says of changed groups is all that `load` needs."""
    totals, again = Totals(3), Totals(3)
    totals.add(np.array([14, 2, 1]), np.array([2.0, 0.0, 0.5]), np.array([1.0, 0.0, 0.0]))
    saved = dict(totals.changes())
    assert set(saved) == {"0", "4"}
    assert not list(totals.changes())
    for name, blob in saved.items():
        again.load(name, blob)
    for group in range(6):
        assert [side.tolist() for side in again.of(group)] == [side.tolist() for side in totals.of(group)]


def test_a_time_window_forgets_bucket_by_bucket():
    """Rows of the newest bucket and the 359 before it are inside."""
    window = TimeWindow(float(RESOLUTION), 1)
    window.advance(0.0)
    window.add(np.array([0, 0]), np.ones(2), np.array([0.0, 10.5]))
    assert window.advance(359.9) == 0
    assert window.of(0).tolist() == [2]
    assert window.advance(360.0) == 1
    assert window.of(0).tolist() == [1]
    assert window.advance(370.0) == 1
    assert window.of(0).tolist() == [0]


def test_a_time_window_never_goes_back():
    """An older clock changes nothing, and rows older than the window are left out."""
    window = TimeWindow(360.0, 1)
    window.advance(1000.0)
    assert window.advance(10.0) == 0
    window.add(np.array([0, 0]), np.ones(2), np.array([640.9, 641.0]))
    assert window.of(0).tolist() == [1]


def test_what_is_taken_back_leaves_the_bucket_it_was_in():
    """A retraction carries the old label time, so that nothing is left when the bucket falls out."""
    window = TimeWindow(360.0, 1)
    window.add(np.array([0, 0]), np.array([1.0, -1.0]), np.array([5.0, 5.0]))
    window.add(np.array([0]), np.ones(1), np.array([300.0]))
    assert window.of(0).tolist() == [1]
    window.advance(400.0)
    assert window.of(0).tolist() == [1]
    window.advance(700.0)
    assert window.of(0).tolist() == [0]


def test_a_time_window_comes_back_from_its_changes():
    """Saved buckets make the same window, and buckets that fell out or are empty leave nothing behind."""
    window, again, saved = TimeWindow(360.0, 2), TimeWindow(360.0, 2), {}
    window.add(np.array([0, 3, 0, 3]), np.ones(4), np.array([5.0, 100.0, 103.0, 200.0]))
    saved.update(window.changes())
    assert list(saved) == ["0x8", "12x8", "25x8"]
    window.add(np.array([3]), -np.ones(1), np.array([200.0]))
    window.advance(380.0)
    saved.update(window.changes())
    assert saved.pop("0x8") is None
    assert saved.pop("25x8") is None
    for name, blob in saved.items():
        again.load(name, blob)
    again.advance(380.0)
    assert not list(again.changes())
    for group in (0, 1):
        assert again.of(group).tolist() == window.of(group).tolist()
    assert again.advance(460.0) == window.advance(460.0) == 1
    left = dict(window.changes())
    assert list(left) == ["12x8"]
    assert left == dict(again.changes())


def test_a_bucket_that_came_and_went_between_two_commits_is_never_named():
    """Nothing is removed from the state that was never in it."""
    window = TimeWindow(360.0, 1)
    window.add(np.zeros(2, np.int64), np.ones(2), np.array([5.0, 300.0]))
    window.advance(500.0)
    assert [name for name, _ in window.changes()] == ["37x8"]


def test_buckets_that_were_saved_one_by_one_are_taken_over():
    """A blob under the number of its only bucket is read, and then saved together with its neighbours."""
    window = TimeWindow(360.0, 2)
    for bucket in (96, 100):
        window.load(str(bucket), np.array([3]).tobytes() + np.array([2.0]).tobytes())
    assert window.of(1).tolist() == [0, 4]
    saved = dict(window.changes())
    assert [name for name, blob in saved.items() if blob is None] == ["96", "100"]
    again = TimeWindow(360.0, 2)
    again.load("12x8", saved["12x8"])
    again.advance(456.0)
    assert again.of(1).tolist() == [0, 2]


@pytest.mark.parametrize("ahead", [0.0, 300.0])
def test_a_bucket_does_not_keep_the_table_that_it_came_in(ahead):
    """Where every batch reaches far back, or begins before the window, its old rows are not held by its new bucket."""
    window = TimeWindow(float(RESOLUTION), 100)
    rng = np.random.default_rng(3)
    for now in range(2 * RESOLUTION):
        window.advance(now + ahead)
        window.add(rng.integers(0, 100, 400), np.ones(400), now - 100 * rng.random(400))
    held = {id(base): base.nbytes for base in map(_base, window.buckets.values())}
    assert sum(held.values()) <= 2 * sum(bucket.nbytes for bucket in window.buckets.values())


def _base(array):
    return array if array.base is None else _base(array.base)


@pytest.mark.parametrize("times", [[0.0, 1.7e9], [0.0, 1e12], [-1e6, 5.0]])
def test_a_leap_of_time_needs_no_room(times):
    """A window takes rows that lie an age apart as it takes any."""
    window = TimeWindow(60.0, 4)
    window.add(np.array([0, 1]), np.ones(2), np.array(times))
    assert len(window.buckets) == 2
    window.advance(times[1])
    assert window.of(0).tolist() == [0, 1, 0, 0]


def test_the_last_rows_are_kept_per_group():
    """Every group has a window of its own."""
    window = CountWindow(2)
    entered, left = window.push(scored((1, 1, 1.0, 0), (1, 2, 2.0, 5), (1, 3, 3.0, 0), (1, 4, 4.0, 0)))
    assert sorted(entered.slot.tolist()) == [2, 3, 4]
    assert not len(left)
    assert window.all().slot.tolist() == [3, 4, 2]


def test_a_corrected_row_becomes_the_newest():
    """The old result leaves from wherever it stood, and the corrected one enters at the end."""
    window = CountWindow(3)
    window.push(scored((1, 1, 1.0), (1, 2, 2.0), (1, 3, 3.0)))
    entered, left = window.push(scored((-1, 1, 1.0), (1, 1, 4.0)))
    assert (entered.slot.tolist(), entered.label_time.tolist()) == ([1], [4.0])
    assert (left.slot.tolist(), left.label_time.tolist()) == ([1], [1.0])
    assert window.all().slot.tolist() == [2, 3, 1]


def test_a_row_corrected_twice_at_once_enters_once():
    """Of several results of one prediction only the last is inside."""
    window = CountWindow(3)
    entered, left = window.push(scored((1, 1, 1.0), (-1, 1, 1.0), (1, 1, 2.0), (-1, 1, 2.0), (1, 1, 3.0), (1, 2, 3.0)))
    assert entered.label_time.tolist() == [3.0, 3.0]
    assert not len(left)


def test_a_count_window_comes_back_from_its_changes():
    """The rows of a changed group are saved whole."""
    window, again = CountWindow(2), CountWindow(2)
    window.push(scored((1, 1, 1.0), (1, 2, 2.0), (1, 3, 3.0)))
    for name, blob in window.changes():
        again.load(name, blob)
    assert not list(window.changes())
    entered, left = again.push(scored((1, 4, 4.0)))
    assert (entered.slot.tolist(), left.slot.tolist()) == ([4], [2])


def test_columns_are_given_in_the_order_of_first_use():
    """A cell keeps its column for good, however many come after it."""
    columns = Columns()
    assert columns.of(np.array([7, 2, 7])).tolist() == [1, 0, 1]
    assert columns.of(np.array([900, 7])).tolist() == [2, 1]
    assert columns.cells.tolist() == [2, 7, 900]
    parts = [(np.array([1, 2, 1]), None), (np.array([0, 0]), np.array([0.5, 2.0]))]
    assert columns.sums(parts).tolist() == [2.5, 2, 1]
    assert not len(columns.of(np.empty(0, np.int64)))


def test_a_table_holds_sums_by_bucket_and_column():
    """Rows are added up where they belong, and a table that would be too large is not made."""
    parts = [(np.array([0, 1, 1]), None), (np.array([2, 2, 2]), np.array([0.5, 1.0, 2.0]))]
    first, sums = tabulated(np.array([7, 5, 5]), parts, 3)
    assert (first, sums.tolist()) == (5, [[0, 2, 3], [0, 0, 0], [1, 0, 0.5]])
    assert tabulated(np.array([0, 10**9]), [(np.array([0, 0]), None)], 3) is None


def test_a_table_from_before_the_newest_columns_is_added_to_the_first():
    """A bucket that has a column more keeps it when sums that knew fewer columns are added."""
    window = TimeWindow(RESOLUTION, 4)
    window.columns.of(np.array([2]))
    window.columns.of(np.array([0]))
    window.take(5, np.array([[1.0, 10.0]]))
    window.take(5, np.array([[2.0]]))
    assert window.of(0).tolist() == [10, 0, 3, 0]
    again = TimeWindow(RESOLUTION, 4)
    for name, blob in window.changes():
        again.load(name, blob)
    assert again.of(0).tolist() == window.of(0).tolist()


def test_a_coarser_table_has_the_buckets_of_the_longer_window():
    """Buckets begin at multiples of their width, wherever the table begins."""
    first, sums = coarser(5, np.array([[1.0], [2.0], [3.0], [4.0]]), 3)
    assert (first, sums.tolist()) == (1, [[1], [9]])
    assert coarser(-1, np.array([[1.0], [2.0]]), 2)[0] == -1


def test_a_table_that_began_before_the_window_is_cut():
    """What is older than the window is left out of it."""
    window = TimeWindow(float(RESOLUTION), 1)
    window.columns.of(np.array([0]))
    window.advance(1000.0)
    window.take(639, np.array([[1.0], [2.0], [4.0]]))
    assert window.of(0).tolist() == [4]


def test_a_table_with_fewer_columns_than_its_bucket_is_added():
    """What waited elsewhere while columns came is added to the first ones."""
    window = TimeWindow(float(RESOLUTION), 2)
    window.columns.of(np.array([0, 1]))
    window.take(7, np.array([[1.0, 2.0]]))
    window.take(7, np.array([[4.0]]))
    assert window.of(0).tolist() == [5, 2]
