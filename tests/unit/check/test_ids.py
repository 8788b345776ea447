"""Shapes of ids, and the causes that keep the ids of two sides apart."""

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.check.ids import cause, common_prefix, shapes

NUMBERS = [14468740374550852257, 5516254237555866844, 12829037373909674916]
DECIMAL = {str(number) for number in NUMBERS}
HEX = {f"{number:016x}" for number in NUMBERS}
SIGNED = {str(number - 2**64) if number >= 2**63 else str(number) for number in NUMBERS}
UUIDS = {str(uuid.UUID(int=number << 64 | number)) for number in NUMBERS}
SMALL = {"1017", "2234", "917"}


@pytest.mark.parametrize(
    ("ids", "shape"),
    [
        (["c8cb4ab64474b2a1", "4c8dac00b042bcdc"], "hex 16 characters"),
        (["C8CB4AB64474B2A1"], "hex with capitals 16 characters"),
        (["14468740374550852257", "5516254237555866844"], "decimal 19 to 20 digits"),
        (["0042"], "decimal with leading zeros, 4 digits"),
        (["42.0"], "decimal with .0, 4 characters"),
        (["1.4468740374550852e+19"], "number in e-notation, 22 characters"),
        (["3b241101-e2bb-4255-8caf-4136c566a962"], "uuid"),
        (["3B241101-E2BB-4255-8CAF-4136C566A962"], "uuid with capitals"),
        ([" 42"], "with blanks around: decimal 2 digits"),
        (["   "], "blanks only"),
        (["Order-17/b"], "Aaaaa-99/a"),
        (["x" * 30 + "!"], "a{30}!"),
    ],
)
def test_shape(ids, shape):
    """Ids of one kind are told as one shape with the range of their lengths."""
    assert shapes(ids) == [(shape, len(ids))]


def test_shapes_commonest_first():
    """Shapes come with their counts, the commonest first."""
    assert shapes(["a-1", "77", "b-2"]) == [("a-9", 2), ("decimal 2 digits", 1)]


def test_common_prefix_is_shown():
    """What all ids of a side begin with is shown as it is, the rest is not."""
    known = ["rec-0063", "rec-0338", "rec-9999"]
    assert common_prefix(known) == "rec-"
    assert shapes(["rec-9999"], "rec-") == [("rec-9999", 1)]


@pytest.mark.parametrize("ids", [[], ["rec-1"], ["rec-1", "rec-1"], ["ab12", "ab13"], ["17-a", "17-b"]])
def test_no_common_prefix(ids):
    """One id alone, and digits, are never taken for a common prefix."""
    assert common_prefix(ids) == ""


@given(st.lists(st.text(min_size=1, max_size=40), max_size=20))
def test_shapes_hold_no_digits_of_an_id(ids):
    """Whatever the ids are, all are counted, and a shape of printable text holds no letter of theirs but a and A."""
    found = shapes(ids)
    assert sum(count for _, count in found) == len(ids)
    for text in ids:
        if len(text) > 1 and text.isascii() and text.isalnum() and not re.fullmatch("[aA9]+|blanks only", text):
            assert all(text not in shape.split() for shape, _ in found if "{" not in shape)


@pytest.mark.parametrize(
    ("predictions", "labels", "words"),
    [
        (DECIMAL, HEX, "labels write in hex the number that predictions write in decimal"),
        (HEX, DECIMAL, "predictions write in hex the number that labels write in decimal"),
        ({f"0x{number:X}" for number in NUMBERS}, DECIMAL, "predictions write in hex"),
        (HEX, SIGNED, "predictions write in hex"),
        (HEX, {text.upper() for text in HEX}, "upper and lower case"),
        (UUIDS, {text.upper() for text in UUIDS}, "upper and lower case"),
        (UUIDS, {text.replace("-", "") for text in UUIDS}, "dashes"),
        (SMALL, {text.zfill(8) for text in SMALL}, "leading zeros"),
        (SMALL, {f" {text}" for text in SMALL}, "blanks around"),
        (SMALL, {f"{text}.0" for text in SMALL}, "labels' ids were read as floating-point"),
        ({repr(float(text)) for text in DECIMAL}, DECIMAL, "predictions' ids were read as floating-point"),
        (SMALL, {f"txn-{text}" for text in SMALL}, "ids of labels begin with 'txn-'"),
        ({f"req{text}" for text in SMALL}, SMALL, "ids of predictions begin with 'req'"),
        ({f"{text}@eu" for text in SMALL}, SMALL, "ids of predictions end with '@eu'"),
    ],
)  # fmt: skip
def test_known_cause(predictions, labels, words):
    """A known cause is found by trying it on the ids, and told with how many labels it would join."""
    found = cause(predictions, labels)
    assert found is not None
    assert words in str(found)
    assert found.labels == 3
    assert "3 more labels would find a prediction" in str(found)


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (set(), set()),
        (SMALL, set()),
        ({"rec-1", "rec-2"}, {"rec-3", "rec-4"}),
        ({"16", "17"}, {"10", "11"}),  # also the hex of 16 and 17, but nobody writes so
        (DECIMAL, {"c8cb4ab64474b2a2"}),
        ({str(number) for number in range(1000, 2000)}, {"x-1500", *(f"lost-{n}" for n in range(99))}),
    ],
)
def test_no_known_cause(predictions, labels):
    """Ids that simply have no partner, or a chance hit among many, give no hint."""
    assert cause(predictions, labels) is None


@given(st.sets(st.text(max_size=30), max_size=20), st.sets(st.text(max_size=30), max_size=20))
def test_any_ids(predictions, labels):
    """No id, however odd, breaks the search; a cause never concerns more labels than there are."""
    found = cause(predictions - labels, labels - predictions)
    assert found is None or 1 <= found.labels <= len(labels)
