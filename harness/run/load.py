"""One scenario against a stack that is up, and what its generator says of itself."""

from __future__ import annotations

import time
from pathlib import Path

from harness.checks import Answers, Recorded, judge_all
from harness.eventlog import Log
from harness.history import History, Window, read_rows, write_series
from harness.run.phases import LOAD_UP_WITHIN_S, generating, processor
from harness.run.session import TICK_S
from harness.run.view import View, Watcher
from harness.stack.stack import Stack
from harness.verdict import Result
from harness.watch import metrics

LOADED = "load"  # the phase of `harness load`


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
    view, began, ticks = View(stack, time.monotonic(), watch), time.time(), processor(stack.run)
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
