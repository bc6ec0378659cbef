"""Bring the processes of a run up, hold them, and take them down again in reverse order whatever happens."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.errors import StackError, UsageError
from harness.masking import hidden
from harness.signals import FOLDER, RECEIVED
from harness.stack import alertmanager, amtool, attached, ledger, prometheus, volume, watchdog, yamltext
from harness.stack.access import at, generator_options, scrape_settings, write_private
from harness.stack.component import INSIDE, Component, inside_control
from harness.stack.dependency import Dependency
from harness.stack.frontdoor import FrontDoor
from harness.stack.ledger import PRIVATE
from harness.stack.links import ALERTS, CLIENTS, COLLECTOR, NOTIFICATIONS, SCRAPE, encrypted
from harness.stack.planned import Holder
from harness.stack.prober import Execute
from harness.stack.process import Child, end_all, free_ports, spawn, started_ticks, tail
from harness.stack.proxied import Proxied
from harness.stack.ready import not_ready, wait_until
from harness.stack.service import Service
from harness.stack.spec import (
    DependencySpec,
    HttpGet,
    Instance,
    Metrics,
    Prepare,
    ReadyTest,
    ServiceSpec,
    Start,
    filled,
)
from harness.stack.stack import Stack
from harness.stack.tools import Tools
from harness.stack.undo import owned
from harness.units import listed

SERVER_NICENESS = 10  # the service yields to what measures it when they share cores; see docs/benchmarks.md
FRONT_DOOR = "frontdoor"
RELAY = "relay"  # where Prometheus sends its alerts to
SINCE = "alertmanager.since"  # the file that is as old as the storage of the run's Alertmanager
WATCHER_READY_WITHIN = "15s"
RENEWED_WITHIN_S = 25.0
MONITORED_WITHIN_S = 20.0


@dataclass(frozen=True)
class Blueprint:
    """All that must be known to bring a stack up."""

    service: ServiceSpec  # its intervals are production's
    rules: str  # the text of the rule file that runs live
    workdir: Path  # where commands are run
    time_scale: float
    port: int | None = None  # of the service, as clients see it; None: a free one
    links: tuple[str, ...] = ()  # which go through the proxy

    @property
    def instances(self) -> dict[str, Instance]:
        """The replicas of a service that runs already."""
        return dict(zip(self.service.replica_names, self.service.reached, strict=True)) if self.service.attached else {}

    @property
    def entrance(self) -> str:
        """The process that clients find the service at."""
        if self.service.url is not None:
            return self.service.replica_names[0]
        return FRONT_DOOR if self.service.replicas > 1 else self.service.replica_names[0]

    def ports(self) -> dict[str, int]:
        """A free port for each process that needs one, chosen at once so that all differ, but for the service's where
        it is given. Raises UsageError if that is taken."""
        if self.port is not None and self.service.attached:
            raise UsageError("--port is of a service that is started here; this one runs already, at its own")
        if self.port is not None and not _free(self.port):
            raise UsageError(f"port {self.port} is taken; give another with --port, or none to have one chosen")
        fixed = None if self.service.attached else self.service.metrics.port
        if fixed is not None and not _free(fixed):
            raise UsageError(
                f"port {fixed}, where service.yaml has the metrics of the service, is taken; end what holds it"
            )
        started = [name for name, needed in self.service.dependencies.items() if needed.takes_port]
        second = map(metrics_of, self.service.replica_names) if self.service.takes_metrics_port else ()
        names = ["prometheus", "alertmanager", RELAY, FRONT_DOOR, *self.service.replica_names, *second, *started]
        if self.service.telemetry.traces is not None:
            names.append(COLLECTOR)
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        return ports if self.port is None or CLIENTS in self.links else ports | {self.entrance: self.port}


@dataclass
class Live:
    """A stack that is up: its addresses, its service and dependencies, and the children that must not end."""

    stack: Stack
    service: Service
    children: list[Child] = field(default_factory=list)
    dependencies: list[Dependency] = field(default_factory=list)
    notifier: Notifier | None = None  # from when it is up
    monitoring: list[Dependency] = field(default_factory=list)  # what watches the service
    watch: attached.Watch = field(
        default_factory=lambda: attached.Watch([])
    )  # over dependencies that are there already
    ready_within_s: float = 60.0  # of a replica, from its start on
    _holder: Holder = field(init=False)

    def __post_init__(self) -> None:
        self._holder = Holder(self.stack.run, self.restart)

    def restart(self, added: Mapping[str, str]) -> None:
        """Start the service anew, with this added to its environment from then on. Returns when it is in traffic.
        Raises StackError where it does not get there."""
        self.service.restart(added, self.ready_within_s)

    def check(self) -> None:
        """Raise if a process that must not end has ended. A server or a dependency that ends is part of the run. And do
        what another process asked of this one, which holds the stack."""
        if self.stack.renewal.exists():
            self.notifier.renew()
            self.stack.renewal.unlink(missing_ok=True)
        self._holder.heed()
        self.service.check()
        self.watch.check()
        for dependency in (*self.dependencies, *self.monitoring):
            if dependency.failure is not None:
                raise StackError(f"the watch over {dependency.name} broke: {dependency.failure!r}")
        for watcher in self.monitoring:
            if not watcher.component.alive() and not self._is_a_fault(watcher) and not watcher.component.alive():
                watcher.component.child.check()
        for child in self.children:
            child.check()

    def _is_a_fault(self, watcher: Dependency) -> bool:
        """Whether a fault has ended it, or it is being started again."""
        hit = {entry.params.get("component") for entry in self.stack.ledger.open()}
        return watcher.name in hit or watcher.component.restart_request.exists()


class Assembly:
    """A stack while it comes up: what the steps share, and the way down in `exits`."""

    def __init__(self, plan: Blueprint, tools: Tools, run: Path, emit: Callable[..., None], exits: ExitStack):
        self.plan, self.tools, self.run, self.emit, self.exits = plan, tools, run, emit, exits
        self.children: list[Child] = []
        self.monitoring: list[Dependency] = []
        self.watch = attached.Watch([])  # over dependencies that are there already, and may be broken
        self.private = (run / PRIVATE).resolve()
        self.state = self.private / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.private.chmod(0o700)
        self.volumes: dict[str, str] = {}  # component -> the folder that is a disk of its own
        self.ports = plan.ports()
        self.at = {name: f"127.0.0.1:{self.ports[name]}" for name in plan.service.replica_names}  # where each is
        self.at |= {name: instance.url.address for name, instance in plan.instances.items()}
        self.values: dict[str, object] = {"state": self.state, "python": sys.executable}  # placeholders of all commands
        for name, dependency in plan.service.dependencies.items():
            address = f"127.0.0.1:{self.ports[name]}" if dependency.takes_port else dependency.address
            if address is not None:
                self.values[f"{name}.host"], _, self.values[f"{name}.port"] = address.rpartition(":")

    def child(self, name: str, argv: list[str], **options: Any) -> Child:
        """Start a process of the stack that must not end before the stack does."""
        started = spawn(name, argv, self.run, **options)
        self.exits.callback(started.end)
        self.children.append(started)
        return started

    def watcher(self, name: str, spawn: Callable[[], Child], ready: ReadyTest) -> Dependency:
        """Start what watches the service, and wait until it is ready: it must not end, but by a fault, whose undo has
        it started again."""
        spec = DependencySpec(start=Start(command=name, ready_within=WATCHER_READY_WITHIN), ready=ready)
        component = Component(name, self.run, lambda added: spawn())
        watcher = Dependency(name, spec, component, {}, self.plan.workdir, self.emit)
        self.exits.callback(watcher.stop)
        watcher.start()
        self.monitoring.append(watcher)
        return watcher

    def component(
        self,
        name: str,
        start: Start,
        values: Mapping[str, object],
        added: Mapping[str, str],
        niceness: int = 0,
        command: Sequence[str] | None = None,
    ) -> Child:
        """Start a process that service.yaml describes, or another command in its environment. added: to that, as a
        contract says."""
        environment = {**self._path(), **{key: filled(text, values) for key, text in start.environment.items()}}
        return spawn(
            name,
            [filled(part, values) for part in command or shlex.split(start.command)],
            self.run,
            cwd=self.plan.workdir,
            env=with_added(environment, added, inside_control(self.run, name)),
            niceness=niceness,
        )

    def prepare(self, step: Prepare) -> None:
        """Run one command of `start.prepare` to its end. Raises StackError with its last lines, but not its output."""
        argv = [filled(part, self.values) for part in shlex.split(step.command)]
        with ExitStack() as files:
            out = None
            if step.output:
                path = write_private(at(step.output, self.state), "")
                out = files.enter_context(open(path, "wb"))
            child = spawn("prepare", argv, self.run, cwd=self.plan.workdir, env=self._path(), stdout=out)
        try:
            code = child.popen.wait(step.within)
        except subprocess.TimeoutExpired:
            late = f"no end within {step.within:g} s; its log: {child.log}"
            raise StackError(f"prepare: {hidden(step.command)}: {late}") from None
        finally:
            child.end()
        if code != 0:
            lines = f"last lines of {child.log}:\n{tail(child.log)}"
            raise StackError(f"prepare: {hidden(step.command)}: exited with {code}; {lines}")

    def _path(self) -> dict[str, str]:
        """What is of the service comes first: its `python` is not ours, which has its own name, {python}."""
        return {"PATH": os.pathsep.join(filter(None, [os.environ.get("PATH"), str(Path(sys.executable).parent)]))}


@contextmanager
def up(
    plan: Blueprint, tools: Tools, run: Path, emit: Callable[..., None], report: Callable[[str], None],
    beside: AbstractContextManager[None] | None = None,
) -> Iterator[Live]:  # fmt: skip
    """A stack that is ready: the service in traffic, scraped by Prometheus, which knows its Alertmanager and rules.

    On the way out every open fault is undone, then every process ended, in reverse order, past errors. The watchdog
    does the same if we cannot. Raises StackError with the last lines of what did not come up.

    beside: entered before the service is started, left after it has ended, while its dependencies are still up and its
    state is still there.
    """
    began = time.monotonic()
    owner = run / "owner.json"
    owner.write_text(json.dumps({"pid": os.getpid(), "started": started_ticks(os.getpid())}))
    with ExitStack() as exits:
        guard = watchdog.start(run)
        exits.callback(owner.unlink, missing_ok=True)
        exits.callback(watchdog.dismiss, guard)
        exits.callback(shutil.rmtree, run / PRIVATE, ignore_errors=True)  # after all that may write there
        exits.callback(volume.unmount_below, run / PRIVATE)
        exits.callback(end_all, run)  # nothing with our mark survives, whatever the callbacks before it met
        what = "the watch over the service" if plan.service.attached else "the service"
        report(f"starting Prometheus, Alertmanager, receivers and {what}")
        assembly = Assembly(plan, tools, run, emit, exits)
        assembly.children.append(guard)
        _volumes(assembly)
        proxied = Proxied(plan.links, assembly.child, run)
        exits.callback(proxied.close)
        dependencies = _dependencies(assembly)
        _monitoring(assembly, proxied)
        notifier = _receivers(assembly, proxied)
        _collector(assembly, proxied)
        exits.enter_context(beside or nullcontext())
        live = _service(assembly, dependencies, proxied)
        live.notifier = notifier
        _wait_until_ready(live, plan, emit)
        emit("stack", "ready", took=time.monotonic() - began)
        yield live


def _volumes(assembly: Assembly) -> None:
    """A disk of its own for each component that service.yaml gives one, where this host allows it."""
    service = assembly.plan.service
    starts = {} if service.start is None else dict.fromkeys(service.replica_names, service.start)
    starts |= {name: spec.start for name, spec in service.dependencies.items() if spec.start is not None}
    wanted = {name: start.disk for name, start in starts.items() if start.disk is not None}
    if wanted and (why := volume.lacking()):
        assembly.emit("stack", "remark", text=f"{listed(list(wanted))}: no disk of its own, because {why}")
        return
    for name, size in wanted.items():
        volume.make(assembly.state / name, size)
        assembly.volumes[name] = str(assembly.state / name)


def _dependencies(assembly: Assembly) -> list[Dependency]:
    """Each dependency, started and ready, one after the other; then the commands that prepare the service."""
    started = []
    for name, spec in assembly.plan.service.dependencies.items():
        values = assembly.values | ({"port": assembly.values[f"{name}.port"]} if spec.takes_port else {})
        component = None
        if spec.start is not None:
            component = Component(name, assembly.run, partial(assembly.component, name, spec.start, values))
        dependency = Dependency(name, spec, component, values, assembly.plan.workdir, assembly.emit)
        assembly.exits.callback(dependency.stop)
        dependency.start()
        started.append(dependency)
        if spec.is_controlled:
            there = attached.Attached(name, assembly.run, spec.control)
            there.must_run()
            assembly.watch.components.append(there)
    if assembly.watch.components:
        assembly.exits.callback(assembly.watch.stop)
        assembly.watch.start()
    for step in assembly.plan.service.prepare:
        assembly.prepare(step)
    return started


def _monitoring(assembly: Assembly, proxied: Proxied) -> None:
    """Prometheus. It is started before the service, because its discovery waits 5 s before the first scrape."""
    run, ports, plan = assembly.run, assembly.ports, assembly.plan
    watched, metrics = plan.service.monitoring, plan.service.metrics
    (run / "prometheus").mkdir(exist_ok=True)
    rules = run / "prometheus" / "rules.yaml"
    rules.write_text(plan.rules)
    own = {name: f"127.0.0.1:{scraped(plan.service, ports, name)}" for name in plan.service.replica_names}
    own |= {name: scraped_at(metrics, instance) for name, instance in plan.instances.items()}
    tls = encrypted(plan.service, SCRAPE)
    settings = prometheus.config(
        job=watched.job,
        targets={at: proxied.through(SCRAPE, at, name, http=metrics.path, tls=tls) for name, at in own.items()},
        labels={own[name]: labels_of(instance) for name, instance in plan.instances.items()},
        metrics_path=metrics.path,
        alertmanager=proxied.through(ALERTS, f"127.0.0.1:{ports[RELAY]}", http="/"),
        rule_files=[str(rules.resolve())],
        scrape_s=watched.scrape_interval / plan.time_scale,
        evaluation_s=watched.evaluation_interval / plan.time_scale,
        access=_named(plan, proxied, scrape_settings(metrics, assembly.private, assembly.state)),
        **watched.additions,
    )
    config = prometheus.write_config(run / "prometheus" / "prometheus.yaml", settings)
    if problems := prometheus.check_config(assembly.tools.promtool, config):
        raise StackError("promtool rejects the configuration made for this run:\n" + "\n".join(problems))
    data = run / "prometheus" / "data"
    argv = prometheus.command(assembly.tools.prometheus, config, data, ports["prometheus"], time_scale=plan.time_scale)
    ready = ReadyTest(http=f"http://127.0.0.1:{ports['prometheus']}/-/ready")
    assembly.watcher("prometheus", partial(spawn, "prometheus", argv, run), ready)


def _named(plan: Blueprint, proxied: Proxied, access: dict[str, Any]) -> dict[str, Any]:
    """How scrapes get in, with the name that certificates are for where the proxy stands before what has it. Raises
    StackError where there are several."""
    names = {instance.url.host for instance in plan.instances.values()}
    if SCRAPE not in proxied or not names or not encrypted(plan.service, SCRAPE):
        return access
    if len(names) > 1:
        raise StackError(
            f"scrapes of {listed(sorted(names))} cannot go through the proxy: each has its own certificate"
        )
    return access | {"tls_config": {**access.get("tls_config", {}), "server_name": names.pop()}}


def _receivers(assembly: Assembly, proxied: Proxied) -> Notifier:
    """The sinks, and Alertmanager with the production routes leading to them."""
    run = assembly.run
    ports_file = run / "sinks.json"
    argv = [sys.executable, "-m", "harness.stack.sinks", "--dir", str(run), "--port-file", str(ports_file)]
    argv += ["--relay", str(assembly.ports[RELAY]), str(assembly.ports["alertmanager"]), str(run / SINCE)]
    child = assembly.child("sinks", argv)
    wait_until("the sinks did not open", lambda: "" if ports_file.exists() else f"no {ports_file}", 15, child)
    sinks = {kind: f"127.0.0.1:{port}" for kind, port in json.loads(ports_file.read_text()).items()}
    led = {kind: proxied.through(NOTIFICATIONS, at, kind, http="/" * (kind == "http")) for kind, at in sinks.items()}
    ports = {kind: int(at.rpartition(":")[2]) for kind, at in led.items()}
    production = Path(assembly.plan.service.monitoring.alertmanager)
    known = amtool.known(assembly.tools.amtool, production)
    copy = alertmanager.redirect(
        known.config,
        http_port=ports["http"],
        smtp_port=ports["smtp"],
        time_scale=assembly.plan.time_scale,
        folder=production.parent,
        name=yamltext.shown(production),
    )
    for remark in [*known.remarks, *copy.remarks]:
        assembly.emit("stack", "remark", text=remark)
    assembly.emit("stack", "integrations", names=[[*key, name] for key, name in copy.names.items()])
    config = run / "alertmanager.yaml"
    config.write_text(yamltext.dump(copy.config))
    storage, port = run / "alertmanager", assembly.ports["alertmanager"]
    argv = alertmanager.command(assembly.tools.alertmanager, config, storage, port)
    return Notifier(assembly, argv, storage, port)


def _collector(assembly: Assembly, proxied: Proxied) -> None:
    """The receiver of spans, where the service sends any."""
    if assembly.plan.service.telemetry.traces is None:
        return
    port, file = assembly.ports[COLLECTOR], assembly.run / RECEIVED
    (assembly.run / FOLDER).mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "harness.stack.collector", "--file", str(file), "--port", str(port)]
    at = f"127.0.0.1:{port}"
    assembly.watcher(COLLECTOR, partial(spawn, COLLECTOR, argv, assembly.run), ReadyTest(tcp=at))
    assembly.values["otlp"] = f"http://{proxied.through(COLLECTOR, at, http='/')}"


class Notifier:
    """Alertmanager, through all the processes that take its place."""

    def __init__(self, assembly: Assembly, argv: list[str], storage: Path, port: int):
        self._run, self._argv, self._storage = assembly.run, argv, storage
        self._renews = True  # its next start is with empty storage
        ready = ReadyTest(http=f"http://127.0.0.1:{port}/-/ready")
        self._watcher = assembly.watcher("alertmanager", self._spawn, ready)

    @property
    def child(self) -> Child:
        """The process that it is now."""
        return self._watcher.component.child

    def renew(self) -> None:
        """Put one with empty storage in its place, on the same port: it knows no alert, group or notification. Returns
        when it is ready; Prometheus tells it of what fires within a second or so. Raises StackError."""
        self._renews = True
        request = self._watcher.component.restart_request
        request.parent.mkdir(exist_ok=True)
        request.touch()
        try:
            wait_until("no new alertmanager", lambda: "it is not ready" * request.exists(), RENEWED_WITHIN_S)
        finally:
            request.unlink(missing_ok=True)

    def _spawn(self) -> Child:
        if self._renews:
            shutil.rmtree(self._storage, ignore_errors=True)
            (self._run / SINCE).touch()
            self._renews = False
        return spawn("alertmanager", self._argv, self._run)


def _service(assembly: Assembly, dependencies: list[Dependency], proxied: Proxied) -> Live:
    """The replicas, probed and supervised, behind a front door where there are several; and `stack.json`."""
    plan, run, ports = assembly.plan, assembly.run, assembly.ports
    ours = [d for d in dependencies if d.spec.is_component]
    about = {"http": _asked_at(plan.service), "tls": encrypted(plan.service, CLIENTS)}
    url, connect_to = plan.service.url, {}
    behind = f"127.0.0.1:{ports[FRONT_DOOR]}" if plan.entrance == FRONT_DOOR else assembly.at[plan.entrance]
    entrance = proxied.through(CLIENTS, behind if url is None else url.address, port=plan.port or 0, **about)
    service_url = f"{plan.service.requests.scheme}://{entrance}"
    if plan.service.attached:  # its clients ask it by its own name, whatever stands between
        named = url or plan.service.reached[0].url
        service_url, connect_to = str(named), {"connect_to": entrance} if entrance != named.address else {}
    needed: dict[str, str] = {}  # the addresses of dependencies, as the service finds them
    for one in (d for d in dependencies if d.name in proxied and d.address is not None):
        needed[f"{one.name}.host"], _, needed[f"{one.name}.port"] = proxied.through(one.name, one.address).rpartition(
            ":"
        )
    here = Stack(
        run=run,
        service=plan.service.name,
        service_url=service_url,
        prometheus_url=f"http://127.0.0.1:{ports['prometheus']}",
        alertmanager_url=f"http://127.0.0.1:{ports['alertmanager']}",
        time_scale=plan.time_scale,
        access=generator_options(plan.service.requests, assembly.private, assembly.state) | connect_to,
        dependencies=tuple(d.name for d in ours),
        addresses=assembly.at | {d.name: d.address for d in (*ours, *assembly.monitoring) if d.address is not None},
        monitoring=tuple(watcher.name for watcher in assembly.monitoring),
        proxy_url=proxied.url,
        links=proxied.stored(),
        grace_s=plan.service.terminationGracePeriodSeconds,
        volumes=assembly.volumes,
        controls={name: attached.arguments(control) for name, control in plan.service.controls.items()},
        asked={name: f"{one.url.scheme}://{one.url.address}{about['http']}" for name, one in plan.instances.items()}
        | {d.name: d.spec.ready.http for d in ours if d.spec.is_controlled and d.spec.ready and d.spec.ready.http},
    )
    door = None
    if plan.entrance == FRONT_DOOR:
        door = FrontDoor(ports[FRONT_DOOR], assembly.child)
        accepts = partial(not_ready, ReadyTest(tcp=f"127.0.0.1:{door.port}"), {})
        wait_until("the front door did not open", accepts, 15, door.child)

    def own(name: str) -> dict[str, Any]:
        metrics = scraped(plan.service, ports, name)
        return {**assembly.values, **needed, "port": ports[name], "metrics_port": metrics, "replica": name}

    def start(name: str, added: Mapping[str, str]) -> Child:
        return assembly.component(name, plan.service.traced_start, own(name), added, SERVER_NICENESS)

    def execute(replica: str) -> Execute:
        values = own(replica)
        return lambda name, command: assembly.component(name, plan.service.start, values, {}, SERVER_NICENESS, command)

    def in_rotation(name: str, on: bool) -> None:
        if door is not None:
            door.put(assembly.at[name], on)

    replicas = {name: ports[name] for name in plan.service.replica_names}
    probes = plan.service.probes.by_name()
    grace_s = plan.service.terminationGracePeriodSeconds
    if plan.service.attached:
        of_all = probes, run, assembly.emit, in_rotation, assembly.state, grace_s
        service = attached.AttachedService(plan.instances, *of_all)
    else:
        service = Service(replicas, probes, start, run, assembly.emit, in_rotation, assembly.state, grace_s, execute)
    assembly.exits.callback(service.stop)
    service.start()
    here.write()
    assembly.exits.callback(lambda: ledger.undo(run, here.ledger.open(), by="run"))
    within_s = plan.service.ready_within
    about = {"watch": assembly.watch, "ready_within_s": within_s}
    return Live(here, service, assembly.children, dependencies, None, assembly.monitoring, **about)


def _asked_at(service: ServiceSpec) -> str:
    """A path that a client may ask for without being counted among the service's clients."""
    if service.metrics.port is None and not service.takes_metrics_port:
        return service.metrics.path
    action = service.probes.readiness.action
    return action.path if isinstance(action, HttpGet) else "/"


