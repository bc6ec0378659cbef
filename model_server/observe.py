"""What every request gets, whatever it asks for: a correlation id, a line in the metrics, never a traceback."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model_server.metrics import Metrics

CLIENT_PATHS = frozenset({"/predict", "/feedback"})
PROBE_PATHS = frozenset({"/metrics", "/health/live", "/health/ready", "/health/startup"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def correlation(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """request_id, trace_id and span_id of a request: the caller's where well-formed, else made here."""
    traced = TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    trace_id = traced[1].decode() if traced else f"{random.getrandbits(128):032x}"
    given = REQUEST_ID.fullmatch(headers.get(b"x-request-id", b""))
    request_id = given[0].decode() if given else trace_id
    return {"trace_id": trace_id, "span_id": f"{random.getrandbits(64):016x}", "request_id": request_id}


class Observed:
    """Wraps the application. Label values are bounded: an unknown path is "other", and so is an unknown method."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        scope["correlation"] = ids = correlation(dict(scope["headers"]))
        path, method, metrics = scope["path"], scope["method"], self._metrics
        status = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", ids["request_id"].encode())]
            await send(message)

        is_probe = path in PROBE_PATHS
        metrics.in_flight += not is_probe
        try:
            await self._app(scope, receive, sending)
        except Exception:  # already answered, and raised again to be logged
            structlog.get_logger().exception("Request failed", **ids, path=path[:200])
        finally:
            metrics.in_flight -= not is_probe
            status = str(status or 499)  # the client went away before there was an answer
            if is_probe:
                metrics.probes.labels(path, status).inc()
            else:
                endpoint = path if path in CLIENT_PATHS else "other"
                method = method if method in METHODS else "other"
                metrics.requests.labels(method, endpoint, status).inc()
                metrics.request_duration.labels(method, endpoint).observe(time.perf_counter() - began)
