"""The catalogue of all metrics, for people and for programs: what `model-exporter metrics` prints."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

from prometheus_client import PlatformCollector, ProcessCollector

from exporter import plugins, telemetry
from exporter.contracts import MetricSpec
from exporter.families.formulas import SOURCES
from exporter.pipeline import CATALOGUE


def specs() -> list[MetricSpec]:
    """Every metric: those of models first, then of model servers, the exporter's own, and those of any process.

    Families' label lists lack `model` and `version`, which all carry, and those of probes lack `target`.
    """
    measured = {spec.name: spec for name in plugins.probes() for spec in plugins.probe(name).specs}
    of_targets = [MetricSpec(s.name, s.type, s.help, ("target", *s.labels)) for s in measured.values()]
    return [*map(_complete, CATALOGUE), *of_targets, *telemetry.SPECS, *_of_any_process()]


def render(kind: str) -> str:
    """The catalogue as `text`, `markdown` or `json`."""
    if kind == "json":
        return json.dumps([asdict(spec) | _source(spec) for spec in specs()], indent=2) + "\n"
    if kind == "markdown":
        rows = [
            f"| `{s.name}` | {s.type} | {', '.join(f'`{label}`' for label in s.labels)} | {_meaning(s)} |"
            for s in specs()
        ]
        return "\n".join(["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *rows, ""])
    out = []
    for spec in specs():
        labels = f"{{{', '.join(spec.labels)}}}" if spec.labels else ""
        out.append(f"{spec.name}{labels}  {spec.type}\n{textwrap.indent(textwrap.fill(_meaning(spec), 96), '    ')}\n")
    return "\n".join(out)


def _source(spec: MetricSpec) -> dict[str, str]:
    """Where its formula comes from, if it has one that others gave a name."""
    return {"source": SOURCES[spec.name]} if spec.name in SOURCES else {}


def _meaning(spec: MetricSpec) -> str:
    return f"{spec.help} Formula: {SOURCES[spec.name]}." if spec.name in SOURCES else spec.help


def _of_any_process() -> Iterator[MetricSpec]:
    for collector in (ProcessCollector(registry=cast("Any", None)), PlatformCollector(registry=cast("Any", None))):
        for metric in collector.collect():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            labels = tuple(metric.samples[0].labels)
            yield MetricSpec(name, cast("Any", metric.type), metric.documentation, labels)


def _complete(spec: MetricSpec) -> MetricSpec:
    if spec.labels[0:1] in {("model",), ("target",)}:
        return spec
    return MetricSpec(spec.name, spec.type, spec.help, ("model", "version", *spec.labels))
