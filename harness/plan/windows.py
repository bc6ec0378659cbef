"""Which experiments take place at the same time: neighbours in a plan whose effects cannot meet, by what files say.

Two of them share a window where each leaves the service as it is, they are done to different things, and no alert that
one must raise has anything to do with an alert that the other may raise: neither its name, nor a metric that its rule
reads, nor an inhibition. Whatever is not known to be so takes place alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.checks.view import Contract, RuleFact, named
from harness.plan.experiments import Experiment
from harness.units import listed

ERRORS_AT_MOST = 0.01  # of the clients' requests: whoever allows more is done to them

Inhibiting = Mapping[str, frozenset[str]]  # alert -> those that may inhibit it


def apart(
    one: Experiment, other: Experiment, facts: Sequence[RuleFact] = (), inhibiting: Inhibiting | None = None
) -> str:
    """Why two experiments do not take place at the same time; empty where they may."""
    for each in (one, other):
        if each.touches is None:
            return f"{each.name} may reach more than what it names"
        if why := _disturbs(each.contract):
            return f"{each.name} {why}"
    if both := one.touches & other.touches:
        return f"both are done to {listed(sorted(both))}"
    if not one.starts_like(other):
        return "they want the service started differently"
    for first, second in ((one, other), (other, one)):
        must = {want.alert for want in first.contract.alerts}
        may = {want.alert for want in second.contract.alerts} | _names(second.contract.may_fire, facts)
        if common := must & may:
            return f"{first.name} must raise {listed(sorted(common))}, and {second.name} may"
        if common := _reads(must, facts) & _reads(may, facts):
            return f"alerts of both read {listed(sorted(common))}"
        for alert in sorted(must):
            if by := (inhibiting or {}).get(alert, frozenset()) & may:
                return f"{listed(sorted(by))}, which {second.name} may raise, may inhibit {alert} of {first.name}"
    return ""


def windows(
    experiments: Sequence[Experiment], facts: Sequence[RuleFact] = (), inhibiting: Inhibiting | None = None
) -> list[tuple[Experiment, ...]]:
    """The experiments in their order, those together that take place at the same time."""
    found: list[tuple[Experiment, ...]] = []
    for experiment in experiments:
        if found and not any(apart(one, experiment, facts, inhibiting) for one in found[-1]):
            found[-1] = (*found[-1], experiment)
        else:
            found.append((experiment,))
    return found


def _disturbs(contract: Contract) -> str:
    """What of a contract allows that the service, or what is recorded of it, is not as it is in peace."""
    if any(want.restart != "never" or want.readiness != "ready" for want in contract.probes.values()) or contract.stops:
        return "may restart the service or take it out of traffic"
    if contract.clients.errors_at_most > ERRORS_AT_MOST:
        return "may disturb its clients"
    if contract.may_lose or contract.scrape_gap:
        return "may lose what is recorded"
    if any(want.held is not None for want in contract.alerts):
        return "is held in its replay, and what happens beside it would be held too"
    return ""


def _names(entries: Iterable[str], facts: Sequence[RuleFact]) -> set[str]:
    return {fact.alert.name for entry in entries for fact in named(entry, facts)} if facts else {*entries}


def _reads(alerts: Iterable[str], facts: Sequence[RuleFact]) -> set[str]:
    alerts = {*alerts}
    return {metric for fact in facts if fact.alert.name in alerts for metric in fact.reads}
