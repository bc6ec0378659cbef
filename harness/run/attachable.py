"""Whether a service that runs already is there, is the one that is meant, and is under the control that is said."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from harness.errors import StackError
from harness.plan.plan import Plan
from harness.stack import attached
from harness.stack.access import headers
from harness.stack.attempt import ask
from harness.stack.by_kubernetes import Pods
from harness.stack.by_process import PidFile
from harness.stack.place import is_loopback
from harness.stack.process import Pid, members
from harness.stack.spec import HttpGet, Instance, Metrics, Probe, TcpSocket
from harness.stack.up import scraped_at

WITHIN_S = 5.0
NOWHERE = Path("/nonexistent")  # {state}, which nothing of a service that runs already is in


def unattachable(plan: Plan) -> list[str]:
    """What keeps the harness from attaching to the service of a plan, with what to do; nothing is changed by asking."""
    service, problems = plan.service, []
    for name, instance in zip(service.replica_names, service.reached, strict=True):
        where = f"{plan.gate.service}: {name} at {instance.url}"
        problems += [f"{where}: {why}" for why in _wrong(instance, plan)]
    if service.url is not None and service.instances:
        at = service.url
        response = ask(at.port, service.probes.readiness.model_copy(update=_TCP), WITHIN_S, NOWHERE, None, at.host)
        problems += [] if response.ok else [f"{plan.gate.service}: url {at}: {response.reason}; is it there?"]
    return problems


def unlike(plan: Plan) -> list[str]:
    """Where the probes of service.yaml, by which the run judges, are not those that the pods have."""
    service, found = plan.service, []
    said = service.probes.by_name()
    for name, instance in zip(service.replica_names, service.reached, strict=True):
        control = attached.made_of(attached.arguments(instance.control))
        if not isinstance(control, Pods):
            continue
        live = control.probes()
        for which in sorted(said.keys() ^ live.keys()):
            where = "the pods alone" if which in live else "this file alone, not in the pods"
            found.append(f"{plan.gate.service}: probes.{which}: {name} has it in {where}")
        for which in said.keys() & live.keys():
            found += [f"{plan.gate.service}: probes.{which}: {line}" for line in _differences(said[which], live[which])]
    return found


def _differences(said: Probe, live: Mapping[str, Any]) -> Iterator[str]:
    for key in TIMES:
        if (there := live.get(key, Probe.model_fields[key].default)) != (here := getattr(said, key)):
            yield f"{key} is {here}, and {there} in the pods"
    path = (live.get("httpGet") or {}).get("path")
    if isinstance(said.action, HttpGet) and path is not None and path != said.action.path:
        yield f"path is {said.action.path}, and {path} in the pods"


TIMES = ("periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold", "initialDelaySeconds")
_TCP = {"httpGet": None, "exec": None, "path": None, "tcpSocket": TcpSocket()}


def _wrong(instance: Instance, plan: Plan) -> Iterator[str]:
    at, metrics = instance.url, plan.service.metrics
    reached = ask(at.port, plan.service.probes.readiness, WITHIN_S, NOWHERE, None, at.host)
    if not reached.ok:
        yield f"its readiness probe gets {reached.status or 'no response'}: {reached.reason}; start it, or correct url"
    else:
        yield from _unscrapable(instance, metrics, plan.service.monitoring.scrape_timeout_s)
    try:
        yield from _uncontrolled(instance)
    except StackError as error:
        yield str(error)


def _unscrapable(instance: Instance, metrics: Metrics, within_s: float) -> Iterator[str]:
    """Why Prometheus would not get metrics of it."""
    url = f"{metrics.scheme}://{scraped_at(metrics, instance)}{instance.metrics.path or metrics.path}"
    certificates = (metrics.client_cert, metrics.client_key) if metrics.client_key else metrics.client_cert
    try:
        trusted = False if metrics.insecure else ssl.create_default_context(cafile=metrics.ca)
        with httpx.Client(verify=trusted, cert=certificates, trust_env=False, timeout=within_s) as client:
            found = client.get(url, headers=headers(metrics, NOWHERE), follow_redirects=True)
    except (httpx.HTTPError, OSError, ssl.SSLError) as error:
        yield f"its metrics, {url}: {error or type(error).__name__}; correct metrics in service.yaml"
        return
    except StackError as error:
        yield f"its metrics: {error}"
        return
    kind = found.headers.get("content-type", "")
    if found.status_code != 200:
        refused = found.status_code in (401, 403)
        remedy = "say how scrapes get in: metrics: {bearer: ...}" if refused else "correct metrics in service.yaml"
        yield f"its metrics, {url}: status {found.status_code}; {remedy}"
    elif "html" in kind or found.text.lstrip()[:1] in ("<", "{"):
        yield f"its metrics, {url}: {kind or 'no text'} instead of metrics: another path, or another service"


def _uncontrolled(instance: Instance) -> Iterator[str]:
    """Why its control would not reach it. Raises StackError."""
    control = attached.made_of(attached.arguments(instance.control))
    if control is None:
        return
    if not isinstance(control, PidFile):
        control.found()
        return
    main = control.look()
    if main is None:
        yield f"{control.where}; start it, or correct pid_file"
    elif is_loopback(instance.url.host) and (other := _listens_not(main, instance.url.port)):
        yield f"{control.path} names {other}; correct pid_file or url"


def _listens_not(main: Pid, port: int) -> str:
    """The process, where neither it nor one below it listens on a port; empty where one does."""
    try:
        for pid in members(NOWHERE, "", main):
            for connection in psutil.Process(pid.pid).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return ""
        command = " ".join(psutil.Process(main.pid).cmdline())[:80]
        return f"process {main.pid} ({command}), which does not listen on port {port}"
    except psutil.NoSuchProcess:
        return f"process {main.pid}, which has ended"
    except psutil.AccessDenied:
        return f"process {main.pid}, which is another user's"
