"""The config: `load` and `parse` give a complete Config, or a ConfigError that lists every fault."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from exporter.config import ages, measures, tasks
from exporter.config.decode import Decoder, hidden_paths
from exporter.config.edges import has_scores, score_edges
from exporter.config.faults import Faults, join_key, nearest
from exporter.config.nodes import BROKEN, Node, read
from exporter.config.resolved import Config, ModelConfig, ProbeConfig, Stream, TargetConfig
from exporter.config.streams import field, stream
from exporter.config.targets import target
from exporter.config.thresholds import Threshold, as_bounds, at_same_k, with_bounds
from exporter.config.types import canonical
from exporter.config.windows import item, windows
from exporter.config.written import NOTES, FieldEntry, Limits, ModelEntry, Root, StreamEntry, TargetEntry
from exporter.contracts import ModelSpec, WindowSpec

__all__ = ["Config", "Limits", "ModelConfig", "ProbeConfig", "Stream", "TargetConfig", "load", "parse"]


def load(path: Path) -> Config:
    """The config in the file at *path*; `!file` paths are relative to it.  Raises ConfigError."""
    faults = Faults(str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        mark = (before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        faults.add(mark, "", "is no UTF-8 text; save the file as UTF-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        faults.add((1, 1), "", f"cannot be read: {reason.lower()}; name the config with --config.file")
    else:
        return parse(text, str(path), path.parent)
    raise faults.error()


def parse(text: str, name: str, directory: Path = Path(), environment: Mapping[str, str] | None = None) -> Config:
    """The config in *text*; *name* stands for the file in faults.  Raises ConfigError."""
    root, faults = read(
        text.removeprefix("\ufeff"), name, directory, os.environ if environment is None else environment
    )
    decoder = Decoder(faults)
    decoder.hooks = {
        StreamEntry: lambda node, key: stream(decoder, node, key),
        ModelEntry: lambda node, key: _model(decoder, node, key, directory),
        FieldEntry: lambda node, key: field(decoder, node, key),
        TargetEntry: lambda node, key: target(decoder, node, key, root.at("models") if root.has("models") else None),
    }
    values: Any = BROKEN
    if root.value is None:
        faults.add(root.mark, "", "the config is empty; it begins with models:")
    else:
        values = decoder.fields(_without_notes(root), Root, "")
        _check_not_empty(faults, root)
    if values is BROKEN or len(faults):
        raise faults.error()
    return Config(
        models=values["models"],
        targets=values["targets"],
        limits=values["limits"],
        hidden=frozenset(hidden_paths(root)),
    )


def _without_notes(root: Node) -> Node:
    """*root* without keys such as `x-common`: what stands there is for YAML's anchors to name, and for nobody else."""
    if not isinstance(root.value, dict):
        return root
    kept = {name: node for name, node in root.value.items() if not name.startswith(NOTES)}
    return dataclasses.replace(root, value=kept)


def _check_not_empty(faults: Faults, root: Node) -> None:
    """There is something to watch."""
    if not isinstance(root.value, dict):
        return
    written = {key: root.value[key] for key in ("models", "targets") if key in root.value}
    if all(node.value == {} for node in written.values()):
        for key, node in written.items():
            faults.add(node.mark, key, "must not be empty")
    if not written:
        faults.missing(root.mark, "models", "the models by name; or write targets: to watch model servers only")


def _model(decoder: Decoder, node: Node, key: str, directory: Path) -> Any:
    """The ModelConfig at *key*, or BROKEN with all its faults listed."""
    faults = decoder.faults
    before = len(faults)
    name = key.removeprefix("models.")
    if not name.isprintable() or name != name.strip():
        faults.add(node.mark, key, "a model's name must be printable and have no space around it")
    entry = decoder.fields(node, ModelEntry, key)
    if entry is BROKEN:
        return BROKEN
    spec = _spec(faults, node, entry, name, key)
    chosen = windows(faults, node.at("windows"), entry["windows"], join_key(key, "windows"))
    _check_streams(faults, node, spec, key)
    ages.check(faults, node, entry, key)
    if len(faults) > before:
        return BROKEN
    spec = tasks.remembering(spec, entry["predictions"].mapping.fields, entry["curve_classes"])
    edges = _score_edges(faults, node, entry, spec, directory)
    if len(faults) > before:
        return BROKEN
    spec = structs.replace(spec, score_edges=edges)
    measures.check(faults, node, entry, spec, key)
    if len(faults) > before:
        return BROKEN
    thresholds = as_bounds(entry["thresholds"], max(measures.cutoffs(spec), default=None))
    latency = "latency" in entry["predictions"].mapping.fields
    spec = structs.replace(
        spec,
        latency_buckets=with_bounds(spec.latency_buckets, thresholds, "latency_p95", "latency_p99") if latency else (),
        delay_buckets=with_bounds(spec.delay_buckets, thresholds, "label_delay"),
        estimates=tasks.estimates(entry["estimates"]) if edges and spec.task == "binary" else None,
    )
    return _resolved(entry, spec, chosen, thresholds)


