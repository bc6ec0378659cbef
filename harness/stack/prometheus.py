"""Prometheus as a child of the run, and questions to it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.errors import StackError

QUERY_S = 30.0
LOOKBACK_S = 300.0  # Prometheus' default; scaled like every other duration


def config(
    *,
    job: str,
    targets: Sequence[str] | Mapping[str, str],
    metrics_path: str,
    alertmanager: str,
    rule_files: list[str],
    scrape_s: float,
    evaluation_s: float,
    access: Mapping[str, Any] | None = None,
    external_labels: Mapping[str, str] | None = None,
    alert_relabel_configs: Sequence[Mapping[str, Any]] = (),
    target_labels: Mapping[str, str] | None = None,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """A Prometheus configuration that scrapes the targets of a job and sends alerts to one Alertmanager; gate seconds.

    targets: addresses; of a mapping the keys are the instances as they are called, and the values where to scrape them.
    labels: more of a target, by its instance.
    access: the part of a scrape configuration by which the targets let Prometheus in. The last three are production's
    own: what it adds to every alert, how it rewrites one before it sends it, what it adds to the targets.
    """
    scrape, evaluation, own, of_all = _ms(scrape_s), _ms(evaluation_s), labels or {}, dict(target_labels or {})
    called = targets.items() if isinstance(targets, Mapping) else ((target, target) for target in targets)
    static = [
        {"targets": [at], "labels": {**of_all, **own.get(name, {}), **({} if at == name else {"instance": name})}}
        for name, at in called
    ]
    return {
        "global": {
            "scrape_interval": scrape,
            "scrape_timeout": scrape,
            "evaluation_interval": evaluation,
            **({"external_labels": dict(external_labels)} if external_labels else {}),
        },
        "rule_files": rule_files,
        "alerting": {
            "alert_relabel_configs": [dict(step) for step in alert_relabel_configs],
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}],
        },
        "scrape_configs": [
            {
                "job_name": job,
                "metrics_path": metrics_path,
                **(access or {}),
                "static_configs": static,
            },
        ],
    }


def command(binary: str, config_file: Path, data: Path, port: int, *, time_scale: float) -> list[str]:
    """How Prometheus is started. `--rules.alert.resend-delay=1s`, or an alert raised before Alertmanager is discovered
    is lost for a minute; the look-back is scaled with everything else."""
    return [
        binary,
        f"--config.file={config_file}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=1d",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
        "--web.enable-admin-api",
        "--enable-feature=exemplar-storage,extra-scrape-metrics",
        "--rules.alert.resend-delay=1s",
        f"--query.lookback-delta={_ms(LOOKBACK_S / time_scale)}",
        "--log.level=warn",
    ]


def write_config(path: Path, settings: Mapping[str, Any]) -> Path:
    """Write a configuration as YAML."""
    path.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    return path


def check_config(promtool: str, path: Path) -> list[str]:
    """What promtool finds wrong with a configuration and the rules it names; empty when it finds nothing."""
    done = subprocess.run([promtool, "check", "config", str(path)], capture_output=True, text=True, timeout=30)
    if done.returncode == 0:
        return []
    lines = [
        line.strip() for line in (done.stdout + done.stderr).splitlines() if "FAILED" in line or "error" in line.lower()
    ]
    return lines or [done.stderr.strip() or f"promtool ended with {done.returncode}"]


def rejected(promtool: str, **additions: Any) -> list[str]:
    """What promtool has against what production adds to alerts and targets, by the names that `config` has for it."""
    about = {"job": "job", "targets": ["127.0.0.1:1"], "metrics_path": "/", "alertmanager": "127.0.0.1:1"}
    made = config(**about, rule_files=[], scrape_s=1, evaluation_s=1, **additions)
    with tempfile.TemporaryDirectory() as folder:
        file = write_config(Path(folder, "prometheus.yaml"), made)
        return [line.split(f"{file}: ")[-1] for line in check_config(promtool, file)]


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """The instant value of an expression now: Prometheus' own result list. Raises StackError."""
    import httpx  # only who asks pays for it

    try:  # loopback is never behind a proxy
        response = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=QUERY_S, trust_env=False)
    except httpx.HTTPError as error:
        raise StackError(f"Prometheus at {url} did not answer {expression!r}: {error}") from error
    if response.is_error:
        raise StackError(f"Prometheus at {url} did not answer {expression!r}: {response.status_code} {response.text}")
    return response.json()["data"]["result"]


def shown(expression: str, result: list[dict[str, Any]]) -> str:
    """An answer of `query`, as evidence is written down."""
    return f"Prometheus: {expression} = {float(result[0]['value'][1]):.4g}"


def reload(url: str) -> str:
    """Have it read its files again; what it says against them, empty where it took them. Raises StackError."""
    import httpx

    try:
        response = httpx.post(f"{url}/-/reload", timeout=QUERY_S, trust_env=False)
    except httpx.HTTPError as error:
        raise StackError(f"Prometheus at {url} did not answer /-/reload: {error}") from error
    return "" if response.is_success else response.text.strip()


def own_metric(url: str, name: str) -> float | None:
    """A metric of a Prometheus, or of an Alertmanager, about itself, the sum of its series; None: it has none. Raises
    StackError."""
    import httpx

    try:
        text = httpx.get(f"{url}/metrics", timeout=QUERY_S, trust_env=False).raise_for_status().text
    except httpx.HTTPError as error:
        raise StackError(f"{url} did not answer /metrics: {error}") from error
    found = [line.rpartition(" ")[2] for line in text.splitlines() if re.match(rf"{re.escape(name)}[ {{]", line)]
    return sum(map(float, found)) if found else None


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
