"""What Prometheus stored of the run, read back whole: the raw samples with their true scrape times."""

from __future__ import annotations

import math
from pathlib import Path

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect

from harness.errors import StackError
from harness.history import Series, Window


def recorded(prometheus_url: str, job: str, window: Window) -> list[Series]:
    """Every sample of the job's series and of ALERTS in the window; Unix seconds. Raises StackError."""
    prometheus = _connect(prometheus_url)
    span = f"[{math.ceil(window.length * 1000)}ms]"
    found = []
    for selector in (f'{{job="{job}"}}', 'ALERTS{job!="' + job + '"}'):
        try:
            answer = prometheus.custom_query(selector + span, params={"time": f"{window.end:.3f}"})
        except (PrometheusApiClientException, OSError) as error:
            raise StackError(f"Prometheus at {prometheus_url} did not give back its samples: {error}") from error
        for one in answer:
            at, value = zip(*one["values"], strict=True)
            found.append(Series(one["metric"], at, tuple(float(v) for v in value)))
    return found


def _connect(url: str) -> PrometheusConnect:
    session = requests.Session()
    session.trust_env = False  # loopback is never behind a proxy
    return PrometheusConnect(url=url, disable_ssl=True, session=session)


def types(prometheus_url: str) -> dict[str, str]:
    """Metric name -> its type as the service declares it ("counter", "gauge", "histogram", ...). Raises StackError."""
    try:
        answer = _connect(prometheus_url).get_metric_metadata(metric="", limit=0)
    except (PrometheusApiClientException, OSError, KeyError) as error:
        raise StackError(f"Prometheus at {prometheus_url} did not give its metadata: {error}") from error
    return {one["metric_name"]: one["type"] for one in answer}


def snapshot(prometheus_url: str, data: Path) -> Path:
    """Have Prometheus write a snapshot of its database; gives its folder. Raises StackError."""
    import httpx

    try:
        answer = httpx.post(f"{prometheus_url}/api/v1/admin/tsdb/snapshot", timeout=30, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise StackError(f"Prometheus at {prometheus_url} did not make a snapshot: {error}") from error
    return data / "snapshots" / answer.json()["data"]["name"]
