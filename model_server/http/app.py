"""The HTTP interface, but for what asks for inference: that is answered in `direct`."""

from __future__ import annotations

import json

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from model_server import SERVICE
from model_server.durable import NAMED_BY
from model_server.errors import RETRY, BadInput, Problem, on_exception, on_problem
from model_server.http import deadline, oip, openapi
from model_server.http.direct import ROUTES
from model_server.http.head import head_of
from model_server.http.observe import Observed
from model_server.inference.feedback import Shared
from model_server.inference.images import CLASSES
from model_server.service import Service, answered
from model_server.storage.records import Unavailable


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service; the caller starts the service."""
    endpoints, guard = Endpoints(service), service.durable.guard
    for route in (*ROUTES, "/feedback"):
        guard.protects(route)
        service.metrics.serves(route)
    app = Starlette(
        routes=[
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
                guard.route(model + path, endpoint, methods=["GET"])
                for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
                for path, endpoint in (("", endpoints.oip_model), ("/ready", endpoints.oip_model_ready))
            ),
        ],
        exception_handlers={Problem: on_problem, HTTPException: guard.unrouted, Exception: on_exception},
    )
    app.router.redirect_slashes = False  # an unknown path is unknown
    return Observed(app, service.metrics, service.tracer, service.answers)


class Endpoints:
    """One method an endpoint."""

    def __init__(self, service: Service):
        self._service = service

    async def feedback(self, request: Request) -> Response:
        """POST /feedback {"prediction_id" or "request_id", "label"}: the truth about an earlier prediction; whether it
        was right."""
        ids = request.scope["correlation"]
        try:
            expires = deadline.expiry(request.headers.get(deadline.HEADER), self._service.settings.deadline_s)
            async with self._service.bodies.read(request, expires) as body:
                named, truth = _feedback(body)
        except BadInput as refused:
            self._service.metrics.invalid.labels(refused.reason).inc()
            raise
        try:
            right = await self._service.durable.label(truth, **named)
        except KeyError:
            raise Problem(404, "no_such_prediction", "unknown, too long ago, or already labelled") from None
        except Shared:
            raise Problem(
                409, "shared_request_id", "several predictions have this request id: send the prediction_id of one"
            ) from None
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
        self._service.check_started()
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

    def _model(self, request: Request) -> None:
        """404 unless the path names the model, and its version where it names one."""
        self._service.check_started()
        try:
            self._service.check_model(request.path_params["name"], request.path_params.get("version"))
        except BadInput as unknown:
            self._service.durable.guard.stray(head_of(request.scope), unknown.status, unknown.reason)
            raise


def _feedback(body: bytes) -> tuple[dict[str, str], int]:
    """How the prediction is named, and the true class. Raises BadInput."""
    try:
        told = json.loads(body)
        truth = CLASSES.index(told["label"])
        [(member, name)] = [(member, told[member]) for member in NAMED_BY if told.get(member) is not None]
        if not isinstance(name, str) or not NAMED_BY[member].fullmatch(name):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        expected = f'expected {{"prediction_id": ..., "label": one of {list(CLASSES)}}}, or "request_id" in its place'
        raise BadInput(422, "bad_feedback", expected) from None
    return {member: name}, truth


def _health(answer: tuple[bool, dict]) -> Response:
    status, body = answered(answer)
    return JSONResponse(body, status)
