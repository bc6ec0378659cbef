"""What the texts of rules and receivers will say, as far as they show it before an alert fires."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from harness.checks.view import Finding, Shown
from harness.document import Unreadable, shown, text_of
from harness.plan.patterns import matching
from harness.plan.routes import Sent
from harness.plan.watched import Watched
from harness.stack.routing import Integration, Route
from harness.units import count, listed, nearest

PAGERDUTY = ("critical", "error", "warning", "info")  # the severities of its Events API v2
FOR_READERS = ("summary", "description", "message")
OF_NEARLY_ALL = 0.95  # of the rules have an annotation: then the others lack it
OF_SO_MANY = 10
LABELS_TEMPLATE = re.compile(r"\{\{-?\s*\.(?:Common|Group)Labels\.severity\s*(\|\s*toLower\s*)?-?\}\}")
_ACTION = re.compile(r"\{\{.*?\}\}", re.S)
_GUARDS = re.compile(r"\{\{-?\s*(?:if|with|else|range)\b|\b(?:or|and|index|eq|ne|match)\b")
_BUILT_IN = {"SortedPairs", "Names", "Values", "Remove", "String"}
_DEFINE = re.compile(r"\{\{-?\s*define\s+\"([^\"]+)\"\s*-?\}\}")
_USED = re.compile(r"\{\{-?\s*template\s+\"([^\"]+)\"")
_URL = re.compile(r"https?://[^\s<>\"'()]+")


def wrong(watched: Watched, rules: Sequence[Sent]) -> tuple[Finding, ...]:
    """What would be empty, lead nowhere, or be refused, in the order of the rules."""
    found: list[Finding] = []
    for one in rules:
        found += _rule(one)
        found += runbooks(one.rule.annotations.values(), watched.service.monitoring.runbooks, one.fact.place, one.said)
        found += _received(one, watched)
    found += _of_nearly_all(rules)
    return tuple(dict.fromkeys(found))


def labels_shown(rules: Sequence[Sent]) -> tuple[Shown, ...]:
    """The labels that texts show and only the series can say whether they have."""
    return tuple(
        Shown(one.fact.place, one.rule.name, name, label, tuple(sorted(one.metrics)))
        for one in rules
        for name, text in one.rule.annotations.items()
        for label in sorted(printed(text, r"(?:\$labels|\.Labels)"))
        if any(of.only is None and label not in of.known for of in one.results) and one.metrics
        if all(of.may_have(label) for of in one.results)
    )


def printed(text: str, of: str) -> set[str]:
    """The names after `of`, a pattern like `\\.Annotations`, that a template shows without asking whether they are
    there."""
    names, asked = set(), set()
    for action in _ACTION.findall(text):
        here = set(re.findall(rf"(?<![\w)]){of}\.(\w+)", action)) - _BUILT_IN
        (asked if _GUARDS.search(action) else names).update(here)
    return names - asked


def _rule(one: Sent) -> Iterator[Finding]:
    rule, place = one.rule, one.fact.place
    for name, text in rule.annotations.items():
        if not text.strip():
            yield Finding(place, f"{rule.name}: its {name} is empty", f"say in {name} what is wrong, or leave it out")
        for label in sorted(printed(text, r"(?:\$labels|\.Labels)")):
            lacking = [of for of in one.results if not of.may_have(label)]
            own = label == "severity" and label in rule.labels and not one.reads_alerts()
            if not lacking and not own:
                continue
            where = (
                "" if own or len(lacking) == len(one.results) else " where it fires by another part of its expression"
            )
            why = f"{rule.name}: {name} shows the label {label}, which its expression does not give{where}"
            why += ", and what the rule itself adds is not among $labels" if label in rule.labels else ""
            remedy = f"keep {label} in the expression (by, on), or ask for it with {{{{ if $labels.{label} }}}}"
            yield Finding(place, f"{why}, so nothing stands there", remedy)


def runbooks(texts: Iterable[str], known: Mapping[str, str], place: str, whose: str) -> Iterator[Finding]:
    """The links in texts that lead into the files that `runbooks` of service.yaml names, and to nothing there."""
    for text in texts:
        for url in _URL.findall(_ACTION.sub("{{}}", text)):
            url = url.rstrip(".,;:!?")
            prefix = max((p for p in known if url.startswith(p)), key=len, default=None)
            if prefix is None or "{{" in url:
                continue
            path, _, fragment = url[len(prefix) :].partition("#")
            path = unquote(path.partition("?")[0]).lstrip("/")
            file = Path(known[prefix]) / path if path else Path(known[prefix])
            if not os.path.exists(file):  # also of a name that no file can have
                yield Finding(place, f"{whose}: its link {url} leads to {shown(file)}, which is not there", _MEND_LINK)
                continue
            anchors = _anchors(str(file)) if fragment and os.path.isfile(file) else None
            section = unquote(fragment).lower().removeprefix("user-content-")
            if anchors is not None and section not in anchors:
                near = nearest(section, sorted(anchors))
                near = near if near.startswith("did") else f"it has {count(len(anchors), 'section')}"
                why = f"{whose}: its link {url} leads to a section #{fragment} that {shown(file)} does not have"
                yield Finding(place, f"{why}; {near}", _MEND_LINK)


_MEND_LINK = "write the section, or mend the link: who is woken by the alert opens it first"


def _anchors(file: str) -> frozenset[str] | None:
    """What a link can lead to within a file, in lower case; None where it is of a form that nobody reads here."""
    try:
        text = text_of(Path(file))
    except Unreadable:
        return None
    named = _named(text)
    if file.lower().endswith((".html", ".htm")):
        return named
    if not file.lower().endswith((".md", ".markdown")):
        return None
    return named | _sections(text)


@lru_cache(maxsize=8)  # each of fifty alerts leads into the same runbook
def _named(text: str) -> frozenset[str]:
    return frozenset(name.lower() for name in re.findall(r"\b(?:id|name)\s*=\s*[\"']([^\"']+)", text))


@lru_cache(maxsize=8)
def _sections(text: str) -> frozenset[str]:
    return frozenset(sections(text))


def sections(text: str) -> Iterator[str]:
    """The anchors of the headings of a Markdown text, by GitHub's rules: lower case, without punctuation, hyphens for
    spaces, a number where there was the same before."""
    taken: dict[str, int] = {}
    fence, before = "", ""
    for line in text.splitlines():
        if mark := re.match(r" {0,3}(`{3,}|~{3,})", line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
            continue
        title = re.match(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$", line)
        if not fence and re.fullmatch(r" {0,3}(?:=+|-+)[ \t]*", line) and before.strip():
            heading = before
        else:
            heading = title[1] if title and not fence else None
        before = line
        if heading is None:
            continue
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"<[^>]+>", "", heading)).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        taken[anchor] = taken.get(anchor, -1) + 1
        yield anchor if not taken[anchor] else f"{anchor}-{taken[anchor]}"


def _received(one: Sent, watched: Watched) -> Iterator[Finding]:
    """What the receivers of an alert show that it does not have, and the severity that PagerDuty does not take."""
    routes = dict.fromkeys(route for labels in one.labels for route in watched.routing.routes(labels))
    defined = _templates(watched) if watched.routing.templates else {}
    for route in routes:
        for integration in watched.routing.integrations(route.receiver):
            by = f"{route.receiver} ({integration.name})"
            for key, written, place in integration.texts:
                text = _with_templates(written, defined)
                for name in sorted(printed(text, r"\.(?:Common)?Annotations") - one.rule.annotations.keys()):
                    why = f"{one.rule.name} has no annotation {name}, which {key} of {by} shows, {place}"
                    yield Finding(one.fact.place, why, f"give the rule a {name}, or show it only where there is one")
                yield from _not_grouped(text, key, by, place, route)
            yield from _refused(one, integration, by)


def _not_grouped(text: str, key: str, by: str, place: str, route: Route) -> Iterator[Finding]:
    if route.group_by == ("...",):
        return
    for name in sorted(printed(text, r"\.GroupLabels") - set(route.group_by)):
        why = f"{key} of {by} shows the group label {name}, and the route of {route.place} groups by "
        yield Finding(
            place, why + (listed(route.group_by) or "nothing"), f"add {name} to group_by, or show CommonLabels"
        )


def _refused(one: Sent, integration: Integration, by: str) -> Iterator[Finding]:
    keys = {key: (text, place) for key, text, place in integration.texts}
    if integration.kind != "pagerduty" or "severity" not in keys or {"service_key", "service_key_file"} & keys.keys():
        return
    text, place = keys["severity"]
    as_is = LABELS_TEMPLATE.fullmatch(text.strip())
    for labels in one.labels:
        severity = labels.get("severity", "") if as_is else text
        severity = severity.lower() if as_is and as_is[1] else severity
        if "{{" in severity or severity in PAGERDUTY or severity == "\N{BULLET}":
            continue
        why = f"{one.said} goes to {by}, whose severity would be {severity or 'empty'}, {place}; PagerDuty refuses it"
        yield Finding(one.fact.place, why, f"map it to one of {', '.join(PAGERDUTY)} in the receiver")


def _of_nearly_all(rules: Sequence[Sent]) -> Iterator[Finding]:
    """The rules that lack what nearly all of the others tell their readers."""
    rules = [one for one in rules if not one.fact.always]
    for name in FOR_READERS:
        lacking = [one for one in rules if not {name, "message"} & one.rule.annotations.keys()]
        have = sum(name in one.rule.annotations for one in rules)
        if have >= OF_SO_MANY and have >= OF_NEARLY_ALL * len(rules):
            for one in lacking:
                why = f"{one.rule.name} has no {name}, as {have} of {count(len(rules), 'rule')} have"
                yield Finding(one.fact.place, why, f"say in {name} what is wrong")


def _templates(watched: Watched) -> Mapping[str, str]:
    """The templates that the files of an Alertmanager configuration define, by their names."""
    beside = Path(watched.service.monitoring.alertmanager).parent
    found: dict[str, str] = {}
    for pattern in watched.routing.templates:
        try:
            texts = [text_of(path) for path in matching(beside, pattern)]
        except (ValueError, Unreadable):
            continue  # Alertmanager takes a pattern that nothing matches; what cannot be read is refused elsewhere
        for text in texts:
            _, *parts = _DEFINE.split(text)
            found |= dict(zip(parts[::2], parts[1::2], strict=True))
    return found


def _with_templates(text: str, defined: Mapping[str, str], deep: int = 4) -> str:
    """A text and the templates that it uses."""
    used = [defined[name] for name in _USED.findall(text) if name in defined] if deep else []
    return "\n".join([text, *(_with_templates(each, defined, deep - 1) for each in used)])
