"""The sinks as a process of their own, told by hand and by a real Alertmanager."""

import contextlib
import http.client
import json
import smtplib
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.stack import alertmanager, tools
from harness.stack.messages import ALERTS_FIELD, RECEIVER_FIELD, coded
from harness.stack.process import free_ports
from harness.stack.yamltext import dump, read

FIELDS = ("at", "receiver", "integration", "status", "alerts", "problems", "text", "labels")


class Sinks:
    def __init__(self, folder: Path, process: subprocess.Popen):
        self.folder, self.process = folder, process
        ports = until(lambda: (folder / "ports.json").exists() and json.loads((folder / "ports.json").read_text()))
        self.http, self.smtp = ports["http"], ports["smtp"]

    def got(self) -> list[dict]:
        lines = (self.folder / "notifications.jsonl").read_text().splitlines()
        return [dict(zip(FIELDS, json.loads(line), strict=True)) for line in lines]

    def post(self, path: str, body: object) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=10)
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())
        answer = connection.getresponse()
        said = answer.status, answer.read().decode()
        connection.close()
        return said


def until(true, within_s: float = 30.0):
    """What `true` gives once it gives something."""
    give_up = time.monotonic() + within_s
    while not (value := true()):
        assert time.monotonic() < give_up, "did not come"
        time.sleep(0.02)
    return value


@contextlib.contextmanager
def ended(process: subprocess.Popen):
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin:
            process.stdin.close()


def start(folder: Path, *more: str, **how) -> subprocess.Popen:
    command = [sys.executable, "-m", "harness.stack.sinks", "--dir", str(folder)]
    return subprocess.Popen([*command, "--port-file", str(folder / "ports.json"), *more], **how)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sinks")
    with ended(start(folder)) as process:
        yield Sinks(folder, process)


@pytest.fixture
def sinks(running):
    (running.folder / "notifications.jsonl").write_text("")  # it appends, so a cut file is a fresh one
    return running


# By hand

EVENT = {
    "routing_key": "0" * 32,
    "dedup_key": "k",
    "event_action": "trigger",
    "payload": {"summary": "[FIRING:1] ServiceDown (critical)", "source": "s", "severity": "critical"},
}
SLACK = {"channel": "#ml", "attachments": [{"title": "[FIRING:1] NotReady ml (high)", "text": "", "color": "danger"}]}
WEBHOOK = {
    "version": "4",
    "groupKey": "{}",
    "status": "firing",
    "groupLabels": {},
    "alerts": [{"status": "firing", "labels": {"alertname": "DiskFilling"}}],
}


def without(message: dict, *path: str, put: object = None) -> dict:
    """The message with one part cut out, or changed."""
    head, *rest = path
    copy = dict(message)
    if rest:
        copy[head] = without(message[head], *rest, put=put)
    elif put is None:
        del copy[head]
    else:
        copy[head] = put
    return copy


TAKEN = {
    "a PagerDuty trigger": ("/pagerduty/r", EVENT, 202, "pagerduty", "firing", ["ServiceDown"]),
    "a PagerDuty resolve needs no payload": (
        "/pagerduty/r",
        without(without(EVENT, "payload"), "event_action", put="resolve"),
        202,
        "pagerduty",
        "resolved",
        [],
    ),
    "a Slack message": ("/slack/r", SLACK, 200, "slack", "firing", ["NotReady"]),
    "a Slack message that is only text": (
        "/slack/r",
        {"text": "[RESOLVED] A is over"},
        200,
        "slack",
        "resolved",
        ["A"],
    ),
    "a webhook": ("/webhook/r", WEBHOOK, 200, "webhook", "firing", ["DiskFilling"]),
}


@pytest.mark.parametrize(("path", "body", "status", "kind", "says", "alerts"), TAKEN.values(), ids=TAKEN)
def test_taken_as_the_real_service_would(sinks, path, body, status, kind, says, alerts):
    before = time.time()
    assert sinks.post(path, body)[0] == status
    [line] = sinks.got()
    assert before <= line.pop("at") <= time.time()
    text, labels = line.pop("text"), line.pop("labels")
    assert json.loads(text) == body
    assert labels == ([alert["labels"] for alert in body["alerts"]] if kind == "webhook" else [])
    assert line == {"receiver": "r", "integration": kind, "status": says, "alerts": alerts, "problems": []}


