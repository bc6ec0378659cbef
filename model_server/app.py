"""The HTTP interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from model_server import SERVICE, deadline, oip, openapi
from model_server.batching import Answer, Expired, Saturated
from model_server.bodies import Bodies
from model_server.images import CLASSES
from model_server.multipart import picture
from model_server.observe import Observed
from model_server.problems import RETRY, BadInput, Problem, on_exception, on_problem
from model_server.service import Service, answered, label_of
from model_server.shedding import full
from model_server.storage.records import Unavailable

MAX_REQUEST_ID = 128


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service; the caller starts the service."""
    endpoints, guard = Endpoints(service), service.durable.guard
    app = Starlette(
        routes=[
            guard.route("/predict", endpoints.predict, "predict", methods=["POST"]),
            guard.route("/feedback", endpoints.feedback, "feedback", methods=["POST"]),
            guard.route("/metrics", endpoints.metrics),
            guard.route("/openapi.json", endpoints.openapi),
            guard.route("/health/live", endpoints.live),
            guard.route("/health/ready", endpoints.ready),
            guard.route("/health/startup", endpoints.startup),
            guard.route("/health/deep", endpoints.deep, "admin"),
            guard.route("/v2", endpoints.oip_server),
            guard.route("/v2/health/live", endpoints.oip_live),
            guard.route("/v2/health/ready", endpoints.oip_ready),
            *(
                guard.route(model + path, endpoint, role, methods=[method])
                for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
                for path, endpoint, role, method in (
                    ("", endpoints.oip_model, None, "GET"),
                    ("/ready", endpoints.oip_model_ready, None, "GET"),
                    ("/infer", endpoints.oip_infer, "predict", "POST"),
                )
            ),
        ],
        exception_handlers={Problem: on_problem, HTTPException: guard.unrouted, Exception: on_exception},
    )
    app.router.redirect_slashes = False  # an unknown path is unknown
    return Observed(app, service.metrics, service.tracer)


