"""The content of a notification, and what the service it was meant for would object to.

Pure readers of the four kinds of message Alertmanager sends. Each gives a Message; none raises on bad input, because a
message nobody could read is evidence too.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from email import message_from_bytes, policy
from typing import Any, NamedTuple

ALERTS_FIELD = "X-Harness-Alerts"  # holds "firing=ServiceDown;resolved=NotReady;", written by Alertmanager itself
TEXT_BYTES = 20_000
PAGERDUTY_BYTES = 512 * 1024

FIRING, RESOLVED = "firing", "resolved"


class Message(NamedTuple):
    """One message, read."""

    notified: tuple[tuple[str, tuple[str, ...]], ...]  # (status, names of the alerts); two entries when it has both
    problems: tuple[str, ...]  # why the real service would not have taken it
    text: str  # at most TEXT_BYTES of it


def read_pagerduty(body: bytes) -> Message:
    """A PagerDuty Events API v2 event."""
    event, problems = _json_object(body)
    action = event.get("event_action")
    if not event:
        return Message(((FIRING, ()),), problems, _bounded(body))
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
    notified = _marked(details.get(ALERTS_FIELD)) or tuple(
        (status, names) for status in (FIRING, RESOLVED) if (names := _labelled(str(details.get(status, ""))))
    )
    titles = [payload.get("summary"), event.get("description"), event.get("client")]
    if action == "resolve":  # the whole incident is over, whatever its details say
        notified = ((RESOLVED, _names(notified) or _titled(titles)),)
    return Message(notified or ((FIRING, _titled(titles)),), problems, _bounded(body))


def read_slack(body: bytes) -> Message:
    """A message to a Slack incoming webhook."""
    message, problems = _json_object(body)
    attachments = [a for a in _list(message.get("attachments")) if isinstance(a, dict)]
    shown = ("text", "pretext", "title", "fallback", "fields", "blocks")
    if message and not any(part.get(key) for part in (message, *attachments) for key in shown):
        problems += ("no_text: neither text nor an attachment that shows any",)
    channel = message.get("channel", "#any")  # a webhook has a channel of its own
    if not (isinstance(channel, str) and re.fullmatch(r"[#@]?[^\s#@<>]{1,80}", channel)):
        problems += (f"channel_not_found: {channel!r}",)
    titles = [part.get(key) for part in (*attachments, message) for key in ("title", "fallback", "text", "pretext")]
    marks = [a.get("callback_id") for a in attachments]
    notified = next(filter(None, map(_marked, marks)), ())
    if not notified:
        shown_text = "\n".join(map(str, filter(None, titles)))
        over = bool(re.search(r"\[?RESOLVED", shown_text)) or any(a.get("color") == "good" for a in attachments)
        notified = ((RESOLVED if over else FIRING, _titled(titles) or _labelled(shown_text)),)
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
    notified = _by_status((a.get("status"), a["labels"].get("alertname", "")) for a in alerts)
    whole = RESOLVED if message.get("status") == RESOLVED else FIRING
    return Message(notified or ((whole, ()),), problems, _bounded(body))


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
    notified = _marked(mail[ALERTS_FIELD])
    if not notified:
        notified = ((RESOLVED if "RESOLVED" in subject else FIRING, _labelled(body) or _titled([subject])),)
    return Message(notified, problems, _bounded(f"{subject}\n{body}".encode()))


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


def _by_status(pairs: Iterable[tuple[Any, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, dict[str, None]] = {}  # dicts, because they keep the order and drop the repeats
    for status, name in pairs:
        found.setdefault(RESOLVED if status == RESOLVED else FIRING, {})[name] = None
    return tuple((status, tuple(found[status])) for status in (FIRING, RESOLVED) if status in found)


def _marked(mark: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The field that the redirect had Alertmanager fill in; empty where there is none."""
    return _by_status(re.findall(rf"({FIRING}|{RESOLVED})=([^;]+);", str(mark or "")))


def _names(notified: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, names in notified for name in names))


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