REFUSED = {
    "PagerDuty without a routing key": ("/pagerduty/r", without(EVENT, "routing_key"), "routing_key is missing"),
    "PagerDuty without a dedup key": ("/pagerduty/r", without(EVENT, "dedup_key"), "dedup_key is missing"),
    "PagerDuty with an unknown action": ("/pagerduty/r", without(EVENT, "event_action", put="page"), "event_action"),
    "PagerDuty with a blank summary": (
        "/pagerduty/r",
        without(EVENT, "payload", "summary", put=" "),
        "payload.summary",
    ),
    "PagerDuty with a long summary": ("/pagerduty/r", without(EVENT, "payload", "summary", put="x" * 1025), "1025"),
    "PagerDuty without a source": ("/pagerduty/r", without(EVENT, "payload", "source"), "payload.source"),
    "PagerDuty with severity page": ("/pagerduty/r", without(EVENT, "payload", "severity", put="page"), "'page'"),
    "PagerDuty with severity high": ("/pagerduty/r", without(EVENT, "payload", "severity", put="high"), "'high'"),
    "PagerDuty without a payload": ("/pagerduty/r", without(EVENT, "payload"), "payload.summary is missing"),
    "PagerDuty, larger than it takes": ("/pagerduty/r", EVENT | {"client": "x" * 600_000}, "PagerDuty takes 524288"),
    "PagerDuty, not JSON": ("/pagerduty/r", b"{", "not JSON"),
    "Slack, nothing to show": ("/slack/r", {"channel": "#ml", "attachments": [{"color": "good"}]}, "no_text"),
    "Slack, empty": ("/slack/r", {}, "not a JSON object"),
    "Slack, a channel that cannot be": ("/slack/r", SLACK | {"channel": "# <no value>"}, "channel_not_found"),
    "webhook, not JSON": ("/webhook/r", b"\xff", "not JSON"),
    "webhook of another version": ("/webhook/r", WEBHOOK | {"version": "3"}, "version is '3'"),
    "webhook without alerts": ("/webhook/r", WEBHOOK | {"alerts": []}, "alerts is missing"),
    "webhook without a status": ("/webhook/r", without(WEBHOOK, "status"), "status is missing"),
    "webhook with an unknown status": ("/webhook/r", WEBHOOK | {"status": "open"}, "status is 'open'"),
    "webhook without group labels": ("/webhook/r", without(WEBHOOK, "groupLabels"), "groupLabels"),
}


@pytest.mark.parametrize(("path", "body", "problem"), REFUSED.values(), ids=REFUSED)
def test_refused_and_written_down_why(sinks, path, body, problem):
    status, said = sinks.post(path, body)
    assert status == 400
    [line] = sinks.got()
    assert any(problem in p for p in line["problems"]), line["problems"]
    assert len(line["text"]) <= 20_000
    if "/pagerduty/" in path:
        assert json.loads(said)["status"] == "invalid event"


def test_a_receivers_name_is_decoded_and_the_integration_is_the_one_it_was_led_by(sinks):
    for name in ("on call/primary", "~7E %2F ü", "a b[1]"):
        sinks.post(f"/{coded('webhook[1]')}/{coded(name)}", WEBHOOK)
        line = sinks.got()[-1]
        assert (line["receiver"], line["integration"]) == (name, "webhook[1]")


MARK = r'firing "alertname"="Disk \"a\"; =x \u00fc\\" "nl"="a\nb";resolved "alertname"="Over";firing "alertname"="";'
RECORDED = {
    "in a field of JSON": ("/victorops/r", {"state": {"list": ["x", MARK]}}),
    "escaped for HTML": ("/telegram/r/bot0/sendMessage", {"text": MARK.replace('"', "&#34;") + "\nhello"}),
    "in a form": ("/sns/r", ("Action=Publish&Value=" + quote(MARK)).encode()),
    "as plain text": ("/jira/r", MARK.encode()),
    "at Opsgenie": ("/opsgenie~5B1~5D/r/v2/alerts", {"alias": "a", "details": {ALERTS_FIELD: MARK}}),
}


@pytest.mark.parametrize(("path", "body"), RECORDED.values(), ids=RECORDED)
def test_a_kind_that_nobody_validates_is_recorded_with_all_labels(sinks, path, body):
    assert sinks.post(path, body)[0] == 200
    firing, resolved = sinks.got()
    assert (firing["receiver"], firing["status"], firing["alerts"]) == ("r", "firing", ['Disk "a"; =x ü\\', ""])
    assert firing["labels"] == [{"alertname": 'Disk "a"; =x ü\\', "nl": "a\nb"}, {"alertname": ""}]
    assert (resolved["status"], resolved["labels"]) == ("resolved", [{"alertname": "Over"}])
    assert firing["problems"] == []


