"""The parts of a session: its load, and each phase from calm to calm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from harness.alert import Alert, selector
from harness.chaos import runner
from harness.chaos.actions import BESIDE, EXPERIMENT
from harness.checks import Check
from harness.checks.view import Contract
from harness.errors import ProcessDied, StackError, UsageError
from harness.eventlog import Event, events_of
from harness.history import GOLDEN, History, Notification, Window, left_firing, rows_file
from harness.plan.experiments import STEADY, Experiment
from harness.recordfile import records
from harness.run.asked import ask_queries
from harness.run.resources import sampled
from harness.run.session import Session, Start
from harness.stack import generator, planned
from harness.stack.alertmanager import failures
from harness.stack.generator import Generator, Users
from harness.stack.process import Child, Pid, processes_of, spawn
from harness.stack.spec import filled
from harness.stack.stack import Stack
from harness.watch import alerts, clocks, processors, requests, scrapes

ONE = Users()
LOAD_UP_WITHIN_S = 20.0
AFTERMATH_S = 3.5  # recorded after the last alert resolved: its notification, and 3 s of clients served again
ON_TIME_FOR_S = 5.0  # a generator that was on time for so long is trusted with a phase
BASELINE_S = 3.0  # recorded before an experiment's Chaos Toolkit starts, so that the replayed rules see normal times
NICE_BESIDE = 19  # what starts beside the steady load is to take nothing from it
ENDS = "resolved_notified_within_s"  # of a check that bounds when its receiver is notified that an alert is over
EXPERIMENT_AT_MOST_S = 300.0
READY_WITHIN_S = 10.0
RENEWED_WITHIN_S = 10.0
HEEDED_WITHIN_S = 5.0  # whoever holds a stack looks for requests twice a second
SHOWS_S = 3600.0  # production seconds: for so long rules may see a planned start, or that something was there before it


@contextmanager
def loaded(session: Session, for_s: float | None = None) -> Iterator[None]:
    """The plan's steady load running in a session, until the end of the block (or for a time, if that is less)."""
    plan = session.plan
    about = (plan.scenario, plan.arrivals, for_s, plan.workdir, plan.corpus)
    load = plan.gate.load
    users = Users(load.users or 1, load.spawn_rate, load.tags, load.exclude_tags)
    asked = {"user": load.user, "golden_each": plan.service.replicas, "users": users}
    with (
        sampled(session.stack, session.log),
        generating(session.stack, *about, **asked) as session.load,
    ):
        try:
            yield
        finally:
            session.load = None


@contextmanager
def generating(
    stack: Stack, scenario: Path, arrivals: str | None, for_s: float | None, cwd: Path, corpus: Path | None = None,
    processes: int = 1, access: Mapping[str, Any] | None = None, user: str | None = None, golden_each: int = 0,
    users: Users = ONE,
) -> Iterator[Generator]:  # fmt: skip
    """A generator at work against a stack, and ended with the block. access: how its requests get in; None: as the
    stack says. user: which of the scenario's user classes. golden_each: how often each input is asked alone before the
    load; 0: not at all. users: of a locustfile that keeps no schedule. Raises UsageError with what its scenario got
    wrong, also where that shows only in the end: its rows are then not what the scenario meant."""
    rows = rows_file(stack.run)
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
        user=user,
        golden=rows_file(stack.run, GOLDEN) if golden_each else None,
        golden_each=golden_each,
        users=users,
        **(stack.access if access is None else access),
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


def wait_load(session: Session) -> Event:
    """Until the load's schedule begins; gives its generator's event of that."""
    load, began = session.load, []

    def begins() -> bool:
        events = events_of(session.stack.run)
        began.extend(e for e in events if (e.source, e.name) == ("load", "started") and e.detail["pid"] == load.pid)
        return bool(began)

    if not session.wait("starting the load", begins, LOAD_UP_WITHIN_S):
        raise StackError(f"the load did not begin within {LOAD_UP_WITHIN_S:g} s; its log: {load.log}")
    return began[0]


