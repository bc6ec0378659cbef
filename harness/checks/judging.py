"""Judging: a result for each check, whatever it raises, and no FAIL that is in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from harness.checks.check import Check, NoEvidence
from harness.checks.doubts import DOUBTS, Record
from harness.checks.evidence import CUT_SHORT_REMEDY, cut_short
from harness.checks.injected import Injected
from harness.checks.recorded import Recorded
from harness.checks.rests import on_wrong_metrics
from harness.history import History
from harness.verdict import Result, Verdict

NONE_REMEDY = "mend the experiment first: see its result `injected`"


def judge_all(checks: Iterable[Check], history: History) -> list[Result]:
    """A result for each check, in their order; those that judge results are judged last, by those of the others.

    What the Recorded among them has against the generator counts for what the others make of its rows, and what the
    Injected have against an experiment for all that others make of it.
    """
    checks = list(checks)
    record = next((check for check in checks if isinstance(check, Recorded)), None)
    troubled = {c.experiment: found[0] for c in checks if isinstance(c, Injected) and (found := _troubles(c, history))}
    first = [None if c.judges_results else judged(c, history, record, troubled=troubled) for c in checks]
    first = on_wrong_metrics(checks, first, history)
    results = [result for result in first if result is not None]
    return [r or judged(c, history, record, results) for c, r in zip(checks, first, strict=True)]


def judged(
    check: Check,
    history: History,
    record: Record | None = None,
    results: Sequence[Result] = (),
    troubled: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """The result of one check; what it raises becomes an INCONCLUSIVE one that quotes it.

    So does any verdict on a phase that was cut short, or of an experiment that was none (`troubled`: why, by its name),
    and a FAIL that is in doubt (checks/doubts.py).
    """
    try:
        result = _judged(check, history, record, results, troubled)
        return result if _of_none(check, troubled) else replace(result, timings=check.timings(history))
    except Exception as broke:
        reason = f"the check itself broke: {type(broke).__name__}: {broke}"
        remedy = "mend the check, then `harness check` the stored run again"
        return check.result(Verdict.INCONCLUSIVE, reason, remedy=remedy)


def _of_none(check: Check, troubled: Mapping[str, str]) -> str:
    """Why the experiment that a check judges was none; empty where it was one."""
    return "" if isinstance(check, Injected) else troubled.get(check.experiment or check.phase, "")


def _voided(result: Result, why: str) -> Result:
    said = {
        Verdict.FAIL: f"so this is not attributable to the service: {result.reason}",
        Verdict.PASS: f"so this proves nothing: {result.reason}",
        Verdict.INCONCLUSIVE: "so nothing can be said of it",
    }[result.verdict]
    reason = f"the experiment was none ({why}), {said}"
    return replace(result, verdict=Verdict.INCONCLUSIVE, reason=reason, remedy=NONE_REMEDY, status="")


def _troubles(check: Injected, history: History) -> list[str]:
    try:
        return check.troubles(history)
    except Exception:  # which its own result quotes
        return []


def _judged(
    check: Check, history: History, record: Record | None, results: Sequence[Result], troubled: Mapping[str, str]
) -> Result:
    if why := next(filter(None, (cut_short(history, name) for name in check.about)), ""):
        return check.result(Verdict.INCONCLUSIVE, why, remedy=CUT_SHORT_REMEDY)
    none = _of_none(check, troubled)
    try:
        result = check.judge_results(history, results) if check.judges_results else check.judge(history)
        if none and not (check.timing_independent and result.verdict is Verdict.FAIL):  # that is wrong at any time
            return _voided(result, none)
        for doubt in DOUBTS if result.verdict is Verdict.FAIL else ():
            if found := doubt(check, history, record):
                reason = f"{found[0]}, so this is not attributable to the service: {result.reason}"
                return replace(result, verdict=Verdict.INCONCLUSIVE, reason=reason, remedy=found[1])
        return result
    except NoEvidence as lacking:
        result = check.result(Verdict.INCONCLUSIVE, str(lacking), remedy=lacking.remedy)
        return _voided(result, none) if none else result
