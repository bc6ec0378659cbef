"""Which alerting rule an alert belongs to: a rule is told from others by its name and its labels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "alertname"

Labels = tuple[tuple[str, str], ...]  # sorted by name


@dataclass(frozen=True)
class Alert:
    """One alerting rule as its alerts show it. Rules of the same name and the same labels are one alert.

    `labels` are the texts that the rule and its group give to every alert; a label that is a template is left out,
    because its value is known only when the rule fires. `others` are those of the other rules of this name.
    """

    name: str
    labels: Labels = ()
    others: tuple[Labels, ...] = field(default=(), compare=False, repr=False)

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels, `alertname` among them, comes from this rule.

        Where several rules of the name fit, it comes from the one that gives the most labels: a rule without a severity
        does not own the alerts of one with `severity: critical`.
        """
        if labels.get(NAME) != self.name or not _fit(self.labels, labels):
            return False
        return not any(len(other) > len(self.labels) and _fit(other, labels) for other in self.others)

    def __str__(self) -> str:
        """The name; with the labels where other rules have the same: `Errors{severity="page"}`."""
        if not self.others:
            return self.name
        labels = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.labels)
        return f"{self.name}{{{labels}}}"


def fixed(labels: Mapping[str, str]) -> Labels:
    """The labels of a rule that are no templates, sorted."""
    return tuple(sorted((name, value) for name, value in labels.items() if "{{" not in value))


def alerts(rules: list[tuple[str, Mapping[str, str]]]) -> list[Alert]:
    """For each rule, given by name and labels, the alert that it raises, in the same order."""
    of_name: dict[str, set[Labels]] = {}
    for name, labels in rules:
        of_name.setdefault(name, set()).add(fixed(labels))
    return [Alert(name, mine := fixed(labels), tuple(sorted(of_name[name] - {mine}))) for name, labels in rules]


def selector(text: str) -> tuple[str, dict[str, str]]:
    """The name and labels of a text like `Errors{severity="page"}`; of a name alone no labels. Raises ValueError."""
    name, brace, rest = text.partition("{")
    if not brace:
        return text, {}
    pair = r'\s*([a-zA-Z_]\w*)\s*=\s*("(?:[^"\\]|\\.)*")\s*'
    if not name.strip() or not re.fullmatch(rf"(?:{pair}(?:,{pair})*,?)?\s*\}}", rest):
        raise ValueError(f'{text}: must be the name of a rule, or like Name{{severity="page"}}')
    return name.strip(), {label: json.loads(value) for label, value in re.findall(pair, rest)}


def _fit(wanted: Labels, labels: Mapping[str, str]) -> bool:
    return all(labels.get(name, "") == value for name, value in wanted)  # an empty label is none
