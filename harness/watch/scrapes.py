"""One scrape of each target as production would have it: without hurry, read as Prometheus reads it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from harness.eventlog import Event

ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
LABEL = rb'[ \t]*[a-zA-Z_]\w*[ \t]*=[ \t]*"(?:[^"\\]|\\.)*"[ \t]*'
SAMPLE = re.compile(rb"^([a-zA-Z_:][\w:]*(?:\{(?:%b(?:,%b)*,?)?[ \t]*\})?)[ \t]+(\S+)" % (LABEL, LABEL))
# What Prometheus itself says of samples that it drops. The scrape goes on, and `up` is 1.
DROPPED = re.compile(
    r'ts=(\S+) .*level=warn component="scrape manager".*msg="Error on ingesting (?!.*exemplar)([^"]+)"'
    r".*?(?:num_dropped=(\d+))?$"
)
ASKED_WITHIN_S = 5.0
PATH_LABEL = "__metrics_path__"  # by which a target has a path of its own


def unhurried(config: Path, prometheus_url: str, timeout_s: float) -> Iterator[dict[str, Any]]:
    """One scrape of each target of a Prometheus configuration, with production's timeout: how long it took, its size,
    and what is wrong with it; beside that what Prometheus says of its own last one."""
    job = yaml.safe_load(config.read_text())["scrape_configs"][0]
    own = _last_errors(prometheus_url)
    for target, labels in ((at, group.get("labels", {})) for group in job["static_configs"] for at in group["targets"]):
        began = time.monotonic()
        try:
            found = _scraped(job, target, labels.get(PATH_LABEL, job["metrics_path"]), timeout_s)
        except (httpx.HTTPError, OSError) as error:
            timed_out = isinstance(error, httpx.TimeoutException)
            found = {"problem": f"no answer ({type(error).__name__})", "timed_out": timed_out}
        yield {
            "target": target,
            "took_s": round(time.monotonic() - began, 6),
            "last_error": own.get(target, ""),
        } | found


def read(body: bytes) -> dict[str, Any]:
    """How many samples an exposition holds, and what is wrong with it."""
    seen: set[bytes] = set()
    twice, first, unreadable = 0, b"", ""
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        match = SAMPLE.match(line)
        if match is None or not _is_number(match[2]):
            unreadable = unreadable or f"line {number} is no sample: {line[:80].decode(errors='replace')}"
            continue
        if match[1] in seen:
            twice, first = twice + 1, first or match[1]
        seen.add(match[1])
    problem = unreadable or (f"{first.decode(errors='replace')} is there twice" if twice else "")
    return {"samples": len(seen) + twice, "bytes": len(body), "twice": twice, "problem": problem}


def dropped(log: Path, since: float) -> Iterator[Event]:
    """What Prometheus says in its log of samples that it dropped; each an event of the run."""
    text = log.read_text(errors="replace") if log.exists() else ""
    for found in map(DROPPED.search, text.splitlines()):
        if found and (at := _unix_s(found[1])) >= since:
            yield Event(at, "prometheus", "dropped", "fail", None, {"why": found[2], "samples": int(found[3] or 1)})


def _scraped(job: Mapping[str, Any], target: str, path: str, timeout_s: float) -> dict[str, Any]:
    tls = job.get("tls_config", {})
    verify = False if tls.get("insecure_skip_verify") else tls.get("ca_file", True)
    cert = (tls["cert_file"], tls["key_file"]) if "cert_file" in tls else None
    headers = {"Accept": ACCEPT, "X-Prometheus-Scrape-Timeout-Seconds": f"{timeout_s:g}"}
    if bearer := job.get("authorization"):
        headers["Authorization"] = f"Bearer {Path(bearer['credentials_file']).read_text().strip()}"
    basic = job.get("basic_auth")
    auth = (basic["username"], Path(basic["password_file"]).read_text().strip()) if basic else None
    url = f"{job.get('scheme', 'http')}://{target}{path}"
    with httpx.Client(verify=verify, cert=cert, timeout=timeout_s, trust_env=False) as client:
        name = {"sni_hostname": tls["server_name"]} if "server_name" in tls else {}
        answer = client.get(url, headers=headers, auth=auth, extensions=name)
    if answer.status_code != 200:
        return {"status": answer.status_code, "problem": f"it answered with status {answer.status_code}"}
    return {"status": 200, **read(answer.content)}


def _last_errors(prometheus_url: str) -> dict[str, str]:
    """What went wrong in Prometheus' own last scrape of each target."""
    try:
        asked = httpx.get(f"{prometheus_url}/api/v1/targets", timeout=ASKED_WITHIN_S, trust_env=False)
        targets = asked.json()["data"]["activeTargets"]
    except (httpx.HTTPError, ValueError, KeyError):
        return {}
    return {one["discoveredLabels"]["__address__"]: one.get("lastError", "") for one in targets}


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unix_s(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
