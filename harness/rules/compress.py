"""A copy of alert rules in which time runs K times faster: every duration divided by K and nothing else changed.

With scrape and evaluation intervals divided by the same K, everything that is counted in samples stays as it was. What
is written in seconds or in events does not, so a rule that decides by them is refused: replay proves it instead. A text
of an alert may ask by PromQL too: that is compressed like the rule, or it is left and not judged live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import promql_parser as promql

from harness.errors import HarnessError
from harness.rules import counts, rulefile, templates
from harness.rules.durations import NEAR, scale_duration, scale_promql
from harness.rules.expression import longest_window_s, metrics_used, parse, shape, walk
from harness.rules.rulefile import AlertRule, RecordingRule, Rule
from harness.units import prometheus_duration, prometheus_seconds

MOST = 60  # measured: at 300 a window holds two events and the phase of a scrape is 30 s of production
SHORTEST_S = 0.1  # gate seconds from scrape to scrape and evaluation to evaluation that Prometheus keeps up with
FEWEST_SCRAPES = 4  # in a window: two are the floor with perfectly regular scrapes
LONGEST_S = 90.0  # gate seconds a rule may look back: from one experiment to the one after the next

MICROSECOND = timedelta(microseconds=1)
_GROUP_DURATIONS = ("interval", "query_offset")
_RULE_DURATIONS = ("for", "keep_firing_for")
_TEXTS = ("labels", "annotations")


def refusals(rule: Rule, time_scale: int | Fraction, scrape_s: float, evaluation_s: float) -> list[str]:
    """Why a compressed copy of the rule would not be equivalent to it, a sentence each; empty when it would be.

    `scrape_s` and `evaluation_s` are production's intervals; the gate's are K times shorter.
    """
    if not 1 <= time_scale <= MOST:
        return [f"time can be compressed 1 to {MOST} times, not {time_scale}"]
    often = min(scrape_s, rule.interval_s or evaluation_s)
    if often / time_scale < SHORTEST_S:
        return [
            f"every {often:g} s of production is every {float(often / time_scale):.3g} s here: at least {SHORTEST_S} s"
        ]
    tree = parse(rule.expr)
    reasons = []
    try:
        scale_promql(rule.expr, time_scale)
        for seconds in _waits_s(rule):
            scale_duration(prometheus_duration(seconds), time_scale)
    except ValueError as error:
        reasons.append(f"its durations cannot be divided by {time_scale}: {error}")
    for name in sorted(counts.elapsed(tree)):
        reasons.append(f"{name} counts the time since a start, which runs as fast in the gate as in production")
    called = {node.func.name for node in walk(tree) if isinstance(node, promql.Call)}
    for name in sorted(called & counts.CLOCK):
        reasons.append(f"{name}() reads the wall clock, which runs as fast in the gate as in production")
    if "predict_linear" in called:
        reasons.append("predict_linear() looks a literal number of seconds ahead, which no window scales")
    if "absent_over_time" in called:
        reasons.append("absent_over_time() fires falsely when its shortened window is within a start-up or scrape gap")
    if any(getattr(node, "at", None) is not None for node in walk(tree)):
        reasons.append("@ names a fixed moment, which is another one in the gate")
    try:
        falls = counts.power(tree)
        if falls and not isinstance(rule, AlertRule):
            raise ValueError("a recorded value")
    except ValueError:
        names = " and ".join(f"{name}()" for name in sorted(called & counts.IN_WINDOW))
        reasons.append(
            f"{names} depends on how much happens in a window, {time_scale} times less in one so much shorter, and is "
            "set against a fixed figure; a rate, a ratio or a comparison with 0 would be safe"
        )
    windows_s = {node.range.total_seconds() for node in walk(tree) if isinstance(node, promql.MatrixSelector)}
    for window_s in sorted(windows_s):
        if window_s < FEWEST_SCRAPES * scrape_s:
            window, scrapes = prometheus_duration(window_s), window_s / scrape_s
            reasons.append(f"its window of {window} holds {scrapes:g} scrapes; at least {FEWEST_SCRAPES} are needed")
    if (back_s := longest_window_s(rule.expr)) > LONGEST_S * time_scale:
        reasons.append(
            f"it looks back {prometheus_duration(back_s)}, which is {float(back_s / time_scale):g} s here: it would "
            "hold the faults of earlier experiments against a later one"
        )
    return reasons


def compress(
    paths: Iterable[str | Path], time_scale: int | Fraction, scrape_s: float, evaluation_s: float
) -> tuple[str, dict[str, list[str]]]:
    """The text of one rules file with every rule that can be compressed, and why the others cannot.

    The second is keyed by str(rule.alert) or metric name. A rule that reads a refused recording is refused with it.
    The first begins with what `remarks` gives, as comments. Raises PlanError for files that cannot be read,
    HarnessError when the copy turns out not to be equivalent.
    """
    copy = _Copy(paths, time_scale, scrape_s, evaluation_s)
    return "".join(f"# {' '.join(line.split())}\n" for line in copy.remarks()) + rulefile.dump(copy.groups()), copy.why


def remarks(paths: Iterable[str | Path], time_scale: int | Fraction, scrape_s: float, evaluation_s: float) -> list[str]:
    """What of the copy is not judged live although its rule is: a sentence for each text of an alert that asks by
    PromQL for what cannot be compressed."""
    return _Copy(paths, time_scale, scrape_s, evaluation_s).remarks()


class _Copy:
    """The rules that can be compressed, and why the others cannot."""

    def __init__(
        self, paths: Iterable[str | Path], time_scale: int | Fraction, scrape_s: float, evaluation_s: float
    ) -> None:
        paths = list(paths)
        self.scales = time_scale, scrape_s, evaluation_s
        self.files = [rulefile.groups(path) for path in paths]
        self.rules = [rule for groups in self.files for _, rules in groups for _, rule in rules]
        refused: dict[int, list[str]] = {}  # by place in rules: two may share a name
        of_groups = [_undivided(group, time_scale) for groups in self.files for group, rules in groups for _ in rules]
        for i, (rule, reasons) in enumerate(zip(self.rules, of_groups, strict=True)):
            if reasons := refusals(rule, *self.scales) or reasons:
                refused[i] = reasons
        while lost := {
            i: sorted(missing)
            for i, rule in enumerate(self.rules)
            if i not in refused and (missing := _made(self.rules[j] for j in refused) & metrics_used(rule.expr))
        }:
            refused.update({i: [_reads(names)] for i, names in lost.items()})
        self.refused, self.lost = refused.keys(), _made(self.rules[j] for j in refused)
        alerts = iter(rulefile.load(paths) if self.rules else ())
        self.names = [str(next(alerts).alert) if isinstance(rule, AlertRule) else rule.name for rule in self.rules]
        self.why: dict[str, list[str]] = {}
        for i, reasons in refused.items():
            given = self.why.setdefault(self.names[i], [])
            given += [reason for reason in reasons if reason not in given]

    def groups(self) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """The groups of the copy, as `rulefile.dump` takes them. Raises HarnessError when they are not equivalent."""
        kept = []
        for group, originals in self._originals():
            k = self.scales[0]
            rules = [self._scaled_rule(raw) for _, raw in originals]
            copy = _scaled(group, _GROUP_DURATIONS, k) if rules else group, rules
            if rules:
                _verify(group, [raw for _, raw in originals], *copy, k)
            kept.append(copy)
        return kept

    def remarks(self) -> list[str]:
        """Each text with a query that is not compressed, and why."""
        return [
            f"{name}: its {kind.removesuffix('s')} {key} is not judged live: {why}"
            for _, originals in self._originals()
            for name, raw in originals
            for kind in _TEXTS
            for key, text in (raw.get(kind) or {}).items()
            for query in templates.queries(text)
            for why in self._unlike(query.expr, query.text)
        ]

    def _originals(self) -> Iterator[tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]]:
        at = 0
        for groups in self.files:
            for group, rules in groups:
                kept = [(self.names[i], raw) for i, (raw, _) in enumerate(rules, at) if i not in self.refused]
                at += len(rules)
                yield group, kept

    def _unlike(self, expr: str | None, text: str) -> list[str]:
        """Why a query of a text would not find what it finds in production; empty when it would."""
        if expr is None:
            return [f"what {text} asks is known only when it is filled in"]
        try:
            gone = sorted(self.lost & metrics_used(expr))
        except ValueError as error:
            return [f"{text} is no PromQL: {error}"]
        reasons = refusals(RecordingRule("", expr), *self.scales) + ([_reads(gone)] if gone else [])
        return [f"{text}: {reason}" for reason in reasons]

    def _scaled_rule(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        k = self.scales[0]

        def scaled(expr: str) -> str:
            return expr if self._unlike(expr, "") else scale_promql(expr, k)

        texts = {
            kind: {key: templates.exchanged(text, scaled) for key, text in raw[kind].items()}
            for kind in _TEXTS
            if raw.get(kind)
        }
        return {**_scaled(raw, _RULE_DURATIONS, k), **texts, "expr": scale_promql(raw["expr"], k)}


def _undivided(group: Mapping[str, Any], time_scale: int | Fraction) -> list[str]:
    try:
        _scaled(group, _GROUP_DURATIONS, time_scale)
    except ValueError as error:
        return [f"its group's durations cannot be divided by {time_scale}: {error}"]
    return []


def _reads(names: Iterable[str]) -> str:
    return f"it reads {', '.join(names)}, which cannot be compressed"


def verify_equivalent(original_expr: str, compressed_expr: str, time_scale: int | Fraction) -> list[str]:
    """What differs between two expressions beyond every duration being in the ratio K; empty when nothing does."""
    (before, long), (after, short) = (shape(parse(expr)) for expr in (original_expr, compressed_expr))
    if before != after:
        return ["they differ in more than durations"]
    pairs = zip(long, short, strict=True)
    return [f"{a} and {b} are not in the ratio {time_scale}" for a, b in pairs if not _in_ratio(a, b, time_scale)]


def _in_ratio(long: timedelta, short: timedelta, time_scale: int | Fraction) -> bool:
    """Whether two durations are in the ratio K, the shorter to the millisecond."""
    scaled, got = (Fraction(each / MICROSECOND) for each in (long, short))
    return abs(scaled / Fraction(time_scale) - got) <= min(500, NEAR * abs(got))


def _made(rules: Iterable[Rule]) -> set[str]:
    """The metrics that rules write."""
    return set().union(*({"ALERTS", "ALERTS_FOR_STATE"} if isinstance(r, AlertRule) else {r.name} for r in rules))


def _waits_s(rule: Rule) -> list[float]:
    own = [rule.for_s, rule.keep_firing_for_s] if isinstance(rule, AlertRule) else []
    return [*own, rule.interval_s or 0.0]


def _scaled(mapping: Mapping[str, Any], durations: Iterable[str], time_scale: int | Fraction) -> dict[str, Any]:
    return {**mapping, **{key: scale_duration(mapping[key], time_scale) for key in durations if key in mapping}}


def _verify(
    group: Mapping[str, Any],
    originals: Sequence[Mapping[str, Any]],
    scaled_group: Mapping[str, Any],
    copies: Sequence[Mapping[str, Any]],
    time_scale: int | Fraction,
) -> None:
    """Guards against a mistake of our own: raises HarnessError unless the copy is the original but for durations."""
    wrong = []
    pairs = [
        (group, scaled_group, _GROUP_DURATIONS),
        *((a, b, _RULE_DURATIONS) for a, b in zip(originals, copies, strict=True)),
    ]
    for before, after, durations in pairs:
        name = before.get("alert") or before.get("record") or before.get("name")
        if before.keys() != after.keys():
            wrong.append(f"{name}: keys")
        for key in before.keys() & after.keys() - {"rules"}:
            if key == "expr":
                same = not verify_equivalent(before[key], after[key], time_scale)
            elif key in durations:
                long, short = (timedelta(seconds=prometheus_seconds(text)) for text in (before[key], after[key]))
                same = _in_ratio(long, short, time_scale)
            elif key in _TEXTS:
                same = _same_texts(before[key] or {}, after[key] or {}, time_scale)
            else:
                same = before[key] == after[key]
            if not same:
                wrong.append(f"{name}: {key}")
    if wrong:
        raise HarnessError(f"the compressed rules are not equivalent to the originals: {', '.join(wrong)}")


def _same_texts(before: Mapping[str, str], after: Mapping[str, str], time_scale: int | Fraction) -> bool:
    """Whether texts differ in nothing but durations of their queries."""

    def exprs(text: str) -> list[str]:
        return [query.expr for query in templates.queries(text) if query.expr is not None]

    return before.keys() == after.keys() and all(
        old == after[key]
        or (
            templates.exchanged(old, lambda _: "") == templates.exchanged(after[key], lambda _: "")
            and all(
                a == b or not verify_equivalent(a, b, time_scale)
                for a, b in zip(exprs(old), exprs(after[key]), strict=True)
            )
        )
        for key, old in before.items()
    )
