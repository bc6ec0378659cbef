"""Begin a fault safely and prove that it is there; end it and prove that it was there to the end.

The order is the safety: the ledger knows the undo before the deed, so that any process that dies in between is healed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.errors import FaultError
from harness.eventlog import append
from harness.faults.fault import Fault
from harness.faults.needs import missing
from harness.stack import ledger
from harness.stack.ledger import Entry
from harness.stack.stack import Stack

WITNESS_WITHIN_S = 10.0


def inject(
    fault: Fault, stack: Stack, experiment: str, lease_s: float, witness_within_s: float = WITNESS_WITHIN_S
) -> Entry:
    """Start a fault under a lease and wait for its witness. An absent witness is recorded, not raised: the fault may be
    on without it, and must run its course and be undone. Raises FaultError if it could not be started."""
    if lacking := missing(fault.needs):
        ways = "; ".join(dict.fromkeys(lack.remedy for lack in lacking))
        raise FaultError(
            f"{fault.kind} cannot be injected on this host, which lacks {', '.join(map(str, lacking))}; {ways}"
        )
    if wrong := "; ".join(f"{argument}: {why}" for argument, why in fault.mistakes()):
        raise FaultError(f"{fault.kind}: {wrong}")
    if not 0 < lease_s < math.inf:
        raise FaultError(f"{fault.kind}: a lease of {lease_s} s would never run out, or has")
    facts = fault.target(stack)
    entry = stack.ledger.add(fault.kind, experiment, asdict(fault), facts, fault.undo(facts), lease_s)

    def record(edge: str, outcome: str, **detail: Any) -> None:
        about = {"id": entry.id, "experiment": experiment, "sham": fault.sham, "simulated": fault.simulated}
        append(stack.run, "fault", fault.kind, outcome, edge=edge, **detail, **about)

    record(
        "start",
        "ok",
        params=asdict(fault),
        component=fault.component,
        ends_with_process=fault.ends_with_process,
        generator=fault.generator,
    )
    try:
        if (more := fault.start(stack, facts)) is not None:
            entry = stack.ledger.amend(entry, more, fault.undo(more))
    except Exception as error:
        record("start-failed", "fail", problem=str(error))
        problem = f"{fault.kind} could not be started: {error}"
        try:
            end(stack, [entry], by="inject")
        except FaultError as left:
            problem += f"; {left}"
        raise FaultError(problem) from error
    if not fault.sham:
        evidence, unseen = _wait_witness(fault, stack, entry.facts, witness_within_s)
        record("witness", "ok" if evidence else "unknown", evidence=evidence or unseen)
    return entry


def end(stack: Stack, entries: Sequence[Entry], by: str) -> list[str]:
    """Undo faults; gives the kinds undone. Raises FaultError naming all that could not be, which the ledger keeps."""
    outcomes = ledger.undo(stack.run, entries, by)
    if problems := [problem for _, problem in outcomes if problem]:
        raise FaultError("; ".join(problems))
    return [entry.kind for entry, _ in outcomes]


def end_all(stack: Stack, by: str) -> list[str]:
    """The same for every open fault, latest first."""
    return end(stack, stack.ledger.open(), by)


def _wait_witness(fault: Fault, stack: Stack, facts: Mapping[str, Any], within_s: float) -> tuple[str | None, str]:
    """The evidence, if any came in time; and what to record if none did."""
    until = time.monotonic() + within_s
    while True:
        reason = ""
        try:
            if evidence := fault.witness(stack, facts):
                return evidence, ""
        except Exception as error:  # the witness may fail by the fault; that must not keep the experiment from its undo
            reason = f": {type(error).__name__}: {error}"
        if time.monotonic() > until:
            return None, f"not seen within {within_s:g} s{reason}"
        time.sleep(0.05)
