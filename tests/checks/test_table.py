"""The table of checks is whole, and each check has been seen passing, failing and not knowing."""

import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from handmade import FAIL, INCONCLUSIVE, PASS, history

import harness.checks
from harness.checks import CHECKS, Check, Group, judge_all
from harness.history import History
from harness.verdict import Result

JUDGED = {kind: check for kind, check in CHECKS.items() if issubclass(check, Check)}  # the others stand for several
NEVER_FAILS = {"recorded"}  # a gap in the evidence is our failure, not the service's


def seen_in_tests() -> dict[str, set]:
    """Kind -> the verdicts its test tables expect."""
    seen: dict[str, set] = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for case in getattr(importlib.import_module(file.stem), "CASES", ()):
            if hasattr(case[1], "kind"):
                seen.setdefault(case[1].kind, set()).add(case[3])
    return seen


def checks_in_files() -> set[type]:
    found = set()
    for file in Path(harness.checks.__file__).parent.glob("*.py"):
        module = importlib.import_module(f"harness.checks.{file.stem}")
        found |= {
            v
            for v in vars(module).values()
            if isinstance(v, type) and issubclass(v, (Check, Group)) and hasattr(v, "kind")
        }
    return found


def test_every_check_in_a_file_is_in_the_table():
    assert checks_in_files() == set(CHECKS.values())


@pytest.mark.parametrize("kind", JUDGED)
def test_every_check_is_seen_passing_failing_and_inconclusive(kind):
    assert seen_in_tests().get(kind) == {PASS, INCONCLUSIVE} | ({FAIL} - ({FAIL} if kind in NEVER_FAILS else set()))


@pytest.mark.parametrize("check", JUDGED.values(), ids=JUDGED)
def test_every_check_is_frozen_and_named_by_its_kind(check):
    assert dataclasses.is_dataclass(check) and check.__dataclass_params__.frozen
    assert CHECKS[check.kind] is check


@pytest.mark.parametrize("kind", JUDGED)
def test_no_check_passes_on_an_empty_record(kind):
    check = next(case[1] for case in all_cases() if getattr(case[1], "kind", "") == kind)
    (result,) = judge_all([check], History())
    assert result.verdict is INCONCLUSIVE, result


def all_cases():
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        yield from getattr(importlib.import_module(file.stem), "CASES", ())


@dataclass(frozen=True)
class Broken(Check):
    kind: ClassVar[str] = "broken"
    subject: ClassVar[str] = "nothing"

    def judge(self, history: History) -> Result:
        raise ZeroDivisionError("oh")


def test_a_check_that_raises_becomes_an_inconclusive_result_that_quotes_it_and_the_others_are_judged():
    latency = CHECKS["latency"]("steady", 95, 500)
    results = judge_all([Broken(), latency], history())
    assert [r.verdict for r in results] == [INCONCLUSIVE, INCONCLUSIVE]
    assert "ZeroDivisionError: oh" in results[0].reason
    assert results[1].check == "latency"
