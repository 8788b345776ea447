"""Counts to bytes: nothing leaves here that Prometheus would choke on, and nothing is rendered twice.

Every series is a cached `name{labels} ` prefix; rendering puts numbers behind prefixes.  A *block* is the series of
one owner (a family of one group, say); its text is kept until one of its values changes.

A counter series that is first seen in the data shows 0 until one scrape has taken it, else Prometheus' `increase`
would lose its first events.  What was read before the exporter was ready is exempt: those are starting totals.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isnan

import msgspec
import xxhash

from exporter.contracts import MetricSpec, Series, Snapshot, Status

Pairs = tuple[tuple[str, str], ...]
Owner = tuple[str, ...]

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True)
class _Block:
    """Series of one owner, cut into runs of one metric each: (metric, start, stop, template)."""

    shape: Hashable
    prefixes: list[str]
    runs: list[tuple[str, int, int, str]]
    kept: list[int] | None
    newborn: set[int] = field(default_factory=set)
    values: list[float] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)


class Exposition:
    """Holds all blocks and renders them in the order of the catalogue.  Used by one thread."""

    def __init__(self, specs: Iterable[MetricSpec], limit: int = 100_000, label_length: int = 128) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.limit = limit
        self.label_length = label_length
        self.ready = False
        """Whether the backlog has been read: from then on, new counter series start at 0."""
        self.dropped: Counter[str] = Counter()
        self._blocks: dict[Owner, _Block] = {}
        self._owners: dict[str, Owner] = {}
        self._newborn: set[Owner] = set()
        self._ended: set[str] = set()
        """Series that were shown before: one that comes back goes on, else it would be counted anew."""
        self._last: Snapshot | None = None

    @property
    def series(self) -> int:
        return len(self._owners)

    def put(
        self, owner: Owner, shape: Hashable, labels: Pairs, series: Callable[[], Sequence[Series]], values: list[float]
    ) -> None:
        """Set the *values* of the series of *owner*, NaN for those to be left out.

        *series* is only called when *shape* (what the series depend on) has changed since the last time; *labels*
        stand before each series' own.
        """
        block = self._blocks.get(owner)
        if block is None or block.shape != shape:
            block = self._shape(owner, shape, labels, series())
        if block.kept is not None:
            values = [values[at] for at in block.kept]
        if block.newborn:
            values = [0 if at in block.newborn else value for at, value in enumerate(values)]
        if not block.texts or not _same(values, block.values):
            block.texts = {
                metric: _text(template, block.prefixes[start:stop], values[start:stop])
                for metric, start, stop, template in block.runs
            }
            block.values = values

    def drop(self, owner: Owner) -> None:
        """Let the series of *owner* end."""
        block = self._blocks.pop(owner, None)
        self._newborn.discard(owner)
        for at, prefix in enumerate(block.prefixes if block else ()):
            self._owners.pop(prefix, None)
            if block and at not in block.newborn:
                self._ended.add(prefix)

    def hide(self, first: str, metrics: Collection[str]) -> None:
        """Leave *metrics* of the owners whose first word is *first* out, until they are `put` again."""
        for owner in self.owned_by(first):
            block = self._blocks[owner]
            for metric in block.texts.keys() & metrics:
                block.texts[metric] = b""
                block.values = []

    def owned_by(self, first: str) -> set[Owner]:
        """Owners whose first word is *first*: all blocks of one model."""
        return {owner for owner in self._blocks if owner[0] == first}

    def grow_up(self) -> set[Owner]:
        """Let counter series that were born at 0 show their values, once a scrape has seen them: `put` them again.

        Returns their owners.
        """
        if self._last is None or not self._last.served:
            return set()
        grown, self._newborn = self._newborn, set()
        for owner in grown:
            self._blocks[owner].newborn.clear()
        return grown

    def render(self, now: float, own: tuple[bytes, bytes], status: Status) -> Snapshot:
        """One snapshot of everything; *own* is the exporter's own telemetry as text and as OpenMetrics (no EOF)."""
        parts: dict[str, list[bytes]] = {}
        for block in self._blocks.values():
            for metric, text in block.texts.items():
                if text:
                    parts.setdefault(metric, []).append(text)
        plain: list[bytes] = []
        open_metrics: list[bytes] = []
        for spec in self.specs.values():
            body = parts.get(spec.name)
            if body:
                family = spec.name.removesuffix("_total") if spec.type == "counter" else spec.name
                help_ = spec.help.replace("\\", r"\\").replace("\n", r"\n")
                plain.append(f"# HELP {spec.name} {help_}\n# TYPE {spec.name} {spec.type}\n".encode())
                quoted = help_.replace('"', r"\"")
                open_metrics.append(f"# HELP {family} {quoted}\n# TYPE {family} {spec.type}\n".encode())
                plain += body
                open_metrics += body
        self._last = Snapshot(
            text=b"".join([*plain, own[0]]),
            openmetrics=b"".join([*open_metrics, own[1], b"# EOF\n"]),
            series=self.series,
            made_at=now,
            status=status,
        )
        return self._last

    # --- inside ----------------------------------------------------------------------------------

    def _shape(self, owner: Owner, shape: Hashable, labels: Pairs, series: Sequence[Series]) -> _Block:
        self.drop(owner)
        order = {name: at for at, name in enumerate(self.specs)}
        prefixes: list[str] = []
        metrics: list[str] = []
        kept: list[int] = []
        for at, one in sorted(enumerate(series), key=lambda item: order[item[1].metric]):
            prefix = self._prefix(one, labels)
            if self._refused(prefix):
                continue
            self._owners[prefix] = owner
            prefixes.append(prefix)
            metrics.append(one.metric)
            kept.append(at)
        block = _Block(shape, prefixes, _runs(metrics, prefixes), None if kept == [*range(len(series))] else kept)
        if self.ready:
            block.newborn = {
                at
                for at, prefix in enumerate(prefixes)
                if prefix not in self._ended and self.specs[metrics[at]].type != "gauge"
            }
            if block.newborn:
                self._newborn.add(owner)
        self._ended.difference_update(prefixes)
        self._blocks[owner] = block
        return block

    def _refused(self, prefix: str) -> bool:
        if prefix in self._owners:
            self.dropped["duplicate"] += 1
            return True
        if len(self._owners) >= self.limit:
            self.dropped["limit"] += 1
            return True
        return False

    def _prefix(self, series: Series, labels: Pairs) -> str:
        pairs = ",".join([f'{name}="{_clean(value, self.label_length)}"' for name, value in (*labels, *series.labels)])
        name = series.metric + series.suffix
        return f"{name}{{{pairs}}} " if pairs else f"{name} "