def test_opsgenie_is_told_of_the_end_by_the_alias(sinks):
    sinks.post("/opsgenie/r/v2/alerts", {"alias": "abc", "details": {ALERTS_FIELD: 'firing "alertname"="A";'}})
    sinks.post("/opsgenie/r/v2/alerts/abc/close?identifierType=alias", {"source": "s"})
    sinks.post("/opsgenie/r/v2/alerts/other/close?identifierType=alias", {"source": "s"})
    assert [(line["status"], line["labels"]) for line in sinks.got()] == [
        ("firing", [{"alertname": "A"}]),
        ("resolved", [{"alertname": "A"}]),
        ("resolved", []),
    ]


def test_the_mark_is_no_text_that_slack_would_show(sinks):
    marked = {"channel": "#ml", "attachments": [{"fields": [{"title": ALERTS_FIELD, "value": MARK}]}]}
    assert sinks.post("/slack/r", marked)[0] == 400
    assert sinks.got()[0]["problems"] == ["no_text: neither text nor an attachment that shows any"]
    assert sinks.got()[0]["labels"][0]["nl"] == "a\nb"


def test_what_names_no_receiver_is_refused_and_not_recorded(sinks):
    assert sinks.post("/ops%20genie/r", WEBHOOK)[0] == 404
    assert sinks.post("/slack/", SLACK)[0] == 404
    assert sinks.got() == []


def test_a_message_about_alerts_that_fire_and_alerts_that_are_over_is_a_line_of_each(sinks):
    over = {"status": "resolved", "labels": {"alertname": "NotReady"}}
    sinks.post("/webhook/r", WEBHOOK | {"alerts": [*WEBHOOK["alerts"], over]})
    firing, resolved = sinks.got()
    assert (firing["status"], firing["alerts"]) == ("firing", ["DiskFilling"])
    assert (resolved["status"], resolved["alerts"]) == ("resolved", ["NotReady"])
    assert firing["at"] == resolved["at"]


def mail(sinks, text: str) -> None:
    with smtplib.SMTP("127.0.0.1", sinks.smtp, timeout=10) as smtp:
        smtp.sendmail("a@example.org", ["b@example.org"], text.encode())


def test_a_mail_is_taken(sinks):
    mail(
        sinks,
        "From: a@example.org\nTo: b@example.org\nSubject: [FIRING:1] Mail x (ml)\n"
        f"{RECEIVER_FIELD}: email~5B1~5D/the~20team\nX-Receiver: ours\nContent-Type: text/html\n\n"
        "<html><style>p {}</style><b>Labels</b><br>alertname = ServiceDown<br></html>",
    )
    [line] = sinks.got()
    assert (line["receiver"], line["integration"], line["status"]) == ("the team", "email[1]", "firing")
    assert (line["alerts"], line["problems"]) == (["ServiceDown"], [])


def test_a_mail_without_what_it_needs_is_written_down(sinks):
    mail(sinks, "Date: today\n\n")
    assert set(sinks.got()[0]["problems"]) == {
        "no From header",
        "no To header",
        "no Subject header",
        "no X-Harness-Receiver header",
        "no body",
    }


# As a process


def test_it_is_small_and_asleep_when_nothing_comes(running):
    def statuses(key: str) -> list[int]:
        threads = Path(f"/proc/{running.process.pid}/task").glob("*/status")
        lines = [line for thread in threads for line in thread.read_text().splitlines()]
        return [int(line.split()[1]) for line in lines if line.startswith(f"{key}:")]

    assert statuses("VmHWM")[0] <= 35_000, "kB"
    before = statuses("voluntary_ctxt_switches")
    time.sleep(0.5)
    assert sum(statuses("voluntary_ctxt_switches")) - sum(before) <= 3


def test_it_ends_on_sigterm(tmp_path):
    with ended(start(tmp_path)) as process:
        Sinks(tmp_path, process)
        process.terminate()
        assert process.wait(10) == 0


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path):
    with ended(start(tmp_path / "no", stderr=subprocess.PIPE, text=True)) as process:
        _, said = process.communicate(timeout=10)
    assert process.returncode == 70
    assert said == f"sinks: cannot write to {tmp_path / 'no'}: No such file or directory\n"


