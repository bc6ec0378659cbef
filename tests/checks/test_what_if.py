"""Other settings of the probes, tried on hand-made answers: what they detect and disturb, and what is not known."""

import pytest
from handmade import fault, history, phase, restart

from harness.checks import ProbeDecisions
from harness.checks.what_if import Setting, started, tried
from harness.eventlog import Event
from harness.history import ProbeAnswer

NOW = Setting(2, 1, 3)
STEADY, HANG, BUSY = (0, 40), (50, 90), (100, 140)
CHECKS = (
    ProbeDecisions("hang", restart="liveness", readiness="unready"),
    ProbeDecisions("busy", restart="never", readiness="ready"),
)
DONE = {"activity": {"name": "it"}, "status": "succeeded"}
STATE = {"steady_state_met": True, "probes": [{"tolerance_met": True}]}
JOURNAL = {
    "status": "completed", "steady_states": {"before": STATE, "after": STATE}, "run": [DONE], "rollbacks": [DONE],
    "experiment": {"method": [{}], "rollbacks": [{}]},
}  # fmt: skip


def answers(which="liveness", every=2, until=140, took=0.01, hung=(60, 80), bad=(), slow=(), slow_s=0.8):
    """Good answers, but given up while it hung, refused in `bad`, and late in `slow` (seconds of their begin)."""
    found = []
    for at in range(0, until, every):
        if hung[0] <= at < hung[1]:
            found.append(ProbeAnswer(at + 1.0, which, False, 0, 1.0, "no complete response within 1 s"))
        elif at in bad:
            found.append(ProbeAnswer(at + took, which, False, 503, took, "busy"))
        else:
            found.append(
                ProbeAnswer(at + (slow_s if at in slow else took), which, True, 200, slow_s if at in slow else took)
            )
    return found


def recorded(*events, probes, began=59.0, gone=80.0):
    faults = [fault("hang", began, gone, id="h"), fault("busy", 105, 120, id="b")]
    ledgers = [Event(89, "run", "ledger", detail={"experiment": "hang", "left": []})]
    ledgers += [Event(139, "run", "ledger", detail={"experiment": "busy", "left": []})]
    phases = [phase("steady", *STEADY), phase("hang", *HANG), phase("busy", *BUSY)]
    journals = {"hang": JOURNAL, "busy": JOURNAL}
    return history(*phases, *faults, ledgers, *events, probes=probes, journals=journals)


def liveness(record, now=NOW, **more):
    return tried(record, CHECKS, "liveness", now, **more)


def test_each_probe_has_its_cases_by_the_contracts():
    found = liveness(recorded(probes=answers()))
    assert [(case.name, case.began) for case in found.cases] == [("steady", None), ("hang", 59.0), ("busy", None)]


@pytest.mark.parametrize(
    ("setting", "median_s", "worst_s"),
    [
        pytest.param(NOW, 6.0, 8.0, id="as it was: two periods after the first failure, and its timeout"),
        pytest.param(Setting(2, 1, 1), 2.0, 4.0, id="one failure is enough"),
        pytest.param(Setting(4, 1, 2), 7.0, 10.0, id="half as often: either half of the answers"),
        pytest.param(Setting(10, 1, 1), 6.0, 12.0, id="the fifth of them: five ways to fall"),
    ],
)
def test_a_detection_counts_from_the_fault_and_over_all_sampling_phases(setting, median_s, worst_s):
    found = liveness(recorded(probes=answers())).of(setting).detected["hang"]
    assert (found.median_s, found.worst_s, found.unknown) == (median_s, worst_s, False)


def test_a_fault_that_was_over_sooner_is_not_detected_and_that_is_known():
    found = liveness(recorded(probes=answers())).of(Setting(6, 1, 5)).detected["hang"]
    assert (found.worst_s, found.cut, found.recorded_s) == (None, False, 21.0)


def test_what_a_restart_cut_off_is_not_known():
    started = [Event(at, "stack", "start", detail={"component": "server"}) for at in (-1, 67)]
    probes = [a for a in answers() if not 66 < a.at < 81]
    found = liveness(recorded(restart(66, "liveness"), started, probes=probes))
    slower = found.of(Setting(2, 1, 5))
    assert (slower.detected["hang"].worst_s, slower.detected["hang"].cut) == (None, True)
    assert slower.open and not slower.proven
    assert found.of(NOW).proven


def test_an_answer_that_was_given_up_says_nothing_of_longer_timeouts():
    found = liveness(recorded(probes=answers()))
    assert found.of(Setting(2, 3, 3)).detected["hang"].unknown and found.given_up == 10
    assert not found.of(Setting(2, 3, 3)).unknown, "in calm none was given up"
    assert not found.of(Setting(2, 3, 3)).proven


def test_a_refusal_is_one_whatever_the_timeout():
    probes = answers(hung=(0, 0), bad=range(60, 80, 2))
    found = liveness(recorded(probes=probes)).of(Setting(2, 3, 3)).detected["hang"]
    assert (found.worst_s, found.unknown) == (pytest.approx(7.01), False)


@pytest.mark.parametrize(
    ("setting", "needless"),
    [
        pytest.param(NOW, (), id="two in a row are not three"),
        pytest.param(Setting(2, 1, 2), ("busy",), id="they are two"),
        pytest.param(Setting(4, 1, 1), ("busy",), id="each of them is met in some sampling phase"),
        pytest.param(Setting(4, 1, 2), (), id="no sampling phase meets both"),
    ],
)
def test_failures_in_calm_are_needless_restarts(setting, needless):
    found = liveness(recorded(probes=answers(bad=(110, 112))))
    assert found.of(setting).needless == needless and found.longest_calm_row == 2


