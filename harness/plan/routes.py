"""Where the alert of every rule goes, and by which alerts it is silenced, against what service.yaml says of severities.

All of it is known before an alert fires: the labels that an alert surely has come from its rule, its expression and
service.yaml; for the rest of them no value is assumed but that they have one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.alert import NAME
from harness.checks.view import Finding, RuleFact
from harness.plan.relabelling import relabelled
from harness.plan.watched import Watched
from harness.rules.expression import metrics_used
from harness.rules.labels import Carried, carried
from harness.rules.rulefile import AlertRule
from harness.stack.routing import Inhibition, Routing
from harness.stack.spec import Monitoring
from harness.units import listed, nearest

SOME = "\N{BULLET}"  # stands for a value that is not known before an alert fires
RANKS = (  # the usual severities, the worst first
    ("critical", "page", "emergency", "fatal", "p1", "sev1", "disaster"),
    ("error", "high", "major", "p2", "sev2"),
    ("warning", "warn", "medium", "ticket", "p3", "sev3"),
    ("low", "minor", "notice", "p4", "sev4"),
    ("info", "information", "informational", "p5", "sev5"),
)
WIDE = {"job", "service", "team", "cluster", "namespace", "env", "environment", "region", "severity", "app", "owner"}
PAIRS_SHOWN = 4


@dataclass(frozen=True)
class Sent:
    """A rule, and the labels that its alerts may have: one set for each kind of result."""

    rule: AlertRule
    fact: RuleFact
    labels: tuple[Mapping[str, str], ...]
    results: tuple[Carried, ...] = field(default=(), repr=False)

    @cached_property
    def metrics(self) -> frozenset[str]:
        """What its expression reads."""
        return frozenset(metrics_used(self.rule.expr))

    @property
    def said(self) -> str:
        """Its name and its severity."""
        return f"{self.rule.name} ({self.fact.severity})"

    def reads_alerts(self) -> bool:
        """Whether it is made of other alerts."""
        return "ALERTS" in self.metrics


def sent_alerts(watched: Watched) -> list[Sent]:
    """Every rule with the labels of its alerts as Alertmanager gets them; an alert that is dropped has none."""
    monitoring = watched.service.monitoring
    severities = list(monitoring.severities)
    made = []
    for rule, fact in zip(watched.alerts, watched.rule_facts, strict=True):
        results = carried(rule.expr, watched.recordings)
        labels = [each for of in results for each in _labels(rule, of, monitoring, severities)]
        sent = [given for each in labels if (given := relabelled(each, monitoring.alert_relabel_configs)) is not None]
        made.append(Sent(rule, fact, tuple(sent), results))
    return made


def _labels(
    rule: AlertRule, of: Carried, monitoring: Monitoring, severities: Sequence[str]
) -> Iterator[Mapping[str, str]]:
    own = {name: SOME if "{{" in text else text for name, text in rule.labels.items()}
    target = {"job": monitoring.job, "instance": SOME, **monitoring.target_labels}
    series = dict.fromkeys(of.only or (), SOME)
    series |= {name: value for name, value in target.items() if of.may_have(name)}
    labels = {**monitoring.external_labels, **series, **of.known, **own, NAME: rule.name}
    labels = {name: value for name, value in labels.items() if value}
    for severity in severities if own.get("severity") == SOME and severities else (None,):
        yield labels if severity is None else {**labels, "severity": severity}


def receivers(entry: str, routing: Routing) -> frozenset[str]:
    """The receivers that an entry of `severities` means: the one of this name, else all that have an integration of
    this kind."""
    if entry in routing.receivers:
        return frozenset({entry})
    return frozenset(
        name for name, integrations in routing.receivers.items() if any(each.kind == entry for each in integrations)
    )


def table(monitoring: Monitoring, routing: Routing) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For each severity all receivers that may get its alerts."""
    return tuple(
        (severity, tuple(sorted(frozenset().union(*(receivers(entry, routing) for entry in entries)))))
        for severity, entries in monitoring.severities.items()
    )


def misrouted(watched: Watched, rules: Sequence[Sent]) -> tuple[Finding, ...]:
    """Each rule whose alert reaches others than its severity says, or nobody. An alert that always fires goes where it
    is watched for, whatever its severity."""
    found = []
    for one in rules:
        if not one.fact.always:
            found += dict.fromkeys(_astray(one, watched.service.monitoring, watched.routing))
    return tuple(found)


