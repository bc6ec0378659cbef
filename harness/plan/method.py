"""The order of an experiment's actions: what a method cannot do, or would do otherwise than it says, before it runs.

Of times only what is certain is counted: pauses, and what an action takes by its own arguments.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from inspect import signature
from pkgutil import resolve_name
from typing import Any, NamedTuple

from harness.plan.arguments import ACTIONS, HYPOTHESIS
from harness.plan.yamlfile import Loc, YamlFile, dotted

HEAL = "heal"
PARTS = (
    "title",
    "description",
    HYPOTHESIS,
    "method",
    "rollbacks",
    "extensions",
    "configuration",
    "secrets",
    "controls",
)
KEYS = ("type", "name", "provider", "pauses", "background", "tolerance", "controls", "timeout", "ref")
ALIKE = 0.75  # from here on a key that Chaos Toolkit would pass over is another one misspelt


class Step(NamedTuple):
    """An action of the harness in a method."""

    at: int
    act: Any
    given: Mapping[str, Any]
    background: bool

    @property
    def fault(self) -> Any:
        """The class of the fault that it begins; None for `heal` and `send`."""
        return getattr(self.act, "fault", None)

    def value(self, name: str) -> Any:
        """An argument, or its default."""
        parameter = signature(self.act).parameters.get(name)
        return self.given.get(name, None if parameter is None else parameter.default)


def order_mistakes(file: YamlFile) -> Iterator[str]:
    """What is wrong with the method and the rollbacks of a file that Chaos Toolkit takes, each with its place."""
    method, rollbacks = file.data["method"], file.data.get("rollbacks") or []
    yield from _misspelt(file, (), file.data, PARTS)
    for part, activities in (("method", method), ("rollbacks", rollbacks)):
        for i, activity in enumerate(activities):
            yield from _misspelt(file, (part, i), activity, KEYS)
            yield from _pauses(file, (part, i, "pauses"), activity.get("pauses"))
    if not (file.data.get(HYPOTHESIS) or {}).get("probes"):
        what = "has no probe, so nobody would know whether the service was well before the fault, and is again after it"
        yield f"{file.place((HYPOTHESIS,))}: {HYPOTHESIS}: {what}"
    if not any(activity.get("type") == "action" or "ref" in activity for activity in method):
        yield f"{file.place(('method',))}: method: has no action, so nothing would be broken; all machinery is `sham`"
        return
    named = {one.get("name"): one for one in (*method, *rollbacks) if "ref" not in one}
    steps = _steps(method, named)
    begun = [step for step in steps if step.fault is not None]
    for step in steps:
        if step.act.__name__ == HEAL and not any(one.at < step.at for one in begun) and _all_ours(method[: step.at]):
            at = ("method", step.at)
            yield f"{file.place(at)}: {dotted(at)}: undoes what has not begun; move it behind the fault"
    if begun and not any(
        step.act.__name__ == HEAL for step in (*steps[steps.index(begun[-1]) :], *_steps(rollbacks, named))
    ):
        add = f"add {{type: action, name: heal, provider: {{type: python, module: {ACTIONS}, func: heal}}}} to them"
        yield f"{file.place(('rollbacks',))}: rollbacks: nothing undoes {begun[-1].act.__name__}; {add}"
    for step in begun:
        yield from _overdue(file, step, steps, method)
        yield from _in_each_other(file, step, steps)


def _steps(activities: list[Any], named: Mapping[str, Any]) -> list[Step]:
    """The harness' own actions among activities; named: all activities, for those that are references."""
    found = []
    for i, activity in enumerate(activities):
        provider = named.get(activity.get("ref"), activity).get("provider") or {}
        if provider.get("module") == ACTIONS:
            act = resolve_name(f"{ACTIONS}:{provider['func']}")
            found.append(Step(i, act, provider.get("arguments") or {}, bool(activity.get("background"))))
    return found


