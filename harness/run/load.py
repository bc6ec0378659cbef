"""One scenario against a stack that is up, and what its generator says of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.checks import Answers, Recorded, judge_all
from harness.eventlog import Log
from harness.history import History, Window, read_rows, rows_file, write_series
from harness.run.phases import LOAD_UP_WITHIN_S, ONE, generating, processor
from harness.run.session import Session
from harness.run.view import View, Watcher
from harness.stack.generator import Users
from harness.stack.stack import Stack
from harness.verdict import Result
from harness.watch import metrics

LOADED = "load"  # the phase of `harness load`
TOGETHER = (("ca_file", "insecure"), ("client_cert", "client_key"), ("headers_file",))  # say one thing


def load_once(
    stack: Stack, scenario: Path, arrivals: str | None, for_s: float, watch: Watcher, processes: int = 1,
    corpus: Path | None = None, access: Mapping[str, Any] | None = None, user: str | None = None,
    users: Users = ONE,
) -> tuple[History, Result, Result]:  # fmt: skip
    """Run one scenario against a stack for a time; gives the history, the generator's judgement on itself, and whether
    all answers were ones that the scenario allows. arrivals, corpus: None leaves the scenario's own. access: the
    arguments of `generator.command` by which requests get in, where they differ from service.yaml. user: which of the
    scenario's user classes; users: how many, where they keep no schedule.

    Raises UsageError if a load is running there already or with what the scenario got wrong, ProcessDied with the
    generator's words if it could not run.
    """
    log = Log(stack.run / "events.jsonl")
    began, ticks = time.time(), processor(stack.run)
    session = Session(None, stack, log, View(stack, time.monotonic(), watch))
    access = _access(stack.access, access or {})
    with generating(stack, scenario, arrivals, for_s, Path.cwd(), corpus, processes, access, user, users=users) as load:
        session.wait(f"load {scenario.stem}", lambda: not load.alive(), for_s + LOAD_UP_WITHIN_S, for_s)
    if load.popen.returncode != 0:
        load.check()
    rows = read_rows(rows_file(stack.run))
    rows = rows[rows["intended"] > began]  # earlier loads against this stack lie before it
    # Where nothing was sent the phase is this load's all the same: without one an earlier load's would be reported.
    first, last = (rows["intended"].min(), rows["intended"].max() + 1e-6) if len(rows) else (began, time.time())
    for edge, at, cpu in (("begin", first, ticks), ("end", last, processor(stack.run))):
        log.event("run", "phase", at=float(at), phase=LOADED, edge=edge, cpu=cpu)
    window = Window(time.time() - for_s - 2 * LOAD_UP_WITHIN_S, time.time())
    job = History.read(stack.run).setting("job")
    write_series(stack.run / "samples.jsonl.gz", metrics.recorded(stack.prometheus_url, job, window))
    history = History.read(stack.run)
    recorded, answers = judge_all([Recorded(generators=("load",), phases=(LOADED,)), Answers(LOADED)], history)
    return history, recorded, answers


def _access(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """How requests get in: as is given, and as is stored where nothing is given in its place."""
    given = {name: value for name, value in given.items() if value}
    replaced = {name for names in TOGETHER if given.keys() & {*names} for name in names}
    return {name: value for name, value in stored.items() if name not in replaced} | given
