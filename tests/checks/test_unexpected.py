"""An answer that must not have been, such as 200 to a guessed key, is an error of the service, even if it is quick."""

import pytest
from handmade import FAIL, PASS, history, phase, rows, up

from harness.checks import Availability, ErrorRatio, Latency
from harness.checks.evidence import judged
from harness.history import Outcome

CASES = [(ErrorRatio("steady", 0.01), FAIL), (Latency("steady", 95, 500), PASS), (Availability("steady", 0.99), PASS)]


@pytest.mark.parametrize(("check", "verdict"), CASES, ids=lambda what: getattr(what, "kind", None))
def test_who_should_have_been_refused_was_answered_wrongly_and_in_time(check, verdict):
    made = rows(2000)
    made["outcome"][::10], made["expected"] = Outcome.WRONG_ANSWER, -1
    result = judged(check, history(phase("steady", 0, 100), rows={"load": made}, series=[up(0, 100)]))
    assert result.verdict is verdict, result
    assert verdict is PASS or "200 status 200" in result.reason
