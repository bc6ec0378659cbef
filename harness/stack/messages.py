"""The content of a notification, and what the service it was meant for would object to.

Pure readers of the messages Alertmanager sends: four that hold a message against what its service takes, and one that
only reads what any other kind says. Each gives a Message; none raises on bad input, because a message nobody could read
is evidence too.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from email import message_from_bytes, policy
from email.parser import BytesHeaderParser
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

from harness.alert import NAME
from harness.stack.matchers import unquoted

ALERTS_FIELD = "X-Harness-Alerts"  # holds `firing "alertname"="Down" "job"="a";`, written by Alertmanager itself
RECEIVER_FIELD = "X-Harness-Receiver"  # of a mail: integration/receiver, each as `coded` has it
TEXT_BYTES = 20_000
PAGERDUTY_BYTES = 512 * 1024

FIRING, RESOLVED = "firing", "resolved"


class Alerts(NamedTuple):
    """What a message says of the alerts of one status."""

    status: str  # FIRING | RESOLVED
    names: tuple[str, ...]
    labels: tuple[Mapping[str, str], ...] = ()  # all of each of them, in the order of the names; (): not known


class Message(NamedTuple):
    """One message, read."""

    notified: tuple[Alerts, ...]  # two when it is about alerts of either status
    problems: tuple[str, ...]  # why the real service would not have taken it
    text: str  # at most TEXT_BYTES of it


def read_pagerduty(body: bytes) -> Message:
    """A PagerDuty Events API v2 event."""
    event, problems = _json_object(body)
    action = event.get("event_action")
    if not event:
        return Message((Alerts(FIRING, ()),), problems, _bounded(body))
    if len(body) > PAGERDUTY_BYTES:
        problems += (f"{len(body)} bytes; PagerDuty takes {PAGERDUTY_BYTES}",)
    problems += _missing(event, "", "routing_key", "dedup_key")
    if action not in ("trigger", "acknowledge", "resolve"):
        problems += (f"event_action is {action!r}, not trigger, acknowledge or resolve",)
    if len(str(event.get("dedup_key", ""))) > 255:
        problems += ("dedup_key is longer than 255 characters",)
    payload = event.get("payload") if isinstance(event.get("payload"), dict) else {}
    if action == "trigger":  # PagerDuty reads no payload of the other two
        problems += _missing(payload, "payload.", "summary", "source")
        if len(str(payload.get("summary", ""))) > 1024:
            problems += (f"payload.summary has {len(str(payload['summary']))} characters; PagerDuty takes 1024",)
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            problems += (f"payload.severity is {payload.get('severity')!r}, not critical, error, warning or info",)
    details = payload.get("custom_details") if isinstance(payload.get("custom_details"), dict) else {}
    notified = marked(details.get(ALERTS_FIELD)) or tuple(
        Alerts(status, names) for status in (FIRING, RESOLVED) if (names := _labelled(str(details.get(status, ""))))
    )
    titles = [payload.get("summary"), event.get("description"), event.get("client")]
    if action == "resolve":  # the whole incident is over, whatever its details say
        notified = (over(notified) or Alerts(RESOLVED, _titled(titles)),)
    return Message(notified or (Alerts(FIRING, _titled(titles)),), problems, _bounded(body))


def read_slack(body: bytes) -> Message:
    """A message to a Slack incoming webhook."""
    message, problems = _json_object(body)
    attachments = [a for a in _list(message.get("attachments")) if isinstance(a, dict)]
    fields = [(a, f) for a in attachments for f in _list(a.get("fields")) if isinstance(f, dict)]
    marks = [field for _, field in fields if field.get("title") == ALERTS_FIELD][-1:]  # ours is the last
    shown = ("text", "pretext", "title", "fallback", "blocks")
    texts = [part.get(key) for part in (message, *attachments) for key in shown]
    if message and not any([*texts, *(field for _, field in fields if field not in marks)]):
        problems += ("no_text: neither text nor an attachment that shows any",)
    channel = message.get("channel", "#any")  # a webhook has a channel of its own
    if not (isinstance(channel, str) and re.fullmatch(r"[#@]?[^\s#@<>]{1,80}", channel)):
        problems += (f"channel_not_found: {channel!r}",)
    titles = [part.get(key) for part in (*attachments, message) for key in ("title", "fallback", "text", "pretext")]
    notified = marked(marks[0].get("value")) if marks else ()
    if not notified:
        shown_text = "\n".join(map(str, filter(None, titles)))
        ended = bool(re.search(r"\[?RESOLVED", shown_text)) or any(a.get("color") == "good" for a in attachments)
        notified = (Alerts(RESOLVED if ended else FIRING, _titled(titles) or _labelled(shown_text)),)
    return Message(notified, problems, _bounded(body))


def read_webhook(body: bytes) -> Message:
    """Alertmanager's own webhook format, version 4."""
    message, problems = _json_object(body)
    if message:
        problems += _missing(message, "", "version", "status", "groupKey")
        if message.get("version") not in ("4", None):
            problems += (f"version is {message['version']!r}, not '4'",)
        if message.get("status") not in (FIRING, RESOLVED, None):
            problems += (f"status is {message['status']!r}, not firing or resolved",)
        if not _list(message.get("alerts")):
            problems += ("alerts is missing or empty",)
        if not isinstance(message.get("groupLabels"), dict):
            problems += ("groupLabels is missing",)
    alerts = [a for a in _list(message.get("alerts")) if isinstance(a, dict) and isinstance(a.get("labels"), dict)]
    notified = _by_status((a.get("status"), {k: str(v) for k, v in a["labels"].items()}) for a in alerts)
    whole = RESOLVED if message.get("status") == RESOLVED else FIRING
    return Message(notified or (Alerts(whole, ()),), problems, _bounded(body))


