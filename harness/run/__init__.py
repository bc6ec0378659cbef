"""The orchestration: a plan becomes a stack, a load, experiments, and a folder of evidence, which is then judged.

Judging reads nothing but the folder, so it can be repeated on any stored run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
from harness.checks import Answers, Recorded, judge_all
from harness.errors import LoadEnded, PlanError
from harness.eventlog import Log
from harness.history import History, Window, read_rows, write_series
from harness.plan.experiments import STEADY
from harness.plan.plan import Plan
from harness.plan.schedule import varies
from harness.plan.stored import dump
from harness.rules.compress import compress
from harness.rules.rulefile import check_with_promtool
from harness.run import capacity_search
from harness.run.blueprint import blueprint
from harness.run.evidence import Judged, judge, replay_all, store_samples
from harness.run.folder import commit, open_run
from harness.run.phases import (
    EXPERIMENT_AT_MOST_S,
    LOAD_UP_WITHIN_S,
    attempts,
    await_calm,
    from_its_begin,
    generating,
    loaded,
    perform,
    processor,
    steady,
    wait_load,
)
from harness.run.view import TICK_S, Progress, View, Watcher
from harness.stack import alertmanager
from harness.stack.stack import Stack
from harness.stack.tools import Tools
from harness.stack.up import Live, up
from harness.verdict import Capacity, Result
from harness.watch import metrics

__all__ = [
    "LOADED", "Judged", "Progress", "Watcher",
    "capacity", "carry_out", "commit", "experiment_once", "gate", "held", "judge", "load_once", "open_run", "preflight",
    "started",
]  # fmt: skip

LOADED = "load"  # the phase of `harness load`
EXPERIMENT_TAKES_S = 26.0  # about, for whoever waits; the bundled ones take 17 to 30
WARM_S = 5.0  # of load before anything is judged: first requests are slow, and a 5 min window remembers them


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


def gate(plan: Plan, tools: Tools, run: Path, rules: str, watch: Watcher) -> None:
    """Carry the whole plan out and leave its evidence in the run's folder. Raises HarnessError if the stack breaks;
    what was recorded until then stays."""
    log = Log(run / "events.jsonl")
    began = time.monotonic()
    started(plan, log)
    with up(blueprint(plan, rules), tools, run, log.event, lambda stage: watch(Progress(stage, 0, 0))) as live:
        view = View(live.stack, began, watch, live, plan.gate.generator.patience)
        try:
            carry_out(plan, live, log, view)
        except BaseException:
            with suppress(Exception):  # what stopped the run is the news, not that its evidence is incomplete
                store_samples(plan, live.stack)
            raise
        view.show("collecting evidence")
        store_samples(plan, live.stack)
    replay_all(plan, run, tools, log)
    log.event("run", "ended", took=time.monotonic() - began)


def carry_out(plan: Plan, live: Live, log: Log, view: View) -> None:
    """The plan's load and, under it, its experiments, against a stack that is up.

    A load that is the same all the time is judged once it and the service are warm. Of one that varies each part is
    something else, so it is judged from its first request on, and not repeated: the service it met then is no more.
    Where the load's schedule is over too soon, what was to follow does not take place, and the log says so.
    """
    stack, bounds = live.stack, plan.gate.generator
    await_calm(plan, log, view, "before the load", None)
    with loaded(plan, stack) as load:
        begun = wait_load(load, stack, view)
        view.expect(plan.gate.load.for_s + EXPERIMENT_TAKES_S * len(plan.experiments))
        try:
            if varies(begun.detail["arrivals"]):
                from_its_begin(plan, load, begun.detail["epoch"], log, view, "steady load")
            else:
                view.let_pass("warming up", WARM_S, load)
                for again in attempts(STEADY, bounds.lag_p99, bounds.repeats, load, log, view):
                    view.expect(plan.gate.load.for_s + EXPERIMENT_TAKES_S * len(plan.experiments))
                    steady(plan, load, log, view, f"steady load{again}")
            for i, experiment in enumerate(plan.experiments):
                stage = f"experiment {i + 1}/{len(plan.experiments)} {experiment.name}"
                for again in attempts(experiment.name, bounds.lag_p99_under_fault, bounds.repeats, load, log, view):
                    view.expect(EXPERIMENT_TAKES_S * (len(plan.experiments) - i))
                    live.service.forget_backoff()
                    perform(plan, experiment, stack, load, log, view, stage + again)
        except LoadEnded as ended:
            log.event("run", "load-ended", "fail", at=ended.at, after_s=ended.at - begun.detail["epoch"])


@contextmanager
def held(
    plan: Plan, tools: Tools, run: Path, rules: str, port: int | None, say: Callable[[str], None]
) -> Iterator[Live]:
    """A stack that is up and idle, for others to work against."""
    log = Log(run / "events.jsonl")
    started(plan, log)
    with up(blueprint(plan, rules, port), tools, run, log.event, say) as live:
        yield live


def load_once(
    stack: Stack, scenario: Path, arrivals: str | None, for_s: float, watch: Watcher, processes: int = 1,
    corpus: Path | None = None, ca_file: Path | None = None, insecure: bool = False,
) -> tuple[History, Result, Result]:  # fmt: skip
    """Run one scenario against a stack for a time; gives the history, the generator's judgement on itself, and whether
    all answers were ones that the scenario allows. arrivals, corpus: None leaves the scenario's own.

    Raises UsageError if a load is running there already or with what the scenario got wrong, ProcessDied with the
    generator's words if it could not run.
    """
    log = Log(stack.run / "events.jsonl")
    view, began, ticks = View(stack, time.monotonic(), watch, None), time.time(), processor(stack.run)
    here = (corpus, Path.cwd(), processes, ca_file, insecure)
    with generating(stack, scenario, arrivals, for_s, *here) as load:
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
        begin, end = (
            ("begin", rows["intended"].min(), ticks),
            ("end", rows["intended"].max() + 1e-6, processor(stack.run)),
        )
        for edge, at, cpu in (begin, end):
            log.event("run", "phase", at=float(at), phase=LOADED, edge=edge, cpu=cpu)
    window = Window(time.time() - for_s - 2 * LOAD_UP_WITHIN_S, time.time())
    job = History.read(stack.run).setting("job")
    write_series(stack.run / "samples.jsonl.gz", metrics.recorded(stack.prometheus_url, job, window))
    history = History.read(stack.run)
    believed, answers = judge_all([Recorded(generators=("load",), phases=(LOADED,)), Answers(LOADED)], history)
    return history, believed, answers


def capacity(
    plan: Plan, stack: Stack, scenario: Path, watch: Watcher, *, first_per_s: float, precision: float,
    most_per_s: float, for_s: float,
) -> Capacity:  # fmt: skip
    """The highest arrival rate of a scenario at which the service of a stack keeps the plan's SLOs."""
    return capacity_search.capacity(
        plan,
        lambda arrivals, for_s: load_once(stack, scenario, arrivals, for_s, watch)[0],
        LOADED,
        first_per_s=first_per_s,
        precision=precision,
        most_per_s=most_per_s,
        for_s=for_s,
    )


def experiment_once(plan: Plan, stack: Stack, tools: Tools, watch: Watcher) -> None:
    """Run the plan's experiment under its load against a stack that somebody else holds up; the evidence, and the plan
    to judge it by, are left in the folder of that stack's run."""
    log = Log(stack.run / "events.jsonl")
    view = View(stack, time.monotonic(), watch, None)
    (stack.run / "plan.yaml").write_text(dump(plan.for_experiments_alone().resolved()))
    # bounded, because no watchdog of ours ends it: the stack belongs to somebody else
    with loaded(plan, stack, for_s=2 * EXPERIMENT_AT_MOST_S) as load:
        wait_load(load, stack, view)
        for experiment in plan.experiments:
            perform(plan, experiment, stack, load, log, view, f"experiment {experiment.name}")
    store_samples(plan, stack)
    replay_all(plan, stack.run, tools, log)


def started(plan: Plan, log: Log) -> None:
    """What judging must know of the run."""
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
        neighbours=plan.gate.generator.neighbours,
        group_wait_s=plan.route.group_wait_s / plan.gate.time_scale,
        harness=harness.__version__,
        pid=os.getpid(),
    )
