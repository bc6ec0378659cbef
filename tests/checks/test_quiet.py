import re
from dataclasses import replace

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, phase, replay, table

from harness.alert import Alert, alerts
from harness.checks import Quiet
from harness.checks.view import RuleFact, View
from harness.history import Series

EVENTS, WATCHDOG = phase("sham", 10, 40), firing("Watchdog", (0, 50))
FAULT = [*EVENTS, *fault("sham", 20, 25)]
CALM = {"sham": {"ServiceDown": replay(ended_s=1800), "Watchdog": replay(fired_before=True, ended_s=1800)}}
QUIET = Quiet("sham")


def saw(*series, replays=CALM, events=EVENTS):
    return history(events, series=series, replays=replays)


FIRED = {"sham": {"ServiceDown": replay(firing_s=60, last_firing_s=180)}}
CASES = [
    (
        "only the watchdog fires",
        QUIET,
        saw(WATCHDOG),
        PASS,
        "0 unexpected alerts live and in the replay in 30 s of the gate",
    ),
    (
        "an alert whose metric was absent is named, because its silence says nothing",
        QUIET,
        saw(WATCHDOG, replays={"sham": CALM["sham"] | {"AccuracyDrop": replay(ended_s=1800, blind=["accuracy"])}}),
        PASS,
        "bound 0; AccuracyDrop had no data to fire on",
    ),
    (
        "an allowed alert may fire",
        Quiet("sham", frozenset({"ServiceDown"})),
        saw(WATCHDOG, firing("ServiceDown", (20, 25)), replays=FIRED),
        PASS,
        "(ServiceDown fired, as allowed)",
    ),
    (
        "an alert outside the phase is not its business",
        QUIET,
        saw(WATCHDOG, firing("ServiceDown", (2, 9))),
        PASS,
        "bound 0",
    ),
    (
        "an unexpected alert is noise",
        QUIET,
        saw(WATCHDOG, firing("ServiceDown", (20, 25))),
        FAIL,
        "ServiceDown fired live for 5 min; at most 0 unexpected",
    ),
    (
        "an alert that goes on from before is noise",
        QUIET,
        saw(WATCHDOG, firing("ServiceDown", (2, 11))),
        FAIL,
        "ServiceDown fired live for 1 min",
    ),
    (
        "an alert that fires only on the production rules is noise",
        QUIET,
        saw(WATCHDOG, replays=FIRED),
        FAIL,
        "ServiceDown fired in the replay for 2 min",
    ),
    ("silence without any alert recorded proves nothing", QUIET, saw(), INCONCLUSIVE, "not even Watchdog"),
    (
        "a watchdog that had stopped before the phase proves nothing",
        QUIET,
        saw(firing("Watchdog", (0, 9))),
        INCONCLUSIVE,
        "silence proves nothing",
    ),
    (
        "a fault without its replay is half judged",
        QUIET,
        saw(WATCHDOG, replays={}, events=FAULT),
        INCONCLUSIVE,
        "no replay",
    ),
    (
        "noise in a phase without its replay is noise",
        QUIET,
        saw(WATCHDOG, firing("ServiceDown", (20, 25)), replays={}, events=FAULT),
        FAIL,
        "ServiceDown fired live for 5 min",
    ),
    (
        "the live alerts alone are not enough",
        QUIET,
        saw(WATCHDOG, replays={}),
        INCONCLUSIVE,
        "no replay of the production rules",
    ),
    (
        "a rule without an answer was not quiet but unknown",
        QUIET,
        saw(WATCHDOG, replays={"sham": CALM["sham"] | {"Broken": replay(problem="promtool could not: many-to-many")}}),
        INCONCLUSIVE,
        "of Broken nothing is known: promtool could not: many-to-many",
    ),
    (
        "one that may fire anyway does not matter",
        Quiet("sham", frozenset({"Broken"})),
        saw(WATCHDOG, replays={"sham": CALM["sham"] | {"Broken": replay(problem="promtool could not")}}),
        PASS,
        "0 unexpected alerts",
    ),
    ("no phase is no evidence", QUIET, saw(WATCHDOG, events=[]), INCONCLUSIVE, "does not hold the phase"),
]


@table(CASES)
def test_quiet(check, record, verdict, says):
    expect(check, record, verdict, says)


