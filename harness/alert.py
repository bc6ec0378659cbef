"""Which alerting rule an alert belongs to: a rule is told from others by its name and its labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

NAME = "alertname"
ANY = "{{...}}"  # stands for a template in the text of an alert

Labels = tuple[tuple[str, str], ...]  # sorted by name


@dataclass(frozen=True)
class Alert:
    """One alerting rule as its alerts show it. Rules of the same name and the same labels are one alert.

    `labels` are the texts that the rule and its group give to every alert; `templated` are the names of those that are
    templates, whose values are known only when the rule fires. `others` are the labels of the other rules of this name,
    and `rivals` those of them, each with its templates, that may raise an alert which this rule may raise too.
    """

    name: str
    labels: Labels = ()
    others: tuple[Labels, ...] = field(default=(), compare=False, repr=False)
    templated: tuple[str, ...] = ()  # sorted
    rivals: tuple[tuple[Labels, tuple[str, ...]], ...] = field(default=(), compare=False, repr=False)

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels, `alertname` among them, comes from this rule.

        Where several rules of the name fit, it comes from the one that gives the most labels: a rule without a severity
        does not own the alerts of one with `severity: critical`. `disputed` are those of which it is not known.
        """
        if labels.get(NAME) != self.name or not _fit(self.labels, labels):
            return False
        if any(len(other) > len(self.labels) and _fit(other, labels) for other in self.others):
            return False
        return self._sets_all(labels) or not any(rival._sets_all(labels) for rival in self.rivaling())

    def disputed(self, labels: Mapping[str, str]) -> tuple[Alert, ...]:
        """The other rules that may have raised an alert with these labels, where this one may: a template may give what
        another rule gives as text."""
        if labels.get(NAME) != self.name or not self._sets_all(labels):
            return ()
        return tuple(rival for rival in self.rivaling() if rival._sets_all(labels))

    def without_rivals(self) -> Alert:
        """The same where none of its rivals raised anything: all that this rule may have raised is its own."""
        theirs = {labels for labels, _ in self.rivals}
        others = tuple(labels for labels in self.others if labels not in theirs)
        return replace(self, rivals=(), others=others or (self.labels,))  # its text stays the same

    def __str__(self) -> str:
        """The name; with the labels where other rules have the same: `Errors{severity="page"}`."""
        if not self.others:
            return self.name
        labels = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.said.items())
        return f"{self.name}{{{labels}}}"

    @property
    def said(self) -> dict[str, str]:
        """Its labels as a text of it says them."""
        return {**dict(self.labels), **dict.fromkeys(self.templated, ANY)}

    def rivaling(self) -> Iterator[Alert]:
        """Its rivals."""
        for labels, templated in self.rivals:
            yield Alert(self.name, labels, (self.labels,), templated, ((self.labels, self.templated),))

    def _sets_all(self, labels: Mapping[str, str]) -> bool:
        """Whether it gives all the labels of an alert by which it and its rivals are told apart."""
        told_apart = {name for rival, templated in self.rivals for name in (*dict(rival), *templated)}
        present = {name for name in told_apart if labels.get(name)}
        return _fit(self.labels, labels) and present <= self.said.keys()

    def _may_be(self, other: Alert) -> bool:
        """Whether an alert of this rule may have the labels of one of the other: by a template, or by the series that
        it is about."""
        of_it = dict(other.labels)
        return all(of_it.get(name, value) == value for name, value in self.labels)


def fixed(labels: Mapping[str, str]) -> Labels:
    """The labels of a rule that are no templates, sorted."""
    return tuple(sorted((name, value) for name, value in labels.items() if "{{" not in value))


def alerts(rules: list[tuple[str, Mapping[str, str]]]) -> list[Alert]:
    """For each rule, given by name and labels, the alert that it raises, in the same order."""
    bare = [
        Alert(name, fixed(labels), templated=tuple(sorted(labels.keys() - dict(fixed(labels)).keys())))
        for name, labels in rules
    ]
    of_name: dict[str, set[Alert]] = {}
    for alert in bare:
        of_name.setdefault(alert.name, set()).add(alert)
    found = []
    for alert in bare:
        others = sorted(of_name[alert.name] - {alert}, key=lambda other: (other.labels, other.templated))
        rivals = tuple((other.labels, other.templated) for other in others if alert._may_be(other))
        found.append(replace(alert, others=tuple(dict.fromkeys(other.labels for other in others)), rivals=rivals))
    return found


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
