from dataclasses import replace

from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, notified, phase, restart, table

from harness.checks import AlertDelivered

# Bounds in gate seconds: firing 120/60 + 10/60 + 2 = 4.2, over 300/60 + 10/60 + 2 = 7.2
CALL = AlertDelivered(
    "hang", "ServiceDown", "critical", "pagerduty", 120, 300, place="am.yaml:9", group_wait_s=10, group_interval_s=10
)
EVENTS = (phase("hang", 10, 60), fault("hang", 20, 30))
FIRING, OVER = notified(22, "pagerduty", "firing", "ServiceDown"), notified(32, "pagerduty", "resolved", "ServiceDown")
WATCHDOG, DOWN = firing("Watchdog", (0, 60)), firing("ServiceDown", (21.5, 31.5))


def sent(*messages, events=EVENTS, series=(WATCHDOG, DOWN)):
    return history(*events, notifications=messages, series=series)


def short(end):
    return phase("hang", 10, end), fault("hang", 20, 30)


REJECTED = notified(22, "pagerduty", "firing", "ServiceDown", ["payload.severity is 'page'"])
CASES = [
    (
        "the receiver notified in time, and of the resolution",
        CALL,
        sent(FIRING, OVER),
        PASS,
        "pagerduty was notified after 2 min (bound",
    ),
    (
        "nobody notified of an alert that fired",
        CALL,
        sent(),
        FAIL,
        "fired live after 1 min 30 s, but pagerduty was never notified",
    ),
    ("an alert that never fired live", CALL, sent(series=[WATCHDOG]), FAIL, "never fired live in 40 min"),
    (
        "another receiver notified",
        CALL,
        sent(notified(22, "slack", "firing", "ServiceDown")),
        FAIL,
        "slack was notified after 2 min instead",
    ),
    (
        "notified too late",
        CALL,
        sent(notified(24.5, "pagerduty", "firing", "ServiceDown"), OVER),
        FAIL,
        "notified after 4 min 30 s",
    ),
    (
        "a message the real receiver refuses",
        CALL,
        sent(REJECTED, OVER),
        FAIL,
        "would not have taken it: payload.severity is",
    ),
    (
        "never notified of the resolution",
        CALL,
        sent(FIRING),
        FAIL,
        "but never of its resolution: the alert stopped firing 28 min",
    ),
    (
        "notified of the resolution much too late",
        CALL,
        sent(FIRING, OVER._replace(at=40)),
        FAIL,
        "of its resolution 10 min after the effect (bound 7 min 10 s)",
    ),
    (
        "notified of a resolution that is none",
        CALL,
        sent(FIRING, OVER._replace(at=25), OVER),
        FAIL,
        "of its resolution, 5 min",
    ),
    (
        "an alert that goes on firing live",
        CALL,
        sent(FIRING, series=[WATCHDOG, firing("ServiceDown", (21.5, 60))]),
        FAIL,
        "still firing live 30 min after the effect",
    ),
    (
        "group_wait and delivery count on top of the contract",
        CALL,
        sent(FIRING._replace(at=24), OVER),
        PASS,
        "after 4 min (b",
    ),
    (
        "pending before the fault began, yet in time either way",
        CALL,
        sent(FIRING, OVER, series=[WATCHDOG, DOWN, firing("ServiceDown", (19, 21), state="pending")]),
        PASS,
        "after 2 min (bound 4 min 10 s: contract 2 min, group_wait 10 s, delivery 2 min), and at most 3 min had it not",
    ),
    (
        "pending for so long before the fault that it may be slower than it seems",
        CALL,
        sent(FIRING, OVER, series=[WATCHDOG, DOWN, firing("ServiceDown", (17, 21), state="pending")]),
        INCONCLUSIVE,
        "and at most 5 min had it not been pending before the fault began",
    ),
    (
        "pending and over before the fault began",
        CALL,
        sent(FIRING, OVER, series=[WATCHDOG, DOWN, firing("ServiceDown", (5, 19), state="pending")]),
        PASS,
        "2 min), and of its resolution",
    ),
    (
        "only the resolution notified, and to another receiver",
        CALL,
        sent(notified(32, "slack", "resolved", "ServiceDown")),
        FAIL,
        "fired live after 1 min 30 s, but pagerduty was never notified",
    ),
    (
        "an alert that fires live only in a later experiment",
        CALL,
        sent(series=[WATCHDOG, firing("ServiceDown", (65, 70))]),
        FAIL,
        "never fired live",
    ),
    (
        "an alert that still fires live where the phase ends early",
        CALL,
        sent(FIRING, events=short(33), series=[WATCHDOG, firing("ServiceDown", (21.5, 33))]),
        INCONCLUSIVE,
        "before its resolution was due",
    ),
    (
        "a message about another alert",
        CALL,
        sent(notified(22, "pagerduty", "firing", "Other")),
        FAIL,
        "was never notified",
    ),
    (
        "a message from before the fault",
        CALL,
        sent(FIRING._replace(at=19), series=[WATCHDOG]),
        FAIL,
        "pagerduty was never notified",
    ),
    (
        "firing live before the fault proves nothing",
        CALL,
        sent(FIRING, OVER, series=[firing("ServiceDown", (15, 31))]),
        INCONCLUSIVE,
        "already firing live",
    ),
    (
        "a phase that ends before the resolution was due",
        CALL,
        sent(events=short(23)),
        INCONCLUSIVE,
        "when the phase ended, 3 min",
    ),
    (
        "a phase that ends before its resolution was due",
        CALL,
        sent(FIRING, events=short(33)),
        INCONCLUSIVE,
        "before its resolution was due",
    ),
    (
        "a service that never got ready again",
        CALL,
        sent(FIRING, OVER, events=(*EVENTS, restart(24))),
        INCONCLUSIVE,
        "the effect of the fault never ended",
    ),
    ("no alert recorded at all", CALL, sent(series=()), INCONCLUSIVE, "recorded no alerts at all"),
    ("no fault recorded", CALL, sent(FIRING, OVER, events=EVENTS[:1]), INCONCLUSIVE, "no fault is recorded"),
    ("no phase recorded", CALL, sent(FIRING, OVER, events=EVENTS[1:]), INCONCLUSIVE, "does not hold the phase"),
    (
        "a rule that cannot run compressed",
        replace(CALL, refused=("increase() counts, and counts shrink",)),
        sent(FIRING, OVER),
        INCONCLUSIVE,
        "no compressed copy of the rule ran live: increase()",
    ),
    (
        "a contract that accepts the replay alone says 1 proof is enough",
        replace(CALL, refused=("window of 4 min is under 4 scrapes",), proof="replay"),
        sent(),
        PASS,
        "proven by replay alone",
    ),
]


