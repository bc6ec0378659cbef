"""Messages: what receivers are shown says what it should, and a real one would take it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.checks.check import Check
from harness.checks.evidence import setting
from harness.checks.findings import findings, said
from harness.checks.view import DEPLOYMENT, Finding, Shown, View
from harness.history import History, Notification
from harness.units import count
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

MARK = "X-Harness-Alerts"  # the field by which a run knows the alerts of a message
NOT_SHOWN = {"generatorURL", "externalURL", "groupKey", "client_url", "title_link", "dedup_key", "fingerprint", MARK}
WRONG = (  # (pattern, what it is, what to do)
    (r"error (?:expanding|executing) template[^>\n]{0,200}", "a template that failed", "mend the template of the rule"),
    (r"<no value>", "a value that is not there", "show only what the alert has, or ask for it with {{ if }}"),
    (r"\{\{-?\s*[.$\w\"(/][^\n]{0,60}", "a template that nobody filled in", "write it where templates are filled in"),
    (r"%![a-zA-Z]?\([^)\n]{0,60}\)?", "a figure in a format that is not its own", "use %v, %.2f or humanize"),
    (
        r"(?<![\w.])(?:NaN|[+-]Inf)(?!\w)",
        "no figure",
        "have the expression give no result where it divides by 0, or show another figure",
    ),
)
MUST = {"summary", "description"}  # never empty where they are there; Slack's text may be left out, and not be blank
CUT_AT = 1000  # characters; what Alertmanager cuts to what a receiver takes ends with an ellipsis


@dataclass(frozen=True)
class Messages(Check):
    """The texts of every rule, as its files and the service's series show them, and of every notification of the run,
    as its receiver shows it."""

    judged: int  # rules
    found: tuple[Finding, ...] = ()  # what the files show
    shown: tuple[Shown, ...] = ()  # labels that texts show, if their series have them
    recordings: tuple[str, ...] = ()
    kind: ClassVar[str] = "messages"
    subject: ClassVar[str] = "what is sent"
    timing_independent: ClassVar[bool] = True

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Messages, ...]:
        """One, where the service has rules."""
        cls.Parameters.read(parameters, view)
        applicable = {rule.place for rule in view.rules if rule.applicable}
        shown = tuple(each for each in view.shown if each.place in applicable)
        return (cls(len(view.rules), view.texts, shown, view.recordings),) if view.rules else ()

    def with_found(self, more: tuple[Finding, ...]) -> Messages:
        """The same, where more was found before the run."""
        return replace(self, found=tuple(dict.fromkeys((*self.found, *more))))

    def judge(self, history: History) -> Result:
        """FAIL with each text that its reader could not use."""
        setting(history, "time_scale")  # of no run nothing is said
        static = [*findings(self.found), *self._without_label(history)]
        sent, evidence = _sent(history)
        figures = {"measured": len(static) + len(sent), "bound": 0, "unit": "findings"}
        of = f"{count(self.judged, 'rule')} and {count(len(history.notifications), 'notification')}"
        if found := [*sent, *static]:
            reason = f"{count(len(found), 'finding')} in the texts of {of}, bound 0: {said(found)}"
            first = found[0]
            place = next((each.place for each in found if each.place), "")
            return self.result(Verdict.FAIL, reason, first.remedy, place=place, evidence=evidence, **figures)
        reason = f"the texts of {of} have nothing empty, broken or refused, bound 0"
        return self.result(Verdict.PASS, reason, **figures)

    def _without_label(self, history: History) -> Iterator[Finding]:
        """The labels that a text shows and no series of its rule has."""
        labels: dict[str, set[str]] = {}
        for s in history.series:
            labels.setdefault(s.labels.get("__name__", ""), set()).update(s.labels)
        for each in (Shown(*stored) for stored in self.shown):
            known = [labels.get(metric) for metric in each.metrics]
            if each.label in DEPLOYMENT or None in known or any(each.label in names for names in known if names):
                continue
            why = f"{each.alert}: {each.text} shows the label {each.label}, which no series of the run has for it"
            yield Finding(
                each.place, f"{why}, so nothing stands there", "show a label that the metric has, or add it there"
            )


def _sent(history: History) -> tuple[list[Finding], tuple[Reference, ...]]:
    """What is wrong with the notifications of the run, each thing once for an alert and a receiver."""
    found: dict[tuple[str, str, str], tuple[Finding, int]] = {}
    evidence: list[Reference] = []
    for n in history.notifications:
        alerts = ", ".join(dict.fromkeys(n.alerts)) or "an alert without a name"
        for what, excerpt, remedy in _faults(n):
            key = (alerts, n.receiver, what)
            before = found.get(key)
            if before is None:
                evidence.append(Reference("notification", n.receiver, n.at, n.at))
            shown = f": {excerpt[:120]!r}" if excerpt else ""
            one = Finding("", f"{n.receiver} ({n.integration}) was sent {what} for {alerts}{shown}", remedy)
            found[key] = (before[0] if before else one, before[1] + 1 if before else 1)
    return [
        one._replace(said=one.said + (f", {times} times" if times > 1 else "")) for one, times in found.values()
    ], tuple(evidence[:EVIDENCE_AT_MOST])


def wrong_in(text: str) -> Iterator[tuple[str, str, str]]:
    """(what is wrong, an excerpt, what to do) of a text as its reader sees it."""
    for pattern, what, remedy in WRONG:
        if found := re.search(pattern, text):
            yield what, found[0], remedy


def _faults(n: Notification) -> Iterator[tuple[str, str, str]]:
    """(what is wrong, an excerpt, what to do) of one notification."""
    for problem in n.problems:
        yield f"a message that {n.integration.partition('[')[0]} would refuse ({problem})", "", "mend the receiver"
    texts = list(_texts(n.text))
    seen: dict[str, tuple[str, str, str]] = {}
    for _, text in texts:
        for one in wrong_in(text):
            seen.setdefault(one[0], one)
    yield from seen.values()
    for key, text in texts:
        if n.status == "firing" and not text.strip() and (key in MUST or (text and key in ("title", "text"))):
            yield f"an empty {key}", "", f"say in {key} what is wrong, or show what the alert has"
        if key in ("summary", "title") and len(text) >= CUT_AT and text.endswith("…"):
            yield f"a {key} cut after {len(text):,} characters", text[-60:], f"say less in {key}"


def _texts(message: str) -> Iterator[tuple[str, str]]:
    """Every text that a reader sees, with the name of its field; of a message that is no JSON all of it."""
    try:
        whole = json.loads(message)
    except ValueError:
        yield "", message
        return
    yield from _strings(whole, "")


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part, key)
    elif isinstance(value, dict) and value.get("title") != MARK:
        for name, part in value.items():
            if name not in NOT_SHOWN and name not in ("labels", "groupLabels", "commonLabels", "commonAnnotations"):
                yield from _strings(part, name)
