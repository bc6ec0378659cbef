"""What every check declares, and the interface of entries that expand into several checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

from harness.alert import Alert
from harness.checks.parameters import Parameters
from harness.checks.view import View
from harness.history import History
from harness.verdict import Result, Verdict


class NoEvidence(Exception):
    """The record cannot answer a check's question; `remedy` says what would let it."""

    def __init__(self, why: str, remedy: str = ""):
        super().__init__(why)
        self.remedy = remedy


class Query(NamedTuple):
    """Asked of Prometheus at the end of each phase that the check is about; the answer becomes evidence."""

    promql: str


class Execution(NamedTuple):
    """A command that is run once the evidence is stored; its exit code and its last lines become evidence."""

    argv: tuple[str, ...]
    timeout_s: float


class Group:
    """An entry of gate.yaml that stands for several checks and is none itself."""

    kind: ClassVar[str]
    Parameters: ClassVar[type[Parameters]] = Parameters

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        """The checks that the entry stands for. Raises ValueError; a pydantic ValidationError names each parameter."""
        raise NotImplementedError


# What stands for a field that a check does not have. As a class attribute it would be the default of that field.
ABSENT = {"phase": "", "experiment": "", "phases": (), "generator": "", "alert": "", "severity": "", "place": ""}


class Check:
    """A check: a frozen dataclass of plain fields and one pure method, `judge`. What it does not declare is as here."""

    kind: ClassVar[str]  # its name in gate.yaml and in the results
    Parameters: ClassVar[type[Parameters]] = Parameters  # what gate.yaml may say of it; named as its fields, or aliased
    timing_independent: ClassVar[bool] = False  # a FAIL holds although the generator or the machine was overloaded
    judges_results: ClassVar[bool] = False  # judged last, by `judge_results`
    compares_clocks: ClassVar[bool] = False  # holds times of the generator against those of others

    phase: str  # the phase that it judges, whatever happened in it
    experiment: str  # the experiment whose fault it judges the consequences of
    phases: tuple[str, ...]  # where it judges several
    generator: str  # whose rows it judges by; empty where it judges by none
    alert: Alert | str  # what it proves, where it proves an alert
    severity: str  # of that alert
    place: str  # file:line of what it is about, where there is one

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT:
            return ABSENT[name]
        raise AttributeError(f"{type(self).__name__} has no {name}")

    @property
    def about(self) -> tuple[str, ...]:
        """The phases that it judges, an experiment's by its name; empty: all of the run."""
        return self.phases or tuple(filter(None, (self.phase, self.experiment)))

    @property
    def subject(self) -> str:
        """What is judged, in a few words: "steady p95", "server-crash: ServiceDown"."""
        raise NotImplementedError

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> Sequence[Check]:
        """The checks that an entry of gate.yaml stands for. Raises as Group.from_plan."""
        return (cls(**cls.Parameters.read(parameters, view)),)

    def judge(self, history: History) -> Result:
        """The verdict with the measured figure and the bound. Raises NoEvidence where the record cannot answer."""
        raise NotImplementedError

    def judge_results(self, history: History, results: Sequence[Result]) -> Result:
        """The same, from the results of the checks that do not judge results."""
        raise NotImplementedError

    def attributable(self, history: History) -> bool:
        """Whether a FAIL is the service's own although the generator's figures are in doubt."""
        return False

    def timings(self, history: History) -> Mapping[str, float]:
        """What is known in production seconds, whatever the verdict."""
        return {}

    def asks(self) -> Sequence[Query | Execution]:
        """What must be asked or run to have its evidence."""
        return ()

    def to_store(self) -> Self:
        """The check as it is stored: one that may hold a secret leaves it out, and is judged the same."""
        return self

    def without(self, phase: str) -> Self | None:
        """The same check where a phase does not take place; None where nothing is left of it."""
        if phase == self.phase or self.judges_results:
            return None
        return replace(self, phases=tuple(p for p in self.phases if p != phase)) if self.phases else self

    def result(self, verdict: Verdict, reason: str, remedy: str = "", **more: Any) -> Result:
        """A Result of this check about its subject, at its place."""
        about = {
            "alert": str(self.alert),
            "severity": self.severity,
            "experiment": self.experiment,
            "place": self.place,
        }
        return Result(self.kind, self.subject, verdict, reason, remedy=remedy, **about | more)
