"""From the entries of gate.yaml to checks with every figure filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.checks import CHECKS, UNASKED, Check
from harness.checks.check import Query
from harness.checks.view import STEADY, StartBudget, View
from harness.plan.experiments import Experiment, file_of
from harness.plan.gatefile import GateFile
from harness.plan.static import static
from harness.plan.watched import Watched
from harness.plan.ways import ways
from harness.plan.yamlfile import YamlFile, complaints
from harness.rules.expression import parse
from harness.stack.spec import Probes
from harness.units import nearest


def view(
    gate: GateFile, home: Path, names: Sequence[str], watched: Watched | None, experiments: Sequence[Experiment]
) -> View:
    """What the checks may know of the plan; of what could not be read it holds nothing."""
    about: dict[str, Any] = {}
    if watched is not None:
        slos = watched.slos
        about = {
            "rules": watched.rule_facts,
            "availability": slos.availability and slos.availability.target,
            "latency": slos.latency and (slos.latency.percentile, 1000 * slos.latency.target),
            "error_ratio": slos.error_rate and slos.error_rate.target,
            "telemetry": watched.service.telemetry,
            **static(watched),
            "accuracy": watched.accuracy,
            "scrape_timeout_s": watched.service.monitoring.scrape_timeout_s,
            "starting": None if watched.service.attached else _starting(watched.service.probes),
            "unseen": any(one.control.is_blind for one in watched.service.reached),
            "replicas": watched.service.replica_names,
            **ways(watched, [want for e in experiments for want in e.contract.alerts]),
        }
    return View(
        time_scale=gate.time_scale,
        phases=(STEADY, *names),
        left_out=tuple(name for e in gate.experiments if (name := file_of(home, e.file).stem) not in names),
        contracts=tuple((e.name, e.contract) for e in experiments),
        may_fire=gate.load.may_fire,
        lag_p99_ms=1000 * gate.generator.lag_p99,
        lag_p99_under_fault_ms=1000 * gate.generator.lag_p99_under_fault,
        rate_within=gate.generator.rate_within,
        **about,
    )


def _starting(probes: Probes) -> StartBudget | None:
    """By which probe a component that does not start is ended: liveness, where there is none for startup."""
    probe = probes.startup or probes.liveness
    if probe is None:
        return None
    which = "startup" if probes.startup else "liveness"
    return StartBudget(which, probe.initialDelaySeconds, probe.periodSeconds, probe.failureThreshold)


def planned(gate: GateFile, file: YamlFile, seen: View, whole: bool, problems: list[str]) -> tuple[Check, ...]:
    """gate.yaml's entries as checks, and the ones every gate has unasked; none twice.

    Where the view is not of a `whole` plan, an entry is only blamed for its own parameters.
    """
    checks: list[Check] = []
    for i, name, given in _entries(gate, file, problems):
        at = ("checks", i, name)
        try:
            checks += (made := CHECKS[name].from_plan(given, seen))
            if not made and not seen.left_out:
                raise ValueError("stands for no check: the plan has nothing that it could judge; drop it")
            problems += [f"{file.place(at)}: checks[{i}].{name}: not PromQL: {why}" for why in _unreadable(made)]
        except ValidationError as error:
            model = CHECKS[name].Parameters
            problems += [f"{line} ({name} {_takes(model)})" for line in complaints(file, error, model, at)]
        except ValueError as error:
            if whole:
                problems.append(f"{file.place(at)}: checks[{i}]: {name}: {error}")
    unasked = [check for kind in UNASKED for check in kind.from_plan(None, seen)]
    given = {(check.kind, check.subject) for check in checks}  # an entry replaces what every gate has
    checks += [check for check in unasked if (check.kind, check.subject) not in given]
    return tuple(check for check in dict.fromkeys(checks) if not {*check.about} & {*seen.left_out})


def _entries(gate: GateFile, file: YamlFile, problems: list[str]) -> Iterator[tuple[int, str, Any]]:
    """The entries of gate.yaml as (position, name, parameters)."""
    for i, entry in enumerate(gate.checks):
        name, given = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (entry, None)
        if isinstance(name, str) and name in CHECKS:
            yield i, name, given
        else:
            hint = nearest(str(name), list(CHECKS))
            problems.append(f"{file.place(('checks', i))}: checks[{i}]: unknown check {name!r}; {hint}")


def _unreadable(checks: Sequence[Check]) -> Iterator[str]:
    """What is wrong with the queries that checks ask."""
    for ask in (ask for check in checks for ask in check.asks() if isinstance(ask, Query)):
        try:
            parse(ask.promql)
        except ValueError as error:
            yield " ".join(str(error).split())


def _takes(model: type[BaseModel]) -> str:
    if model.model_config.get("extra") == "allow":
        return "takes a share for each severity, like {critical: 100%}"
    names = [field.alias or name for name, field in model.model_fields.items()]
    return f"takes {', '.join(names)}" if names else "takes no parameters"
