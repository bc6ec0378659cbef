"""Refusing what there is no room for before it costs anything, and saying so without a flood.

At three times its capacity a service refuses two requests for each that it answers. If each of them went a request's
whole way, the refusals would take the processor that the answers need.
"""

from __future__ import annotations

import time

import orjson
import structlog
from starlette.responses import Response
from starlette.types import Scope

from model_server.errors import MEDIA_TYPE, RETRY, Problem, body
from model_server.inference.batching import Batcher, Saturated

LOG_EVERY_S = 1.0


def refusal(scope: Scope, problem: Problem) -> Response:
    """A problem as the answer to a request."""
    told = body(problem, scope["correlation"]["request_id"], scope["path"])
    return Response(orjson.dumps(told), problem.status, problem.headers, MEDIA_TYPE)


class Shedding:
    """Refusals for want of room: each is counted, and one line a second in the log says how many."""

    def __init__(self, batcher: Batcher):
        self._batcher = batcher
        self._told: dict[str, tuple[float, int]] = {}  # reason: when it was last logged, and how many since

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self._batcher.full

    def refused(self, scope: Scope) -> Response:
        """The answer to a request that finds no room."""
        self.log()
        return refusal(scope, full(self._batcher.saturated()))

    def log(self, reason: str = "queue_full") -> None:
        """Note that a request was refused for want of room."""
        logged, since = self._told.get(reason, (float("-inf"), 0))
        now = time.monotonic()
        if now - logged >= LOG_EVERY_S:
            structlog.get_logger().warning("Requests shed", reason=reason, count=since + 1, queue=self._batcher.limit)
            logged, since = now, -1
        self._told[reason] = logged, since + 1


def full(saturated: Saturated) -> Problem:
    """What a request is told that finds the queue full."""
    return Problem(503, "queue_full", str(saturated), RETRY)
