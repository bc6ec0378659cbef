from dataclasses import replace

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, notified, phase, replay

from harness.alert import Alert, alerts
from harness.checks import AlertCoverage, AlertDelivered, AlertFires, Quiet, WatchdogUnbroken, judge_all
from harness.checks.alert_coverage import coverage, statuses, worst_first
from harness.history import History

RULES = (("ServiceDown", "critical"), ("HighErrorRate", "critical"), ("Slow", "high"), ("Watchdog", "low"))


def contract(alert, severity="critical", receiver="pagerduty"):
    fires = AlertFires("hang", Alert(alert), severity, 120, 300)
    return fires, AlertDelivered("hang", Alert(alert), severity, receiver, 180, 360)


BOTH = contract("ServiceDown") + contract("HighErrorRate")
GOOD = replay(pending_s=15, firing_s=75, last_firing_s=645, ended_s=1800, fault_end_s=600)


def saw(**replays):
    """Both critical alerts are told to pagerduty; what the replays make of them is given."""
    names = ("ServiceDown", "HighErrorRate")
    return history(
        phase("hang", 10, 60),
        fault("hang", 20, 30),
        replays={"hang": {"ServiceDown": GOOD, "HighErrorRate": GOOD, **replays}},
        notifications=[
            notified(5, "webhook", "firing", "Watchdog"),
            *(notified(22, "pagerduty", "firing", name) for name in names),
            *(notified(32, "pagerduty", "resolved", name) for name in names),
        ],
        series=[firing("Watchdog", (0, 70)), *(firing(name, (21.5, 31.5)) for name in names)],
    )


