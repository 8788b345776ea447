"""A stream's nodes become a Stream: one source, decoded by that source's own Config, and the mapping of its rows."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import msgspec.inspect

from exporter import plugins
from exporter.config.decode import Decoder
from exporter.config.faults import join_key, listed, nearest
from exporter.config.nodes import BROKEN, Node
from exporter.config.resolved import Stream
from exporter.config.types import Scalar, canonical, duration_text
from exporter.config.written import FieldEntry, NotEntry, StreamEntry
from exporter.contracts import FieldSpec, MappingSpec, WhereSpec

Role = Literal["predictions", "labels"]

NAMES: dict[Role, dict[str, str]] = {
    "predictions": {
        "id": "What a prediction and its label share. Required.",
        "time": "When the prediction was made. Without it, the moment of reading counts.",
        "predicted": "What was predicted: a class; a number; a list of labels, a mapping of labels to true or false, "
        "or a list of 0 and 1 in the order of `classes`; a list of items, the best first.",
        "score": "Probability of the positive class, 0 to 1; with `threshold` it also decides the class, and "
        "`classes` are needed unless `positive` is 1, true or yes.",
        "probabilities": "Probabilities of all classes, as a list in the order of `classes`, or as a mapping of "
        "classes to them; they sum to 1. Those of `task: multilabel` need not: without `predicted`, each label of 0.5 "
        "or more is predicted.",
        "segments": "Attributes that tell predictions apart, by name: `{region: geo.country, device: ua.device}`.",
        "version": "Version of the model.",
        "model": "Name of the model, where one source serves several.",
        "latency": "How long the prediction took; seconds unless `unit` says otherwise.",
        "error": "Why the prediction failed, as a short text; empty if it did not.",
        "status": "HTTP-like status; 400 and above is an error.",
        "actual": "What is true, written as `predicted` is, if it stands in the same row; then there is no `labels`.",
        "label_time": "When `actual` became known.",
    },
    "labels": {
        "id": "The id of the prediction that the label belongs to. Required.",
        "time": "When the label became known. Without it, the moment of reading counts.",
        "actual": "What is true, written as `predicted` is; of a ranking the relevant items, as a list or as a "
        "mapping to their gains. Required.",
        "model": "Name of the model, where one source serves several.",
    },
}
_SYNONYMS = {
    "actual": ("label", "target", "truth", "ground_truth", "y_true", "y", "class", "outcome"),
    "predicted": ("prediction", "predicted_class", "y_pred", "predicted_label", "result"),
    "score": ("probability", "proba", "confidence"),
    "probabilities": ("probas", "scores", "predict_proba"),
    "time": ("timestamp", "ts", "date", "created_at", "event_time", "label_time"),
    "id": ("request_id", "prediction_id", "record_id", "key", "uuid", "correlation_id"),
    "latency": ("duration", "took", "elapsed", "latency_ms"),
    "version": ("model_version",),
    "model": ("model_name",),
    "error": ("exception", "reason"),
}
_UNITS = {"time", "label_time", "latency"}
_ENTRY = msgspec.inspect.type_info(str | FieldEntry)
_SEGMENTS = "attributes with their paths, such as {region: geo.country}"
_ATTRIBUTES = 20
_MAPS = {"predicted", "actual", "model", "version", "error", "status"}


def stream(decoder: Decoder, node: Node, key: str) -> Any:
    """The Stream at *key*, whose last word is its role, or BROKEN with all its faults listed."""
    role: Role = "labels" if key.endswith(".labels") else "predictions"
    faults = decoder.faults
    before = len(faults)
    entry = decoder.fields(node, StreamEntry, key, plugins.sources())
    if entry is BROKEN:
        return BROKEN
    kind, source = _source(decoder, node, key)
    fields = _fields(decoder, node.at("fields"), entry["fields"], role, join_key(key, "fields"))
    _check_timezone(decoder, node, entry["timezone"], key)
    interval, stale_after = entry["interval"], entry["stale_after"]
    if isinstance(stale_after, float) and isinstance(interval, float) and stale_after < interval:
        message = f"must not be shorter than interval ({duration_text(interval)}), or gauges vanish between two polls"
        faults.add(node.at("stale_after").mark, join_key(key, "stale_after"), message)
    if entry["start"] is not None and entry["lookback"] is not None:
        faults.add(node.at("start").mark, join_key(key, "start"), "lookback is given as well; keep one of the two")
    if len(faults) > before:
        return BROKEN
    return Stream(
        kind=kind,
        source=source,
        mapping=MappingSpec(
            role=role,
            fields=fields,
            segments=_segments(decoder, node.at("fields", "segments"), entry["fields"], key),
            where=_where(entry["where"]),
            timezone=entry["timezone"],
            max_ahead=float(entry["max_ahead"]),
        ),
        interval=float(interval),
        stale_after=max(60.0, 3 * float(interval)) if stale_after is None else float(stale_after),
        lookback=None if entry["lookback"] is None else float(entry["lookback"]),
        start=entry["start"],
        timeout=float(entry["timeout"]),
    )


def _source(decoder: Decoder, node: Node, key: str) -> tuple[str, Any]:
    """The name of the one source that is written, and its Config."""
    assert isinstance(node.value, dict)  # noqa: S101 - `fields` has judged it
    known = plugins.sources()
    written = [name for name in node.value if name in known]
    if not written:
        if not decoder.faults.meant & {join_key(key, name) for name in known}:
            message = f"has no source; write {listed(f'{name}:' for name in known)} here, with its settings"
            decoder.faults.add(node.mark, key, message)
        return "", BROKEN
    for extra in written[1:]:
        message = f"a stream has one source, and {written[0]} is already given; remove one of the two"
        decoder.faults.add(node.keys[extra], join_key(key, extra), message)
    kind = written[0]
    try:
        config = plugins.source(kind).Config
    except ImportError as error:
        message = f"this source cannot be loaded ({error}); install its extra: prometheus-model-exporter[{kind}]"
        decoder.faults.add(node.keys[kind], join_key(key, kind), message)
        return kind, BROKEN
    return kind, decoder.decode(node.value[kind], config, join_key(key, kind))


def _fields(decoder: Decoder, node: Node, entries: Any, role: Role, key: str) -> dict[str, FieldSpec]:
    """The fields by name, `threshold` of `score` turned into a `predicted` that is decided by it."""
    if entries is BROKEN:
        return {}
    known = NAMES[role]
    fields: dict[str, FieldSpec] = {}
    for name, entry in entries.items():
        path = join_key(key, name)
        if name not in known:
            near, message = _unknown_field(name, node.at(name), role, entries)
            decoder.faults.meant.add(join_key(key, near))
            decoder.faults.add(node.keys[name], path, message)
        elif entry is not BROKEN and name != "segments":
            written = FieldEntry(field=entry) if isinstance(entry, str) else entry
            _check_field(decoder, name, node.at(name), written, path)
            fields[name] = FieldSpec(**msgspec.structs.asdict(written))
    _check_required(decoder, node, set(entries), key, role)
    score = fields.get("score")
    if score is not None and score.threshold is not None and "predicted" not in fields:
        fields["predicted"] = FieldSpec(threshold=score.threshold)
    return fields


def field(decoder: Decoder, node: Node, key: str) -> Any:
    """The FieldEntry at *key*; for `segments`, which are several, the entries by attribute."""
    if not key.endswith(".fields.segments"):
        return decoder.build(node, FieldEntry, key)
    if not isinstance(node.value, dict):
        return decoder.wrong(node, key, _SEGMENTS)
    return {name: decoder.value(child, _ENTRY, join_key(key, name)) for name, child in node.value.items()}


def _segments(decoder: Decoder, node: Node, entries: Any, key: str) -> dict[str, FieldSpec]:
    """The attributes by name, in the order in which they are written."""
    written = entries.get("segments") if isinstance(entries, dict) else None
    place = join_key(key, "fields.segments")
    if isinstance(written, str):
        decoder.faults.add(node.mark, place, f"names one field; write {_SEGMENTS}")
    if not isinstance(written, dict):
        return {}
    if len(written) > _ATTRIBUTES:
        decoder.faults.add(node.mark, place, f"must have at most {_ATTRIBUTES} entries")
    found: dict[str, FieldSpec] = {}
    for name, entry in written.items():
        if not name.isprintable() or not name.strip():
            decoder.faults.add(node.keys[name], place, "an attribute's name must be printable")
        if entry is not BROKEN:
            of_field = FieldEntry(field=entry) if isinstance(entry, str) else entry
            _check_field(decoder, f"segments.{name}", node.at(name), of_field, join_key(place, name))
            found[name] = FieldSpec(**msgspec.structs.asdict(of_field))
    return found


def _unknown_field(name: str, node: Node, role: Role, entries: Mapping[str, Any]) -> tuple[str, str]:
    """The field that was meant (or nothing), and what to say."""
    known = NAMES[role]
    target = node.value if isinstance(node.value, str) and not node.hidden else None
    if target in known and target not in entries:
        return target, f"unknown field; write {target}: {name} (the exporter's name first, then the path in your data)"
    synonym = next((meant for meant, words in _SYNONYMS.items() if name.lower() in words and meant in known), None)
    near = synonym or nearest(name, [word for word in known if word not in entries]) or nearest(name, known)
    hint = f"did you mean {near}?" if near else f"{role} know {', '.join(known)}"
    return near or "", f"unknown field; {hint}"


def _check_field(decoder: Decoder, name: str, node: Node, entry: FieldEntry, key: str) -> None:
    def fault(message: str, *at: str) -> None:
        decoder.faults.add(node.at(*at).mark, join_key(key, at[0]) if at else key, message)

    decided = name == "predicted" and entry.threshold is not None
    if entry.field is not None and entry.constant is not None:
        fault("field and constant are both given; keep one of the two", "constant")
    elif entry.field is None and entry.constant is None and not decided:
        fault("names no place; write the dotted path of the value, or field: PATH")
    if entry.field is not None and (not all(entry.field.split(".")) or entry.field.strip() != entry.field):
        fault("is no dotted path; write names with single dots between, such as output.label")
    elif entry.field is not None and entry.field.startswith("$."):
        fault("a path begins with a name; leave out the $.")
    segment = name.startswith("segments.")
    if entry.constant is not None and (segment or name in {"id", "time", "score", "probabilities"}):
        fault(f"{name} cannot be the same for every row; write the dotted path of its value", "constant")
    if entry.unit is not None and name not in _UNITS:
        fault(f"only {listed(sorted(_UNITS))} have a unit; remove it", "unit")
    if entry.map is not None and name not in _MAPS and not segment:
        fault(f"only {listed(sorted(_MAPS))} can be mapped value by value; remove it", "map")
    if entry.threshold is not None and name not in {"score", "predicted"}:
        fault("only score has a threshold; remove it", "threshold")


def _check_required(decoder: Decoder, node: Node, names: set[str], key: str, role: Role) -> None:
    def missing(name: str, message: str) -> None:
        decoder.faults.missing(node.mark, join_key(key, name), message)

    if "id" not in names:
        missing("id", "write id: and the path of what predictions and labels share, such as id: request_id")
    if role == "labels":
        if "actual" not in names:
            missing("actual", "write actual: and the path of the true class")
        return
    if "label_time" in names and "actual" not in names:
        decoder.faults.add(
            node.at("label_time").mark, join_key(key, "label_time"), "is the time of actual, which is not mapped here"
        )
    thresholds = [name for name in ("score", "predicted") if node.has(name, "threshold")]
    if "predicted" in names and "score" in thresholds:
        message = "predicted is mapped, so that threshold decides nothing; remove one of the two"
        decoder.faults.add(node.at("score", "threshold").mark, join_key(key, "score.threshold"), message)
    if "predicted" in thresholds and not ("score" in names or node.has("predicted", "field")):
        message = "decides by score, which is not mapped; map score as well"
        decoder.faults.add(node.at("predicted", "threshold").mark, join_key(key, "predicted.threshold"), message)
    meant = {join_key(key, name) for name in ("score", "probabilities")} & decoder.faults.meant
    if not names & {"predicted", "probabilities"} and not thresholds and not meant:
        if "score" in names:
            message = "without predicted, a score needs a threshold; write score: {field: PATH, threshold: 0.5}"
            decoder.faults.add(node.at("score").mark, join_key(key, "score"), message)
        else:
            missing("predicted", "map predicted, or score with a threshold, or probabilities")


def _where(written: Mapping[str, Any]) -> dict[str, WhereSpec]:
    def texts(value: Scalar | list[Scalar]) -> tuple[str, ...]:
        return tuple(map(canonical, value if isinstance(value, list) else [value]))

    return {
        path: WhereSpec(none_of=texts(value.not_)) if isinstance(value, NotEntry) else WhereSpec(one_of=texts(value))
        for path, value in written.items()
    }


def _check_timezone(decoder: Decoder, node: Node, name: Any, key: str) -> None:
    if name is BROKEN:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        near = None if node.at("timezone").hidden else nearest(name, zoneinfo.available_timezones())
        hint = f"did you mean {near}?" if near else "write a name such as UTC or Europe/Berlin"
        decoder.faults.add(node.at("timezone").mark, join_key(key, "timezone"), f"unknown time zone; {hint}")
