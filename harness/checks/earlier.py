"""The earlier runs that a run is compared with, and whether they are enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from harness.checks.check import Check, NoEvidence
from harness.checks.parameters import Parameters
from harness.history import History, PastRun
from harness.parameters import Share
from harness.units import count
from harness.verdict import Result, Verdict

AT_LEAST, LAST = 5, 20
REPORT, FAIL = "report", "fail"
UNREADABLE_REMEDY = "see `harness history`; a file that is damaged must be removed, and the baseline starts anew"


class Compared(Parameters):
    """What gate.yaml may say of the baseline: `report`, or a mapping."""

    mode: Literal["fail", "report"] = FAIL  # whether a finding fails the gate or is a remark
    last: int = Field(LAST, ge=AT_LEAST, le=200)  # so many runs at the most
    at_least: int = Field(AT_LEAST, ge=AT_LEAST)
    worse_by: Share | None = Field(None, gt=0)  # the least change of any figure that matters; None: each figure's own

    @model_validator(mode="before")
    @classmethod
    def _word(cls, given: object) -> object:
        return {"mode": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _enough(self) -> Compared:
        if self.last < self.at_least:
            raise ValueError(f"last must be no less than at_least; got {self.last} and {self.at_least}")
        return self


def compared(check: Check, history: History, judge: Callable[[Sequence[PastRun]], Result]) -> Result:
    """What a check finds against the earlier runs; a remark where they are too few, or where it is to report only.

    check: one with the parameters of Compared as its fields. Raises NoEvidence where they could not be read.
    """
    known = history.baseline
    if known is not None and known.problem:
        raise NoEvidence(f"the earlier runs could not be read: {known.problem}", UNREADABLE_REMEDY)
    if known is None:
        return not_compared(
            check, "the run is not compared with a baseline: it looked for none, as `harness gate` does"
        )
    runs = tuple(known.runs[-check.last :])
    if len(runs) < check.at_least:
        return not_compared(check, f"the run is {too_few(len(runs), check.at_least)}")
    found = judge(runs)
    if check.mode == REPORT and found.verdict is Verdict.FAIL:
        return not_compared(check, f"{check.subject}: {found.reason}")
    return found


def too_few(known: int, needed: int) -> str:
    """That there are too few earlier runs, and how many more are needed."""
    have = count(known, "passing run") if known else "no passing run"
    return (
        f"not compared with a baseline: {have} of this plan on this kind of machine {'is' if known < 2 else 'are'} "
        f"recorded, {needed - known} more {'is' if needed - known == 1 else 'are'} needed"
    )


def not_compared(check: Check, remark: str) -> Result:
    """No verdict, but a remark."""
    return Result(check.kind, check.subject, Verdict.PASS, remark, remarks=(remark,), judges=False)
