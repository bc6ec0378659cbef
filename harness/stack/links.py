"""Links: the connections between two parties of a stack that a fault can name, and that the proxy then sits in.

    clients        clients, the load included -> the service's entrance
    scrape         Prometheus -> each replica
    alerts         Prometheus -> Alertmanager
    notifications  Alertmanager -> the receivers' sinks
    collector      the service -> the receiver of its spans
    DEPENDENCY     the service -> that dependency, which has an address

Probes take none of them: they go to the component itself, as the kubelet's do.
"""

from __future__ import annotations

from harness.stack.spec import ServiceSpec

CLIENTS, SCRAPE, ALERTS, NOTIFICATIONS, COLLECTOR = "clients", "scrape", "alerts", "notifications", "collector"


def known(service: ServiceSpec) -> tuple[str, ...]:
    """The links that a service has; one that runs already finds its dependencies, and a collector, by itself."""
    if service.attached:
        return (CLIENTS, SCRAPE, ALERTS, NOTIFICATIONS)
    traced = () if service.telemetry.traces is None else (COLLECTOR,)
    needed = (name for name, one in service.dependencies.items() if one.address is not None or one.takes_port)
    return (CLIENTS, SCRAPE, ALERTS, NOTIFICATIONS, *traced, *needed)


def encrypted(service: ServiceSpec, link: str) -> bool:
    """Whether what goes through it is known to be TLS, so that no proxy can read it."""
    access = {CLIENTS: service.requests, SCRAPE: service.metrics}.get(link)
    return access is not None and access.scheme == "https"
