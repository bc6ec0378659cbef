"""Values that are moments, by their use: whatever is compared with the clock or subtracted from it.

The clock of promtool's test begins at 0. Rules that read it get it moved to the present instead, so that a moment keeps
its value and its distance to the clock, in seconds or milliseconds, past or future.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import promql_parser as promql

from harness.rules.durations import TOKEN
from harness.rules.expression import children, metric, metrics_used, parse, walk
from harness.rules.rulefile import RecordingRule, Rule

_CLOCK = {"time", "timestamp"}
_CALENDAR = {"minute", "hour", "month", "year", "days_in_month", "day_of_month", "day_of_week", "day_of_year"}
_COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
# Their result is one of the values that they are given, or between them.
_KEEP = {"abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max", "scalar", "vector", "sort", "sort_desc"}
_KEEP |= {"label_replace", "label_join"}
_KEEP |= {f"{what}_over_time" for what in ("avg", "min", "max", "last", "first", "quantile")}
_KEEP_AGGREGATES = {"min", "max", "avg", "sum", "topk", "bottomk", "quantile"}  # a sum may be of one series


def moments(rules: Iterable[Rule]) -> set[str]:
    """The metrics that rules use as moments, also through recordings, and those recordings."""
    rules = list(rules)
    trees = [parse(rule.expr) for rule in rules]
    recorded = [(rule.name, tree) for rule, tree in zip(rules, trees, strict=True) if isinstance(rule, RecordingRule)]
    found: set[str] = set()
    while True:
        known = len(found)
        for node in (node for tree in trees for node in walk(tree)):
            found |= _compared(node, found)
        for name, tree in recorded:
            if name in found:
                found |= _carried(tree)
            elif _is_moment(tree, found):
                found.add(name)
        if len(found) == known:
            return found


def reads_clock(expr: str) -> bool:
    """Whether the expression is one for `with_clock`. What Prometheus writes of alerts has the test's own clock."""
    called = {node.func.name for node in walk(parse(expr)) if isinstance(node, promql.Call)}
    return bool(called & _CLOCK) and "ALERTS_FOR_STATE" not in metrics_used(expr)


def with_clock(expr: str, ahead: str) -> str:
    """An expression with so many seconds added to time() and timestamp(), and every other character as it was."""
    tokens = [(token.lastgroup, token.group()) for token in TOKEN.finditer(expr)]
    solid = [i for i, (kind, _) in enumerate(tokens) if kind != "skip"]
    texts = [text for _, text in tokens]
    for i, opening in pairwise(solid):
        if tokens[i] in (("word", "time"), ("word", "timestamp")) and tokens[opening][1] == "(":
            closing, depth = opening, 1
            while depth:
                closing += 1
                depth += {"(": 1, ")": -1}.get(tokens[closing][1], 0)
            texts[i] = "(" + texts[i]
            texts[closing] += f" + {ahead})"
    return "".join(texts)


def _compared(node: Any, known: set[str]) -> set[str]:
    """The metrics that a node takes for moments."""
    if isinstance(node, promql.Call) and node.func.name in _CALENDAR:
        return set().union(*map(_carried, node.args))
    if isinstance(node, promql.BinaryExpr) and str(node.op) in _COMPARISONS | {"-"}:
        left, right = children(node)
        if _is_moment(left, known) or _is_moment(right, known):
            return _carried(left) | _carried(right)
    return set()


def _is_moment(node: Any, known: set[str]) -> bool:
    """Whether the value of a node is a moment and no duration."""
    match node:
        case promql.VectorSelector() | promql.MatrixSelector():
            selector = node if isinstance(node, promql.VectorSelector) else node.vector_selector
            return metric(selector) in known
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _is_moment(node.expr, known)
        case promql.AggregateExpr():
            return str(node.op) in _KEEP_AGGREGATES and _is_moment(node.expr, known)
        case promql.Call():
            name = node.func.name
            return name in _CLOCK or (name in _KEEP and any(_is_moment(arg, known) for arg in node.args))
        case promql.BinaryExpr():
            left, right = (_is_moment(side, known) for side in children(node))
            match str(node.op):
                case "-":
                    return left and not right and not _selects(node.rhs)
                case "+" | "*" | "/" | "or":
                    return left or right
                case op if op in _COMPARISONS | {"and", "unless"}:
                    return left and not (node.modifier and node.modifier.return_bool)
    return False


def _carried(node: Any) -> set[str]:
    """The metrics whose values a node's value is one of, or is moved or scaled from."""
    match node:
        case promql.VectorSelector():
            return {metric(node)}
        case promql.MatrixSelector() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _carried(children(node)[0])
        case promql.AggregateExpr():
            return _carried(node.expr) if str(node.op) in _KEEP_AGGREGATES else set()
        case promql.Call():
            return set().union(*map(_carried, node.args)) if node.func.name in _KEEP else set()
        case promql.BinaryExpr():
            left, right = map(_carried, children(node))
            op = str(node.op)
            return left if op in _COMPARISONS | {"and", "unless"} else left | right if op in "+-*/or" else set()
    return set()


def _selects(node: Any) -> bool:
    return any(isinstance(inner, promql.VectorSelector) for inner in walk(node))
