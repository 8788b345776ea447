"""Codes for names: given once, never changed, and no more of them than there is room for."""

from __future__ import annotations

import numpy as np

from exporter.contracts import Categorical
from exporter.pipeline.names import Vocabulary


def codes(vocabulary, names, *values):
    return vocabulary.codes(Categorical(np.array(values, np.int32), names)).tolist()


def test_a_name_keeps_its_code():
    """Columns with names in any order are told in the same codes."""
    vocabulary = Vocabulary(10, ["a"])
    assert codes(vocabulary, ["b", "a"], 0, 1, 0) == [1, 0, 1]
    assert codes(vocabulary, ["a", "c", "b"], 0, 1, 2) == [0, 2, 1]
    assert vocabulary.names == ["a", "b", "c"]


def test_absent_stays_absent():
    """A row without a value has no code."""
    assert codes(Vocabulary(10), ["a"], -1, 0) == [-1, 0]
    assert codes(Vocabulary(10), [], -1) == [-1]


def test_only_names_that_occur_get_a_code():
    """A source may know names that no row has."""
    vocabulary = Vocabulary(10)
    codes(vocabulary, ["never", "often"], 1, 1)
    assert vocabulary.names == ["often"]


def test_names_may_grow_between_batches():
    """A source appends to its list of names; what was told before holds."""
    vocabulary, names = Vocabulary(10), ["a"]
    assert codes(vocabulary, names, 0) == [0]
    names.extend(["b", "c"])
    told = codes(vocabulary, names, 2, 0, 1, -1)
    assert [vocabulary.names[code] for code in told[:3]] == ["c", "a", "b"]
    assert (told[1], told[3]) == (0, -1)


def test_a_full_vocabulary_has_no_code_for_more():
    """Without an overflow what is too much is absent, and stays so."""
    vocabulary = Vocabulary(2)
    assert codes(vocabulary, ["a", "b", "c"], 0, 1, 2, 0) == [0, 1, -1, 0]
    assert codes(vocabulary, ["c"], 0) == [-1]
    assert vocabulary.names == ["a", "b"]


def test_an_overflow_takes_what_is_too_much():
    """The last place is kept for `other`, which a name of that text shares."""
    vocabulary = Vocabulary(3, overflow="other")
    assert codes(vocabulary, ["a", "b", "c", "d"], 0, 1, 2, 3) == [0, 1, 2, 2]
    assert vocabulary.names == ["a", "b", "other"]
    assert codes(vocabulary, ["other", "e"], 0, 1) == [2, 2]


def test_an_overflow_may_be_all_there_is():
    """With one place every name is `other`."""
    vocabulary = Vocabulary(1, overflow="other")
    assert codes(vocabulary, ["a", "b"], 0, 1) == [0, 0]
    assert vocabulary.names == ["other"]


def test_what_finds_no_room_is_counted():
    """Every value that counts as `other` because there is no room; not one that is written so while there is."""
    vocabulary = Vocabulary(3, overflow="other")
    codes(vocabulary, ["a", "other"], 0, 1, 1)
    assert vocabulary.folded == 0
    codes(vocabulary, ["b", "c", "d"], 0, 1, 2, 2, -1)
    assert vocabulary.folded == 3
    restored = Vocabulary(3, overflow="other")
    for name in vocabulary.names:
        restored.code(name)
    assert restored.folded == 0
    codes(restored, ["d", "a"], 0, 1)
    assert restored.folded == 1


def test_many_columns_do_not_mix():
    """Columns of many sources, also short-lived ones, are each told by their own names."""
    vocabulary = Vocabulary(100)
    for turn in range(50):
        names = [f"name {turn % 7}", f"name {turn % 5}"]
        assert [vocabulary.names[code] for code in codes(vocabulary, names, 0, 1)] == names
