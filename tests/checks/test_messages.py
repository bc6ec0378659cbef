"""Messages: texts as their readers see them."""

import json

import pytest
from handmade import FAIL, PASS, expect, history, table

from harness.checks import Messages
from harness.checks.view import Finding, Shown
from harness.history import History, Notification, Series
from harness.verdict import Verdict

CHECK = Messages(2)
SHOWS = Messages(2, (), (Shown("rules.yaml:7", "Slow", "description", "route", ("http_requests_total",)),))


def slack(problems=(), **attachment):
    text = json.dumps(
        {"channel": "#a", "attachments": [{"title": "[FIRING] Slow", "text": "it is slow", **attachment}]}
    )
    return [Notification(5, "team", "slack", "firing", ("Slow",), tuple(problems), text)]


def webhook(**annotations):
    alert = {"labels": {"alertname": "Slow", "name": ""}, "annotations": annotations, "generatorURL": "http://x?{{.}}"}
    text = json.dumps({"version": "4", "alerts": [alert], "commonAnnotations": {}})
    return [Notification(5, "hook", "webhook", "firing", ("Slow",), (), text)]


def series(**labels):
    return [Series({"__name__": "http_requests_total", **labels}, [1.0], [1.0])]


CASES = [
    ("all is well", CHECK, history(notifications=slack()), PASS, "the texts of 2 rules and 1 notification"),
    ("nobody was notified", CHECK, history(), PASS, "2 rules and 0 notifications"),
    (
        "the files show a mistake",
        Messages(2, (Finding("rules.yaml:7", "Slow: its summary is empty", "say it"),)),
        history(),
        FAIL,
        "1 finding in the texts of 2 rules and 0 notifications, bound 0: rules.yaml:7: Slow: its summary is empty",
    ),
    (
        "a template failed",
        CHECK,
        history(notifications=slack(text="<error expanding template: error executing template __alert_Slow>")),
        FAIL,
        "team (slack) was sent a template that failed for Slow: 'error expanding template",
    ),
    ("no value", CHECK, history(notifications=slack(text="<no value> is slow")), FAIL, "a value that is not there"),
    ("raw braces", CHECK, history(notifications=slack(text="{{ $value }} is slow")), FAIL, "nobody filled in"),
    ("a format", CHECK, history(notifications=slack(text="%!d(float64=3.2) is slow")), FAIL, "a figure in a format"),
    ("no figure", CHECK, history(notifications=webhook(summary="s", description="NaN% bad")), FAIL, "'NaN'"),
    ("infinite", CHECK, history(notifications=slack(text="+Inf seconds")), FAIL, "no figure for Slow: '+Inf'"),
    ("an empty description", CHECK, history(notifications=webhook(description="")), FAIL, "an empty description"),
    ("a blank text", CHECK, history(notifications=slack(text=" \n")), FAIL, "an empty text"),
    ("a title that was cut", CHECK, history(notifications=slack(title="x" * 1023 + "…")), FAIL, "cut after 1,024"),
    (
        "a message that would be refused",
        CHECK,
        history(notifications=slack(problems=["channel_not_found: ''"])),
        FAIL,
        "a message that slack would refuse (channel_not_found: '')",
    ),
    ("the label is there", SHOWS, history(series=series(route="/a")), PASS, "bound 0"),
    ("the metric is not", SHOWS, history(), PASS, "bound 0"),
    (
        "no series has the label",
        SHOWS,
        history(series=series(path="/a")),
        FAIL,
        "rules.yaml:7: Slow: description shows the label route, which no series of the run has for it",
    ),
    ("no run", CHECK, History(), Verdict.INCONCLUSIVE, "does not say the run's time_scale"),
]


@table(CASES)
def test_messages(check, record, verdict, says):
    expect(check, record, verdict, says)


@pytest.mark.parametrize(
    "text", ["50 % of {a} is used", "a Nancy is Informed", "{{}}", 'up{job=~"a"} == 0', "NaNo", "100%! of it", "5%"]
)
def test_what_only_looks_like_a_mistake_is_none(text):
    expect(CHECK, history(notifications=slack(text=text)), PASS, "bound 0")


def test_one_mistake_in_many_messages_is_one_finding_with_its_number():
    result = expect(CHECK, history(notifications=slack(text="<no value>") * 3), FAIL, "1 finding in the texts")
    assert "3 times" in result.reason
    assert [(r.kind, r.key, r.at) for r in result.evidence] == [("notification", "team", 5)]