@functools.lru_cache(maxsize=4096)
def _clean(value: str, most: int) -> str:
    """A label value that any scraper accepts: valid UTF-8, not empty, of *most* characters; many series share one."""
    text = value.encode(errors="replace").decode().replace("\r", "\N{REPLACEMENT CHARACTER}").replace("\0", "")
    if len(text) > most:
        text = f"{text[: max(0, most - 9)]}~{xxhash.xxh32_hexdigest(value.encode(errors='replace'))}"
    return (text or "none").translate(_ESCAPES)


def _runs(metrics: list[str], prefixes: list[str]) -> list[tuple[str, int, int, str]]:
    runs, start = [], 0
    for metric, same in itertools.groupby(metrics):
        stop = start + len(list(same))
        template = "".join([prefix.replace("%", "%%") + "%s\n" for prefix in prefixes[start:stop]])
        runs.append((metric, start, stop, template))
        start = stop
    return runs


def _same(values: Sequence[float], others: Sequence[float]) -> bool:
    """Whether all *values* are equal, NaN to NaN as well."""
    return values == others or (
        len(values) == len(others)
        and all(one == other or (isnan(one) and isnan(other)) for one, other in zip(values, others, strict=True))
    )


def _text(template: str, prefixes: list[str], values: list[float]) -> bytes:
    """Lines of one run, without those whose value is not finite.

    msgspec writes the shortest text that reads back as the same number, many times faster than `repr`.
    """
    numbers = msgspec.json.encode(values).decode()[1:-1].split(",")
    if "null" not in numbers:
        return (template % tuple(numbers)).encode()
    lines = [f"{prefix}{text}\n" for prefix, text in zip(prefixes, numbers, strict=True) if text != "null"]
    return "".join(lines).encode()
