"""The experiments of a plan: Chaos Toolkit files, each with its contract."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import promql_parser as promql

from harness.checks.view import STEADY, Contract, RuleFact, named, promised, unmet
from harness.plan import attached, borrowed
from harness.plan.arguments import ACTIONS, COLLECTOR, SHAM, mistakes
from harness.plan.gatefile import ExperimentSpec, GateFile
from harness.plan.method import order_mistakes
from harness.plan.yamlfile import Loc, YamlFile, dotted, read, validated
from harness.stack.routing import Routing
from harness.stack.spec import ServiceSpec
from harness.units import listed, nearest
from harness.verdict import NotApplicable
from harness.witness import ADDRESSES, Witness

SUFFIXES = (".yaml", ".yml", ".json")  # of files that Chaos Toolkit reads
RESERVED = (STEADY, "load")  # names of phases that are no experiments
PYTHON_PATH = "PYTHONPATH"
INSIDE = ("clock", "inside")  # the actions that need a module in the service's processes
TOUCHED = {"surge": "requests", "send": "requests", "gpu": "gpu"}  # what actions are done to that name nothing


@dataclass(frozen=True)
class Experiment:
    """A Chaos Toolkit file and its contract. environment: what the service has more of while it lasts, as its processes
    get it. links: which its faults are done to, and which therefore go through the proxy. touches: what it is done to;
    None: perhaps to more than is known."""

    name: str
    path: Path
    contract: Contract
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: tuple[str, ...] = ()  # commands that are run before such a start
    needs: tuple[str, ...] = ()  # of the host, by its faults
    links: tuple[str, ...] = ()
    breaks_nothing: bool = False  # a sham: what it does is all the machinery, and no fault
    touches: frozenset[str] | None = None
    given: Mapping[str, Any] | None = None  # what is run in place of its file, where the plan gives it more

    def starts_like(self, other: Experiment) -> bool:
        """Whether a service that was started for the one is as the other wants it."""
        return (dict(self.environment), self.prepare) == (dict(other.environment), other.prepare)


def file_of(home: Path, name: str) -> Path:
    """Where an experiment that gate.yaml names lies."""
    if name.endswith(SUFFIXES):
        return home / name
    path = home / "experiments" / f"{name}.yaml"
    return next(iter(_alike(path)), path)


def _alike(path: Path) -> list[Path]:
    """The files of this name, whichever of the endings they have."""
    stem = str(path).removesuffix(path.suffix)
    return [Path(stem + suffix) for suffix in SUFFIXES if os.path.exists(stem + suffix)]


def chosen(gate: GateFile, file: YamlFile, home: Path, only: Sequence[str], problems: list[str]) -> list[Path]:
    """The files of the experiments that gate.yaml names, or of those of them that --only names."""
    for name in only:
        known = [alias for one in gate.experiments for alias in dict.fromkeys((one.file, Path(one.file).stem))]
        if name not in known:
            problems.append(f"--only {name}: {file.name} has no such experiment; {nearest(name, known)}")
    chosen = []
    for i, name in enumerate(one.file for one in gate.experiments):
        if only and not {name, Path(name).stem} & {*only}:
            continue
        path = file_of(home, name)
        if not os.path.exists(path):  # unlike Path.exists it gives no error for a name that no file can have
            known = [p.stem for p in (home / "experiments").glob("*") if p.suffix in SUFFIXES]
            problems.append(
                f"{file.place(('experiments', i))}: experiments[{i}]: no file {path.name}; {nearest(name, known)}"
            )
            continue
        if len(alike := [p.name for p in _alike(path) if not name.endswith(SUFFIXES)]) > 1:
            place = f"{file.place(('experiments', i))}: experiments[{i}]"
            problems.append(f"{place}: {name} is both {' and '.join(alike)}; name one as experiments/{alike[0]}")
        chosen.append(path)
    return chosen


def distinct(paths: Sequence[Path], place: str, problems: list[str]) -> None:
    """Evidence is kept by an experiment's name, so no two may share one, nor take that of another phase."""
    names = [path.stem for path in paths]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            problems.append(
                f"{place}: experiments: {name} is named {names.count(name)} times; give each file its own name"
            )
        if name in RESERVED:
            problems.append(f"{place}: experiments: {name} is the name of a phase of its own; give the file another")


