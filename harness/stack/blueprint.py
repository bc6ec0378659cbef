"""All that must be known to bring a stack up. Times are gate seconds; texts may hold placeholders like {port}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.stack.access import Access
from harness.stack.prober import Probe


@dataclass(frozen=True)
class Start:
    """How a component is started, in the folder of gate.yaml."""

    command: str
    ready_within_s: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepare:
    """A command that is run once, to its end, before the service is started."""

    command: str
    output: str = ""  # the file that gets what it prints, which may be a secret; else its log does
    within_s: float = 60.0


@dataclass(frozen=True)
class Ready:
    """A test whether a dependency can be used: one of the three."""

    tcp: str = ""  # host:port
    http: str = ""  # URL, answered with a status below 400
    command: str = ""  # exit code 0


@dataclass(frozen=True)
class DependencySpec:
    """What the service needs: a component that is started, or an address where one is."""

    name: str
    start: Start | None
    address: str  # host:port; empty where it is started
    ready: Ready

    @property
    def wants_port(self) -> bool:
        """Whether it gets a port of this run."""
        texts = [self.start.command, *self.start.environment.values()] if self.start else []
        return any("{port}" in text for text in texts)


@dataclass(frozen=True)
class ServiceSpec:
    """The service, its replicas and what they need."""

    name: str
    start: Start
    probes: Mapping[str, Probe]
    replicas: tuple[str, ...] = ("server",)  # their names
    prepare: tuple[Prepare, ...] = ()
    dependencies: tuple[DependencySpec, ...] = ()
    requests: Access = field(default_factory=Access)


@dataclass(frozen=True)
class Monitoring:
    """What watches the service."""

    job: str
    metrics_path: str
    metrics: Access
    rules: str  # the text of the rule file that runs live
    alertmanager_config: Mapping[str, Any]  # the production configuration, not yet redirected
    alertmanager_folder: Path  # what its relative paths start from
    scrape_s: float
    evaluation_s: float


@dataclass(frozen=True)
class Blueprint:
    """A stack."""

    service: ServiceSpec
    monitoring: Monitoring
    workdir: Path
    time_scale: float
    port: int | None = None  # of the service; None: a free one