def _all_ours(activities: list[Any]) -> bool:
    """Whether no action of somebody else's is among them, of which nobody knows whether it begins a fault of ours."""
    modules = [(one.get("provider") or {}).get("module") for one in activities if one.get("type") == "action"]
    return all(module == ACTIONS for module in modules)


def _misspelt(file: YamlFile, loc: Loc, section: Any, known: tuple[str, ...]) -> Iterator[str]:
    """Keys that Chaos Toolkit would pass over, though they are most likely meant for others."""
    for key in section if isinstance(section, dict) else ():
        near = difflib.get_close_matches(str(key), [one for one in known if one not in section], 1, ALIKE)
        if key not in known and near:
            yield f"{file.place((*loc, key))}: {dotted((*loc, key))}: unknown key; did you mean {near[0]}?"


def _pauses(file: YamlFile, loc: Loc, pauses: Any) -> Iterator[str]:
    for key, value in pauses.items() if isinstance(pauses, dict) else ():
        at = f"{file.place((*loc, key))}: {dotted((*loc, key))}"
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if key not in ("before", "after"):
            yield f"{at}: unknown key; a pause is `before` or `after` its action"
        elif not (0 <= value < math.inf if number else "${" in str(value)):
            yield f"{at}: must be a number of seconds, 0 or more, without a unit; got {value!r}"


def _sure_s(activity: Mapping[str, Any], edge: str) -> float:
    """How long Chaos Toolkit surely waits at an edge of an activity."""
    value = (activity.get("pauses") or {}).get(edge, 0)
    return float(value) if isinstance(value, (int, float)) and not activity.get("background") else 0.0


def _takes_s(step: Step) -> float:
    """How long an action surely takes by its own arguments."""
    given = [step.value(name) for name in getattr(step.fault, "takes", ("for_s",) if step.fault is None else ())]
    return sum(float(one) for one in given if isinstance(one, (int, float)) and math.isfinite(one))


def _overdue(file: YamlFile, step: Step, steps: list[Step], method: list[Any]) -> Iterator[str]:
    """That the watchdog would undo a fault before the experiment does."""
    lease_s = step.value("lease_s")
    if not isinstance(lease_s, (int, float)) or lease_s <= 0:
        return  # which has been said, or is not known
    healed = next((one.at for one in steps if one.at > step.at and one.act.__name__ == HEAL), len(method))
    sure_s = 0.0 if step.background else _sure_s(method[step.at], "after")
    sure_s += sum(_sure_s(method[i], edge) for i in range(step.at + 1, healed) for edge in ("before", "after"))
    sure_s += _sure_s(method[healed], "before") if healed < len(method) else 0.0
    sure_s += sum(_takes_s(one) for one in steps if step.at <= one.at < healed and not one.background)
    if sure_s >= lease_s:
        at = ("method", step.at, "provider", "arguments", "lease_s")
        after = f"{sure_s:g} s after it began at the earliest"
        why = (
            f"{lease_s:g} s are over before the method undoes it, {after}, so the watchdog would; give it a longer one"
        )
        yield f"{file.place(at)}: {dotted(at)}: {why}"


def _in_each_other(file: YamlFile, step: Step, steps: list[Step]) -> Iterator[str]:
    """Faults that would end one that is still on, or that cannot begin beside it."""
    for later in (one for one in steps if one.at > step.at):
        if later.act.__name__ == HEAL:
            return
        if later.fault is None:
            continue
        mine, theirs, at = step.value("component"), later.value("component"), ("method", later.at)
        same = mine is not None and theirs in (mine, None)
        what, where = f"{step.act.__name__} of {dotted(('method', step.at))}", f"{file.place(at)}: {dotted(at)}"
        replaces = later.fault.replaces and not later.value("child")  # a worker of several is none that others follow
        if step.fault.ends_with_process and not step.fault.replaces and replaces and same:
            yield f"{where}: replaces the process of {mine}, and so ends {what}; undo that by `heal` before it"
        elif step.fault.alone and step.fault.alone == later.fault.alone and (same or mine == theirs):
            yield f"{where}: cannot begin while {what} is on; undo that by `heal` before it"
