"""The orchestration: a plan becomes a stack, a load, experiments, and a folder of evidence, which is then judged.

Judging reads nothing but the folder, so it can be repeated on any stored run.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import yaml

import harness
from harness.chaos import runner
from harness.chaos.actions import EXPERIMENT
from harness.checks import AlertDelivered, AlertFires, Quiet, Recorded, WatchdogUnbroken, judge_all
from harness.checks.alert_coverage import coverage, statuses
from harness.checks.effect import effect
from harness.errors import HarnessError, PlanError, ProcessDied, StackError, UsageError
from harness.history import Event, History, Log, Outcome, Window, json_lines, read_rows, write_series
from harness.plan.plan import STEADY, WATCHDOG, Experiment, Plan, dump, stored_checks
from harness.plan.service import ProbeSpec
from harness.rules.compress import compress
from harness.rules.replay import replay, without_data
from harness.rules.rulefile import check_with_promtool
from harness.stack import alertmanager, generator
from harness.stack.kubelet import Probe
from harness.stack.process import Child, Pid, processes_of, spawn
from harness.stack.stack import ENV, Stack
from harness.stack.tools import Tools
from harness.stack.up import Blueprint, Live, up
from harness.verdict import Result
from harness.watch import alerts, metrics, requests

TICK_S = 0.25
LOAD_UP_WITHIN_S = 20.0
LOADED = "load"  # the phase of `harness load`
WARM_S = 5.0  # of load before anything is judged: first requests are slow, and a 5 min window remembers them
AFTERMATH_S = 3.5  # recorded after the last alert resolved: its notification, and 3 s of clients served again
BASELINE_S = 5.0  # recorded before an experiment's Chaos Toolkit starts, so that the replayed rules see normal times
EXPERIMENT_AT_MOST_S = 300.0


@dataclass(frozen=True)
class Progress:
    """What is going on now, for whoever watches."""

    stage: str  # "steady load", "experiment 2/4 server-crash", ...
    elapsed_s: float  # since the run began
    stage_s: float  # since the stage began
    stage_for_s: float | None = None  # how long it takes, where that is known
    arrivals_per_s: float | None = None
    goodput_per_s: float | None = None
    p95_ms: float | None = None
    alerts: Mapping[str, str] | None = None  # name -> firing | pending
    probes: Mapping[str, Sequence[bool]] | None = None  # probe -> its latest answers
    in_traffic: bool | None = None


Watcher = Callable[[Progress], None]


@dataclass(frozen=True)
class Judged:
    """A stored run, judged."""

    run: Path
    results: tuple[Result, ...]
    alerts: Mapping[str, Mapping[str, Any]]  # as checks.alert_coverage.statuses gives them
    coverage: Mapping[str, Mapping[str, int]]
    history: History
    experiments: tuple[str, ...]


def preflight(plan: Plan, tools: Tools) -> tuple[Plan, str]:
    """The rules as they will run live, and the plan told which have no live copy. Raises PlanError with what promtool
    and amtool reject in the production files."""
    problems = check_with_promtool(tools.promtool, plan.rules)
    problems += alertmanager.check_config(tools.amtool, plan.alertmanager)
    if problems:
        raise PlanError(problems)
    text, refused = compress(
        plan.rules,
        time_scale=plan.gate.time_scale,
        scrape_s=plan.service.monitoring.scrape_interval,
        evaluation_s=plan.service.monitoring.evaluation_interval,
    )
    return plan.with_refusals(refused), text


def open_run(plan: Plan, tools: Tools, runs: Path) -> Path:
    """A new run folder with the plan, the files it names and the environment in it."""
    run = (runs / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}").resolve()
    run.mkdir(parents=True)
    (run / "plan.yaml").write_text(dump(plan))
    (run / "events.jsonl").touch()
    for folder, files in (
        ("rules", plan.rules),
        ("experiments", [e.path for e in plan.experiments]),
    ):
        (run / folder).mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, run / folder / file.name)
    shutil.copy(plan.path, run / "gate.yaml")
    shutil.copy(plan.alertmanager, run / "production-alertmanager.yaml")
    (run / "journals").mkdir()
    (run / "environment.json").write_text(json.dumps(_environment(plan, tools), indent=1))
    return run


def gate(plan: Plan, tools: Tools, run: Path, rules: str, watch: Watcher) -> None:
    """Carry the whole plan out and leave its evidence in the run's folder. Raises HarnessError if the stack breaks;
    what was recorded until then stays."""
    log = Log(run / "events.jsonl")
    began = time.monotonic()
    _started(plan, log)
    with up(_blueprint(plan, rules), tools, run, log.event, lambda stage: watch(Progress(stage, 0, 0))) as live:
        view = _View(live.stack, began, watch, live)
        try:
            with loaded(plan, live.stack) as load:
                _wait_load(load, live.stack, view)
                bounds = plan.gate.generator
                view.wait("warming up", lambda: False, WARM_S, load)
                for _ in _attempts(STEADY, bounds.lag_p99, bounds.repeats, live.stack, log):
                    _steady(plan, load, log, view)
                for i, experiment in enumerate(plan.experiments):
                    stage = f"experiment {i + 1}/{len(plan.experiments)} {experiment.name}"
                    for _ in _attempts(experiment.name, bounds.lag_p99_under_fault, bounds.repeats, live.stack, log):
                        live.kubelet.forget_backoff()
                        perform(plan, experiment, live.stack, load, log, view, stage)
        except BaseException:
            with suppress(Exception):  # what stopped the run is the news, not that its evidence is incomplete
                store_samples(plan, live.stack)
            raise
        view.show("collecting evidence")
        store_samples(plan, live.stack)
    replay_all(plan, run, tools, log)
    log.event("run", "ended", took=time.monotonic() - began)


@contextmanager
def loaded(plan: Plan, stack: Stack, for_s: float | None = None) -> Iterator[Child]:
    """The plan's steady load running against a stack, until the end of the block (or for a time, if that is less)."""
    with _generator(stack, plan.scenario, plan.gate.load.arrivals.text, for_s, plan.corpus, plan.workdir) as load:
        yield load