# By a real Alertmanager

PRODUCTION = """
global:
  slack_api_url: https://hooks.slack.com/services/T/B/secret
  smtp_smarthost: mail.example.org:587
  smtp_from: alertmanager@example.org
  smtp_auth_username: alertmanager
  smtp_auth_password: secret
route:
  receiver: mail
  group_by: [alertname]
  group_wait: 10s
  group_interval: 10s
  routes:
  - {receiver: on call/primary, matchers: ['severity="critical"']}
  - {receiver: team, matchers: ['severity="high"']}
  - {receiver: hook, matchers: ['severity="low"'], group_by: ['...']}
  - {receiver: prose, matchers: ['severity="odd"'], group_by: [severity]}
receivers:
- name: on call/primary
  pagerduty_configs: [{routing_key: secret, severity: critical}]
- name: team
  slack_configs: [{channel: '#ml', send_resolved: true}]
- name: mail
  email_configs: [{to: ml@example.org, send_resolved: true}]
- name: hook
  webhook_configs: [{url: 'https://example.org/hook'}]
- name: prose
  pagerduty_configs: [{routing_key: secret, severity: page, description: Something is up, details: {firing: Look}}]
  slack_configs: [{channel: '#ml', title: Something is up, text: Please look, send_resolved: true}]
  email_configs:
  - {to: ml@example.org, html: <p>Please look</p>, headers: {Subject: Something is up}, send_resolved: true}
"""


@contextlib.contextmanager
def alertmanager_for(sinks, folder: Path, production: str = PRODUCTION):
    (folder / "production.yaml").write_text(production)
    copy = alertmanager.redirect(
        read(folder / "production.yaml"), http_port=sinks.http, smtp_port=sinks.smtp, time_scale=60
    )
    (folder / "alertmanager.yaml").write_text(dump(copy.config))
    [port] = free_ports(1)
    command = alertmanager.command(tools.find().alertmanager, folder / "alertmanager.yaml", folder / "data", port)
    with (
        open(folder / "log", "wb") as log,
        ended(subprocess.Popen(command, stdout=log, stderr=log)),
    ):

        def ready() -> bool:
            with contextlib.suppress(OSError):
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).status == 200

        until(ready)
        yield f"http://127.0.0.1:{port}"


