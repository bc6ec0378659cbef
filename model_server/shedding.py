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
        self._endpoints = {url: _Endpoint(url.decode(), route, batcher, metrics) for url, route in ENDPOINTS.items()}

    def answer(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], more: bytes) -> bytes | None:
        """The whole answer to a request for which there is no room, with `more` headers; None where the request is to
        go its usual way."""
        if not self._batcher.full or method != b"POST" or (endpoint := self._endpoints.get(url)) is None:
            return None
        began = time.perf_counter()
        ids, parent = correlation(dict(headers))
        self._batcher.saturated()
        self.log()
        trace = self._tracer.sampled(ids, parent)
        told, length = endpoint.told(ids["request_id"], more)
        endpoint.requests.inc()
        endpoint.received.observe(0)
        endpoint.sent.observe(length)
        endpoint.duration.observe(
            time.perf_counter() - began, {"trace_id": ids["trace_id"]} if trace or not self._tracer.on else None
        )
        if trace:
            self._tracer.end(
                trace, f"POST {endpoint.route}", began, True,
                **{
                    "http.request.method": "POST", "http.route": endpoint.route,
                    "http.response.status_code": int(STATUS), "request.id": ids["request_id"],
                },
            )  # fmt: skip
        return told

    def log(self) -> None:
        """One line a second, however many are refused: an overload must not become a flood of logs."""
        self._since += 1
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_S:
            structlog.get_logger().warning("Requests shed", count=self._since, queue=self._batcher.limit)
            self._logged, self._since = now, 0


class _Endpoint:
    """What all refusals of one endpoint share: their text but for the request id, and the series they count in."""

    def __init__(self, url: str, route: str, batcher: Batcher, metrics: Metrics):
        self.route = route
        self.requests = metrics.requests.labels("POST", route, STATUS)
        self.duration = metrics.request_duration.labels("POST", route)
        self.received, self.sent = metrics.request_size.labels(route), metrics.response_size.labels(route)
        problem = full(batcher.refusal())
        self._before, self._after = (
            part.encode() for part in json.dumps(body(problem, "\0", url), separators=(",", ":")).split('"\\u0000"')
        )

    def told(self, request_id: str, more: bytes) -> tuple[bytes, int]:
        """The answer, and how long its body is."""
        content = b'%b"%b"%b' % (self._before, request_id.encode(), self._after)
        head = f"{HEAD}content-length: {len(content)}\r\nx-request-id: {request_id}\r\n".encode()
        return b"%b%b\r\n%b" % (head, more, content), len(content)
