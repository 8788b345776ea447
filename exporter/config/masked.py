"""The effective config as YAML for people: every default filled in, every secret as `<secret>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from exporter.config.edges import has_scores
from exporter.config.faults import join_key
from exporter.config.nodes import plain_scalar
from exporter.config.resolved import Config, ModelConfig, Stream, TargetConfig
from exporter.config.thresholds import AT, ModelThresholds, TargetThresholds, as_written
from exporter.config.types import Duration, Secret, duration_text, hide_passwords
from exporter.contracts import CLASSIFICATION, FieldSpec, MappingSpec, ModelSpec, WhereSpec

SECRET = "<secret>"  # noqa: S105 - what stands where a secret was


def masked(config: Config) -> str:
    """*config* in the form that a user writes, complete and free of secrets; without any it can be parsed again."""
    written = {
        "models": {name: _model(model) for name, model in config.models.items()},
        "targets": {name: _target(target) for name, target in config.targets.items()} or None,
        "limits": msgspec.structs.asdict(config.limits),
    }
    hidden = {_place(key) for key in config.hidden}
    shown = _mask(_without_none(written), "", hidden)
    return yaml.dump(shown, Dumper=_Dumper, sort_keys=False, width=119, allow_unicode=True, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that this or an older version of YAML would take for something else, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar(
            "tag:yaml.org,2002:str", data, None if isinstance(plain_scalar(data), str) else "'"
        )


_Dumper.add_representer(str, _Dumper.text)


def _model(model: ModelConfig) -> dict[str, Any]:
    spec = model.spec
    return _without_none(
        {
            "task": spec.task,
            "positive": spec.positive,
            "classes": _classes(spec.classes, spec.aliases) or None,
            "max_classes": spec.max_classes if spec.task not in {"regression", "ranking"} else None,
            "confusion_classes": spec.confusion_classes if spec.task in CLASSIFICATION else None,
            **_of_task(spec, model.predictions.mapping.fields),
            "latency_buckets": list(spec.latency_buckets) or None,
            "delay_buckets": [duration_text(bound) for bound in spec.delay_buckets] or None,
            "score_edges": list(spec.score_edges) if has_scores(spec, model.predictions.mapping) else None,
            "coverage_ages": [duration_text(age) for age in model.coverage_ages],
            "maturity": None if model.maturity is None else duration_text(model.maturity),
            "predictions": _stream(model.predictions),
            "labels": _stream(model.labels) if model.labels else None,
            "horizon": duration_text(model.horizon),
            "windows": [window.name for window in model.windows],
            "thresholds": as_written(model.thresholds, ModelThresholds),
            "min_samples": model.min_samples,
            "objectives": model.objectives or None,
            "baseline": {name.partition(AT)[0]: value for name, value in model.baseline.items()} or None,
            "champion": model.champion,
            "retire_after": duration_text(model.retire_after),
            "allowed_lateness": duration_text(model.allowed_lateness),
            "max_versions": model.max_versions,
            "early_labels": model.early_labels,
            "remembered": model.remembered,
        }
    ) | _estimates(spec)


def _estimates(spec: ModelSpec) -> dict[str, Any]:
    if not spec.score_edges:
        return {}
    return {"estimates": _plain(spec.estimates) if spec.estimates else None}


def _of_task(spec: ModelSpec, fields: Mapping[str, FieldSpec]) -> dict[str, Any]:
    """What only some tasks have."""
    segments = {
        one.name: {"top": one.top, "min_group_size": one.min_group_size, "coordinates": _plain(one.coordinates)}
        for one in spec.segments
    }
    several = spec.task in {"multiclass", "multilabel"}
    return {
        "betas": list(spec.betas) or None,
        "costs": spec.costs or None,
        "confidence": spec.confidence if spec.task in CLASSIFICATION else None,
        "curve_classes": spec.probabilities if several and "probabilities" in fields else None,
        "top_k": list(spec.top_k) if spec.probabilities and spec.task == "multiclass" else None,
        "regression": _plain(spec.regression) if spec.task == "regression" else None,
        "ranking": _plain(spec.ranking) if spec.task == "ranking" else None,
        "segments": segments or None,
    }


def _target(target: TargetConfig) -> dict[str, Any]:
    return _without_none(
        {
            "model": target.model,
            **{probe.kind: _plain(probe.settings) for probe in target.probes},
            "interval": duration_text(target.interval),
            "timeout": duration_text(target.timeout),
            "windows": [window.name for window in target.windows],
            "thresholds": as_written(target.thresholds, TargetThresholds),
        }
    )


def _classes(classes: tuple[str, ...], aliases: Mapping[str, str]) -> list[str] | dict[str, list[str]]:
    if not aliases:
        return list(classes)
    return {name: [alias for alias, target in aliases.items() if target == name] or [name] for name in classes}


def _stream(stream: Stream) -> dict[str, Any]:
    return _without_none(
        {
            stream.kind: _plain(stream.source),
            "fields": _fields(stream.mapping),
            "where": {path: _where(where) for path, where in stream.mapping.where.items()} or None,
            "timezone": stream.mapping.timezone,
            "interval": duration_text(stream.interval),
            "stale_after": duration_text(stream.stale_after),
            "lookback": None if stream.lookback is None else duration_text(stream.lookback),
            "start": stream.start,
            "timeout": duration_text(stream.timeout),
            "max_ahead": duration_text(stream.mapping.max_ahead),
        }
    )


def _fields(mapping: MappingSpec) -> dict[str, Any]:
    fields = dict(mapping.fields)
    if fields.get("score", FieldSpec()).threshold is not None:
        del fields["predicted"]  # it only says that the score's threshold decides
    written: dict[str, Any] = {}
    for name, field in fields.items():
        entry = _without_none(msgspec.structs.asdict(field))
        written[name] = field.field if set(entry) == {"field"} else entry
    if mapping.segments:
        entries = {name: _without_none(msgspec.structs.asdict(field)) for name, field in mapping.segments.items()}
        written["segments"] = {
            name: entry["field"] if set(entry) == {"field"} else entry for name, entry in entries.items()
        }
    return written


def _where(where: WhereSpec) -> Any:
    return {"not": list(where.none_of)} if where.one_of is None else list(where.one_of)


def _plain(value: Any) -> Any:
    """What a source's Config holds, as YAML has it."""
    match value:
        case Secret():
            value = SECRET
        case Duration():
            value = duration_text(value)
        case msgspec.Struct():
            names = {field.name: field.encode_name for field in msgspec.structs.fields(value)}
            entries = msgspec.structs.asdict(value).items()
            value = _without_none({names[name]: _plain(item) for name, item in entries})
        case Mapping():
            value = {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            value = [_plain(item) for item in value]
    return value


def _without_none(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not None}


def _place(key: str) -> str:
    """*key* without list positions: a list is hidden as a whole if one item is."""
    return re.sub(r"\[\d+\]", "", key)


def _mask(value: Any, key: str, hidden: set[str]) -> Any:
    """*value* with `<secret>` for what is at, under or above a hidden key, and for passwords inside texts."""
    if isinstance(value, dict):
        return {hide_passwords(name): _mask(item, join_key(key, name), hidden) for name, item in value.items()}
    if isinstance(value, list):
        return [_mask(item, key, hidden) for item in value]
    if any(_within(key, place) or _within(place, key) for place in hidden):
        return SECRET
    return hide_passwords(value) if isinstance(value, str) else value


def _within(key: str, place: str) -> bool:
    return key == place or key.startswith(place + ".")
