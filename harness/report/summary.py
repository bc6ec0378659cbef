"""Summary: everything a report says about one judged run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harness.verdict import NotApplicable, Result, Verdict, worst

CAUSES = ("ended", "injected", "recorded", "clocks")  # the checks of the run, the experiments and the record themselves


@dataclass(frozen=True)
class Summary:
    """One judged run. Times are Unix seconds of the run itself, so that judging again gives the same reports."""

    service: str
    started: float
    ended: float
    results: tuple[Result, ...]
    version: str = ""  # of the service
    commit: str = ""
    experiments: tuple[str, ...] = ()
    alerts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # checks.alert_coverage.statuses
    coverage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # checks.alert_coverage.coverage
    requests: int = 0  # rows of all generators
    lag_p99_ms: float | None = None  # of the load generator's dispatch
    not_applicable: tuple[NotApplicable, ...] = ()  # experiments that could not take place on this host
    left: tuple[str, ...] = ()  # what the run left behind
    remarks: tuple[str, ...] = ()  # what a reader should know that changes no verdict
    folder: str = ""  # the run's folder, as the user would type it

    @property
    def verdict(self) -> Verdict:
        """The worst of the results; nothing judged is INCONCLUSIVE."""
        return worst(self.results)

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return self.verdict.exit_code

    @property
    def ordered(self) -> list[Result]:
        """The results, each cause before what follows from it: first whether the run ended, and whether the record and
        the experiments can be relied on, then what was seen in them."""
        return sorted(self.results, key=lambda result: result.check not in CAUSES)

    def of(self, verdict: Verdict) -> list[Result]:
        """The results with one verdict, causes first."""
        return [r for r in self.ordered if r.verdict is verdict]

    @property
    def failing(self) -> list[Result]:
        """What did not pass, the worst first, in the order of the report: `harness why` counts from 1."""
        return [*self.of(Verdict.FAIL), *self.of(Verdict.INCONCLUSIVE)]


def utc(at: float) -> str:
    """A moment as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str) -> str:
    """Text on one line that no terminal, log or XML reader can be tricked by: control characters become a mark.

    Reasons quote what a service, a receiver or an exception said; that may hold anything.
    """
    return " ".join("".join(c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text).split())
