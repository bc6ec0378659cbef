"""What every request gets, whatever it asks for: its ids, a trace, a line in the metrics. And the first thing that is
asked: whether there is room for it."""

import re
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_server.errors import LEFT
from model_server.http.refusals import Refusals
from model_server.service import Service
from model_server.telemetry.correlation import IDS
from model_server.telemetry.tracing import Trace

CLOSE = (b"connection", b"close")
PROBE_PATHS = frozenset(
    {
        "/metrics", "/health/live", "/health/ready", "/health/startup", "/health/deep",
        "/v2/health/live", "/v2/health/ready",
    }
)  # fmt: skip
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PREDICT, INFER, INFER_VERSION = "/predict", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"
ASKS_INFERENCE = re.compile(r"/predict|/v2/models/[^/]+(/versions/[^/]+)?/infer")


class Observed:
    """Wraps the application. Label values are bounded: an unknown path is "other", and so is an unknown method."""

    def __init__(self, app: ASGIApp, service: Service, refusals: Refusals):
        self._app, self._service, self._refusals = app, service, refusals
        self._metrics, self._tracer = service.metrics, service.tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        metrics, began, is_probe = self._metrics, scope["extensions"]["connection"].came, scope["path"] in PROBE_PATHS
        ids, trace = self._tracer.begin(scope["headers"], traced=not is_probe)
        scope["correlation"] = ids
        IDS.set(ids)  # each request is a task of its own, so that this is its own too
        exchange = Exchange(scope, receive, send, lambda: self._service.stopping)
        if is_probe:
            try:
                return await self._app(scope, exchange.receive, exchange.send)
            finally:
                metrics.probes.labels(scope["path"], str(exchange.status)).inc()
        metrics.in_flight += 1
        app, batcher, shed_at = self._app, self._service.batcher, ""
        try:
            if batcher.full and scope["method"] == "POST" and (form := ASKS_INFERENCE.fullmatch(scope["path"])):
                shed_at = PREDICT if scope["path"] == PREDICT else INFER_VERSION if form[1] else INFER
                app = await self._refusals.problem(Request(scope), batcher.saturated())
            await app(scope, exchange.receive, exchange.send)
        finally:
            metrics.in_flight -= 1
            # The route, as /v2/models/{name}, whatever the name.
            self._ended(exchange, shed_at or getattr(scope.get("route"), "path", "other"), trace, began)

    def _ended(self, exchange: "Exchange", endpoint: str, trace: Trace | None, began: float) -> None:
        ids, method, status = exchange.scope["correlation"], exchange.scope["method"], exchange.status
        metrics = self._metrics
        method = method if method in METHODS else "other"
        exemplar = {"trace_id": ids["trace_id"]} if trace or not self._tracer.on else None
        requests = metrics.requests.labels(method, endpoint, str(status))
        requests.inc()
        metrics.request_duration.labels(method, endpoint).observe(time.perf_counter() - began, exemplar)
        metrics.request_size.labels(endpoint).observe(exchange.received_bytes)
        metrics.response_size.labels(endpoint).observe(exchange.sent_bytes)
        if trace:
            trace.end(
                f"{method} {endpoint}", status >= 500,
                **{
                    "http.request.method": method, "http.route": endpoint,
                    "http.response.status_code": status, "request.id": ids["request_id"],
                },
            )  # fmt: skip


class Exchange:
    """One request and its answer, counted as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, closes: Callable[[], bool]):
        """closes: whether the connection is to be used for no other request, asked when the answer begins."""
        self.scope, self._receive, self._send, self._closes = scope, receive, send, closes
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
            if self._closes() and CLOSE not in message["headers"]:
                message["headers"].append(CLOSE)
        else:
            self.sent_bytes += len(message.get("body", b""))
        await self._send(message)
