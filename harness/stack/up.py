"""Bring the processes of a run up, hold them, and take them down again in reverse order whatever happens."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import StackError, UsageError
from harness.stack import alertmanager, ledger, prometheus, watchdog
from harness.stack.kubelet import Kubelet, Probe
from harness.stack.process import Child, end_all, free_ports, spawn, started_ticks
from harness.stack.stack import Stack
from harness.stack.tools import Tools
from harness.stack.undo import owned

SERVER_NICENESS = 10  # the service yields to what measures it when they share cores; see docs/benchmarks.md


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is never behind a proxy


@dataclass(frozen=True)
class Blueprint:
    """All that must be known to bring a stack up; times in gate seconds."""

    service: str
    start_command: str  # with {port}
    ready_within_s: float
    workdir: Path
    job: str
    metrics_path: str
    probes: Mapping[str, Probe]
    rules: str  # the text of the rule file that runs live
    alertmanager_config: Mapping[str, Any]  # the production configuration, not yet redirected
    alertmanager_folder: Path  # what its relative paths start from
    time_scale: float
    scrape_s: float
    evaluation_s: float
    port: int | None = None


@dataclass
class Live:
    """A stack that is up: its addresses, its children, its kubelet."""

    stack: Stack
    kubelet: Kubelet
    children: list[Child] = field(default_factory=list)

    def check(self) -> None:
        """Raise if a process that must not end has ended. The server is the kubelet's business."""
        self.kubelet.check()
        for child in self.children:
            child.check()


@contextmanager
def up(
    plan: Blueprint, tools: Tools, run: Path, emit: Callable[..., None], say: Callable[[str], None]
) -> Iterator[Live]:
    """A stack that is ready: the service in traffic, scraped by Prometheus, which knows its Alertmanager and rules.

    On the way out every open fault is undone, then every process ended, in reverse order, past errors. The watchdog
    does the same if we cannot. Raises StackError with the last lines of what did not come up.
    """
    began = time.monotonic()
    (run / "owner.json").write_text(json.dumps({"pid": os.getpid(), "started": started_ticks(os.getpid())}))
    with ExitStack() as stack:
        guard = watchdog.start(run)
        stack.callback(_close_owner, run)
        stack.callback(watchdog.dismiss, guard)
        stack.callback(end_all, run)  # nothing with our mark survives, whatever the callbacks before it met
        say("starting Prometheus, Alertmanager, receivers and the service")
        if plan.port is not None and not _free(plan.port):
            raise UsageError(f"port {plan.port} is taken; give another with --port, or none to have one chosen")
        prometheus_port, alertmanager_port, server_port = free_ports(3)
        server_port = plan.port or server_port
        children = [guard]

        def child(name: str, argv: list[str], **options: Any) -> Child:
            started = spawn(name, argv, run, **options)
            stack.callback(started.end)
            children.append(started)
            return started

        sinks = child(
            "sinks",
            [sys.executable, "-m", "harness.stack.sinks", "--dir", str(run), "--port-file", str(run / "sinks.json")],
        )
        (run / "prometheus").mkdir(exist_ok=True)
        rules = run / "prometheus" / "rules.yaml"
        rules.write_text(plan.rules)
        settings = prometheus.config(
            job=plan.job,
            target=f"127.0.0.1:{server_port}",
            metrics_path=plan.metrics_path,
            alertmanager=f"127.0.0.1:{alertmanager_port}",
            rule_files=[str(rules.resolve())],
            scrape_s=plan.scrape_s,
            evaluation_s=plan.evaluation_s,
        )
        config = prometheus.write_config(run / "prometheus" / "prometheus.yaml", settings)
        if problems := prometheus.check_config(tools.promtool, config):
            raise StackError("promtool rejects the configuration made for this run:\n" + "\n".join(problems))
        # First of all, because its discovery sleeps 5 s before the first scrape: the rest starts meanwhile.
        prom = child(
            "prometheus",
            prometheus.command(
                tools.prometheus, config, run / "prometheus" / "data", prometheus_port, time_scale=plan.time_scale
            ),
        )
        kubelet = Kubelet(
            "server",
            server_port,
            plan.probes,
            lambda: spawn(
                "server",
                shlex.split(plan.start_command.format(port=server_port)),
                run,
                cwd=plan.workdir,
                env={"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"},
                niceness=SERVER_NICENESS,
            ),
            run,
            emit,
        )
        stack.callback(kubelet.stop)
        kubelet.start()
        ports = _wait_file(run / "sinks.json", sinks)
        redirected = alertmanager.redirect(
            dict(plan.alertmanager_config),
            http_port=ports["http"],
            smtp_port=ports["smtp"],
            time_scale=plan.time_scale,
            folder=plan.alertmanager_folder,
        )
        am_config = run / "alertmanager.yaml"
        am_config.write_text(yaml.safe_dump(redirected, sort_keys=False))
        manager = child(
            "alertmanager",
            alertmanager.command(tools.alertmanager, am_config, run / "alertmanager", alertmanager_port),
        )
        here = Stack(
            run=run,
            service=plan.service,
            service_url=f"http://127.0.0.1:{server_port}",
            prometheus_url=f"http://127.0.0.1:{prometheus_port}",
            alertmanager_url=f"http://127.0.0.1:{alertmanager_port}",
            time_scale=plan.time_scale,
        )
        here.write()
        stack.callback(lambda: ledger.undo(run, here.ledger.open(), by="run"))
        live = Live(here, kubelet, children)
        _wait_http(f"{here.alertmanager_url}/-/ready", manager, 15)
        _wait_http(f"{here.prometheus_url}/-/ready", prom, 15)
        kubelet.wait_ready(plan.ready_within_s)
        _wait_monitoring(live, plan.job, 20)
        emit("stack", "ready", took=time.monotonic() - began)
        yield live


