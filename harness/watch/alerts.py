"""Which alerts are pending or firing right now."""

from __future__ import annotations

import httpx

# One client for the process, because each new one would load the certificate store; loopback is never behind a proxy.
_CLIENT = httpx.Client(trust_env=False, verify=False)


def active(prometheus_url: str, timeout_s: float = 2.0) -> dict[str, str]:
    """Alert name -> "firing" or "pending" (the worse, where one has several instances). Raises httpx.HTTPError."""
    answer = _CLIENT.get(f"{prometheus_url}/api/v1/alerts", timeout=timeout_s)
    answer.raise_for_status()
    states: dict[str, str] = {}
    for alert in answer.json()["data"]["alerts"]:
        name = alert["labels"]["alertname"]
        if states.get(name) != "firing":
            states[name] = alert["state"]
    return states


def routed(alertmanager_url: str, timeout_s: float = 2.0) -> set[str]:
    """Names of the alerts Alertmanager holds as active. Raises httpx.HTTPError."""
    answer = _CLIENT.get(f"{alertmanager_url}/api/v2/alerts?active=true", timeout=timeout_s)
    answer.raise_for_status()
    return {alert["labels"]["alertname"] for alert in answer.json()}
