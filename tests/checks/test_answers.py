import numpy as np
from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table

from harness.checks import Answers, ErrorRatio, Latency
from harness.checks.availability import answered
from harness.checks.judging import judged
from harness.history import EXPECTS_STATUS, Outcome

STEADY = phase("steady", 0, 30)
ANSWERS = Answers("steady")


def load(wrong=0, status=200, stated=1800, **few):
    made = rows(1800, **few)
    made["step"][1800 - stated :] |= EXPECTS_STATUS
    made["outcome"][-wrong or 1800 :], made["status"][-wrong or 1800 :] = Outcome.UNEXPECTED_STATUS, status
    return history(STEADY, rows={"load": made})


CASES = [
    (
        "each got what it expects",
        ANSWERS,
        load(),
        PASS,
        "none of 1,800 requests with an expected status got another one, bound 0",
    ),
    (
        "none says how",
        ANSWERS,
        load(stated=0),
        PASS,
        "none of 1,800 requests states an expected status; 1,800 of 1,800 classes right (100 %)",
    ),
    (
        "one guess let in",
        ANSWERS,
        load(1, stated=300),
        FAIL,
        "1 of 300 responses had an unexpected status (bound 0): 1 status 200",
    ),
    (
        "all of them",
        ANSWERS,
        load(900, 202),
        FAIL,
        "900 of 1,800 responses had an unexpected status (bound 0): 900 status 202",
    ),
    ("a shed one was not let in", ANSWERS, load(status_503=900), PASS, "none of 1,800"),
    ("nobody asked", ANSWERS, history(STEADY), INCONCLUSIVE, "no request of 'load'"),
    ("no phase", ANSWERS, history(rows={"load": rows(9)}), INCONCLUSIVE, "does not hold the phase 'steady'"),
]


@table(CASES)
def test_answers(check, record, verdict, says):
    expect(check, record, verdict, says)


def test_a_wrong_answer_is_an_error_but_one_that_came_and_in_time():
    few = load(18)
    assert judged(ErrorRatio("steady", 0.001), few).verdict is FAIL
    assert "18 status 200" in judged(ErrorRatio("steady", 0.001), few).reason
    assert judged(Latency("steady", 95, 500), few).verdict is PASS
    assert np.count_nonzero(answered(few.requests())) == 1800