@contextmanager
def _generator(
    stack: Stack, scenario: Path, arrivals: str | None, for_s: float | None, corpus: Path | None, cwd: Path
) -> Iterator[Child]:
    rows = stack.run / "requests-load.bin"
    if alive := [p for p in processes_of(stack.run) if _is_generator(p, rows)]:
        raise UsageError(f"a load is running against this stack already (pid {alive[0].pid}); end it first")
    argv = generator.command(
        scenario.resolve(),
        stack.service_url,
        arrivals=arrivals,
        for_s=for_s,
        rows=rows,
        events=stack.run / "events.jsonl",
        name="load",
        corpus=corpus,
    )
    load = spawn("load", argv, stack.run, cwd=cwd)
    try:
        yield load
    finally:
        load.end(grace_s=20, first=signal.SIGINT)


def _is_generator(pid: Pid, rows: Path) -> bool:
    try:
        return str(rows).encode() in Path(f"/proc/{pid.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


@contextmanager
def held(
    plan: Plan, tools: Tools, run: Path, rules: str, port: int | None, say: Callable[[str], None]
) -> Iterator[Live]:
    """A stack that is up and idle, for others to work against."""
    log = Log(run / "events.jsonl")
    _started(plan, log)
    with up(_blueprint(plan, rules, port), tools, run, log.event, say) as live:
        yield live


def load_once(
    stack: Stack, scenario: Path, arrivals: str | None, for_s: float, watch: Watcher
) -> tuple[History, Result]:
    """Run one scenario against a stack for a time; gives the history and the generator's judgement on itself.

    Raises UsageError if a load is running there already, ProcessDied with the generator's words if it could not run.
    """
    log = Log(stack.run / "events.jsonl")
    view, began = _View(stack, time.monotonic(), watch, None), time.time()
    with _generator(stack, scenario, arrivals, for_s, stack.corpus, Path.cwd()) as load:
        until = time.monotonic() + for_s + LOAD_UP_WITHIN_S
        shown = time.monotonic()
        while load.alive() and time.monotonic() < until:
            time.sleep(TICK_S)
            if time.monotonic() - shown > 1:
                shown = time.monotonic()
                view.show(f"load {scenario.stem}", shown - view.began, for_s)
    if load.popen.returncode != 0:
        load.check()
    rows = read_rows(stack.run / "requests-load.bin")
    rows = rows[rows["intended"] > began]  # earlier loads against this stack lie before it
    if len(rows):
        for edge, at in (("begin", rows["intended"].min()), ("end", rows["intended"].max() + 1e-6)):
            log.event("run", "phase", at=float(at), phase=LOADED, edge=edge)
    window = Window(time.time() - for_s - 2 * LOAD_UP_WITHIN_S, time.time())
    job = History.read(stack.run).setting("job")
    write_series(stack.run / "samples.jsonl.gz", metrics.recorded(stack.prometheus_url, job, window))
    history = History.read(stack.run)
    return history, judge_all([Recorded(generators=("load",), phases=(LOADED,))], history)[0]


def experiment_once(plan: Plan, stack: Stack, tools: Tools, watch: Watcher) -> None:
    """Run the plan's experiment under its load against a stack that somebody else holds up; the evidence, and the plan
    to judge it by, are left in the folder of that stack's run."""
    log = Log(stack.run / "events.jsonl")
    view = _View(stack, time.monotonic(), watch, None)
    (stack.run / "plan.yaml").write_text(dump(plan.for_experiments_alone()))
    # bounded, because no watchdog of ours ends it: the stack belongs to somebody else
    with loaded(plan, stack, for_s=2 * EXPERIMENT_AT_MOST_S) as load:
        _wait_load(load, stack, view)
        for experiment in plan.experiments:
            perform(plan, experiment, stack, load, log, view, f"experiment {experiment.name}")
    store_samples(plan, stack)
    replay_all(plan, stack.run, tools, log)


def perform(plan: Plan, experiment: Experiment, stack: Stack, load: Child, log: Log, view: _View, stage: str) -> None:
    """One experiment from calm to calm: its phase in the history begins before Chaos Toolkit starts and ends when
    alerts have resolved, or when its contract's bounds and the settling time are over."""
    run = stack.run
    calm = view.wait(f"{stage}: waiting for calm", lambda: _calm(stack), plan.gate.settle, load)
    log.event("run", "baseline", "ok" if calm else "unknown", experiment=experiment.name)
    journal = run / "journals" / f"{experiment.name}.json"
    journal.unlink(missing_ok=True)
    _edge(log, experiment.name, "begin")
    try:
        view.wait(f"{stage}: baseline", lambda: False, BASELINE_S, load)
        child = spawn(
            f"chaos-{experiment.name}",
            runner.command(experiment.path, journal),
            run,
            env={ENV: str(run), EXPERIMENT: experiment.name},
            cwd=plan.workdir,
        )
        try:
            ended = view.wait(stage, lambda: not child.alive(), EXPERIMENT_AT_MOST_S, load)
            if not ended:
                log.event("run", "experiment-overran", "fail", experiment=experiment.name, after_s=EXPERIMENT_AT_MOST_S)
        finally:
            _stop_chaos(child)
        if not journal.exists():
            log.event("run", "no-journal", "fail", experiment=experiment.name, problem=_quoted(child))
        slowest = max((a.resolves_within for a in experiment.contract.alerts), default=0) / plan.gate.time_scale
        view.wait(f"{stage}: until alerts resolve", lambda: _calm(stack), slowest + plan.gate.settle, load)
        view.wait(f"{stage}: aftermath", lambda: False, AFTERMATH_S, load)
        left = [f"{e.kind} {e.id}" for e in stack.ledger.open()]
        log.event("run", "ledger", "fail" if left else "ok", experiment=experiment.name, left=left)
    finally:
        _edge(log, experiment.name, "end")


def store_samples(plan: Plan, stack: Stack) -> None:
    """Store what Prometheus recorded since the run began, and its own snapshot. Raises StackError."""
    run = stack.run
    began = min((e.at for e in History.read(run).of("run", "started")), default=time.time())
    series = metrics.recorded(stack.prometheus_url, plan.service.monitoring.job, Window(began, time.time()))
    write_series(run / "samples.jsonl.gz", series)
    (run / "types.json").write_text(json.dumps(metrics.types(stack.prometheus_url)))
    shutil.move(metrics.snapshot(stack.prometheus_url, run / "prometheus" / "data"), run / "snapshot")


def replay_all(plan: Plan, run: Path, tools: Tools, log: Log) -> None:
    """Store what the unmodified rules make of each experiment's record; what cannot be replayed is an event."""
    history = History.read(run)
    types = json.loads((run / "types.json").read_text())
    replays: dict[str, Any] = {}
    for name in (STEADY, *(e.name for e in plan.experiments)):
        stretch = _stretch(history, name)
        if stretch is None:
            continue
        window, fault = stretch
        try:
            found = replay(
                history.series,
                plan.rules,
                promtool=tools.promtool,
                time_scale=plan.gate.time_scale,
                scrape_s=plan.scrape_s,
                production_scrape_s=plan.service.monitoring.scrape_interval,
                evaluation_s=plan.service.monitoring.evaluation_interval,
                window=window,
                fault=fault,
                job=plan.service.monitoring.job,
                types=types,
                workdir=run / "replay" / name,
            )
        except HarnessError as error:
            log.event("run", "replay", "fail", phase=name, problem=str(error))
            continue
        blind = without_data(history.series, plan.rules, window)
        replays[name] = {alert: list(one._replace(blind=sorted(blind.get(alert, ())))) for alert, one in found.items()}
    scratch = run / "replays.new"
    scratch.write_text(json.dumps(replays, indent=1))
    scratch.rename(run / "replays.json")


def _stretch(history: History, phase: str) -> tuple[Window, Window] | None:
    """A phase, and the fault with its effect in it; the steady load counts as a fault that breaks nothing."""
    window = history.phase(phase)
    if window is None:
        return None
    if phase == STEADY:
        return window, Window(window.start + BASELINE_S, window.end)
    seen = effect(history, phase)
    return None if seen is None else (window, Window(seen.start, window.end if seen.over is None else seen.over))


def judge(run: Path) -> Judged:
    """Judge a stored run by the checks stored with it. Raises EvidenceError or PlanError if it cannot be read."""
    checks, facts, plan = stored_checks(run)
    history = History.read(run)
    found = statuses(
        history,
        [(fact.alert, fact.severity) for fact in facts],
        [check for check in checks if isinstance(check, (AlertFires, AlertDelivered))],
        quiet=[check for check in checks if isinstance(check, Quiet)],
        watchdog=next((check for check in checks if isinstance(check, WatchdogUnbroken)), None),
    )
    results = tuple(judge_all(checks, history))
    return Judged(run, results, found, coverage(found), history, tuple(plan["experiments"]))


def _steady(plan: Plan, load: Child, log: Log, view: _View) -> None:
    calm = view.wait("steady load: waiting for calm", lambda: _calm(view.stack), plan.gate.settle, load)
    log.event("run", "baseline", "ok" if calm else "unknown", phase=STEADY)
    _edge(log, STEADY, "begin")
    view.wait("steady load", lambda: False, plan.gate.load.for_s, load)
    _edge(log, STEADY, "end")


def _attempts(phase: str, lag_p99_s: float, repeats: int, stack: Stack, log: Log) -> Iterator[int]:
    """The phase once, and again while the generator was late in it, `repeats` times at most.

    Whether it is repeated depends on the generator alone and never on what the service did; the last time counts.
    """
    for attempt in range(1 + repeats):
        yield attempt
        window = History(events=[Event(*line) for line in json_lines(stack.run / "events.jsonl")]).phase(phase)
        late_s = requests.lag_p99_s(stack.run / "requests-load.bin", window) if window else None
        if late_s is None or late_s <= lag_p99_s or attempt == repeats:
            return
        log.event("run", "repeated", "unknown", phase=phase, lag_p99_ms=round(1000 * late_s, 1))


def _wait_load(load: Child, stack: Stack, view: _View) -> None:
    rows = stack.run / "requests-load.bin"
    if not view.wait("starting the load", lambda: rows.exists() and rows.stat().st_size > 0, LOAD_UP_WITHIN_S, load):
        raise StackError(f"the load sent nothing within {LOAD_UP_WITHIN_S:g} s; its log: {load.log}")


def _calm(stack: Stack) -> bool:
    """Nothing fires or pends but the Watchdog, in Prometheus and in Alertmanager."""
    try:
        return set(alerts.active(stack.prometheus_url)) <= {WATCHDOG} and alerts.routed(stack.alertmanager_url) <= {
            WATCHDOG
        }
    except httpx.HTTPError:
        return False


def _stop_chaos(child: Child) -> None:
    """Chaos Toolkit heeds SIGINT and SIGUSR1 by rolling back, and swallows SIGTERM."""
    for signum, grace_s in ((signal.SIGINT, 5.0), (signal.SIGUSR1, 3.0)):
        if child.alive():
            child.popen.send_signal(signum)
            with suppress(subprocess.TimeoutExpired):
                child.popen.wait(grace_s)
    child.end(0.1, first=signal.SIGKILL)


def _quoted(child: Child) -> str:
    try:
        child.check()
    except ProcessDied as error:
        return str(error)
    return "it is still running"


class _View:
    """Waits, and meanwhile sees that everything lives and tells the watcher how it goes."""

    def __init__(self, stack: Stack, began: float, watch: Watcher, live: Live | None):
        self.stack, self.began, self.watch, self.live = stack, began, watch, live

    def wait(self, stage: str, done: Callable[[], bool], at_most_s: float, load: Child) -> bool:
        """True as soon as `done`, False when the time is up. Raises ProcessDied if what must live does not."""
        since = time.monotonic()
        shown = 0.0
        known_length = at_most_s if done() is False and stage in ("steady load", "warming up") else None
        while True:
            if self.live is not None:
                self.live.check()
            load.check()
            if done():
                return True
            now = time.monotonic()
            if now - since >= at_most_s:
                return False
            if now - shown >= 1.0:
                shown = now
                self.show(stage, now - since, known_length)
            time.sleep(min(TICK_S, max(0.0, at_most_s - (time.monotonic() - since))))

    def show(self, stage: str, stage_s: float = 0.0, stage_for_s: float | None = None) -> None:
        rows = requests.latest(self.stack.run / "requests-load.bin", 2.0)
        good = rows[rows["outcome"] == Outcome.OK]
        took = (good["done"] - good["intended"]) * 1000
        try:
            active = alerts.active(self.stack.prometheus_url)
        except httpx.HTTPError:
            active = None
        kubelet = self.live.kubelet if self.live else None
        self.watch(
            Progress(
                stage=stage,
                elapsed_s=time.monotonic() - self.began,
                stage_s=stage_s,
                stage_for_s=stage_for_s,
                arrivals_per_s=len(rows) / 2,
                goodput_per_s=len(good) / 2,
                p95_ms=float(sorted(took)[int(0.95 * (len(took) - 1))]) if len(took) else None,
                alerts=active,
                probes=dict(kubelet.answers) if kubelet else None,
                in_traffic=kubelet.in_traffic if kubelet else None,
            )
        )


def _edge(log: Log, phase: str, edge: str) -> None:
    """A phase begins or ends; with it what the processors did so far, because a stolen processor explains much."""
    log.event("run", "phase", phase=phase, edge=edge, cpu=_processor())


def _processor(stat: Path = Path("/proc/stat")) -> dict[str, int]:
    """Ticks of all processors since boot: in all, and taken away by the host; empty where the kernel does not say."""
    try:
        ticks = [int(n) for n in stat.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return {}
    return {"all": sum(ticks), "stolen": ticks[7]} if len(ticks) == 8 else {}


def _started(plan: Plan, log: Log) -> None:
    log.event(
        "run",
        "started",
        service=plan.service.name,
        commit=commit(plan.workdir),
        time_scale=plan.gate.time_scale,
        scrape_s=plan.scrape_s,
        evaluation_s=plan.evaluation_s,
        job=plan.service.monitoring.job,
        starved_ms=1000 * plan.gate.generator.starved,
        group_wait_s=plan.route.group_wait_s / plan.gate.time_scale,
        harness=harness.__version__,
        pid=os.getpid(),
    )


def _blueprint(plan: Plan, rules: str, port: int | None = None) -> Blueprint:
    service = plan.service
    return Blueprint(
        service=service.name,
        start_command=service.start.command,
        ready_within_s=service.start.ready_within,
        workdir=plan.workdir,
        job=service.monitoring.job,
        metrics_path=service.metrics,
        probes={
            which: _probe(spec)
            for which in ("startup", "liveness", "readiness")
            if (spec := getattr(service.probes, which)) is not None
        },
        rules=rules,
        alertmanager_config=yaml.safe_load(plan.alertmanager.read_text()),
        alertmanager_folder=plan.alertmanager.parent,
        time_scale=plan.gate.time_scale,
        scrape_s=plan.scrape_s,
        evaluation_s=plan.evaluation_s,
        corpus=plan.corpus,
        port=port,
    )


def _probe(spec: ProbeSpec) -> Probe:
    return Probe(
        path=spec.path,
        period_s=spec.periodSeconds,
        timeout_s=spec.timeoutSeconds,
        failure_threshold=spec.failureThreshold,
        success_threshold=spec.successThreshold,
        initial_delay_s=spec.initialDelaySeconds,
        grace_s=spec.terminationGracePeriodSeconds,
    )


def commit(where: Path) -> str:
    """The short commit of a working tree, with a + when it has changes; empty outside git."""
    try:
        found = subprocess.run(
            ["git", "-C", str(where), "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
        )
    except OSError:
        return ""
    return found.stdout.strip()


def _environment(plan: Plan, tools: Tools) -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "harness": harness.__version__,
        "commit": commit(plan.workdir),
        "packages": {p: version(p) for p in ("chaostoolkit", "chaostoolkit-lib", "locust", "prometheus-api-client")},
        "tools": {k: str(v) for k, v in asdict(tools).items()},
    }
