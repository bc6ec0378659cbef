from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, phase, table

from harness.checks import WatchdogUnbroken

EVENTS = (phase("steady", 10, 40), phase("sham", 45, 60))
WATCHDOG = WatchdogUnbroken(phases=("steady", "sham"))


def saw(*spans, events=EVENTS, more=()):
    return history(*events, *more, series=[firing("Watchdog", *spans)] if spans else [])


CASES = [
    (
        "one span over all phases",
        WATCHDOG,
        saw((1, 70)),
        PASS,
        "Watchdog fired unbroken for 45 s, longest pause 0 s (bound",
    ),
    ("one evaluation missed is no pause", WATCHDOG, saw((1, 30), (30.5, 70)), PASS, "longest pause 0 s"),
    ("a pause within a phase", WATCHDOG, saw((1, 30), (35, 70)), FAIL, "paused for 5 s of 45 s, bound 750 ms"),
    ("a pause between phases is not judged", WATCHDOG, saw((1, 41), (44, 70)), PASS, "longest pause 0 s"),
    ("a late beginning", WATCHDOG, saw((12, 70)), FAIL, "paused for 2 s"),
    ("an early end", WATCHDOG, saw((1, 58)), FAIL, "paused for 2 s"),
    ("a watchdog that never fired", WATCHDOG, saw(), INCONCLUSIVE, "Watchdog never fired in 45 s"),
    ("a watchdog that fired only before", WATCHDOG, saw((1, 9)), INCONCLUSIVE, "Watchdog never fired in 45 s"),
    ("a phase that was not recorded", WATCHDOG, saw((1, 70), events=EVENTS[:1]), INCONCLUSIVE, "the phase 'sham'"),
    ("no rule that always fires", WatchdogUnbroken("", ("steady",)), saw((1, 70)), INCONCLUSIVE, "no rule of the serv"),
    ("no phase at all", WatchdogUnbroken(phases=()), saw((1, 70)), INCONCLUSIVE, "no phase is judged"),
]

# in sham, from 45 s to 60 s, Prometheus is killed at 50 s and is back at 52 s; the contract allows 4 s
KILLED = [e._replace(detail=e.detail | {"component": "prometheus"}) for e in fault("sham", 50, 52, "kill")]
ALLOWED = WatchdogUnbroken(phases=("steady", "sham"), may_miss=(("sham", 4.0),))
CASES += [
    ("silent with Prometheus", ALLOWED, saw((1, 50), (53, 70), more=KILLED), PASS, "silent in sham for 3 s, as its"),
    ("silent for longer", ALLOWED, saw((1, 50), (55, 70), more=KILLED), FAIL, "paused for 5 s of 45 s, bound 750 ms"),
    ("silent before", ALLOWED, saw((1, 46), (48, 70), more=KILLED), FAIL, "paused for 2 s of 45 s, bound 750 ms"),
    ("silent again after", ALLOWED, saw((1, 50), (53, 55), (57, 70), more=KILLED), FAIL, "paused for 2 s of 45 s"),
    ("silent in another phase", ALLOWED, saw((1, 30), (33, 50), (53, 70), more=KILLED), FAIL, "paused for 3 s"),
    ("silent without a word in the contract", WATCHDOG, saw((1, 50), (53, 70), more=KILLED), FAIL, "paused for 3 s"),
    ("silent by a fault of another", ALLOWED, saw((1, 50), (53, 70), more=fault("sham", 50, 52)), FAIL, "for 3 s"),
    (
        "silent, and nothing was killed",
        ALLOWED,
        saw((1, 50), (53, 70), more=[e._replace(detail=e.detail | {"sham": True}) for e in KILLED]),
        FAIL,
        "paused for 3 s",
    ),
]


@table(CASES)
def test_watchdog(check, record, verdict, says):
    expect(check, record, verdict, says)
