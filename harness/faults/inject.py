"""Begin a fault safely and prove that it is there; end it and prove that it was there to the end.

The order is the safety: the ledger knows the undo before the deed, so that any process that dies in between is healed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.errors import FaultError
from harness.eventlog import append
from harness.faults.fault import Fault
from harness.stack import ledger
from harness.stack.ledger import Entry
from harness.stack.stack import Stack

WITNESS_WITHIN_S = 10.0


def inject(
    fault: Fault, stack: Stack, experiment: str, lease_s: float, witness_within_s: float = WITNESS_WITHIN_S
) -> Entry:
    """Start a fault under a lease and wait for its witness. An absent witness is recorded, not raised: the fault may be
    on without it, and must run its course and be undone. Raises FaultError if it could not be started."""
    facts = fault.target(stack)
    entry = stack.ledger.add(fault.kind, experiment, asdict(fault), facts, fault.undo(facts), lease_s)
    about = {"id": entry.id, "experiment": experiment, "sham": fault.sham}
    emit(stack, fault.kind, "ok", edge="start", params=asdict(fault), **about)
    try:
        if (more := fault.start(stack, facts)) is not None:
            entry = stack.ledger.amend(entry, more, fault.undo(more))
    except Exception as error:
        emit(stack, fault.kind, "fail", edge="start-failed", problem=str(error), **about)
        end(stack, entry, by="inject")
        raise FaultError(f"{fault.kind} could not be started: {error}") from error
    if not fault.sham:
        evidence = _wait_witness(fault, stack, entry.facts, witness_within_s)
        emit(
            stack,
            fault.kind,
            "ok" if evidence else "unknown",
            edge="witness",
            evidence=evidence or f"not seen within {witness_within_s:g} s",
            **about,
        )
    return entry


def end(stack: Stack, entry: Entry, by: str) -> None:
    """Undo one fault and record it. Raises FaultError if it could not be undone; the ledger keeps it then."""
    problem = ledger.undo(stack.ledger, entry)
    emit(
        stack,
        entry.kind,
        "fail" if problem else "ok",
        edge="stop",
        id=entry.id,
        experiment=entry.experiment,
        by=by,
        problem=problem or "",
    )
    if problem:
        raise FaultError(problem)


def end_all(stack: Stack, by: str) -> list[str]:
    """Undo every open fault, latest first; gives the kinds undone. Raises FaultError naming all that could not be."""
    done, problems = [], []
    for entry in stack.ledger.open():
        try:
            end(stack, entry, by)
            done.append(entry.kind)
        except FaultError as error:
            problems.append(str(error))
    if problems:
        raise FaultError("; ".join(problems))
    return done


def emit(stack: Stack, name: str, outcome: str, **detail: Any) -> None:
    """Append a fault event to the run's events."""
    append(stack.run, "fault", name, outcome, **detail)


def _wait_witness(fault: Fault, stack: Stack, facts: Mapping[str, Any], within_s: float) -> str | None:
    until = time.monotonic() + within_s
    while True:
        evidence = fault.witness(stack, facts)
        if evidence or time.monotonic() > until:
            return evidence
        time.sleep(0.05)
