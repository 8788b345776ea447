"""Which measures a model has bounds and baselines of: what its task, its fields and its settings give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.config.faults import Faults, join_key, listed
from exporter.config.nodes import Node
from exporter.config.thresholds import at_k, bound
from exporter.contracts import CLASSIFICATION, ModelSpec

_OF_SCORES = ("roc_auc", "average_precision", "log_loss", "brier_score", "expected_calibration_error")
_OF_SETS = tuple(f"{one}_{mean}" for mean in ("micro", "weighted", "samples") for one in ("precision", "recall", "f1"))
_OF_NUMBERS = ("mean_absolute_error", "root_mean_squared_error", "bias", "mean_absolute_percentage_error", "r2_score")
_OF_RANKINGS = ("ndcg", "mean_reciprocal_rank", "hit_rate")
_NAMED = CLASSIFICATION | {"multilabel"}
_TASKS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("accuracy", "precision", "recall", "f1"), _NAMED),
    **dict.fromkeys((*_OF_SETS, "hamming_loss"), frozenset({"multilabel"})),
    **dict.fromkeys(_OF_SCORES, CLASSIFICATION),
    "top_k_accuracy": frozenset({"multiclass"}),
    **dict.fromkeys(_OF_NUMBERS, frozenset({"regression"})),
    **dict.fromkeys(_OF_RANKINGS, frozenset({"ranking"})),
    "rise": _NAMED | {"regression"},
    "estimation_error": frozenset({"binary"}),
    "segment_gap": CLASSIFICATION,
    "disparate_impact": frozenset({"binary"}),
}
"""The tasks of measures that not all have."""
_PLACES = ("thresholds", "baseline")


def check_task(faults: Faults, node: Node, task: str, key: str) -> None:
    """A fault for every measure of the model at *key* that its *task* does not have."""
    for place, measure in _written(node):
        if task not in _TASKS[measure]:
            message = f"only task: {listed(sorted(_TASKS[measure]))} has {measure}; remove it"
            faults.add(node.at(place).keys[measure], join_key(key, f"{place}.{measure}"), message)


def check(faults: Faults, node: Node, entry: Mapping[str, Any], spec: ModelSpec, key: str) -> None:
    """A fault for every measure of the model at *key* that lacks its fields, or is of another k than is counted."""
    written, ks, setting = _written(node), cutoffs(spec), "top_k" if spec.task == "multiclass" else "ranking.cutoffs"
    of_k = set(at_k(measure for _, measure in written))
    for place, measure in written:
        mark, where = node.at(place).keys[measure], join_key(key, f"{place}.{measure}")
        k = getattr(getattr(entry[place], measure, None), "k", None)
        if measure in _OF_SCORES and not spec.score_edges:
            faults.add(
                mark,
                where,
                "needs scores; map score, or probabilities of several classes, or remove it",
            )
        elif measure == "estimation_error" and not (entry["estimates"] and spec.score_edges):
            faults.add(mark, where, "needs scores and estimates: {}; add them, or remove it")
        elif measure in of_k and not ks:
            faults.add(mark, where, f"needs {setting}, and the probabilities of all classes; map them, or remove it")
        elif k is not None and k not in ks:
            faults.add(mark, f"{where}.k", f"must be {listed(map(str, ks))}, as {setting} says")
        elif place == "baseline" and bound(measure) == "min" and entry[place][measure] > 1:
            faults.add(mark, where, "must be at most 1")


def cutoffs(spec: ModelSpec) -> tuple[int, ...]:
    """The k of measures of the first k, ascending."""
    return spec.ranking.cutoffs if spec.task == "ranking" else spec.top_k


def _written(node: Node) -> list[tuple[str, str]]:
    return [(place, measure) for place in _PLACES for measure in _TASKS if node.has(place, measure)]


__all__ = ["check", "check_task", "cutoffs"]
