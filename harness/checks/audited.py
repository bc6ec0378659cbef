"""Audited: each answered request left one audit record, and the log is whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.checks.effect import all_broken
from harness.checks.one_each import OneEach
from harness.history import History
from harness.telemetry import Telemetry
from harness.units import listed
from harness.verdict import Result, Verdict

UNCLEAR = 3  # exit code of a command that cannot say whether a log is whole
BROKEN_REMEDY = (
    "see what the command of telemetry.audit.verify finds, and what wrote to the log, or failed to, at that time"
)


@dataclass(frozen=True)
class Audited(OneEach):
    """`telemetry.audit` of service.yaml against the rows of the load; see OneEach. Where it names a command that says
    whether the log is whole, that one, too."""

    verify: bool = False  # there is such a command
    kind: ClassVar[str] = "audited"
    signal: ClassVar[str] = "audit"
    what: ClassVar[str] = "audit records"
    section: ClassVar[str] = "audit"

    @classmethod
    def _fields(cls, telemetry: Telemetry) -> Iterator[dict[str, Any]]:
        for fields in super()._fields(telemetry):
            yield {**fields, "verify": telemetry.audit.verify is not None}

    def judge(self, history: History) -> Result:
        """As OneEach; FAIL also where a log is not whole."""
        result = super().judge(history)
        verified: Sequence[Mapping[str, Any]] = history.signals[self.signal].about.get("verified", ())
        if self.verify and not verified and result.verdict is Verdict.PASS:
            why = "the run does not hold what the command of telemetry.audit.verify said, so the log may not be whole"
            return replace(result, verdict=Verdict.INCONCLUSIVE, reason=f"{why}; {result.reason}", remedy=BROKEN_REMEDY)
        said = [f"{one['replica']}: {' / '.join(one['said'].splitlines()[-3:])}" for one in verified]
        reason = "; ".join([result.reason, *(f"verified, {line}" for line in said)])
        damaged, broken = self._damaged(history), [one for one in verified if one["code"]]
        bad = [one["code"] for one in broken if not damaged & {None, one["replica"]}]
        if broken and not bad:
            reason += f"; not whole, as the fault of {listed(list(all_broken(history, self.lossy)))} may leave it"
        if not bad:
            return replace(result, reason=reason)
        reason = f"the log is not known to be whole (exit code {listed_codes(bad)}); {reason}"
        verdict = Verdict.INCONCLUSIVE if {*bad} == {UNCLEAR} else Verdict.FAIL
        return replace(
            result, verdict=max(result.verdict, verdict), reason=reason, remedy=result.remedy or BROKEN_REMEDY
        )

    def _damaged(self, history: History) -> set[str | None]:
        """The components whose log a fault was done to that may lose records, None for all: that is not whole then."""
        mine = [e for e in history.of("fault") if e.detail.get("experiment") in all_broken(history, self.lossy)]
        begun = [e for e in mine if e.detail.get("edge") == "start" and not e.detail.get("sham")]
        return {e.detail.get("component") for e in begun}


def listed_codes(codes: Sequence[int]) -> str:
    return ", ".join(map(str, dict.fromkeys(codes)))