def steady(session: Session, stage: str, begun: float | None = None, beside: Iterable[Experiment] = ()) -> None:
    """The steady load, judged for its time: from calm on, or from when it had begun. beside: experiments that break
    nothing, which take place meanwhile: were anything to move, it would be against either."""
    if begun is None:
        await_calm(session, stage)
    _edge(session, STEADY, "begin", at=begun)
    since = time.time() if begun is None else begun
    for experiment in beside:
        _perform(session, [experiment], f"{stage} and {experiment.name}", NICE_BESIDE)
    session.let_pass(stage, max(0.0, session.plan.gate.load.for_s - (time.time() - since)))
    _edge(session, STEADY, "end")
    _ask(session, STEADY)


def await_calm(
    session: Session, stage: str, wanted: Iterable[str] = (), allowed: Iterable[str] = (), **about: str
) -> None:
    """Until nothing fires or pends but what the load is meant to raise, or the settling time is over. wanted: the
    alerts that are about to be proven, which must not fire before, whatever the load may raise. allowed: what may."""
    wanted, allowed = set(wanted), set(allowed)
    at_most_s = session.plan.gate.settle + max(0.0, session.settles_at - time.monotonic())
    if _unrest(session) != set():
        session.calm_since = None
    calm = session.wait(f"{stage}: waiting for calm", lambda: _unrest(session, wanted, allowed) == set(), at_most_s)
    left = [] if calm else sorted(_unrest(session, wanted, allowed) or ())
    session.log.event("run", "baseline", "ok" if calm else "unknown", alerts=left, **(about or {"phase": STEADY}))


def renew_alertmanager(session: Session, stage: str, experiments: Iterable[str]) -> None:
    """An Alertmanager with empty storage, so that no group of an earlier experiment lives on in these."""
    stack = session.stack
    began, renewed = time.monotonic(), True
    if session.live is not None:
        session.live.notifier.renew()
    else:
        stack.renewal.parent.mkdir(exist_ok=True)
        stack.renewal.touch()
        renewed = session.wait(f"{stage}: a new Alertmanager", lambda: not stack.renewal.exists(), RENEWED_WITHIN_S)
        stack.renewal.unlink(missing_ok=True)
    took = time.monotonic() - began
    for name in experiments:
        session.log.event("run", "alertmanager", "ok" if renewed else "unknown", took=took, experiment=name)


def start_for(session: Session, experiment: Experiment, stage: str) -> None:
    """The service as an experiment's contract asks: started anew where it is not so already. That it did not get ready
    is an event: what follows is then no experiment. Where a run ends before the service is as before again, the stack
    comes down, or whoever holds it takes back what we asked for."""
    before, run = session.start, session.stack.run
    if not experiment.environment:
        start_as_before(session, stage)
    elif before is not None and before.well and _starts_nothing(session, experiment):
        about = {"experiment": experiment.name, "edge": "begin", "added": sorted(experiment.environment)}
        session.log.event("run", "planned-start", took=0.0, problem="", shared=before.by.name, **about)
    else:
        values = {"scratch": planned.scratch(run, experiment.name), "python": sys.executable}
        added = {name: filled(text, values) for name, text in experiment.environment.items()}
        prepare = experiment.prepare
        problem = planned.prepared(prepare, values, run, session.plan.workdir) if prepare else ""
        stage_begin = f"{stage}: starting the service for it"
        session.start = Start(experiment, _start(session, experiment.name, "begin", added, stage_begin, problem))


def start_as_before(session: Session, stage: str) -> None:
    """The service as service.yaml says, where it is started otherwise."""
    if (before := session.start) is not None:
        session.start = None
        _start(session, before.by.name, "end", {}, f"{stage}: starting the service as before")


def _start(
    session: Session, experiment: str, edge: str, added: Mapping[str, str], stage: str, problem: str = ""
) -> bool:
    """A planned start of the service, by us or by whoever holds the stack: whether it is in traffic again. The event
    says how it went. problem: why it cannot take place."""
    began, session.calm_since = time.monotonic(), None
    if problem:
        pass
    elif session.live is not None:
        session.view.show(stage)
        try:
            session.live.restart(added)
        except StackError as error:
            problem = str(error)
    else:
        problem = _ask_start(session, added, stage)
    about = {"experiment": experiment, "edge": edge, "added": sorted(added), "problem": problem}
    session.log.event("run", "planned-start", "fail" if problem else "ok", took=time.monotonic() - began, **about)
    session.settles_at = time.monotonic() + SHOWS_S / session.plan.gate.time_scale
    return not problem


