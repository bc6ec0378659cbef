"""BaselineMetrics: what the service exposed, against the earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.checks.check import Check, NoEvidence
from harness.checks.earlier import AT_LEAST, FAIL, LAST, Compared, compared
from harness.checks.evidence import phase
from harness.checks.figures import metrics
from harness.checks.view import View
from harness.history import History, PastRun
from harness.units import count, listed
from harness.verdict import EVIDENCE_AT_MOST, Reference, Result, Verdict

NAMED_AT_MOST = 8
REMEDY = "give it its name back, or mend what reads it; if it is meant to be so: `harness history accept RUN`"


@dataclass(frozen=True)
class BaselineMetrics(Check):
    """Every metric that each of the earlier runs had is still exposed, with each of its labels."""

    phases: tuple[str, ...]
    mode: str = FAIL
    last: int = LAST
    at_least: int = AT_LEAST
    places: tuple[tuple[str, str], ...] = ()  # (`str` of an alert, file:line of its rule)
    kind: ClassVar[str] = "baseline_metrics"
    Parameters: ClassVar[type[Compared]] = Compared

    @classmethod
    def from_plan(cls, parameters: Any, view: View) -> tuple[BaselineMetrics, ...]:
        given = cls.Parameters.read(parameters, view)
        del given["worse_by"]  # which is about figures
        return (cls(view.phases, places=tuple((str(rule.alert), rule.place) for rule in view.rules), **given),)

    @property
    def subject(self) -> str:
        return "metrics against the baseline"

    def judge(self, history: History) -> Result:
        """FAIL with each metric, or label of one, that is gone, and the alerts that read it."""
        for name in self.phases:
            phase(history, name)
        return compared(self, history, lambda runs: self._judge(history, runs))

    def _judge(self, history: History, runs: Sequence[PastRun]) -> Result:
        if not (now := metrics(history)):
            raise NoEvidence("no sample of the service is in the record", "see Prometheus' log: did it scrape it?")
        first, *others = (run.metrics for run in runs)
        always = {name: set(labels) for name, labels in first.items() if all(name in one for one in others)}
        for one in others:
            for name in always:
                always[name] &= set(one[name])
        gone = [name for name in always if name not in now]
        bare = [(name, sorted(always[name] - set(now[name]))) for name in always if name in now]
        bare = [(name, labels) for name, labels in bare if labels]
        of = f"{count(len(always), 'metric')} that each of {len(runs)} earlier runs had"
        figures = {"measured": len(gone) + len(bare), "bound": 0, "unit": "metrics"}
        if not gone and not bare:
            return self.result(Verdict.PASS, f"all of {of} are there, with their labels", **figures)
        readers = self._readers(history)
        said = [f"{name}{readers.get(name, '')}" for name in gone]
        said += [f"{listed(labels)} of {name}{readers.get(name, '')}" for name, labels in bare]
        more = f" and {len(said) - NAMED_AT_MOST} others" if len(said) > NAMED_AT_MOST else ""
        reason = (
            f"{figures['measured']} of {of} lost its name or a label (bound 0): {'; '.join(said[:NAMED_AT_MOST])}{more}"
        )
        window = phase(history, self.phases[0])
        names = (*gone, *(name for name, _ in bare))[:EVIDENCE_AT_MOST]
        evidence = tuple(Reference("sample", name, window.start, window.end) for name in names)
        return self.result(Verdict.FAIL, reason, REMEDY, evidence=evidence, **figures)

    def _readers(self, history: History) -> Mapping[str, str]:
        """By the metric, which alerts read it and found nothing, and where their rules are."""
        places, found = dict(self.places), {}
        for alert, replay in (pair for of_phase in history.replays.values() for pair in of_phase.items()):
            for metric in replay.blind:
                found.setdefault(metric, {})[alert] = places.get(alert, "")
        return {metric: f", which {listed(list(_placed(alerts)))} read" for metric, alerts in found.items()}


def _placed(alerts: Mapping[str, str]) -> Iterator[str]:
    for alert, place in alerts.items():
        yield f"{alert} ({place})" if place else alert
