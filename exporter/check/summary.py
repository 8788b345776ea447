"""A valid config in words: what is read from where, how it is joined, and how many series come of it.

Everything is taken from the masked form of the config, so that nothing is shown that the page `/config` would hide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from exporter.check import series
from exporter.check.layout import clean, counted, entries, entry, table
from exporter.config.masked import masked
from exporter.config.schema import Config, ModelConfig, ProbeConfig, Stream, TargetConfig
from exporter.config.thresholds import words
from exporter.config.types import Secret, duration_text
from exporter.contracts import PLAIN
from exporter.families.traffic import ERRORS
from exporter.sources.names import two_classes

_SOME = 12
_LEARNED = (2, 10)
"""Numbers of classes for which the series of a model that learns them are told, beside its `max_classes`."""


def text(path: Path, config: Config) -> str:
    """All of it, with a line end."""
    things = [counted(len(config.models), "model")] if config.models else []
    things += [counted(len(config.targets), "target")] if config.targets else []
    lines = [f"{clean(str(path))} is valid: {' and '.join(things)}."]
    effective = yaml.safe_load(masked(config))
    written = effective["models"]
    for (name, shown), model in zip(written.items(), config.models.values(), strict=True):
        lines += ["", *_model(name, shown, model)]
    for name, target in config.targets.items():
        lines += ["", *_target(target, effective["targets"][name])]
    lines += ["", *_series(config, [clean(name, 40) for name in written])]
    return "\n".join(lines) + "\n"


def place(stream: Stream, written: Mapping[str, Any]) -> str:
    """Where a stream reads, from its masked form: the kind, and a path, table or host."""
    settings = written[stream.kind]
    words = [stream.kind]
    if "path" in settings:
        paths = settings["path"]
        words.append(", ".join(clean(path) for path in ([paths] if isinstance(paths, str) else paths)))
    if "table" in settings:
        words.append(f"table {clean(settings['table'])}")
    if "query" in settings:
        words.append("a query")
    url = getattr(stream.source, "url", None)
    if url is not None:
        words.append(f"at {host(url.reveal() if isinstance(url, Secret) else str(url))}")
    return " ".join(words)


def host(url: str) -> str:
    """Scheme, host and port of *url*, and nothing else of it; less where it is not sure which part is which."""
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
    except ValueError:
        return "a URL that is not shown"
    scheme = clean(parts.scheme)
    if "@" in parts.path + parts.query + parts.fragment:  # a password with a / may end up here
        return scheme
    return f"{scheme}://{clean(name)}{f':{port}' if port else ''}" if name else scheme


# --- one model -----------------------------------------------------------------------------------


def _model(name: str, written: Mapping[str, Any], model: ModelConfig) -> Iterator[str]:
    yield f"{clean(name, 60)} ({model.spec.task})"
    if series.most_classes(model.spec) > 1:
        yield from entry("label names" if model.spec.label_capacity else "classes", _classes(written, model))
    yield from entry("predictions", _stream(model.predictions, written["predictions"]))
    if model.labels is None:
        yield from entry("labels", "in the rows of the predictions")
    else:
        yield from entry("labels", _stream(model.labels, written["labels"]))
    horizon = duration_text(model.horizon)
    yield from entry("join", f"by id; a label counts up to {horizon} after its prediction, and so does a correction")
    yield from entry("windows", ", ".join(window.name for window in model.windows) or "none")
    yield from entries(
        "alerts", (f"{measure} {words(measure, bounds)}" for measure, bounds in model.thresholds.items())
    )
    yield from entries("notes", _notes(written, model))


def _classes(written: Mapping[str, Any], model: ModelConfig) -> str:
    declared = written.get("classes")
    if declared is None:
        if _decided(model):
            return " and ".join(clean(name, 60) for name in two_classes(model.spec))
        if model.spec.positive:
            return f"{clean(str(written['positive']), 60)}, and one that is learned from the data"
        return f"learned from the data, at most {series.most_classes(model.spec)}"
    if isinstance(declared, str):
        return declared
    names = [clean(str(name), 60) for name in declared]
    return ", ".join(names[:_SOME]) + (f" and {len(names) - _SOME} more" if len(names) > _SOME else "")


def _decided(model: ModelConfig) -> bool:
    """Whether predictions of undeclared classes are told by probabilities, and not by name."""
    predicted = model.predictions.mapping.fields.get("predicted")
    unnamed = predicted is None or predicted.threshold is not None
    return unnamed and model.spec.task == "binary" and not model.spec.classes


def _stream(stream: Stream, written: Mapping[str, Any]) -> str:
    text = f"{place(stream, written)}, every {duration_text(stream.interval)}"
    conditions = [f"{clean(path)} is {_condition(wanted)}" for path, wanted in written.get("where", {}).items()]
    return text + (f"; only records where {' and '.join(conditions)}" if conditions else "")


def _condition(wanted: Any) -> str:
    if isinstance(wanted, Mapping):
        return f"not {_condition(wanted['not'])}"
    values = [wanted] if isinstance(wanted, str) else wanted
    return " or ".join(clean(str(value), 60) for value in values)


def _notes(written: Mapping[str, Any], model: ModelConfig) -> Iterator[str]:
    if model.spec.positive:
        yield f"binary measures are about class {clean(str(written['positive']), 60)}"
    for stream in (model.predictions, model.labels):
        if stream is not None and stream.arrival_time and "label_time" not in stream.mapping.fields:
            yield f"{stream.mapping.role}: rows carry no time: the moment of reading stands for it"
    if "model" in model.predictions.mapping.fields:
        yield "model names come from the data: each has series of its own for each of its versions"
    if model.spec.layout != PLAIN:
        yield f"a prediction is remembered in {model.spec.layout.record.itemsize} bytes, and about 14 of an index"
    if "version" not in model.predictions.mapping.fields:
        yield "predictions carry no version: it is shown as unknown"


# --- one target ----------------------------------------------------------------------------------


def _target(target: TargetConfig, written: Mapping[str, Any]) -> Iterator[str]:
    yield f"{clean(target.name, 60)} (model server)"
    if target.model is not None:
        yield from entry("model", clean(target.model, 60))
    life = _probe(target.life, written) if target.life else "only under `model-exporter run`: no probe tells it"
    yield from entry("life", life)
    yield from entries("measures", (_probe(probe, written) for probe in target.measures))
    yield from entry("looks", f"every {duration_text(target.interval)}")
    yield from entries(
        "alerts", (f"{measure} {words(measure, bounds)}" for measure, bounds in target.thresholds.items())
    )
    yield from entry("crash rate", ", ".join(f"over {window.name}" for window in target.windows) or "counters only")


def _probe(probe: ProbeConfig, written: Mapping[str, Any]) -> str:
    """The probe and what its config names first, such as `process port 8080`."""
    settings = written[probe.kind]
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if name == "url":
            return f"{probe.kind} at {host(str(value))}"
        if isinstance(value, list):
            return f"{probe.kind} {', '.join(clean(str(one), 60) for one in value)}"
        if isinstance(value, str | int) and not isinstance(value, bool):
            return f"{probe.kind} {clean(name.replace('_', ' '), 60)} {clean(str(value), 60)}"
    return probe.kind


# --- series --------------------------------------------------------------------------------------


def _series(config: Config, names: list[str]) -> Iterator[str]:
    rows = [("series", "one version", "at most", "")]
    learning: list[str] = []
    first = most = 0
    for name, model in zip(names, config.models.values(), strict=True):
        own, classes = series.of_model(model), series.most_classes(model.spec)
        failing = model.predictions.mapping.fields.keys() & {"error", "status"}
        few = len(model.spec.classes) or min(2, classes)
        groups = max((one.top for one in model.spec.segments), default=0)
        one = own + series.of_version(model, few)
        all_ = own + model.max_versions * series.of_version(model, classes, ERRORS if failing else 0, groups=groups)
        why = [counted(model.max_versions, "version")]
        if classes > few:
            why.append(f"{classes} classes")
            numbers = sorted({number for number in _LEARNED if number < classes} | {classes})
            told = ", ".join(f"{own + series.of_version(model, number):,} with {number}" for number in numbers)
            learning.append(f"{name} learns its classes: one version has {told}")
        if failing:
            why.append(f"{ERRORS} error reasons")
        why += [f"{one.top} of {clean(one.name, 40)}" for one in model.spec.segments]
        rows.append((f"  {name}", f"{one:,}", f"{all_:,}", ", ".join(why)))
        first, most = first + one, most + all_
    for name, target in config.targets.items():
        own = series.of_target(target)
        rows.append((f"  {clean(name, 40)}", f"{own:,}", f"{own:,}", "one for each window, and each reason of an end"))
        first, most = first + own, most + own
    exporter = series.of_exporter(config)
    rows.append(("  the exporter itself", f"{exporter:,}", f"{exporter:,}", "and one for each reason of refused rows"))
    rows.append(("  together", f"{first + exporter:,}", f"{most + exporter:,}", ""))
    yield from table(rows, right=(1, 2), indent=0)
    yield from entries("note", learning)
    limit = config.limits.series
    remedy = "what is beyond is dropped and counted; raise limits.series, or lower max_versions or the classes"
    if first > limit:
        yield from entry("warning", f"already one version of each passes limits.series ({limit:,}): {remedy}")
    elif most > limit:
        yield from entry("warning", f"with all versions, models can pass limits.series ({limit:,}): {remedy}")
