import time
from dataclasses import replace

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, fault, history, phase, restart, rows, table

from harness.checks import Logged, Predictions, Traced
from harness.checks.judging import judged
from harness.checks.view import Contract, View
from harness.eventlog import Event
from harness.history import Outcome
from harness.telemetry import Telemetry

INPUTS, RATE = 40, 100
NAMES = ("NORMAL", "PNEUMONIA")
CARD = (0.9945, "card.json:4: accuracy")
PREDICTIONS = Predictions(classes=NAMES)
BOUND, BY_CARD = replace(PREDICTIONS, right_at_least=0.97), replace(PREDICTIONS, accuracy=CARD)
HANG = [*phase("server-hang", 20, 40), *fault("server-hang", 25, 28)]
CRASH = [*phase("server-crash", 40, 60), *fault("server-crash", 45, 46, kind="kill"), restart(46)]
TAKEN = Event(0, "load", "golden", detail={"generator": "golden", "since": -2.0, "inputs": INPUTS, "each": 1})


def asked(n, start, rate=RATE, inputs=INPUTS, first=1):
    """Rows about inputs in turn, every second of class 1, each answered rightly."""
    made = rows(n, start, rate=rate)
    made["picture"] = first + np.arange(n) % inputs
    made["expected"] = made["predicted"] = made["picture"] % 2
    made["probability"] = np.where(made["picture"] % 2, 0.999, 0.001)
    made["request_id"] = np.arange(n)
    return made


def run(spoil=None, golden=None, events=(), inputs=INPUTS, **more):
    """Steady until 20 s, then a hang, then a crash; `spoil` changes rows of the load, `golden` those before."""
    load, alone = asked(6000, 0, inputs=inputs), asked(inputs, -1, inputs=inputs)
    for change, made in ((spoil, load), (golden, alone)):
        if change:
            change(made)
    return history(phase("steady", 0, 20), HANG, CRASH, TAKEN, *events, rows={"load": load, "golden": alone, **more})


def flipped(every=1, start=0.0, end=60.0, only=None):
    """The other class in one answer of so many within a time."""

    def spoil(made):
        which = (made["intended"] >= start) & (made["intended"] < end) & (made["seq"] % every == 0)
        if only is not None:
            which &= np.isin(made["picture"], only)
        made["predicted"][which] ^= 1

    return spoil


def probability(value, every=1, start=0.0, end=60.0, only=None):
    def spoil(made):
        which = (made["intended"] >= start) & (made["intended"] < end) & (made["seq"] % every == 0)
        if only is not None:
            which &= np.isin(made["picture"], only)
        made["probability"][which] = value if not callable(value) else value(made["probability"][which])

    return spoil


def both(*changes):
    def spoil(made):
        for change in changes:
            change(made)

    return spoil


def wrongly_learned(*inputs):
    """A model that has some inputs wrong, always."""
    return both(flipped(only=inputs), probability(lambda p: 1 - p, only=inputs))


def of_version_1(made):
    made["picture"], made["probability"] = 0, np.nan


def known_wrong(*inputs):
    """The same, asked alone as well."""
    return {"spoil": wrongly_learned(*inputs), "golden": wrongly_learned_alone(*inputs)}


def wrongly_learned_alone(*inputs):
    def spoil(made):
        which = np.isin(made["picture"], inputs)
        made["predicted"][which] ^= 1
        made["probability"][which] = 1 - made["probability"][which]

    return spoil


def one_class(made):
    made["predicted"], made["probability"] = 0, 0.001


def surge(**changes):
    made = asked(400, 30, inputs=4, first=101)
    for name, value in changes.items():
        made[name] = value(made)
    return made


def unlabelled():
    made = rows(60)
    made["expected"] = made["predicted"] = -1
    return history(phase("steady", 0, 20), rows={"load": made})