def _wait_until_ready(live: Live, plan: Blueprint, emit: Callable[..., None]) -> None:
    live.service.wait_ready(plan.service.ready_within)
    job = plan.service.monitoring.job
    try:
        wait_until("the service was not monitored", partial(_unmonitored, live, job), MONITORED_WITHIN_S)
    except StackError as error:
        if not _scraped_too_slowly(live, job):
            raise
        emit("stack", "remark", text=f"{error}; the check `scrape` says how long its scrapes take")  # and judges that


def heal(runs: Path) -> list[str]:
    """Undo what killed runs left in a folder of runs; a line for each thing done. Runs still owned are left alone."""
    done = []
    for run in sorted(p for p in runs.iterdir() if p.is_dir() and not p.is_symlink()) if runs.is_dir() else ():
        owner = run / "owner.json"
        left = any(os.path.lexists(at) for at in (owner, run / PRIVATE, run / ledger.PROXIES))
        if not left and not ledger.Ledger(run).open():
            continue
        if owned(run):
            continue
        faults, processes, failed = ledger.heal(run)
        done += [f"{run.name}: undid {entry.kind} ({entry.experiment})" for entry in faults]
        done += [f"{run.name}: ended process {pid.pid}" for pid in processes]
        done += [f"{run.name}: NOT HEALED: {problem}" for problem in failed]
        if not failed:
            owner.unlink(missing_ok=True)
    return done


