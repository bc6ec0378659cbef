"""`slos.yaml`: the objectives of the service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.checks.parameters import KeptShare, LostShare, Percentile
from harness.parameters import Duration, Strict


class AvailabilityObjective(Strict):
    """The share of time the service is up for its clients."""

    target: KeptShare
    measurement: Literal["uptime"] = "uptime"


class LatencyObjective(Strict):
    """A percentile of the response time."""

    target: Duration = Field(gt=0)
    percentile: Percentile
    measurement: Literal["response_time"] = "response_time"


class ErrorObjective(Strict):
    """The share of requests that fail."""

    target: LostShare
    measurement: Literal["error_ratio"] = "error_ratio"


class Slos(Strict):
    """The objectives; one that is missing is not judged."""

    availability: AvailabilityObjective | None = None
    latency: LatencyObjective | None = None
    error_rate: ErrorObjective | None = None


class SloFile(Strict):
    """The whole of slos.yaml."""

    slos: Slos
