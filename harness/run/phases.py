"""The parts of a run: its load, and each phase from calm to calm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from harness.chaos import runner
from harness.chaos.actions import EXPERIMENT
from harness.errors import ProcessDied, StackError, UsageError
from harness.eventlog import Event, Log, json_lines
from harness.history import History, Window
from harness.plan.checks import WATCHDOG
from harness.plan.experiments import STEADY, Experiment
from harness.plan.plan import Plan
from harness.run.view import View
from harness.stack import generator
from harness.stack.generator import Generator
from harness.stack.process import Child, Pid, processes_of, spawn
from harness.stack.stack import ENV, Stack
from harness.watch import alerts, processors, requests

LOAD_UP_WITHIN_S = 20.0
AFTERMATH_S = 3.5  # recorded after the last alert resolved: its notification, and 3 s of clients served again
ON_TIME_FOR_S = 5.0  # a generator that was on time for so long is trusted with a phase
BASELINE_S = 5.0  # recorded before an experiment's Chaos Toolkit starts, so that the replayed rules see normal times
EXPERIMENT_AT_MOST_S = 300.0


@contextmanager
def loaded(plan: Plan, stack: Stack, for_s: float | None = None) -> Iterator[Generator]:
    """The plan's steady load running against a stack, until the end of the block (or for a time, if that is less)."""
    with generating(stack, plan.scenario, plan.arrivals, for_s, plan.corpus, plan.workdir) as load:
        yield load


@contextmanager
def generating(
    stack: Stack, scenario: Path, arrivals: str | None, for_s: float | None, corpus: Path | None, cwd: Path,
    processes: int = 1, ca_file: Path | None = None, insecure: bool = False,
) -> Iterator[Generator]:  # fmt: skip
    """A generator at work against a stack, and ended with the block. Raises UsageError with what its scenario got
    wrong, also where that shows only in the end: its rows are then not what the scenario meant."""
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
        processes=processes,
        **stack.generator_options(ca_file, insecure),
    )
    load = generator.start("load", argv, stack.run, scenario.resolve(), cwd)
    try:
        yield load
    finally:
        load.end(grace_s=20, first=signal.SIGINT)
    if load.popen.returncode > 0:
        load.check()


def _is_generator(pid: Pid, rows: Path) -> bool:
    try:
        return str(rows).encode() in Path(f"/proc/{pid.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def wait_load(load: Generator, stack: Stack, view: View) -> Event:
    """Until the load's schedule begins; gives what its generator says of it."""
    began: list[Event] = []

    def begins() -> bool:
        events = (Event(*line) for line in json_lines(stack.run / "events.jsonl"))
        began.extend(e for e in events if (e.source, e.name) == ("load", "started") and e.detail["pid"] == load.pid)
        return bool(began)

    if not view.wait("starting the load", begins, LOAD_UP_WITHIN_S, load):
        raise StackError(f"the load did not begin within {LOAD_UP_WITHIN_S:g} s; its log: {load.log}")
    return began[0]


def steady(plan: Plan, load: Generator, log: Log, view: View, stage: str) -> None:
    """The steady load, judged from now on for its time."""
    await_calm(plan, log, view, stage, load)
    _edge(log, view.stack.run, STEADY, "begin")
    view.let_pass(stage, plan.gate.load.for_s, load)
    _edge(log, view.stack.run, STEADY, "end")


def from_its_begin(plan: Plan, load: Generator, epoch: float, log: Log, view: View, stage: str) -> None:
    """The steady load, judged from the first moment of its schedule on."""
    _edge(log, view.stack.run, STEADY, "begin", at=epoch)
    view.let_pass(stage, max(0.0, epoch + plan.gate.load.for_s - time.time()), load)
    _edge(log, view.stack.run, STEADY, "end")


def await_calm(plan: Plan, log: Log, view: View, stage: str, load: Generator | None, **about: str) -> None:
    """Until nothing fires but what the load is meant to raise, or the settling time is over."""
    calm = view.wait(f"{stage}: waiting for calm", lambda: _calm(plan, view.stack), plan.gate.settle, load)
    log.event("run", "baseline", "ok" if calm else "unknown", **(about or {"phase": STEADY}))


def perform(
    plan: Plan, experiment: Experiment, stack: Stack, load: Generator, log: Log, view: View, stage: str
) -> None:
    """One experiment from calm to calm: its phase in the history begins before Chaos Toolkit starts and ends when
    alerts have resolved, or when its contract's bounds and the settling time are over."""
    run = stack.run
    await_calm(plan, log, view, stage, load, experiment=experiment.name)
    journal = run / "journals" / f"{experiment.name}.json"
    journal.unlink(missing_ok=True)
    _edge(log, run, experiment.name, "begin")
    try:
        view.let_pass(f"{stage}: baseline", BASELINE_S, load)
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
        view.wait(f"{stage}: until alerts resolve", lambda: _calm(plan, stack), slowest + plan.gate.settle, load)
        view.let_pass(f"{stage}: aftermath", AFTERMATH_S, load)
        left = [f"{e.kind} {e.id}" for e in stack.ledger.open()]
        log.event("run", "ledger", "fail" if left else "ok", experiment=experiment.name, left=left)
    finally:
        _edge(log, run, experiment.name, "end")


def attempts(phase: str, lag_p99_s: float, repeats: int, load: Generator, log: Log, view: View) -> Iterator[str]:
    """The phase once, and again while the generator was late in it, `repeats` times at most; gives what to call it.

    Each time it first waits until the generator keeps its schedule, within the run's patience. Whether a phase waits or
    is repeated depends on the generator alone and never on what the service did; the last time counts.
    """
    rows = view.stack.run / "requests-load.bin"
    again = ""
    for attempt in range(1 + repeats):
        view.wait_patiently("waiting until the generator keeps its schedule", lambda: _on_time(rows, lag_p99_s), load)
        yield again
        window = History(events=[Event(*line) for line in json_lines(view.stack.run / "events.jsonl")]).phase(phase)
        late_s = requests.lag_p99_s(rows, window) if window else None
        if late_s is None or late_s <= lag_p99_s or attempt == repeats:
            return
        again = f" again (the generator was {1000 * late_s:.0f} ms late)"
        log.event("run", "repeated", "unknown", phase=phase, lag_p99_ms=round(1000 * late_s, 1))


def _on_time(rows: Path, lag_p99_s: float) -> bool:
    now = time.time()
    late_s = requests.lag_p99_s(rows, Window(now - ON_TIME_FOR_S, now))
    return late_s is not None and late_s <= lag_p99_s


def _calm(plan: Plan, stack: Stack) -> bool:
    """Nothing fires or pends but the Watchdog and what the load itself may raise, in Prometheus and in Alertmanager."""
    expected = {WATCHDOG, *plan.gate.load.may_fire}
    try:
        return (
            set(alerts.active(stack.prometheus_url)) <= expected and alerts.routed(stack.alertmanager_url) <= expected
        )
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


def _edge(log: Log, run: Path, phase: str, edge: str, at: float | None = None) -> None:
    """A phase begins or ends; with it what the processors did so far, because one that others had explains much."""
    log.event("run", "phase", at=at, phase=phase, edge=edge, cpu=processor(run))


def processor(run: Path) -> dict[str, int]:
    """What the processors did so far, and how much of it for a run: for this process, for whoever holds its stack up,
    and for all that they started."""
    roots = {os.getpid(), *(pid.pid for pid in processes_of(run))}
    with suppress(OSError, ValueError, KeyError):
        roots.add(int(json.loads((run / "owner.json").read_text())["pid"]))
    return processors.ticks(roots)
