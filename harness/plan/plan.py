"""The plan of a run: every file read, every mistake found, every check made, before anything is started."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from harness.checks import CHECKS, Check
from harness.checks.alert_coverage import AlertCoverage
from harness.checks.alert_delivered import AlertDelivered
from harness.checks.alert_fires import AlertFires
from harness.checks.availability import Availability
from harness.checks.clients import Clients
from harness.checks.error_ratio import ErrorRatio
from harness.checks.injected import Injected
from harness.checks.latency import Latency
from harness.checks.probe_decisions import ProbeDecisions
from harness.checks.quiet import Quiet
from harness.checks.recorded import Recorded
from harness.checks.watchdog import WatchdogUnbroken
from harness.errors import PlanError
from harness.plan.contract import Contract
from harness.plan.gatefile import KNOWN_CHECKS, Coverage, GateFile
from harness.plan.service import ServiceFile, SloFile, Slos
from harness.plan.units import duration
from harness.plan.yamlfile import Strict, YamlFile, nearest, read, validated

STEADY = "steady"  # the phase before the first experiment
WATCHDOG = "Watchdog"
RESERVED = (STEADY, "load")  # names of phases that are no experiments
PROCESSES = ("server",)  # what the probe emulator keeps alive


@dataclass(frozen=True)
class RuleFact:
    """What the plan must know of a production alert rule."""

    alert: str
    severity: str
    place: str


@dataclass(frozen=True)
class Route:
    """How long Alertmanager's top route waits, in production seconds; its defaults where the file is silent."""

    group_wait_s: float = 30.0
    group_interval_s: float = 300.0


@dataclass(frozen=True)
class Experiment:
    """A Chaos Toolkit file and its contract."""

    name: str
    path: Path
    contract: Contract


@dataclass(frozen=True)
class Plan:
    """Everything a run needs to know. Paths are absolute; times in seconds."""

    path: Path
    gate: GateFile
    service: ServiceFile
    workdir: Path  # where gate.yaml lies; the service is started there
    scenario: Path
    corpus: Path
    rules: tuple[Path, ...]
    rule_facts: tuple[RuleFact, ...]
    alertmanager: Path
    route: Route
    experiments: tuple[Experiment, ...]
    checks: tuple[Check, ...]

    @property
    def scrape_s(self) -> float:
        """Gate seconds between scrapes."""
        return self.service.monitoring.scrape_interval / self.gate.time_scale

    @property
    def evaluation_s(self) -> float:
        """Gate seconds between rule evaluations."""
        return self.service.monitoring.evaluation_interval / self.gate.time_scale

    def with_refusals(self, refused: Mapping[str, Sequence[str]]) -> Plan:
        """The same plan, its delivery checks told which rules have no live copy, and why."""

        def told(check: Check) -> Check:
            if isinstance(check, AlertDelivered) and check.alert in refused:
                return replace(check, refused=tuple(refused[check.alert]))
            if isinstance(check, AlertCoverage):
                return replace(check, contracts=tuple(map(told, check.contracts)))
            return check

        return replace(self, checks=tuple(map(told, self.checks)))

    def for_experiments_alone(self) -> Plan:
        """The same plan without what needs the steady phase: for an experiment on a stack that somebody else holds."""
        return replace(self, checks=tuple(c for c in map(_without_steady, self.checks) if c is not None))

    def resolved(self) -> dict[str, Any]:
        """The plan as plain data, for the run's folder: with it alone the run can be judged again."""
        return {
            "gate": str(self.path),
            "service": self.service.name,
            "time_scale": self.gate.time_scale,
            "load": self.gate.load.model_dump(by_alias=True),
            "experiments": [e.name for e in self.experiments],
            "rules": [asdict(f) for f in self.rule_facts],
            "checks": [_stored(check) for check in self.checks],
        }