ALL = AlertCoverage("critical", rules=RULES)
SILENT, UNKNOWN = replay(ended_s=1800, fault_end_s=600), replay(ended_s=60, fault_end_s=50)
DOG = WatchdogUnbroken(phases=("hang",))
LOW = AlertCoverage("low", rules=RULES)
NOISE = Quiet("hang", frozenset({"ServiceDown"}))
NOT_RUN = (("HighErrorRate", "hog cannot run here: this host lacks a cgroup"),)
LACKING = replace(ALL, not_applicable=("HighErrorRate",))
NOT_NOTIFIED = replace(saw(), notifications=[n for n in saw().notifications if n.alerts != ("Watchdog",)])
CASES = [  # (sentence, check, history, verdict, words of its reason, the checks whose results it judges)
    ("every critical alert proven both ways", ALL, saw(), PASS, "2 of 2 proven, 100 %, bound 100 %", BOTH),
    (
        "half is enough where half is asked",
        replace(ALL, at_least=0.5),
        saw(HighErrorRate=SILENT),
        PASS,
        "HighErrorRate SILENT",
        BOTH,
    ),
    (
        "a silent alert",
        ALL,
        saw(HighErrorRate=SILENT),
        FAIL,
        "1 of 2 proven, 50 %, bound 100 %: HighErrorRate SI",
        BOTH,
    ),
    ("an alert no experiment exercises", ALL, saw(), FAIL, "HighErrorRate UNEXERCISED", BOTH[:2]),
    (
        "one that nothing exercises is left out where the reason is given",
        replace(ALL, unproven=(("HighErrorRate", "needs a second region"),)),
        saw(),
        PASS,
        "1 of 1 proven, 100 %, bound 100 %; left out: HighErrorRate (needs a second region)",
        BOTH[:2],
    ),
    (
        "but not one that fails",
        replace(ALL, unproven=(("HighErrorRate", "needs a second region"),)),
        saw(HighErrorRate=SILENT),
        FAIL,
        "1 of 2 proven, 50 %, bound 100 %: HighErrorRate SILENT",
        BOTH,
    ),
    ("an unknown alert", ALL, saw(HighErrorRate=UNKNOWN), INCONCLUSIVE, "HighErrorRate INCONCLUSIVE", BOTH),
    ("only one of the two proofs", ALL, saw(), INCONCLUSIVE, "HighErrorRate INCONCLUSIVE", BOTH[:3]),
    ("another severity", AlertCoverage("high", rules=RULES), saw(), FAIL, "Slow UNEX", BOTH),
    ("an alert that cannot be exercised here is not counted", LACKING, saw(), PASS, "1 of 1 proven", BOTH[:2]),
    ("but it is where it has a contract", LACKING, saw(HighErrorRate=SILENT), FAIL, "HighErrorRate SILENT", BOTH),
    (
        "one whose only experiment could not take place is no success by silence",
        replace(ALL, not_run=NOT_RUN),
        saw(),
        INCONCLUSIVE,
        "1 of 2 proven, 50 %, bound 100 %: HighErrorRate INCONCLUSIVE (hog cannot run here: this host lacks a cgroup)",
        BOTH[:2],
    ),
    (
        "nor where this host could not raise it by itself",
        replace(LACKING, not_run=NOT_RUN),
        saw(),
        INCONCLUSIVE,
        "HighErrorRate INCONCLUSIVE (hog cannot run here",
        BOTH[:2],
    ),
    ("but another experiment proves it", replace(ALL, not_run=NOT_RUN), saw(), PASS, "2 of 2 proven", BOTH),
    ("or shows that it is silent", replace(ALL, not_run=NOT_RUN), saw(HighErrorRate=SILENT), FAIL, "Rate SILENT", BOTH),
    ("or that it is noisy", replace(ALL, not_run=NOT_RUN), saw(), FAIL, "HighErrorRate NOISY", (*BOTH[:2], NOISE)),
    ("less is asked than that", replace(ALL, not_run=NOT_RUN, at_least=0.5), saw(), PASS, "1 of 2 proven", BOTH[:2]),
    (
        "it is left out with a reason",
        replace(ALL, not_run=NOT_RUN, unproven=(("HighErrorRate", "no cgroup in this CI"),)),
        saw(),
        PASS,
        "1 of 1 proven, 100 %, bound 100 %; left out: HighErrorRate (no cgroup in this CI)",
        BOTH[:2],
    ),
    ("a noisy alert is not proven", ALL, saw(), FAIL, "HighErrorRate NOISY", (*BOTH, NOISE)),
    ("the watchdog is proven by firing unbroken and a notification", LOW, saw(), PASS, "1 of 1 proven", (DOG,)),
    ("a watchdog without notification", LOW, replace(saw(), notifications=[]), FAIL, "Watchdog SILENT", (DOG,)),
    ("a watchdog without notification although others have theirs", LOW, NOT_NOTIFIED, FAIL, "Watchdog SI", (DOG,)),
    ("a watchdog that paused", LOW, replace(saw(), series=[firing("Watchdog", (0, 40))]), FAIL, "dog BROKEN", (DOG,)),
    ("a watchdog never seen", LOW, replace(saw(), series=[]), INCONCLUSIVE, "Watchdog INCONCLUSIVE", (DOG,)),
    (
        "no rule of that severity",
        AlertCoverage("medium", rules=RULES),
        saw(),
        INCONCLUSIVE,
        "no alert rule of severity medium",
        BOTH,
    ),
    ("no other check", ALL, saw(), INCONCLUSIVE, "no other check is judged", ()),
    ("no evidence at all", ALL, History(), INCONCLUSIVE, "0 of 2 proven", BOTH),
]


