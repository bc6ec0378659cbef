"""The plan of a run: every file read, every mistake found, every check made, before anything is started."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.checks import AlertCoverage, AlertDelivered, Check, Contracts, Messages, Quiet
from harness.checks.view import STEADY, Finding, RuleFact, View, named
from harness.checks.view import promised as meant
from harness.document import shown
from harness.errors import PlanError
from harness.plan.attached import unguarded
from harness.plan.checks import planned, view
from harness.plan.experiments import Experiment, chosen, distinct, file_of, not_applicable, read_experiment
from harness.plan.gatefile import GateFile
from harness.plan.scenario import corpus_complaint, scenario_complaint
from harness.plan.schedule import first_s, lasts_s
from harness.plan.stored import VERSION, stored
from harness.plan.watched import read_watched
from harness.plan.windows import windows
from harness.plan.yamlfile import YamlFile, read, validated
from harness.rules.rulefile import AlertRule, RecordingRule
from harness.stack.spec import Probes, ServiceSpec
from harness.units import listed, nearest
from harness.verdict import NotApplicable

EXPERIMENT_AT_LEAST_S = 10.0  # of load that even the shortest experiment needs, before its fault, under it and after


@dataclass(frozen=True)
class Plan:
    """Everything a run needs to know. Paths are absolute; times in seconds."""

    path: Path
    gate: GateFile
    service: ServiceSpec
    workdir: Path  # where gate.yaml lies; the service is started there
    scenario: Path
    arrivals: str | None  # the schedule as the generator's command line takes it; None: the scenario's own
    corpus: Path | None  # None: the scenario's own images
    rules: tuple[Path, ...]
    rule_facts: tuple[RuleFact, ...]
    experiments: tuple[Experiment, ...]
    checks: tuple[Check, ...]
    alerts: tuple[AlertRule, ...] = ()
    recordings: tuple[RecordingRule, ...] = ()
    not_applicable: tuple[NotApplicable, ...] = ()  # experiments that this host lacks something for; they do not run
    windows: tuple[tuple[str, ...], ...] = ()  # the experiments' names, together those that take place at once

    @property
    def scrape_s(self) -> float:
        """Gate seconds between scrapes."""
        return self.service.monitoring.scrape_interval / self.gate.time_scale

    @property
    def evaluation_s(self) -> float:
        """Gate seconds between rule evaluations."""
        return self.service.monitoring.evaluation_interval / self.gate.time_scale

    @property
    def links(self) -> tuple[str, ...]:
        """What goes through the proxy for the whole run: the links that a fault of it names."""
        return tuple(dict.fromkeys(link for experiment in self.experiments for link in experiment.links))

    @property
    def always_firing(self) -> frozenset[str]:
        """The alerts that fire whatever happens."""
        return frozenset(str(fact.alert) for fact in self.rule_facts if fact.always)

    def with_refusals(self, refused: Mapping[str, Sequence[str]]) -> Plan:
        """The same plan, its delivery checks knowing which rules have no live copy, and why."""

        def knowing(check: Check) -> Check:
            if isinstance(check, AlertDelivered) and str(check.alert) in refused:
                return replace(check, refused=tuple(refused[str(check.alert)]))
            return check

        return replace(self, checks=tuple(map(knowing, self.checks)))

    def with_texts(self, found: Sequence[Finding]) -> Plan:
        """The same plan, its check of texts knowing what Prometheus itself makes of them."""
        known = [c.with_found(tuple(found)) if isinstance(c, Messages) else c for c in self.checks]
        return replace(self, checks=tuple(known))

    def for_experiments_alone(self) -> Plan:
        """The same plan without what needs the steady phase: for an experiment on a stack that somebody else holds."""
        return replace(self, checks=tuple(c for check in self.checks if (c := check.without(STEADY)) is not None))

    def resolved(self) -> dict[str, Any]:
        """The plan as plain data, for the run's folder: with it alone the run can be judged again."""
        return {
            "version": VERSION,
            "gate": str(self.path),
            "service": self.service.name,
            "time_scale": self.gate.time_scale,
            "load": self.gate.load.model_dump(by_alias=True, exclude_none=True),
            "experiments": [e.name for e in self.experiments],
            "not_applicable": [stored(each._asdict()) for each in self.not_applicable],
            "windows": [list(names) for names in self.windows],
            "links": list(self.links),
            "probes": _without_values(self.service.probes),
            "rules": [stored(fact) for fact in self.rule_facts],
            "checks": [stored(check) for check in self.checks],
        }