def _ask_start(session: Session, added: Mapping[str, str], stage: str) -> str:
    """Why whoever holds the stack did not start the service; empty where it is in traffic."""
    run, found = session.stack.run, []
    planned.ask(run, added)

    def done() -> bool:
        found[:] = [planned.asked(run)]
        return found[0] is None or bool(found[0].problem)

    within_s = session.stack.grace_s + session.plan.service.ready_within + HEEDED_WITHIN_S
    heeded = session.wait(stage, done, within_s)
    planned.withdraw(run)
    if not heeded:
        return f"whoever holds the stack did not start it anew within {within_s:g} s"
    return found[0].problem if found[0] else ""


def perform(session: Session, window: Sequence[Experiment], stage: str, then: Sequence[Experiment] = ()) -> None:
    """Experiments that take place at the same time, from calm to calm, with the service started as their contracts
    ask. then: those that follow, which are made ready meanwhile."""
    for experiment in window:
        start_for(session, experiment, stage)
    _perform(session, window, stage, then=then)


def _perform(
    session: Session, window: Sequence[Experiment], stage: str, niceness: int = 0, then: Sequence[Experiment] = ()
) -> None:
    """Their phase in the history begins with the baseline of their faults, and ends when alerts have resolved, or when
    the bounds of their contracts and the settling time are over."""
    plan, log, run = session.plan, session.log, session.stack.run
    names = [experiment.name for experiment in window]
    for experiment in window:
        wanted = [want.alert for want in experiment.contract.alerts]
        allowed = experiment.contract.may_fire if experiment.environment else ()  # a planned start may raise it, too
        await_calm(session, stage, wanted, allowed, experiment=experiment.name)
    if session.calm_since is None or tuple(names) not in session.waiting:
        make_ready(session, window, stage, niceness)
        session.calm_since = None
    if session.live is not None:
        session.live.service.forget_backoff()  # each experiment stands for an incident of its own
    recorded_s = _calm_s(session)  # of its baseline, which the end of the experiment before it is as well
    session.calm_since = None
    began = time.time() - recorded_s
    _edges(session, names, "begin", at=began)
    try:
        children = session.waiting.pop(tuple(names))
        try:
            session.let_pass(f"{stage}: baseline", BASELINE_S - recorded_s)
            for name, child in children.items():
                _journal(run, name).with_suffix(runner.READY).unlink(missing_ok=True)
                with suppress(OSError):  # it has ended, as its missing journal will say
                    child.popen.stdin.write(b"go\n")
                    child.popen.stdin.flush()
            session.wait(stage, lambda: not any(child.alive() for child in children.values()), EXPERIMENT_AT_MOST_S)
            for name in (name for name, child in children.items() if child.alive()):
                log.event("run", "experiment-overran", "fail", experiment=name, after_s=EXPERIMENT_AT_MOST_S)
        finally:
            for child in children.values():
                _stop_chaos(child)
        if then and _starts_nothing(session, then[0]):
            call_up(session, then)  # which is over when alerts have resolved
        for name in (name for name in names if not _journal(run, name).exists()):
            log.event("run", "no-journal", "fail", experiment=name, problem=_quoted(children[name]))
        slowest = max(slowest_end_s(experiment.contract) for experiment in window) / plan.gate.time_scale
        calm = session.wait(f"{stage}: until alerts resolve", lambda: _calm(session), slowest + plan.gate.settle)
        mine = [check for check in plan.checks if check.experiment in names]
        notified = run / "notifications.jsonl"
        session.wait(f"{stage}: until receivers know", lambda: all_notified(notified, mine, began), slowest)
        if calm and then and _starts_nothing(session, then[0]):
            make_ready(session, then, stage)
        session.calm_since = time.time() if calm else None
        session.let_pass(f"{stage}: aftermath", AFTERMATH_S)
        for name in names:
            _log_failures(session, name)
            left = [f"{e.kind} {e.id}" for e in session.stack.ledger.open() if e.experiment not in {*names} - {name}]
            log.event("run", "ledger", "fail" if left else "ok", experiment=name, left=left)
    finally:
        _edges(session, names, "end")
    for name in names:
        ask_queries(session.plan.checks, name, session.stack.prometheus_url, session.log)
    _scrape(session, names[0])