def load(
    path: Path,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    experiment_files: Sequence[Path] = (),
) -> Plan:
    """The plan in a gate file. `only` keeps some experiments, `experiment_files` replaces them.

    Raises PlanError with every problem in every file it names.
    """
    problems: list[str] = []
    file = read(path, problems)
    if file is None:
        raise PlanError(problems)
    home = path.resolve().parent
    gate = _gate(file, profile, problems)
    if gate is None:
        _look_on(file, home, problems)
        raise PlanError(problems)
    watched = _watched(home / gate.service, problems)
    scenario, corpus = home / gate.load.scenario, home / gate.load.corpus
    for what, target in (("scenario", scenario), ("corpus", corpus)):
        if not target.exists():
            problems.append(f"{file.place(('load', what))}: load.{what}: no such file: {getattr(gate.load, what)}")

    wanted = list(experiment_files) or _chosen(gate, file, home, only, problems)
    facts = watched.rule_facts if watched else ()
    experiments = [e for e in (_experiment(p, facts, problems) for p in wanted) if e]
    _distinct(wanted, file.place(("experiments",)), problems)
    if watched is None or problems:
        _entries(gate, file, problems)
        raise PlanError(problems)
    checks = _checks(gate, file, watched.slos, watched.rule_facts, experiments, watched.route, problems)
    if experiments and not any(isinstance(check, Clients) for check in checks):
        if experiment_files:  # one experiment asked for by name is always judged by its contract
            checks = [c for e in experiments for c in _contract_checks(e, watched.rule_facts, watched.route)] + checks
        else:
            problems.append(f"{file.place(('checks',))}: checks: nothing judges the experiments; add `- contracts`")
    if only:  # a part of the experiments cannot cover all alerts
        checks = [check for check in checks if not isinstance(check, AlertCoverage)]
    if problems:
        raise PlanError(problems)
    return Plan(
        path=path,
        gate=gate,
        service=watched.service,
        workdir=home,
        scenario=scenario,
        corpus=corpus,
        rules=watched.rules,
        rule_facts=watched.rule_facts,
        alertmanager=watched.alertmanager,
        route=watched.route,
        experiments=tuple(experiments),
        checks=tuple(checks),
    )


@dataclass(frozen=True)
class _Watched:
    """service.yaml and the files it names."""

    service: ServiceFile
    rules: tuple[Path, ...]
    rule_facts: tuple[RuleFact, ...]
    alertmanager: Path
    route: Route
    slos: SloFile


def _watched(path: Path, problems: list[str]) -> _Watched | None:
    """The service and all its monitoring, or None with every problem appended."""
    file = read(path, problems)
    service = validated(file, ServiceFile, problems) if file else None
    if file is None or service is None:
        return None
    beside, before = path.parent, len(problems)
    rules, facts = _rules(beside, service, file, problems)
    alertmanager, route = beside / service.monitoring.alertmanager, Route()
    am_file = read(alertmanager, problems)
    if am_file is None:
        problems[-1] += f" (named in {file.place(('monitoring', 'alertmanager'))})"
    else:
        route = _route(am_file, problems)
    slo_file = read(beside / service.slos, problems)
    slos = validated(slo_file, SloFile, problems) if slo_file else None
    if slos is None or len(problems) > before:
        return None
    return _Watched(service, tuple(rules), tuple(facts), alertmanager, route, slos)


def _look_on(file: YamlFile, home: Path, problems: list[str]) -> None:
    """What else is wrong in the files that a wrong gate file names as far as it can be read."""
    raw = file.data if isinstance(file.data, dict) else {}
    if isinstance(raw.get("service"), str):
        _watched(home / raw["service"], problems)
    for name in raw.get("experiments") or () if isinstance(raw.get("experiments"), list) else ():
        if (path := home / "experiments" / f"{name}.yaml").exists():
            _experiment(path, (), problems)


def stored_checks(run: Path) -> tuple[tuple[Check, ...], tuple[RuleFact, ...], dict[str, Any]]:
    """The checks, rule facts and whole stored plan of a run's folder. Raises PlanError."""
    problems: list[str] = []
    file = read(run / "plan.yaml", problems)
    if file is None:
        raise PlanError(problems)
    checks = []
    for i, entry in enumerate(file.data["checks"]):
        try:
            checks.append(_restored(entry))
        except (KeyError, TypeError) as error:
            problems.append(f"{file.place(('checks', i))}: checks[{i}]: this harness cannot judge it: {error}")
    if problems:
        raise PlanError(problems)
    return tuple(checks), tuple(RuleFact(**fact) for fact in file.data["rules"]), file.data


def dump(plan: Plan) -> str:
    """The resolved plan as YAML."""
    return yaml.safe_dump(_plain(plan.resolved()), sort_keys=False, allow_unicode=True)


