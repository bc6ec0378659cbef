"""Which series the rules read: each selector with its place, and whether it is meant to match nothing at times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import promql_parser as promql

from harness.checks.view import Read
from harness.rules.expression import ANY, children, metric, parse
from harness.rules.rulefile import Rule

OPERATORS = (
    (promql.MatchOp.Equal, "="), (promql.MatchOp.NotEqual, "!="), (promql.MatchOp.Re, "=~"),
    (promql.MatchOp.NotRe, "!~"),
)  # fmt: skip


def reads(rules: Iterable[Rule]) -> tuple[Read, ...]:
    """Every selector of the rules, each once a rule; one that names no metric, or several, is left out."""
    found: dict[tuple, Read] = {}
    for rule in rules:
        for node, may_be_empty in _selectors(parse(rule.expr), False):
            name = metric(node)
            if name == ANY or node.matchers.or_matchers or name in ("ALERTS", "ALERTS_FOR_STATE"):
                continue
            matchers = tuple(
                (m.name, next(text for op, text in OPERATORS if op == m.op), m.value)
                for m in node.matchers.matchers
                if m.name != "__name__"
            )
            read = Read(f"{rule.file}:{rule.line}", rule.name, _text(name, matchers), name, matchers, may_be_empty)
            before = found.get((read.place, read.selector))
            if before is None or before.may_be_empty:
                found[read.place, read.selector] = read
    return tuple(found.values())


def _text(name: str, matchers: Iterable[tuple[str, str, str]]) -> str:
    inner = ", ".join(f'{label}{op}"{value}"' for label, op, value in matchers)
    return f"{name}{{{inner}}}" if inner else name


def _selectors(node: Any, may_be_empty: bool) -> Iterator[tuple[Any, bool]]:
    match node:
        case promql.VectorSelector():
            yield node, may_be_empty
        case promql.Call() if node.func.name in ("absent", "absent_over_time"):
            yield from _selectors(node.args[0], True)
        case promql.BinaryExpr() if str(node.op) in ("or", "unless"):
            yield from _selectors(node.lhs, may_be_empty or str(node.op) == "or")
            yield from _selectors(node.rhs, True)
        case _:
            for child in children(node):
                yield from _selectors(child, may_be_empty)