def make_ready(session: Session, window: Sequence[Experiment], stage: str, niceness: int = 0) -> None:
    """What is to be done before some experiments and takes processor time, which is not to be seen in a baseline: an
    Alertmanager with empty storage, and Chaos Toolkit for each, which then waits for its turn."""
    run = session.stack.run
    children = call_up(session, window, niceness)
    renew_alertmanager(session, stage, children)

    def ready() -> bool:
        return all(_journal(run, n).with_suffix(runner.READY).exists() or not c.alive() for n, c in children.items())

    session.wait(f"{stage}: starting Chaos Toolkit", ready, READY_WITHIN_S)


def call_up(session: Session, window: Sequence[Experiment], niceness: int = 0) -> dict[str, Child]:
    """Chaos Toolkit for each of some experiments, by its name, started where it is not yet."""
    run, names = session.stack.run, tuple(experiment.name for experiment in window)
    if names in session.waiting:
        return session.waiting[names]
    children = session.waiting[names] = {}
    for experiment in window:
        journal = _journal(run, experiment.name)
        for old in (journal, journal.with_suffix(runner.READY)):
            old.unlink(missing_ok=True)
        beside = ",".join(name for name in names if name != experiment.name)
        children[experiment.name] = spawn(
            f"chaos-{experiment.name}",
            runner.command(_file_of(experiment, run), journal, waits=True),
            run,
            env={**session.stack.environment, EXPERIMENT: experiment.name, BESIDE: beside},
            cwd=session.plan.workdir,
            niceness=niceness,
            stdin=subprocess.PIPE,
        )
    return children


def _file_of(experiment: Experiment, run: Path) -> Path:
    """What Chaos Toolkit runs: the experiment's file, or what the plan makes of it, in the run's folder."""
    if experiment.given is None:
        return experiment.path
    file = run / "given" / f"{experiment.name}.json"
    file.parent.mkdir(exist_ok=True)
    file.touch(0o600)  # what it is given may be a secret
    file.write_text(json.dumps(experiment.given, default=str, indent=1))
    return file


def dismiss(session: Session) -> None:
    """End whatever still waits for its turn, which does not come."""
    for children in session.waiting.values():
        for child in children.values():
            _stop_chaos(child)
    session.waiting.clear()


def _starts_nothing(session: Session, experiment: Experiment) -> bool:
    """Whether the service is as an experiment wants it."""
    return session.start.by.starts_like(experiment) if session.start else not experiment.environment


def _journal(run: Path, experiment: str) -> Path:
    return run / "journals" / f"{experiment}.json"


def _calm_s(session: Session) -> float:
    """For how long nothing has fired and nothing has been done to the stack, as far as a baseline goes; seconds."""
    calm_s = 0.0 if session.calm_since is None else time.time() - session.calm_since
    return min(max(0.0, calm_s), BASELINE_S)


def _log_failures(session: Session, experiment: str) -> None:
    """Which integrations Alertmanager gave up to notify in an experiment, and why: what is not rendered never comes."""
    run = session.stack.run
    log, history = run / "logs" / "alertmanager.log", History(events=events_of(run))
    begun = max((e.at for e in history.of("run", "phase") if e.detail.get("phase") == experiment), default=0.0)
    names = {(r, logged): name for e in history.of("stack", "integrations") for r, logged, name in e.detail["names"]}
    for one in failures(log.read_text(errors="replace") if log.exists() else "", begun):
        name = names.get((one.receiver, one.integration), one.integration)
        about = {"experiment": experiment, "receiver": one.receiver, "integration": name, "reason": one.reason}
        session.log.event("alertmanager", "not-notified", "fail", at=one.at, **about)


def attempts(session: Session, phase: str, lag_p99_s: float) -> Iterator[str]:
    """The phase once, and again while the generator was late in it, as often as the plan repeats one at most; gives
    what to add to its name.

    Each time it first waits until the generator keeps its schedule, within the run's patience. Whether a phase waits or
    is repeated depends on the generator alone and never on what the service did; the last time counts.
    """
    run, repeats, again = session.stack.run, session.plan.gate.generator.repeats, ""
    rows = rows_file(run)
    for attempt in range(1 + repeats):
        session.wait_patiently("waiting until the generator keeps its schedule", lambda: _on_time(rows, lag_p99_s))
        yield again
        window = History(events=events_of(run)).phase(phase)
        late_s = requests.lag_p99_s(rows, window) if window else None
        if late_s is None or late_s <= lag_p99_s or attempt == repeats:
            return
        again = f" again (the generator was {1000 * late_s:.0f} ms late)"
        session.log.event("run", "repeated", "unknown", phase=phase, lag_p99_ms=round(1000 * late_s, 1))


