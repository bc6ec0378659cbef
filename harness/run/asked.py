"""What checks ask for while a run goes on, stored as events of the run: queries of Prometheus, and commands."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from harness.checks.check import Check, Execution, Query
from harness.errors import StackError
from harness.eventlog import Log
from harness.masking import hidden_arguments
from harness.stack import watchdog
from harness.stack.process import Pid, end_members, identify, spawn

ANSWERS_WITHIN_S = 10.0
LAST_LINES, LINE_AT_MOST = 10, 300  # of a command's output, kept in the event; all of it is in its log


def ask_queries(checks: Iterable[Check], phase: str, prometheus_url: str, log: Log, at: float | None = None) -> None:
    """Ask what the checks want to know of a phase that has just ended; each answer or error is an event."""
    at = time.time() if at is None else at
    wanted = [ask.promql for c in checks if phase in c.about for ask in c.asks() if isinstance(ask, Query)]
    for query in dict.fromkeys(wanted):
        found = _value(prometheus_url, query, at)
        log.event("run", "query", "unknown" if "error" in found else "ok", at=at, phase=phase, query=query, **found)


def run_commands(checks: Iterable[Check], run: Path, log: Log, cwd: Path | None = None) -> None:
    """Run the checks' commands on the stored evidence, one after the other; each outcome is an event."""
    wanted = [ask for check in checks for ask in check.asks() if isinstance(ask, Execution)]
    for i, ask in enumerate(dict.fromkeys(wanted)):
        output = run / "logs" / f"command-{i + 1}.log"
        output.unlink(missing_ok=True)  # of an earlier experiment against the same stack
        began = time.monotonic()
        found = _outcome(ask, output.stem, run.resolve(), cwd)
        lines = output.read_text(errors="replace").splitlines()[-LAST_LINES:] if output.exists() else []
        about = {"output": [line[:LINE_AT_MOST] for line in lines], "log": f"logs/{output.name}"}
        outcome = "unknown" if "error" in found else "fail" if found["exit_code"] else "ok"
        log.event(
            "run", "command", outcome, took=time.monotonic() - began, argv=hidden_arguments(ask.argv), **about, **found
        )


def _value(prometheus_url: str, query: str, at: float) -> dict[str, Any]:
    """{"series": [[labels, value as Prometheus writes it], ...]} or {"error": why}."""
    try:
        response = httpx.post(
            f"{prometheus_url}/api/v1/query",
            data={"query": query, "time": f"{at:.3f}"},
            timeout=ANSWERS_WITHIN_S,
            trust_env=False,
        )
        body = response.json()
    except (httpx.HTTPError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    if not isinstance(body, dict) or body.get("status") != "success":
        return {"error": str(body.get("error", body) if isinstance(body, dict) else body)}
    match body["data"]:
        case {"resultType": "scalar", "result": [_, value]}:
            return {"series": [[{}, value]]}
        case {"resultType": "vector", "result": found} if all("value" in one for one in found):
            return {"series": [[one["metric"], one["value"][1]] for one in found]}
    return {"error": f"it gives a {body['data'].get('resultType')}, and must give numbers: an instant vector or scalar"}


def _outcome(ask: Execution, name: str, run: Path, cwd: Path | None) -> dict[str, Any]:
    """{"exit_code": n} or {"error": why it did not run to its end}."""
    guard = watchdog.start(run, name)  # the stack's is gone by now, or somebody else's
    try:
        child = spawn(name, [*ask.argv, str(run)], run, env={"HARNESS_RUN_FOLDER": str(run)}, cwd=cwd)
        main = identify(child.pid) or Pid(child.pid, 0)
        try:
            return {"exit_code": child.popen.wait(ask.timeout_s)}
        except subprocess.TimeoutExpired:
            return {"error": f"was not over after {ask.timeout_s:g} s"}
        finally:
            end_members(run, name, main)  # what it left behind, too
            child.popen.wait()
    except (StackError, ValueError) as error:
        return {"error": f"could not be started: {error}"}
    finally:
        watchdog.dismiss(guard)
