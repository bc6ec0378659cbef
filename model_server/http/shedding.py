"""Refusing what there is no room for before it costs anything, and saying so without a flood.

At three times its capacity a service refuses two requests for each that it answers. If each of them went a request's
whole way, the refusals would take the processor that the answers need.
"""

from __future__ import annotations

import functools
import json
import time

import structlog

from model_server.errors import RETRY, Problem, body
from model_server.inference.batching import Batcher, Saturated

LOG_EVERY_S = 1.0


def full(saturated: Saturated) -> Problem:
    """What a request is told that finds the queue full."""
    return Problem(503, "queue_full", str(saturated), RETRY)


class Shedding:
    """What is told of refused work: its answer, prepared once for each path, and one line a second in the log for each
    reason, however many are refused."""

    def __init__(self, batcher: Batcher):
        self._batcher = batcher
        self._prepared = functools.lru_cache(64)(self._parts)
        self._told: dict[str, tuple[float, int]] = {}  # reason: when it was last logged, and how many since

    def content(self, request_id: str, path: str) -> bytes:
        """The body of the answer to a request that finds the queue full."""
        before, after = self._prepared(path)
        return b'%b"%b"%b' % (before, request_id.encode(), after)

    def log(self, reason: str = "queue_full") -> None:
        """Note that a request was refused for want of room."""
        logged, since = self._told.get(reason, (float("-inf"), 0))
        now = time.monotonic()
        if now - logged >= LOG_EVERY_S:
            structlog.get_logger().warning("Requests shed", reason=reason, count=since + 1, queue=self._batcher.limit)
            logged, since = now, -1
        self._told[reason] = logged, since + 1

    def _parts(self, path: str) -> tuple[bytes, bytes]:
        """What stands before and after the request id."""
        told = json.dumps(body(full(self._batcher.refusal()), "\0", path), separators=(",", ":"))
        before, after = told.split('"\\u0000"')
        return before.encode(), after.encode()
