"""What a steady-state hypothesis may name as `module: harness.chaos.probes`. Each gives a bool: tolerance true."""

from __future__ import annotations

import logging
import time

from chaoslib.exceptions import ActivityFailed

from harness.history import rows_file
from harness.stack.stack import Stack
from harness.watch.requests import goodput_over

logger = logging.getLogger("chaostoolkit")


def goodput(over_s: float = 3, at_least: float = 0.99, within_s: float = 0, at_least_requests: int = 20) -> bool:
    """Whether the share of good requests over the last `over_s` seconds reaches `at_least`, now or at some moment
    within the next `within_s` seconds. Too few requests fail the activity: they show neither."""
    rows = rows_file(Stack.current().run)
    until = time.monotonic() + within_s
    while True:
        good, total = goodput_over(rows, over_s)
        if total >= at_least_requests and good >= at_least * total:
            return True
        if time.monotonic() >= until:
            break
        time.sleep(0.1)
    if total < at_least_requests:
        raise ActivityFailed(
            f"{total} requests in the last {over_s:g} s are too few to judge by ({at_least_requests} needed); "
            "is a load running? (`harness load scenarios/steady.py --for 10m`)"
        )
    logger.warning("goodput %d of %d over %g s, below %g", good, total, over_s, at_least)
    return False
