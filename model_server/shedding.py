"""Refusing what the queue has no room for before it costs anything: no task, no routing, no reading of its body.

At three times its capacity a service refuses two requests for each that it answers. If each of them went a request's
whole way, the refusals would take the processor that the answers need.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import structlog

from model_server import SERVICE
from model_server.batching import Batcher, Saturated
from model_server.correlation import correlation
from model_server.metrics import Metrics
from model_server.problems import MEDIA_TYPE, RETRY, Problem, body
from model_server.tracing import Tracer

LOG_EVERY_S = 1.0
ENDPOINTS = {b"/predict": "/predict", f"/v2/models/{SERVICE}/infer".encode(): "/v2/models/{name}/infer"}  # URL: route
STATUS = "503"
HEAD = f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\n" + "".join(
    f"{name.lower()}: {value}\r\n" for name, value in RETRY.items()
)


def full(saturated: Saturated) -> Problem:
    """What a request is told that finds the queue full."""
    return Problem(int(STATUS), "queue_full", str(saturated), RETRY)


class Shedding:
    """What refuses while the queue is full. A refusal leaves behind what any answer does: metrics, its trace when it is
    sampled, and a line in the log, there one a second for all."""

    def __init__(self, batcher: Batcher, metrics: Metrics, tracer: Tracer):
        self._batcher, self._tracer = batcher, tracer
        self._logged, self._since = float("-inf"), 0
        self._counted = {
            endpoint: (
                metrics.requests.labels("POST", endpoint, STATUS),
                metrics.request_duration.labels("POST", endpoint),
                metrics.request_size.labels(endpoint),
                metrics.response_size.labels(endpoint),
            )
            for endpoint in ENDPOINTS.values()
        }

    def answer(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], date: bytes) -> bytes | None:
        """The whole answer to a request for which there is no room; None where it is to go its usual way."""
        if not self._batcher.full or method != b"POST" or (endpoint := ENDPOINTS.get(url)) is None:
            return None
        began = time.perf_counter()
        ids, parent = correlation(dict(headers))
        told = body(full(self._batcher.saturated()), ids["request_id"], url.decode())
        content = json.dumps(told, separators=(",", ":"))
        requests, duration, received, sent = self._counted[endpoint]
        requests.inc()
        received.observe(0)
        sent.observe(len(content))
        trace = self._tracer.sampled(ids, parent)
        duration.observe(
            time.perf_counter() - began, {"trace_id": ids["trace_id"]} if trace or not self._tracer.on else None
        )
        if trace:
            self._tracer.end(
                trace, f"POST {endpoint}", began, True,
                **{
                    "http.request.method": "POST", "http.route": endpoint,
                    "http.response.status_code": int(STATUS), "request.id": ids["request_id"],
                },
            )  # fmt: skip
        self.log()
        head = f"{HEAD}content-length: {len(content)}\r\nx-request-id: {ids['request_id']}\r\n"
        return head.encode() + date + b"\r\n" + content.encode()

    def log(self) -> None:
        """One line a second, however many are refused: an overload must not become a flood of logs."""
        self._since += 1
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_S:
            structlog.get_logger().warning("Requests shed", count=self._since, queue=self._batcher.limit)
            self._logged, self._since = now, 0
