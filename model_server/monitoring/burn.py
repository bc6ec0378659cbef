"""Burn-rate rules from slos.yaml: alerts that fire when an objective's error budget goes too fast.

Multi-window, multi-burn-rate, as the workbook of site reliability engineering has them: a long window says that it
matters, a short one that it still goes on. What comes at night, with three requests an hour of which one fails, is no
trend: an alert also needs a few bad events in its long window, however large their share.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from prometheus_client.utils import floatToGoString

from model_server.telemetry.metrics import LATENCY_S

JOB = 'job="pneumonia-detector"'
PREDICTIONS = f'{JOB}, endpoint=~"/predict|/v2/models/.+/infer"'
FEWEST_BAD = 10  # requests in the long window
DOWN_MINUTE = "job:down:avg1m"
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21_600, "1d": 86_400, "3d": 259_200}


class Tier(NamedTuple):
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


class Objective(NamedTuple):
    """A promise of slos.yaml; its PromQL has $window for a window like 1h."""

    promise: str  # in words
    budget: float  # the share that may be bad
    tiers: tuple[Tier, ...]
    ratio: str  # PromQL: the share that was bad
    bad: str  # PromQL: what was bad
    # As much of `bad` in the long window may be chance: of requests so many in all, as a rate.
    chance: Callable[[Tier], float] = lambda tier: FEWEST_BAD / WINDOWS[tier.long]
    recorded: str = ""  # PromQL: `ratio` for the recordings, which may read each other; empty: the same
    reads: Mapping[str, str] = {}  # the recordings that it reads


def _availability(about: Mapping[str, Any]) -> Objective:
    """Up, minute by minute: a minute in which one scrape succeeded is a good one, because a scrape that fails alone is
    no outage. Two bad minutes at least, because a server that starts is not up at once. The tiers for tickets are left
    out: in their short windows of 2 h and 6 h the budget is 22 s, and a single bad minute would be as good as many.

    A minute without any instance is bad too, if Prometheus scraped something else (it was not Prometheus that was away)
    and if there was an instance before (a service that nobody has started yet breaks no promise)."""
    budget = 1 - _share(about["target"])
    # Half an hour is as far as a rule can look back beyond its hour and still be compressed for the gate. An alert
    # stops counting then; ServiceDown does not stop firing.
    down = textwrap.indent(_down(f"up{{{JOB}}}[30m]"), "  ")
    minutes = f"(\n{down}\n)[$window:1m]"
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
    return Objective(promise, _share(about["target"]), TIERS, f"{bad}\n  / {every}", bad)


def _latency(about: Mapping[str, Any]) -> Objective:
    """Predictions that took longer than the bound, of all predictions."""
    share, edge = _share(f"{about['percentile']}%"), _seconds(about["target"])
    if edge not in LATENCY_S:
        ends = ", ".join(f"{s:g}" for s in LATENCY_S)
        raise ValueError(f"no bucket of http_request_duration_seconds ends at {about['target']}; they end at {ends} s")
    fast = _per_s("http_request_duration_seconds_bucket", f'{PREDICTIONS}, le="{floatToGoString(edge)}"')
    every = _per_s("http_request_duration_seconds_count", PREDICTIONS)
    promise = f"{about['percentile']:g} % of predictions within {about['target']}"
    tiers = (Tier(14.4, "1h", "5m", "2m", "high"), *TIERS[1:])  # slow is not broken: nobody is woken for it
    return Objective(promise, 1 - share, tiers, f"1 - {fast}\n  / {every}", f"({every}\n  - {fast})")


def _per_s(metric: str, labels: str) -> str:
    return f"sum by (job) (rate({metric}{{{labels}}}[$window]))"


KINDS = {"availability": _availability, "latency": _latency, "error_rate": _error_rate}


def rules(slos: dict[str, Any]) -> dict[str, Any]:
    """The rules file for a parsed slos.yaml. ValueError: a target that is no objective, or that no bucket measures.

    The alerts do not read the recordings: an alert must be provable from what the service itself says."""
    alerts, recordings = [], []
    for name, about in slos["slos"].items():
        try:
            if name not in KINDS:
                raise ValueError("no such objective; availability, latency and error_rate are")
            objective = KINDS[name](about)
            alerts += _alerts(name, objective)
            recordings += _recordings(name, objective)
        except ValueError as error:
            raise ValueError(f"slos.yaml: {name}: {error}") from None
    return {"groups": [*alerts, {"name": "slo:recordings", "interval": "1m", "rules": recordings}]}


def _alerts(name: str, objective: Objective) -> Iterator[dict[str, Any]]:
    """A group for each tier whose bound can be passed at all."""
    burnable = [tier for tier in objective.tiers if tier.factor * objective.budget < 1]
    if not burnable:
        raise ValueError("its budget is too large to burn, so no alert could ever fire")
    title = "".join(word.capitalize() for word in name.split("_"))
    for tier in burnable:
        bound = _number(tier.factor * objective.budget)
        ratio = f"(\n{textwrap.indent(objective.ratio, '  ')}\n) > {bound}"
        parts = [ratio.replace("$window", window) for window in (tier.long, tier.short)]
        enough = f"{objective.bad.replace('$window', tier.long)} > {_number(objective.chance(tier))}"
        alert = f"{title}Burn{tier.long}"
        rule = {
            "alert": alert,
            "expr": "\nand ".join([*parts, enough]) + "\n",
            "for": tier.wait,
            "labels": {"severity": tier.severity, "service": "pneumonia-detector", "slo": name},
            "annotations": {
                "summary": f"The error budget of {name} burns {tier.factor:g} times too fast",
                "description": f"{{{{ $value | humanizePercentage }}}} were bad in {tier.long};"
                f" the objective is {objective.promise}.",
                "runbook_url": f"docs/runbook.md#{alert.lower()}",
            },
        }
        interval = {"interval": tier.interval} if tier.interval else {}
        yield {"name": f"slo:{name}:{tier.long}", **interval, "rules": [rule]}


def _recordings(name: str, objective: Objective) -> Iterator[dict[str, Any]]:
    yield from ({"record": record, "expr": expr} for record, expr in objective.reads.items())
    yield {"record": "slo:budget:ratio", "expr": f"vector({_number(objective.budget)})", "labels": {"slo": name}}
    for window in WINDOWS:
        expr = (objective.recorded or objective.ratio).replace("$window", window)
        yield {"record": f"slo:bad:ratio{window}", "expr": expr, "labels": {"slo": name}}


def _share(text: Any) -> float:
    """0.999 of "99.9%"."""
    found = re.fullmatch(r"(\d+\.?\d*)%", str(text))
    if not found or not 0 < float(found[1]) < 100:
        raise ValueError(f"{text!r} is no share between 0% and 100%")
    return float(found[1]) / 100


def _seconds(text: Any) -> float:
    """0.5 of "500ms"."""
    if not (found := re.fullmatch(r"(\d+\.?\d*)(ms|s)", str(text))):
        raise ValueError(f"{text!r} is no time like 500ms or 2s")
    return round(float(found[1]) / (1000 if found[2] == "ms" else 1), 6)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.10f}".rstrip("0")
