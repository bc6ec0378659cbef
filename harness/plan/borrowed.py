"""Experiments as they are: what the plan gives one that somebody else wrote, and what it lacks here.

Such a file is not touched. Its environment, its configuration and its contract come from gate.yaml and from a file
beside it; a run puts them together in its own folder.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.plan.arguments import HYPOTHESIS
from harness.plan.gatefile import ExperimentSpec
from harness.plan.yamlfile import Loc, YamlFile, dotted
from harness.units import nearest
from harness.witness import ADDRESSES

PACKAGES = {  # of the Chaos Toolkit's extensions, by the module they bring
    "chaosaddons": "chaostoolkit-addons", "chaosaws": "chaostoolkit-aws", "chaosazure": "chaostoolkit-azure",
    "chaoscf": "chaostoolkit-cloud-foundry", "chaosdatadog": "chaostoolkit-datadog",
    "chaosdynatrace": "chaostoolkit-dynatrace", "chaosgandi": "chaostoolkit-gandi",
    "chaosgce": "chaostoolkit-google-cloud", "chaosgcp": "chaostoolkit-google-cloud-platform",
    "chaosgrafana": "chaostoolkit-grafana", "chaosgremlin": "chaostoolkit-gremlin",
    "chaoshoneycomb": "chaostoolkit-honeycomb", "chaoshumio": "chaostoolkit-humio",
    "chaosinstana": "chaostoolkit-instana", "chaosistio": "chaostoolkit-istio", "chaosk6": "chaostoolkit-k6",
    "chaosk8s": "chaostoolkit-kubernetes", "chaoskafka": "chaostoolkit-kafka", "chaosoci": "chaostoolkit-oci",
    "chaosprometheus": "chaostoolkit-prometheus", "chaosreliably": "chaostoolkit-reliably",
    "chaosservicefabric": "chaostoolkit-service-fabric", "chaosslack": "chaostoolkit-slack",
    "chaosspring": "chaostoolkit-spring", "chaosterraform": "chaostoolkit-terraform",
    "chaostoxi": "chaostoolkit-toxiproxy", "chaostracing": "chaostoolkit-opentracing",
    "chaoswm": "chaostoolkit-wiremock",
}  # fmt: skip
ADDRESS = re.compile(r"\$\{(\w+)\}")


def with_given(data: Mapping[str, Any], given: ExperimentSpec, contract: Any = None) -> dict[str, Any]:
    """The experiment with its configuration and environment, and with a contract where one stands beside it."""
    made = {**data}
    if given.configuration:
        made["configuration"] = {**(data.get("configuration") or {}), **given.configuration}
    others = [e for e in data.get("extensions") or () if not isinstance(e, dict) or e.get("name") != "harness"]
    mine = [e for e in data.get("extensions") or () if e not in others]
    mine = mine or [{"name": "harness"}] * (contract is not None)
    mine = [e if contract is None else {**e, "expect": contract} for e in mine]
    if given.environment:
        mine = [{**e, "environment": dict(given.environment)} for e in mine]
    return {**made, "extensions": [*others, *mine]}


def lacking(file: YamlFile, given: ExperimentSpec) -> Iterator[str]:
    """Why an experiment cannot run here, whatever it does; each with its place and what would help."""
    data = file.data
    if not isinstance(data, dict):
        return
    if "method" not in data and {"apiVersion", "kind"} <= data.keys():
        what = f"is a Kubernetes object, {data['kind']} of {data['apiVersion']}, and no experiment of the Chaos Toolkit"
        yield f"{file.place()}: {what}; write one whose action applies it, as `kubectl apply -f {Path(file.name).name}`"
        return
    configuration = given.configuration
    for loc, value in _environment(data):
        if loc[1] not in configuration or loc[0] != "configuration":
            key = str(value.get("key") or value.get("env_var_name") or loc[1])
            if not ({"default"} & value.keys() or {key} & {*os.environ, *ADDRESSES, *given.environment}):
                value = "'${SERVICE_URL}'" if "URL" in key or "ENDPOINT" in key else "..."
                how = f"give it in the plan: experiments: [{{file: {given.file}, environment: {{{key}: {value}}}}}]"
                yield f"{file.place(loc)}: {dotted(loc)}: the environment variable {key} is not set; {how}"
    needed: dict[str, str] = {}
    for loc, provider in _providers(data):
        if lacks := _lacks(provider):
            needed.setdefault(lacks, f"{file.place((*loc, 'provider'))}: {dotted((*loc, 'provider'))}: {lacks}")
    yield from needed.values()


def mistaken(given: ExperimentSpec) -> Iterator[str]:
    """Which addresses that the plan passes on nobody knows."""
    for key, text in given.environment.items():
        for name in ADDRESS.findall(text):
            if name not in ADDRESSES:
                yield f"environment.{key}: no address of a run is called ${{{name}}}; {nearest(name, list(ADDRESSES))}"


def _environment(data: Mapping[str, Any]) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    """What of configuration and secrets comes from the environment, without what only a provider asks for."""
    for part in ("configuration", "secrets"):
        for name, value in (data.get(part) or {}).items() if isinstance(data.get(part), dict) else ():
            for loc, one in (((part, name), value), *(((part, name, k), v) for k, v in _items(value))):
                if isinstance(one, dict) and one.get("type") == "env":
                    yield loc, one


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    yield from value.items() if isinstance(value, dict) else ()


def _providers(data: Mapping[str, Any]) -> Iterator[tuple[Loc, Mapping[str, Any]]]:
    hypothesis = data.get(HYPOTHESIS)
    probes = hypothesis.get("probes") if isinstance(hypothesis, dict) else ()
    parts: dict[Loc, Any] = {(HYPOTHESIS, "probes"): probes, **{(k,): data.get(k) for k in ("method", "rollbacks")}}
    for where, activities in parts.items():
        for i, activity in enumerate(activities if isinstance(activities, list) else ()):
            if isinstance(activity, dict) and isinstance(activity.get("provider"), dict):
                yield (*where, i), activity["provider"]


def _lacks(provider: Mapping[str, Any]) -> str:
    """What a provider needs that is not installed, and how to get it; empty where nothing is missing."""
    if provider.get("type") == "python":
        root = str(provider.get("module", "")).partition(".")[0]
        if not root.isidentifier() or _known(root):
            return ""
        package = PACKAGES.get(root)
        get = f"pip install {package}" if package else "install the package that brings it, or set PYTHONPATH"
        return f"needs the module {root}, which is not installed; {get}"
    if provider.get("type") == "process":
        program = str(provider.get("path", ""))
        if program and "$" not in program and shutil.which(program) is None:
            return f"needs the program {program}, which is not here; install it, or give its path"
    return ""


def _known(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