def _gate(file: YamlFile, profile: str | None, problems: list[str]) -> GateFile | None:
    if profile is not None and isinstance(file.data, dict):
        profiles = file.data.get("profiles") or {}
        if profile not in profiles:
            known = nearest(profile, list(profiles))
            problems.append(f"{file.place(('profiles',))}: profiles: unknown profile {profile!r}; {known}")
            return None
        file = replace(file, data=_merged(file.data, profiles[profile]))
    gate = validated(file, GateFile, problems)
    if gate is not None and not gate.checks:
        problems.append(f"{file.place(('checks',))}: checks: a plan without checks decides nothing; add `- slos`")
    return gate


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **base,
        **{
            k: _merged(base[k], v) if isinstance(v, dict) and isinstance(base.get(k), dict) else v
            for k, v in (over or {}).items()
        },
    }


def _rules(
    beside: Path, service: ServiceFile, file: YamlFile, problems: list[str]
) -> tuple[list[Path], list[RuleFact]]:
    paths, facts = [], []
    for i, pattern in enumerate(service.monitoring.rules):
        found = sorted(beside.glob(pattern))
        if not found:
            problems.append(
                f"{file.place(('monitoring', 'rules', i))}: monitoring.rules[{i}]: no file matches {pattern}"
            )
        paths += found
    for path in paths:
        rules = read(path, problems)
        groups = (rules.data or {}).get("groups", []) if rules and isinstance(rules.data, dict) else []
        for g, group in enumerate(groups or []):
            for r, rule in enumerate((group or {}).get("rules") or []):
                if isinstance(rule, dict) and "alert" in rule:
                    severity = str((rule.get("labels") or {}).get("severity", "none"))
                    facts.append(RuleFact(rule["alert"], severity, rules.place(("groups", g, "rules", r))))
    return paths, facts


def _route(file: YamlFile, problems: list[str]) -> Route:
    top = (file.data or {}).get("route") if isinstance(file.data, dict) else None
    if not isinstance(top, dict):
        problems.append(f"{file.place(('route',))}: route: is missing, so no alert would reach anybody")
        return Route()
    waits = {}
    for key in ("group_wait", "group_interval"):
        if key in top:
            try:
                waits[f"{key}_s"] = duration(str(top[key]))
            except ValueError as error:
                problems.append(f"{file.place(('route', key))}: route.{key}: {error}")
    return Route(**waits)


def _chosen(gate: GateFile, file: YamlFile, home: Path, only: Sequence[str], problems: list[str]) -> list[Path]:
    for name in only:
        if name not in gate.experiments:
            problems.append(
                f"--only {name}: {file.name} has no such experiment; {nearest(name, list(gate.experiments))}"
            )
    chosen = []
    for i, name in enumerate(gate.experiments):
        if only and name not in only:
            continue
        path = home / name if name.endswith((".yaml", ".yml", ".json")) else home / "experiments" / f"{name}.yaml"
        if not path.exists():
            known = [p.stem for p in (home / "experiments").glob("*.yaml")]
            problems.append(
                f"{file.place(('experiments', i))}: experiments[{i}]: no file {path.name}; {nearest(name, known)}"
            )
            continue
        chosen.append(path)
    return chosen


def _distinct(paths: Sequence[Path], place: str, problems: list[str]) -> None:
    """Evidence is kept by an experiment's name, so no two may share one, nor take that of another phase."""
    names = [path.stem for path in paths]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.append(
                f"{place}: experiments: {name} is named {names.count(name)} times; give each file its own name"
            )
        if name in RESERVED:
            problems.append(f"{place}: experiments: {name} is the name of a phase of its own; give the file another")


def _experiment(path: Path, facts: Sequence[RuleFact], problems: list[str]) -> Experiment | None:
    file = read(path, problems)
    if file is None:
        return None
    invalid = _chaostoolkit_complaint(path)
    if invalid:
        problems.append(f"{file.name}: Chaos Toolkit rejects it: {invalid}")
        return None
    extensions = file.data.get("extensions") or []
    at = [i for i, e in enumerate(extensions) if isinstance(e, dict) and e.get("name") == "harness"]
    if not at:
        problems.append(
            f"{file.place()}: extensions: has no `- name: harness` with an `expect:`, so nothing would be judged"
        )
        return None
    if "expect" not in extensions[at[0]]:
        problems.append(f"{file.place(('extensions', at[0]))}: extensions[{at[0]}].expect: is missing")
        return None
    here = ("extensions", at[0], "expect")
    contract = validated(file, Contract, problems, here)
    if contract is None:
        return None
    alerts = {fact.alert for fact in facts}
    for key, names in (("alerts", [a.alert for a in contract.alerts]), ("may_fire", contract.may_fire)):
        for i, name in enumerate(names):
            if alerts and name not in alerts:
                known = nearest(name, list(alerts))
                problems.append(f"{file.place((*here, key, i))}: {key}[{i}]: no rule is called {name}; {known}")
    for i, want in enumerate(contract.alerts):
        found = {fact.severity: fact.place for fact in facts if fact.alert == want.alert}
        if found and want.severity not in found:
            severity, place = next(iter(found.items()))
            problems.append(
                f"{file.place((*here, 'alerts', i))}: alerts[{i}]: {want.alert} is to be {want.severity},"
                f" but its rule says {severity} ({place})"
            )
    for process in contract.probes:
        if process not in PROCESSES:
            place, known = file.place((*here, "probes", process)), nearest(process, list(PROCESSES))
            problems.append(f"{place}: probes: no process is called {process}; {known}")
    return Experiment(path.stem, path.resolve(), contract)


