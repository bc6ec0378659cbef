"""The arguments that an experiment gives to the harness' own actions and probes: whatever is wrong with them, at once.

Of each argument its name and type, by the signature of the action; then its value, by the fault itself; then what only
the service shows. What Chaos Toolkit fills in from outside (`${...}`) is judged when the action begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import isfunction, signature
from pkgutil import resolve_name
from typing import Any

import promql_parser as promql
from pydantic import ValidationError

from harness.errors import UsageError
from harness.load.arrivals import parse
from harness.parameters import arguments_of
from harness.plan.yamlfile import Loc, YamlFile, complaints, dotted
from harness.stack.links import encrypted, known
from harness.stack.spec import ServiceSpec
from harness.units import listed, nearest

ACTIONS, PROBES = "harness.chaos.actions", "harness.chaos.probes"
HYPOTHESIS = "steady-state-hypothesis"
HTTP = "http"  # the action that reads what goes through a link
SHAM = "sham"  # the action that finds a component by itself
COLLECTOR = "collector"
WATCHING = ("prometheus", "alertmanager", COLLECTOR)  # components that watch the service, and that some faults may hit

Wrong = Iterator[tuple[str, str]]  # (argument, what is wrong with it)


def mistakes(file: YamlFile, service: ServiceSpec | None) -> Iterator[str]:
    """What is wrong with them, each with its place. service: None where it could not be read."""
    for loc, provider in _ours(file):
        func, at = provider.get("func"), (*loc, "provider", "func")
        module = resolve_name(provider["module"])
        names = [name for name in dir(module) if _callable(module, name)]
        if func not in names:
            what = f"there is no {'action' if provider['module'] == ACTIONS else 'probe'} {func}"
            yield f"{file.place(at)}: {dotted(at)}: {what}; {nearest(str(func), names)}"
            continue
        at, given = (*loc, "provider", "arguments"), provider.get("arguments", {})
        if not isinstance(given, dict):
            yield f"{file.place(at)}: {dotted(at)}: must be a mapping of arguments; got {given!r}"
            continue
        yield from _of_one(file, at, getattr(module, func), _filled_in(file, given), service)


def _callable(module: Any, name: str) -> bool:
    """Whether it is an action or a probe: a function of the module's own, or made by it."""
    found = getattr(module, name)
    return isfunction(found) and not name.startswith("_") and found.__module__ == module.__name__


def _ours(file: YamlFile) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """The activities that the harness itself provides, as far as the file has the form of an experiment."""
    data = file.data if isinstance(file.data, dict) else {}
    hypothesis = data.get(HYPOTHESIS)
    probes = hypothesis.get("probes") if isinstance(hypothesis, dict) else ()
    parts: dict[Loc, Any] = {(HYPOTHESIS, "probes"): probes, **{(k,): data.get(k) for k in ("method", "rollbacks")}}
    for where, activities in parts.items():
        for i, activity in enumerate(activities if isinstance(activities, list) else ()):
            provider = activity.get("provider") if isinstance(activity, dict) else None
            if isinstance(provider, dict) and provider.get("module") in (ACTIONS, PROBES):
                yield (*where, i), provider


def _filled_in(file: YamlFile, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments with what stands in the file's own `configuration`; nothing of the environment, or of secrets."""
    from chaoslib import substitute

    configuration = file.data.get("configuration")
    said = configuration.items() if isinstance(configuration, dict) else ()
    return substitute(dict(given), {k: v for k, v in said if not (isinstance(v, dict) and "type" in v)}, {})


def _of_one(file: YamlFile, at: Loc, act: Any, given: Mapping[str, Any], service: ServiceSpec | None) -> Iterator[str]:
    unknown = {name for name, value in given.items() if "${" in str(value)}
    model, wrong = arguments_of(act), set(unknown)
    try:
        model.model_validate({name: value for name, value in given.items() if name not in unknown}, strict=True)
    except ValidationError as error:
        for one, complaint in zip(error.errors(), complaints(file, error, model, at), strict=True):
            if (name := str(one["loc"][0])) not in unknown:
                wrong.add(name)
                yield complaint
    sound = {name: value for name, value in given.items() if name not in wrong}
    for found in (getattr(act, "mistakes", _nothing)(sound), _texts(act, sound), _of_the_service(act, sound, service)):
        for name, why in found:
            if name not in wrong:
                yield f"{file.place((*at, name))}: {dotted((*at, name))}: {why}"


def _nothing(given: Mapping[str, Any]) -> Wrong:
    return iter(())


def _texts(act: Any, given: Mapping[str, Any]) -> Wrong:
    """What is wrong with arguments that are of a language of their own, and with the lease."""
    if given.get("lease_s", 1) <= 0:
        yield "lease_s", f"must be a number of seconds above 0; got {given['lease_s']:g}"
    parameters = signature(act).parameters
    if (query := given.get("witness_query")) is not None and (query or parameters["witness_query"].default):
        try:
            promql.parse(query)
        except ValueError as error:
            yield "witness_query", f"is no PromQL: {' '.join(str(error).split())}"
    if (arrivals := given.get("arrivals")) is not None:
        try:
            parse(arrivals)
        except UsageError as error:
            yield "arrivals", str(error).removeprefix("arrivals: ")


def _of_the_service(act: Any, given: Mapping[str, Any], service: ServiceSpec | None) -> Wrong:
    """A component or a link that the service does not have."""
    if service is None:
        return
    started = [name for name, dependency in service.dependencies.items() if dependency.is_component]
    own = [*service.replica_names, *started]
    watching = WATCHING if getattr(getattr(act, "fault", None), "of_monitoring", False) else ()
    components = [*own, *(name for name in watching if name != COLLECTOR or service.telemetry.traces)]
    default = _default_component(act)
    if (component := given.get("component")) is not None:
        if component not in components:
            yield "component", f"no component is called {component}; {nearest(component, components)}"
    elif default is not None and default not in components:
        which = f"the default, {default}, is no component of this service; name one of {listed(components)}"
        yield "component", f"is missing, and {which}"
    if (link := given.get("link")) is None:
        return
    if link not in (links := list(known(service))):
        yield "link", f"the service has no link {link}; {nearest(link, links)}"
    elif act.__name__ == HTTP and encrypted(service, link):
        yield "link", f"{link} is TLS, in which the proxy finds no response; break it by the fault network"


def _default_component(act: Any) -> str | None:
    """What an action is done to where nothing is named; None where it takes none, or breaks nothing and finds one."""
    if act.__name__ == SHAM:
        return None
    parameter = signature(act).parameters.get("component")
    return None if parameter is None else parameter.default
