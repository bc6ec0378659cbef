"""The contract in an experiment: `extensions: [{name: harness, expect: ...}]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.plan.yamlfile import Duration, Share, Strict


class AlertExpectation(Strict):
    """An alert that must fire for this fault; production time, counted from the fault's start and its effect's end."""

    alert: str
    severity: Literal["critical", "high", "medium", "low"]
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
    recovered_within: Duration


class Contract(Strict):
    """All that an experiment promises. Without probes and clients it would decide too little, so both are asked for."""

    alerts: list[AlertExpectation]
    may_fire: tuple[str, ...] = ()
    probes: dict[str, ProbeExpectation] = Field(min_length=1)
    clients: ClientExpectation
