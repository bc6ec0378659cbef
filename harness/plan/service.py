"""`service.yaml`: what is watched, and how; and the SLOs beside it."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from harness.checks.parameters import Duration, Share, Strict
from harness.plan.access import Access, HeaderName, Secret


def _command(text: str) -> str:
    try:
        if shlex.split(text):
            return text
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments: {error}") from None
    raise ValueError("must name a program")


Command = Annotated[str, AfterValidator(_command)]  # its arguments are split as a shell does; there is no shell


class Start(Strict):
    """How a component is started here, in the folder of gate.yaml; plan/components.py knows the placeholders."""

    command: Command
    ready_within: Duration = 60
    environment: dict[str, str] = Field(default_factory=dict)


class Prepare(Strict):
    """A command that is run once, to its end, before the service is started."""

    command: Command
    output: str = Field("", pattern=r"^(\{state\}/[^/]+)?$")  # gets what it prints, such as a key; else its log does
    within: Duration = 60


class ServiceStart(Start):
    """How the service is started here."""

    prepare: list[Annotated[Prepare, BeforeValidator(lambda v: {"command": v} if isinstance(v, str) else v)]] = Field(
        default_factory=list
    )

    @field_validator("command")
    @classmethod
    def _names_the_port(cls, command: str) -> str:
        if "{port}" not in command:
            raise ValueError("must contain {port}, the free port the harness chooses")
        return command


class ReadyTest(Strict):
    """How to see that a dependency can be used."""

    tcp: str | None = Field(None, pattern=r"^[^\s:]+:(\d+|\{[^\s:]+\})$")  # host:port accepts a connection
    http: str | None = Field(None, pattern="^https?://")  # the URL is answered with a status below 400
    command: Command | None = None  # it exits with 0

    @model_validator(mode="after")
    def _one_of(self) -> ReadyTest:
        if [self.tcp, self.http, self.command].count(None) != 2:
            raise ValueError("must name one of tcp (host:port), http (a URL) and command")
        return self


class DependencySpec(Strict):
    """What the service needs: started before it, or there already at an address."""

    start: Start | None = None
    address: str | None = Field(None, pattern=r"^[^\s:]+:\d+$")
    ready: ReadyTest | None = None  # else: its port, or its address, accepts a connection

    @model_validator(mode="after")
    def _can_be_tested(self) -> DependencySpec:
        if (self.start is None) == (self.address is None):
            raise ValueError("must have either a start command or an address, host:port")
        if self.start is not None and self.ready is None and not self.takes_port:
            raise ValueError("must say when it is ready (tcp, http or command), for its start has no {port} to try")
        return self

    @property
    def takes_port(self) -> bool:
        """Whether it gets a port of the run."""
        texts = [self.start.command, *self.start.environment.values()] if self.start else []
        return any("{port}" in text for text in texts)


class HttpHeader(Strict):
    """A header of a probe; a secret comes from elsewhere."""

    name: HeaderName
    value: str | None = None
    valueFrom: Secret | None = None

    @model_validator(mode="after")
    def _one_of(self) -> HttpHeader:
        if (self.value is None) == (self.valueFrom is None):
            raise ValueError("must have either a value or a valueFrom, {from_file: PATH} or {env: NAME}")
        return self


class ProbeSpec(Strict):
    """One probe, with the keys, units (seconds) and defaults of a pod specification."""

    path: str = Field(pattern="^/")
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    httpHeaders: list[HttpHeader] = Field(default_factory=list)
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


class Metrics(Access):
    """Where Prometheus scrapes the service, and how it is let in."""

    path: str = Field("/metrics", pattern="^/")

    @model_validator(mode="after")
    def _can_be_scraped(self) -> Metrics:
        if self.header is not None:
            raise ValueError("Prometheus 2.42 sends no header of another name than Authorization; use bearer or basic")
        return self


class ServiceFile(Strict):
    """The whole of service.yaml."""

    name: str
    start: ServiceStart
    replicas: int = Field(1, ge=1, le=16)
    dependencies: dict[str, DependencySpec] = Field(default_factory=dict)
    requests: Access = Access()
    metrics: Annotated[Metrics, BeforeValidator(lambda v: {"path": v} if isinstance(v, str) else v)] = Metrics()
    probes: Probes
    monitoring: Monitoring
    slos: str

    @property
    def replica_names(self) -> tuple[str, ...]:
        """The components that have probes."""
        return ("server",) if self.replicas == 1 else tuple(f"server-{i + 1}" for i in range(self.replicas))


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
