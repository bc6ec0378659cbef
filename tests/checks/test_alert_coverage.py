from dataclasses import replace

from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, phase, replay, table, told

from harness.checks import AlertCoverage, AlertDelivered, AlertFires, Quiet, WatchdogUnbroken
from harness.checks.alert_coverage import coverage, statuses
from harness.history import History

RULES = (("ServiceDown", "critical"), ("HighErrorRate", "critical"), ("Slow", "high"), ("Watchdog", "low"))


def contract(alert, severity="critical", receiver="pagerduty"):
    fires = AlertFires("hang", alert, severity, 120, 300)
    return fires, AlertDelivered("hang", alert, severity, receiver, 120, 300, group_wait_s=10, group_interval_s=10)


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
            told(5, "webhook", "firing", "Watchdog"),
            *(told(22, "pagerduty", "firing", name) for name in names),
            *(told(32, "pagerduty", "resolved", name) for name in names),
        ],
        series=[firing("Watchdog", (0, 70)), *(firing(name, (21.5, 31.5)) for name in names)],
    )


ALL = AlertCoverage("critical", contracts=BOTH, rules=RULES)
SILENT, UNKNOWN = replay(ended_s=1800, fault_end_s=600), replay(ended_s=60, fault_end_s=50)
DOG = WatchdogUnbroken(phases=("hang",))
LOW = AlertCoverage("low", rules=RULES, watchdog=DOG)
CASES = [
    ("every critical alert proven both ways", ALL, saw(), PASS, "2 of 2 proven, 100 %, bound 100 %"),
    (
        "half is enough where half is asked",
        replace(ALL, at_least=0.5),
        saw(HighErrorRate=SILENT),
        PASS,
        "HighErrorRate SILENT",
    ),
    ("a silent alert", ALL, saw(HighErrorRate=SILENT), FAIL, "1 of 2 proven, 50 %, bound 100 %: HighErrorRate SILENT"),
    ("an alert no experiment exercises", replace(ALL, contracts=BOTH[:2]), saw(), FAIL, "HighErrorRate UNEXERCISED"),
    ("an alert of which nobody knows", ALL, saw(HighErrorRate=UNKNOWN), INCONCLUSIVE, "HighErrorRate INCONCLUSIVE"),
    ("only one of the two proofs", replace(ALL, contracts=BOTH[:3]), saw(), INCONCLUSIVE, "HighErrorRate INCONCLUSIVE"),
    (
        "a contract of another severity",
        AlertCoverage("high", contracts=contract("Slow"), rules=RULES),
        saw(),
        FAIL,
        "Slow UNEX",
    ),
    (
        "an alert that cannot be exercised here is not counted",
        replace(ALL, contracts=BOTH[:2], not_applicable=("HighErrorRate",)),
        saw(),
        PASS,
        "1 of 1 proven",
    ),
    (
        "a noisy alert is not proven",
        replace(ALL, quiet=(Quiet("hang", frozenset({"ServiceDown"})),)),
        saw(),
        FAIL,
        "HighErrorRate NOISY",
    ),
    ("the watchdog is proven by firing unbroken and being told", LOW, saw(), PASS, "1 of 1 proven"),
    ("a watchdog of which nobody was told", LOW, replace(saw(), notifications=[]), FAIL, "Watchdog SILENT"),
    (
        "a watchdog of which nobody was told although of others they were",
        LOW,
        replace(saw(), notifications=[n for n in saw().notifications if n.alerts != ("Watchdog",)]),
        FAIL,
        "Watchdog SILENT",
    ),
    ("a watchdog that paused", LOW, replace(saw(), series=[firing("Watchdog", (0, 40))]), FAIL, "Watchdog BROKEN"),
    ("a watchdog never seen", LOW, replace(saw(), series=[]), INCONCLUSIVE, "Watchdog INCONCLUSIVE"),
    (
        "no rule of that severity",
        AlertCoverage("medium", rules=RULES),
        saw(),
        INCONCLUSIVE,
        "no alert rule of severity medium",
    ),
    ("no evidence at all", ALL, History(), INCONCLUSIVE, "0 of 2 proven"),
]


@table(CASES)
def test_alert_coverage(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_statuses_hold_the_timings_in_production_seconds_and_sum_up_by_severity():
    found = statuses(saw(HighErrorRate=SILENT), RULES, BOTH, watchdog=DOG)
    assert {name: one["status"] for name, one in found.items()} == {
        "ServiceDown": "PROVEN", "HighErrorRate": "SILENT", "Slow": "UNEXERCISED", "Watchdog": "PROVEN",
    }  # fmt: skip
    assert found["ServiceDown"] == {
        "severity": "critical", "status": "PROVEN", "experiments": ["hang"], "timed_in": "hang",
        "pending_s": 15, "firing_s": 75, "last_firing_s": 645, "fault_end_s": 600, "told_s": 120, "told_over_s": 120,
    }  # fmt: skip
    assert coverage(found)["critical"] == {"proven": 1, "applicable": 2}


def test_a_failure_in_one_experiment_outweighs_a_proof_in_another():
    elsewhere = tuple(replace(proof, experiment="crash") for proof in contract("ServiceDown"))
    record = saw()
    record.replays["crash"] = {"ServiceDown": SILENT}
    found = statuses(record, RULES[:1], (*contract("ServiceDown"), *elsewhere))
    assert found["ServiceDown"]["status"] == "SILENT"
