"""The test table of the stranger's check; it is copied as tests/checks/test_throughput.py."""

from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, rows, table

from harness.checks import CHECKS

BUSY = CHECKS["throughput"]("steady", 50)
CASES = [
    ("enough", BUSY, history(phase("steady", 0, 30), rows={"load": rows(1800)}), PASS, "60/s, bound 50/s"),
    ("too little", BUSY, history(phase("steady", 0, 60), rows={"load": rows(1800)}), FAIL, "30/s, bound 50/s"),
    ("nothing", BUSY, history(phase("steady", 0, 30)), INCONCLUSIVE, "no request of 'load'"),
]


@table(CASES)
def test_throughput(check, record, verdict, says):
    expect(check, record, verdict, says)
