"""What a check may know of the plan when it is made: plain frozen data, filled by the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.parameters import Duration, Share, Strict

STEADY = "steady"  # the phase before the first experiment
Severity = Literal["critical", "high", "medium", "low"]


class AlertExpectation(Strict):
    """An alert that must fire for this fault; production time, counted from the fault's start and its effect's end."""

    alert: str
    severity: Severity
    receiver: str
    fires_within: Duration
    resolves_within: Duration
    proof: Literal["both", "replay"] = "both"


class ProbeExpectation(Strict):
    """What the kubelet must decide for one process."""

    restart: Literal["exit", "liveness", "never"]
    readiness: Literal["ready", "unready", "any"] = "any"
    at_most: int = Field(1, ge=1)  # restarts, where one is expected


class ClientExpectation(Strict):
    """What the clients may see; gate time."""

    errors_at_most: Share
    recovered_within: Duration  # from the fault on, until they are served again


class Contract(Strict):
    """All that an experiment promises. Without probes and clients it would decide too little, so both are asked for."""

    alerts: list[AlertExpectation]
    may_fire: tuple[str, ...] = ()
    probes: dict[str, ProbeExpectation] = Field(min_length=1)
    clients: ClientExpectation


@dataclass(frozen=True)
class RuleFact:
    """What a check must know of a production alert rule."""

    alert: str
    severity: str
    place: str
    applicable: bool = True  # False: this host lacks what the rule watches, a GPU, say
    always: bool = False  # it fires by its form alone, whatever it is called: a Watchdog, a dead man's switch


@dataclass(frozen=True)
class View:
    """The plan as the checks see it. Seconds and shares; production time unless a name says otherwise."""

    time_scale: float = 1.0
    rules: tuple[RuleFact, ...] = ()
    phases: tuple[str, ...] = (STEADY,)  # the steady load, then each experiment by its name
    left_out: tuple[str, ...] = ()  # experiments of the plan that do not take place this time
    contracts: tuple[tuple[str, Contract], ...] = ()  # (experiment, what it promises)
    may_fire: tuple[str, ...] = ()  # alerts that the load itself may raise
    availability: float | None = None  # the service's objectives; None: it states none
    latency: tuple[float, float] | None = None  # (percentile, milliseconds)
    error_ratio: float | None = None
    group_wait_s: float = 30.0  # the route's waits; Alertmanager's defaults
    group_interval_s: float = 300.0
    lag_p99_ms: float = 50.0  # what the generator may be off; gate time
    lag_p99_under_fault_ms: float = 100.0
    rate_within: float = 0.01

    @property
    def not_applicable(self) -> tuple[str, ...]:
        """The alerts that cannot be exercised on this host."""
        return tuple(rule.alert for rule in self.rules if not rule.applicable)

    @property
    def always_firing(self) -> tuple[str, ...]:
        """The alerts that fire whatever happens, and so show that alerting itself works."""
        return tuple(dict.fromkeys(str(rule.alert) for rule in self.rules if rule.always))

    def rule(self, alert: str, severity: str = "") -> RuleFact | None:
        """The rule of an alert, of one severity where that is given."""
        return next((r for r in self.rules if r.alert == alert and severity in ("", r.severity)), None)

    def proven(self, alert: str) -> dict[str, str]:
        """The severity and the place of an alert that is to be proven. Raises ValueError where no rule has it."""
        if (rule := self.rule(alert)) is None:
            raise ValueError(f"the service has no rule {alert}")
        return {"severity": rule.severity, "place": rule.place}
