"""Every failure names records that it rests on, and each of them is found again."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from handmade import FAIL, rows

from harness.checks import judge_all
from harness.checks.evidence import of_rows, outcomes, some
from harness.history import Outcome
from harness.report.references import References
from harness.verdict import EVIDENCE_AT_MOST, Reference

ELSEWHERE = {"sample", "log", "audit", "record", "span"}  # kinds that these records do not hold
WITHOUT = {"alert_coverage", "detection"}  # they judge the results of others, and rest on what those do
# What has no record to show: promtool's replay has a folder of its own, a span of no request is named in the sentence,
# and what is not there is nowhere.
NOWHERE = (
    "fired in the replay",
    "whose parent never came, as in trace",
    "no series of",
    "not known to be whole",
    "no valid id",
    "had to be refused",
)


def failing_cases():
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        if file.stem == Path(__file__).stem:
            continue
        for case in getattr(importlib.import_module(file.stem), "CASES", ()):
            if case[3:4] == (FAIL,) and getattr(case[1], "kind", "") not in WITHOUT and hasattr(case[1], "judge"):
                yield pytest.param(*case[1:3], id=f"{file.stem}: {case[0]}"[:80])


@pytest.mark.parametrize(("check", "record"), [*failing_cases()])
def test_a_failure_rests_on_records_that_are_there(check, record, tmp_path):
    result = judge_all([check], record)[0]
    assert len(result.evidence) <= EVIDENCE_AT_MOST and len({*result.evidence}) == len(result.evidence)
    assert result.evidence or result.place or any(why in result.reason for why in NOWHERE), result
    found = References(tmp_path, record, lambda kind, key: [])
    missing = [one for one in result.evidence if "stored" in found.lines(one)[0] and one.kind not in ELSEWHERE]
    assert missing == []


def test_rows_stand_for_each_way_to_end_and_for_the_whole_time():
    made = rows(1000, timeout=3, broken=700)
    made["request_id"] = [f"{n}".encode() for n in range(1000)]
    bad = made[made["outcome"] != Outcome.OK]
    assert [one.key for one in of_rows(bad)][:3] == ["3", "0", "702"]
    assert len(of_rows(bad)) == EVIDENCE_AT_MOST and len({*of_rows(bad)}) == EVIDENCE_AT_MOST
    assert [one.key for one in of_rows(bad, bad["seq"].astype(float))][:2] == ["702", "701"]
    assert of_rows(bad[:0]) == () == of_rows(bad[:0], np.empty(0))
    assert outcomes(bad) == "700 broken, 3 timeout"
    bad["status"][:2] = 200
    assert outcomes(bad) == "700 broken, 3 timeout", "what is said alike is counted together"


def test_each_kind_has_its_share_and_what_room_there_is():
    one, two = ([Reference(kind, str(n)) for n in range(20)] for kind in ("row", "event"))
    assert [r.kind for r in some(one, two)] == ["row"] * 5 + ["event"] * 5
    assert [r.kind for r in some(one, two[:1])] == ["row"] * 9 + ["event"]
    assert [r.kind for r in some([], two[:2], [])] == ["event"] * 2
    assert some() == some([], []) == ()
    assert some(one[:1] * 3) == (one[0],)
