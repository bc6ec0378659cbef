"""Promql: a bound on what a query of the run's Prometheus gives at the end of a phase."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from harness.checks.check import Check, NoEvidence, Query
from harness.checks.evidence import of_events, phase
from harness.checks.parameters import Parameters, Phase
from harness.checks.view import STEADY, View
from harness.eventlog import Event
from harness.history import History
from harness.verdict import Result, Verdict

HOLDS = {
    "below": lambda value, bound: value < bound,
    "at_most": lambda value, bound: value <= bound,
    "above": lambda value, bound: value > bound,
    "at_least": lambda value, bound: value >= bound,
}


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic would take it for 1 or 0
        raise ValueError(f"must be a number; got {value}")
    return value


Bound = Annotated[float, BeforeValidator(_no_switch), Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Promql(Check):
    """Every series that the query gives keeps the bound. Ranges in the query are gate time: `[30s]` is half a minute of
    the run, whatever its time scale."""

    query: str
    comparison: str  # one of HOLDS
    bound: float
    phase: str = STEADY
    kind: ClassVar[str] = "promql"

    class Parameters(Parameters):
        query: str = Field(pattern=r"\S")
        below: Bound | None = None
        above: Bound | None = None
        at_least: Bound | None = None
        at_most: Bound | None = None
        phase: Phase = STEADY

        @model_validator(mode="after")
        def _one_bound(self) -> Any:
            if sum(getattr(self, name) is not None for name in HOLDS) != 1:
                raise ValueError(f"must give one bound: {', '.join(HOLDS)}")
            return self

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[Promql, ...]:
        given = cls.Parameters.read(parameters, view)
        ((comparison, bound),) = ((name, given[name]) for name in HOLDS if given[name] is not None)
        return (cls(given["query"], comparison, bound, given["phase"]),)

    @property
    def subject(self) -> str:
        return f"{self.phase}: {' '.join(self.query.split())}"

    def asks(self) -> tuple[Query, ...]:
        return (Query(self.query),)

    def judge(self, history: History) -> Result:
        """FAIL with the worst series; INCONCLUSIVE where Prometheus gave no number, or was never asked."""
        values = self._values(history)
        worst = (max if self.comparison in ("below", "at_most") else min)(values, key=lambda one: one[1])
        which = f" of {_labels(worst[0])}" if worst[0] else ""
        among = f", the worst of {len(values):,} series" if len(values) > 1 else ""
        reason = f"{worst[1]:.6g} at the end of {self.phase}{which}{among}"
        reason += f", bound {self.comparison.replace('_', ' ')} {self.bound:.6g}"
        figures = {"measured": worst[1], "bound": self.bound}
        if HOLDS[self.comparison](worst[1], self.bound):
            for labels, value in values:
                if math.isinf(value):
                    why = f"the query gave {value} at the end of {self.phase}" + _of(labels)
                    raise NoEvidence(f"{why}, which keeps any such bound", "does it divide by zero?")
            return self.result(Verdict.PASS, reason, **figures)
        remedy = "see the query over this phase in the snapshot"
        evidence = of_events(self._answers(history)[-1:])
        return self.result(Verdict.FAIL, reason, remedy, evidence=evidence, **figures)

    def _values(self, history: History) -> list[tuple[Mapping[str, str], float]]:
        """The labels and the value of each series of the stored answer."""
        answers = [e.detail for e in self._answers(history)]
        if not answers:
            raise NoEvidence(f"no answer of Prometheus to the query is stored for {self.phase}", "run the gate again")
        if problem := answers[-1].get("error"):
            raise NoEvidence(f"Prometheus did not answer the query: {problem}", "try the query in Prometheus")
        values = [(labels, float(value)) for labels, value in answers[-1].get("series") or ()]
        if not values:
            why = f"the query gave no series at the end of {self.phase}"
            raise NoEvidence(why, "does the service have these metrics? see the snapshot")
        for labels, value in values:
            if math.isnan(value):
                why = f"the query gave NaN at the end of {self.phase}" + _of(labels)
                raise NoEvidence(why, "does it divide by zero, or look back over too short a time?")
        return values

    def _answers(self, history: History) -> list[Event]:
        """The stored answers to the query, the last time the phase took place."""
        window, asked = phase(history, self.phase), (self.query, self.phase)
        return [
            e
            for e in history.of("run", "query")
            if (e.detail.get("query"), e.detail.get("phase")) == asked and e.at >= window.start
        ]


def _of(labels: Mapping[str, str]) -> str:
    return f" for {_labels(labels)}" if labels else ""


def _labels(labels: Mapping[str, str]) -> str:
    """As PromQL writes them."""
    pairs = ", ".join(f'{name}="{value}"' for name, value in labels.items() if name != "__name__")
    return f"{labels.get('__name__', '')}{{{pairs}}}"
