from dataclasses import replace

from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, phase, ready, replay, restart, table, unready

from harness.alert import Alert, alerts
from harness.checks import AlertFires
from harness.history import History

DOWN = AlertFires(
    "hang", Alert("ServiceDown"), "critical", fires_within_s=120, resolves_within_s=300, place="rules.yaml:4"
)
EVENTS = (phase("hang", 10, 60), fault("hang", 20, 30))  # 10 s of the gate, 600 s of production
FIRED = {"pending_s": 15, "firing_s": 75, "last_firing_s": 645, "ended_s": 1800, "fault_end_s": 600}


def seen(*events, probes=(), **known):
    replays = {"hang": {"ServiceDown": replay(**known)}}
    return history(*(events or EVENTS), probes=probes, replays=replays)


def but(**other):
    return seen(**{**FIRED, **other})


# Hung at 20, replaced at 25 (300 s of production later), in traffic at 30: metrics answer before readiness does.
RESTARTED = (phase("hang", 10, 60), fault("hang", 20, 40, process="server"), restart(25, "liveness"))
PROBES = [*unready(22), *ready(30)]

CASES = [
    (
        "firing and resolving in time is proof",
        DOWN,
        but(),
        PASS,
        "fires after 1 min 15 s (bound 2 min) and resolves 1 min",
    ),
    (
        "a rule that never fires is silent",
        DOWN,
        but(firing_s=None, pending_s=None),
        FAIL,
        "never fired in 30 min of record",
    ),
    ("a rule that was only pending says so", DOWN, but(firing_s=None), FAIL, "it was pending from 15 s on"),
    (
        "what was pending before the fault is timed as if it had not been",
        DOWN,
        but(firing_s=15, pending_before=True, sure_s=75),
        PASS,
        "fires after 1 min 15 s (bound 2 min)",
    ),
    (
        "and is late when it is late without that head start",
        DOWN,
        but(firing_s=15, pending_before=True, sure_s=150),
        FAIL,
        "fires only after 2 min 30 s, bound 2 min",
    ),
    (
        "and proves nothing where it stopped too soon",
        DOWN,
        but(firing_s=15, pending_before=True, sure_s=None),
        INCONCLUSIVE,
        "was already pending before the fault began",
    ),
    ("firing late is late", DOWN, but(firing_s=135), FAIL, "fires only after 2 min 15 s, bound 2 min"),
    ("firing just in time is in time", DOWN, but(firing_s=120), PASS, "fires after 2 min"),
    (
        "resolving late fails",
        DOWN,
        but(last_firing_s=900),
        FAIL,
        "resolves only 5 min 15 s after the effect, bound 5 min",
    ),
    ("never resolving fails", DOWN, but(last_firing_s=1800), FAIL, "was still firing 20 min 15 s after the effect"),
    ("resolving while the fault goes on is false", DOWN, but(last_firing_s=500), FAIL, "before the fault was over"),
    (
        "a rule on the process may resolve once that is replaced although traffic comes later",
        DOWN,
        seen(*RESTARTED, probes=PROBES, **{**FIRED, "last_firing_s": 330}),
        PASS,
        "resolves 0 s after the effect",
    ),
    (
        "but not before it is replaced",
        DOWN,
        seen(*RESTARTED, probes=PROBES, **{**FIRED, "last_firing_s": 180}),
        FAIL,
        "resolves 2 min before the fault was over (fault 5 min)",
    ),
    ("the last evaluation may come a scrape before the end", DOWN, but(last_firing_s=571), PASS, "resolves 0 s after"),
    ("but no earlier", DOWN, but(last_firing_s=569), FAIL, "resolves 31 s before the fault was over (fault 10 min)"),
    (
        "a fault whose undo was not recorded lasts as long as its effect",
        DOWN,
        seen(EVENTS[0], fault("hang", 20, None), **{**FIRED, "last_firing_s": 300}),
        FAIL,
        "resolves 5 min before the fault was over",
    ),
    (
        "firing before the fault proves nothing",
        DOWN,
        but(fired_before=True),
        INCONCLUSIVE,
        "already firing before the fault",
    ),
    (
        "a record that ends too early to fire",
        DOWN,
        but(firing_s=None, ended_s=90),
        INCONCLUSIVE,
        "where the record ends, after",
    ),
    (
        "a record that ends too early to resolve",
        DOWN,
        but(last_firing_s=795, ended_s=800),
        INCONCLUSIVE,
        "record ends, 3 min 20 s after the effect (bound 5 min)",
    ),
    (
        "an effect without an end cannot be resolved",
        DOWN,
        but(fault_end_s=None),
        INCONCLUSIVE,
        "an end of the fault's effect",
    ),
    (
        "a rule that could not be evaluated has no answer",
        DOWN,
        seen(*EVENTS, problem="promtool could not evaluate it: many-to-many"),
        INCONCLUSIVE,
        "promtool could not evaluate it: many-to-many",
    ),
    ("no replay is no evidence", DOWN, history(*EVENTS), INCONCLUSIVE, "no replay of ServiceDown"),
    ("an unknown time scale is no evidence", DOWN, History(replays=but().replays), INCONCLUSIVE, "time_scale"),
]


@table(CASES)
def test_alert_fires(check, record, verdict, says):
    result = expect(check, record, verdict, says)
    assert result.place == "rules.yaml:4"


def test_the_status_names_how_it_failed():
    cases = {"SILENT": {"firing_s": None}, "LATE": {"firing_s": 200}, "FALSE-RESOLVED": {"last_firing_s": 400}}
    cases |= {"UNRESOLVED": {"last_firing_s": 1800}, "PROVEN": {}, "": {"fired_before": True}}
    assert {DOWN.judge(but(**other)).status: other for other in cases.values()} == cases


def test_a_silent_rule_says_how_long_the_effect_lasted():
    assert DOWN.judge(but(firing_s=None)).reason.endswith("The effect lasted 10 min.")
    assert DOWN.judge(but(firing_s=None, fault_end_s=None)).reason.endswith("on.")


def test_the_timings_are_those_that_are_known():
    assert DOWN.timings(but(pending_s=None)) == {"firing_s": 75, "last_firing_s": 645, "fault_end_s": 600}
    assert DOWN.timings(history()) == {}


def test_a_silent_rule_names_the_metric_that_has_no_sample():
    record = seen(ended_s=1800, fault_end_s=600, blind=["queue_depth"])
    says = "no sample of queue_depth, which it reads, is in the record: the production rule never fired in 30 min"
    assert expect(DOWN, record, FAIL, says).status == "SILENT"


def test_without_a_bound_its_end_is_not_judged_but_that_it_lasts_is():
    check = replace(DOWN, resolves_within_s=None)
    expect(check, but(last_firing_s=1795), PASS, "; when it resolves is not judged, for the contract does not bound it")
    assert check.judge(but(last_firing_s=300)).status == "FALSE-RESOLVED"


def test_rules_of_one_name_have_a_replay_each():
    critical, medium = alerts([("Errors", {"severity": "critical"}), ("Errors", {"severity": "medium"})])
    replays = {str(critical): replay(ended_s=1800, fault_end_s=600), str(medium): replay(**FIRED)}
    record = replace(but(), replays={"hang": replays})
    assert replace(DOWN, alert=critical).judge(record).status == "SILENT"
    assert replace(DOWN, alert=medium).judge(record).status == "PROVEN"
    assert replace(DOWN, alert=medium).result(PASS, "x").alert == 'Errors{severity="medium"}'
