"""What an experiment's method and rollbacks may name as `module: harness.chaos.actions`."""

from __future__ import annotations

import os

from harness.faults import Fault, Kill, Pause, Sham, Surge
from harness.faults.inject import end_all, inject
from harness.stack.stack import Stack

EXPERIMENT = "HARNESS_EXPERIMENT"  # the experiment's name, set by whoever starts Chaos Toolkit


def kill(process: str = "server", again_for_s: float = 0, lease_s: float = 60) -> str:
    """Kill a process of the stack with SIGKILL, and for a while whatever takes its place."""
    return _inject(Kill(process, again_for_s), lease_s)


def pause(process: str = "server", lease_s: float = 60) -> str:
    """Freeze a process of the stack until `heal`, or until its lease runs out."""
    return _inject(Pause(process), lease_s)


def surge(scenario: str, arrivals: str, for_s: float, witness_query: str, lease_s: float = 120) -> str:
    """Send a scenario's requests at a rate of their own beside the load, until `heal` or for `for_s` seconds."""
    return _inject(Surge(scenario, arrivals, for_s, witness_query), lease_s)


def sham(process: str = "server", lease_s: float = 60) -> str:
    """Go through all the motions and break nothing."""
    return _inject(Sham(process), lease_s)


def heal() -> list[str]:
    """Undo every fault that is still on; gives their kinds."""
    return end_all(Stack.current(), by="heal")


def _inject(fault: Fault, lease_s: float) -> str:
    return inject(fault, Stack.current(), os.environ.get(EXPERIMENT, "chaos"), lease_s).id
