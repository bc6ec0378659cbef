"""Reads the files that service.yaml names: rules, routes and SLOs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.checks.view import RuleFact
from harness.checks.watchdog import WATCHDOG
from harness.plan.components import mistakes
from harness.plan.patterns import distinct, matching
from harness.plan.receivers import Receivers, read_receivers
from harness.plan.slos import SloFile
from harness.plan.yamlfile import Loc, YamlFile, dotted, read, validated
from harness.rules.expression import always_fires
from harness.stack.spec import ServiceSpec
from harness.units import nearest, prometheus_seconds

CAPABILITIES = {"gpu": ("/proc/driver/nvidia/version", "/dev/nvidiactl")}  # a host that has one of the files has it


@dataclass(frozen=True)
class Route:
    """How long Alertmanager's top route waits, in production seconds; its defaults where the file is silent."""

    group_wait_s: float = 30.0
    group_interval_s: float = 300.0


@dataclass(frozen=True)
class Watched:
    """service.yaml and the files it names."""

    service: ServiceSpec
    rules: tuple[Path, ...]
    rule_facts: tuple[RuleFact, ...]
    route: Route
    slos: SloFile
    receivers: Receivers


def read_watched(path: Path, problems: list[str]) -> Watched | None:
    """The service and all its monitoring, or None with every problem appended."""
    file = read(path, problems)
    beside = path.parent
    service = validated(file, ServiceSpec, problems, folder=beside) if file else None
    if file is None or service is None:
        return None
    before = len(problems)
    problems += mistakes(service, file, beside)
    rules, facts = _rules(beside, service, file, problems)
    facts = _applicable(facts, service, file, problems)
    route, receivers = Route(), Receivers()
    am_file = read(Path(service.monitoring.alertmanager), problems)
    if am_file is None:
        problems[-1] += f" (named in {file.place(('monitoring', 'alertmanager'))})"
    else:
        route, receivers = _route(am_file, problems), read_receivers(am_file, problems)
    slo_file = read(beside / service.slos, problems)
    slos = validated(slo_file, SloFile, problems) if slo_file else None
    if slos is None or len(problems) > before:
        return None
    return Watched(service, tuple(rules), tuple(facts), route, slos, receivers)


def _rules(
    beside: Path, service: ServiceSpec, file: YamlFile, problems: list[str]
) -> tuple[list[Path], list[RuleFact]]:
    paths, facts = [], []
    for i, pattern in enumerate(service.monitoring.rules):
        place, found = f"{file.place(('monitoring', 'rules', i))}: monitoring.rules[{i}]", []
        try:
            found = matching(beside, pattern)
        except ValueError as error:
            problems.append(f"{place}: {error}")
        paths += found
    paths = distinct(paths)
    for path in paths:
        rules = read(path, problems)
        facts += _facts(rules, problems) if rules else ()
    return paths, facts


def _facts(file: YamlFile, problems: list[str]) -> Iterator[RuleFact]:
    """The alert rules of a rule file; each part that is of another form than Prometheus reads is a problem."""

    def part(value: Any, form: type, loc: Loc) -> Any:
        if value is None or isinstance(value, form):
            return value or form()
        what = {dict: "a mapping", list: "a list", str: "text"}[form]
        problems.append(f"{file.place(loc)}: {dotted(loc) or 'the file'}: must be {what}; got {value!r:.80}")
        return form()

    for g, group in enumerate(part(part(file.data, dict, ()).get("groups"), list, ("groups",))):
        rules = part(group, dict, ("groups", g)).get("rules")
        for r, entry in enumerate(part(rules, list, ("groups", g, "rules"))):
            loc = ("groups", g, "rules", r)
            rule = part(entry, dict, loc)
            labels = part(rule.get("labels"), dict, (*loc, "labels"))
            if alert := part(rule.get("alert"), str, (*loc, "alert")):
                always = alert == WATCHDOG or always_fires(str(rule.get("expr", "")))
                yield RuleFact(alert, str(labels.get("severity", "none")), file.place(loc), always=always)


def _applicable(facts: list[RuleFact], service: ServiceSpec, file: YamlFile, problems: list[str]) -> list[RuleFact]:
    """The same, those marked that need what this host lacks."""
    lacking: set[str] = set()
    for capability, alerts in service.monitoring.needs.items():
        at, known = ("monitoring", "needs", capability), list(dict.fromkeys(fact.alert for fact in facts))
        if capability not in CAPABILITIES:
            hint = nearest(capability, list(CAPABILITIES))
            problems.append(f"{file.place(at)}: monitoring.needs: unknown capability {capability}; {hint}")
        elif not any(Path(path).exists() for path in CAPABILITIES[capability]):
            lacking.update(alerts)
        for i, alert in enumerate(alerts):
            if known and alert not in known:
                place, hint = file.place((*at, i)), nearest(alert, known)
                problems.append(f"{place}: monitoring.needs.{capability}[{i}]: no rule is called {alert}; {hint}")
    return [replace(fact, applicable=fact.alert not in lacking) for fact in facts]


def _route(file: YamlFile, problems: list[str]) -> Route:
    top = (file.data or {}).get("route") if isinstance(file.data, dict) else None
    if not isinstance(top, dict):
        problems.append(f"{file.place(('route',))}: route: is missing, so no alert would reach anybody")
        return Route()
    waits = {}
    for key in ("group_wait", "group_interval"):
        if key in top:
            try:
                waits[f"{key}_s"] = prometheus_seconds(str(top[key]))
            except ValueError as error:
                problems.append(f"{file.place(('route', key))}: route.{key}: {error}")
    return Route(**waits)


def production_files(gate: Path) -> tuple[list[Path], Path | None]:
    """The rule files and the Alertmanager configuration of a plan with mistakes, as far as they can be told."""
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
