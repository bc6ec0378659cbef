"""From the entries of gate.yaml to checks with every figure filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.checks import Check
from harness.checks.alert_coverage import AlertCoverage
from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.answers import Answers
from harness.checks.availability import Availability
from harness.checks.clients import Clients
from harness.checks.error_ratio import ErrorRatio
from harness.checks.injected import Injected
from harness.checks.latency import Latency
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.quiet import Quiet
from harness.checks.recorded import Recorded
from harness.checks.watchdog import WatchdogUnbroken
from harness.plan.experiments import STEADY, Experiment
from harness.plan.gatefile import KNOWN_CHECKS, Coverage, GateFile
from harness.plan.service import SloFile, Slos
from harness.plan.watched import Route, RuleFact
from harness.plan.yamlfile import YamlFile, nearest, validated

WATCHDOG = "Watchdog"


def entries(gate: GateFile, file: YamlFile, problems: list[str]) -> list[tuple[str, Any, int]]:
    """The checks of gate.yaml as (name, parameters, position)."""
    entries = []
    for i, entry in enumerate(gate.checks):
        name, params = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, None)
        if name not in KNOWN_CHECKS:
            known = nearest(str(name), list(KNOWN_CHECKS))
            problems.append(f"{file.place(('checks', i))}: checks[{i}]: unknown check {name!r}; {known}")
            continue
        if params is not None and name != "alert_coverage":
            problems.append(f"{file.place(('checks', i))}: checks[{i}]: {name} takes no parameters")
        entries.append((name, params, i))
    return entries


def planned(
    gate: GateFile,
    file: YamlFile,
    slos: SloFile,
    facts: Sequence[RuleFact],
    experiments: Sequence[Experiment],
    route: Route,
    problems: list[str],
) -> list[Check]:
    """gate.yaml's entries as checks, and the ones every gate has unasked."""
    checks: list[Check] = []
    for name, params, i in entries(gate, file, problems):
        match name:
            case "slos":
                checks += _slo_checks(slos)
                if slos.slos == Slos():
                    problems.append(f"{file.place(('checks', i))}: checks[{i}]: slos: the service states no objective")
            case "contracts":
                if not experiments:
                    problems.append(f"{file.place(('checks', i))}: checks[{i}]: contracts: the plan has no experiments")
                for experiment in experiments:
                    checks += of_contract(experiment, facts, route)
            case "quiet":
                checks += _quiet_checks(gate, experiments)
            case "alert_coverage":
                checks += _coverage_checks(gate, file, i, params, facts, experiments, route, problems)
    checks.append(Answers(STEADY))
    checks += [Injected(e.name) for e in experiments]
    if (watchdog := _watchdog(facts, experiments)) is not None:
        checks.append(watchdog)
    checks.append(
        Recorded(
            generators=("load",),
            phases=_phases(experiments),
            lag_p99_ms=1000 * gate.generator.lag_p99,
            lenient_phases=_phases(experiments)[1:],
            lenient_lag_p99_ms=1000 * gate.generator.lag_p99_under_fault,
            rate_within=gate.generator.rate_within,
        )
    )
    return checks


def _phases(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    return (STEADY, *(e.name for e in experiments))


def _watchdog(facts: Sequence[RuleFact], experiments: Sequence[Experiment]) -> WatchdogUnbroken | None:
    return WatchdogUnbroken(WATCHDOG, _phases(experiments)) if WATCHDOG in {f.alert for f in facts} else None


def _quiet_checks(gate: GateFile, experiments: Sequence[Experiment]) -> list[Quiet]:
    allowed = {e.name: frozenset([*(a.alert for a in e.contract.alerts), *e.contract.may_fire]) for e in experiments}
    return [Quiet(STEADY, frozenset(gate.load.may_fire)), *(Quiet(name, alerts) for name, alerts in allowed.items())]


def _slo_checks(slos: SloFile) -> list[Check]:
    checks: list[Check] = []
    if (availability := slos.slos.availability) is not None:
        checks.append(Availability(STEADY, availability.target))
    if (latency := slos.slos.latency) is not None:
        checks.append(Latency(STEADY, latency.percentile, 1000 * latency.target))
    if (errors := slos.slos.error_rate) is not None:
        checks.append(ErrorRatio(STEADY, errors.target))
    return checks


def of_contract(experiment: Experiment, facts: Sequence[RuleFact], route: Route) -> list[Check]:
    contract = experiment.contract
    return [
        *_proofs(experiment, facts, route),
        *(
            ProbeDecisions(experiment.name, process, p.restart, p.readiness, p.at_most)
            for process, p in contract.probes.items()
        ),
        Clients(experiment.name, contract.clients.errors_at_most, contract.clients.recovered_within),
    ]


def _proofs(experiment: Experiment, facts: Sequence[RuleFact], route: Route) -> list[AlertFires | AlertDelivered]:
    """Both proofs of each alert the contract expects."""
    places = {f.alert: f.place for f in facts}
    proofs: list[AlertFires | AlertDelivered] = []
    for want in experiment.contract.alerts:
        about = (experiment.name, want.alert, want.severity)
        place = places.get(want.alert, "")
        proofs.append(AlertFires(*about, want.fires_within, want.resolves_within, place=place))
        proofs.append(
            AlertDelivered(
                *about,
                want.receiver,
                want.fires_within,
                want.resolves_within,
                place=place,
                group_wait_s=route.group_wait_s,
                group_interval_s=route.group_interval_s,
                proof=want.proof,
            )
        )
    return proofs


def _coverage_checks(
    gate: GateFile,
    file: YamlFile,
    i: int,
    params: Any,
    facts: Sequence[RuleFact],
    experiments: Sequence[Experiment],
    route: Route,
    problems: list[str],
) -> list[Check]:
    at: tuple[str | int, ...] = ("checks", i, "alert_coverage")
    if not isinstance(params, dict) or not params:
        problems.append(f"{file.place(at)}: checks[{i}].alert_coverage: must name a severity, like {{critical: 100%}}")
        return []
    coverage = validated(file, Coverage, problems, at)
    if coverage is None:
        return []
    return [
        AlertCoverage(
            severity,
            at_least,
            contracts=tuple(proof for e in experiments for proof in _proofs(e, facts, route)),
            rules=tuple((f.alert, f.severity) for f in facts),
            quiet=tuple(_quiet_checks(gate, experiments)),
            watchdog=_watchdog(facts, experiments),
        )
        for severity, at_least in coverage.model_dump(exclude_none=True).items()
    ]


def without_steady(check: Check) -> Check | None:
    if isinstance(check, AlertCoverage) or getattr(check, "phase", "") == STEADY:
        return None
    if phases := getattr(check, "phases", ()):
        return replace(check, phases=tuple(p for p in phases if p != STEADY))
    return check