def read_experiment(
    path: Path,
    facts: Sequence[RuleFact],
    problems: list[str],
    service: ServiceSpec | None = None,
    routing: Routing | None = None,
    home: Path = Path(),
    given: ExperimentSpec | None = None,
) -> Experiment | None:
    """One file, valid for Chaos Toolkit, its contract true to the rules and routes; or None with every problem
    appended. service: None where it could not be read. home: the folder of gate.yaml. given: what gate.yaml says of
    it."""
    probed = service.replica_names if service else ()
    given = given or ExperimentSpec(file=path.name)
    file = read(path, problems)
    if file is None:
        return None
    if lacks := [*borrowed.lacking(file, given), *(f"{file.name}: {why}" for why in borrowed.mistaken(given))]:
        problems += lacks
        return None
    beside = read(home / given.contract, problems) if given.contract else None
    if given.contract and beside is None:
        return None
    if given.is_given_more and isinstance(file.data, dict):
        file = replace(file, data=borrowed.with_given(file.data, given, beside and beside.data))
    problems += (wrong := list(mistakes(file, service)))
    if invalid := _chaostoolkit_complaint(path, file.data if given.is_given_more else None, given.environment):
        if not wrong:  # it says one thing of a file, and no line
            problems.append(f"{file.name}: Chaos Toolkit rejects it: {invalid}")
            return None
    else:
        problems += order_mistakes(file)
    extensions = found if isinstance(found := file.data.get("extensions"), list) else []
    at = [i for i, e in enumerate(extensions) if isinstance(e, dict) and e.get("name") == "harness"]
    if len(at) > 1:
        place = file.place(("extensions", at[1]))
        problems.append(f"{place}: extensions[{at[1]}]: is a second contract, and one is judged; make them one")
    if not at:
        problems.append(
            f"{file.place()}: extensions: has no `- name: harness` with an `expect:`, so nothing would be judged; "
            "where the file is not to be touched, name one with the contract: {file: ..., contract: beside.yaml}"
        )
        return None
    if "expect" not in extensions[at[0]]:
        problems.append(f"{file.place(('extensions', at[0]))}: extensions[{at[0]}].expect: is missing")
        return None
    here = ("extensions", at[0], "expect")
    whole = file  # what Chaos Toolkit gets, with places of its own file; the contract has those of the one beside it
    if beside is not None:
        file, here = beside, ()
    contract = validated(file, Contract, problems, here)
    if contract is None:
        return None
    for key, entries, means in (("alerts", contract.alerts, promised), ("may_fire", contract.may_fire, named)):
        for i, entry in enumerate(entries):
            try:
                means(entry, facts)
            except ValueError as error:
                problems.append(f"{file.place((*here, key, i))}: {key}[{i}]: {error}")
    for i, want in enumerate(contract.alerts):
        with contextlib.suppress(ValueError):  # which has been said
            for bound, why in unmet(want, promised(want, facts)):
                problems.append(f"{file.place((*here, 'alerts', i, bound))}: alerts[{i}].{bound}: {why}")
        for n, metric in enumerate(want.growing):
            read_too = {m for fact in facts if fact.alert.name == want.alert for m in fact.reads}
            if facts and metric not in read_too:
                place = file.place((*here, "alerts", i, "growing", n))
                hint = nearest(metric, sorted(read_too))
                problems.append(f"{place}: alerts[{i}].growing[{n}]: {want.alert} does not read {metric}; {hint}")
        if problem := routing.unreached(want.receiver) if routing else "":
            problems.append(f"{file.place((*here, 'alerts', i, 'receiver'))}: alerts[{i}].receiver: {problem}")
    for component in contract.probes:
        if probed and component not in probed:
            place, known = file.place((*here, "probes", component)), nearest(component, list(probed))
            problems.append(f"{place}: probes: no component with probes is called {component}; {known}")
    for component in contract.stops:
        if probed and component not in probed:
            place, known = file.place((*here, "stops", component)), nearest(component, list(probed))
            problems.append(f"{place}: stops: no component with probes is called {component}; {known}")
    if missing := [component for component in probed if component not in contract.probes]:
        say = "say restart: never, readiness: any of one that may do as it likes"
        problems.append(f"{file.place((*here, 'probes'))}: probes: says nothing of {listed(missing)}; {say}")
    environment = dict(contract.start.environment) if contract.start else {}
    if PYTHON_PATH in environment:
        folders = [home.resolve() / entry for entry in environment[PYTHON_PATH].split(os.pathsep) if entry]
        environment[PYTHON_PATH] = os.pathsep.join(map(str, folders))
        for folder in (folder for folder in folders if not os.path.isdir(folder)):
            place = file.place((*here, "start", "environment", PYTHON_PATH))
            problems.append(f"{place}: start.environment.{PYTHON_PATH}: no folder {os.path.relpath(folder, home)}")
    if invalid:
        return None
    if service is not None and service.controls:
        problems += attached.refused(whole, service)
    if service is not None and service.attached:
        problems += attached.needs_start(contract.start is not None, file, here, service)
    elif contract.start is None:
        problems += _nothing_inside(whole, here)
    if contract.witness is not None:
        started = [name for name, needed in service.dependencies.items() if needed.is_component] if service else []
        problems += _sees_nothing(file, here, contract.witness, [*probed, *started], whole)
    prepare = contract.start.prepare if contract.start else ()
    about = {
        "prepare": prepare,
        "needs": needs_of(whole.data),
        "links": _links(whole),
        "breaks_nothing": _breaks_nothing(whole),
        "touches": _touches(whole.data.get("method") or ()),
        "given": whole.data if given.is_given_more else None,
    }
    return Experiment(path.stem, path.resolve(), contract, environment, **about)


