"""Alert and recording rules as they stand in rule files: Prometheus' own, or PrometheusRule resources of Kubernetes."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.alert import Alert, alerts
from harness.document import Loader, Unreadable, documents, text_of
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

Groups = list[tuple[dict[str, Any], list[tuple[dict[str, Any], Rule]]]]  # keys of each, and its rules raw and parsed


@dataclass(frozen=True)
class _Document:
    """The groups of one document of a file."""

    groups: Groups
    as_prometheus: bool  # written as Prometheus itself reads it, whatever its version


def load(paths: Iterable[str | Path]) -> tuple[AlertRule, ...]:
    """Every alerting rule of the files, in order. Raises PlanError with every problem found, each as file:line.

    What only Prometheus itself can tell (templates in annotations, types) is left to `check_with_promtool`.
    """
    return both(paths)[0]


def recordings(paths: Iterable[str | Path]) -> tuple[RecordingRule, ...]:
    """Every recording rule of the files, in order. Raises PlanError as `load` does."""
    return both(paths)[1]


def both(paths: Iterable[str | Path]) -> tuple[tuple[AlertRule, ...], tuple[RecordingRule, ...]]:
    """Every alerting and every recording rule, of one look at the files. Raises PlanError as `load` does."""
    rules = _rules(paths)
    alerting = tuple(rule for rule in told_apart(rules) if isinstance(rule, AlertRule))
    return alerting, tuple(rule for rule in rules if isinstance(rule, RecordingRule))


def told_apart(rules: Iterable[Rule]) -> list[Rule]:
    """The same rules, in order, each alerting one with the alert that it raises."""
    rules = list(rules)
    raised = iter(alerts([(rule.name, rule.labels) for rule in rules if isinstance(rule, AlertRule)]))
    return [replace(rule, alert=next(raised)) if isinstance(rule, AlertRule) else rule for rule in rules]


def check_with_promtool(promtool: str | Path, paths: Iterable[str | Path]) -> list[str]:
    """What Prometheus' own checker has against the files, a line each; empty when they are fine."""
    problems: list[str] = []
    read = {path: list(_documents(path, problems)) for path in paths}
    plain = [path for path, held in read.items() if len(held) == 1 and held[0].as_prometheus]
    if plain and not _check(promtool, *plain).returncode:  # one start for all that are fine
        read = {path: held for path, held in read.items() if path not in plain}
    for path, held in read.items():
        if path in plain:
            problems += _checked_by(promtool, Path(path), str(path), held[0])
            continue
        with tempfile.TemporaryDirectory() as folder:  # what Prometheus does not read so, as it does
            for i, document in enumerate(held):
                file = Path(folder, f"{i}.yaml")
                file.write_text(_at_their_lines(document.groups), encoding="utf-8")
                problems += _checked_by(promtool, file, str(path), document)
    return problems


def groups(path: str | Path) -> Groups:
    """The groups of one file as written, every scalar a string: each group's keys, and its rules raw and parsed.

    Raises PlanError.
    """
    problems: list[str] = []
    found = [group for document in _documents(path, problems) for group in document.groups]
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
            written.append({**group, "name": name, "rules": rules})
    return yaml.dump({"groups": written}, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=1000)