def load(
    path: Path,
    *,
    profile: str | None = None,
    only: Sequence[str] = (),
    experiment_files: Sequence[Path] = (),
    allow_faults: bool = False,
    overloads: bool = False,
) -> Plan:
    """The plan in a gate file. `only` keeps some experiments, `experiment_files` replaces them. allow_faults: on this
    machine, also to a service that somebody else runs. overloads: whoever asks will do so, experiments or none.

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
    watched = read_watched(home / gate.service, problems)
    scenario = home / gate.load.scenario
    corpus = None if gate.load.corpus is None else home / gate.load.corpus
    unread, line = scenario_complaint(scenario)
    if line:
        problems.append(f"{shown(scenario)}:{line}: {unread}")
    for what, why in (("scenario", "" if line else unread), ("corpus", corpus_complaint(corpus) if corpus else "")):
        if why:
            problems.append(f"{file.place(('load', what))}: load.{what}: {why}: {getattr(gate.load, what)}")
    user = gate.load.user
    if user is not None and not unread and user not in re.findall(r"\w+", scenario.read_text(errors="replace")):
        problems.append(f"{file.place(('load', 'user'))}: load.user: no class {user} in {gate.load.scenario}")
    wanted = list(experiment_files) or chosen(gate, file, home, only, problems)
    arrivals = _arrivals(gate, file, home, 0 if experiment_files else gate.load.for_s, len(wanted), problems)
    facts = watched.rule_facts if watched else ()
    for i, name in enumerate(gate.load.may_fire):
        try:
            named(name, facts)
        except ValueError as error:
            problems.append(f"{file.place(('load', 'may_fire', i))}: load.may_fire[{i}]: {error}")
    service = watched.service if watched else None
    routing = watched.routing if watched else None
    given = {file_of(home, each.file): each for each in gate.experiments}
    about = (facts, problems, service, routing, home)
    experiments = [e for e in (read_experiment(p, *about, given.get(p)) for p in wanted) if e]
    if service is not None and service.controls:
        files = [each for path in wanted if (each := read(path, [])) is not None]
        problems += unguarded(files, service, file, gate.blast_radius, allow_faults, overloads)
    lacking = [each for e in experiments if (each := not_applicable(e, facts))]
    if lacking and len(lacking) == len(experiments):
        cannot = [f"{each.experiment} cannot run: this host lacks {each.reason}; {each.remedy}" for each in lacking]
        raise PlanError([*problems, *cannot])
    unable = {each.experiment for each in lacking}
    experiments = [e for e in experiments if e.name not in unable]
    wanted = [path for path in wanted if path.stem not in unable]
    distinct(wanted, file.place(("experiments",)), problems)
    seen = view(gate, home, [path.stem for path in wanted], watched, experiments)
    shared = windows(experiments, facts, _inhibiting(seen)) if not problems else []
    at_once = tuple(tuple(experiment.name for experiment in window) for window in shared)
    seen = replace(seen, windows=at_once)
    proven = {str(meant(w, facts).alert) for e in experiments for w in e.contract.alerts} if not problems else set()
    seen = replace(seen, not_run=tuple((a, each.why) for each in lacking for a in each.alerts if a not in proven))
    checks = planned(gate, file, seen, watched is not None and not problems, problems)
    if watched is None or problems:
        raise PlanError(problems)
    place = f"{file.place(('checks',))}: checks"
    promised = {e.name: Contracts.from_plan({"experiment": e.name}, seen) for e in experiments}
    if experiment_files:  # one experiment asked for by its file is always judged by its whole contract
        checks = (*(check for each in promised.values() for check in each if check not in checks), *checks)
    for name in (name for name, each in promised.items() if not {*each} <= {*checks}):
        problems.append(f"{place}: nothing judges experiment {name} by its whole contract; add `- contracts`")
    quiet = {check.phase for check in checks if isinstance(check, Quiet)}
    loud = [] if experiment_files else [phase for phase in seen.phases if phase not in quiet]
    if loud and any(isinstance(c, AlertCoverage) for c in checks):
        why = f"alert_coverage goes by the other checks: a noisy alert is not proven, and none is about {listed(loud)}"
        problems.append(f"{place}: {why}; add `- quiet`")
    if only:  # a part of the experiments cannot cover all alerts
        checks = tuple(check for check in checks if not check.judges_results)
    if problems:
        raise PlanError(problems)
    return Plan(
        path=path,
        gate=gate,
        service=watched.service,
        workdir=home,
        scenario=scenario,
        arrivals=arrivals,
        corpus=corpus,
        rules=watched.rules,
        rule_facts=watched.rule_facts,
        alerts=watched.alerts,
        recordings=watched.recordings,
        experiments=tuple(experiments),
        checks=checks,
        not_applicable=tuple(lacking),
        windows=at_once,
    )


def _without_values(probes: Probes) -> dict[str, Any]:
    """The probes as plain data, without what their headers say: it may be a secret."""
    values = {"httpHeaders": {"__all__": {"value", "valueFrom"}}}
    kept = {"exclude_unset": True, "exclude": {**values, "httpGet": values}}
    return {name: probe.model_dump(**kept) for name, probe in probes.by_name().items()}


def _inhibiting(seen: View) -> dict[str, frozenset[str]]:
    """By which alerts each that a contract expects may be inhibited, whatever their labels."""
    found: dict[str, set[str]] = {}
    for alert, _, ways in seen.ways:
        found.setdefault(alert.name, set()).update(by.name for way in ways for by, _ in way.inhibiting)
    return {alert: frozenset(by) for alert, by in found.items()}


def _arrivals(
    gate: GateFile, file: YamlFile, home: Path, steady_s: float, experiments: int, problems: list[str]
) -> str | None:
    """The schedule that the plan writes, as text; one that is known to be over too soon is a problem."""
    if gate.load.arrivals is None:
        return None
    place = f"{file.place(('load', 'arrivals'))}: load.arrivals"
    try:
        schedule = gate.load.arrivals.schedule(home)
    except ValueError as error:
        problems.append(f"{place}: {error}")
        return None
    if (lasts := lasts_s(schedule)) < steady_s + EXPERIMENT_AT_LEAST_S * experiments:
        needed = [f"the load is judged for {steady_s:g} s"] if steady_s else []
        needed += [f"experiments need {EXPERIMENT_AT_LEAST_S * experiments:g} s at least"] if experiments else []
        problems.append(f"{place}: the schedule is over after {lasts:.3g} s, but {' and then '.join(needed)}")
    elif steady_s and first_s(schedule) >= steady_s:
        problems.append(f"{place}: no request is due in the {steady_s:g} s that are judged; raise the rate or `for`")
    return str(schedule)


def _look_on(file: YamlFile, home: Path, problems: list[str]) -> None:
    """What else is wrong in the files that a wrong gate file names as far as it can be read."""
    raw = file.data if isinstance(file.data, dict) else {}
    if isinstance(raw.get("service"), str):
        read_watched(home / raw["service"], problems)
    for name in raw.get("experiments") or () if isinstance(raw.get("experiments"), list) else ():
        if isinstance(name, str) and os.path.exists(path := file_of(home, name)):
            read_experiment(path, (), problems, home=home)


def _gate(file: YamlFile, profile: str | None, problems: list[str]) -> GateFile | None:
    profiles = (file.data.get("profiles") or {}) if isinstance(file.data, dict) else None
    if profile is not None and isinstance(profiles, dict):  # what else it may be, the model refuses
        if profile not in profiles:
            known = nearest(profile, [str(name) for name in profiles])
            problems.append(f"{file.place(('profiles',))}: profiles: unknown profile {profile!r}; {known}")
            return None
        if not isinstance(profiles[profile] or {}, dict):
            place = f"{file.place(('profiles', profile))}: profiles.{profile}"
            problems.append(f"{place}: must be a mapping; got {profiles[profile]!r}")
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
