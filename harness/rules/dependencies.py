"""What rules read of each other: through which recordings and alerts, how far back, and in which order it matters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql

from harness.alert import NAME, Alert
from harness.rules import rulefile
from harness.rules.expression import longest_window_s, parse, walk
from harness.rules.rulefile import AlertRule, Rule

OF_ALERTS = ("ALERTS", "ALERTS_FOR_STATE")


@dataclass(frozen=True, eq=False)
class Entry:
    """One rule where it stands; two that are written alike are two."""

    rule: Rule
    raw: Mapping[str, Any]  # as written
    group: int  # which group of all files, in order
    header: Mapping[str, Any]  # the group's own keys, as written
    alert: Alert | None  # None: a recording rule


def entries(paths: Iterable[str | Path]) -> list[Entry]:
    """Every rule of the files, in order. Raises PlanError."""
    paths = list(paths)
    alerts = iter(rulefile.load(paths))
    groups = [group for path in paths for group in rulefile.groups(path)]
    return [
        Entry(rule, raw, place, header, next(alerts).alert if isinstance(rule, AlertRule) else None)
        for place, (header, rules) in enumerate(groups)
        for raw, rule in rules
    ]


class Dependencies:
    """Which rules each rule reads."""

    def __init__(self, of: Sequence[Entry]):
        self.entries = of
        self.reads = {entry: _read(entry, of) for entry in of}

    def through(self, some: Iterable[Entry]) -> list[Entry]:
        """Some rules, what they read, and what that reads."""
        found = dict.fromkeys(some)
        todo = list(found)
        while todo:
            new = [read for read in self.reads[todo.pop()] if read not in found]
            found.update(dict.fromkeys(new))
            todo += new
        return list(found)

    def reach_s(self, entry: Entry) -> float:
        """How many seconds before the present decide about a rule: its `for` and windows, and those of what it reads.

        What other alerts look back counts once: each of them is a state that it has now.
        """
        others = [e for e in self.through([entry]) if e.alert is not None and e is not entry]
        return max([self._recorded_s(entry, ())] + [_own_s(entry) + self._recorded_s(e, ()) for e in others])

    def _recorded_s(self, entry: Entry, above: tuple[Entry, ...]) -> float:
        above = (*above, entry)  # a recording that reads itself looks back no further by that
        inner = [self._recorded_s(e, above) for e in self.reads[entry] if e.alert is None and e not in above]
        return _own_s(entry) + max(inner, default=0.0)

    def readers_first(self, some: Sequence[Entry]) -> list[int]:
        """The groups of some rules in an order in which each group comes before those that it reads, where that can
        be; else, and among equals, as the files have them."""
        groups = list(dict.fromkeys(entry.group for entry in sorted(some, key=lambda entry: entry.group)))
        mine = set(some)
        read_by: dict[int, set[int]] = {group: set() for group in groups}
        for entry in some:
            for read in self.reads[entry]:
                if read in mine and read.group != entry.group:
                    read_by[read.group].add(entry.group)
        order: list[int] = []
        while left := [group for group in groups if group not in order]:
            order.append(next((group for group in left if read_by[group] <= set(order)), left[0]))
        return order


def _own_s(entry: Entry) -> float:
    return getattr(entry.rule, "for_s", 0.0) + longest_window_s(entry.rule.expr)


def _read(entry: Entry, of: Sequence[Entry]) -> list[Entry]:
    selectors = [node for node in walk(parse(entry.rule.expr)) if isinstance(node, promql.VectorSelector)]
    return [other for other in of if any(_may_select(selector, other) for selector in selectors)]


def _may_select(selector: Any, entry: Entry) -> bool:
    """Whether a selector may find what a rule makes, as far as the rule shows it. One that names no metric
    is not meant for alerts, though it may find them, unless it selects by what only they have."""
    matchers = [*selector.matchers.matchers, *(m for some in selector.matchers.or_matchers for m in some)]
    for_alerts = any(m.name in (NAME, "alertstate") or (m.name == "__name__" and "ALERTS" in m.value) for m in matchers)
    if entry.alert is not None and not selector.name and not for_alerts:
        return False
    for name in _names(entry):
        known = {"__name__": name}
        if entry.alert is not None:
            known |= dict(entry.alert.labels) | {NAME: entry.alert.name}
        fits = bool(selector.matchers.or_matchers) or all(
            matches(m, known[m.name]) for m in matchers if m.name in known
        )
        if selector.name in (None, "", name) and fits:
            return True
    return False


def _names(entry: Entry) -> tuple[str, ...]:
    """The metrics that a rule writes."""
    return (entry.rule.name,) if entry.alert is None else OF_ALERTS


def matches(matcher: Any, value: str) -> bool:
    """Whether a label's value is what a matcher of a selector asks for."""
    if matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual):
        return (matcher.value == value) == (matcher.op == promql.MatchOp.Equal)
    try:
        found = re.fullmatch(matcher.value, value) is not None
    except re.error:  # written for another engine
        return True
    return found == (matcher.op == promql.MatchOp.Re)
