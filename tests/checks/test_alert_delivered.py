from dataclasses import replace

from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, notified, phase, replay, restart, table

from harness.alert import Alert, alerts
from harness.checks import AlertDelivered
from harness.eventlog import Event

# Bounds in gate seconds: firing 3, over 6; what is nearer to one than 0.5 is not told from it
DOWN_RULE = Alert("ServiceDown", (("severity", "critical"),))
CALL = AlertDelivered("hang", DOWN_RULE, "critical", "pagerduty", 180, 360, place="am.yaml:9")
EVENTS = (phase("hang", 10, 60), fault("hang", 20, 30))
FIRING, OVER = notified(22, "pagerduty", "firing", "ServiceDown"), notified(32, "pagerduty", "resolved", "ServiceDown")
WATCHDOG, DOWN = firing("Watchdog", (0, 60)), firing("ServiceDown", (21.5, 31.5), severity="critical")


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
        "pagerduty was notified after 2 min (bound 3 min), and of its resolution 2 min after the effect (bound 6 min)",
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
        "of its resolution 10 min after the effect (bound 6 min)",
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
        sent(FIRING, series=[WATCHDOG, firing("ServiceDown", (21.5, 60), severity="critical")]),
        FAIL,
        "still firing live 30 min after the effect",
    ),
    (
        "notified so near to the bound that the live copy cannot tell",
        CALL,
        sent(FIRING._replace(at=23.25), OVER),
        INCONCLUSIVE,
        "after 3 min 15 s (bound 3 min), nearer than the 30 s that a scrape and an evaluation leave open",
    ),
    (
        "nearer to the bound on its other side",
        CALL,
        sent(FIRING._replace(at=22.75), OVER),
        INCONCLUSIVE,
        "after 2 min 45 s (bound 3 min), nearer than the 30 s",
    ),
    ("not so near any more", CALL, sent(FIRING._replace(at=22.5), OVER), PASS, "after 2 min 30 s (bound 3 min)"),
    (
        "notified of the resolution so near to the bound that the live copy cannot tell",
        CALL,
        sent(FIRING, OVER._replace(at=36.25)),
        INCONCLUSIVE,
        "6 min 15 s after the effect (bound 6 min), nearer than the 30 s",
    ),
    (
        "pending before the fault began, yet in time either way",
        replace(CALL, notified_within_s=210),
        sent(
            FIRING, OVER, series=[WATCHDOG, DOWN, firing("ServiceDown", (19, 21), severity="critical", state="pending")]
        ),
        PASS,
        "after 2 min (bound 3 min 30 s), and at most 3 min had it not",
    ),
    (
        "pending for so long before the fault that it may be slower than it seems",
        CALL,
        sent(
            FIRING, OVER, series=[WATCHDOG, DOWN, firing("ServiceDown", (17, 21), severity="critical", state="pending")]
        ),
        INCONCLUSIVE,
        "and at most 5 min had it not been pending before the fault began",
    ),
    (
        "pending and over before the fault began",
        CALL,
        sent(
            FIRING, OVER, series=[WATCHDOG, DOWN, firing("ServiceDown", (5, 19), severity="critical", state="pending")]
        ),
        PASS,
        "after 2 min (bound 3 min), and of its resolution",
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
        sent(series=[WATCHDOG, firing("ServiceDown", (65, 70), severity="critical")]),
        FAIL,
        "never fired live",
    ),
    (
        "an alert that still fires live where the phase ends early",
        CALL,
        sent(FIRING, events=short(33), series=[WATCHDOG, firing("ServiceDown", (21.5, 33), severity="critical")]),
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
        sent(FIRING, OVER, series=[firing("ServiceDown", (15, 31), severity="critical")]),
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
    begun = {"live_firing_s": 90, "notified_s": 120}
    assert CALL.timings(sent(FIRING, OVER)) == {**begun, "resolved_notified_s": 120}
    assert CALL.timings(sent(FIRING)) == begun
    assert CALL.timings(sent()) == CALL.timings(history()) == {}
    assert CALL.timings(sent(FIRING, OVER, events=(*EVENTS, restart(24)))) == begun


# h04: the route of the critical alert waits 5 min before it tells of a group, and 15 min between two news of one
OWN_ROUTE = replace(CALL, route="am.yaml:9", group_wait_s=300, group_interval_s=900, resolved_notified_within_s=1020)
LONG = (phase("hang", 10, 80), fault("hang", 20, 40))
HELD = firing("ServiceDown", (21.5, 41.5), severity="critical")
WAITED = [FIRING._replace(at=26.5), OVER._replace(at=50.5)]


def waited(*messages):
    return sent(*messages, events=LONG, series=[WATCHDOG, HELD])


@table(
    [
        (
            "a route that waits longer than the contract is late, and named",
            OWN_ROUTE,
            waited(*WAITED),
            FAIL,
            "after 6 min 30 s (bound 3 min); it fired live after 1 min 30 s; its route (am.yaml:9) waits 5 min",
        ),
        (
            "a contract that allows for the wait",
            replace(OWN_ROUTE, notified_within_s=540),
            waited(*WAITED),
            PASS,
            "after 6 min 30 s (bound 9 min), and of its resolution 10 min 30 s after the effect (bound 17 min)",
        ),
        (
            "a route whose interval is longer than the contract allows",
            replace(OWN_ROUTE, notified_within_s=540, resolved_notified_within_s=300),
            waited(*WAITED),
            FAIL,
            "after the effect (bound 5 min); its route (am.yaml:9) sends what changes in a group every 15 min",
        ),
        (
            "a rule that is late itself blames no route",
            OWN_ROUTE,
            sent(*WAITED, events=LONG, series=[WATCHDOG, firing("ServiceDown", (30, 41.5), severity="critical")]),
            FAIL,
            "(bound 3 min); it fired live after 10 min",
        ),
        (
            "a route that waits longer than the phase lasted",
            replace(OWN_ROUTE, group_wait_s=7200),
            waited(),
            FAIL,
            "never notified (bound 3 min); its route (am.yaml:9) waits 2 h",
        ),
        (
            "a route that waits longer than the alert fired",
            replace(OWN_ROUTE, group_wait_s=1500),
            waited(),
            FAIL,
            "never notified (bound 3 min); its route (am.yaml:9) waits 25 min",
        ),
        (
            "another receiver, notified sooner by a route of its own, is no wrong one",
            replace(OWN_ROUTE, group_wait_s=7200),
            waited(notified(22, "slack", "firing", "ServiceDown")),
            FAIL,
            "pagerduty was never notified (bound 3 min); its route (am.yaml:9) waits 2 h",
        ),
        (
            "nor where the phase ends before the receiver was due",
            replace(OWN_ROUTE, notified_within_s=7200),
            waited(notified(22, "slack", "firing", "ServiceDown")),
            INCONCLUSIVE,
            "had not been notified when the phase ended",
        ),
        (
            "but it is where nothing keeps the receiver waiting",
            OWN_ROUTE,
            waited(notified(22, "slack", "firing", "ServiceDown")),
            FAIL,
            "slack was notified after 2 min instead of pagerduty",
        ),
        (
            "without a bound its end is not judged",
            replace(OWN_ROUTE, notified_within_s=540, resolved_notified_within_s=None),
            waited(WAITED[0]),
            PASS,
            "(bound 9 min); its resolution is not judged",
        ),
        (
            "but an end that comes before that of the fault is",
            replace(OWN_ROUTE, notified_within_s=540, resolved_notified_within_s=None),
            waited(WAITED[0], OVER._replace(at=35)),
            FAIL,
            "of its resolution, 5 min before the fault ended",
        ),
        (
            "a fault without an end leaves a resolution open that nobody judges",
            replace(CALL, resolved_notified_within_s=None),
            sent(FIRING, events=(*EVENTS, restart(24))),
            PASS,
            "not judged",
        ),
    ]
)
def test_the_contract_alone_is_the_bound_and_what_the_own_route_waits_is_the_cause(check, record, verdict, says):
    expect(check, record, verdict, says)


# h08: one receiver, three integrations; Slack's first has a template that fails, its second a channel that is none
ALL_OF = replace(CALL, receiver="on-call", integrations=(("pagerduty", True), ("slack[0]", True), ("slack[1]", False)))


def by(integration, at=22, status="firing", problems=()):
    return notified(at, "on-call", status, "ServiceDown", problems, integration, severity="critical")


PAGED, PAGED_OVER = by("pagerduty"), by("pagerduty", 32, "resolved")
ONE_OVER, NO_CHANNEL = by("slack[0]", 32, "resolved"), by("slack[1]", problems=["channel_not_found: ' alerts'"])
EACH = [
    (
        "every integration notified, and those that send it of the end",
        ALL_OF,
        sent(PAGED, by("slack[0]", 22.5), by("slack[1]"), PAGED_OVER, ONE_OVER),
        PASS,
        "on-call was notified after 2 min 30 s (bound 3 min), and of its resolution 2 min",
    ),
    (
        "an integration that never was notified",
        ALL_OF,
        sent(PAGED, by("slack[1]"), PAGED_OVER),
        FAIL,
        "on-call was notified after 2 min (bound 3 min); by slack[0] it never was",
    ),
    (
        "an integration that refused the message",
        ALL_OF,
        sent(PAGED, by("slack[0]"), NO_CHANNEL, PAGED_OVER, ONE_OVER),
        FAIL,
        "; slack[1] would not have taken it: channel_not_found: ' alerts'",
    ),
    (
        "one that never was and one that refused, as in h08",
        ALL_OF,
        sent(PAGED, NO_CHANNEL, PAGED_OVER),
        FAIL,
        "by slack[0] it never was; slack[1] would not have taken it: channel_not_found",
    ),
    (
        "an integration that was notified too late",
        ALL_OF,
        sent(PAGED, by("slack[0]", 25), by("slack[1]"), PAGED_OVER, ONE_OVER),
        FAIL,
        "on-call was notified after 5 min (bound 3 min)",
    ),
    (
        "an integration that sends resolutions and sent none",
        ALL_OF,
        sent(PAGED, by("slack[0]"), by("slack[1]"), PAGED_OVER),
        FAIL,
        "but never of its resolution by slack[0]: the alert stopped firing 28 min 30 s before the end",
    ),
    (
        "a phase that ends before the last integration was due",
        ALL_OF,
        sent(PAGED, by("slack[1]"), events=short(23)),
        INCONCLUSIVE,
        "by slack[0] it was not yet when the phase ended",
    ),
    (
        "no integration that sends resolutions where the contract bounds them",
        replace(ALL_OF, integrations=(("slack", False),)),
        sent(by("slack")),
        FAIL,
        "but never of its resolution (bound 6 min): no integration of on-call sends any",
    ),
]


@table(EACH)
def test_every_integration_of_the_receiver_is_notified(check, record, verdict, says):
    expect(check, record, verdict, says)


A, B = {"severity": "critical", "instance": "a"}, {"severity": "critical", "instance": "b"}


def told_of(labels, at, status):
    return notified(at, "pagerduty", status, "ServiceDown", **labels)


EACH_ALONE = replace(CALL, group_by=("...",))
BOTH = [notified(22, "pagerduty", "firing", "ServiceDown", **labels) for labels in (A, B)]


@table(
    [
        (
            "over when the last instance is",
            EACH_ALONE,
            sent(*BOTH, told_of(B, 32, "resolved"), told_of(A, 34, "resolved")),
            PASS,
            "of its resolution 4 min after the effect",
        ),
        (
            "an instance of which nobody hears that it is over",
            EACH_ALONE,
            sent(*BOTH, told_of(B, 32, "resolved")),
            FAIL,
            "never of its resolution: the alert stopped firing 28 min",
        ),
        (
            "an instance that goes on firing",
            EACH_ALONE,
            sent(
                *BOTH, told_of(B, 32, "resolved"),
                series=[WATCHDOG, firing("ServiceDown", (21.5, 60), **A), firing("ServiceDown", (21.75, 31), **B)],
            ),
            FAIL,
            "the alert was still firing live 30 min after the effect",
        ),
        (
            "an instance over during the fault while another fires",
            EACH_ALONE,
            sent(*BOTH, told_of(B, 25, "resolved"), told_of(A, 32, "resolved")),
            PASS,
            "of its resolution 2 min after the effect",
        ),
        (
            "one that was inhibited meanwhile is over with its group, which no longer names it",
            replace(CALL, group_by=("alertname",)),
            sent(told_of(A, 22, "firing"), told_of(B, 23, "firing"), told_of(B, 32, "resolved")),
            PASS,
            "of its resolution 2 min after the effect",
        ),
        (
            "one of a group that fires on",
            replace(CALL, group_by=("alertname",)),
            sent(*BOTH, told_of(A, 32, "firing"), told_of(B, 32, "resolved")),
            FAIL,
            "but never of its resolution",
        ),
        (
            "one that comes again is over when it is over again",
            CALL,
            sent(FIRING, OVER, FIRING._replace(at=37), OVER._replace(at=40)),
            FAIL,
            "of its resolution 10 min after the effect (bound 6 min)",
        ),
    ]
)  # fmt: skip
def test_an_alert_is_over_when_all_its_instances_are(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_a_failure_names_the_alert_that_may_have_inhibited_it():
    cause = replace(CALL, inhibiting=((Alert("NodeDown"), "am.yaml:32"), (Alert("Other"), "am.yaml:40")))
    record = sent(series=[WATCHDOG, DOWN, firing("NodeDown", (20, 30))])
    expect(cause, record, FAIL, "never notified (bound 3 min); NodeDown fired too, which inhibits it (am.yaml:32)")
    assert "Other" not in cause.judge(record).reason
    assert "inhibits" not in cause.judge(sent()).reason


def test_a_failure_names_the_metric_that_no_sample_is_there_of():
    record = replace(sent(series=[WATCHDOG]), replays={"hang": {"ServiceDown": replay(blind=["up"])}})
    expect(CALL, record, FAIL, "was never notified (bound 3 min); no sample of up, which its rule reads, is in the rec")


def test_times_that_mute_the_route_in_production_are_said():
    expect(replace(CALL, intervals=("nights",)), sent(FIRING, OVER), PASS, "nights, which in production mutes its rout")


def test_why_an_integration_was_never_notified_is_said_where_alertmanager_does():
    about = {"experiment": "hang", "receiver": "on-call", "integration": "slack[0]", "reason": 'no template "house"'}
    gave_up = Event(22, "alertmanager", "not-notified", "fail", detail=about)
    record = sent(PAGED, by("slack[1]"), PAGED_OVER, events=(*EVENTS, gave_up))
    expect(ALL_OF, record, FAIL, 'by slack[0] it never was (no template "house")')
    by_none = sent(events=(*EVENTS, gave_up))
    expect(ALL_OF, by_none, FAIL, 'on-call was never notified (bound 3 min) (no template "house")')


def test_of_the_integrations_the_status_says_what_was_wrong():
    found = {case[0].split(" that ")[-1]: case[1].judge(case[2]).status for case in EACH[1:6] if "h08" not in case[0]}
    assert found == {
        "never was notified": "SILENT",
        "refused the message": "REJECTED",
        "was notified too late": "LATE",
        "sends resolutions and sent none": "UNRESOLVED",
    }


# Two rules of one name, as in h01, and one whose severity is a template, as in h10
CRITICAL, MEDIUM = alerts([("Errors", {"severity": "critical"}), ("Errors", {"severity": "medium"})])
(DISK,) = alerts([("Disk", {"severity": "{{ if gt $value 0.9 }}critical{{ else }}high{{ end }}"})])
OF_CRITICAL = replace(CALL, alert=CRITICAL)
OF_DISK = replace(CALL, alert=DISK, templated=True)


def saw(severity, name="Errors", receiver="pagerduty", labels=True):
    known = {"severity": severity, "cluster": "prod"} if labels else {}
    messages = [notified(at, receiver, status, name, **known) for at, status in ((22, "firing"), (32, "resolved"))]
    return sent(*messages, series=[WATCHDOG, firing(name, (21.5, 31.5), severity=severity)])


@table(
    [
        ("the rule's own alert", OF_CRITICAL, saw("critical"), PASS, "notified after 2 min"),
        ("another rule of the name", OF_CRITICAL, saw("medium"), FAIL, "never fired live in 40 min"),
        (
            "another rule of the name to another receiver is no misrouting",
            OF_CRITICAL,
            saw("medium", receiver="email"),
            FAIL,
            "pagerduty was never notified",
        ),
        ("and the other way round", replace(OF_CRITICAL, alert=MEDIUM), saw("medium"), PASS, "after 2 min"),
        (
            "a message that does not show from which rule it is",
            OF_CRITICAL,
            saw("critical", labels=False),
            INCONCLUSIVE,
            "a message about an alert Errors, but without its labels",
        ),
        ("the severity that a template should give", OF_DISK, saw("critical", "Disk"), PASS, "after 2 min"),
        (
            "another severity than the template should give",
            OF_DISK,
            saw("high", "Disk", "slack"),
            FAIL,
            "fired live with severity high, and the contract expects critical; at most 0",
        ),
        (
            "no replay compares a severity",
            replace(OF_DISK, refused=("increase() counts",), proof="replay"),
            sent(),
            INCONCLUSIVE,
            "no replay shows whether its severity, a template, is critical",
        ),
        (
            "a label that only other rules of the name have may be changed on the way",
            replace(OF_CRITICAL, rewritten=("severity",)),
            saw("critical"),
            INCONCLUSIVE,
            "Prometheus may change severity",
        ),
        (
            "the severity of a template may be changed on the way",
            replace(OF_DISK, rewritten=("severity",)),
            saw("critical", "Disk"),
            INCONCLUSIVE,
            "Prometheus may change severity",
        ),
        (
            "a changed label of a rule whose name is its own is no matter",
            replace(CALL, rewritten=("severity",)),
            replace(saw("P1", "ServiceDown"), series=[WATCHDOG, DOWN]),
            PASS,
            "after 2 min",
        ),
        (
            "but its changed name is",
            replace(CALL, rewritten=("alertname",)),
            saw("critical", "ServiceDown"),
            INCONCLUSIVE,
            "Prometheus may change alertname",
        ),
    ]
)
def test_rules_of_one_name_are_told_apart_by_their_labels(check, record, verdict, says):
    expect(check, record, verdict, says.partition("; at most")[0])


# Two rules of one name, one of which gives by a template what the other gives as text
TEMPLATED, FIXED = alerts([("Errors", {"severity": "{{ $labels.level }}"}), ("Errors", {"severity": "critical"})])
SAME = {"severity": "critical"}
BY_EITHER = {
    "notifications": [notified(22, "pagerduty", "firing", "Errors", **SAME)],
    "series": [WATCHDOG, firing("Errors", (21.5, 31.5), **SAME)],
}
FIXED_CALL = replace(CALL, alert=FIXED, resolved_notified_within_s=None)
TEMPLATED_CALL = replace(FIXED_CALL, alert=TEMPLATED, templated=True)


@table(
    [
        (
            "an alert that may be of either rule where nothing is known of the other",
            FIXED_CALL,
            history(*EVENTS, **BY_EITHER),
            INCONCLUSIVE,
            'may be of Errors{severity="critical"} and Errors{severity="{{...}}"}, whose labels may be the same',
        ),
        (
            "the other fires in its replay",
            FIXED_CALL,
            history(*EVENTS, **BY_EITHER, replays={"hang": {str(TEMPLATED): replay(firing_s=60)}}),
            INCONCLUSIVE,
            "may be of",
        ),
        (
            "the other is silent in its replay",
            FIXED_CALL,
            history(*EVENTS, **BY_EITHER, replays={"hang": {str(TEMPLATED): replay()}}),
            PASS,
            "after 2 min",
        ),
        (
            "the one by a template where the other is silent",
            TEMPLATED_CALL,
            history(*EVENTS, **BY_EITHER, replays={"hang": {str(FIXED): replay()}}),
            PASS,
            "after 2 min",
        ),
        (
            "another text of the template is of that alone",
            replace(TEMPLATED_CALL, severity="high"),
            history(
                *EVENTS,
                notifications=[notified(22, "pagerduty", "firing", "Errors", severity="high")],
                series=[WATCHDOG, firing("Errors", (21.5, 31.5), severity="high")],
            ),
            PASS,
            "after 2 min",
        ),
    ]
)
def test_an_alert_of_which_nobody_can_tell_the_rule_proves_none(check, record, verdict, says):
    expect(check, record, verdict, says)
