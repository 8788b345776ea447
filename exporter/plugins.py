"""Who exists, without waking them: built-in sources, probes and families by name, others by entry point.

A new source, probe or family is one new file and one line here.  Nothing is imported before a config names it.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from exporter.contracts import CLASSIFICATION, Family, ModelSpec

SOURCES = {
    "files": "exporter.sources.files:Files",
    "sql": "exporter.sources.sql:Sql",
    "http": "exporter.sources.http:Http",
}
PROBES = {
    "process": "exporter.probes.process:Process",
    "systemd": "exporter.probes.systemd:Systemd",
    "docker": "exporter.probes.docker:Docker",
    "kubernetes": "exporter.probes.kubernetes:Kubernetes",
    "prometheus": "exporter.probes.prometheus:Prometheus",
    "cgroup": "exporter.probes.cgroup:Cgroup",
    "disk": "exporter.probes.disk:Disk",
    "gpu": "exporter.probes.gpu:Gpu",
}
MEASURING = frozenset({"cgroup", "disk", "gpu"})
"""Probes that tell what is used; all others tell whether the target lives, and how it ended."""
FORMATS = {
    "jsonl": "exporter.sources.formats.jsonl:JsonLines",
    "csv": "exporter.sources.formats.csv:Csv",
    "parquet": "exporter.sources.formats.parquet:Parquet",
    "numpy": "exporter.sources.formats.numpy:NumPy",
}
FAMILIES = {
    "traffic": "exporter.families.traffic:TrafficFamily",
    "latency": "exporter.families.latency:Latency",
    "quality": "exporter.families.quality:Quality",
    "losses": "exporter.families.losses:Losses",
    "scores": "exporter.families.scores:Scores",
    "estimates": "exporter.families.estimates:Estimates",
    "realised": "exporter.families.realised:Realised",
    "topk": "exporter.families.topk:TopK",
    "multilabel": "exporter.families.multilabel:Multilabel",
    "regression": "exporter.families.regression:Regression",
    "ranking": "exporter.families.ranking:Ranking",
    "delay": "exporter.families.delay:LabelDelay",
    "segments": "exporter.families.segments:Segments",
    "segment_traffic": "exporter.families.segment_traffic:SegmentTraffic",
}
GROUPS = {
    "model_exporter.sources": SOURCES,
    "model_exporter.probes": PROBES,
    "model_exporter.formats": FORMATS,
    "model_exporter.families": FAMILIES,
}


def names(group: str) -> list[str]:
    """All known names of a *group*, built-ins first."""
    built_in = list(GROUPS[group])
    return built_in + sorted({point.name for point in entry_points(group=group)} - set(built_in))


def load(group: str, name: str) -> Any:
    """The class behind *name*; raises LookupError for a name that nobody registered."""
    target = GROUPS[group].get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group=group, name=name):
        return point.load()
    raise LookupError(name)


def sources() -> list[str]:
    return names("model_exporter.sources")


def source(name: str) -> Any:
    """The source class called *name*; its `Config` says what the config may hold."""
    return load("model_exporter.sources", name)


def probes() -> list[str]:
    return names("model_exporter.probes")


def probe(name: str) -> Any:
    """The probe class called *name*; its `Config` says what the config may hold."""
    return load("model_exporter.probes", name)


def families() -> list[Any]:
    """All family classes, in the order of the catalogue."""
    return [load("model_exporter.families", name) for name in names("model_exporter.families")]


def families_of(model: ModelSpec) -> list[Family]:
    """The families that count something of *model*; one that names no tasks is about classes."""
    serving = [kind for kind in families() if model.task in getattr(kind, "tasks", CLASSIFICATION)]
    return [family for kind in serving if (family := kind(model)).size]