def _on_time(rows: Path, lag_p99_s: float) -> bool:
    now = time.time()
    late_s = requests.lag_p99_s(rows, Window(now - ON_TIME_FOR_S, now))
    return late_s is not None and late_s <= lag_p99_s


def slowest_end_s(contract: Contract) -> float:
    """By when receivers are to be notified that all is over, after the effect; production seconds. The bounds of an
    alert that is proven by a fault held in the replay are none of the recorded one's."""
    return max((want.resolved_notified_s or 0 for want in contract.alerts if want.held is None), default=0)


def all_notified(notifications: Path, checks: Iterable[Check], began: float) -> bool:
    """Whether every receiver that was notified of an alert since then, and is to be notified of its end, was so."""
    ends = {(c.receiver, c.alert.name): c for c in checks if getattr(c, ENDS, None) is not None}
    messages: dict[tuple[str, str, str], list[Notification]] = {}
    for n in records(notifications, Notification, open_end=True):
        for name in n.alerts if n.at >= began else ():
            check = ends.get((n.receiver, name))
            if check is not None and dict(check.integrations).get(n.integration, True):
                messages.setdefault((n.receiver, name, n.integration), []).append(n)
    return not any(
        [*left_firing(some, Alert(name), ends[receiver, name].group_by)][-1]
        for (receiver, name, _), some in messages.items()
    )


def _calm(session: Session) -> bool:
    return _unrest(session) == set()


def _unrest(session: Session, wanted: Set[str] = frozenset(), allowed: Set[str] = frozenset()) -> set[str] | None:
    """What fires or pends but what always does, what the load itself may raise and what is allowed, in Prometheus or in
    Alertmanager; None where they do not say. wanted: must not, even if the load may raise it."""
    stack, plan = session.stack, session.plan
    expected = {selector(text)[0] for text in (*plan.always_firing, *plan.gate.load.may_fire, *allowed)} - wanted
    try:
        return {*alerts.active(stack.prometheus_url), *alerts.routed(stack.alertmanager_url)} - expected
    except httpx.HTTPError:
        return None


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


def _ask(session: Session, phase: str) -> None:
    """Ask what the checks want to know of a phase that has just ended."""
    ask_queries(session.plan.checks, phase, session.stack.prometheus_url, session.log)
    _scrape(session, phase)


def _scrape(session: Session, phase: str) -> None:
    """Scrape each target once with production's timeout, which the gate's own scrapes are too frequent for."""
    run, timeout_s = session.stack.run, session.plan.service.monitoring.scrape_timeout_s
    config = run / "prometheus" / "prometheus.yaml"
    if config.exists():
        for found in scrapes.unhurried(config, session.stack.prometheus_url, timeout_s):
            session.log.event("run", "scrape", "fail" if found.get("problem") else "ok", phase=phase, **found)


def _edge(session: Session, phase: str, edge: str, at: float | None = None) -> None:
    """A phase begins or ends; with it what the processors did so far, because one that others had explains much."""
    _edges(session, [phase], edge, at)


def _edges(session: Session, phases: Sequence[str], edge: str, at: float | None = None) -> None:
    """Phases begin or end at the same time."""
    at, cpu = time.time() if at is None else at, processor(session.stack.run)
    for phase in phases:
        session.log.event("run", "phase", at=at, phase=phase, edge=edge, cpu=cpu)
    read = clocks.reading(session.stack.prometheus_url, rows_file(session.stack.run))
    session.log.event("run", "clocks", phase=phases[0], edge=edge, **read)


def processor(run: Path) -> dict[str, int]:
    """What the processors did so far, and how much of it for a run: for this process, for whoever holds its stack up,
    and for all that they started."""
    roots = {os.getpid(), *(pid.pid for pid in processes_of(run))}
    with suppress(OSError, ValueError, KeyError):
        roots.add(int(json.loads((run / "owner.json").read_text())["pid"]))
    return processors.ticks(roots)
