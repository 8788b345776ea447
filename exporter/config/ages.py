"""Ages of predictions: when label coverage is told, and from when on quality by prediction time counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.config.faults import Faults, join_key
from exporter.config.nodes import BROKEN, Node
from exporter.config.tasks import check_ascending
from exporter.config.types import duration_text
from exporter.config.windows import item

APART = 1.1
"""By how much an age must exceed the one before it: they are told in steps of a 30th."""


def check(faults: Faults, node: Node, entry: Mapping[str, Any], key: str) -> None:
    """A fault for ages that do not ascend, and for those at which a prediction is forgotten already."""
    horizon, written = entry["horizon"], entry["coverage_ages"]
    listed = node.at("coverage_ages")
    check_ascending(faults, listed, written, join_key(key, "coverage_ages"))
    places = [(node.at("maturity"), "maturity", entry["maturity"])] if node.has("maturity") else []
    if node.has("coverage_ages") and written is not BROKEN and BROKEN not in written:
        places += [(item(listed, at), f"coverage_ages[{at}]", age) for at, age in enumerate(written)]
        for at in range(1, len(written)):
            if written[at - 1] < written[at] < APART * written[at - 1]:
                message = f"must be at least a tenth above the age before it, {duration_text(written[at - 1])}"
                faults.add(item(listed, at).mark, join_key(key, f"coverage_ages[{at}]"), message)
    if horizon is BROKEN:
        return
    for place, name, age in places:
        if age is not BROKEN and age is not None and age > horizon:
            message = f"must not be above horizon, {duration_text(horizon)}: older predictions get no label"
            faults.add(place.mark, join_key(key, name), message)


def within(entry: Mapping[str, Any]) -> tuple[float, ...]:
    """The ages that the horizon leaves, of those that are usual; only to be used if there was no fault."""
    return tuple(float(age) for age in entry["coverage_ages"] if age <= entry["horizon"])