def _close_owner(run: Path) -> None:
    (run / "owner.json").unlink(missing_ok=True)


def heal(runs: Path) -> list[str]:
    """Undo what killed runs left in a folder of runs; a line for each thing done. Runs still owned are left alone."""
    said = []
    for run in sorted(p for p in runs.iterdir() if p.is_dir() and not p.is_symlink()) if runs.is_dir() else ():
        owner = run / "owner.json"
        if not owner.exists() and not ledger.Ledger(run).open():
            continue
        if owned(run):
            continue
        faults, processes, failed = ledger.heal(run)
        said += [f"{run.name}: undid {entry.kind} ({entry.experiment})" for entry in faults]
        said += [f"{run.name}: ended process {pid.pid}" for pid in processes]
        said += [f"{run.name}: NOT HEALED: {problem}" for problem in failed]
        if not failed:
            owner.unlink(missing_ok=True)
    return said


def _wait_monitoring(live: Live, job: str, within_s: float) -> None:
    """Until Prometheus has scraped the service and found its Alertmanager."""
    until = time.monotonic() + within_s
    missing = "nothing"
    while time.monotonic() < until:
        live.check()
        try:
            targets = _get_json(f"{live.stack.prometheus_url}/api/v1/targets")["data"]["activeTargets"]
            managers = _get_json(f"{live.stack.prometheus_url}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
        except OSError:
            targets = managers = []
        healthy = [t for t in targets if t["labels"].get("job") == job and t["health"] == "up"]
        if healthy and managers:
            return
        missing = "has not scraped the service" if not healthy else "has not found Alertmanager"
        if targets and (error := targets[0].get("lastError")):
            missing += f" ({error})"
        time.sleep(0.1)
    raise StackError(f"Prometheus {missing} within {within_s:g} s")


def _wait_http(url: str, child: Child, within_s: float) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        child.check()
        try:
            with _DIRECT.open(url, timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise StackError(f"{child.name} did not answer {url} within {within_s:g} s; its log: {child.log}")


def _wait_file(path: Path, child: Child, within_s: float = 15) -> dict[str, int]:
    until = time.monotonic() + within_s
    while not path.exists():
        child.check()
        if time.monotonic() > until:
            raise StackError(f"{child.name} did not say its ports within {within_s:g} s; its log: {child.log}")
        time.sleep(0.02)
    return json.loads(path.read_text())


def _get_json(url: str) -> Any:
    with _DIRECT.open(url, timeout=2) as answer:
        return json.load(answer)


def _free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
