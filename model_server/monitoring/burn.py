"""Burn-rate rules from slos.yaml: alerts that fire when an objective's error budget goes too fast.

Multi-window, multi-burn-rate, as the workbook of site reliability engineering has them: a long window says that it
matters, a short one that it still goes on. What comes at night, with three requests an hour of which one fails, is no
trend: an alert also needs a few bad events in its long window, however large their share.
"""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from prometheus_client.utils import floatToGoString

from model_server.telemetry.metrics import LATENCY_S

JOB = 'job="pneumonia-detector"'
PREDICTIONS = 'endpoint=~"/predict|/v2/models/.+/infer"'
FEWEST_BAD = 10  # requests in the long window
DOWN_MINUTE = "job:down:avg1m"
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21_600, "1d": 86_400, "3d": 259_200}


@dataclass(frozen=True)
class Tier:
    """One speed at which a budget may burn, in multiples of the speed that would use it up in exactly 30 days."""

    factor: float
    long: str
    short: str
    wait: str  # the rule's `for`
    severity: str
    interval: str = ""  # how often it is evaluated; empty: as often as any rule


TIERS = (
    Tier(14.4, "1h", "5m", "2m", "critical"),  # 2 % of 30 days' budget in an hour
    Tier(6, "6h", "30m", "15m", "high", "1m"),  # 5 % in six hours
    Tier(3, "1d", "2h", "1h", "medium", "5m"),  # 10 % in a day
    Tier(1, "3d", "6h", "3h", "low", "5m"),  # 10 % in three days
)


@dataclass(frozen=True)
class Objective(ABC):
    """A promise of slos.yaml as PromQL; its methods take a window like "1h"."""

    name: str  # as in slos.yaml
    promise: str  # in words
    budget: float  # the share that may be bad
    tiers: tuple[Tier, ...]

    @abstractmethod
    def ratio(self, window: str) -> str:
        """The share that was bad."""

    @abstractmethod
    def enough(self, tier: Tier) -> str:
        """Whether what was bad in the long window is more than chance."""

    def recorded(self, window: str) -> str:
        """The share that was bad, for the recordings, which may read each other."""
        return self.ratio(window)


class Availability(Objective):
    """Up, minute by minute: a minute in which one scrape succeeded is a good one, because a scrape that fails alone is
    no outage. Two bad minutes at least, because a server that starts is not up at once. The tiers for tickets are left
    out: in their short windows of 2 h and 6 h the budget is 22 s, and a single bad minute would be as good as many.

    A minute without any instance is bad too, if Prometheus scraped something else (it was not Prometheus that was away)
    and if there was an instance before (a service that nobody has started yet breaks no promise)."""

    def ratio(self, window: str) -> str:
        return f"avg_over_time({self._minutes(window)})"

    def enough(self, tier: Tier) -> str:
        fewest = max(1, int(tier.factor * self.budget * WINDOWS[tier.long] / 60))
        return f"sum_over_time({self._minutes(tier.long)}) > {fewest}"

    def recorded(self, window: str) -> str:
        return f"avg_over_time({DOWN_MINUTE}{{{JOB}}}[{window}])"

    def minute(self) -> str:
        """What is recorded as DOWN_MINUTE. It remembers by itself that there was an instance, however long ago."""
        return self._down(f"{DOWN_MINUTE}{{{JOB}}}[1h]")

    def _minutes(self, window: str) -> str:
        # Half an hour is as far as a rule can look back beyond its hour and still be compressed for the gate. An alert
        # stops counting then; ServiceDown does not stop firing.
        return f"(\n{_indented(self._down(f'up{{{JOB}}}[30m]'))}\n)[{window}:1m]"

    def _down(self, seen: str) -> str:
        """The share of the instances that were down in this minute; 1 when there was none and `seen` has any."""
        return (
            f"1 - avg by (job) (max_over_time(up{{{JOB}}}[1m]))\n"
            f"  or absent(up{{{JOB}}}) and on (job) last_over_time({seen}) and on () up offset 1m"
        )


class OfRequests(Objective):
    """An objective that counts requests."""

    def ratio(self, window: str) -> str:
        return f"{self.bad(window)}\n  / {self.all(window)}"

    def enough(self, tier: Tier) -> str:
        return f"{self.bad(tier.long)} > {_number(FEWEST_BAD / WINDOWS[tier.long])}"

    @abstractmethod
    def bad(self, window: str) -> str:
        """What was bad, a second."""

    @abstractmethod
    def all(self, window: str) -> str:
        """What there was, a second."""


class Errors(OfRequests):
    """Requests that were answered 5xx, of all requests."""

    def bad(self, window: str) -> str:
        return f'sum by (job) (rate(http_requests_total{{{JOB}, status=~"5.."}}[{window}]))'

    def all(self, window: str) -> str:
        return f"sum by (job) (rate(http_requests_total{{{JOB}}}[{window}]))"


@dataclass(frozen=True)
class Latency(OfRequests):
    """Predictions that took longer than the bound, of all predictions."""

    edge: str = ""  # the bound, as the histogram's label has it

    def ratio(self, window: str) -> str:
        return f"1 - {self._fast(window)}\n  / {self.all(window)}"

    def bad(self, window: str) -> str:
        return f"({self.all(window)}\n  - {self._fast(window)})"

    def all(self, window: str) -> str:
        return f"sum by (job) (rate(http_request_duration_seconds_count{{{self._predict}}}[{window}]))"

    def _fast(self, window: str) -> str:
        bucket = f'http_request_duration_seconds_bucket{{{self._predict}, le="{self.edge}"}}'
        return f"sum by (job) (rate({bucket}[{window}]))"

    @property
    def _predict(self) -> str:
        return f"{JOB}, {PREDICTIONS}"


