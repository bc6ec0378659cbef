"""Alert and recording rules as they stand in Prometheus rule files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.alert import Alert, alerts
from harness.errors import PlanError
from harness.rules.expression import parse
from harness.units import prometheus_seconds


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What both kinds of rule have."""

    name: str = field(kw_only=False)
    expr: str = field(kw_only=False)
    labels: Mapping[str, str] = field(default_factory=dict)  # its own and those of its group
    file: str = ""
    line: int = 0
    group: str = ""
    interval_s: float | None = None  # the group's own; None: the global evaluation interval


@dataclass(frozen=True, kw_only=True)
class AlertRule(Rule):
    """One alerting rule, in production time."""

    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    alert: Alert = field(default=Alert(""), compare=False)  # told from the others that were read
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordingRule(Rule):
    """One recording rule; `name` is the metric it writes."""


_GROUP_KEYS = {"name", "interval", "query_offset", "limit", "labels", "rules"}
_ALERT_KEYS = {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
_RECORD_KEYS = {"record", "expr", "labels"}


def load(paths: Iterable[str | Path]) -> tuple[AlertRule, ...]:
    """Every alerting rule of the files, in order. Raises PlanError with every problem found, each as file:line.

    What only Prometheus itself can tell (templates in annotations, types) is left to `check_with_promtool`.
    """
    rules = [rule for rule in _rules(paths) if isinstance(rule, AlertRule)]
    raised = alerts([(rule.name, rule.labels) for rule in rules])
    return tuple(replace(rule, alert=alert) for rule, alert in zip(rules, raised, strict=True))


def recordings(paths: Iterable[str | Path]) -> tuple[RecordingRule, ...]:
    """Every recording rule of the files, in order. Raises PlanError as `load` does."""
    return tuple(rule for rule in _rules(paths) if isinstance(rule, RecordingRule))


def check_with_promtool(promtool: str | Path, paths: Iterable[str | Path]) -> list[str]:
    """What Prometheus' own checker has against the files, a line each; empty when they are fine."""
    done = subprocess.run(
        [str(promtool), "check", "rules", "--lint=none", *map(str, paths)], capture_output=True, text=True, timeout=60
    )
    if done.returncode == 0:
        return []
    text = re.sub(r"\n\s+line ", " line ", done.stderr)  # what belongs to one problem comes on two lines
    lines = [line.strip() for line in text.splitlines()]
    problems = [line for line in lines if line and line != "FAILED:" and not line.startswith("Checking ")]
    return problems or [f"promtool check rules ended with {done.returncode} and no reason"]


def groups(path: str | Path) -> list[tuple[dict[str, Any], list[tuple[dict[str, Any], Rule]]]]:
    """The groups of one file as written, every scalar a string: each group's keys, and its rules raw and parsed.

    Raises PlanError.
    """
    problems: list[str] = []
    found = list(_groups(path, problems))
    if problems:
        raise PlanError(problems)
    return found


def dump(groups: Iterable[tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]]) -> str:
    """The text of one rules file with these groups, as `groups` gives them; those without rules are left out."""
    written: list[dict[str, Any]] = []
    taken: set[str] = set()
    for group, rules in groups:
        if rules := [dict(rule) for rule in rules]:
            name = group["name"]
            while name in taken:  # unique in a file, and several files become one
                name += "'"
            taken.add(name)
            limit = {"limit": int(group["limit"])} if "limit" in group else {}
            written.append({**group, **limit, "name": name, "rules": rules})
    return yaml.dump({"groups": written}, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=1000)


def _rules(paths: Iterable[str | Path]) -> list[Rule]:
    paths = list(paths)
    problems: list[str] = [] if paths else ["no rule files: a service without rules has nothing to be proven"]
    rules = [rule for path in paths for _, raw in _groups(path, problems) for _, rule in raw]
    if paths and not rules and not problems:
        problems.append(f"{', '.join(map(str, paths))}: no rules in there")
    if problems:
        raise PlanError(problems)
    return rules


