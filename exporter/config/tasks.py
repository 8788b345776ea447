"""What belongs to which task: keys of a model, fields of its rows, and what the families are told of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from exporter.config import measures
from exporter.config.faults import Faults, Mark, join_key, listed, nearest
from exporter.config.nodes import BROKEN, Node
from exporter.config.windows import item
from exporter.config.written import EstimatesEntry, RankingEntry, RegressionEntry, SegmentEntry
from exporter.contracts import (
    CLASSIFICATION,
    LABELS,
    OPPOSITES,
    EstimatesSpec,
    ModelSpec,
    RankingSpec,
    RegressionSpec,
    SegmentSpec,
)

_NAMED = CLASSIFICATION | {"multilabel"}
_KEYS = {
    "classes": _NAMED,
    "max_classes": _NAMED,
    "confusion_classes": CLASSIFICATION,
    "curve_classes": {"multiclass", "multilabel"},
    "betas": CLASSIFICATION,
    "costs": CLASSIFICATION,
    "confidence": CLASSIFICATION,
    "score_edges": CLASSIFICATION,
    "top_k": {"multiclass"},
    "objectives": _NAMED,
    "maturity": CLASSIFICATION,
    "estimates": {"binary"},
    "regression": {"regression"},
    "ranking": {"ranking"},
}
"""Keys of a model that only some tasks have."""
_OF_SEGMENTS = ("segment_gap", "disparate_impact")
_FIELDS = {"score": CLASSIFICATION, "probabilities": _NAMED}
"""Fields that only some tasks have."""
_CUTOFFS = (1, 5, 10)
_TOP = (2, 3, 5)


def check_keys(faults: Faults, node: Node, task: Any, key: str) -> None:
    """A fault for every key of the model at *key* that its *task* does not have."""
    if task is BROKEN:
        return
    for name, tasks in _KEYS.items():
        if node.has(name) and task not in tasks:
            mark = node.keys[name]
            faults.add(mark, join_key(key, name), f"only task: {listed(sorted(tasks))} has {name}; remove it")
    measures.check_task(faults, node, task, key)


def check_classes(faults: Faults, node: Node, count: int, task: Any, key: str) -> None:
    """A task may have no less, or no more, than so many classes."""
    if task == "binary" and count != 2:
        message = f"task: binary has 2 classes, here are {count}; list both, or write task: multiclass"
        faults.add(node.mark, key, message)
    elif task == "multiclass" and count < 2:
        faults.add(node.mark, key, "task: multiclass needs at least 2 classes")
    elif task == "multilabel" and count > LABELS:
        faults.add(node.mark, key, f"task: multilabel has at most {LABELS} labels, here are {count}")


def check_fields(faults: Faults, node: Node, spec: ModelSpec, key: str) -> None:
    """The rules between a task and the fields of its rows."""
    if not node.has("predictions", "fields"):
        return
    fields = node.at("predictions", "fields")
    place = join_key(key, "predictions.fields")
    if spec.task == "multiclass" and fields.has("score"):
        message = "is the probability of the positive class, which task: multiclass does not have; map probabilities"
        faults.add(fields.at("score").mark, join_key(place, "score"), message)
    for name, tasks in _FIELDS.items():
        if fields.has(name) and spec.task not in tasks and not (name == "score" and spec.task == "multiclass"):
            message = f"only task: {listed(sorted(tasks))} has a {name}; map predicted"
            faults.add(fields.at(name).mark, join_key(place, name), message)
    if fields.has("probabilities") and spec.task in _NAMED and not node.has("classes"):
        example = "[news, sport]" if spec.task == "multilabel" else "[legit, fraud]"
        message = f"needs classes: in the order of the list, such as classes: {example}"
        faults.add(fields.at("probabilities").mark, join_key(place, "probabilities"), message)
    _check_other_class(faults, node, fields, spec, place)
    if spec.task == "multiclass" and node.has("top_k") and not fields.has("probabilities"):
        message = "needs the probabilities of all classes; map probabilities, or remove it"
        faults.add(node.keys["top_k"], join_key(key, "top_k"), message)
    if spec.task in CLASSIFICATION or not isinstance(fields.value, dict):
        return
    weighed = spec.task == "multilabel" and fields.has("probabilities")
    if not fields.has("predicted") and not weighed:
        faults.missing(fields.mark, join_key(place, "predicted"), "map predicted to what the model answered")
    elif fields.has("predicted", "threshold"):
        message = f"task: {spec.task} decides no class; remove it"
        faults.add(fields.at("predicted", "threshold").mark, join_key(place, "predicted.threshold"), message)


# --- what the families are told ------------------------------------------------------------------


def _check_other_class(faults: Faults, node: Node, fields: Node, spec: ModelSpec, place: str) -> None:
    """A fault where a threshold decides, as then no prediction tells what labels call the class below it."""
    if spec.task != "binary" or not spec.positive or spec.positive in OPPOSITES or node.has("classes"):
        return
    by_score = fields.has("score", "threshold") and not fields.has("predicted")
    compared = fields.has("predicted", "threshold") and (fields.has("predicted", "field") or fields.has("score"))
    if by_score or compared:
        name = "score" if by_score else "predicted"
        message = f"needs classes: what labels call the class below it, such as classes: [legit, {spec.positive}]"
        faults.add(fields.at(name, "threshold").mark, join_key(place, f"{name}.threshold"), message)


def regression(faults: Faults, node: Node, entry: Any, key: str) -> RegressionSpec:
    """What to count of a regression; only to be used if there was no fault."""
    if not isinstance(entry, RegressionEntry):
        return RegressionSpec()
    check_ascending(faults, node.at("residual_buckets"), entry.residual_buckets, join_key(key, "residual_buckets"))
    check_ascending(faults, node.at("quantiles"), entry.quantiles, join_key(key, "quantiles"))
    return RegressionSpec(
        residual_buckets=tuple(entry.residual_buckets), quantiles=tuple(entry.quantiles), center=entry.center
    )


def ranking(faults: Faults, node: Node, entry: Any, key: str) -> RankingSpec:
    """What to remember of a ranking; only to be used if there was no fault."""
    if not isinstance(entry, RankingEntry):
        return RankingSpec()
    place = join_key(key, "cutoffs")
    cutoffs = entry.cutoffs
    if cutoffs is None:
        cutoffs = [k for k in _CUTOFFS if k <= entry.depth]
    check_ascending(faults, node.at("cutoffs"), cutoffs, place)
    for position, k in enumerate(cutoffs):
        if k > entry.depth:
            message = f"only the first {entry.depth} items are remembered; raise depth, or lower it"
            faults.add(item(node.at("cutoffs"), position).mark, f"{place}[{position}]", message)
    return RankingSpec(depth=entry.depth, relevant=entry.relevant, cutoffs=tuple(cutoffs))


def costs(
    faults: Faults, node: Node, written: Any, known: tuple[tuple[str, ...], Mapping[str, str]], key: str
) -> dict[str, dict[str, float]]:
    """Costs by actual and predicted class; *known* are the declared classes and the other spellings of them."""
    if _broken(written):
        return {}

    def name(text: str, mark: Mark, place: str) -> str:
        classes, aliases = known
        found = aliases.get(text, text)
        if classes and found not in classes:
            faults.add(mark, place, "is none of the declared classes")
        return found

    found: dict[str, dict[str, float]] = {}
    for text, row in written.items():
        place = join_key(key, text)
        actual = found.setdefault(name(text, node.keys[text], place), {})
        for other, cost in row.items():
            actual[name(other, node.at(text).keys[other], join_key(place, other))] = cost
    return found


def _broken(written: Any) -> bool:
    return written is BROKEN or any(row is BROKEN or BROKEN in row.values() for row in written.values())


def estimates(entry: Any) -> EstimatesSpec | None:
    """When calibration is fitted; only to be used if there was no fault."""
    if not isinstance(entry, EstimatesEntry):
        return None
    return EstimatesSpec(labelled=entry.labelled, reference=entry.reference)


def top_k(faults: Faults, node: Node, entry: Mapping[str, Any], classes: tuple[str, ...], key: str) -> tuple[int, ...]:
    """The k of top-k accuracy; all of them less than the number of classes, where each answer would be right."""
    written, most = entry["top_k"], entry["curve_classes"]
    if written is None:
        return tuple(k for k in _TOP if k < len(classes))
    if written is BROKEN or BROKEN in written:
        return ()
    check_ascending(faults, node, written, key)
    if most is not BROKEN and len(classes) > most:
        message = f"needs all probabilities, which are remembered of up to {most} classes; raise curve_classes"
        faults.add(node.mark, key, message)
    for position, k in enumerate(written):
        if classes and k >= len(classes):
            message = f"of {len(classes)} classes the first {k} always hold the right one; lower it"
            faults.add(item(node, position).mark, f"{key}[{position}]", message)
    return tuple(written)


def segments(faults: Faults, node: Node, entry: Mapping[str, Any], key: str) -> tuple[SegmentSpec, ...]:
    """The attributes that predictions map, with what the config says of them."""
    place = ("predictions", "fields", "segments")
    mapped = node.at(*place).value if node.has(*place) else None
    attributes = list(mapped) if isinstance(mapped, dict) else []
    written = entry["segments"] if isinstance(entry["segments"], dict) else {}
    for name in written:
        if name not in attributes:
            near = nearest(name, attributes)
            hint = f"did you mean {near}?" if near else f"write predictions.fields.segments: {{{name}: PATH}}"
            message = f"is no attribute that predictions map; {hint}"
            faults.add(node.at("segments").keys[name], join_key(key, f"segments.{name}"), message)
    for measure in _OF_SEGMENTS:
        if not attributes and node.has("thresholds", measure):
            message = "compares groups of an attribute; write predictions.fields.segments: {ATTRIBUTE: PATH}"
            faults.add(node.at("thresholds").keys[measure], join_key(key, f"thresholds.{measure}"), message)
    return tuple(_segment(faults, node, name, written.get(name), key) for name in attributes)


def _segment(faults: Faults, node: Node, name: str, entry: Any, key: str) -> SegmentSpec:
    if not isinstance(entry, SegmentEntry):
        return SegmentSpec(name=name)
    found: dict[str, tuple[float, float]] = {}
    for group, point in entry.coordinates.items():
        latitude, longitude = [*point, 0.0, 0.0][:2]
        if len(point) != 2 or not (abs(latitude) <= 90 and abs(longitude) <= 180):
            place = ("segments", name, "coordinates", group)
            message = "must be latitude (-90 to 90) and longitude (-180 to 180), such as [52.5, 13.4]"
            faults.add(node.at(*place).mark, join_key(key, ".".join(place)), message)
        found[group] = latitude, longitude
    return SegmentSpec(name=name, top=entry.top, min_group_size=entry.min_group_size, coordinates=found)


def remembering(spec: ModelSpec, fields: Mapping[str, Any], most: int) -> ModelSpec:
    """*spec* with what the mapped *fields* let be remembered: the probabilities of up to *most* classes."""
    if "probabilities" in fields and spec.task == "multiclass" and len(spec.classes) <= most:
        return structs.replace(spec, probabilities=len(spec.classes))
    return structs.replace(spec, top_k=())


def check_ascending(faults: Faults, node: Node, bounds: Any, key: str) -> None:
    """A fault for every bound that is not larger than the one before it."""
    if bounds is BROKEN or BROKEN in bounds:
        return
    for position in range(1, len(bounds)):
        if bounds[position] <= bounds[position - 1]:
            message = "must be larger than the bound before it"
            faults.add(item(node, position).mark, f"{key}[{position}]", message)
