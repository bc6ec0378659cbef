from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table

from harness.checks import ErrorRatio

STEADY = phase("steady", 0, 100)
ERRORS = ErrorRatio("steady", 0.001)


def load(n=6000, **few):
    return history(STEADY, rows={"load": rows(n, **few)})


def unknown(**few):
    made = rows(6000, **few)
    made["expected"] = -1
    return history(STEADY, rows={"load": made})


CASES = [
    ("no error in enough requests proves the ratio", ERRORS, load(), PASS, "0 % of 6,000 requests failed, bound 0.1 %"),
    ("a good input refused counts", ERRORS, load(status_404=500), FAIL, "8.333 % of 6,000 requests failed"),
    ("an unknown input refused is the client's error", ERRORS, unknown(status_400=500), PASS, "0 % of 6,000"),
    ("errors of the service count", ERRORS, load(status_500=5, status_503=3), FAIL, "(5 status 500, 3 status 503)"),
    ("requests without an answer count", ERRORS, load(timeout=4, broken=5), FAIL, "0.15 % of 6,000 requests failed"),
    ("one error in 6,000 claims nothing yet", ERRORS, load(status_500=1), INCONCLUSIVE, "too few to claim it"),
    ("no error in too few requests claims nothing", ERRORS, load(1800), INCONCLUSIVE, "4,603 needed"),
    ("no request is no evidence", ERRORS, history(STEADY), INCONCLUSIVE, "no request of 'load'"),
]


@table(CASES)
def test_error_ratio(check, record, verdict, says):
    expect(check, record, verdict, says)
