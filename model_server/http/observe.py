"""What every request gets, whatever it asks for: its ids, a line in the metrics, a trace, never a traceback."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_server.errors import LEFT
from model_server.http.head import fields_of
from model_server.telemetry.correlation import IDS, correlation
from model_server.telemetry.metrics import Metrics
from model_server.telemetry.tracing import Trace, Tracer

PROBE_PATHS = frozenset(
    {
        "/metrics", "/health/live", "/health/ready", "/health/startup", "/health/deep",
        "/v2/health/live", "/v2/health/ready",
    }
)  # fmt: skip
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Answers:
    """Where clients' requests are counted, and their traces end, once they are answered."""

    def __init__(self, metrics: Metrics, tracer: Tracer):
        self._metrics, self._tracer = metrics, tracer
        self._series = functools.cache(self._found)  # as many as there are series

    def ended(
        self, method: str, endpoint: str, status: int, ids: Mapping[str, str], trace: Trace | None,
        began: float, received_bytes: int, sent_bytes: int,
    ) -> None:  # fmt: skip
        """One request was answered. Label values are bounded: method and endpoint are each one of a few words."""
        exemplar = {"trace_id": ids["trace_id"]} if trace or not self._tracer.on else None
        requests, duration, received, sent = self._series(method, endpoint, status)
        requests.inc()
        duration.observe(time.perf_counter() - began, exemplar)
        received.observe(received_bytes)
        sent.observe(sent_bytes)
        if trace:
            self._tracer.end(
                trace, f"{method} {endpoint}", began, status >= 500,
                **{
                    "http.request.method": method, "http.route": endpoint,
                    "http.response.status_code": status, "request.id": ids["request_id"],
                },
            )  # fmt: skip

    def _found(self, method: str, endpoint: str, status: int) -> tuple[Any, ...]:
        metrics = self._metrics
        return (
            metrics.requests.labels(method, endpoint, str(status)),
            metrics.request_duration.labels(method, endpoint),
            metrics.request_size.labels(endpoint),
            metrics.response_size.labels(endpoint),
        )


class Observed:
    """Wraps the application. Label values are bounded: an unknown path is "other", and so is an unknown method."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer, answers: Answers):
        self._app, self._metrics, self._tracer, self._answers = app, metrics, tracer, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        ids, parent = correlation(fields_of(scope["headers"]))
        scope["correlation"] = ids
        IDS.set(ids)  # each request is a task of its own, so that this is its own too
        if scope["path"] in PROBE_PATHS:
            await self._probe(scope, receive, send)
        else:
            await self._client(scope, receive, send, self._tracer.begin(ids, parent))

    async def _probe(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        try:
            await self._answered(exchange)
        finally:
            self._metrics.probes.labels(scope["path"], str(exchange.status)).inc()

    async def _client(self, scope: Scope, receive: Receive, send: Send, trace) -> None:
        metrics, began = self._metrics, time.perf_counter()
        method = scope["method"] if scope["method"] in METHODS else "other"
        exchange = Exchange(scope, receive, send)
        metrics.in_flight += 1
        try:
            await self._answered(exchange)
        finally:
            metrics.in_flight -= 1
            endpoint = getattr(scope.get("route"), "path", "other")  # /v2/models/{name}, whatever the name
            self._answers.ended(
                method, endpoint, exchange.status, scope["correlation"], trace, began,
                exchange.received_bytes, exchange.sent_bytes,
            )  # fmt: skip

    async def _answered(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # already answered, and raised again to be logged
            structlog.get_logger().exception("Request failed", status=exchange.status)


class Exchange:
    """One request and its answer, counted as they pass."""

    __slots__ = ("_receive", "_send", "received_bytes", "scope", "sent_bytes", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send):
        self.scope, self._receive, self._send = scope, receive, send
        self.status, self.received_bytes, self.sent_bytes = LEFT, 0, 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            request_id = self.scope["correlation"]["request_id"].encode()
            message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
        else:
            self.sent_bytes += len(message.get("body", b""))
        await self._send(message)