def _check(promtool: str | Path, *files: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [str(promtool), "check", "rules", "--lint=none", *map(str, files)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def _checked_by(promtool: str | Path, file: Path, name: str, document: _Document) -> list[str]:
    """What promtool has against one file, as file:line of the original."""
    done = _check(promtool, file)
    if done.returncode == 0:
        return []
    text = re.sub(r"\n\s+line ", " line ", done.stderr)  # what belongs to one problem comes on two lines
    lines = [line.strip() for line in text.splitlines()]
    problems = [line for line in lines if line and line != "FAILED:" and not line.startswith("Checking ")]
    at = {(group["name"], n): rule.line for group, rules in document.groups for n, (_, rule) in enumerate(rules, 1)}

    def placed(problem: str) -> str:
        said = problem.removeprefix(f"{file}: ")
        if found := re.match(r"(?:\d+:\d+: )?(group \"(.*?)\", rule (\d+), .*)", said):
            return f"{name}:{at.get((found[2], int(found[3])), 1)}: {found[1]}"
        if found := re.match(r"(\d+):\d+: (.*)", said) or re.match(r"yaml: .*?line (\d+): (.*)", said):
            return f"{name}:{found[1]}: {found[2]}"
        return f"{name}: {said}"

    return list(map(placed, problems)) or [f"{name}: promtool check rules ended with {done.returncode} and no reason"]


def _at_their_lines(groups: Groups) -> str:
    """A rules file with these groups, each rule on the line on which it stands in the original."""
    text = '{"groups": ['
    for group, rules in groups:
        text += json.dumps(group, ensure_ascii=False)[:-1] + ', "rules": ['
        for raw, rule in rules:
            text += "\n" * (rule.line - 1 - text.count("\n")) + json.dumps(raw, ensure_ascii=False) + ", "
        text += "]}, "
    return text + "]}\n"


def _rules(paths: Iterable[str | Path]) -> list[Rule]:
    paths = list(paths)
    problems: list[str] = [] if paths else ["no rule files: a service without rules has nothing to be proven"]
    rules = [
        rule
        for path in paths
        for document in _documents(path, problems)
        for _, raw in document.groups
        for _, rule in raw
    ]
    if paths and not rules and not problems:
        problems.append(f"{', '.join(map(str, paths))}: no rules in there")
    if problems:
        raise PlanError(problems)
    return rules


def _documents(path: str | Path, problems: list[str]) -> Iterator[_Document]:
    for content in _contents(path, problems):
        if not content:
            continue  # as Prometheus, which takes an empty file for one without rules
        if not isinstance(content, _Mapping):
            problems.append(f"{path}:1: a rule file is a mapping with the key groups, not a {_form(content)}")
            continue
        resource = "kind" in content
        for key in [] if resource else sorted(content.keys() - {"groups"}):
            problems.append(f"{path}:{content.line}: unknown key {key} (known: groups; or a PrometheusRule resource)")
        held = _resources(content) if resource else [(content.get("groups"), _GROUP_KEYS)]
        for groups, known in held:
            if not isinstance(groups or [], list):
                problems.append(f"{path}:{content.line}: groups must be a list; got a {_form(groups)}")
                continue
            found = [one for group in groups or [] if (one := _group(group, known, str(path), problems))]
            own_labels = any(isinstance(group, dict) and "labels" in group for group in groups or [])
            yield _Document(found, not resource and not own_labels)


def _resources(content: _Mapping) -> Iterator[tuple[Any, set[str]]]:
    """The groups of each PrometheusRule in a resource of Kubernetes; other resources hold none."""
    if content["kind"] == "PrometheusRule":
        spec = content.get("spec")
        yield (spec.get("groups") if isinstance(spec, _Mapping) else None), _GROUP_KEYS | {"partial_response_strategy"}
    elif str(content["kind"]).endswith("List") and isinstance(content.get("items"), list):
        for item in content["items"]:
            if isinstance(item, _Mapping) and "kind" in item and not str(item["kind"]).endswith("List"):
                yield from _resources(item)


def _contents(path: str | Path, problems: list[str]) -> list[Any]:
    """The documents of a file, every scalar as the text in it and null as none."""
    loader, found = _Text(""), []
    try:
        for node in documents(text_of(path)):
            found.append(loader.construct_document(node))
    except Unreadable as error:
        problems.append(f"{path}:{error.line}: {error}" if error.line else f"{path}: {error}")
        return []
    except yaml.MarkedYAMLError as error:
        problems.append(f"{path}:{error.problem_mark.line + 1}: not YAML: {' '.join(error.problem.split())}")
        return []
    problems += [f"{path}:{line}: {key}: written twice (first on line {first})" for line, key, first in loader.twice]
    return found


def _group(
    given: Any, known: set[str], path: str, problems: list[str]
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], Rule]]] | None:
    if not isinstance(given, _Mapping):
        problems.append(f"{path}:1: a group is a mapping, not a {_form(given)}")
        return None
    place = f"{path}:{given.line}"
    here = _checked(given, known, ("name",), place, problems)
    group = {key: value for key, value in given.items() if key in _GROUP_KEYS - {"labels", "rules"} and value != ""}
    interval = _duration(group, "interval", place, problems)
    _duration(group, "query_offset", place, problems)
    if "limit" in group:
        try:
            group["limit"] = int(group["limit"], 0)
        except (TypeError, ValueError):
            problems.append(f"{place}: limit must be a whole number")
    raw_rules = given.get("rules") or []
    if not isinstance(raw_rules, list):
        problems.append(f"{place}: rules must be a list; got a {_form(raw_rules)}")
        return None
    labels = _texts(given, "labels", place, problems)  # of every rule in it since Prometheus 3.0; older ones know none
    rules = []
    for raw in raw_rules:
        rule = _rule(raw, path, place, problems, {"group": str(given.get("name", "")), "interval_s": interval}, labels)
        if rule is not None:
            texts = {"labels": dict(rule.labels), "annotations": dict(getattr(rule, "annotations", {}))}
            raw = {key: value for key, value in raw.items() if value and key not in texts}
            rules.append((raw | {key: value for key, value in texts.items() if value}, rule))
    return (group, rules) if here else None