def _groups(
    path: str | Path, problems: list[str]
) -> Iterator[tuple[dict[str, Any], list[tuple[dict[str, Any], Rule]]]]:
    try:
        document = yaml.load(Path(path).read_text(encoding="utf-8"), _Text)
    except (OSError, UnicodeError) as error:
        problems.append(f"{path}: {getattr(error, 'strerror', None) or error}")
        return
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problems.append(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {getattr(error, 'problem', None) or error}")
        return
    listed = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(listed, list) or document.keys() - {"groups", _LINE}:
        problems.append(f"{path}:1: a rule file holds one key, groups, with a list under it")
        return
    for group in listed:
        if not isinstance(group, dict):
            problems.append(f"{path}:1: a group is a mapping, not {group!r}")
            continue
        place = f"{path}:{group.pop(_LINE, 1)}"
        here = _checked(group, _GROUP_KEYS, ("name",), place, problems)
        interval = _duration(group, "interval", place, problems)
        raw_rules = group.get("rules") or []
        if not isinstance(raw_rules, list):
            problems.append(f"{place}: rules must be a list")
            continue
        labels = group.get("labels") or {}  # of every rule in it since Prometheus 3.0; older ones know none
        if isinstance(labels, dict):
            labels.pop(_LINE, None)
        if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
            problems.append(f"{place}: labels maps names to texts")
            labels = {}
        rules = []
        for raw in raw_rules:
            if labels and isinstance(raw, dict) and isinstance(raw.get("labels") or {}, dict):
                raw = {**raw, "labels": {**labels, **(raw.get("labels") or {})}}  # the rule's own win
            rule = _rule(raw, str(path), place, problems, {"group": str(group.get("name", "")), "interval_s": interval})
            if rule is not None:
                rules.append((raw, rule))
        if here:
            yield {key: value for key, value in group.items() if key != "labels"}, rules


def _rule(raw: Any, path: str, group_place: str, problems: list[str], common: Mapping[str, Any]) -> Rule | None:
    if not isinstance(raw, dict):
        problems.append(f"{group_place}: a rule is a mapping, not {raw!r}")
        return None
    line = raw.pop(_LINE, 0)  # gone when an alias names the same rule again
    place = f"{path}:{line}" if line else group_place
    if ("alert" in raw) == ("record" in raw):
        problems.append(f"{place}: a rule has either alert or record")
        return None
    alert = "alert" in raw
    before = len(problems)
    _checked(raw, _ALERT_KEYS if alert else _RECORD_KEYS, ("alert" if alert else "record", "expr"), place, problems)
    texts = {}
    for key in ("labels", "annotations"):
        texts[key] = value = raw.get(key) or {}
        if isinstance(value, dict):
            value.pop(_LINE, None)
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            problems.append(f"{place}: {key} maps names to texts")
    times = {f"{key}_s": _duration(raw, key, place, problems) or 0.0 for key in ("for", "keep_firing_for")}
    if isinstance(raw.get("expr"), str):
        try:
            parse(raw["expr"])
        except ValueError as error:
            problems.append(f"{place}: expr: {error}")
    if len(problems) > before:
        return None
    common = {"expr": raw["expr"], "labels": texts["labels"], "file": path, "line": line, **common}
    if alert:
        return AlertRule(name=raw["alert"], annotations=texts["annotations"], **times, **common)
    return RecordingRule(name=raw["record"], **common)


def _checked(
    mapping: Mapping[str, Any], known: set[str], needed: Iterable[str], place: str, problems: list[str]
) -> bool:
    wrong = [f"{place}: unknown key {key} (known: {', '.join(sorted(known))})" for key in mapping.keys() - known]
    wrong += [
        f"{place}: {key} is missing" for key in needed if not isinstance(mapping.get(key), str) or not mapping[key]
    ]
    problems += sorted(wrong)
    return not wrong


def _duration(mapping: Mapping[str, Any], key: str, place: str, problems: list[str]) -> float | None:
    if key not in mapping:
        return None
    try:
        return prometheus_seconds(mapping[key] if isinstance(mapping[key], str) else "")
    except ValueError as error:
        problems.append(f"{place}: {key}: {error}")
        return None


_LINE = object()  # a key no file can hold


class _Text(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # ten times as fast where libyaml is there
    """Every scalar as the text in the file ("1.10" stays that), every mapping with its line."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"))]}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return {**super().construct_mapping(node, deep=True), _LINE: node.start_mark.line + 1}

    def construct_yaml_map(self, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
        yield self.construct_mapping(node)


_Text.add_constructor("tag:yaml.org,2002:map", _Text.construct_yaml_map)


class _Plain(yaml.SafeDumper):
    """Writes shared labels out each time, so that a reader sees each rule whole."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
