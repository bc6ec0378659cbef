"""Reading PromQL by its syntax tree: what an expression uses, how far back it looks, what makes two of them equal."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any

import promql_parser as promql

from harness.rules.durations import TOKEN

# Prometheus 2 has it and the parser does not.
promql.register_extra_functions(
    [
        promql.Function(
            "holt_winters",
            [promql.ValueType.Matrix, promql.ValueType.Scalar, promql.ValueType.Scalar],
            promql.ValueType.Vector,
        )
    ]
)

DEEPEST = 200
OPERATORS, SET_OPERATORS = "+-*/%^<>=!", ("and", "or", "unless", "atan2")
ANY = "*"  # stands for "metrics that cannot be named" among the metrics an expression uses


@lru_cache(maxsize=1024)
def parse(expr: str) -> Any:
    """The syntax tree of an expression. Raises ValueError with the parser's reason."""
    if _deepest(expr) > DEEPEST:  # the parser would end the process
        raise ValueError(f"it is more than {DEEPEST} operators and brackets deep; split it by recording rules")
    return promql.parse(TOKEN.sub(_requoted, expr))


def _deepest(expr: str) -> int:
    """How deep the tree of an expression may be at most, by its operators and brackets alone."""
    levels, deep, deepest, selecting = [0], 0, 0, False  # operators of each open bracket since its last comma
    for token in TOKEN.finditer(expr):
        kind, text = token.lastgroup, token.group()
        selecting = text == "{" or (selecting and text != "}")
        if selecting:
            continue
        if text == "(":
            levels.append(0)
            deep += 1
        elif text in (")", ",") and (text == "," or len(levels) > 1):
            deep -= levels.pop() + (text == ")")
            levels += [0] if text == "," else []
        elif kind == "bracket" or (kind == "other" and text in OPERATORS) or text.lower() in SET_OPERATORS:
            levels[-1] += 1
            deep += 1
        deepest = max(deepest, deep)
    return deepest


def _requoted(token: re.Match[str]) -> str:
    """A raw string in plain quotes: the parser takes a backslash in `...` for an escape, Prometheus does not."""
    text = token.group()
    return json.dumps(text[1:-1], ensure_ascii=False) if token.lastgroup == "string" and text[0] == "`" else text


def children(node: Any) -> list[Any]:
    """The expressions directly inside a node, in the order they are written."""
    match node:
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql.AggregateExpr():
            return [node.expr] if node.param is None else [node.param, node.expr]
        case promql.Call():
            return list(node.args)
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return [node.expr]
    return []


def walk(node: Any) -> Iterator[Any]:
    """A node and everything inside it."""
    yield node
    for child in children(node):
        yield from walk(child)


def metrics_used(expr: str) -> set[str]:
    """The names of the metrics an expression selects; "*" among them when a selector names no single metric."""
    return {metric(node) for node in walk(parse(expr)) if isinstance(node, promql.VectorSelector)}


def longest_window_s(expr: str) -> float:
    """How far back in seconds the expression looks from where it is evaluated, ranges, offsets and subqueries added up.

    The lookback of a plain selector does not count: an expression without windows gives 0.
    """
    return max(edges_s(expr))


def edges_s(expr: str) -> set[float]:
    """Where its windows begin and end, in seconds before it is evaluated; 0 is among them."""
    return {edge.total_seconds() for edge in _edges(parse(expr), timedelta()) if edge >= timedelta()}


def shape(node: Any) -> tuple[Any, list[timedelta]]:
    """The structure of a tree, and its durations apart: trees of equal shape differ in their durations at most."""
    durations: list[timedelta] = []

    def bare(value: Any) -> Any:
        if isinstance(value, timedelta):
            durations.append(value)
            return timedelta
        if isinstance(value, list):
            return [bare(item) for item in value]
        if isinstance(value, promql.Function):
            return value.name
        if isinstance(value, promql.TokenType):
            return str(value)
        if isinstance(value, _RECORDS):
            fields = [
                name for name in sorted(dir(value)) if not name.startswith("_") and not callable(getattr(value, name))
            ]
            return (type(value).__name__, [(name, bare(getattr(value, name))) for name in fields])
        return repr(value)  # a name, a number (NaN equals itself this way), an enumeration, nothing

    return bare(node), durations


_RECORDS = (
    promql.Expr,
    promql.Matchers,
    promql.Matcher,
    promql.AtModifier,
    promql.AggModifier,
    promql.BinModifier,
    promql.LabelModifier,
    promql.VectorMatchFillValues,
)


def metric(selector: Any) -> str:
    """The metric that a selector names; "*" where it names no single one."""
    if selector.name:
        return selector.name
    names = [m.value for m in selector.matchers.matchers if m.name == "__name__" and m.op == promql.MatchOp.Equal]
    return names[0] if names and not selector.matchers.or_matchers else ANY


def _edges(node: Any, end: timedelta) -> Iterator[timedelta]:
    yield end
    if isinstance(node, promql.MatrixSelector):
        end += node.vector_selector.offset or timedelta()
        yield from (end, end + node.range)
        return
    if isinstance(node, promql.SubqueryExpr | promql.VectorSelector):
        end += node.offset or timedelta()
        yield end
    if isinstance(node, promql.SubqueryExpr):
        end += node.range
    for child in children(node):
        yield from _edges(child, end)


def always_fires(expr: str) -> bool:
    """Whether an alert of this expression fires by its form alone: it gives a number, whatever is recorded."""
    try:
        return _constant(parse(expr)) is not None
    except (ValueError, RecursionError):
        return False


def _constant(node: Any) -> float | None:
    """The number an expression always gives; None where it is another or none at times, or not known."""
    match node:
        case promql.NumberLiteral():
            return node.val
        case promql.ParenExpr():
            return _constant(node.expr)
        case promql.UnaryExpr():
            return None if (value := _constant(node.expr)) is None else -value
        case promql.Call() if node.func.name in ("vector", "scalar"):
            return _constant(node.args[0])
        case promql.Call() if node.func.name in ("time", "pi"):
            return math.nan  # a number that no comparison may rest on
        case promql.BinaryExpr() if str(node.op) == "or":
            return next((v for side in (node.lhs, node.rhs) if (v := _constant(side)) is not None), None)
        case promql.BinaryExpr() if str(node.op) in _COMPARISONS:
            left, right = _constant(node.lhs), _constant(node.rhs)
            if left is None or right is None:
                return None
            holds = _COMPARISONS[str(node.op)](left, right)
            if node.modifier is not None and node.modifier.return_bool:
                return float(holds)
            return left if holds and not math.isnan(left + right) else None
        case promql.BinaryExpr() if str(node.op) in ("+", "-", "*"):
            left, right = _constant(node.lhs), _constant(node.rhs)
            return None if left is None or right is None else _ARITHMETIC[str(node.op)](left, right)
    return None


_ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
