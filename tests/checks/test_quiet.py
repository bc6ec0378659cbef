from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, firing, history, phase, replay, table

from harness.checks import Quiet

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
