"""Starts: each start of a component takes no longer than the probe that would end it allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from harness.checks.check import Check, NoEvidence
from harness.checks.evidence import some
from harness.checks.parameters import Parameters
from harness.checks.view import View
from harness.history import History
from harness.parameters import Share
from harness.units import count, duration, percent
from harness.verdict import Reference, Result, Verdict

WORTH_A_REMARK = 0.5  # of the budget: a machine half as fast has none left


class _Start(NamedTuple):
    """One start of a component, in Unix seconds."""

    at: float
    until: float | None  # the first good answer to the probe; None: none came
    ended: float  # when it was restarted, or the record ends
    killed: bool  # by the probe, before its first good answer


@dataclass(frozen=True)
class Starts(Check):
    """Every start in a run, the first one and each after a restart, is over well within the time after which the
    startup probe, or liveness where there is none, would have it killed: initialDelaySeconds and periodSeconds times
    failureThreshold.

    Without that margin a slower machine kills it in a loop. Over means: the first good answer to that probe. A start
    with more in its environment, for one experiment, is not as production has it, and is not judged.
    """

    component: str = "server"
    probe: str = "startup"
    budget_s: float = 30.0
    uses_at_most: float = 0.8  # of the budget
    kind: ClassVar[str] = "starts"

    class Parameters(Parameters):
        uses_at_most: Share = Field(0.8, gt=0)

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Starts, ...]:
        """One for each replica; none where no probe ends what has not started."""
        share, budget = cls.Parameters.read(parameters, view)["uses_at_most"], view.starting
        return tuple(cls(name, budget.probe, budget.seconds, share) for name in view.replicas) if budget else ()

    @property
    def subject(self) -> str:
        return "start-up" if self.component == "server" else f"start-up of {self.component}"

    def judge(self, history: History) -> Result:
        """FAIL with the longest start, or those that were killed; INCONCLUSIVE where no start is recorded."""
        starts = self._starts(history)
        known = [s for s in starts if s.until is not None]
        killed = [s for s in starts if s.killed]
        overdue = [s for s in starts if s.until is None and not s.killed and s.ended - s.at > self.budget_s]
        bound = duration(self.uses_at_most * self.budget_s)
        remedy = f"raise failureThreshold of the {self.probe} probe, or start faster"
        budget = f"{self.probe} probe, {duration(self.budget_s)}"
        if killed or overdue:
            how = f"killed {count(len(killed), 'time')} by its {self.probe} probe" if killed else "it never was"
            reason = f"{self.component} was not started within the budget of its {budget}: {how}"
            evidence = self._references([*killed, *overdue])
            return self.result(Verdict.FAIL, reason, remedy, evidence=evidence, bound=self.budget_s, unit="s")
        if not known:
            what = "no start" if not starts else "no start to its end"
            raise NoEvidence(f"{what} of {self.component} is recorded", "judge a run of this version, to its end")
        longest = max(known, key=lambda s: s.until - s.at)
        took_s = longest.until - longest.at
        figures = {"measured": took_s, "bound": self.uses_at_most * self.budget_s, "unit": "s"}
        used = percent(round(took_s / self.budget_s, 3))
        reason = f"{count(len(known), 'start')}, the longest {duration(took_s)}: {used} of what its {budget}, allows"
        reason += f" (bound {percent(self.uses_at_most)}, {bound})"
        if took_s > self.uses_at_most * self.budget_s:
            reason += "; a machine little slower would kill it as it starts"
            return self.result(Verdict.FAIL, reason, remedy, evidence=self._references([longest]), **figures)
        if took_s > WORTH_A_REMARK * self.budget_s:
            reason += "; a machine half as fast would kill it as it starts"
        return self.result(Verdict.PASS, reason, **figures)

    def _starts(self, history: History) -> list[_Start]:
        begun = [e for e in history.of("stack", "start") if e.detail.get("component") == self.component]
        mine = [p for p in history.probes if p.component == self.component and p.probe == self.probe]
        restarts = [e for e in history.of("probe", "restart") if e.detail.get("process") == self.component]
        end = max((p.at for p in mine), default=0.0)
        found = []
        for start, following in zip(begun, [*(e.at for e in begun[1:]), float("inf")], strict=False):
            if start.detail.get("added"):
                continue
            at = start.at
            ends = [e for e in restarts if at < e.at <= following]
            ended = ends[0].at if ends else min(following, max(end, at))
            until = next((p.at for p in mine if at <= p.at <= ended and p.ok), None)
            killed = until is None and bool(ends) and ends[0].detail.get("cause") == self.probe
            found.append(_Start(at, until, ended, killed))
        return found

    def _references(self, starts: list[_Start]) -> tuple[Reference, ...]:
        """The start and the answers until it was over."""
        answers = [(s.at, s.ended if s.until is None else s.until) for s in starts]
        return some(
            [Reference("event", "stack start", s.at, s.at) for s in starts],
            [Reference("probe", f"{self.component} {self.probe}", *of) for of in answers],
        )
