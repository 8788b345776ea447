"""The alerts that compare with thresholds, as Prometheus has loaded them, and what each of them looks at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from exporter.config.kinds import struct_type
from exporter.config.thresholds import AT, ModelThresholds, bound

MEASURES = tuple(field.name for field in struct_type(ModelThresholds).fields)
"""What `thresholds` of a model can hold, in the order of the reference."""
SEVERITIES = ("warning", "critical")

_THRESHOLD = re.compile(r"model:model_threshold:effective\{([^}]*)\}")
_IGNORING = re.compile(rf"ignoring\s*\(([^)]*)\)((?:\s*group_left\s*\([^)]*\))?\s*)(?={_THRESHOLD.pattern})")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"|\b(?:[a-zA-Z_]\w*(?::\w+)+|model_\w+)\{?')
_MODELS = "group without (instance, pod, container, endpoint, node, version, task) (model_info)"


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that compares what `expr` looks at with the thresholds of `measures`; `wait` is its `for`, in seconds.

    `keep` is its `keep_firing_for`, `step` the time between two evaluations, both in seconds.
    """

    name: str
    severity: str
    bound: Literal["min", "max"]
    measures: tuple[str, ...]
    expr: str
    wait: float
    keep: float
    step: float

    def query(self, model: str) -> str:
        """PromQL for what the alert compares, with its guards, of one *model*, whatever its thresholds are.

        The alert's own expression, with a threshold in it that every number is beyond; names select the model only.
        """
        beyond = f"({'+' if self.bound == 'min' else '-'}Inf * {_MODELS})"
        of_any_measure = _IGNORING.sub(r"ignoring (\1, measure)\2", self.expr)
        everything = _THRESHOLD.sub(beyond, of_any_measure)
        chosen = matcher(model)

        def select(found: re.Match[str]) -> str:
            text = found[0]
            if text.startswith('"'):
                return text
            return f"{text}{chosen}, " if text.endswith("{") else f"{text}{{{chosen}}}"

        return _NAME.sub(select, everything)

    def measure(self, labels: dict[str, str]) -> str:
        """The measure whose threshold a series with these *labels* is compared with, without its k."""
        return self.measures[0] if len(self.measures) == 1 else labels.get("measure", "").partition(AT)[0]

    def of(self, measure: str, labels: Sequence[dict[str, str]]) -> list[int]:
        """Which series, by their *labels*, are of a *measure*: of the first k those of the largest."""
        found = [at for at, one in enumerate(labels) if self.measure(one) == measure]
        if len(self.measures) == 1:
            return found
        ks = [int(labels[at].get("measure", "").partition(AT)[2] or 0) for at in found]
        return [at for at, k in zip(found, ks, strict=True) if k == max(ks)]


def matcher(model: str) -> str:
    """What selects the series of a *model* in PromQL."""
    return f"model={json.dumps(model, ensure_ascii=False)}"


def printable(text: str) -> str:
    """*text* of others on one line, fit for a terminal and for a comment."""
    return "".join(char if char.isprintable() else "?" for char in text)


def alerts(groups: Iterable[Any]) -> list[Alert]:
    """The alerts on thresholds of models among *groups*, as Prometheus' API lists them (`/api/v1/rules`)."""
    return [
        alert
        for group in groups
        for rule in group["rules"]
        if rule["type"] == "alerting"
        for alert in _alert(rule, float(group["interval"]))
    ]


def _alert(rule: Any, step: float) -> Iterator[Alert]:
    """The rule as an Alert, if it is one on thresholds that are known here."""
    found = _THRESHOLD.search(rule["query"])
    labels = dict(_LABEL.findall(found[1])) if found else {}
    severity, measure = labels.get("severity"), labels.get("measure")
    if severity not in SEVERITIES or not (measure in MEASURES or labels.get("bound") in {"min", "max"}):
        return
    measures = (measure,) if measure else tuple(one for one in MEASURES if bound(one) == labels["bound"])
    yield Alert(
        name=printable(rule["name"]),
        severity=severity,
        bound=bound(measures[0]),
        measures=measures,
        expr=rule["query"],
        wait=float(rule.get("duration", 0)),
        keep=float(rule.get("keepFiringFor", 0)),
        step=step,
    )