CASES = [
    ("all right", BOUND, run(), PASS, "2,000 of 2,000 classes right (100 %, bound 97 %): NORMAL 1,000 of 1,000 and"),
    (
        "all the same",
        PREDICTIONS,
        run(),
        PASS,
        "40 inputs, 40 of them asked alone, got the same answer (to 0.001) in 6,040",
    ),
    ("by the card", BY_CARD, run(), PASS, "(100 %, bound 99.45 % of card.json:4: accuracy)"),
    ("how much was judged", PREDICTIONS, run(), PASS, "6,040 of 6,040 labelled answers judged"),
    (
        "one in ten flips",
        PREDICTIONS,
        run(flipped(every=7)),
        FAIL,
        "wrong with status 200: 858 of 6,040 answers have another class than the same input gets alone (bound 0): "
        "steady 286 of 2,000, before the fault of server-hang 7",
    ),
    ("which one and how", PREDICTIONS, run(flipped(every=7)), FAIL, "input 1 gets PNEUMONIA (0.999) alone and NORMAL"),
    (
        "only under a fault",
        PREDICTIONS,
        run(flipped(every=9, start=25, end=28)),
        FAIL,
        "wrong with status 200 under server-hang: 34 of 6,040 answers",
    ),
    (
        "only under a fault that is there to make them wrong",
        replace(PREDICTIONS, wrong_in=("server-hang",)),
        run(both(flipped(start=25, end=28), probability(lambda p: 1 - p, start=25, end=28))),
        PASS,
        "got the same answer (to 0.001) in 5,6",
    ),
    (
        "and still wrong when it is over",
        replace(PREDICTIONS, wrong_in=("server-hang",)),
        run(flipped(start=25, end=32)),
        FAIL,
        "after the fault of server-hang 300 of",
    ),
    (
        "only after a restart",
        PREDICTIONS,
        run(flipped(start=47, only=[3, 4])),
        FAIL,
        "wrong with status 200 since the restart of server: ",
    ),
    (
        "another probability in some",
        PREDICTIONS,
        run(probability(lambda p: np.abs(p - 0.01), every=9)),
        FAIL,
        "667 of 6,040 answers have another probability than the same input gets alone (by more than 0.001, bound 0)",
    ),
    (
        "a wider bound",
        replace(PREDICTIONS, within=0.02),
        run(probability(lambda p: np.abs(p - 0.01), 9)),
        PASS,
        "to 0.02",
    ),
    ("rounding", PREDICTIONS, run(probability(lambda p: np.abs(p - 0.0009), 9)), PASS, "6,040"),
    (
        "an even probability may get either class",
        PREDICTIONS,
        run(both(probability(0.5002, only=[5]), flipped(2, only=[5])), probability(0.4999, start=-2, only=[5])),
        PASS,
        "6,040",
    ),
    (
        "replicas that differ",
        PREDICTIONS,
        run(golden=probability(0.7, start=-2, only=[7])),
        FAIL,
        "input 7 gets PNEUMONIA (0.7) alone and PNEUMONIA (0.999) in 50 of its 50 answers steady",
    ),
    (
        "wrong when asked alone only",
        BOUND,
        run(golden=wrongly_learned_alone(7, 8)),
        FAIL,
        "wrong with status 200: 2 of 6,040 answers have another class than the same input gets otherwise (bound 0): "
        "alone 2 of 40; input 7 gets PNEUMONIA (0.999) otherwise and NORMAL",
    ),
    (
        "what was asked alone is lost",
        BOUND,
        replace(run(), rows={"load": asked(6000, 0)}),
        INCONCLUSIVE,
        "of 40 inputs asked alone 0 are recorded",
    ),
    (
        "wrong at first",
        BOUND,
        run(flipped(end=3), golden=flipped(start=-9)),
        FAIL,
        "wrong with status 200 until 4 s after the first request, and not since: 340 of 6,040 answers have another",
    ),
    (
        "three inputs are wrong by the card",
        BY_CARD,
        run(**known_wrong(3, 5, 8)),
        FAIL,
        "37 of 40 inputs get the right class (92.5 %, bound 99.45 % of card.json:4: accuracy): 1 PNEUMONIA for NORMAL",
    ),
    ("two may be by chance", BY_CARD, run(**known_wrong(3, 8)), PASS, "1,900 of 2,000 classes right (95 %"),
    (
        "but are too many by the bound",
        BOUND,
        run(**known_wrong(3, 8)),
        FAIL,
        "1,900 of 2,000 classes right (95 %, bound 97 %)",
    ),
    ("without any bound they are given", PREDICTIONS, run(**known_wrong(3, 8)), PASS, "(95 %): NORMAL 950 of 1,000"),
    (
        "recall of one class",
        replace(PREDICTIONS, recall=(("NORMAL", 0.98), ("PNEUMONIA", 0.98))),
        run(**known_wrong(3)),
        FAIL,
        "950 of 1,000 answers to inputs of PNEUMONIA right (95 %, bound 98 %): 50 NORMAL for PNEUMONIA, as input 3",
    ),
    (
        "one class only",
        BOUND,
        run(one_class, one_class),
        FAIL,
        "every answer is NORMAL, those to inputs of PNEUMONIA (20",
    ),
    (
        "most of a class",
        PREDICTIONS,
        run(**known_wrong(*range(2, 36, 2))),
        FAIL,
        "of class NORMAL 3 of 20 inputs are right, significantly fewer than half",
    ),
    ("the surge's inputs", BOUND, run(surge=surge()), PASS, "44 inputs, 40 of them asked alone"),
    (
        "the surge's inputs wrong",
        BOUND,
        run(surge=surge(predicted=lambda m: 1 - m["expected"], probability=lambda m: 1 - m["probability"])),
        FAIL,
        "0 of 4 inputs of surge get the right class (0 %, bound 97 %)",
    ),
    (
        "no number",
        PREDICTIONS,
        run(probability(np.nan, 50)),
        FAIL,
        "120 of 6,040 answers hold no probability, which others",
    ),
    (
        "none at all",
        PREDICTIONS,
        run(probability(np.nan), probability(np.nan, start=-2)),
        PASS,
        "got the same class in",
    ),
    (
        "too large",
        PREDICTIONS,
        run(probability(1.5, 60)),
        FAIL,
        "100 of 6,040 answers hold a probability that is none from",
    ),
    ("no number at all", PREDICTIONS, run(probability(np.inf, start=30)), FAIL, "input 1 PNEUMONIA (no number)"),
    (
        "a class against its probability",
        PREDICTIONS,
        run(flipped(only=[8]), golden=lambda made: flipped(start=-2, only=[8])(made)),
        FAIL,
        "the class of 1 input of 40 contradicts the probability, which the others show to be that of PNEUMONIA "
        "(bound 0): input 8 gets PNEUMONIA (0.001)",
    ),
    (
        "a probability of the class that is given",
        PREDICTIONS,
        run(probability(0.9), probability(0.9, start=-2)),
        PASS,
        "40 inputs",
    ),
    (
        "by class only under a fault",
        PREDICTIONS,
        run(both(flipped(9, 25, 28), of_version_1), of_version_1),
        FAIL,
        "wrong with status 200 under server-hang: 34 of 310 answers have the wrong class, in steady 0 of 2,000 (by",
    ),
    (
        "by class only",
        BOUND,
        run(of_version_1, of_version_1),
        PASS,
        "by class only where the rows do not say which input",
    ),
    (
        "too few inputs",
        BY_CARD,
        run(inputs=6),
        INCONCLUSIVE,
        "6 distinct labelled inputs cannot tell a model of 99.45 %",
    ),
    ("too few answers", replace(BOUND, right_at_least=0.999), run(), INCONCLUSIVE, "too few to claim it"),
    (
        "nobody read the class",
        PREDICTIONS,
        run(lambda m: m["predicted"].fill(-1)),
        INCONCLUSIVE,
        "nobody read the class in 6",
    ),
    (
        "not answered alone",
        PREDICTIONS,
        run(golden=lambda made: made["outcome"][:5].fill(Outcome.TIMEOUT)),
        INCONCLUSIVE,
        "asked alone, 5 of 40 inputs got no answer (bound 10 %)",
    ),
    (
        "nothing labelled",
        BOUND,
        run(lambda m: m["expected"].fill(-1), lambda m: m["expected"].fill(-1)),
        INCONCLUSIVE,
        "no answer",
    ),
    ("nothing to judge", BY_CARD, unlabelled(), PASS, "nothing to judge: none of 60 requests is about a known class"),
    (
        "steady is not there",
        PREDICTIONS,
        history(HANG, rows={"load": asked(60, 21)}),
        INCONCLUSIVE,
        "the phase 'steady'",
    ),
]


