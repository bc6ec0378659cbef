"""`service.yaml`: what is watched, and how; and the SLOs beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from harness.checks.parameters import Duration, Share, Strict


class Start(Strict):
    """How the service is started here."""

    command: str  # with {port}
    ready_within: Duration = 60

    @field_validator("command")
    @classmethod
    def _names_the_port(cls, command: str) -> str:
        if "{port}" not in command:
            raise ValueError("must contain {port}, the free port the harness chooses")
        return command


class ProbeSpec(Strict):
    """One probe, with the keys, units (seconds) and defaults of a pod specification."""

    path: str = Field(pattern="^/")
    periodSeconds: int = Field(10, ge=1)
    timeoutSeconds: int = Field(1, ge=1)
    failureThreshold: int = Field(3, ge=1)
    successThreshold: int = Field(1, ge=1)
    initialDelaySeconds: int = Field(0, ge=0)
    terminationGracePeriodSeconds: int | None = Field(None, ge=0)


class Probes(Strict):
    """The probes the emulator drives."""

    startup: ProbeSpec | None = None
    liveness: ProbeSpec | None = None
    readiness: ProbeSpec

    @field_validator("startup", "liveness")
    @classmethod
    def _one_success(cls, probe: ProbeSpec | None) -> ProbeSpec | None:
        if probe is not None and probe.successThreshold != 1:
            raise ValueError("successThreshold must be 1 for startup and liveness, as in Kubernetes")
        return probe


class Monitoring(Strict):
    """The production monitoring of the service; paths beside service.yaml."""

    job: str
    rules: list[str] = Field(min_length=1)
    alertmanager: str
    scrape_interval: Duration = 15
    evaluation_interval: Duration = 15
    needs: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # capability of the host -> alerts that need it


class ServiceFile(Strict):
    """The whole of service.yaml."""

    name: str
    start: Start
    metrics: str = "/metrics"
    probes: Probes
    monitoring: Monitoring
    slos: str


class AvailabilityObjective(Strict):
    """The share of time the service is up for its clients."""

    target: Share
    measurement: Literal["uptime"] = "uptime"


class LatencyObjective(Strict):
    """A percentile of the response time."""

    target: Duration
    percentile: float = Field(gt=0, lt=100)
    measurement: Literal["response_time"] = "response_time"


class ErrorObjective(Strict):
    """The share of requests that fail."""

    target: Share
    measurement: Literal["error_ratio"] = "error_ratio"


class Slos(Strict):
    """The objectives, in the guide's form."""

    availability: AvailabilityObjective | None = None
    latency: LatencyObjective | None = None
    error_rate: ErrorObjective | None = None


class SloFile(Strict):
    """The whole of slos.yaml."""

    slos: Slos