def test_slow_answers_fail_a_shorter_timeout_alone():
    now = Setting(2, 3, 3)
    probes = answers(slow=range(104, 120, 2), slow_s=1.8)
    found = liveness(recorded(probes=probes), now)
    assert found.of(Setting(2, 1, 3)).needless == ("busy",) and found.of(Setting(2, 2, 3)).calm
    assert found.slowest_calm_s == 1.8


def test_a_needless_restart_leaves_open_what_a_more_patient_setting_had_done():
    started = [Event(at, "stack", "start", detail={"component": "server"}) for at in (-1, 115)]
    record = recorded(restart(114.5, "liveness"), started, probes=answers(bad=(108, 110, 112), until=114))
    found = liveness(record)
    assert found.of(NOW).needless == ("busy",)
    assert found.of(Setting(2, 1, 5)).unknown == ("busy",) and not found.of(Setting(2, 1, 5)).calm


PATIENT = Setting(2, 1, 5)


@pytest.mark.parametrize(
    ("now", "probes", "proposed", "why"),
    [
        pytest.param(PATIENT, answers(), NOW, "within 8.0 s, the present one within 12.0 s", id="sooner"),
        pytest.param(NOW, answers(), NOW, "no other is better by more than one", id="a period sooner is not much"),
        pytest.param(PATIENT, answers(bad=(110, 112)), PATIENT, "no other", id="one failure fewer would restart it"),
        pytest.param(
            PATIENT, answers(slow=(110, 112, 114), slow_s=0.6), PATIENT, "no other", id="answers near the timeout"
        ),
        pytest.param(
            NOW, answers(bad=(110, 112, 114)), PATIENT, "the present one disturbs busy", id="a needless restart"
        ),
        pytest.param(NOW, answers(hung=(0, 0)), NOW, "detects what it has to", id="nothing detects it"),
    ],
)
def test_the_proposal_is_the_soonest_that_stays_calm_with_room_to_spare(now, probes, proposed, why):
    found = liveness(recorded(probes=probes), now).proposal
    assert found.setting == proposed and why in "; ".join(found.why), found


def test_a_setting_that_nobody_tests_is_kept_where_it_is_calm():
    found = tried(recorded(probes=answers(hung=(0, 0))), CHECKS[1:], "liveness", PATIENT).proposal
    assert found.setting == PATIENT and found.why[0].startswith("no experiment of this run asks it to decide")


def test_where_nothing_is_proven_what_is_calm_is_proposed_and_called_unproven():
    begun = [Event(at, "stack", "start", detail={"component": "server"}) for at in (-1, 62)]
    probes = [a for a in answers(bad=(110,)) if not 61.5 < a.at < 81]
    found = liveness(recorded(restart(61.5, "liveness"), begun, probes=probes), Setting(2, 1, 1)).proposal
    assert (found.setting, found.proven) == (NOW, False), found
    assert "this one is calm, its time is arithmetic" in found.why[0]


def test_what_is_to_be_restarted_is_out_of_traffic_before():
    found = liveness(recorded(probes=answers()), patient=Setting(5, 1, 2))
    assert found.proposal.setting.period_s * found.proposal.setting.failures >= 10


def test_readiness_says_how_long_it_stays_out_of_traffic():
    found = tried(recorded(probes=answers("readiness")), CHECKS, "readiness", NOW)
    assert found.of(NOW).detected["hang"].back_s == pytest.approx(2.01)
    assert found.of(NOW._replace(successes=3)).detected["hang"].back_s == pytest.approx(6.01)


@pytest.mark.parametrize(
    ("record", "checks", "which", "said"),
    [
        pytest.param(
            recorded(probes=answers("readiness")),
            (ProbeDecisions("hang", restart="liveness", readiness="any"),),
            "readiness",
            "hang: its contract allows readiness either",
            id="anything goes",
        ),
        pytest.param(
            recorded(probes=answers()),
            (ProbeDecisions("elsewhere", restart="liveness"),),
            "liveness",
            "elsewhere: did not take place",
            id="no phase",
        ),
        pytest.param(
            recorded(fault("hang", 61, 70, id="x", witness="unknown"), probes=answers()),
            CHECKS[:1],
            "liveness",
            "hang: is no evidence: ",
            id="a fault that nobody saw",
        ),
        pytest.param(
            recorded(restart(60), probes=answers("readiness", hung=(0, 0))),
            CHECKS[:1],
            "readiness",
            "hang: the process ended by itself, which takes it out of traffic without a probe",
            id="a process that ended",
        ),
        pytest.param(
            recorded(probes=answers("readiness")), CHECKS[:1], "liveness", "hang: no answer is recorded", id="no probe"
        ),
    ],
)
def test_what_says_nothing_is_named(record, checks, which, said):
    found = tried(record, checks, which, NOW)
    assert any(why.startswith(said) for why in found.left_out), found.left_out
    assert "hang" not in [case.name for case in found.cases]


def test_the_startup_probe_leaves_three_times_the_slowest_start():
    begun = [Event(at, "stack", "start", detail={"component": "server"}) for at in (0, 50)]
    probes = [ProbeAnswer(at, "startup", True, 200, 0.01, "", "started") for at in (4, 62)]
    record = history(begun, probes=probes)
    enough = started(record, Setting(2, 1, 30), 0)
    assert (enough.starts, enough.slowest_s, enough.setting) == (2, 12, Setting(2, 1, 30))
    assert started(record, Setting(2, 1, 10), 0).setting == Setting(2, 1, 18)
    assert started(history(begun), Setting(2, 1, 30), 0) is None