def tell(url: str, over: bool, *alerts: tuple[str, str]) -> None:
    """Post alerts (name, severity) as Prometheus would: firing, or ended a moment ago."""
    now = time.time()
    at = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t)) for t in (now - 60, now - 1 if over else now + 600)]
    body = [
        {
            "labels": {"alertname": name, "severity": severity, "service": "ml"},
            "annotations": {"summary": f"{name} ü"},
            "startsAt": at[0],
            "endsAt": at[1],
        }
        for name, severity in alerts
    ]
    request = urllib.request.Request(
        f"{url}/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    assert urllib.request.urlopen(request, timeout=10).status == 200


def test_every_receiver_of_a_real_alertmanager_is_told_firing_then_resolved(sinks, tmp_path):
    alerts = [
        ("Down", "critical"),
        ("Slow", "high"),
        ("Full", "medium"),
        ("Chat", "low"),
        ("One", "odd"),
        ("Two", "odd"),
    ]
    expected = {
        ("on call/primary", "pagerduty", "Down"),
        ("team", "slack", "Slow"),
        ("mail", "email", "Full"),
        ("hook", "webhook", "Chat"),
        ("prose", "slack", "One Two"),
        ("prose", "email", "One Two"),
    }
    # Alertmanager sends severity: page without a word; PagerDuty refuses it, so nothing is there to be resolved either.
    refused = ("prose", "pagerduty", "One Two")

    def told(status: str) -> set[tuple[str, str, str]]:
        lines = (line for line in sinks.got() if line["status"] == status)
        return {(line["receiver"], line["integration"], " ".join(sorted(line["alerts"]))) for line in lines}

    def others(status: str) -> set[tuple[str, str]]:
        """Who else was told; a busy Alertmanager may tell of one alert of a group before it tells of both."""
        return {
            (r, integration)
            for r, integration, about in told(status) - expected - {refused}
            if (r, about) not in {("prose", "One"), ("prose", "Two")}
        }

    with alertmanager_for(sinks, tmp_path) as url:
        tell(url, False, *alerts)
        until(lambda: told("firing") >= expected | {refused})
        assert told("resolved") == others("firing") == set()
        tell(url, True, *alerts)
        until(lambda: told("resolved") >= expected)
    assert refused not in told("resolved") and others("resolved") == set()
    assert {(line["receiver"], line["integration"]) for line in sinks.got() if line["problems"]} == {refused[:2]}
    assert "Something is up" in "".join(line["text"] for line in sinks.got()), "the production texts were lost"


EVERY_KIND = """
global: {slack_api_url: "https://h/x", smtp_smarthost: "h:25", smtp_from: a@example.org, opsgenie_api_key: k}
route: {receiver: "on call/~ü %", group_by: [team], group_wait: 0s, group_interval: 10s}
receivers:
- name: "on call/~ü %"
  opsgenie_configs: [{update_alerts: true}]
  victorops_configs: [{api_key: k, routing_key: r}]
  wechat_configs: [{api_secret: s, corp_id: c, send_resolved: true}]
  telegram_configs: [{bot_token: k, chat_id: 1}, {bot_token: k, chat_id: 1, parse_mode: MarkdownV2, message: hi}]
  webex_configs: [{room_id: r, http_config: {authorization: {credentials: abc}}}]
  discord_configs: [{webhook_url: "https://discord.com/api/webhooks/SECRET"}]
  sns_configs: [{topic_arn: "arn:aws:sns:us-east-2:698519295917:My-Topic", sigv4: {region: us-east-2}}]
  pushover_configs: [{user_key: a, token: b}]
  msteams_configs: [{webhook_url: "https://x/SECRET"}]
  pagerduty_configs: [{service_key: k, severity: page}, {routing_key: k, details: {X-Harness-Alerts: mine}}]
  slack_configs: [{channel: '#a', send_resolved: true, fields: [{title: X-Harness-Alerts, value: no}]}]
  email_configs: [{to: a@example.org, send_resolved: true, headers: {x-harness-alerts: us}}]
  webhook_configs: [{url: "https://example.org/hook"}]
"""
ALERTS = [('Disk "full"; a=b, ü <x> \\n =?utf-8?q?x?=', "page"), ("Disk full", "a\nb")]


def test_every_kind_is_told_with_every_label_whatever_is_in_it(sinks, tmp_path):
    """Alert names of any text; receivers of any name; settings of the users that are called as ours."""
    kinds = {f"{kind}[{i}]" for kind in ("telegram", "pagerduty") for i in (0, 1)}
    kinds |= {"opsgenie", "victorops", "wechat", "webex", "discord", "sns", "pushover", "msteams", "slack", "email"}
    kinds |= {"webhook"}
    labels = [{"alertname": name, "severity": severity, "service": "ml"} for name, severity in ALERTS]

    def told(status: str) -> set[str]:
        lines = [line for line in sinks.got() if line["status"] == status]
        assert {line["receiver"] for line in lines} <= {"on call/~ü %"}
        for line in lines:
            assert all(label in labels for label in line["labels"]) and not line["problems"], line
            assert line["alerts"] == [label["alertname"] for label in line["labels"]]
        return {
            kind
            for kind in kinds
            if labels_of([line for line in lines if line["integration"] == kind]) >= {name for name, _ in ALERTS}
        }

    def labels_of(lines: list[dict]) -> set[str]:
        return {label["alertname"] for line in lines for label in line["labels"]}

    with alertmanager_for(sinks, tmp_path, EVERY_KIND) as url:
        tell(url, False, *ALERTS)
        until(lambda: told("firing") == kinds)
        tell(url, True, *ALERTS)
        until(lambda: told("resolved") == kinds)
    assert "level=error" not in (tmp_path / "log").read_text()


def test_without_our_field_the_names_are_read_from_alertmanagers_own_templates(sinks, tmp_path, monkeypatch):
    monkeypatch.setattr(alertmanager, "ALERTS_TEMPLATE", "-")
    alerts = [("Down", "critical"), ("Slow", "high"), ("Full", "medium"), ("Chat", "low")]
    with alertmanager_for(sinks, tmp_path) as url:
        tell(url, False, *alerts)
        until(lambda: len(sinks.got()) == 4)
        tell(url, True, *alerts)
        until(lambda: len(sinks.got()) == 8)
    told = {(line["integration"], line["status"], *line["alerts"]) for line in sinks.got()}
    names = {"pagerduty": "Down", "slack": "Slow", "email": "Full", "webhook": "Chat"}
    assert told == {(kind, status, name) for kind, name in names.items() for status in ("firing", "resolved")}
