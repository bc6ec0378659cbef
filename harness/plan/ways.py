"""The ways that alerts take from Prometheus to receivers, as far as the service's files say before one fires."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.alert import NAME, Alert
from harness.checks.view import TEMPLATE, AlertExpectation, RuleFact, Way, promised
from harness.plan.watched import Watched
from harness.stack.routing import Inhibition
from harness.stack.spec import Monitoring

ANY = "\N{BULLET}"  # stands for a value that is not known before an alert fires


def ways(watched: Watched, wanted: Sequence[AlertExpectation]) -> dict[str, Any]:
    """What `checks.view.View` holds of the way of an alert. `wanted`: those that contracts expect, which say how severe
    one is whose rule says that by a template."""
    monitoring, routing, facts = watched.service.monitoring, watched.routing, watched.rule_facts
    severities = {(fact.alert, fact.severity) for fact in facts}
    for want in wanted:
        try:
            severities.add((promised(want, facts).alert, want.severity))
        except ValueError:
            continue  # the experiment says so
    mutes = _mutes(watched)
    known = {} if monitoring.alert_relabel_configs else {key: _ways(watched, mutes, *key) for key in severities}
    return {
        "ways": tuple((alert, severity, each) for (alert, severity), each in known.items()),
        "integrations": tuple(
            (receiver, tuple((each.name, each.send_resolved) for each in routing.integrations(receiver)))
            for receiver in routing.receivers
        ),
        "rewritten": tuple((fact.alert, names) for fact in facts if (names := _rewritten(monitoring, fact))),
    }


# An alert, an inhibition, and the labels with which the one inhibits others by the other.
Mute = tuple[Alert, Inhibition, list[Mapping[str, str]]]


def _mutes(watched: Watched) -> list[Mute]:
    found = []
    for source in watched.rule_facts:
        labels = [*_labels(watched.service.monitoring, source.alert, source.severity)]
        for inhibition in watched.routing.inhibitions:
            if chosen := [of for of in labels if inhibition.chooses(of)]:
                found.append((source.alert, inhibition, chosen))
    return found


def _ways(watched: Watched, mutes: Sequence[Mute], alert: Alert, severity: str) -> tuple[Way, ...]:
    """Every way of an alert: one without labels of an instance may go another than one with."""
    found: dict[Way, None] = {}
    for labels in _labels(watched.service.monitoring, alert, severity):
        inhibiting = tuple(
            (source, inhibition.place)
            for source, inhibition, chosen in mutes
            if source != alert and any(inhibition.inhibits(of, labels) for of in chosen)
        )
        for route in watched.routing.routes(labels):
            intervals = (*route.mute_intervals, *route.active_intervals)
            times = (route.group_wait_s, route.group_interval_s)
            way = Way(route.receiver, route.place, *times, route.group_by, intervals, inhibiting)
            found[way] = None
    return tuple(found)


def _labels(monitoring: Monitoring, alert: Alert, severity: str) -> Iterator[Mapping[str, str]]:
    """The labels an alert may have: those of the rule alone, and with those of the target that it is about."""
    own = {**dict(alert.labels), NAME: alert.name}
    if "severity" not in own and severity not in (TEMPLATE, "none"):
        own["severity"] = severity
    yield {**monitoring.external_labels, **own}
    target = {"job": monitoring.job, "instance": ANY, **monitoring.target_labels}
    yield {**monitoring.external_labels, **target, **own}


def _rewritten(monitoring: Monitoring, fact: RuleFact) -> tuple[str, ...]:
    """The labels by which the rule's alerts are known that Prometheus may change before it sends one."""
    known = [dict(labels) for labels in (fact.alert.labels, *fact.alert.others)]
    names = {NAME, *(name for labels in known for name in labels), *(["severity"] if fact.severity == TEMPLATE else [])}
    changed = {name for name in names & monitoring.external_labels.keys() if not all(of.get(name) for of in known)}
    for relabel in monitoring.alert_relabel_configs:
        match relabel.action:
            case "labelmap":
                changed |= names
            case "labeldrop":
                changed |= {name for name in names if _may_match(relabel.regex, name)}
            case "labelkeep":
                changed |= {name for name in names if not _may_match(relabel.regex, name)}
            case "keep" | "drop" | "keepequal" | "dropequal":
                pass
            case _:
                changed |= names if "$" in relabel.target_label else names & {relabel.target_label}
    return tuple(sorted(changed))


def _may_match(pattern: str, name: str) -> bool:
    """Whether a pattern matches a name; one that Python does not read may match any."""
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return True