# Two rules of one name, as in h01: the phase may raise the one and not the other
PAGE, TICKET = alerts([("Errors", {"severity": "page"}), ("Errors", {"severity": "ticket"})])
BOTH_FIRE = {"sham": {str(PAGE): replay(firing_s=60, last_firing_s=120), str(TICKET): replay(ended_s=1800)}}


@table(
    [
        (
            "an allowed rule of a name allows no other of it live",
            Quiet("sham", frozenset({str(TICKET)}), shared=(PAGE, TICKET)),
            saw(WATCHDOG, firing("Errors", (20, 25), severity="page")),
            FAIL,
            'Errors{severity="page"} fired live for 5 min',
        ),
        (
            "nor in the replay",
            Quiet("sham", frozenset({str(TICKET)}), shared=(PAGE, TICKET)),
            saw(WATCHDOG, replays=BOTH_FIRE),
            FAIL,
            'Errors{severity="page"} fired in the replay for 1 min',
        ),
        (
            "the allowed one may fire",
            Quiet("sham", frozenset({str(PAGE)}), shared=(PAGE, TICKET)),
            saw(WATCHDOG, firing("Errors", (20, 25), severity="page"), replays=BOTH_FIRE),
            PASS,
            '(Errors{severity="page"} fired, as allowed)',
        ),
        (
            "a name alone allows all rules of it",
            Quiet("sham", frozenset({"Errors"}), shared=(PAGE, TICKET)),
            saw(WATCHDOG, firing("Errors", (20, 25), severity="page"), firing("Errors", (20, 25), severity="ticket")),
            PASS,
            "fired, as allowed",
        ),
    ]
)
def test_rules_of_one_name_are_told_apart(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_what_may_fire_is_a_name_or_one_with_its_labels():
    facts = [RuleFact(alert, alert.labels[0][1], "r.yaml:1") for alert in (PAGE, TICKET)]
    facts += [RuleFact(Alert("Disk"), "template", "r.yaml:9")]

    def allowed(*may_fire):
        (check,) = Quiet.from_plan({"phase": "steady", "may_fire": may_fire}, View(rules=tuple(facts)))
        return check.allowed

    assert allowed("Errors", "Disk") == {"Errors", "Disk"}
    assert allowed('Errors{severity="page"}') == {str(PAGE)} == {'Errors{severity="page"}'}
    assert allowed("Errors{}") == {str(PAGE), str(TICKET)}
    for text, why in [
        (
            'Errors{severity="info"}',
            'no rule Errors has severity="info"; there is Errors{severity="page"} (r.yaml:1) and',
        ),
        ('Disk{severity="page"}', 'no rule Disk has severity="page"; there is template (r.yaml:9)'),
        ("Errors{severity=page}", 'must be the name of a rule, or like Name{severity="page"}'),
        ("Eror", "no rule is called Eror"),
    ]:
        with pytest.raises(ValueError, match=re.escape(why)):
            allowed(text)


def test_noise_by_scrapes_that_production_would_have_waited_for_says_so():
    at = [20.0, 20.25, 20.5]
    down = Series({"__name__": "up", "job": "svc"}, at, [0, 0, 1])
    took = Series({"__name__": "scrape_duration_seconds", "job": "svc"}, at, [0.251, 0.001, 0.1])
    record = saw(WATCHDOG, firing("ServiceDown", (20, 25)), down, took)
    says = "; a scrape took 251 ms, as long as the gate waits, where production allows 10 s"
    assert expect(QUIET, record, FAIL, says).reason.endswith(says)
    quick = Series(took.labels, at, [0.1, 0.001, 0.1])
    assert "production allows" not in QUIET.judge(saw(WATCHDOG, firing("ServiceDown", (20, 25)), down, quick)).reason


def test_what_may_be_of_an_allowed_rule_is_left_to_the_replay():
    templated, page = alerts([("Errors", {"severity": "{{ $labels.level }}"}), ("Errors", {"severity": "page"})])
    check = Quiet("sham", frozenset({str(templated)}), shared=(templated, page))
    live = firing("Errors", (20, 25), severity="page")
    expect(check, saw(WATCHDOG, live), PASS, "fired, as allowed")
    expect(
        check, saw(WATCHDOG, live, replays={"sham": {str(page): replay(firing_s=0, last_firing_s=60)}}), FAIL, str(page)
    )
    other = firing("Errors", (20, 25), severity="info")
    expect(replace(check, allowed=frozenset({str(page)})), saw(WATCHDOG, other), FAIL, str(templated))