def needs_of(experiment: Mapping[str, Any]) -> tuple[str, ...]:
    """What the faults of an experiment need of the host."""
    faults = resolve_name("harness.faults:FAULTS")
    providers = [activity.get("provider") or {} for activity in experiment.get("method") or ()]
    used = [faults.get(p.get("func")) for p in providers if p.get("module") == ACTIONS]
    return tuple(dict.fromkeys(need for fault in used if fault is not None for need in fault.needs))


def not_applicable(experiment: Experiment, facts: Sequence[RuleFact]) -> NotApplicable | None:
    """Why an experiment cannot take place on this host; None where it can."""
    lacks = resolve_name("harness.faults.needs:missing")(experiment.needs)
    if not lacks:
        return None
    reason = ", ".join(map(str, lacks))
    remedy = "; ".join(dict.fromkeys(lack.remedy for lack in lacks))
    alerts = []
    for want in experiment.contract.alerts:
        with contextlib.suppress(ValueError):  # which is a problem of the plan
            alerts.append(str(promised(want, facts).alert))
    return NotApplicable(experiment.name, reason, remedy, tuple(dict.fromkeys(alerts)))


def _links(file: YamlFile) -> tuple[str, ...]:
    """The links that its faults name."""
    named = [
        (provider.get("arguments") or {}).get("link")
        for activity in file.data.get("method") or ()
        if (provider := activity.get("provider") or {}).get("module") == ACTIONS
    ]
    return tuple(dict.fromkeys(link for link in named if link is not None))


