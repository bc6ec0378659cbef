"""A copy of alert rules in which time runs K times faster: every duration divided by K and nothing else changed.

With scrape and evaluation intervals divided by the same K, everything that is counted in samples stays as it was. What
is written in seconds or in events does not, so a rule that decides by them is refused: replay proves it instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import promql_parser as promql

from harness.errors import HarnessError
from harness.rules import counts, rulefile
from harness.rules.durations import scale_duration, scale_promql
from harness.rules.expression import longest_window_s, metrics_used, parse, shape, walk
from harness.rules.rulefile import AlertRule, Rule
from harness.units import prometheus_duration, prometheus_seconds

MOST = 60  # measured: at 300 a window holds two events and the phase of a scrape is 30 s of production
SHORTEST_S = 0.1  # gate seconds from scrape to scrape and evaluation to evaluation that Prometheus keeps up with
FEWEST_SCRAPES = 4  # in a window: two are the floor with perfectly regular scrapes
LONGEST_S = 90.0  # gate seconds a rule may look back: from one experiment to the one after the next

_GROUP_DURATIONS = ("interval", "query_offset")
_RULE_DURATIONS = ("for", "keep_firing_for")


def refusals(rule: Rule, time_scale: int | Fraction, scrape_s: float, evaluation_s: float) -> list[str]:
    """Why a compressed copy of the rule would not be equivalent to it, a sentence each; empty when it would be.

    `scrape_s` and `evaluation_s` are production's intervals; the gate's are K times shorter.
    """
    if not 1 <= time_scale <= MOST:
        return [f"time can be compressed 1 to {MOST} times, not {time_scale}"]
    if min(scrape_s, evaluation_s) / time_scale < SHORTEST_S:
        often = min(scrape_s, evaluation_s)
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

    The second is keyed by alert (`str` of it) or metric name. A rule that reads a refused recording is refused with it.
    Raises PlanError for files that cannot be read, HarnessError when the copy turns out not to be equivalent.
    """
    files = [rulefile.groups(path) for path in paths]
    entries = [entry for groups in files for _, rules in groups for entry in rules]
    apart = rulefile.told_apart(rule for _, rule in entries)
    refused: dict[int, list[str]] = {}  # by place in entries: two rules may share a name
    for i, (_, rule) in enumerate(entries):
        if reasons := refusals(rule, time_scale, scrape_s, evaluation_s):
            refused[i] = reasons
    while lost := {
        i: sorted(missing)
        for i, (_, rule) in enumerate(entries)
        if i not in refused and (missing := _made(entries[j][1] for j in refused) & metrics_used(rule.expr))
    }:
        refused.update({i: [f"it reads {', '.join(names)}, which cannot be compressed"] for i, names in lost.items()})

    kept: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    at = 0
    for groups in files:
        for group, rules in groups:
            originals = [raw for i, (raw, _) in enumerate(rules, at) if i not in refused]
            at += len(rules)
            copy = _scaled(group, _GROUP_DURATIONS, time_scale), [_scaled_rule(raw, time_scale) for raw in originals]
            _verify(group, originals, *copy, time_scale)
            kept.append(copy)
    names: dict[str, list[str]] = {}
    for i, reasons in refused.items():
        rule = apart[i]
        given = names.setdefault(str(rule.alert) if isinstance(rule, AlertRule) else rule.name, [])
        given += [reason for reason in reasons if reason not in given]
    return rulefile.dump(kept), names


def verify_equivalent(original_expr: str, compressed_expr: str, time_scale: int | Fraction) -> list[str]:
    """What differs between two expressions beyond every duration being in the ratio K; empty when nothing does."""
    (before, long), (after, short) = (shape(parse(expr)) for expr in (original_expr, compressed_expr))
    if before != after:
        return ["they differ in more than durations"]
    k = Fraction(time_scale)
    pairs = zip(long, short, strict=True)
    return [f"{a} and {b} are not in the ratio {k}" for a, b in pairs if a * k.denominator != b * k.numerator]


def _made(rules: Iterable[Rule]) -> set[str]:
    """The metrics that rules write."""
    return set().union(*({"ALERTS", "ALERTS_FOR_STATE"} if isinstance(r, AlertRule) else {r.name} for r in rules))


def _waits_s(rule: Rule) -> list[float]:
    own = [rule.for_s, rule.keep_firing_for_s] if isinstance(rule, AlertRule) else []
    return [*own, rule.interval_s or 0.0]


def _scaled(mapping: Mapping[str, Any], durations: Iterable[str], time_scale: int | Fraction) -> dict[str, Any]:
    return {**mapping, **{key: scale_duration(mapping[key], time_scale) for key in durations if key in mapping}}


def _scaled_rule(raw: Mapping[str, Any], time_scale: int | Fraction) -> dict[str, Any]:
    return {**_scaled(raw, _RULE_DURATIONS, time_scale), "expr": scale_promql(raw["expr"], time_scale)}


def _verify(
    group: Mapping[str, Any],
    originals: Sequence[Mapping[str, Any]],
    scaled_group: Mapping[str, Any],
    copies: Sequence[Mapping[str, Any]],
    time_scale: int | Fraction,
) -> None:
    """Guards against a mistake of our own: raises HarnessError unless the copy is the original but for durations."""
    k = Fraction(time_scale)
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
                long_ms, short_ms = (round(prometheus_seconds(text) * 1000) for text in (before[key], after[key]))
                same = long_ms * k.denominator == short_ms * k.numerator
            else:
                same = before[key] == after[key]
            if not same:
                wrong.append(f"{name}: {key}")
    if wrong:
        raise HarnessError(f"the compressed rules are not equivalent to the originals: {', '.join(wrong)}")
