"""Command: the verdict of a program of the user's on the stored evidence."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import Field, model_validator

from harness.checks.check import Check, Execution, NoEvidence
from harness.checks.evidence import of_events
from harness.checks.parameters import Parameters
from harness.history import History
from harness.masking import hidden_arguments
from harness.parameters import Duration
from harness.units import duration
from harness.verdict import Result, Verdict

UNCLEAR = 3  # the exit code of the gate itself for INCONCLUSIVE


@dataclass(frozen=True)
class Command(Check):
    """The command ends with 0 (pass), 3 (inconclusive) or anything else (fail). It is run once, after the run; its
    stored outcome is judged."""

    run: tuple[str, ...]
    timeout_s: float = 60.0  # gate time
    kind: ClassVar[str] = "command"

    class Parameters(Parameters):
        run: tuple[str, ...] = Field(min_length=1)
        timeout_s: Duration = Field(60.0, alias="timeout", gt=0)

        @model_validator(mode="before")
        @classmethod
        def _short_form(cls, given: Any) -> Any:
            return {"run": given} if isinstance(given, (list, tuple)) else given

    @property
    def subject(self) -> str:
        return shlex.join(hidden_arguments(self.run))

    def to_store(self) -> Command:
        return replace(self, run=hidden_arguments(self.run))

    def asks(self) -> tuple[Execution, ...]:
        return (Execution(self.run, self.timeout_s),)

    def judge(self, history: History) -> Result:
        """By its exit code; INCONCLUSIVE where it did not run to its end."""
        since = max((e.at for e in history.of("run", "phase")), default=0.0)  # what ran before is of an earlier run
        shown = hidden_arguments(self.run)
        ran = [e for e in history.of("run", "command") if e.at >= since]
        ran = [e for e in ran if hidden_arguments(e.detail.get("argv", ())) == shown]
        if not ran:
            raise NoEvidence("no outcome of the command is stored", "run the gate again")
        if len({(e.detail.get("exit_code"), e.detail.get("error")) for e in ran}) > 1:  # alike but for a secret, say
            why = f"{len(ran)} commands that are shown alike ended differently"
            raise NoEvidence(why, "let each have an argument of its own that is no secret")
        if problem := ran[-1].detail.get("error"):
            raise NoEvidence(f"the command {problem}", "try it by hand with the run's folder as its last argument")
        code, took = ran[-1].detail["exit_code"], duration(ran[-1].took or 0.0)
        lines = ran[-1].detail.get("output") or ()
        reason = f"exit code {code} after {took}, bound 0" + (f": {lines[-1]}" if lines else "")
        verdict = {0: Verdict.PASS, UNCLEAR: Verdict.INCONCLUSIVE}.get(code, Verdict.FAIL)
        remedy = "" if verdict is Verdict.PASS else f"see its output: {ran[-1].detail.get('log') or 'it wrote none'}"
        evidence = of_events(ran[-1:]) if remedy else ()
        return self.result(verdict, reason, measured=code, bound=0, remedy=remedy, evidence=evidence)