def _rule(
    raw: Any, path: str, group_place: str, problems: list[str], common: Mapping[str, Any], of_group: Mapping[str, str]
) -> Rule | None:
    if not isinstance(raw, _Mapping):
        problems.append(f"{group_place}: a rule is a mapping, not a {_form(raw)}")
        return None
    place = f"{path}:{raw.line}"
    alert = bool(raw.get("alert"))
    if alert == bool(raw.get("record")):
        problems.append(f"{place}: a rule has either alert or record")
        return None
    before = len(problems)
    _checked(raw, _ALERT_KEYS if alert else _RECORD_KEYS, ("alert" if alert else "record", "expr"), place, problems)
    texts = {key: _texts(raw, key, place, problems) for key in ("labels", "annotations")}
    times = {f"{key}_s": _duration(raw, key, place, problems) or 0.0 for key in ("for", "keep_firing_for")}
    if isinstance(raw.get("expr"), str) and raw["expr"]:
        try:
            parse(raw["expr"])
        except ValueError as error:
            problems.append(f"{place}: expr: {error}")
    if len(problems) > before:
        return None
    labels = {**of_group, **texts["labels"]}  # the rule's own win
    common = {"expr": raw["expr"], "labels": labels, "file": path, "line": raw.line, **common}
    if alert:
        return AlertRule(name=raw["alert"], annotations=texts["annotations"], **times, **common)
    return RecordingRule(name=raw["record"], **common)


def _checked(
    mapping: Mapping[str, Any], known: set[str], needed: Iterable[str], place: str, problems: list[str]
) -> bool:
    unknown = {key for key in mapping.keys() - known if mapping[key] != "" or key not in _ALERT_KEYS}
    wrong = [f"{place}: unknown key {key} (known: {', '.join(sorted(known))})" for key in unknown]
    wrong += [f"{place}: {key} is missing" for key in needed if not mapping.get(key)]
    wrong += [
        f"{place}: {key} must be text; got a {_form(mapping[key])}"
        for key in needed
        if mapping.get(key) and not isinstance(mapping[key], str)
    ]
    problems += sorted(wrong)
    return not wrong


def _texts(mapping: Mapping[str, Any], key: str, place: str, problems: list[str]) -> dict[str, str]:
    value = mapping.get(key) or {}
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    problems.append(f"{place}: {key} maps names to texts")
    return {}


def _duration(mapping: Mapping[str, Any], key: str, place: str, problems: list[str]) -> float | None:
    if mapping.get(key, "") == "":
        return None
    try:
        return prometheus_seconds(mapping[key] if isinstance(mapping[key], str) else "")
    except ValueError as error:
        problems.append(f"{place}: {key}: {error}")
        return None


def _form(value: Any) -> str:
    return "list" if isinstance(value, list) else "mapping" if isinstance(value, dict) else "text"


class _Mapping(dict[str, Any]):
    """A mapping of a file, and the line it begins on; an alias has that of what it stands for."""

    line = 1


class _Text(Loader):
    """Every scalar as the text in the file ("1.10" stays that), null as an empty one, every mapping with its line."""

    def __init__(self, stream: Any):
        super().__init__(stream)
        self.twice: list[tuple[int, str, int]] = []  # (line, key, its first line)

    def construct_yaml_map(self, node: yaml.MappingNode) -> Iterator[_Mapping]:
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key.value, str):
                if key.value in lines:
                    self.twice.append((line, key.value, lines[key.value]))
                lines.setdefault(key.value, line)
        made = _Mapping(self.construct_mapping(node, deep=True))
        made.line = node.start_mark.line + 1
        yield made

    def construct_text(self, node: yaml.Node) -> Any:
        """A scalar of whatever tag; of a collection with a tag of somebody's own, nothing is known."""
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, f"unknown tag {node.tag}", node.start_mark)
        return node.value

    def construct_none(self, node: yaml.Node) -> str:
        """Null."""
        return ""


_Text.add_constructor("tag:yaml.org,2002:map", _Text.construct_yaml_map)
_Text.add_constructor("tag:yaml.org,2002:null", _Text.construct_none)
for _kind in ("bool", "int", "float", "timestamp", "str"):
    _Text.add_constructor(f"tag:yaml.org,2002:{_kind}", _Text.construct_text)
_Text.add_constructor(None, _Text.construct_text)


class _Plain(yaml.SafeDumper):
    """Writes shared labels out each time, so that a reader sees each rule whole."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