def _resolved(
    entry: Mapping[str, Any], spec: ModelSpec, chosen: tuple[WindowSpec, ...], thresholds: dict[str, Threshold]
) -> ModelConfig:
    """The model of an *entry* without a fault."""
    same = (
        "predictions", "labels", "min_samples", "objectives", "max_versions", "early_labels", "remembered",
    )  # fmt: skip
    durations = ("horizon", "retire_after", "allowed_lateness")
    kept: dict[str, Any] = {name: entry[name] for name in same} | {name: float(entry[name]) for name in durations}
    return ModelConfig(
        spec=spec,
        windows=chosen,
        thresholds=thresholds,
        baseline=at_same_k(entry["baseline"], thresholds, max(measures.cutoffs(spec), default=None)),
        coverage_ages=ages.within(entry),
        maturity=None if entry["maturity"] is None else float(entry["maturity"]),
        champion=None if entry["champion"] is None else canonical(entry["champion"]),
        **kept,
    )


def _score_edges(
    faults: Faults, node: Node, entry: Mapping[str, Any], spec: ModelSpec, directory: Path
) -> tuple[float, ...]:
    if not has_scores(spec, entry["predictions"].mapping):
        return ()
    key = f"models.{spec.name}.score_edges"
    return score_edges(faults, node.at("score_edges"), key, entry["score_edges"], of=spec, directory=directory)


def _spec(faults: Faults, node: Node, entry: Mapping[str, Any], name: str, key: str) -> ModelSpec:
    """What the families know of the model; only to be used if there was no fault."""
    task = entry["task"]
    tasks.check_keys(faults, node, task, key)
    classes, aliases = _classes(faults, node.at("classes"), entry["classes"], task, join_key(key, "classes"))
    for buckets in ("latency_buckets", "delay_buckets"):
        tasks.check_ascending(faults, node.at(buckets), entry[buckets], join_key(key, buckets))
    return ModelSpec(
        name=name,
        task="binary" if task is BROKEN else task,
        positive=_positive(faults, node, entry, (classes, aliases), key),
        classes=classes,
        aliases=aliases,
        max_classes=entry["max_classes"],
        confusion_classes=entry["confusion_classes"],
        latency_buckets=() if entry["latency_buckets"] is BROKEN else tuple(entry["latency_buckets"]),
        delay_buckets=() if entry["delay_buckets"] is BROKEN else tuple(map(_seconds, entry["delay_buckets"])),
        betas=() if entry["betas"] is BROKEN or BROKEN in entry["betas"] else tuple(entry["betas"]),
        costs=tasks.costs(faults, node.at("costs"), entry["costs"], (classes, aliases), join_key(key, "costs")),
        confidence=0.95 if entry["confidence"] is BROKEN else entry["confidence"],
        top_k=tasks.top_k(faults, node.at("top_k"), entry, classes, join_key(key, "top_k")),
        segments=tasks.segments(faults, node, entry, key),
        regression=tasks.regression(faults, node.at("regression"), entry["regression"], join_key(key, "regression")),
        ranking=tasks.ranking(faults, node.at("ranking"), entry["ranking"], join_key(key, "ranking")),
    )


