"""An answer that serves nobody counts against the service in every check; one that was not read against nobody."""

import io

import numpy as np
import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table, up

from harness.checks import Answers, Availability, ErrorRatio, Latency
from harness.checks.judging import judged
from harness.eventlog import Event
from harness.history import EXPECTS_STATUS, Outcome
from harness.report.load import write
from harness.verdict import Result
from harness.watch.requests import goodput_over

STEADY, UP = phase("steady", 0, 100), [up(0, 100)]
CHECKS = (Availability("steady"), ErrorRatio("steady"), Latency("steady", 95, 500), Answers("steady"))
RIGHT = Answers("steady", right_at_least=0.9)


def load(*, unserved=0, status=200, expected=1, unread=0, wrong=0, without=0, excerpts=(), n=6000):
    made = rows(n)
    made["expected"] = made["predicted"] = expected
    made["outcome"][:unserved], made["status"][:unserved], made["predicted"][:unserved] = Outcome.UNSERVED, status, -1
    made["outcome"][n - unread :], made["predicted"][n - unread :] = Outcome.NOT_READ, -1
    made["predicted"][unserved : unserved + wrong] = 1 - expected
    made["predicted"][unserved : unserved + without] = -1
    noted = [
        Event(99, "load", "finished", detail={"generator": generator, "excerpts": list(texts)})
        for generator, texts in (("load", excerpts), ("surge", [(1, "another")]))
    ]
    return history(STEADY, *noted, rows={"load": made}, series=UP)


@pytest.mark.parametrize("status", [200, 204, 302])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kind)
def test_a_page_or_a_redirect_for_every_prediction_fails_each_check(check, status):
    result = expect(check, load(unserved=6000, status=status), FAIL, "")
    said = "are redirects" if status == 302 else "hold no readable class"
    assert check.kind == "latency" or f"6,000 of 6,000 answers {said}" in result.reason


@pytest.mark.parametrize(("unserved", "kinds"), [(7, {"availability", "error_ratio", "answers"}), (1, {"answers"})])
def test_each_bound_is_its_own(unserved, kinds):
    assert {c.kind for c in CHECKS if judged(c, load(unserved=unserved)).verdict is FAIL} == kinds


def test_a_redirect_where_another_status_was_stated_is_no_answer_either():
    record = load()
    made = record.rows["load"]
    made["outcome"], made["status"], made["step"] = Outcome.UNEXPECTED_STATUS, 302, EXPECTS_STATUS
    assert {judged(check, record).verdict for check in CHECKS} == {FAIL}
    made["outcome"] = Outcome.OK
    assert judged(CHECKS[0], record).verdict is judged(CHECKS[2], record).verdict is PASS, "it was stated"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kind)
def test_what_was_not_read_is_left_out_and_much_of_it_is_no_evidence(check):
    assert judged(check, load(unread=6)).verdict is PASS
    much = load(unread=7, excerpts=[(50, "Content-Encoding: zstd")])
    expect(
        check, much, INCONCLUSIVE, "7 of 6,000 responses could not be read by the generator, bound 0.1 %; the first: C"
    )


SAMPLES = [
    ([], ""),
    ([(50, "<html>sign in")], "; the first: <html>sign in"),
    ([(10, "a"), (60, "b")], "; the first: a"),
    ([(-9, "before"), (-5, "nearer"), (60, "b")], "; the first: b"),
    ([(-9, "before"), (-5, "nearer")], "; the first: nearer"),
    ([(200, "after")], ""),
]


@pytest.mark.parametrize(("excerpts", "says"), SAMPLES, ids=range(len(SAMPLES)))
def test_the_sentence_quotes_the_first_such_answer_of_the_phase(excerpts, says):
    reason = judged(CHECKS[3], load(unserved=300, excerpts=excerpts, n=300)).reason
    assert reason == f"300 of 300 answers hold no readable class (bound 0){says}"


CASES = [
    ("the share of right classes is given", CHECKS[3], load(wrong=60), PASS, "; 5,940 of 6,000 classes right (99 %)"),
    ("none is labelled", CHECKS[3], load(expected=-1), PASS, "states an expected status: nothing to judge"),
    ("none is labelled, so none is right", RIGHT, load(expected=-1), INCONCLUSIVE, "no answer to an input whose class"),
    ("nobody reads classes", CHECKS[3], load(without=6000), INCONCLUSIVE, "nobody read the class in 6,000 of 6,000"),
    ("enough are right", RIGHT, load(wrong=500), PASS, "5,500 of 6,000 classes right (91.667 %, bound 90 %)"),
    ("the share collapses", RIGHT, load(wrong=3000), FAIL, "3,000 of 6,000 classes right (50 %, bound 90 %)"),
    ("just too few", RIGHT, load(wrong=601), FAIL, "5,399 of 6,000 classes right"),
    ("too near to claim", RIGHT, load(wrong=590), INCONCLUSIVE, "are too few to claim it"),
    ("too few to claim", RIGHT, load(n=40), INCONCLUSIVE, "40 requests are too few to claim it (44 needed"),
    ("a page is no wrong class", RIGHT, load(unserved=1), FAIL, "1 of 6,000 answers hold no readable class"),
    (
        "an encoding",
        CHECKS[1],
        load(unserved=9, expected=-1),
        FAIL,
        "9 of 6,000 answers have a broken Content-Encoding",
    ),
]


@table(CASES)
def test_answers(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_an_expected_refusal_of_a_labelled_input_needs_no_class():
    record = load(without=9)
    record.rows["load"]["status"][:9], record.rows["load"]["step"][:9] = 401, EXPECTS_STATUS
    assert judged(CHECKS[3], record).verdict is PASS


def test_goodput_is_of_what_was_read(tmp_path):
    made = load(unserved=10, unread=20, n=100).rows["load"]
    made["done"] = 1000
    (tmp_path / "rows").write_bytes(made.tobytes())
    assert goodput_over(tmp_path / "rows", 3, 1001) == (70, 80)


def test_the_load_report_says_it():
    record = load(unserved=10, unread=3, excerpts=[(1, "<html>")])
    out = io.StringIO()
    write(record, "steady", Result("recorded", "the record", PASS, "fine"), out, judged(CHECKS[3], record))
    text = out.getvalue()
    assert "unserved                   10    0.17 %  10 x 200" in text and "not read                    3" in text
    assert "10 of 5,997 answers hold no readable class (bound 0); the first: <html>" in text


def test_a_stored_run_of_before_reads_as_it_did():
    assert [int(o) for o in Outcome][:9] == list(range(9)) and Outcome.UNSERVED == 9
    assert np.count_nonzero(load().rows["load"]["outcome"] == Outcome.OK) == 6000