@pytest.mark.parametrize(
    ("check", "record", "verdict", "says", "beside"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_alert_coverage(check, record, verdict, says, beside):
    expect(check, record, verdict, says, beside)


def found(record, checks, rules=RULES):
    return statuses(judge_all(checks, record), record, rules)


def test_statuses_hold_the_timings_in_production_seconds_and_sum_up_by_severity():
    known = found(saw(HighErrorRate=SILENT), (*BOTH, DOG))
    assert {name: one["status"] for name, one in known.items()} == {
        "ServiceDown": "PROVEN", "HighErrorRate": "SILENT", "Slow": "UNEXERCISED", "Watchdog": "PROVEN",
    }  # fmt: skip
    assert known["ServiceDown"] == {
        "severity": "critical", "status": "PROVEN", "proof": "live", "experiments": ["hang"], "timed_in": "hang",
        "pending_s": 15, "firing_s": 75, "last_firing_s": 645, "fault_end_s": 600,
        "notified_s": 120, "live_firing_s": 90, "resolved_notified_s": 120,
    }  # fmt: skip
    assert coverage(known)["critical"] == {"proven": 1, "applicable": 2}


def test_a_failure_in_one_experiment_outweighs_a_proof_in_another():
    elsewhere = tuple(replace(proof, experiment="crash") for proof in contract("ServiceDown"))
    record = saw()
    record.replays["crash"] = {"ServiceDown": SILENT}
    assert found(record, (*contract("ServiceDown"), *elsewhere), RULES[:1])["ServiceDown"]["status"] == "SILENT"


def test_of_several_proofs_of_one_kind_the_worst_counts():
    record = saw()
    results = judge_all(contract("ServiceDown"), record)
    again = [replace(result, verdict=INCONCLUSIVE) for result in results]
    for proofs in ([*results, again[0]], [again[0], *results], [again[1], *results]):
        assert statuses(proofs, record, RULES[:1])["ServiceDown"]["status"] == "INCONCLUSIVE"


def test_no_check_is_judged_twice_for_the_coverage(monkeypatch):
    judged = []
    judge = AlertFires.judge
    monkeypatch.setattr(
        AlertFires, "judge", lambda self, history: judged.append(str(self.alert)) or judge(self, history)
    )
    judge_all([ALL, *BOTH, replace(ALL, severity="low")], saw())
    assert judged == ["ServiceDown", "HighErrorRate"]


def test_of_two_rules_of_one_name_each_has_its_own_status():
    """h01: the critical rule can never fire, the medium one does, and both have a contract."""
    critical, medium = alerts([("Errors", {"severity": "critical"}), ("Errors", {"severity": "medium"})])
    record = history(
        phase("hang", 10, 60),
        fault("hang", 20, 30),
        replays={"hang": {str(critical): SILENT, str(medium): GOOD}},
        notifications=[
            notified(22, "email", "firing", "Errors", severity="medium"),
            notified(32, "email", "resolved", "Errors", severity="medium"),
        ],
        series=[firing("Watchdog", (0, 70)), firing("Errors", (21.5, 31.5), severity="medium")],
    )
    proofs = [
        proof
        for alert, severity, receiver in ((critical, "critical", "pagerduty"), (medium, "medium", "email"))
        for proof in (
            AlertFires("hang", alert, severity, 120, 300),
            AlertDelivered("hang", alert, severity, receiver, 180, 360),
        )
    ]
    rules = [(str(critical), "critical"), (str(medium), "medium")]
    known = found(record, proofs, rules)
    assert {key: one["status"] for key, one in known.items()} == {str(critical): "SILENT", str(medium): "PROVEN"}
    assert known[str(medium)]["notified_s"] == 120 and "notified_s" not in known[str(critical)]
    assert coverage(known) == {"critical": {"proven": 0, "applicable": 1}, "medium": {"proven": 1, "applicable": 1}}
    for check in proofs[:2]:
        assert check.judge(record).verdict is FAIL
    expect(AlertCoverage("critical", rules=tuple(rules)), record, FAIL, "0 of 1 proven", proofs)


def test_a_rule_whose_severity_is_a_template_is_proven_by_a_contract_about_any_value_of_it():
    rules = [("ServiceDown", "template")]
    assert found(saw(), contract("ServiceDown", "critical"), rules)["ServiceDown"]["status"] == "PROVEN"
    assert coverage(found(saw(), contract("ServiceDown"), rules)) == {"template": {"proven": 1, "applicable": 1}}


def test_severities_are_counted_by_the_words_of_the_rules_the_worst_first():
    words = ["none", "ticket", "template", "P3", "page", "Warning", "info", "critical", "ticket"]
    ordered = ["critical", "page", "Warning", "ticket", "info", "P3", "none", "template"]
    assert worst_first(words) == ordered
    rules = [(f"A{n}", word) for n, word in enumerate(words)]
    tally = coverage(statuses([], history(), rules))
    assert list(tally) == ordered and tally["ticket"] == {"proven": 0, "applicable": 2}
