"""Reads the files that service.yaml names: rules, routes and SLOs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.alert import Alert
from harness.checks.view import RuleFact, named, severity_of
from harness.checks.watchdog import WATCHDOG
from harness.document import shown
from harness.errors import PlanError
from harness.plan.components import mistakes
from harness.plan.patterns import distinct, matching
from harness.plan.slos import Slos, read_slos
from harness.plan.yamlfile import YamlFile, read, validated
from harness.rules.expression import ANY, always_fires, metrics_used
from harness.rules.predict import detection_bounds
from harness.rules.rulefile import AlertRule, RecordingRule, both
from harness.stack.routing import Routing
from harness.stack.routing import read as read_routing
from harness.stack.spec import ServiceSpec
from harness.units import nearest, parse_share

CAPABILITIES = {"gpu": ("/proc/driver/nvidia/version", "/dev/nvidiactl")}  # a host that has one of the files has it


@dataclass(frozen=True)
class Watched:
    """service.yaml and the files it names."""

    service: ServiceSpec
    rules: tuple[Path, ...]
    rule_facts: tuple[RuleFact, ...]
    routing: Routing
    slos: Slos
    accuracy: tuple[float, str] | None  # that the model's card promises, and its place there
    alerts: tuple[AlertRule, ...] = ()  # as rule_facts has them
    recordings: tuple[RecordingRule, ...] = ()


def read_watched(path: Path, problems: list[str]) -> Watched | None:
    """The service and all its monitoring, or None with every problem appended."""
    file = read(path, problems)
    beside = path.parent
    service = validated(file, ServiceSpec, problems, folder=beside) if file else None
    if file is None or service is None:
        return None
    before = len(problems)
    problems += mistakes(service, file, beside)
    rules, alerts, recorded = _rules(beside, service, file, problems)
    facts = [_fact(rule, service, recorded) for rule in alerts]
    facts = _applicable(facts, service, file, problems)
    if (routing := read_routing(Path(service.monitoring.alertmanager), wrong := [])) is None:
        wrong[-1] += f" (named in {file.place(('monitoring', 'alertmanager'))})"
    problems += wrong
    problems += _said_of_routes(service, file, routing, facts)
    accuracy = _accuracy(service, file, problems)
    slos = read_slos(beside, service.slos, problems)
    if slos is None or routing is None or len(problems) > before:
        return None
    return Watched(service, tuple(rules), tuple(facts), routing, slos, accuracy, alerts, recorded)


def _rules(
    beside: Path, service: ServiceSpec, file: YamlFile, problems: list[str]
) -> tuple[list[Path], tuple[AlertRule, ...], tuple[RecordingRule, ...]]:
    paths = []
    for i, pattern in enumerate(service.monitoring.rules):
        place, found = f"{file.place(('monitoring', 'rules', i))}: monitoring.rules[{i}]", []
        try:
            found = matching(beside, pattern)
        except ValueError as error:
            problems.append(f"{place}: {error}")
        paths += found
    paths = distinct(paths)
    names = {shown(path): path for path in paths}
    try:
        rules, recorded = both(names) if names else ((), ())
    except PlanError as error:
        problems += error.problems
        rules, recorded = (), ()
    return paths, rules, recorded


def _fact(rule: AlertRule, service: ServiceSpec, recorded: Sequence[RecordingRule]) -> RuleFact:
    always = rule.name == WATCHDOG or always_fires(rule.expr)
    reads = tuple(sorted(metrics_used(rule.expr) - {ANY}))
    every = service.monitoring.scrape_interval, service.monitoring.evaluation_interval
    about = {"always": always, "reads": reads, "fires_s": detection_bounds(rule, *every, records=recorded)}
    about |= {"for_s": rule.for_s, "keeps_s": rule.keep_firing_for_s}
    return RuleFact(rule.alert, severity_of(rule.labels), f"{rule.file}:{rule.line}", **about)


def _applicable(facts: list[RuleFact], service: ServiceSpec, file: YamlFile, problems: list[str]) -> list[RuleFact]:
    """The same, those marked that need what this host lacks."""
    lacking: set[Alert] = set()
    for capability, alerts in service.monitoring.needs.items():
        at = ("monitoring", "needs", capability)
        if capability not in CAPABILITIES:
            hint = nearest(capability, list(CAPABILITIES))
            problems.append(f"{file.place(at)}: monitoring.needs: unknown capability {capability}; {hint}")
        for i, alert in enumerate(alerts):
            try:
                needing = {fact.alert for fact in named(alert, facts)}
            except ValueError as error:
                problems.append(f"{file.place((*at, i))}: monitoring.needs.{capability}[{i}]: {error}")
                continue
            if not any(Path(path).exists() for path in CAPABILITIES.get(capability, ())):
                lacking |= needing
    return [replace(fact, applicable=fact.alert not in lacking) for fact in facts]


def _said_of_routes(service: ServiceSpec, file: YamlFile, routing: Routing | None, facts: list[RuleFact]) -> list[str]:
    """What service.yaml says of severities, symptoms and runbooks that none of the other files knows."""
    monitoring, problems = service.monitoring, []
    kinds = {each.kind for of in routing.receivers.values() for each in of} if routing else set()
    for severity, entries in monitoring.severities.items():
        for entry in entries:
            if routing and entry not in routing.receivers and entry not in kinds:
                place = file.place(("monitoring", "severities", severity))
                known = nearest(entry, [*routing.receivers, *sorted(kinds)])
                problems.append(
                    f"{place}: monitoring.severities.{severity}: {shown(Path(service.monitoring.alertmanager))} has no "
                    f"receiver and no kind of integration {entry}; {known}"
                )
    for alert, symptoms in monitoring.may_inhibit.items():
        for i, name in enumerate((alert, *symptoms)):
            at = ("monitoring", "may_inhibit", alert, *([i - 1] if i else []))
            where = f"monitoring.may_inhibit.{alert}" + (f"[{i - 1}]" if i else "")
            names = sorted({fact.alert.name for fact in facts})
            if i and not difflib.get_close_matches(name, names, 1, 0.85):
                continue  # a symptom whose rule is gone
            if names and name not in names:
                problems.append(f"{file.place(at)}: {where}: no rule is called {name}; {nearest(name, names)}")
    for prefix, path in monitoring.runbooks.items():
        place = f"{file.place(('monitoring', 'runbooks', prefix))}: monitoring.runbooks"
        if not prefix.startswith(("http://", "https://")):
            problems.append(f"{place}: {prefix}: must be the beginning of a URL, like https://git.example.org/docs/")
        if not os.path.exists(path):  # also of a name that no file can have
            problems.append(f"{place}: {shown(Path(path))}: no such file or folder")
    return problems


def _accuracy(service: ServiceSpec, file: YamlFile, problems: list[str]) -> tuple[float, str] | None:
    """The share of right classes that the model's card promises, and its place; None where no card is named."""
    if service.model is None:
        return None
    card = read(Path(service.model.card), wrong := [])
    if card is None:
        problems += [f"{why} (named in {file.place(('model', 'card'))})" for why in wrong]
        return None
    at, value = tuple(service.model.accuracy.split(".")), card.data
    for name in at:
        value = value.get(name) if isinstance(value, dict) else None
    with suppress(ValueError):
        if share := parse_share(value):
            return share, f"{card.place(at)}: {service.model.accuracy}"
    found = "there is none" if value is None else "got " + repr(value)[:40]
    problems.append(
        f"{file.place(('model', 'accuracy'))}: model.accuracy: {service.model.accuracy} in {card.name} must be a share "
        f"above 0 and at most 1, such as 0.97; {found}"
    )
    return None


def production_files(gate: Path) -> tuple[list[Path], Path | None]:
    """The rule files and the Alertmanager configuration of a plan with mistakes, as far as they are known."""
    service = _section(_data(gate), "service", str)
    beside = (gate.parent / service).parent if service else gate.parent
    monitoring = _section(_data(gate.parent / service) if service else None, "monitoring", dict) or {}
    rules: list[Path] = []
    for pattern in _section(monitoring, "rules", list) or []:
        with suppress(ValueError):
            rules += matching(beside, str(pattern))
    config = _section(monitoring, "alertmanager", str)
    return distinct(rules), beside / config if config else None


def _data(path: Path) -> Any:
    file = read(path, [])
    return file.data if file else None


def _section(data: Any, key: str, form: type) -> Any:
    value = data.get(key) if isinstance(data, dict) else None
    return value if isinstance(value, form) else None
