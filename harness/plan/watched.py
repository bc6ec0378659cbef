"""Reads the files that service.yaml names: rules, routes and SLOs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.alert import Alert
from harness.checks.view import RuleFact, named, severity_of
from harness.errors import PlanError
from harness.plan.components import mistakes
from harness.plan.slos import SloFile
from harness.plan.yamlfile import YamlFile, read, shown, validated
from harness.rules.rulefile import load
from harness.stack.routing import Routing
from harness.stack.routing import read as read_routing
from harness.stack.spec import ServiceSpec
from harness.units import nearest

CAPABILITIES = {"gpu": ("/proc/driver/nvidia/version", "/dev/nvidiactl")}  # a host that has one of the files has it


@dataclass(frozen=True)
class Watched:
    """service.yaml and the files it names."""

    service: ServiceSpec
    rules: tuple[Path, ...]
    rule_facts: tuple[RuleFact, ...]
    routing: Routing
    slos: SloFile


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
    if (routing := read_routing(Path(service.monitoring.alertmanager), wrong := [])) is None:
        wrong[-1] += f" (named in {file.place(('monitoring', 'alertmanager'))})"
    problems += wrong
    slo_file = read(beside / service.slos, problems)
    slos = validated(slo_file, SloFile, problems) if slo_file else None
    if slos is None or routing is None or len(problems) > before:
        return None
    return Watched(service, tuple(rules), tuple(facts), routing, slos)


def _rules(
    beside: Path, service: ServiceSpec, file: YamlFile, problems: list[str]
) -> tuple[list[Path], list[RuleFact]]:
    paths = []
    for i, pattern in enumerate(service.monitoring.rules):
        place, found = f"{file.place(('monitoring', 'rules', i))}: monitoring.rules[{i}]", []
        try:
            found = sorted(beside.glob(pattern))
        except (NotImplementedError, ValueError, IndexError, OSError):
            problems.append(f"{place}: must be a pattern of paths beside service.yaml, like rules/*.yaml")
        else:
            if not found:
                problems.append(f"{place}: no file matches {pattern}")
        paths += found
    names = {shown(path): path for path in paths}
    try:
        rules = load(names) if names else ()
    except PlanError as error:
        problems += error.problems
        rules = ()
    facts = [RuleFact(rule.alert, severity_of(rule.labels), f"{rule.file}:{rule.line}") for rule in rules]
    return paths, facts


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
