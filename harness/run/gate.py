"""A whole plan carried out: from an empty machine to stored evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path

import harness
from harness.checks import AlertDelivered
from harness.errors import LoadEnded
from harness.eventlog import Log
from harness.plan.experiments import STEADY, Experiment
from harness.plan.plan import Plan
from harness.plan.schedule import varies
from harness.plan.stored import dump
from harness.run import recorded
from harness.run.asked import run_commands
from harness.run.deliveries import deliver
from harness.run.evidence import note_dropped, replay_all, store_samples
from harness.run.folder import commit
from harness.run.phases import (
    EXPERIMENT_AT_MOST_S,
    attempts,
    await_calm,
    dismiss,
    loaded,
    perform,
    start_as_before,
    steady,
    wait_load,
)
from harness.run.runs import store_baseline
from harness.run.seal import seal
from harness.run.session import Session
from harness.run.view import Progress, View, Watcher
from harness.stack.stack import Stack
from harness.stack.tools import Tools
from harness.stack.up import Blueprint, Live, up
from harness.units import listed

EXPERIMENT_TAKES_S = 20.0  # about, for whoever waits; the bundled ones take 13 to 35
WARM_S = 5.0  # of load before anything is judged: first requests are slow, and a 5 min window remembers them


def gate(plan: Plan, tools: Tools, run: Path, rules: str, watch: Watcher) -> None:
    """Carry the whole plan out and leave its evidence in the run's folder. Raises HarnessError if the stack breaks;
    what was recorded until then stays."""
    began = time.monotonic()
    with held(plan, tools, run, rules, None, lambda stage: watch(Progress(stage, 0, 0))) as live:
        log = Log(run / "events.jsonl")
        view = View(live.stack, began, watch, live, plan.always_firing)
        session = Session(plan, live.stack, log, view, live)
        try:
            carry_out(session)
        except BaseException:
            with suppress(Exception):  # what stopped the run is the news, not that its evidence is incomplete
                store_samples(plan, live.stack)
            raise
        view.show("collecting evidence")
        store_samples(plan, live.stack)
        if posts := any(isinstance(check, AlertDelivered) and check.posted for check in plan.checks):
            view.show("replaying, for what is to be posted")
            replay_all(plan, run, tools, log)
            deliver(session, tools)
    note_dropped(run, log)
    if not posts:
        replay_all(plan, run, tools, log)
    recorded.store(plan.service, run)
    run_commands(plan.checks, run, log, plan.workdir)
    store_baseline(plan, run)
    log.event("run", "ended", took=time.monotonic() - began, sealed=True)
    log.close()
    seal(run)


@contextmanager
def held(
    plan: Plan, tools: Tools, run: Path, rules: str, port: int | None, show: Callable[[str], None]
) -> Iterator[Live]:
    """The plan's stack, up and idle until the end of the block."""
    log = Log(run / "events.jsonl")
    record_settings(plan, log)
    blueprint = Blueprint(plan.service, rules, plan.workdir, plan.gate.time_scale, port, plan.links)
    with up(blueprint, tools, run, log.event, show, recorded.kept(plan.service, run, log.event, plan.workdir)) as live:
        yield live


def carry_out(session: Session) -> None:
    """The plan's load and, under it, its experiments, against a stack that is up.

    A load that is the same all the time is judged once it and the service are warm. Of one that varies each part is
    something else, so it is judged from its first request on, and not repeated: the service it met then is no more.
    Where the load's schedule is over too soon, what was to follow does not take place, and the log says so.
    """
    plan, bounds, view = session.plan, session.plan.gate.generator, session.view
    await_calm(session, "before the load")
    with loaded(session):
        begun = wait_load(session)
        view.expect(plan.gate.load.for_s + EXPERIMENT_TAKES_S * len(plan.experiments))
        try:
            beside, others = apart(plan.experiments)
            if varies(begun.detail["arrivals"]):
                beside, others = (), plan.experiments
                steady(session, "steady load", begun.detail["epoch"])
            else:
                session.let_pass("warming up", WARM_S)
                for again in attempts(session, STEADY, bounds.lag_p99):
                    view.expect(plan.gate.load.for_s + EXPERIMENT_TAKES_S * len(plan.experiments))
                    steady(session, f"steady load{again}", beside=beside)
            together = windowed(plan.windows, others)
            done = 0
            for window, then in zip_longest(together, together[1:], fillvalue=()):
                names = [experiment.name for experiment in window]
                places = listed([str(done + n) for n in range(1, len(names) + 1)])
                stage = f"experiment {places}/{len(others)} {listed(names)}"
                for again in attempts(session, names[0], bounds.lag_p99_under_fault):
                    view.expect(EXPERIMENT_TAKES_S * (len(others) - done))
                    perform(session, window, stage + again, then)
                done += len(window)
        except LoadEnded as ended:
            session.log.event("run", "load-ended", "fail", at=ended.at, after_s=ended.at - begun.detail["epoch"])
        finally:
            dismiss(session)


def apart(experiments: Sequence[Experiment]) -> tuple[list[Experiment], list[Experiment]]:
    """The experiments that take place beside the steady load, which they leave as it is, and the others. The first sham
    is enough: two at once would be another's disturbance."""
    shams = [e for e in experiments if e.breaks_nothing and not e.environment][:1]
    return shams, [e for e in experiments if e not in shams]


def windowed(windows: Sequence[Sequence[str]], experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Some of a plan's experiments, those together that take place at the same time."""
    named = {experiment.name: experiment for experiment in experiments}
    return [mine for window in windows if (mine := [named[name] for name in window if name in named])]


def experiment_once(plan: Plan, stack: Stack, tools: Tools, watch: Watcher) -> None:
    """Run the plan's experiment under its load against a stack that somebody else holds up; the evidence, and the plan
    to judge it by, are left in the folder of that stack's run."""
    log = Log(stack.run / "events.jsonl")
    began = time.monotonic()
    session = Session(plan, stack, log, View(stack, began, watch, None, plan.always_firing))
    (stack.run / "plan.yaml").write_text(dump(plan.for_experiments_alone().resolved()))
    # bounded, because no watchdog of ours ends it: the stack belongs to somebody else
    with loaded(session, for_s=2 * EXPERIMENT_AT_MOST_S):
        wait_load(session)
        try:
            for experiment in plan.experiments:
                perform(session, [experiment], f"experiment {experiment.name}")
        finally:
            dismiss(session)
        start_as_before(session, "after the experiment")
    store_samples(plan, stack)
    note_dropped(stack.run, log)
    replay_all(plan, stack.run, tools, log)
    deliver(session, tools)
    recorded.store(plan.service, stack.run, down=False)
    run_commands(plan.checks, stack.run, log, plan.workdir)
    log.event("run", "ended", took=time.monotonic() - began, sealed=False)  # the stack goes on writing to its folder


def record_settings(plan: Plan, log: Log) -> None:
    """What judging must know of the run."""
    log.event(
        "run",
        "started",
        service=plan.service.name,
        commit=commit(plan.workdir),
        time_scale=plan.gate.time_scale,
        scrape_s=plan.scrape_s,
        evaluation_s=plan.evaluation_s,
        scrape_timeout_s=plan.service.monitoring.scrape_timeout_s,
        job=plan.service.monitoring.job,
        starved_ms=1000 * plan.gate.generator.starved,
        neighbours=plan.gate.generator.neighbours,
        harness=harness.__version__,
        pid=os.getpid(),
    )