class Endpoints:
    """One method an endpoint."""

    def __init__(self, service: Service):
        self._service, self._settings = service, service.settings
        self._bodies = Bodies(service.settings.max_body_bytes, service.settings.max_held_bytes)
        about = "Bytes of bodies whose requests are not answered yet."
        service.metrics.readings({"request_bodies_held_bytes": (about, lambda: self._bodies.held_bytes)})

    async def predict(self, request: Request) -> Response:
        """POST /predict: a picture, raw or in a form; its class, probability of pneumonia, version, request id."""
        ids, said = request.scope["correlation"], request.headers.get("content-type", "")
        async with self._work(request) as (body, expires):
            answer = await self._infer(lambda: self._service.decoded(picture(body, said)), expires)
        self._service.predicted(ids, answer, len(body))
        [probability] = answer.probabilities
        return JSONResponse(
            {
                "class": CLASSES[label_of(probability)],
                "probability": round(probability, 6),
                "model_version": self._service.model.version,
                "request_id": ids["request_id"],
            }
        )

    async def feedback(self, request: Request) -> Response:
        """POST /feedback {"request_id", "label"}: the truth about an earlier prediction; whether it was right."""
        ids = request.scope["correlation"]
        async with self._refusals(ids), self._bodies.read(request, self._expiry(request)) as body:
            request_id, truth = _feedback(body)
        try:
            right = await self._service.durable.label(request_id, truth)
        except KeyError:
            raise Problem(404, "no_such_prediction", "unknown, too long ago, or already labelled") from None
        except Unavailable as error:
            raise Problem(503, "database_unavailable", str(error), RETRY) from None
        self._service.metrics.feedback.inc()
        return JSONResponse({"correct": right, "request_id": ids["request_id"]})

    async def metrics(self, request: Request) -> Response:
        if not self._service.metrics.on:
            raise HTTPException(404)
        exposed, content_type = self._service.metrics.expose(request.headers.get("accept", ""))
        return Response(exposed, headers={"Content-Type": content_type})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(openapi.document())

    async def live(self, request: Request) -> Response:
        return _health(self._service.live())

    async def ready(self, request: Request) -> Response:
        return _health(self._service.ready())

    async def startup(self, request: Request) -> Response:
        return _health(self._service.startup())

    async def deep(self, request: Request) -> Response:
        """GET /health/deep: costs inference, so it is for the role `admin` where there is authentication."""
        self._started()
        return _health(await self._service.deep.run())

    async def oip_server(self, request: Request) -> Response:
        return JSONResponse(oip.server())

    async def oip_live(self, request: Request) -> Response:
        good, _ = self._service.live()
        return JSONResponse({"live": good}, 200 if good else 503)

    async def oip_ready(self, request: Request) -> Response:
        good, _ = self._service.ready()
        return JSONResponse({"ready": good}, 200 if good else 503)

    async def oip_model(self, request: Request) -> Response:
        self._model(request)
        return JSONResponse(oip.model(self._service.model.version, self._service.model.side))

    async def oip_model_ready(self, request: Request) -> Response:
        self._model(request)
        good, _ = self._service.ready()
        return JSONResponse({"name": SERVICE, "ready": good}, 200 if good else 503)

    async def oip_infer(self, request: Request) -> Response:
        """POST /v2/models/{name}/infer: tensors of one or several images; their probabilities of pneumonia."""
        ids = request.scope["correlation"]
        self._model(request)
        async with self._work(request) as (body, expires):
            length = request.headers.get(oip.HEADER_LENGTH)
            asked = oip.Inference(body, length, self._service.model.side, self._settings.max_batch)
            answer = await self._infer(asked.read, expires)
        self._service.predicted(ids, answer, len(body))
        content, headers = asked.answer(answer.probabilities, self._service.model.version, ids["request_id"])
        return Response(content, headers=headers)

    @contextlib.asynccontextmanager
    async def _work(self, request: Request) -> AsyncIterator[tuple[bytes, float]]:
        """Body and expiry of a request for inference; a full queue refuses before the body is read."""
        self._started()
        async with self._refusals(request.scope["correlation"]):
            expires = self._expiry(request)
            if self._service.batcher.full:
                raise self._service.batcher.saturated()
            async with self._bodies.read(request, expires) as body:
                yield body, expires

    async def _infer(self, read: Callable[[], np.ndarray], expires: float) -> Answer:
        try:
            async with asyncio.timeout(expires - time.monotonic()):
                return await self._service.batcher.submit(read, expires)
        except (TimeoutError, Expired):
            self._service.metrics.expired.inc()
            raise Problem(504, "deadline", "no answer within the time allowed", RETRY) from None

    @contextlib.asynccontextmanager
    async def _refusals(self, ids: dict[str, str]) -> AsyncIterator[None]:
        """Refused input is counted and logged; a full queue is a 503."""
        try:
            yield
        except BadInput as refused:
            self._service.metrics.invalid.labels(refused.reason).inc()
            # Not the detail: in it a library may quote what was sent.
            structlog.get_logger().warning("Request refused", **ids, reason=refused.reason, status=refused.status)
            raise
        except Saturated as error:
            self._service.shedding.log()
            raise full(error) from None

    def _expiry(self, request: Request) -> float:
        return deadline.expiry(request, self._settings.deadline_s)

    def _started(self) -> None:
        if not self._service.started:
            raise Problem(503, "starting", "the model is still loading", RETRY)

    def _model(self, request: Request) -> None:
        """404 unless the path names the model, and its version where it names one."""
        self._started()
        told = request.path_params
        if told["name"] != SERVICE or told.get("version", self._service.model.version) != self._service.model.version:
            raise Problem(404, "no_such_model", f"the one model is {SERVICE} {self._service.model.version}")


def _feedback(body: bytes) -> tuple[str, int]:
    """The request id and the true class. Raises BadInput."""
    try:
        told = json.loads(body)
        request_id, truth = told["request_id"], CLASSES.index(told["label"])
        if not isinstance(request_id, str) or len(request_id) > MAX_REQUEST_ID:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        expected = f'expected {{"request_id": ..., "label": one of {list(CLASSES)}}}'
        raise BadInput(422, "bad_feedback", expected) from None
    return request_id, truth


def _health(answer: tuple[bool, dict]) -> Response:
    status, body = answered(answer)
    return JSONResponse(body, status)