@table(CASES)
def test_alert_delivered(check, record, verdict, says):
    result = expect(check, record, verdict, says)
    assert result.place == "am.yaml:9"


def test_the_status_names_how_it_failed():
    records = {
        "PROVEN": sent(FIRING, OVER),
        "SILENT": sent(),
        "MISROUTED": sent(notified(22, "slack", "firing", "ServiceDown")),
        "REJECTED": sent(REJECTED, OVER),
        "UNRESOLVED": sent(FIRING),
        "FALSE-RESOLVED": sent(FIRING, OVER._replace(at=25)),
        "LATE": sent(FIRING._replace(at=26), OVER),
    }
    assert {CALL.judge(record).status: record for record in records.values()} == records


def test_a_missing_all_clear_names_the_setting_that_sends_it():
    assert "send_resolved" in CALL.judge(sent(FIRING)).remedy


def test_the_timings_are_those_that_are_known():
    assert CALL.timings(sent(FIRING, OVER)) == {"told_s": 120, "told_over_s": 120}
    assert CALL.timings(sent(FIRING)) == {"told_s": 120}
    assert CALL.timings(sent()) == CALL.timings(history()) == {}
    assert CALL.timings(sent(FIRING, OVER, events=(*EVENTS, restart(24)))) == {"told_s": 120}
