"""What the shipped recording rules would have recorded over the back-filled week, worked out by Prometheus itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.dashboards.backfill import Course, Time, openmetrics
from tests.dashboards.prometheus import Prometheus
from tests.dashboards.promql import names
from tests.running import ROOT


@dataclass(frozen=True)
class Rule:
    record: str
    expr: str
    labels: Mapping[str, str]


STEP = 120
"""Seconds between the newest samples of a record: fewer than would leave a gap in a graph."""
RULES = ROOT / "alert_rules"
FOLDERS = (RULES, RULES / "servers")
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.yml")) if "record:" in path.read_text()]


def rules() -> list[Rule]:
    """All recording rules that are shipped."""
    groups = [group for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
    found = [rule for group in groups for rule in group["rules"] if "record" in rule]
    return [Rule(rule["record"], rule["expr"], rule.get("labels", {})) for rule in found]


def hurried(folder: Path) -> list[Path]:
    """Copies in *folder* of the files that record, evaluated as often as the global interval says."""
    out = []
    for path in FILES:
        found = yaml.safe_load(path.read_text())
        for group in found["groups"]:
            group.pop("interval", None)
        out.append(folder / f"{path.stem}.rules.yml")
        out[-1].write_text(yaml.safe_dump(found))
    return out


def rounds() -> int:
    """How often all groups must be evaluated, side by side and each rule after rule, until nothing is missing."""
    places = [
        (names(rule["expr"]), rule["record"], (path, group["name"]), index)
        for path in FILES
        for group in yaml.safe_load(path.read_text())["groups"]
        for index, rule in enumerate(group["rules"])
        if "record" in rule
    ]
    needed = dict.fromkeys((record for _, record, _, _ in places), 1)
    for _ in places:
        before = dict(needed)
        for read, record, group, index in places:
            for _, other, its_group, its_index in places:
                if other in read:
                    later = 0 if its_group == group and its_index < index else 1
                    needed[record] = max(needed[record], needed[other] + later)
        if needed == before:
            break
    return max(needed.values())


def levels(found: Sequence[Rule]) -> Iterator[list[Rule]]:
    """Rules in an order in which each reads only what those before it record."""
    left = list(found)
    while left:
        waiting = {rule.record for rule in left}
        ready = [rule for rule in left if not names(rule.expr) & waiting]
        blocked = {rule.record for rule in left if rule not in ready}
        ready = [rule for rule in ready if rule.record not in blocked]  # all rules of a record at once
        assert ready, f"these records read each other: {sorted(waiting)}"
        yield ready
        left = [rule for rule in left if rule not in ready]


def record(prometheus: Prometheus, found: Sequence[Rule], time: Time) -> None:
    """Back-fill the records of all rules, level by level; *prometheus* is stopped before and after."""
    for level in levels(found):
        prometheus.start()
        courses = _recorded(prometheus, level, time)
        prometheus.stop()
        prometheus.backfill(openmetrics(courses))


def _recorded(prometheus: Prometheus, found: Sequence[Rule], time: Time) -> list[Course]:
    """The series of a level; several rules may write one of them, each at times of its own."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], dict[int, float]] = {}
    dense = time.end - min(time.fresh, time.span)
    for rule in found:
        for start, end, step in ((time.end - time.span, dense - 1, time.coarse), (dense, time.end, STEP)):
            for series in prometheus.over(rule.expr, start, end, step):
                labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
                key = rule.record, frozenset((labels | dict(rule.labels)).items())
                samples.setdefault(key, {}).update((int(at), float(value)) for at, value in series["values"])
    return [
        (record, dict(labels), *zip(*sorted(values.items()), strict=True))
        for (record, labels), values in samples.items()
    ]