def _touches(method: Iterable[Mapping[str, Any]]) -> frozenset[str] | None:
    """What its actions are done to; None where one may reach more than is known here."""
    found = set()
    for activity in method:
        provider = activity.get("provider") or {}
        func, given = provider.get("func"), provider.get("arguments") or {}
        if activity.get("type") != "action" or (provider.get("module"), func) == (ACTIONS, "heal"):
            continue
        if provider.get("module") == ACTIONS and func in TOUCHED:
            found.add(TOUCHED[func])
        elif (
            provider.get("module") == ACTIONS and func == "file" and "/" not in str(given.get("path"))
        ):  # of no component
            found.add(str(given.get("path")))
        elif provider.get("module") == ACTIONS and COLLECTOR in (given.get("component"), given.get("link")):
            found.add(COLLECTOR)
        else:
            return None
    return frozenset(found)


def _breaks_nothing(file: YamlFile) -> bool:
    """Whether all that an experiment does is this harness' own sham."""
    method = [one.get("provider") or {} for one in file.data.get("method") or () if one.get("type") == "action"]
    done = [(provider.get("module"), provider.get("func")) for provider in method]
    return (ACTIONS, SHAM) in done and set(done) <= {(ACTIONS, SHAM), (ACTIONS, "heal")}


def _nothing_inside(file: YamlFile, here: Loc) -> Iterator[str]:
    """The actions that break a process from inside, of an experiment that has no module started in it. A rollout before
    them may have."""
    for i, activity in enumerate(file.data.get("method") or ()):
        provider = activity.get("provider") or {}
        given = provider.get("arguments") or {}
        if isinstance(given, dict) and PYTHON_PATH in (given.get("environment") or {}):
            return
        if provider.get("module") == ACTIONS and provider.get("func") in INSIDE:
            how = f"start: {{environment: {{{PYTHON_PATH}: experiments/inside}}}}"
            at = ("method", i, "provider", "func")
            yield f"{file.place(at)}: {dotted(at)}: nothing in the service follows it; add to {dotted(here)} {how}"


def _sees_nothing(
    file: YamlFile, here: Loc, witness: Witness, components: Sequence[str], whole: YamlFile
) -> Iterator[str]:
    """What is wrong with the witness of somebody else's action. whole: the experiment, where its contract is beside."""
    at, place = (*here, "witness"), file.place((*here, "witness"))
    actions = [
        str(activity.get("name"))
        for activity in whole.data.get("method") or ()
        if activity.get("type") == "action"
        and not str((activity.get("provider") or {}).get("module", "")).startswith("harness.")
    ]
    if not actions:
        yield f"{place}: {dotted(at)}: the method has no action but the harness' own, which have witnesses; drop it"
    elif witness.action not in (None, *actions):
        hint = nearest(witness.action, actions)
        yield f"{place}: {dotted(at)}.action: no such action of somebody else's is in the method; {hint}"
    if components and witness.component not in (None, *components):
        hint = nearest(witness.component, list(components))
        yield f"{place}: {dotted(at)}.component: no component is called {witness.component}; {hint}"
    if witness.query is not None:
        try:
            promql.parse(witness.query)
        except ValueError as error:
            yield f"{place}: {dotted(at)}.query: is no PromQL: {' '.join(str(error).split())}"


def _chaostoolkit_complaint(path: Path, whole: Any = None, environment: Mapping[str, str] | None = None) -> str:
    """Why Chaos Toolkit would not run a file, or what a run makes of it; empty when it would."""
    from chaoslib.exceptions import ChaosException
    from chaoslib.experiment import ensure_experiment_is_valid
    from chaoslib.loader import load_experiment

    logging.getLogger("chaostoolkit").setLevel(logging.CRITICAL)
    missing = [name for name in (*ADDRESSES, *(environment or ())) if name not in os.environ]
    os.environ.update(dict.fromkeys(missing, "http://127.0.0.1"))  # a run sets them; an experiment may ask for them
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ensure_experiment_is_valid(whole or load_experiment(str(path)))
    except ChaosException as error:
        return " ".join(str(error).split()) or type(error).__name__
    except (Exception, SystemExit) as error:  # of a module that it imports, too
        return " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        for name in missing:
            del os.environ[name]
    return ""
