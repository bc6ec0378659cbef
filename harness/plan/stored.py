"""A plan as plain data, and back: with what the run's folder holds the run can be judged again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from harness.alert import Alert
from harness.checks import CHECKS, AlertDelivered, AlertFires, Check
from harness.checks.view import RuleFact
from harness.errors import PlanError
from harness.plan.yamlfile import read

VERSION = 3  # of a stored plan; version 1 said none


def dump(resolved: Mapping[str, Any]) -> str:
    """A resolved plan as YAML."""
    return yaml.safe_dump(_plain(resolved), sort_keys=False, allow_unicode=True)


def stored_checks(run: Path) -> tuple[tuple[Check, ...], tuple[RuleFact, ...], dict[str, Any]]:
    """The checks, rule facts and whole stored plan of a run's folder. Raises PlanError."""
    problems: list[str] = []
    file = read(run / "plan.yaml", problems)
    if file is None:
        raise PlanError(problems)
    if not isinstance(file.data, dict):
        raise PlanError([f"{file.place()}: is not a stored plan: it must be a mapping"])
    if (version := file.data.get("version", 1)) not in range(1, VERSION + 1):
        known = f"this harness reads versions 1 to {VERSION}"
        raise PlanError([f"{file.place(('version',))}: version: the plan is of version {version}, and {known}"])
    if missing := [key for key in ("checks", "rules") if not isinstance(file.data.get(key), list)]:
        raise PlanError([f"{file.place((key,))}: is not a stored plan: {key} must be a list" for key in missing])
    checks: list[Check] = []
    for i, entry in enumerate(file.data["checks"]):
        try:
            entry = _since_1(entry, file.data["checks"]) if version < 2 else entry
            checks.append(_restored(_since_2(entry, file.data) if version < 3 else entry))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{file.place(('checks', i))}: checks[{i}]: this harness cannot judge it: {error}")
    facts: list[RuleFact] = []
    for i, fact in enumerate(file.data["rules"]):
        try:
            alert = _alert(fact["alert"])
            facts.append(RuleFact(**{"place": "", **{k: _value(v) for k, v in fact.items()}, "alert": alert}))
        except (KeyError, TypeError) as error:
            problems.append(f"{file.place(('rules', i))}: rules[{i}]: this harness cannot judge by it: {error}")
    if problems:
        raise PlanError(problems)
    return tuple(checks), tuple(facts), file.data


def stored(value: Any) -> Any:
    """A check, a rule's facts, or a value of one, as plain data: the same that is read back from the file."""
    if isinstance(value, (tuple, list)):
        return [stored(v) for v in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return {key: stored(v) for key, v in value.items()}
    if isinstance(value, (Alert, RuleFact)):
        return stored(asdict(value))
    if isinstance(value, Check):
        value = value.to_store()
        return {"check": value.kind, **{f.name: stored(getattr(value, f.name)) for f in fields(value)}}
    return value


def _restored(entry: Mapping[str, Any]) -> Check:
    """The inverse; a set comes back as a tuple, which the checks take as well."""
    if not issubclass(CHECKS[entry["check"]], Check):
        raise ValueError(f"{entry['check']} stands for several checks")
    return CHECKS[entry["check"]](**{key: _value(value) for key, value in entry.items() if key != "check"})


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_value, value))
    return _alert(value) if isinstance(value, dict) else value


def _alert(stored: Any) -> Alert:
    """An alert; until version 2 a name was all that was known of it."""
    return Alert(stored) if isinstance(stored, str) else Alert(**{key: _value(value) for key, value in stored.items()})


def _since_1(entry: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A check of version 1 as the present version stores it."""
    new = dict(entry)
    if entry["check"] == "watchdog":
        new["alert"] = new.pop("watchdog")
    if entry["check"] == "probes":
        new["component"] = new.pop("process")
    if entry["check"] == "alert_coverage":  # held copies of what it judged itself; now it goes by the others' results
        used = [*new.pop("contracts"), *new.pop("quiet"), new.pop("watchdog")]
        if any(check is not None and check not in entries for check in used):
            raise ValueError("it goes by checks that the plan does not have; use the harness of commit d1a8ee5")
    return new


def _since_2(entry: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """A check of version 2 as the present version stores it: its bounds on delivery held the route's waits."""
    new = dict(entry)
    if entry["check"] in (AlertFires.kind, AlertDelivered.kind):
        new["alert"] = {"name": entry["alert"]}
    if entry["check"] == AlertDelivered.kind:
        delivery_s = plan["time_scale"] * new.pop("delivery_s")
        new["notified_within_s"] = new.pop("fires_within_s") + entry["group_wait_s"] + delivery_s
        new["resolved_notified_within_s"] = new.pop("resolves_within_s") + entry["group_interval_s"] + delivery_s
        new["resolution_s"] = 0.0
    return new


def _plain(value: Any) -> Any:
    """Tuples and sets as sorted or ordered lists, paths as text, for YAML."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
