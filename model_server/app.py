"""The HTTP interface."""

from __future__ import annotations

import asyncio
import json
import time

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from model_server import tracing
from model_server.batching import Saturated
from model_server.images import CLASSES, BadImage
from model_server.observe import Observed
from model_server.problems import Problem, on_exception, on_http_exception, on_problem
from model_server.service import Service, answered

RETRY = {"Retry-After": "1"}
SHED_LOG_EVERY_S = 1.0


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service; the caller starts the service."""
    endpoints = Endpoints(service)
    app = Starlette(
        routes=[
            Route("/predict", endpoints.predict, methods=["POST"]),
            Route("/feedback", endpoints.feedback, methods=["POST"]),
            Route("/metrics", endpoints.metrics),
            Route("/health/live", endpoints.live),
            Route("/health/ready", endpoints.ready),
            Route("/health/startup", endpoints.startup),
        ],
        exception_handlers={Problem: on_problem, HTTPException: on_http_exception, Exception: on_exception},
    )
    return Observed(app, service.metrics, service.tracer)


class Endpoints:
    """One method an endpoint."""

    def __init__(self, service: Service):
        self._service, self._settings = service, service.settings
        self._shed_logged, self._shed_since = float("-inf"), 0

    async def predict(self, request: Request) -> Response:
        """POST /predict: a PNG or JPEG as the body; its class, probability of pneumonia, model version, request id."""
        service, ids = self._service, request.scope["correlation"]
        if not service.started:
            raise Problem(503, "starting", "the model is still loading", RETRY)
        try:
            body = await self._body(request)
            try:
                async with asyncio.timeout(self._settings.deadline_s):
                    probability, inference_s = await service.batcher.submit(body)
            except TimeoutError:
                service.metrics.expired.inc()
                raise Problem(504, "deadline", f"no answer within {self._settings.deadline_s:g} s", RETRY) from None
        except Saturated as error:
            self._log_shed()
            raise Problem(503, "queue_full", str(error), RETRY) from None
        except BadImage as error:
            self._refuse(error.reason, error.status, str(error), ids)
        label = int(probability > 0.5)
        confidence = max(probability, 1 - probability)
        service.metrics.predictions.labels(service.model_version, CLASSES[label]).inc()
        service.metrics.confidence.observe(confidence)
        service.feedback.remember(ids["request_id"], label)
        tracing.annotate(
            **{
                "image.size": len(body), "model.version": service.model_version,
                "prediction.result": CLASSES[label], "prediction.confidence": confidence,
            }
        )  # fmt: skip
        structlog.get_logger().info(
            "Model inference completed", **ids, model_version=service.model_version, prediction=CLASSES[label],
            confidence=round(confidence, 4), inference_time_ms=round(1000 * inference_s, 2),
        )  # fmt: skip
        return JSONResponse(
            {
                "class": CLASSES[label],
                "probability": round(probability, 6),
                "model_version": service.model_version,
                "request_id": ids["request_id"],
            }
        )

    async def feedback(self, request: Request) -> Response:
        """POST /feedback {"request_id", "label"}: the truth about an earlier prediction; whether it was right."""
        ids = request.scope["correlation"]
        try:
            told = json.loads(await self._body(request))
            request_id, truth = str(told["request_id"]), CLASSES.index(told["label"])
        except (ValueError, KeyError, TypeError):
            self._refuse("bad_feedback", 422, f'expected {{"request_id": ..., "label": one of {list(CLASSES)}}}', ids)
        try:
            right = self._service.feedback.label(request_id, truth)
        except KeyError:
            raise Problem(404, "no_such_prediction", "unknown, too long ago, or already labelled") from None
        self._service.metrics.feedback.inc()
        return JSONResponse({"correct": right, "request_id": ids["request_id"]})

    async def metrics(self, request: Request) -> Response:
        if not self._service.metrics.on:
            raise HTTPException(404)
        exposed, content_type = self._service.metrics.expose(request.headers.get("accept", ""))
        return Response(exposed, headers={"Content-Type": content_type})

    async def live(self, request: Request) -> Response:
        return _health(self._service.live())

    async def ready(self, request: Request) -> Response:
        return _health(self._service.ready())

    async def startup(self, request: Request) -> Response:
        return _health(self._service.startup())

    async def _body(self, request: Request) -> bytes:
        """The body, bounded in size and in time. A full queue refuses before it reads."""
        limit = self._settings.max_body_bytes
        too_large = BadImage("body_too_large", 413, f"at most {limit} bytes are taken")
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        if request.url.path == "/predict" and self._service.batcher.full:
            raise self._service.batcher.saturated()
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise Problem(408, "slow_body", f"the body did not come within {self._settings.deadline_s:g} s") from None
        except ClientDisconnect:
            raise Problem(400, "disconnected", "the client went away") from None
        if not body:
            raise BadImage("empty_body", 422, "the body is empty")
        return bytes(body)

    def _refuse(self, reason: str, status: int, detail: str, ids: dict[str, str]) -> None:
        self._service.metrics.invalid.labels(reason).inc()
        # Not the detail: in it a library may quote what was sent.
        structlog.get_logger().warning("Request refused", **ids, reason=reason, status=status)
        raise Problem(status, reason, detail)

    def _log_shed(self) -> None:
        """One line a second, however many are refused: an overload must not become a flood of logs."""
        self._shed_since += 1
        now = time.monotonic()
        if now - self._shed_logged >= SHED_LOG_EVERY_S:
            structlog.get_logger().warning("Requests shed", count=self._shed_since, queue=self._settings.max_queue)
            self._shed_logged, self._shed_since = now, 0


def _health(answer: tuple[bool, dict]) -> Response:
    status, body = answered(answer)
    return JSONResponse(body, status)
