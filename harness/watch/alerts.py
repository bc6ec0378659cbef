"""Which alerts are pending or firing right now."""

from __future__ import annotations

import httpx


def active(prometheus_url: str, timeout_s: float = 2.0) -> dict[str, str]:
    """Alert name -> "firing" or "pending" (the worse, where one has several instances). Raises httpx.HTTPError."""
    answer = httpx.get(f"{prometheus_url}/api/v1/alerts", timeout=timeout_s, trust_env=False)
    answer.raise_for_status()
    states: dict[str, str] = {}
    for alert in answer.json()["data"]["alerts"]:
        name = alert["labels"]["alertname"]
        if states.get(name) != "firing":
            states[name] = alert["state"]
    return states


def routed(alertmanager_url: str, timeout_s: float = 2.0) -> set[str]:
    """Names of the alerts Alertmanager holds as active. Raises httpx.HTTPError."""
    answer = httpx.get(f"{alertmanager_url}/api/v2/alerts?active=true", timeout=timeout_s, trust_env=False)
    answer.raise_for_status()
    return {alert["labels"]["alertname"] for alert in answer.json()}
