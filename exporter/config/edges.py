"""The edges between bins of scores: as written, from a file of scores with their labels, or fixed ones."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.config.faults import Faults
from exporter.config.nodes import Node, plain_scalar
from exporter.config.types import canonical
from exporter.config.windows import item
from exporter.config.written import ScoreReference
from exporter.contracts import Floats, MappingSpec, ModelSpec, fixed_width

FIXED = tuple(round(1 / (1 + math.exp(-step / 2)), 6) for step in range(-24, 25))
"""Edges whose log-odds run from -12 to 12 in steps of 1/2: fine near 0 and near 1."""
COARSE = tuple(round(1 / (1 + math.exp(-odds)), 6) for odds in range(-9, 10))
"""Edges for several classes, each of which is held against the rest, in steps of 1."""


def has_scores(spec: ModelSpec, predictions: MappingSpec) -> bool:
    """Whether predictions carry the probability of a positive class, or of each of several."""
    if spec.task == "multiclass":
        return spec.probabilities > 0
    compared = predictions.fields.get("predicted")
    by_threshold = compared is not None and compared.threshold is not None
    return spec.task == "binary" and (
        by_threshold or not predictions.fields.keys().isdisjoint(("score", "probabilities"))
    )


def score_edges(
    faults: Faults,
    node: Node,
    key: str,
    written: list[float] | ScoreReference | None,
    *,
    of: ModelSpec,
    directory: Path,
) -> tuple[float, ...]:
    """The edges between the bins of a model's scores, none where none are wanted or there was a fault."""
    spec = of
    if written is None:
        return FIXED if spec.task == "binary" else COARSE
    if isinstance(written, list):
        _check(faults, node, written, key)
        return tuple(written)
    if spec.task != "binary":
        faults.add(node.mark, key, "a reference tells of a positive class, which there is none of; list the edges")
        return ()
    try:
        return _of_reference(written, spec, directory)
    except (OSError, ValueError) as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"{directory / written.file} cannot be read: {error.strerror}"
        faults.add(node.at("file").mark, f"{key}.file", f"the reference {reason}")
        return ()


def _check(faults: Faults, node: Node, edges: list[float], key: str) -> None:
    for position in range(1, len(edges)):
        if edges[position] <= edges[position - 1]:
            message = "must be larger than the edge before it"
            faults.add(item(node, position).mark, f"{key}[{position}]", message)
            return
    for position, (edge, text) in enumerate(zip(edges, fixed_width(edges), strict=True)):
        if float(text) != edge:
            message = "has more than 17 decimals, which no label can show; round it"
            faults.add(item(node, position).mark, f"{key}[{position}]", message)


def _of_reference(written: ScoreReference, spec: ModelSpec, directory: Path) -> tuple[float, ...]:
    """Edges from the file that is *written*; raises OSError, or ValueError with what is wrong in it."""
    path = directory / written.file
    scores, positives = [], []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = _json_rows if path.suffix in {".jsonl", ".ndjson", ".json"} else _csv_rows
        for number, score, actual in rows(lines, written):
            if not 0 <= score <= 1:
                raise ValueError(f"has in line {number} a score that is no probability from 0 to 1")
            scalar = plain_scalar(actual) if isinstance(actual, str) else actual
            name = "" if scalar is None else canonical(scalar)
            scores.append(score)
            positives.append(spec.positive == spec.aliases.get(name, name))
    if not any(positives) or all(positives):
        found = "only the positive class" if scores and positives[0] else "no row of the positive class"
        raise ValueError(f"has {found}; it needs rows of both classes")
    edges = balanced(np.array(scores), np.array(positives), written.bins)
    if not edges:
        raise ValueError("has one score only; it needs rows with different scores")
    return edges


def _csv_rows(lines: Any, written: ScoreReference) -> Iterator[tuple[int, float, Any]]:
    """Line number, score and true class of every row."""
    reader = csv.reader(lines)
    header = next(reader, [])
    for name in (written.score, written.actual):
        if name not in header:
            raise ValueError(f"has no column {name}; its columns are {', '.join(header)[:200] or 'none'}")
    score, actual = header.index(written.score), header.index(written.actual)
    for row in reader:
        if len(row) > max(score, actual):
            yield reader.line_num, _number(row[score]), row[actual]
        elif row:
            raise ValueError(f"has too few columns in line {reader.line_num}")


def _json_rows(lines: Any, written: ScoreReference) -> Iterator[tuple[int, float, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            raise ValueError(f"has no JSON object in line {number}") from None
        yield number, _number(_at(record, written.score, number)), _at(record, written.actual, number)


def _at(record: Any, path: str, number: int) -> Any:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    if not isinstance(record, str | int | float):
        raise ValueError(f"has no single value at {path} in line {number}")  # noqa: TRY004 - it is the data's fault
    return record


def _number(value: Any) -> float:
    """*value* as a number; NaN, which no range holds, if it is none."""
    try:
        return float(value)
    except ValueError:
        return math.nan


def balanced(score: Floats, positive: NDArray[np.bool_], bins: int) -> tuple[float, ...]:
    """Edges of at most so many *bins* that hold equal shares, each class counting for one half; shapes (n,).

    Quantiles of all scores alike would leave the few of a rare class in one bin.  Equal scores share a bin, and edges
    have as few decimals, six or more, as tell them apart.
    """
    order = np.argsort(score, kind="stable")
    share = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())[order].cumsum()
    at = np.searchsorted(share, np.arange(1, bins) / bins + 1e-12, side="right")
    edges = np.unique(score[order][np.minimum(at, len(score) - 1)])
    edges = edges[(edges > score.min()) & (edges > 0) & (edges < 1)]
    for decimals in range(6, 18):
        rounded = np.unique(np.round(edges, decimals))
        if len(rounded) == len(edges):
            break
    return tuple(edge for edge in rounded.tolist() if 0 < edge < 1)
