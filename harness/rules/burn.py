"""Burn-rate rules from objectives: alerts that fire when an error budget goes too fast.

Multi-window, multi-burn-rate, as the workbook of site reliability engineering has them: a long window says that it
matters, a short one that it still goes on. What comes at night, with three requests an hour of which one fails, is no
trend: an alert also needs a few bad events in its long window, however large their share.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import promql_parser as promql
import yaml

from harness.units import percent, prometheus_duration

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


@dataclass(frozen=True)
class Objective:
    """A promise; its PromQL has $window for a window like 1h."""

    name: str  # as slos.yaml has it
    promise: str  # in words
    budget: float  # the share that may be bad
    tiers: tuple[Tier, ...]
    ratio: str  # PromQL: the share that was bad
    bad: str  # PromQL: what was bad
    # As much of `bad` in the long window may be chance: of requests so many in all, as a rate.
    chance: Callable[[Tier], float] = lambda tier: FEWEST_BAD / WINDOWS[tier.long]
    recorded: str = ""  # PromQL: `ratio` for the recordings, which may read each other; empty: the same
    reads: Mapping[str, str] = field(default_factory=dict)  # the recordings that it reads


def availability(job: str, kept: float) -> Objective:
    """Up, minute by minute: a minute in which one scrape succeeded is a good one, because a scrape that fails alone is
    no outage. Two bad minutes at least, because a server that starts is not up at once. The tiers for tickets are left
    out: in their short windows of 2 h and 6 h the budget is 22 s, and a single bad minute would be as good as many.

    A minute without any instance is bad too, if Prometheus scraped something else (it was not Prometheus that was away)
    and if there was an instance before (a service that nobody has started yet breaks no promise)."""
    budget, of = 1 - kept, selector(job)
    # Half an hour is as far as a rule can look back beyond its hour and still be compressed for the gate. An alert
    # stops counting then; one on `up` itself does not stop firing.
    down = textwrap.indent(_down(of, f"up{{{of}}}[30m]"), "  ")
    minutes = f"(\n{down}\n)[$window:1m]"
    return Objective(
        "availability", f"{_percent(kept)} up", budget, TIERS[:2],
        f"avg_over_time({minutes})", f"sum_over_time({minutes})",
        lambda tier: max(1, int(tier.factor * budget * WINDOWS[tier.long] / 60)),
        f"avg_over_time({DOWN_MINUTE}{{{of}}}[$window])",
        # It remembers by itself that there was an instance, however long ago.
        {DOWN_MINUTE: _down(of, f"{DOWN_MINUTE}{{{of}}}[1h]")},
    )  # fmt: skip


def latency(metric: str, of: str, within_s: float, percentile: float, unit_s: float = 1.0) -> Objective:
    """Requests that took longer than the bound, of all that the histogram `metric` observes; `of` selects its series.
    unit_s: the seconds of its unit."""
    edge = round(within_s / unit_s, 9)
    # Some clients of Prometheus write whole numbers as 1, others as 1.0.
    ends = f'le=~"{edge:.0f}|{edge:.1f}"' if edge.is_integer() else f'le="{edge!r}"'
    fast, every = _per_s(f"{metric}_bucket", f"{of}, {ends}"), _per_s(f"{metric}_count", of)
    promise = f"{percentile:g} % of requests within {prometheus_duration(within_s)}"
    tiers = (TIERS[0]._replace(severity="high"), *TIERS[1:])  # slow is not broken: nobody is woken for it
    ratio, bad = f"1 - {fast}\n  / {every}", f"({every}\n  - {fast})"
    return Objective("latency", promise, 1 - percentile / 100, tiers, ratio, bad)


def error_rate(metric: str, of: str, status: str, lost: float) -> Objective:
    """Requests that were answered 5xx, by the label `status` of the counter `metric`, of all requests."""
    bad, every = _per_s(metric, f'{of}, {status}=~"5.."'), _per_s(metric, of)
    promise = f"at most {_percent(lost)} of requests fail"
    return Objective("error_rate", promise, lost, TIERS, f"{bad}\n  / {every}", bad)


def selector(job: str, labels: Mapping[str, Sequence[str]] = {}) -> str:
    """What selects the series of a job whose labels have one of these values each."""
    return ", ".join([f'job="{job}"', *(_matcher(name, values) for name, values in labels.items())])


def _matcher(name: str, values: Sequence[str]) -> str:
    """A label that has one of these values, as they are: in a pattern most of the signs of a path mean something."""
    comparison, text = ("=", values[0]) if len(values) == 1 else ("=~", "|".join(map(_literal, values)))
    return f"{name}{comparison}{json.dumps(text, ensure_ascii=False)}"


def _literal(value: str) -> str:
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", value)  # what RE2 reads as more than itself


def rules(objectives: Sequence[Objective], service: str, runbook: str) -> dict[str, Any]:
    """The content of a rule file. `service`: the label by which the alerts name it. ValueError: an objective that no
    alert could guard, or a selector that is no PromQL.

    The alerts do not read the recordings: an alert must be provable from what the service itself says."""
    alerts = [group for objective in objectives for group in _alerts(objective, service, runbook)]
    recordings = [rule for objective in objectives for rule in _recordings(objective)]
    for rule in [*(rule for group in alerts for rule in group["rules"]), *recordings]:
        try:
            promql.parse(rule["expr"])
        except ValueError as error:
            name, said = rule.get("alert") or rule["record"], " ".join(str(error).split())
            raise ValueError(f"the expression of {name} would be no PromQL: {said}") from None
    return {"groups": [*alerts, {"name": "slo:recordings", "interval": "1m", "rules": recordings}]}


def text(content: dict[str, Any]) -> str:
    """A rule file, each expression as it is read best."""
    return yaml.dump(content, Dumper=_Readable, sort_keys=False, width=1000, allow_unicode=True)


class _Readable(yaml.SafeDumper):
    """Texts of several lines stay so."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def _alerts(objective: Objective, service: str, runbook: str) -> Iterator[dict[str, Any]]:
    """A group for each tier whose bound can be passed at all."""
    name = objective.name
    burnable = [tier for tier in objective.tiers if tier.factor * objective.budget < 1]
    if not burnable or not objective.budget > 0:
        raise ValueError(f"{name}: no alert could guard {objective.promise}; choose a target below 100% and above 0%")
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
            "labels": {"severity": tier.severity, "service": service, "slo": name},
            "annotations": {
                "summary": f"The error budget of {name} burns {tier.factor:g} times too fast",
                "description": f"{{{{ $value | humanizePercentage }}}} were bad in {tier.long};"
                f" the objective is {objective.promise}.",
                "runbook_url": f"{runbook}#{alert.lower()}",
            },
        }
        interval = {"interval": tier.interval} if tier.interval else {}
        yield {"name": f"slo:{name}:{tier.long}", **interval, "rules": [rule]}


def _recordings(objective: Objective) -> Iterator[dict[str, Any]]:
    yield from ({"record": record, "expr": expr} for record, expr in objective.reads.items())
    measured = {"slo:budget:ratio": f"vector({_number(objective.budget)})"}
    for window in WINDOWS:
        measured[f"slo:bad:ratio{window}"] = (objective.recorded or objective.ratio).replace("$window", window)
    yield from ({"record": name, "expr": expr, "labels": {"slo": objective.name}} for name, expr in measured.items())


def _down(of: str, seen: str) -> str:
    """The share of the instances that were down in this minute; 1 when there was none and `seen` has any."""
    return (
        f"1 - avg by (job) (max_over_time(up{{{of}}}[1m]))\n"
        f"  or absent(up{{{of}}}) and on (job) last_over_time({seen}) and on () up offset 1m"
    )


def _per_s(metric: str, of: str) -> str:
    return f"sum by (job) (rate({metric}{{{of}}}[$window]))"


def _percent(share: float) -> str:
    return percent(share).replace(" ", "")


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.10f}".rstrip("0")