def _positive(
    faults: Faults, node: Node, entry: Mapping[str, Any], known: tuple[tuple[str, ...], Mapping[str, str]], key: str
) -> str | None:
    """The class that binary measures are about; *known* are the declared classes and the other spellings of them."""
    task, (classes, aliases) = entry["task"], known
    positive = None if entry["positive"] in {None, BROKEN} else canonical(entry["positive"])
    place = join_key(key, "positive")
    if task == "binary" and entry["positive"] is None:
        hint = (
            f"such as positive: {classes[-1]}"
            if classes and not node.at("classes").hidden
            else "such as positive: fraud"
        )
        message = f"the class that precision and recall are about, {hint}; or write task: multiclass"
        faults.missing(node.mark, place, message)
    elif task not in {"binary", BROKEN} and positive is not None:
        faults.add(node.at("positive").mark, place, "only task: binary has a positive class; remove it")
    elif positive is not None and classes:
        positive = aliases.get(positive, positive)
        if positive not in classes:
            faults.add(
                node.at("positive").mark, place, f"is none of the declared classes{_hint(node, positive, classes)}"
            )
    return positive


def _seconds(value: Any) -> Any:
    return value if value is BROKEN else float(value)


def _hint(node: Node, positive: str, classes: tuple[str, ...]) -> str:
    """The class that was meant; silent where either text came from the environment or a file."""
    if any(path.split(".")[0].split("[")[0] in {"positive", "classes"} for path in hidden_paths(node)):
        return ""
    near = nearest(positive, classes)
    return f"; did you mean {near}?" if near else f": {', '.join(classes[:10])}"


def _classes(faults: Faults, node: Node, written: Any, task: Any, key: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Class names in their order, and the class of every other spelling."""
    if written is None or written is BROKEN:
        return (), {}
    entries = written if isinstance(written, dict) else {}
    names = list(entries) if entries else [canonical(name) for name in written if name is not BROKEN]
    for position, name in enumerate(names):
        if name in names[:position]:
            faults.add(item(node, position).mark, f"{key}[{position}]", "this class is listed twice; remove one")
    tasks.check_classes(faults, node, len(names), task, key)
    aliases: dict[str, str] = {}
    for name, spellings in entries.items():
        for spelling in spellings if isinstance(spellings, list) else [spellings]:
            alias = "" if spelling is BROKEN else canonical(spelling)
            taken = aliases.get(alias, alias if alias in entries else name)
            if taken != name:
                message = f"one of these spellings already stands for {taken}; keep it in one class"
                faults.add(node.at(name).mark, join_key(key, name), message)
            elif alias != name:
                aliases[alias] = name
    return tuple(names), aliases


def _check_map(faults: Faults, node: Node, spec: ModelSpec, key: str) -> None:
    """What a map makes of a value must be a declared class, if any are declared."""
    if not spec.classes or not isinstance(node.value, dict):
        return
    for name, child in node.value.items():
        if isinstance(child.value, str | int | float):
            target = canonical(child.value)
            if target not in spec.classes and target not in spec.aliases:
                near = None if child.hidden else nearest(target, spec.classes)
                hint = f"; did you mean {near}?" if near else ""
                faults.add(child.mark, join_key(key, name), f"gives none of the declared classes{hint}")


def _check_streams(faults: Faults, node: Node, spec: ModelSpec, key: str) -> None:
    """The rules between predictions, labels and classes."""
    fields = ("predictions", "fields")
    if not node.has("predictions"):
        return
    own = node.has(*fields, "actual")
    if own and node.has("labels"):
        message = "predictions.fields already maps actual, so that each row brings its label; remove one of the two"
        faults.add(node.keys["labels"], join_key(key, "labels"), message)
    elif not own and node.has(*fields) and not node.has("labels"):
        message = "add labels: with a source, or map actual in predictions.fields if its rows hold the label"
        faults.missing(node.mark, join_key(key, "labels"), message)
    if node.has("labels", "fields", "model") and node.has(*fields) and not node.has(*fields, "model"):
        mark = node.at("labels", "fields", "model").mark
        faults.add(
            mark, join_key(key, "labels.fields.model"), "predictions do not map model; map it in both, or in none"
        )
    for role in ("predictions", "labels"):
        for name in ("predicted", "actual"):
            if node.has(role, "fields", name, "map"):
                place = f"{key}.{role}.fields.{name}.map"
                _check_map(faults, node.at(role, "fields", name, "map"), spec, place)
    tasks.check_fields(faults, node, spec, key)
