"""When an alert must be known of, from its configuration alone: bounds that a measured time is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import promql_parser as promql

from harness.rules.expression import children, longest_window_s, metrics_used, parse, walk
from harness.rules.rulefile import AlertRule, RecordingRule

_COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}
# Over a window that lies wholly in the fault these say what the fault does, and go on saying it while it lasts.
_SETTLING = {
    "rate",
    "irate",
    "increase",
    "histogram_quantile",
    "absent",
    "abs",
    "sort",
    "sort_desc",
    "scalar",
    "vector",
}
_SETTLING |= {f"{what}_over_time" for what in ("avg", "min", "max", "sum", "count", "last", "quantile")}


def detection_bounds(
    rule: AlertRule,
    scrape_s: float,
    evaluation_s: float,
    group_wait_s: float = 0.0,
    *,
    records: Sequence[RecordingRule] = (),
    slack_s: float = 0.0,
) -> tuple[float, float] | None:
    """The earliest and latest a step fault is notified of, in seconds after it began; all arguments are production's.

    A step fault begins at once, holds, and is strong enough that a window wholly inside it satisfies the rule.
    `slack_s` is what else may take time: delivery, or a scrape that ends by its timeout. With a group wait of 0 these
    are the bounds of firing itself. None where the rule's form does not tell: trends, clocks, `or`, `unless`, no number
    to compare with, unknown recordings.
    """
    windows_s = _windows_s(rule.expr, {record.name: record for record in records}, evaluation_s)
    if windows_s is None:
        return None
    every_s = rule.interval_s or evaluation_s
    waits_s = math.ceil(rule.for_s / every_s - 1e-9) * every_s + float(group_wait_s)
    return waits_s, scrape_s + every_s + windows_s + waits_s + slack_s


def _windows_s(expr: str, records: dict[str, RecordingRule], evaluation_s: float) -> float | None:
    """How long at most until all of what an alert's expression looks at lies in the fault; None: not known."""
    tree = parse(expr)
    if not all(_threshold(part) for part in _conjuncts(tree)) or not all(_settles(node) for node in walk(tree)):
        return None
    recorded_s = 0.0
    for name in metrics_used(expr):
        record = records.get(name)
        if record is None and ":" in name:
            return None  # by its name a recording, and not one we know
        if record is not None:
            inner = _recorded_s(record, records, evaluation_s)
            if inner is None:
                return None
            recorded_s = max(recorded_s, inner)
    return longest_window_s(expr) + recorded_s


def _recorded_s(record: RecordingRule, records: dict[str, RecordingRule], evaluation_s: float) -> float | None:
    """A recording lags by its own window and by one evaluation; one that reads others is not predicted."""
    used = metrics_used(record.expr)
    if used & records.keys() or any(":" in name for name in used) or not all(map(_settles, walk(parse(record.expr)))):
        return None
    return longest_window_s(record.expr) + (record.interval_s or evaluation_s)


def _conjuncts(node: Any) -> list[Any]:
    if isinstance(node, promql.ParenExpr):
        return _conjuncts(node.expr)
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "and":
        return [part for side in children(node) for part in _conjuncts(side)]
    return [node]


def _threshold(node: Any) -> bool:
    """Something compared with a number, or nothing but whether a series is there."""
    if isinstance(node, promql.Call) and node.func.name == "absent":
        return True
    if not isinstance(node, promql.BinaryExpr) or str(node.op) not in _COMPARISONS:
        return False
    return any(isinstance(side, promql.NumberLiteral) for side in children(node))


def _settles(node: Any) -> bool:
    match node:
        case promql.Call():
            return node.func.name in _SETTLING
        case promql.BinaryExpr():
            return str(node.op) not in ("or", "unless")
        case promql.VectorSelector() | promql.SubqueryExpr():
            return node.at is None and (node.offset is None or node.offset.total_seconds() >= 0)
    return True
