"""What an experiment will touch, for how long, and how that is undone: said before a run, from its file alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from harness.chaos import actions
from harness.faults import FAULTS
from harness.faults.fault import Fault
from harness.plan.experiments import Experiment
from harness.plan.yamlfile import read
from harness.units import duration

TITLE = "what is broken, for how long, and how it is undone:"
OWN = actions.__name__


def blast(experiments: Sequence[Experiment]) -> Iterator[str]:
    """A line for each action of their methods that breaks something, or that may."""
    for experiment in experiments:
        file = read(experiment.path, [])
        method = (file.data.get("method") or []) if file else []
        for i, activity in enumerate(method):
            if activity.get("type") == "action" and (said := _said(activity, _lasts_s(method[i:]))):
                yield f"{experiment.name}: {said}"


def _said(activity: Mapping[str, Any], lasts_s: float) -> str:
    """One action; empty for one that breaks nothing."""
    provider = activity.get("provider") or {}
    name, given = provider.get("func", ""), provider.get("arguments") or {}
    if provider.get("module") != OWN:
        what = provider.get("module") or provider.get("path") or provider.get("url") or provider.get("type")
        return f"{activity.get('name')} ({what}), {_for(lasts_s)}; undone by the experiment's own rollbacks"
    fault = FAULTS.get(name)
    if fault is None or not isinstance(given, dict):
        return ""
    lease_s = given.get("lease_s", fault.lease_s)
    lasts_s = max(lasts_s, *(v for k, v in given.items() if k == "for_s" and isinstance(v, int | float)), 0.0)
    lease = f"lease {duration(lease_s)}" if isinstance(lease_s, int | float) else "lease from outside"
    return f"{name} on {_touches(fault, given)}, {_for(lasts_s)} ({lease}); undone: {fault.undone}"


def _touches(fault: type[Fault], given: Mapping[str, Any]) -> str:
    """What it is done to, by its arguments as the file has them."""
    values = {field.name: given.get(field.name, field.default) for field in fields(fault)}
    return " ".join(fault.touches.format(**{"component": fault.component, **values}).split()) or fault.kind


def _for(seconds: float) -> str:
    return f"for about {duration(seconds)}" if seconds else "until it is over"


def _lasts_s(method: Sequence[Mapping[str, Any]]) -> float:
    """How long the method goes on after its first activity has begun, by its pauses."""
    pauses = [activity.get("pauses") or {} for activity in method]
    seconds = [
        pause.get("before", 0) * (i > 0) + pause.get("after", 0)
        for i, pause in enumerate(pauses)
        if all(isinstance(v, int | float) for v in pause.values())
    ]
    return float(sum(seconds))
