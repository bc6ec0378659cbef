"""The texts of alerting rules as Prometheus itself fills them in, each for one alert that is made up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.rules import rulefile
from harness.rules.labels import Carried
from harness.rules.promtool import Promtool, Unanswered
from harness.rules.rulefile import AlertRule
from harness.rules.templates import queries

WITHIN_S = 60.0
VALUE = "1000000000"  # of a label whose value is not known: a text and a figure


@dataclass(frozen=True)
class Rendered:
    """One text of a rule, filled in."""

    rule: AlertRule
    name: str  # of the annotation or label
    text: str


def rendered(
    promtool: str | Path, rules: Sequence[tuple[AlertRule, Mapping[str, str]]], workdir: Path
) -> list[Rendered]:
    """Every annotation and label of the rules that is a template, as promtool fills it in for an alert with the given
    labels and the value 1. Those that ask Prometheus a query are left out: there is nothing that could answer. Raises
    HarnessError where promtool cannot be started; what it cannot render is left out."""
    wanted = []
    for i, (rule, labels) in enumerate(rules):
        texts = {f"annotation {k}": v for k, v in rule.annotations.items()}
        texts |= {f"label {k}": v for k, v in rule.labels.items()}
        texts = {k: v for k, v in texts.items() if "{{" in v and not queries(v)}
        if texts:
            wanted.append((f"A{i}", rule, labels, texts))
    if not wanted:
        return []
    file = workdir / "texts.rules.yaml"
    groups = [
        ({"name": name}, [{"alert": name, "expr": _made(labels), "annotations": _numbered(texts)}])
        for name, _, labels, texts in wanted
    ]
    file.write_text(rulefile.dump(groups), encoding="utf-8")
    try:
        found = Promtool(promtool).annotations(file, [name for name, *_ in wanted], WITHIN_S)
    except Unanswered:
        return []
    return [
        Rendered(rule, what, found[name][key])
        for name, rule, _, texts in wanted
        for key, what in zip(_numbered(texts), texts, strict=True)
        if key in found.get(name, {})
    ]


def labels_of(results: Sequence[Carried], target: Mapping[str, str], asked: Sequence[str]) -> dict:
    """The labels of a made-up alert: of each name that is asked for what the expression says, or the target has."""
    of = next((each for each in results if all(each.may_have(name) for name in asked)), results[0])
    known = {**target, **of.known}
    return {name: known.get(name, VALUE) for name in asked if of.may_have(name)}


def _made(labels: Mapping[str, str]) -> str:
    """An expression that gives one result with these labels."""
    expr = "vector(1)"
    for name, value in labels.items():
        expr = f'label_replace({expr}, {json.dumps(name)}, {json.dumps(value.replace("$", "$$"))}, "", "")'
    return expr


def _numbered(texts: Mapping[str, str]) -> dict[str, str]:
    """Annotations with names of their own: a label may be called as an annotation is."""
    return {f"t{i}": text for i, text in enumerate(texts.values())}