def _chaostoolkit_complaint(path: Path) -> str:
    """Why Chaos Toolkit would not run a file; empty when it would."""
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid
    from chaoslib.loader import load_experiment

    logging.getLogger("chaostoolkit").setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ensure_experiment_is_valid(load_experiment(str(path)))
    except ChaosException as error:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _entries(gate: GateFile, file: YamlFile, problems: list[str]) -> list[tuple[str, Any, int]]:
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


def _checks(
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
    for name, params, i in _entries(gate, file, problems):
        match name:
            case "slos":
                checks += _slo_checks(slos)
                if slos.slos == Slos():
                    problems.append(f"{file.place(('checks', i))}: checks[{i}]: slos: the service states no objective")
            case "contracts":
                if not experiments:
                    problems.append(f"{file.place(('checks', i))}: checks[{i}]: contracts: the plan has no experiments")
                for experiment in experiments:
                    checks += _contract_checks(experiment, facts, route)
            case "quiet":
                checks += _quiet_checks(experiments)
            case "alert_coverage":
                checks += _coverage_checks(file, i, params, facts, experiments, route, problems)
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


def _quiet_checks(experiments: Sequence[Experiment]) -> list[Quiet]:
    allowed = {e.name: frozenset([*(a.alert for a in e.contract.alerts), *e.contract.may_fire]) for e in experiments}
    return [Quiet(STEADY, frozenset()), *(Quiet(name, alerts) for name, alerts in allowed.items())]


def _slo_checks(slos: SloFile) -> list[Check]:
    checks: list[Check] = []
    if (availability := slos.slos.availability) is not None:
        checks.append(Availability(STEADY, availability.target))
    if (latency := slos.slos.latency) is not None:
        checks.append(Latency(STEADY, latency.percentile, 1000 * latency.target))
    if (errors := slos.slos.error_rate) is not None:
        checks.append(ErrorRatio(STEADY, errors.target))
    return checks


def _contract_checks(experiment: Experiment, facts: Sequence[RuleFact], route: Route) -> list[Check]:
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
            quiet=tuple(_quiet_checks(experiments)),
            watchdog=_watchdog(facts, experiments),
        )
        for severity, at_least in coverage.model_dump(exclude_none=True).items()
    ]


def _without_steady(check: Check) -> Check | None:
    if isinstance(check, AlertCoverage) or getattr(check, "phase", "") == STEADY:
        return None
    if phases := getattr(check, "phases", ()):
        return replace(check, phases=tuple(p for p in phases if p != STEADY))
    return check


def _stored(value: Any) -> Any:
    """A check as plain data, with the checks within it."""
    if isinstance(value, tuple):
        return [_stored(v) for v in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if getattr(type(value), "kind", None) in CHECKS:
        return {"check": value.kind, **{f.name: _stored(getattr(value, f.name)) for f in fields(value)}}
    return value


def _restored(value: Any) -> Any:
    """The inverse; a set comes back as a tuple, which the checks take as well."""
    if isinstance(value, list):
        return tuple(_restored(v) for v in value)
    if isinstance(value, dict):
        kind = CHECKS[value["check"]]
        return kind(**{key: _restored(v) for key, v in value.items() if key != "check"})
    return value


def _plain(value: Any) -> Any:
    """Tuples and sets as sorted or ordered lists, paths as text, for YAML."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


__all__ = ["STEADY", "Experiment", "Plan", "RuleFact", "Strict", "dump", "load", "stored_checks"]
