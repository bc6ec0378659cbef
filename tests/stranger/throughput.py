"""Throughput: how much the service gets done."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from harness.checks.check import Check
from harness.checks.evidence import phase, sent
from harness.checks.parameters import Parameters, Phase
from harness.checks.view import STEADY
from harness.history import History
from harness.verdict import Result, Verdict


@dataclass(frozen=True)
class Throughput(Check):
    """So many requests a second are answered."""

    phase: str
    at_least_per_s: float
    generator: str = "load"
    kind: ClassVar[str] = "throughput"

    class Parameters(Parameters):
        at_least_per_s: float = Field(alias="at_least", gt=0)
        phase: Phase = STEADY

    @property
    def subject(self) -> str:
        return f"{self.phase}: throughput"

    def judge(self, history: History) -> Result:
        window = phase(history, self.phase)
        rate = len(sent(history, window, self.generator)) / window.length
        verdict = Verdict.PASS if rate >= self.at_least_per_s else Verdict.FAIL
        reason = f"{rate:.3g}/s, bound {self.at_least_per_s:g}/s"
        remedy = "" if verdict is Verdict.PASS else "give it more processor"
        return self.result(verdict, reason, measured=rate, bound=self.at_least_per_s, unit="per s", remedy=remedy)
