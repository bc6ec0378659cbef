"""What is wrong with a plan because its service runs already: what its control cannot do, and whom nobody may break."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any

from harness.plan.yamlfile import Loc, YamlFile, dotted
from harness.stack.control import ABOUT, BY_HARNESS, KILL, RESTART, START, STOP, can, that_can
from harness.stack.place import is_loopback, named, proxied_by
from harness.stack.spec import PLACEHOLDER, ControlSpec, ServiceSpec
from harness.units import listed

ACTIONS = "harness.chaos.actions"
OURS = ("scrape", "alerts", "notifications")  # links between parts of the monitoring, which are the run's own
HARMLESS = ("heal", "send", "sham")
ALLOW = "--allow-faults"


def mistakes(service: ServiceSpec, environ: Mapping[str, str] | None = None) -> Iterator[tuple[Loc, str]]:
    """What service.yaml says of a service that runs already and that nobody can do for it."""
    for i, instance in enumerate(service.reached):
        at: Loc = ("instances", i) if service.instances else ()
        yield from _control((*at, "control"), instance.control)
        yield from _proxy((*at, "url"), instance.url, environ)
    for name, needed in service.dependencies.items():
        yield from _control(("dependencies", name, "control"), needed.control)
    if service.url is not None and service.instances:
        yield from _proxy(("url",), service.url, environ)
    if not service.attached:
        return
    for which, probe in service.probes.by_name().items():
        if probe.exec is not None:
            yield (
                ("probes", which, "exec"),
                "is run by whoever starts the service; ask httpGet or tcpSocket",
            )
    telemetry = service.telemetry
    if telemetry.logs is not None and not telemetry.logs.file:
        yield ("telemetry", "logs"), "what a service prints goes to whoever started it; say in which file it is: `file`"
    if telemetry.traces is not None:
        yield ("telemetry", "traces"), "where a service sends its spans is said at its start; leave traces out"
    for section, key in (("logs", "file"), ("audit", "file"), ("database", "url")):
        text = getattr(getattr(telemetry, section), key, "") or ""
        if "state" in PLACEHOLDER.findall(text):
            yield ("telemetry", section, key), "{state} is a folder of what the harness starts; name the file itself"


def _control(at: Loc, control: ControlSpec) -> Iterator[tuple[Loc, str]]:
    if control.compose is not None and not os.path.isfile(control.compose):
        yield (*at, "compose"), "no such file"
    if control.kind == "kubernetes" and find_spec("kubernetes") is None:
        yield (*at, "kubernetes"), "to control pods takes `pip install 'chaos-harness[kubernetes]'`"
    if control.kind not in ("container", "compose"):
        return
    if find_spec("docker") is None:
        yield (*at, control.kind), "to control containers takes `pip install 'chaos-harness[containers]'`"
    try:
        resolve_name("harness.stack.engine:address")(control.engine)
    except ValueError as error:
        yield (*at, "engine"), str(error)


def _proxy(at: Loc, url: Any, environ: Mapping[str, str] | None) -> Iterator[tuple[Loc, str]]:
    if proxied_by(url, environ):
        yield (
            at,
            (
                f"the environment has a proxy for {url.host}, and what is measured through one is the proxy's, too; "
                f"add {url.host} to NO_PROXY"
            ),
        )


def refused(file: YamlFile, service: ServiceSpec) -> Iterator[str]:
    """What an experiment does that the control of its component cannot do."""
    faults = resolve_name("harness.faults:FAULTS")
    controls = service.controls
    replicas = [controls[name] for name in service.replica_names] if service.attached else []
    for at, func, given in _faults(file):
        component = _component(faults[func], given)
        if not (asked := faults[func].asks(given)) or component in resolve_name("harness.plan.arguments:WATCHING"):
            continue
        mine = [controls[component]] if component in controls else replicas if component is None else []
        for control in mine:
            if why := _cannot(func, asked, component or "the service", control, given):
                yield f"{file.place(at)}: {dotted(at)}: {why}"
                break


def _cannot(func: str, asked: Sequence[str], component: str, control: ControlSpec, given: Mapping[str, Any]) -> str:
    """Why a control cannot do what a fault asks, and which could; empty where it can."""
    only = "it is only observed" if control.kind == "none" else f"its control is {control.kind}"
    for deed in asked:
        if not can(control.kind, deed):
            kinds = listed([f"`{kind}`" for kind in that_can(deed)], "or")
            remedy = f"give it control: {kinds}" if kinds else "have the harness start it: `start`"
            return f"{func} has to {ABOUT[deed].format(it=component)}, and {only}; {remedy}, or leave it out"
    if control.kind == "pid_file" and {KILL, STOP} & {*asked} and not control.restarted_by:
        return f"{func} ends {component}, and nobody is said to start it again; say restarted_by beside its pid_file"
    if control.kind == "kubernetes":
        return ""
    if RESTART in asked and control.restarted_by != BY_HARNESS:
        return f"{func} has the harness restart {component}; say `restarted_by: harness` in its control"
    again = [key for key in ("times", "again_for_s", "at_once") if given.get(key) not in (None, 0, False, 1)]
    if again and not control.restarted_by:
        return f"{func} with {again[0]} waits for {component} to be started anew; say restarted_by in its control"
    return ""


def unguarded(
    files: Sequence[YamlFile], service: ServiceSpec, gate: YamlFile, blast_radius: Sequence[str], allowed: bool,
    overloads: bool = False,
) -> Iterator[str]:  # fmt: skip
    """Whoever would be loaded or broken and is neither on this machine nor named in the plan; and what breaks a service
    that somebody else runs without leave. overloads: the command does, whatever the experiments do."""
    places = [one.url for one in service.reached] + ([service.url] if service.url is not None else [])
    needed = [one.address.rpartition(":")[0].strip("[]") for one in service.dependencies.values() if one.is_controlled]
    hosts = dict.fromkeys([*(place.host for place in places), *needed])
    unnamed = [host for host in hosts if not named(host, blast_radius)]
    for host in unnamed:
        if not is_loopback(host):
            yield (
                f"{gate.place(('service',))}: service: {host} is not this machine, and nothing says that it may be "
                f"loaded and broken; if it may, say `blast_radius: [{host}]` here"
            )
    if allowed or not unnamed:
        return
    leave = f"if it may, say {ALLOW}, or `blast_radius: [{', '.join(unnamed)}]` in {gate.name}"
    if overloads:
        yield f"{gate.name}: loads a service that the harness did not start with more than it can serve; {leave}"
        return
    for file in files:
        if broken := _breaking(file, () if service.attached else service.controls):
            yield f"{file.name}: {listed(broken)}: breaks what the harness did not start; {leave}"


def _breaking(file: YamlFile, only: Collection[str] = ()) -> list[str]:
    """The names of what an experiment does to the service itself, or to some components alone."""
    faults, watching = resolve_name("harness.faults:FAULTS"), resolve_name("harness.plan.arguments:WATCHING")
    found = []
    for activity in file.data.get("method") or ():
        provider = activity.get("provider") or {}
        func, given = provider.get("func", ""), provider.get("arguments") or {}
        module = str(provider.get("module", ""))
        if activity.get("type") != "action" or (module == ACTIONS and func in HARMLESS):
            continue
        if module == ACTIONS and func in faults and isinstance(given, dict):
            plane = func in ("receiver_failing", "rules_broken", "targets_lost")
            component = _component(faults[func], given)
            if plane or given.get("link") in OURS or component in watching or (only and component not in only):
                continue
        elif only:
            continue
        found.append(func or str(activity.get("name")))
    return list(dict.fromkeys(found))


def _faults(file: YamlFile) -> Iterator[tuple[Loc, str, Mapping[str, Any]]]:
    """The harness' own faults in an experiment's method."""
    faults = resolve_name("harness.faults:FAULTS")
    for i, activity in enumerate(file.data.get("method") or ()):
        provider = activity.get("provider") or {}
        given = provider.get("arguments") or {}
        if provider.get("module") == ACTIONS and provider.get("func") in faults and isinstance(given, dict):
            yield ("method", i, "provider", "func"), provider["func"], given


def _component(fault: Any, given: Mapping[str, Any]) -> str | None:
    """What a fault is done to; None where it has no component, or is done to all."""
    named = given.get("component", getattr(fault, "component", None))
    return named if isinstance(named, str) else None


def needs_start(start: bool, file: YamlFile, at: Loc, service: ServiceSpec) -> Iterator[str]:
    """A contract that has the service started anew for its experiment."""
    if start and service.attached:
        what, at = ABOUT[START].format(it="the service"), (*at, "start")
        yield f"{file.place(at)}: {dotted(at)}: has to {what}; this service runs already: leave it out"