def _astray(one: Sent, monitoring: Monitoring, routing: Routing) -> Iterator[Finding]:
    place, name = one.fact.place, one.rule.name
    if not one.labels:
        yield Finding(
            place, f"{name} is dropped before it is sent", "mend alert_relabel_configs, which no alert may get lost by"
        )
    for labels in one.labels:
        severity = labels.get("severity", "")
        if severity not in monitoring.severities:
            what = f"severity {severity}" if severity else "no severity"
            known = nearest(severity, list(monitoring.severities))
            yield Finding(
                place,
                f"{name} has {what}, and monitoring.severities says of none such who gets it; {known}",
                "give the rule one of these severities, or add its own to monitoring.severities in service.yaml",
            )
            continue
        entries = monitoring.severities[severity]
        reached = {route.receiver: route.place for route in routing.routes(labels)}
        ends = listed([f"{receiver} (the route of {at})" for receiver, at in reached.items()])
        wanted = [receivers(entry, routing) for entry in entries]
        others = reached.keys() - frozenset().union(*wanted)
        if not entries:
            others = {receiver for receiver in reached if routing.integrations(receiver)}
        missed = [entry for entry, names in zip(entries, wanted, strict=True) if not names & reached.keys()]
        silent = [r for r in reached if not routing.integrations(r)] if entries else []
        should = listed(entries) if entries else "nobody"
        if missed or others:
            yield Finding(
                place,
                f"{name}, of severity {severity}, goes to {ends}, where monitoring.severities says {should}",
                "mend the route's matchers, or the rule's severity; what is meant so, say in monitoring.severities",
            )
        elif silent:
            yield Finding(
                place,
                f"{name}, of severity {severity}, goes to {ends}, which has no integration, so nobody is notified",
                f"give the receiver {silent[0]} an integration; for a severity that notifies nobody, say [] in "
                "monitoring.severities",
            )


def silenced(watched: Watched, rules: Sequence[Sent]) -> tuple[Finding, ...]:
    """Each inhibition that would silence an alert of another cause, or of another instance, or for good."""
    found: list[Finding] = []
    for inhibition in watched.routing.inhibitions:
        why: dict[tuple[str, str], list[str]] = {}
        for reason, remedy, pair in _doubtful(inhibition, rules, watched.service.monitoring):
            pairs = why.setdefault((reason, remedy), [])
            pairs += [] if pair in pairs else [pair]
        for (reason, remedy), pairs in why.items():
            more = f" and {len(pairs) - PAIRS_SHOWN} more" if len(pairs) > PAIRS_SHOWN else ""
            found.append(Finding(inhibition.place, f"{'; '.join(pairs[:PAIRS_SHOWN])}{more}: {reason}", remedy))
        found += _misspelt(inhibition, rules, watched.service.monitoring)
    return tuple(found)


def _doubtful(inhibition: Inhibition, rules: Sequence[Sent], monitoring: Monitoring) -> Iterator[tuple[str, str, str]]:
    """(why it is wrong, what to do, which alert would silence which)."""
    targets = [one for one in rules if any(all(m.matches(t) for m in inhibition.target) for t in one.labels)]
    for source in rules:
        sources = [s for s in source.labels if all(m.matches(s) for m in inhibition.source)]
        for target in targets if sources else ():
            pairs = [(s, t) for s in sources for t in target.labels if s != t and inhibition.inhibits(s, t)]
            if pairs and (wrong := _wrong(inhibition, source, target, pairs, rules, monitoring)):
                yield *wrong, f"{source.said} would silence {target.said}, {target.fact.place}"


def _wrong(
    inhibition: Inhibition, source: Sent, target: Sent, pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]],
    rules: Sequence[Sent], monitoring: Monitoring,
) -> tuple[str, str] | None:  # fmt: skip
    """Why one alert must not silence another, and what to do; None where it may."""
    if source.fact.always:
        return "the first always fires, so nobody is ever notified of the second", "drop the inhibition, or this target"
    same = source.rule.name == target.rule.name
    allowed = monitoring.may_inhibit.get(source.rule.name, ())
    declared = target.rule.name in allowed or "*" in allowed
    clock = not source.metrics
    if not declared:
        worse = [
            (s, t)
            for s, t in pairs
            if None not in (ranks := (_rank(s, monitoring), _rank(t, monitoring))) and ranks[0] > ranks[1]
        ]
        if worse and not clock:
            why = "the first is less severe than the second, so whoever must act on that one never hears of it"
            return why, "let the more severe alert silence the other"
        if not same and not (clock or _one_cause(inhibition, source, target, rules, monitoring)):
            shared = [name for name in inhibition.equal if pairs[0][0].get(name)]
            only = f"they have no more in common than {listed(shared)}" if shared else "they share no label"
            why = f"the second has another cause, as far as anybody says: {only}"
            remedy = (
                "narrow the inhibition by alertname; what is a symptom of the first, say under monitoring.may_inhibit"
            )
            return why, f"{remedy} in service.yaml"
    if same or clock:
        return None
    if not any(_bound(inhibition, source, target, s, t) for s, t in pairs):
        why = "no label in `equal` says that they are about the same thing; one that both lack counts as equal"
        return why, "name a label in `equal` that both alerts have, like service"
    for s, t in pairs:
        if "instance" not in s or "instance" in inhibition.equal or not _wide(inhibition, source, target, monitoring):
            continue
        if "instance" in t:
            why = "the first is about one instance, and would silence the second on every other one"
            return why, "add instance to `equal`"
        if any(m.label == "instance" for m in inhibition.source):
            why = "the first is about one instance, and would silence the second, which is about all of them"
            return why, "add instance to `equal`"
    return None


