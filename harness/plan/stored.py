"""A plan as plain data, and back: with what the run's folder holds the run can be judged again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from harness.checks import CHECKS, Check
from harness.errors import PlanError
from harness.plan.watched import RuleFact
from harness.plan.yamlfile import read


def dump(resolved: Mapping[str, Any]) -> str:
    """A resolved plan as YAML."""
    return yaml.safe_dump(_plain(resolved), sort_keys=False, allow_unicode=True)


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


def stored(value: Any) -> Any:
    """A check as plain data, with the checks within it."""
    if isinstance(value, tuple):
        return [stored(v) for v in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if getattr(type(value), "kind", None) in CHECKS:
        return {"check": value.kind, **{f.name: stored(getattr(value, f.name)) for f in fields(value)}}
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
