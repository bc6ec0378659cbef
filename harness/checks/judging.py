"""Judging: a result for each check, whatever it raises, and no FAIL that is in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.checks.check import Check, NoEvidence
from harness.checks.doubts import DOUBTS, Record
from harness.checks.evidence import CUT_SHORT_REMEDY, cut_short
from harness.checks.recorded import Recorded
from harness.history import History
from harness.verdict import Result, Verdict


def judge_all(checks: Iterable[Check], history: History) -> list[Result]:
    """A result for each check, in their order; those that judge results are judged last, by those of the others.

    What the Recorded among them has against the generator counts for what the others make of its rows.
    """
    checks = list(checks)
    record = next((check for check in checks if isinstance(check, Recorded)), None)
    first = [None if check.judges_results else judged(check, history, record) for check in checks]
    results = [result for result in first if result is not None]
    return [r or judged(c, history, record, results) for c, r in zip(checks, first, strict=True)]


def judged(check: Check, history: History, record: Record | None = None, results: Sequence[Result] = ()) -> Result:
    """The result of one check; what it raises becomes an INCONCLUSIVE one that quotes it.

    So does any verdict on a phase that was cut short, and a FAIL that is in doubt (checks/doubts.py).
    """
    try:
        return replace(_judged(check, history, record, results), timings=check.timings(history))
    except Exception as broke:
        reason = f"the check itself broke: {type(broke).__name__}: {broke}"
        remedy = "mend the check, then `harness check` the stored run again"
        return check.result(Verdict.INCONCLUSIVE, reason, remedy=remedy)


def _judged(check: Check, history: History, record: Record | None, results: Sequence[Result]) -> Result:
    try:
        if why := next(filter(None, (cut_short(history, name) for name in check.about)), ""):
            raise NoEvidence(why, CUT_SHORT_REMEDY)
        result = check.judge_results(history, results) if check.judges_results else check.judge(history)
        for doubt in DOUBTS if result.verdict is Verdict.FAIL else ():
            if found := doubt(check, history, record):
                reason = f"{found[0]}, so this is not attributable to the service: {result.reason}"
                return replace(result, verdict=Verdict.INCONCLUSIVE, reason=reason, remedy=found[1])
        return result
    except NoEvidence as none:
        return check.result(Verdict.INCONCLUSIVE, str(none), remedy=none.remedy)
