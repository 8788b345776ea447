"""PromQL for panels: selectors of metrics that exist, of records that the rules write, and the few usual forms.

A metric that the exporter does not have, a label that the metric does not have, or a record that no rule writes raises
UnknownName, so that a renamed metric breaks the build and not somebody's dashboard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from exporter import catalogue

RULES = Path(__file__).resolve().parents[1] / "alert_rules"
RATE_WINDOW = "$__rate_interval"
HISTOGRAM = ("_bucket", "_count", "_sum")
OF_EVERY_SCRAPE = ("up", "scrape_duration_seconds")
"""Series that Prometheus makes itself for each target."""
LABELS_BY_LEVEL = {
    "model": ("job", "model"),
    "model_age": ("job", "model", "age"),
    "model_version": ("job", "model", "version"),
    "model_class": ("job", "model", "class"),
    "model_attribute": ("job", "model", "attribute"),
    "model_group": ("job", "model", "attribute", "group"),
    "model_threshold": ("job", "model", "version", "class", "threshold", "next"),
    "model_actual": ("job", "model", "version", "class", "actual"),
    "target": ("job", "target"),
    "job": (),
    "job_model": ("model",),
}
"""Labels that a record's level promises; `job:` and `job_model:` come from model servers, under jobs of their own."""


class UnknownName(LookupError):
    """A query names a metric, a label or a record that does not exist."""


@cache
def labels_of_metrics() -> Mapping[str, tuple[str, ...]]:
    """Labels of every sample name that the exporter can expose, `job` and `instance` of the scrape included."""
    labels: dict[str, tuple[str, ...]] = dict.fromkeys(OF_EVERY_SCRAPE, ("job", "instance"))
    for spec in catalogue.specs():
        for suffix in HISTOGRAM if spec.type == "histogram" else ("",):
            le = ("le",) if suffix == "_bucket" else ()
            labels[spec.name + suffix] = ("job", "instance", *spec.labels, *le)
    return labels


@cache
def records() -> frozenset[str]:
    """Every name that a recording rule of the bundle writes."""
    files = [*RULES.glob("*.yml"), *RULES.glob("servers/*.yml")]
    texts = (path.read_text(encoding="utf-8") for path in files)
    return frozenset(name for text in texts for name in re.findall(r"\brecord: *(\S+)", text))


@dataclass(frozen=True)
class Selector:
    """Writes selectors for one dashboard: a call names a metric or a record, and perhaps further matchers.

    `scope` holds matchers by label, such as `{"model": 'model="$model"'}`; each is added where the label exists.
    """

    scope: Mapping[str, str]

    def __call__(self, name: str, *matchers: str) -> str:
        """`name{matchers}`, for example of("model_outcomes_total", 'outcome="tp"')."""
        labels = self._labels(name)
        for matcher in matchers:
            label = re.split("[!=]", matcher)[0]
            if ":" not in name and label not in labels:
                raise UnknownName(f"{name} has no label {label}; it has {', '.join(labels)}")
        named = {re.split("[!=]", matcher)[0] for matcher in matchers}
        scoped = [matcher for label, matcher in self.scope.items() if label in labels and label not in named]
        inside = ", ".join([*scoped, *matchers])
        return f"{name}{{{inside}}}" if inside else name

    def rate(self, name: str, *matchers: str) -> str:
        """The rate of a counter over a window that fits the graph's resolution."""
        return f"rate({self(name, *matchers)}[{RATE_WINDOW}])"

    def increase(self, name: str, window: str, *matchers: str) -> str:
        return f"increase({self(name, *matchers)}[{window}])"

    def net(self, name: str, by: str, how: Literal["increase", "rate"], window: str, *matchers: str) -> str:
        """What a counter of labelled predictions rose by, less what corrected labels took back, summed by labels."""
        retracted = name.removesuffix("_total") + "_retracted_total"
        added, back = (f"sum by ({by}) ({how}({self(one, *matchers)}[{window}]))" for one in (name, retracted))
        return f"clamp_min({added} - {back}, 0)"

    def quantile(self, quantile: float, name: str, by: str = "") -> str:
        """A quantile over all replicas of a histogram of what cannot be negative, by more labels; none when idle."""
        labels = ", ".join(filter(None, [by, "le"]))
        return f"histogram_quantile({quantile}, sum by ({labels}) ({self.rate(name + '_bucket')})) >= 0"

    @staticmethod
    def _labels(name: str) -> tuple[str, ...]:
        if ":" not in name:
            try:
                return labels_of_metrics()[name]
            except KeyError:
                raise UnknownName(f"the exporter has no metric {name}") from None
        if name not in records():
            raise UnknownName(f"no rule below {RULES.name}/ records {name}")
        return LABELS_BY_LEVEL[name.partition(":")[0]]


many_models = Selector({"job": 'job=~"$job"', "model": 'model=~"$model"'})
one_model = Selector({"job": 'job=~"$job"', "model": 'model="$model"', "target": 'target=~"$target"'})
exporters = Selector({"job": 'job=~"$job"', "instance": 'instance=~"$instance"'})


def bound_of_model(measure: str) -> str:
    """What the config of the model says of a measure, by severity."""
    bound = one_model("model:model_threshold:effective", f'measure="{measure}"')
    return f"max by (severity) ({bound})"


def bound_of_server(measure: str) -> str:
    """What the config of its servers says of a measure, by severity; the lowest if they differ."""
    bound = one_model("target:model_server_threshold:effective", f'measure="{measure}"')
    return f"min by (severity) ({bound})"


def ratio(upper: str, lower: str) -> str:
    """A quotient that is left out, and not NaN, where there is nothing to divide by."""
    return f"({upper}) / ({lower} > 0)"


def extreme(choice: Literal["topk", "bottomk"], count: int, series: str, by: str, judged: str | None = None) -> str:
    """The *count* series that are extreme at the end of the time range, the same ones at every step.

    A bare `topk` chooses anew at each step, so that a graph of ten would show dozens.  *series* is a selector;
    *judged* is an expression at `@ end()`, where it is not the series themselves that are compared.
    """
    return f"{series} and on ({by}) {choice}({count}, {judged or f'{series} @ end()'})"


def counted(expression: str) -> str:
    """How many series there are: 0 where there are none."""
    return f"count({expression}) or vector(0)"