@table(CASES)
def test_predictions(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_a_fail_names_its_rows_the_worst_first_and_the_experiment():
    result = judged(PREDICTIONS, run(flipped(every=9, start=25, end=28)))
    assert result.experiment == "server-hang" and (result.measured, result.bound, result.unit) == (34, 0, "answers")
    assert len(result.evidence) == 10 and {e.kind for e in result.evidence} == {"row"}
    assert result.evidence[0].key == "2520" and 25 <= result.evidence[0].at < 28
    assert result.evidence[1].at < 0, "what it got alone"


def test_what_happens_in_large_batches_only_says_how_many_were_in_flight():
    def crowded(made):
        some = made["seq"] % 100 < 20
        made["intended"][some] -= (made["seq"][some] % 100) / RATE  # twenty at once, every second
        made["sent"], made["done"] = made["intended"], made["intended"] + 0.005
        made["done"][some] += 0.1
        made["probability"][some] = np.abs(made["probability"][some] - 0.01)

    result = judged(PREDICTIONS, run(crowded))
    assert "another probability" in result.reason and "in flight beside them 1" in result.reason, result.reason


def test_what_happens_before_the_fault_or_under_a_sham_is_not_blamed_on_it():
    assert "under" not in judged(PREDICTIONS, run(flipped(every=9, start=21, end=24))).reason.split(":")[0]
    sham = [*phase("sham", 60, 80), *fault("sham", 65, 68, sham=True)]
    record = run(events=[sham], later=asked(2000, 60))
    record.rows["later"]["predicted"][600:650] ^= 1
    result = judged(PREDICTIONS, record)
    assert result.verdict is FAIL and result.experiment == "" and "under sham 50 of 300" in result.reason


def test_an_experiment_alone_is_judged_without_a_steady_load():
    record = history(HANG, rows={"load": asked(2000, 20)})
    alone = PREDICTIONS.without("steady")
    assert judged(alone, record).verdict is PASS and alone.without("server-hang") == alone
    assert judged(replace(alone, right_at_least=0.97), record).verdict is PASS


def test_what_an_earlier_load_left_in_the_same_files_does_not_count():
    record = run(golden=lambda made: None)
    old = asked(400, -100)
    old["predicted"] ^= 1
    record.rows["load"], record.rows["golden"] = (
        np.concatenate([old, record.rows["load"]]),
        np.concatenate([old[:40], record.rows["golden"]]),
    )
    assert judged(PREDICTIONS, record).verdict is PASS


def test_a_million_rows_are_judged_in_seconds():
    load = asked(1_000_000, 0, rate=10_000, inputs=5_000)
    record = history(phase("steady", 0, 100), rows={"load": load})
    began = time.process_time()
    assert judged(BOUND, record).verdict is PASS
    assert time.process_time() - began < 30


def test_entries_of_gate_yaml():
    view = View(telemetry=Telemetry(classes=NAMES), accuracy=CARD)
    assert Predictions.from_plan(None, view) == (BY_CARD,)
    given = {"right_at_least": "97%", "recall": {"PNEUMONIA": "95%"}, "within": 0.01}
    want = replace(BY_CARD, right_at_least=0.97, recall=(("PNEUMONIA", 0.95),), within=0.01)
    assert Predictions.from_plan(given, view) == (want,)
    for wrong, says in (
        ({"right_at_least": "100%"}, "less than 1"),
        ({"recall": {"PNEUMONA": "95%"}}, "no class is called PNEUMONA; did you mean PNEUMONIA"),
        ({"recall": {"PNEUMONIA": "100%"}}, "recall: PNEUMONIA: must be above 0 and below 100 %"),
    ):
        with pytest.raises(ValueError, match=says):
            Predictions.from_plan(wrong, view)
    with pytest.raises(ValueError, match="telemetry"):
        Predictions.from_plan({"recall": {"PNEUMONIA": "95%"}}, View())


def test_a_failure_says_how_many_of_each_class_are_right():
    def forgotten(made):
        made["predicted"][(made["expected"] == 1) & (made["seq"] % 8 == 0)] = 0

    reason = expect(PREDICTIONS, run(forgotten), FAIL, "wrong with status 200").reason
    steady = asked(2000, 0)
    of = int((steady["expected"] == 1).sum())
    wrong = int(((steady["expected"] == 1) & (steady["seq"] % 8 == 0)).sum())
    assert wrong and reason.endswith(f"NORMAL {2000 - of:,} of {2000 - of:,} and PNEUMONIA {of - wrong:,} of {of:,}")
    assert f"; in steady {2000 - wrong:,} of 2,000 classes right" in reason


WRONG = {
    "probes": {"server": {"restart": "never"}}, "clients": {"errors_at_most": "1%", "recovered_within": "5s"},
    "alerts": [], "may_be_wrong": ["answers", "times"],
}  # fmt: skip


def test_a_contract_says_whose_answers_and_times_are_wrong_by_its_fault():
    right, wrong = Contract.model_validate(WRONG | {"may_be_wrong": []}), Contract.model_validate(WRONG)
    about = {"logs": {"only": {"message": "done"}}, "traces": {"environment": {"X": "{otlp}"}}, "classes": list(NAMES)}
    view = View(contracts=(("calm", right), ("odd", wrong)), telemetry=Telemetry.model_validate(about))
    assert [check.wrong_in for check in Predictions.from_plan(None, view)] == [("odd",)]
    assert [check.untimed for kind in (Logged, Traced) for check in kind.from_plan(None, view)] == [("odd",), ("odd",)]
