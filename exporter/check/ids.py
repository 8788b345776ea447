"""Why ids do not join: their shapes, and the known causes tried out on the ids themselves."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from string import ascii_lowercase, ascii_uppercase

from exporter.check.layout import clean, counted

_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_HEX = re.compile(r"(0x)?(?=[0-9a-f]*[a-f])[0-9a-f]{6,64}", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,64}", re.ASCII)
_FLOAT = re.compile(r"-?[0-9]+\.0+", re.ASCII)
_SCIENTIFIC = re.compile(r"-?[0-9](\.[0-9]+)?e\+?[0-9]+", re.IGNORECASE | re.ASCII)
_KINDS = (
    (re.compile(_UUID.pattern, re.ASCII), "uuid", ""),
    (_UUID, "uuid with capitals", ""),
    (_FLOAT, "decimal with .0,", "characters"),
    (_SCIENTIFIC, "number in e-notation,", "characters"),
    (re.compile("0[0-9]{1,63}"), "decimal with leading zeros,", "digits"),
    (_DECIMAL, "decimal", "digits"),
    (re.compile("(0x)?[0-9a-f]{6,64}"), "hex", "characters"),
    (_HEX, "hex with capitals", "characters"),
)
"""Shapes with a name, and the unit that their length is told in; the first that fits is it."""
_CUT = re.compile(r"(?<=[^a-zA-Z0-9])|(?<=[a-zA-Z])(?=[0-9])|(?<=[0-9])(?=[a-zA-Z])|(?=[^a-zA-Z0-9])")
_MASK = str.maketrans(
    dict.fromkeys("0123456789", "9") | dict.fromkeys(ascii_lowercase, "a") | dict.fromkeys(ascii_uppercase, "A")
)
_SAMPLE = 20_000
"""Ids of a side that are cut up in search of an affix; what is found is then counted over all."""
_LEAST = 0.05
"""A cause is named if it would join this share of the smaller side."""


# --- shapes --------------------------------------------------------------------------------------


def shapes(ids: Iterable[str], prefix: str = "") -> list[tuple[str, int]]:
    """What *ids* look like, and how many look so, the commonest first; *prefix* is what all of that side begin with.

    No shape holds more of an id than the prefix.
    """
    counts: Counter[tuple[str, str]] = Counter()
    lengths: dict[tuple[str, str], set[int]] = defaultdict(set)
    for text in ids:
        shape = _kind(text, prefix)
        counts[shape] += 1
        lengths[shape].add(len(text.strip()))
    found = []
    for (kind, unit), count in counts.most_common():
        low, high = min(lengths[kind, unit]), max(lengths[kind, unit])
        size = f"{low}" if low == high else f"{low} to {high}"
        found.append((f"{kind} {size} {unit}" if unit else kind, count))
    return found


def common_prefix(ids: Iterable[str]) -> str:
    """The letters and marks, up to a mark such as - or :, that all of at least two different *ids* begin with."""
    known = set(ids)
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    same = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    found = re.match(r"(?:[a-zA-Z]+[-_:/.|#])+", low[:same])
    return found[0] if found and len(found[0]) <= 24 else ""


def _kind(text: str, prefix: str) -> tuple[str, str]:
    """A shape, and the unit in which its length is told (or nothing)."""
    if not text.strip():
        return "blanks only", ""
    if text != text.strip():
        kind, unit = _kind(text.strip(), prefix)
        return f"with blanks around: {kind}", unit
    for pattern, kind, unit in _KINDS:
        if pattern.fullmatch(text):
            return kind, unit
    begin = prefix if text.startswith(prefix) else ""
    return begin + _masked(text[len(begin) :]), ""


def _masked(text: str) -> str:
    """Digits as 9, letters as a or A, all else as it is; long runs by their length."""
    if text.isascii():
        return _tidied(text.translate(_MASK))
    plain = ("9" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in text[:200])
    return _tidied("".join(plain))


@lru_cache(maxsize=4096)
def _tidied(mask: str) -> str:
    return clean(re.sub(r"(.)\1{8,}", lambda run: f"{run[1]}{{{len(run[0])}}}", mask[:200]), 60)


# --- causes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cause:
    """What keeps ids apart: how many labels it concerns, what it is, and what to do about it."""

    labels: int
    words: str
    advice: str

    def __str__(self) -> str:
        return f"{self.words}: {counted(self.labels, 'more label')} would find a prediction. {self.advice}"


_Form = Callable[[str], str | None]


def cause(predictions: set[str], labels: set[str]) -> Cause | None:
    """The known cause that would join most ids of two sides that have none in common, or None."""
    found = [*_by_form(predictions, labels), *_by_affix(predictions, labels)]
    best = max(found, key=lambda cause: cause.labels, default=None)
    if best is None or best.labels < max(1.0, _LEAST * min(len(predictions), len(labels))):
        return None
    return best


def _by_form(predictions: set[str], labels: set[str]) -> Iterator[Cause]:
    one_form = "Write ids alike on both sides, or join on another id."
    as_text = "Store and export ids as text, never as floating-point numbers."
    known: list[tuple[str, _Form, _Form, str]] = [
        ("labels write in hex the number that predictions write in decimal", _decimal, _hex, one_form),
        ("predictions write in hex the number that labels write in decimal", _hex, _decimal, one_form),
        ("ids differ in blanks around them", str.strip, str.strip, one_form),
        ("ids differ in upper and lower case", str.casefold, str.casefold, one_form),
        ("ids differ in leading zeros", _unpadded, _unpadded, one_form),
        ("labels' ids were read as floating-point numbers", _whole, _rounded, as_text),
        ("predictions' ids were read as floating-point numbers", _rounded, _whole, as_text),
        ("UUIDs are written with and without dashes", _undashed, _undashed, one_form),
    ]
    for words, of_prediction, of_label, advice in known:
        wanted = {form for text in predictions if (form := of_prediction(text)) is not None}
        hits = sum(1 for text in labels if of_label(text) in wanted)
        if hits:
            yield Cause(hits, words, advice)


def _by_affix(predictions: set[str], labels: set[str]) -> Iterator[Cause]:
    """Ids of one side that are those of the other behind a constant prefix, or before a constant suffix."""
    for side, longer, other in (("predictions", predictions, labels), ("labels", labels, predictions)):
        begins: Counter[str] = Counter()
        ends: Counter[str] = Counter()
        for text in islice(longer, _SAMPLE):
            for cut in _CUT.finditer(text[:200]):
                head, tail = text[: cut.start()], text[cut.start() :]
                if tail in other:
                    begins[head] += 1
                if head in other:
                    ends[tail] += 1
        for what, counts in (("begin with", begins), ("end with", ends)):
            affix = counts.most_common(1)[0][0] if counts else ""
            if not affix.strip():
                continue
            rest = str.removeprefix if what == "begin with" else str.removesuffix
            hits = sum(1 for text in longer if rest(text, affix) in other)
            shown = repr(clean(affix, 40)) if hits > 1 else f"a text such as {_masked(affix)!r}"
            words = f"ids of {side} {what} {shown}, which the other side does not have"
            yield Cause(hits, words, "Write ids alike on both sides, or join on another id.")


def _decimal(text: str) -> str | None:
    """The number in decimal; a negative one as the unsigned 64-bit number of the same bits."""
    if not _DECIMAL.fullmatch(text):
        return None
    number = int(text)
    return str(number + 2**64 if number < 0 else number)


def _hex(text: str) -> str | None:
    """The decimal of a hex number; texts that may as well be a short decimal are passed over."""
    if not _HEX.fullmatch(text) and not (_DECIMAL.fullmatch(text) and len(text) >= 12 and text[0] != "-"):
        return None
    return str(int(text, 16))


def _unpadded(text: str) -> str | None:
    return text.lstrip("0") or "0" if text[:1].isdigit() else None


def _whole(text: str) -> str | None:
    """What a float would make of an integer."""
    return repr(float(text)) if _DECIMAL.fullmatch(text) else None


def _rounded(text: str) -> str | None:
    return repr(float(text)) if _FLOAT.fullmatch(text) or _SCIENTIFIC.fullmatch(text) else None


def _undashed(text: str) -> str | None:
    bare = text.strip("{}").removeprefix("urn:uuid:").replace("-", "").lower()
    return bare if len(bare) == 32 and (_HEX.fullmatch(bare) or _DECIMAL.fullmatch(bare)) else None
