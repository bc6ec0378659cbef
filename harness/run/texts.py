"""The texts of rules and receivers as Prometheus and Alertmanager fill them in, each for an alert that is made up."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.alert import NAME
from harness.checks.messages import wrong_in
from harness.checks.view import Finding
from harness.plan.plan import Plan
from harness.plan.texts import PAGERDUTY, runbooks
from harness.rules.labels import carried
from harness.rules.rendering import Rendered, labels_of, rendered
from harness.rules.rulefile import AlertRule
from harness.stack import amtool
from harness.stack.routing import Integration, Routing
from harness.stack.routing import read as read_routing
from harness.stack.tools import Tools

MADE_UP = re.compile(r"parseDuration|out of range")  # errors that a made-up label may be to blame for
AT = "2026-01-01T00:00:00Z"
V2_KEY = {"routing_key", "routing_key_file"}  # of PagerDuty's Events API v2, which knows severities
NEWER = re.compile(  # functions that came after Alertmanager 0.25
    r'function "(?:date|tz|since|now|humanizeDuration|toJson|fromJson|trimSpace|urlUnescape|safeUrl|list|append|dict)"'
)


def texts_wrong(plan: Plan, tools: Tools) -> list[Finding]:
    """What is wrong with the texts as their readers will see them, of the rules and then of the receivers. Raises
    HarnessError where promtool or amtool cannot be started."""
    monitoring = plan.service.monitoring
    target = {"job": monitoring.job, "instance": "127.0.0.1:1", **monitoring.target_labels}
    asked = [
        (rule, labels_of(carried(rule.expr, plan.recordings), target, _labels_shown(rule))) for rule in plan.alerts
    ]
    with tempfile.TemporaryDirectory() as folder:
        found = rendered(tools.promtool, asked, Path(folder))
        wrong = [each for one in found for each in _of_rule(one, monitoring.runbooks)]
        if routing := read_routing(Path(monitoring.alertmanager), []):
            wrong += _of_receivers(plan, routing, found, tools, Path(folder))
    return list(dict.fromkeys(wrong))


def _of_rule(one: Rendered, known: Mapping[str, str]) -> Iterator[Finding]:
    place, what = f"{one.rule.file}:{one.rule.line}", f"{one.rule.name}: its {one.name}"
    for fault, excerpt, remedy in wrong_in(one.text):
        if MADE_UP.search(excerpt):
            continue
        yield Finding(place, f"{what} would show {fault}: {excerpt[:200]!r}", remedy)
    yield from runbooks([one.text], known, place, one.rule.name)


def _labels_shown(rule: AlertRule) -> list[str]:
    """The labels that the texts of a rule name."""
    texts = "\n".join([*rule.annotations.values(), *rule.labels.values()])
    return sorted(set(re.findall(r"(?:\$labels|\.Labels)\.(\w+)", texts)))


def _of_receivers(
    plan: Plan, routing: Routing, found: Sequence[Rendered], tools: Tools, folder: Path
) -> Iterator[Finding]:
    """For each receiver an alert of every severity that reaches it."""
    said: dict[tuple[str, str], str] = {(one.rule.alert, one.name): one.text for one in found}
    tried: set[tuple[str, str]] = set()
    asked: list[tuple[Integration, str, Path]] = []
    templates = [str(Path(plan.service.monitoring.alertmanager).parent / path) for path in routing.templates]
    for rule in plan.alerts:
        labels = {name: said.get((rule.alert, f"label {name}"), text) for name, text in rule.labels.items()}
        labels |= {NAME: rule.name, "job": plan.service.monitoring.job}
        for receiver in dict.fromkeys(route.receiver for route in routing.routes(labels)):
            key = (receiver, labels.get("severity", ""))
            if key in tried:
                continue
            tried.add(key)
            texts = {
                name: said.get((rule.alert, f"annotation {name}"), text) for name, text in rule.annotations.items()
            }
            for integration in routing.integrations(receiver):
                data = folder / f"{len(asked)}.json"
                data.write_text(json.dumps(_message(receiver, labels, texts)))
                asked.append((integration, f"{receiver} ({integration.name})", data))
    with ThreadPoolExecutor(os.cpu_count()) as several:  # amtool is started for each text
        for wrong in several.map(lambda one: list(_of_integration(*one, templates, tools)), asked):
            yield from wrong


def _of_integration(
    integration: Integration, by: str, data: Path, templates: Sequence[str], tools: Tools
) -> Iterator[Finding]:
    keys = {key for key, _, _ in integration.texts}
    for key, text, place in integration.texts:
        if "{{" not in text:
            continue
        shown, problem = amtool.rendered(tools.amtool, text, data, templates)
        if problem and not NEWER.search(problem):
            why = f"{key} of {by} cannot be filled in, so nothing is sent: {problem[:200]}"
            yield Finding(place, why, "mend the template; `amtool template render` tries it")
        for fault, excerpt, remedy in wrong_in(shown):
            yield Finding(place, f"{key} of {by} would show {fault}: {excerpt[:200]!r}", remedy)
        refused = key == "severity" and integration.kind == "pagerduty" and keys & V2_KEY and not problem
        if refused and shown.strip() not in PAGERDUTY:
            severity = json.loads(data.read_text())["commonLabels"].get("severity", "none")
            why = f"{key} of {by} would be {shown.strip() or 'empty'} for an alert of severity {severity}"
            yield Finding(place, f"{why}; PagerDuty refuses it", f"map it to one of {', '.join(PAGERDUTY)}")


def _message(receiver: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """What Alertmanager fills a template in with."""
    alert = {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": AT, "endsAt": AT}
    return {
        "receiver": receiver,
        "status": "firing",
        "alerts": [alert],
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://127.0.0.1",
    }
