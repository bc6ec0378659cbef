"""How an expression's value changes when time is compressed: a rate per second does not, a count in a window shrinks.

The server does not run K times faster, so a window K times shorter holds K times fewer events. An expression is still
safe where that cancels out: in a ratio of two counts, in a quantile of them, in a comparison with zero.
"""

from __future__ import annotations

import re
from typing import Any

import promql_parser as promql

from harness.rules.expression import children, metric

# Their results are real seconds or dates, whatever a window is divided by.
CLOCK = {"time", "timestamp", "minute", "hour", "month", "year", "days_in_month"}
CLOCK |= {"day_of_month", "day_of_week", "day_of_year"}
# They shrink with their window.
IN_WINDOW = {"increase", "delta", "idelta", "changes", "resets"}
# Metrics that say for how long something runs, by their names; and what asks only whether that began anew.
ELAPSED = re.compile(r"\w*uptime\w*", re.IGNORECASE)
_ANEW = {"resets", "changes", "absent", "count", "group", "count_over_time", "present_over_time"}

# The same for a value and for a multiple of it.
_FREE = {"histogram_quantile", "histogram_fraction", "count_over_time", "present_over_time"}
_FREE |= {"absent", "absent_over_time", "sgn"}
_LINEAR = {
    "rate",
    "irate",
    "deriv",
    "holt_winters",
    "abs",
    "scalar",
    "vector",
    "sort",
    "sort_desc",
    "label_replace",
    "label_join",
}
_LINEAR |= {f"{what}_over_time" for what in ("avg", "min", "max", "sum", "last", "first", "quantile", "stddev", "mad")}
_LINEAR |= {"histogram_count", "histogram_sum"}
_LINEAR_AGGREGATES = {"sum", "avg", "min", "max", "topk", "bottomk", "quantile", "stddev"}
_COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


def elapsed(node: Any) -> set[str]:
    """The metrics of a tree whose value is the time since a start, and is used as that."""
    if isinstance(node, promql.VectorSelector):
        return {name} if ELAPSED.fullmatch(name := metric(node)) else set()
    if isinstance(node, promql.Call) and node.func.name in _ANEW:
        return set()
    if isinstance(node, promql.AggregateExpr) and str(node.op) in _ANEW:
        return set()
    return set().union(*map(elapsed, children(node)))


Power = int | None  # the value shrinks by K to that power; None: it is zero, which is the same at any scale


def power(node: Any) -> Power:
    """By which power of K the value of a tree shrinks. Raises ValueError where what shrinks meets what does not."""
    match node:
        case promql.NumberLiteral():
            return None if node.val == 0 else 0
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return power(node.expr)
        case promql.AggregateExpr():
            op, inner = str(node.op), power(node.expr)
            return inner if op in _LINEAR_AGGREGATES else _unscaled(op, inner)
        case promql.BinaryExpr():
            return _binary(str(node.op), bool(node.modifier and node.modifier.return_bool), *map(power, children(node)))
        case promql.Call():
            name, inner = node.func.name, _argument(node)
            if name in IN_WINDOW:
                return (inner or 0) + 1
            if name in _FREE:
                return 0
            return inner if name in _LINEAR else _unscaled(name, inner)
    return 0  # a selector, a string


def _argument(call: Any) -> Power:
    """The power of what a function is applied to; its settings (a quantile, a label's name) do not count."""
    settings = promql.NumberLiteral | promql.StringLiteral
    args = [arg for arg in call.args if not isinstance(arg, settings)] or call.args[:1]
    return _same(call.func.name, *map(power, args)) if args else 0


def _binary(op: str, as_bool: bool, left: Power, right: Power) -> Power:
    if op == "*":
        return None if left is None or right is None else left + right
    if op == "/":
        return None if left is None else left - (right or 0)
    if op in ("and", "unless"):
        return left
    both = _same(op, left, right)
    if op in _COMPARISONS:
        return 0 if as_bool else left
    return both if op in ("+", "-", "or") else _unscaled(op, both)


def _same(where: str, *powers: Power) -> Power:
    known = {p for p in powers if p is not None}
    if len(known) > 1:
        raise ValueError(where)
    return known.pop() if known else None


def _unscaled(where: str, inner: Power) -> Power:
    if inner:
        raise ValueError(where)
    return 0