def _unmonitored(live: Live, job: str) -> str:
    """What is missing until Prometheus has scraped every replica and found its Alertmanager."""
    import httpx  # here and below: a command that starts no stack does not pay for it

    live.check()
    try:
        targets = _targets(live, job)
        managers = _get_json(f"{live.stack.prometheus_url}/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    except httpx.HTTPError as error:
        return f"Prometheus does not respond: {error}"
    unscraped = [t for t in targets if t["health"] != "up"]
    if unscraped or not targets:
        error = next((f" ({t['lastError']})" for t in unscraped if t.get("lastError")), "")
        return f"Prometheus has not scraped it{error}"
    return "" if managers else "Prometheus has not found Alertmanager"


def _scraped_too_slowly(live: Live, job: str) -> bool:
    """Whether all that keeps Prometheus from scraping the service is that it answers too late."""
    import httpx

    try:
        errors = [t.get("lastError", "") for t in _targets(live, job) if t["health"] != "up"]
    except httpx.HTTPError:  # Prometheus itself has gone
        return False
    return bool(errors) and all("context deadline exceeded" in error for error in errors)


def _targets(live: Live, job: str) -> list[dict[str, Any]]:
    """What Prometheus says of the replicas that it scrapes. Raises httpx.HTTPError."""
    found = _get_json(f"{live.stack.prometheus_url}/api/v1/targets")["data"]["activeTargets"]
    return [t for t in found if t["labels"].get("job") == job]


def _get_json(url: str) -> Any:
    import httpx

    response = httpx.get(url, timeout=2, trust_env=False, verify=False)
    response.raise_for_status()
    return response.json()


def with_added(environment: Mapping[str, str], added: Mapping[str, str], control: Path) -> dict[str, str]:
    """An environment with what a contract adds to it, and with the file that a module of that follows. Such modules are
    found first, and the component's own as before."""
    if not added:
        return dict(environment)
    paths = {}
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH"):
        entries = [entry for entry in (added.get(name), environment.get(name, os.environ.get(name))) if entry]
        paths |= {name: os.pathsep.join(entries)} if entries else {}
    return {**environment, **added, INSIDE: str(control), **paths}


def scraped(service: ServiceSpec, ports: Mapping[str, int], name: str) -> int:
    """The port at which a replica has its metrics."""
    return service.metrics.port or ports.get(metrics_of(name), ports[name])


def scraped_at(metrics: Metrics, instance: Instance) -> str:
    """HOST:PORT of the metrics of an instance that runs already."""
    return instance.url._replace(port=instance.metrics.port or metrics.port or instance.url.port).address


def labels_of(instance: Instance) -> dict[str, str]:
    """What its target has beside those of all."""
    return instance.labels | ({"__metrics_path__": instance.metrics.path} if instance.metrics.path else {})


def metrics_of(name: str) -> str:
    """By what name the port of a replica's metrics is kept."""
    return f"{name} metrics"


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