def objectives(slos: dict[str, Any]) -> list[Objective]:
    """The objectives of a parsed slos.yaml. ValueError: a target that is no objective, or that no bucket measures."""
    found: list[Objective] = []
    for name, about in slos["slos"].items():
        match name:
            case "availability":
                up = _share(name, about["target"])
                found.append(Availability(name, f"{about['target']} up", 1 - up, TIERS[:2]))
            case "error_rate":
                errors = _share(name, about["target"])
                found.append(Errors(name, f"at most {about['target']} of requests fail", errors, TIERS))
            case "latency":
                share, edge = _share(name, f"{about['percentile']}%"), _seconds(name, about["target"])
                if edge not in LATENCY_S:
                    raise ValueError(
                        f"slos.yaml: {name}: no bucket of http_request_duration_seconds ends at {about['target']};"
                        f" they end at {', '.join(f'{s:g}' for s in LATENCY_S)} s"
                    )
                promise = f"{about['percentile']:g} % of predictions within {about['target']}"
                # Slow is not broken: nobody is woken for it.
                tiers = (Tier(14.4, "1h", "5m", "2m", "high"), *TIERS[1:])
                found.append(Latency(name, promise, 1 - share, tiers, floatToGoString(edge)))
            case _:
                raise ValueError(f"slos.yaml: {name}: no such objective; availability, latency and error_rate are")
    return found


def rules(slos: dict[str, Any]) -> str:
    """The rules file for a parsed slos.yaml. ValueError as `objectives`."""
    found = objectives(slos)
    return HEAD + "\n".join(_alerts(objective) for objective in found) + "\n" + _recordings(found)


HEAD = """\
# Generated from slos.yaml: python -m model_server.monitoring.generate
#
# The alerts do not read the recordings: an alert must be provable from what the service itself says.
groups:
"""


def _alerts(objective: Objective) -> str:
    said = ""
    title = "".join(word.capitalize() for word in objective.name.split("_"))
    burnable = [tier for tier in objective.tiers if tier.factor * objective.budget < 1]
    if not burnable:
        raise ValueError(f"slos.yaml: {objective.name}: its budget is too large to burn, so no alert could ever fire")
    for tier in burnable:
        bound = _number(tier.factor * objective.budget)
        parts = [f"(\n{_indented(objective.ratio(window))}\n) > {bound}" for window in (tier.long, tier.short)]
        expr = "\nand ".join([*parts, objective.enough(tier)])
        alert = f"{title}Burn{tier.long}"
        interval = f"    interval: {tier.interval}\n" if tier.interval else ""
        said += (
            f"  - name: slo:{objective.name}:{tier.long}\n{interval}    rules:\n"
            f"      - alert: {alert} # {tier.factor:g} x {_number(objective.budget)} = {bound}\n"
            f"        expr: |\n{_indented(expr, 10)}\n"
            f"        for: {tier.wait}\n"
            f"        labels: {{severity: {tier.severity}, service: pneumonia-detector, slo: {objective.name}}}\n"
            f"        annotations:\n"
            f'          summary: "The error budget of {objective.name} burns {tier.factor:g} times too fast"\n'
            f'          description: "{{{{ $value | humanizePercentage }}}} were bad in {tier.long};'
            f' the objective is {objective.promise}."\n'
            f"          runbook_url: docs/runbook.md#{alert.lower()}\n\n"
        )
    return said.rstrip("\n") + "\n"


def _recordings(found: list[Objective]) -> str:
    said = "  - name: slo:recordings\n    interval: 1m\n    rules:\n"
    for objective in found:
        labels = f"        labels: {{slo: {objective.name}}}\n"
        if isinstance(objective, Availability):
            said += f"      - record: {DOWN_MINUTE}\n        expr: |\n{_indented(objective.minute(), 10)}\n"
        said += f"      - record: slo:budget:ratio\n        expr: vector({_number(objective.budget)})\n{labels}"
        for window in WINDOWS:
            expr = _indented(objective.recorded(window), 10)
            said += f"      - record: slo:bad:ratio{window}\n        expr: |\n{expr}\n{labels}"
    return said


def _share(name: str, text: Any) -> float:
    """0.999 of "99.9%"."""
    try:
        share = float(str(text).removesuffix("%")) / 100
    except ValueError:
        share = 0
    if not str(text).endswith("%") or not 0 < share < 1:
        raise ValueError(f"slos.yaml: {name}: {text!r} is no share between 0% and 100%")
    return share


def _seconds(name: str, text: Any) -> float:
    """0.5 of "500ms"."""
    for unit, size in (("ms", 0.001), ("s", 1.0)):
        if str(text).endswith(unit):
            try:
                return round(float(str(text).removesuffix(unit)) * size, 6)
            except ValueError:
                break
    raise ValueError(f"slos.yaml: {name}: {text!r} is no time like 500ms or 2s")


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.10f}".rstrip("0")


def _indented(text: str, by: int = 2) -> str:
    return textwrap.indent(text, " " * by)
