"""What a PromQL expression is made of: its selectors, calls and aggregations, each with what stands around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser

Node = Any
CHILDREN = ("lhs", "rhs", "expr", "param", "vector_selector")


def kind(node: Node) -> str:
    return type(node).__name__


def walk(expr: str) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Every node of *expr* with those around it, outermost first.  Raises ValueError where it is no PromQL."""
    yield from _below(promql_parser.parse(expr), ())


def _below(node: Node, around: tuple[Node, ...]) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    yield node, around
    inner = [getattr(node, name, None) for name in CHILDREN] + list(getattr(node, "args", None) or [])
    for child in inner:
        if type(child).__module__.startswith("promql"):
            yield from _below(child, (*around, node))


def names(expr: str) -> set[str]:
    """Metrics and records that *expr* reads."""
    return {node.name for node, _ in walk(expr) if kind(node) == "VectorSelector" and node.name}


def top(expr: str) -> Node:
    """The outermost node, without parentheses."""
    node = promql_parser.parse(expr)
    while kind(node) == "ParenExpr":
        node = node.expr
    return node


# --- labels --------------------------------------------------------------------------------------


def kept_labels(expr: str) -> frozenset[str] | None:
    """The labels that every series of *expr* has, if the expression itself says so; None if it does not."""
    return _kept(promql_parser.parse(expr))


def _kept(node: Node) -> frozenset[str] | None:
    match kind(node):
        case "ParenExpr":
            return _kept(node.expr)
        case "AggregateExpr":
            return _grouping(node)
        case "BinaryExpr":
            return _kept_by_both(node)
        case "Call" if node.func.name == "histogram_quantile":
            inner = _kept(node.args[1])
            return None if inner is None else inner - {"le"}
        case "Call" if node.func.name in {"clamp_min", "clamp_max", "round"}:
            return _kept(node.args[0])
    return None


def _grouping(node: Node) -> frozenset[str] | None:
    """Labels of `by (...)`; none without, and unknown for `without (...)` and for those that only choose."""
    if str(node.op) in {"topk", "bottomk"}:
        return _kept(node.expr)
    if node.modifier is None:
        return frozenset()
    return frozenset(node.modifier.labels) if "By" in str(node.modifier.type) else None


def _kept_by_both(node: Node) -> frozenset[str] | None:
    """What arithmetic and comparison keep: the same on both sides; and what set operators keep: the left side."""
    if kind(node.lhs) == "NumberLiteral" or (kind(node.lhs) == "Call" and node.lhs.func.name == "time"):
        return _kept(node.rhs)
    if kind(node.rhs) == "NumberLiteral":
        return _kept(node.lhs)
    left, right = _kept(node.lhs), _kept(node.rhs)
    if str(node.op) in {"and", "unless"}:
        return left
    return left if left == right else None
