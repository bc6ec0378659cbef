from handmade import FAIL, INCONCLUSIVE, PASS, expect, firing, history, phase, table

from harness.checks import WatchdogUnbroken

EVENTS = (phase("steady", 10, 40), phase("sham", 45, 60))
WATCHDOG = WatchdogUnbroken(phases=("steady", "sham"))


def saw(*spans, events=EVENTS):
    return history(*events, series=[firing("Watchdog", *spans)] if spans else [])


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


@table(CASES)
def test_watchdog(check, record, verdict, says):
    expect(check, record, verdict, says)