def _rank(labels: Mapping[str, str], monitoring: Monitoring) -> int | None:
    """How severe an alert is, 0 the worst; None where nobody says."""
    severity = labels.get("severity", "")
    if severity in monitoring.severities:
        return list(monitoring.severities).index(severity)
    if monitoring.severities:
        return None
    return next((rank for rank, names in enumerate(RANKS) if severity.lower() in names), None)


def _one_cause(
    inhibition: Inhibition, source: Sent, target: Sent, rules: Sequence[Sent], monitoring: Monitoring
) -> bool:
    """Whether two alerts of different names have one cause, as far as the files say: somebody named the pair, or they
    share a label of a rule by which others are told from them, or one is made of the other, or of the same metrics."""
    if not monitoring.may_inhibit and _names(inhibition.source) and _names(inhibition.target):
        return True
    own, of_target = source.rule.labels, target.rule.labels
    for name in inhibition.equal:
        value = own.get(name, "")
        alike = all(one.rule.labels.get(name) == value for one in rules)
        if value and name not in WIDE and value == of_target.get(name) and not alike:
            return True
    if source.reads_alerts() or target.reads_alerts():
        return True
    return bool((source.metrics & target.metrics) - {"up", "*"})


def _names(matchers: Sequence) -> tuple[str, ...]:
    """The alerts that matchers name one by one; () where they name none, or a pattern of them."""
    for matcher in matchers:
        if matcher.label == NAME and matcher.operator in ("=", "=~"):
            names = matcher.value.removeprefix("^").removesuffix("$").removeprefix("(").removesuffix(")").split("|")
            if matcher.operator == "=" or all(re.fullmatch(r"[\w:-]+", name) for name in names):
                return tuple(names)
    return ()


def _bound(inhibition: Inhibition, source: Sent, target: Sent, s: Mapping[str, str], t: Mapping[str, str]) -> bool:
    """Whether a label says that two alerts are about the same thing, or may say it."""
    fixed = {(m.label, m.value) for m in inhibition.source if m.operator == "=" and m.label not in (NAME, "severity")}
    if any((m.label, m.value) in fixed and m.value for m in inhibition.target if m.operator == "="):
        return True
    for name in inhibition.equal:
        if s.get(name) or any(of.only is None for of in (*source.results, *target.results)):
            return True
    return False


def _wide(inhibition: Inhibition, source: Sent, target: Sent, monitoring: Monitoring) -> bool:
    """Whether the labels in `equal` are all of those that every instance of a service has alike."""
    alike = {"job", NAME, *WIDE, *monitoring.external_labels, *monitoring.target_labels}
    alike |= source.rule.labels.keys() | target.rule.labels.keys()
    return all(name in alike for name in inhibition.equal)


def _misspelt(inhibition: Inhibition, rules: Sequence[Sent], monitoring: Monitoring) -> Iterator[Finding]:
    """What an inhibition names that no rule has, and that is nearly what one has."""
    alerts = {one.rule.name for one in rules}
    named = {*_names(inhibition.source), *_names(inhibition.target)}
    for name in sorted(named - alerts):
        for near in difflib.get_close_matches(name, sorted(alerts - named), 1, 0.88):
            yield Finding(
                inhibition.place, f"it names {name}, and no rule is called so; did you mean {near}?", f"write {near}"
            )
    labels = {name for one in rules for name in (*one.rule.labels, *(n for each in one.labels for n in each))}
    labels |= {*monitoring.external_labels, *monitoring.target_labels, "instance", "job"}
    for name in inhibition.equal:
        for near in difflib.get_close_matches(name, sorted(labels), 1, 0.8) if name not in labels else ():
            if near not in inhibition.equal:
                why = f"`equal` names {name}, which no alert has, so all count as equal; did you mean {near}?"
                yield Finding(inhibition.place, why, f"write {near}")