def read_email(content: bytes) -> Message:
    """A mail, headers and body."""
    mail = message_from_bytes(content, policy=policy.default)
    problems = tuple(f"no {name} header" for name in ("From", "To", "Subject") if not str(mail[name] or "").strip())
    try:
        part = mail.get_body(("plain", "html"))
        body = part.get_content() if part else ""
    except (LookupError, ValueError) as error:  # an unknown charset, say
        body, problems = "", (*problems, f"unreadable body: {error}")
    if "</" in body:
        body = html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", "\n", body, flags=re.S))
        body = re.sub(r"\s*\n\s*", "\n", body)
    if not body.strip():
        problems += ("no body",)
    subject = str(mail["Subject"] or "")
    # As it came: nothing in a label may be taken for the encoding of a header.
    notified = marked(BytesHeaderParser().parsebytes(content)[ALERTS_FIELD])
    if not notified:
        notified = (Alerts(RESOLVED if "RESOLVED" in subject else FIRING, _labelled(body) or _titled([subject])),)
    return Message(notified, problems, _bounded(f"{subject}\n{body}".encode()))


def read_other(body: bytes) -> Message:
    """A message of any other kind: what it says of alerts, wherever in it that stands. Its form is not held against
    anything."""
    message, _ = _json_object(body)
    if message.get("version") == "4" and _list(message.get("alerts")):
        return read_webhook(body)._replace(problems=())
    text = body.decode(errors="replace")
    form = parse_qs(text) if re.fullmatch(r"[\w%&=+.*~-]+", text) else {}
    found = [*_strings(message), *_strings(form), text]
    notified = next(filter(None, map(marked, [*found, *map(html.unescape, found)])), ())
    if not notified:
        notified = (Alerts(RESOLVED if re.search("resolved|recovery", text, re.I) else FIRING, _labelled(text)),)
    return Message(notified, (), _bounded(body))


def over(notified: tuple[Alerts, ...]) -> Alerts | None:
    """All those alerts as resolved ones; None where there are none."""
    names, labels = (sum((part[i] for part in notified), ()) for i in (1, 2))
    return Alerts(RESOLVED, names, labels) if names else None


def coded(name: str) -> str:
    """A name as a part of a path that no program on the way decodes or encodes again."""
    return quote(name.replace("~", "~7E"), safe="~").replace("%", "~")


def decoded(part: str) -> str:
    return unquote(part.replace("~", "%"))


def _json_object(body: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        value = json.loads(body)
    except ValueError as error:
        return {}, (f"not JSON: {error}",)
    return (value, ()) if isinstance(value, dict) and value else ({}, ("not a JSON object with anything in it",))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _missing(parent: dict[str, Any], place: str, *keys: str) -> tuple[str, ...]:
    return tuple(f"{place}{k} is missing" for k in keys if not isinstance(parent.get(k), str) or not parent[k].strip())


def _strings(value: Any) -> Iterator[str]:
    """Every text in plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _by_status(pairs: Iterable[tuple[Any, Mapping[str, str]]]) -> tuple[Alerts, ...]:
    found: dict[str, list[Mapping[str, str]]] = {}
    for status, labels in pairs:
        found.setdefault(RESOLVED if status == RESOLVED else FIRING, []).append(labels)
    return tuple(
        Alerts(status, tuple(labels.get(NAME, "") for labels in found[status]), tuple(found[status]))
        for status in (FIRING, RESOLVED)
        if status in found
    )


_TEXT = r'"(?:[^"\\]|\\.)*"'
_ALERT = re.compile(rf"({FIRING}|{RESOLVED})((?: {_TEXT}={_TEXT})*);")
_LABEL = re.compile(rf"({_TEXT})=({_TEXT})")


def marked(mark: Any) -> tuple[Alerts, ...]:
    """The alerts that the redirect had Alertmanager name in a field; empty where it did not."""
    try:
        return _by_status(
            (status, {unquoted(name): unquoted(value) for name, value in _LABEL.findall(labels)})
            for status, labels in _ALERT.findall(str(mark or ""))
        )
    except ValueError:  # it only looks like one
        return ()


def _labelled(text: str) -> tuple[str, ...]:
    """Alert names in lists of labels, as Alertmanager's own templates print them."""
    return tuple(dict.fromkeys(re.findall(r"\balertname ?[=:] ?\"?([^\"\n]+?)\"?[ \t\r]*$", text, re.M)))


def _titled(titles: Iterable[Any]) -> tuple[str, ...]:
    """The alert name in the first title of Alertmanager's own form: [FIRING:1] Name ..., or [FIRING:2] (Name ...)."""
    for title in titles:
        if found := re.search(r"\[(?:FIRING|RESOLVED)[^\]]*\] *\(?([^\s()|]+)", str(title or "")):
            return (found[1],)
    return ()


def _bounded(body: bytes) -> str:
    return body[:TEXT_BYTES].decode(errors="replace")
