"""Which labels the results of an expression can have, by its form alone: what a template or a route may count on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import promql_parser as promql

from harness.rules.expression import children, metric, parse
from harness.rules.rulefile import RecordingRule

DEEPEST = 8  # recordings of recordings that are followed
KEEPS_ALL = {"topk", "bottomk", "limitk", "limit_ratio"}
_CARD = promql.VectorMatchCardinality
WITHOUT_LABELS = {"vector", "scalar", "time", "pi"}


@dataclass(frozen=True)
class Carried:
    """The labels of one kind of result. `known`: those whose value the expression says. `only`: all that it can have;
    None: whatever its series have. `lacks`: those that it cannot have all the same."""

    known: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] | None = None
    lacks: frozenset[str] = frozenset()

    def may_have(self, name: str) -> bool:
        """Whether a result can have a label of this name."""
        return name not in self.lacks and (self.only is None or name in self.only)

    def kept(self, names: Iterable[str]) -> Carried:
        """With these labels alone."""
        names = frozenset(name for name in names if self.may_have(name))
        return Carried({k: v for k, v in self.known.items() if k in names}, names)

    def dropped(self, names: Iterable[str]) -> Carried:
        """Without these labels."""
        names = frozenset(names)
        only = None if self.only is None else self.only - names
        return Carried({k: v for k, v in self.known.items() if k not in names}, only, self.lacks | names)

    def gained(self, names: Iterable[str]) -> Carried:
        """With these labels added, their values not known."""
        names = frozenset(names)
        only = None if self.only is None else self.only | names
        return Carried({k: v for k, v in self.known.items() if k not in names}, only, self.lacks - names)

    def with_labels(self, labels: Mapping[str, str]) -> Carried:
        """With the labels that a rule adds."""
        return replace(self.gained(labels), known={**self.known, **labels})


ANYTHING = Carried()
NOTHING = Carried(only=frozenset())


def carried(expr: str, recordings: Sequence[RecordingRule] = ()) -> tuple[Carried, ...]:
    """Each kind of result that an expression may give; `or` gives several. `recordings`: those that it may read."""
    by_name: dict[str, list[RecordingRule]] = {}
    for rule in recordings:
        by_name.setdefault(rule.name, []).append(rule)
    found: list[Carried] = []
    for each in _Reader(by_name).of(parse(expr), 0):
        found += [] if each in found else [each]
    return tuple(found)


@dataclass(frozen=True)
class _Reader:
    recordings: Mapping[str, Sequence[RecordingRule]]

    def of(self, node: Any, deep: int) -> list[Carried]:
        match node:
            case promql.VectorSelector():
                return self._selected(node, deep)
            case promql.AggregateExpr():
                return [self._aggregated(node, inner) for inner in self.of(node.expr, deep)]
            case promql.Call():
                return self._called(node, deep)
            case promql.BinaryExpr():
                return self._combined(node, deep)
            case promql.NumberLiteral() | promql.StringLiteral():
                return [NOTHING]
        inner = children(node)
        return self.of(inner[0], deep) if len(inner) == 1 else [ANYTHING]

    def _selected(self, node: Any, deep: int) -> list[Carried]:
        if node.matchers.or_matchers:
            return [ANYTHING]
        known, lacks = _matched(node)
        made = [] if deep >= DEEPEST else self.recordings.get(metric(node), ())
        results = [each.with_labels(dict(rule.labels)) for rule in made for each in self.of(parse(rule.expr), deep + 1)]
        fitting = [
            replace(each.gained(()), known={**each.known, **known}, lacks=each.lacks | lacks)
            for each in results or [ANYTHING]
            if all(each.may_have(name) and each.known.get(name, value) == value for name, value in known.items())
        ]
        return fitting or [Carried(known, None, lacks)]

    def _aggregated(self, node: Any, inner: Carried) -> Carried:
        op, by = str(node.op), node.modifier
        if op in KEEPS_ALL:
            return inner
        names = list(by.labels) if by is not None else []
        made = (
            inner.dropped(names) if by is not None and by.type == promql.AggModifierType.Without else inner.kept(names)
        )
        return made.gained([getattr(node.param, "val", "")]) if op == "count_values" else made

    def _called(self, node: Any, deep: int) -> list[Carried]:
        name, args = node.func.name, node.args
        if name in WITHOUT_LABELS:
            return [NOTHING]
        if name in ("absent", "absent_over_time"):
            selector = args[0].vector_selector if isinstance(args[0], promql.MatrixSelector) else args[0]
            while isinstance(selector, promql.ParenExpr):
                selector = selector.expr
            known = _matched(selector)[0] if isinstance(selector, promql.VectorSelector) else {}
            return [Carried(known, frozenset(known))]
        vectors = [arg for arg in args if not isinstance(arg, promql.StringLiteral) and not _scalar(arg)]
        if not vectors:
            return [NOTHING]
        found = self.of(vectors[0], deep)
        if name in ("label_replace", "label_join"):
            return [each.gained([getattr(args[1], "val", "")]) for each in found]
        if name == "histogram_quantile":
            return [each.dropped(["le"]) for each in found]
        return [ANYTHING] if name == "info" else found

    def _combined(self, node: Any, deep: int) -> list[Carried]:
        left, right, op = self.of(node.lhs, deep), self.of(node.rhs, deep), str(node.op)
        if op == "or":
            return [*left, *right]
        if op in ("and", "unless"):
            return left
        if _scalar(node.lhs) or _scalar(node.rhs):
            return right if _scalar(node.lhs) else left
        how = node.modifier
        if how is None:
            return [_merged(each, right) for each in left]
        if how.card in (_CARD.ManyToOne, _CARD.OneToMany):
            many = left if how.card == _CARD.ManyToOne else right
            return [each.gained(how.group_labels or ()) for each in many]
        if how.matching is None:
            return [_merged(each, right) for each in left]
        names = how.matching.labels
        if how.matching.type == promql.LabelModifierType.Include:
            return [each.kept(names) for each in left]
        return [each.dropped(names) for each in left]


def _merged(left: Carried, right: Sequence[Carried]) -> Carried:
    """What a result has whose two sides must have the same labels."""
    if len(right) != 1:
        return left
    other = right[0]
    only = left.only if other.only is None else other.only if left.only is None else left.only & other.only
    lacks = left.lacks | other.lacks
    known = {k: v for k, v in {**other.known, **left.known}.items() if (only is None or k in only) and k not in lacks}
    return Carried(known, only, lacks)


def _matched(selector: Any) -> tuple[dict[str, str], frozenset[str]]:
    """The labels whose values a selector says, and those that it says are not there."""
    equal = [m for m in selector.matchers.matchers if m.op == promql.MatchOp.Equal and m.name != "__name__"]
    return {m.name: m.value for m in equal if m.value}, frozenset(m.name for m in equal if not m.value)


def _scalar(node: Any) -> bool:
    match node:
        case promql.NumberLiteral():
            return True
        case promql.ParenExpr() | promql.UnaryExpr():
            return _scalar(node.expr)
        case promql.Call():
            return node.func.name in ("scalar", "time", "pi")
        case promql.BinaryExpr():
            return _scalar(node.lhs) and _scalar(node.rhs)
    return False
