"""Burn-rate rules from slos.yaml: alerts that fire when an objective's error budget goes too fast.

Multi-window, multi-burn-rate, as the workbook of site reliability engineering has them: a long window says that it
matters, a short one that it still goes on. What comes at night, with three requests an hour of which one fails, is no
trend: an alert also needs a few bad events in its long window, however large their share.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.utils import floatToGoString

from model_server.telemetry.metrics import LATENCY_S

JOB = 'job="pneumonia-detector"'
PREDICTIONS = f'{JOB}, endpoint=~"/predict|/v2/models/.+/infer"'
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
class Objective:
    """A promise of slos.yaml; its PromQL has $window for a window like 1h."""

    promise: str  # in words
    budget: float  # the share that may be bad
    tiers: tuple[Tier, ...]
    ratio: str  # PromQL: the share that was bad
    bad: str  # PromQL: what was bad
    chance: Callable[[Tier], float]  # as much of `bad` in the long window may be chance
    recorded: str = ""  # PromQL: `ratio` for the recordings, which may read each other; empty: the same
    reads: Mapping[str, str] = field(default_factory=dict)  # the recordings that it reads


def _availability(about: Mapping[str, Any]) -> Objective:
    """Up, minute by minute: a minute in which one scrape succeeded is a good one, because a scrape that fails alone is
    no outage. Two bad minutes at least, because a server that starts is not up at once. The tiers for tickets are left
    out: in their short windows of 2 h and 6 h the budget is 22 s, and a single bad minute would be as good as many.

    A minute without any instance is bad too, if Prometheus scraped something else (it was not Prometheus that was away)
    and if there was an instance before (a service that nobody has started yet breaks no promise)."""
    budget = 1 - _share(about["target"])
    # Half an hour is as far as a rule can look back beyond its hour and still be compressed for the gate. An alert
    # stops counting then; ServiceDown does not stop firing.
    minutes = f"(\n{_indented(_down(f'up{{{JOB}}}[30m]'))}\n)[$window:1m]"
    return Objective(
        f"{about['target']} up", budget, TIERS[:2], f"avg_over_time({minutes})", f"sum_over_time({minutes})",
        lambda tier: max(1, int(tier.factor * budget * WINDOWS[tier.long] / 60)),
        f"avg_over_time({DOWN_MINUTE}{{{JOB}}}[$window])",
        # It remembers by itself that there was an instance, however long ago.
        {DOWN_MINUTE: _down(f"{DOWN_MINUTE}{{{JOB}}}[1h]")},
    )  # fmt: skip


def _down(seen: str) -> str:
    """The share of the instances that were down in this minute; 1 when there was none and `seen` has any."""
    return (
        f"1 - avg by (job) (max_over_time(up{{{JOB}}}[1m]))\n"
        f"  or absent(up{{{JOB}}}) and on (job) last_over_time({seen}) and on () up offset 1m"
    )


def _error_rate(about: Mapping[str, Any]) -> Objective:
    """Requests that were answered 5xx, of all requests."""
    bad, every = _per_s("http_requests_total", f'{JOB}, status=~"5.."'), _per_s("http_requests_total", JOB)
    promise = f"at most {about['target']} of requests fail"
    return Objective(promise, _share(about["target"]), TIERS, f"{bad}\n  / {every}", bad, _few_requests)


def _latency(about: Mapping[str, Any]) -> Objective:
    """Predictions that took longer than the bound, of all predictions."""
    share, edge = _share(f"{about['percentile']}%"), _seconds(about["target"])
    if edge not in LATENCY_S:
        raise ValueError(
            f"no bucket of http_request_duration_seconds ends at {about['target']};"
            f" they end at {', '.join(f'{s:g}' for s in LATENCY_S)} s"
        )
    fast = _per_s("http_request_duration_seconds_bucket", f'{PREDICTIONS}, le="{floatToGoString(edge)}"')
    every = _per_s("http_request_duration_seconds_count", PREDICTIONS)
    promise = f"{about['percentile']:g} % of predictions within {about['target']}"
    tiers = (Tier(14.4, "1h", "5m", "2m", "high"), *TIERS[1:])  # slow is not broken: nobody is woken for it
    return Objective(promise, 1 - share, tiers, f"1 - {fast}\n  / {every}", f"({every}\n  - {fast})", _few_requests)


def _per_s(metric: str, labels: str) -> str:
    return f"sum by (job) (rate({metric}{{{labels}}}[$window]))"


def _few_requests(tier: Tier) -> float:
    return FEWEST_BAD / WINDOWS[tier.long]


KINDS = {"availability": _availability, "latency": _latency, "error_rate": _error_rate}


def rules(slos: dict[str, Any]) -> str:
    """The rules file for a parsed slos.yaml. ValueError: a target that is no objective, or that no bucket measures."""
    found = {}
    for name, about in slos["slos"].items():
        if name not in KINDS:
            raise ValueError(f"slos.yaml: {name}: no such objective; availability, latency and error_rate are")
        try:
            found[name] = KINDS[name](about)
        except ValueError as error:
            raise ValueError(f"slos.yaml: {name}: {error}") from None
    return HEAD + "\n".join(_alerts(name, one) for name, one in found.items()) + "\n" + _recordings(found)


HEAD = """\
# Generated from slos.yaml: python -m model_server.monitoring.generate
#
# The alerts do not read the recordings: an alert must be provable from what the service itself says.
groups:
"""


def _alerts(name: str, objective: Objective) -> str:
    said = ""
    title = "".join(word.capitalize() for word in name.split("_"))
    burnable = [tier for tier in objective.tiers if tier.factor * objective.budget < 1]
    if not burnable:
        raise ValueError(f"slos.yaml: {name}: its budget is too large to burn, so no alert could ever fire")
    for tier in burnable:
        bound = _number(tier.factor * objective.budget)
        parts = [f"(\n{_indented(_over(window, objective.ratio))}\n) > {bound}" for window in (tier.long, tier.short)]
        enough = f"{_over(tier.long, objective.bad)} > {_number(objective.chance(tier))}"
        expr = "\nand ".join([*parts, enough])
        alert = f"{title}Burn{tier.long}"
        interval = f"    interval: {tier.interval}\n" if tier.interval else ""
        said += (
            f"  - name: slo:{name}:{tier.long}\n{interval}    rules:\n"
            f"      - alert: {alert} # {tier.factor:g} x {_number(objective.budget)} = {bound}\n"
            f"        expr: |\n{_indented(expr, 10)}\n"
            f"        for: {tier.wait}\n"
            f"        labels: {{severity: {tier.severity}, service: pneumonia-detector, slo: {name}}}\n"
            f"        annotations:\n"
            f'          summary: "The error budget of {name} burns {tier.factor:g} times too fast"\n'
            f'          description: "{{{{ $value | humanizePercentage }}}} were bad in {tier.long};'
            f' the objective is {objective.promise}."\n'
            f"          runbook_url: docs/runbook.md#{alert.lower()}\n\n"
        )
    return said.rstrip("\n") + "\n"


def _recordings(found: Mapping[str, Objective]) -> str:
    said = "  - name: slo:recordings\n    interval: 1m\n    rules:\n"
    for name, objective in found.items():
        labels = f"        labels: {{slo: {name}}}\n"
        for record, expr in objective.reads.items():
            said += f"      - record: {record}\n        expr: |\n{_indented(expr, 10)}\n"
        said += f"      - record: slo:budget:ratio\n        expr: vector({_number(objective.budget)})\n{labels}"
        for window in WINDOWS:
            expr = _indented(_over(window, objective.recorded or objective.ratio), 10)
            said += f"      - record: slo:bad:ratio{window}\n        expr: |\n{expr}\n{labels}"
    return said


def _over(window: str, promql: str) -> str:
    return promql.replace("$window", window)


def _share(text: Any) -> float:
    """0.999 of "99.9%"."""
    try:
        share = float(str(text).removesuffix("%")) / 100
    except ValueError:
        share = 0
    if not str(text).endswith("%") or not 0 < share < 1:
        raise ValueError(f"{text!r} is no share between 0% and 100%")
    return share


def _seconds(text: Any) -> float:
    """0.5 of "500ms"."""
    for unit, size in (("ms", 0.001), ("s", 1.0)):
        if str(text).endswith(unit):
            try:
                return round(float(str(text).removesuffix(unit)) * size, 6)
            except ValueError:
                break
    raise ValueError(f"{text!r} is no time like 500ms or 2s")


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.10f}".rstrip("0")


def _indented(text: str, by: int = 2) -> str:
    return textwrap.indent(text, " " * by)
