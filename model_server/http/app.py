"""The HTTP interface as one ASGI application: its routes, and how errors are answered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import yaml
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from model_server import SERVICE, __version__
from model_server.errors import BadInput, Problem
from model_server.http import oip
from model_server.http.bodies import Bodies
from model_server.http.inference import Inference
from model_server.http.middleware import INFER, INFER_VERSION, PREDICT, Observed
from model_server.http.refusals import Refusals
from model_server.security.guard import Endpoint
from model_server.service import Service
from model_server.telemetry.logs import now


def application(service: Service) -> ASGIApp:
    """The ASGI application of a service; the caller starts the service."""
    settings, metrics = service.settings, service.metrics
    bodies = Bodies(settings.max_body_bytes, settings.max_held_bytes, settings.deadline_s)
    held = "Bytes of bodies whose requests are not answered yet."
    metrics.reading("request_bodies_held_bytes", held, lambda: bodies.held_bytes)
    about, refusals = About(service), Refusals(service)
    asks = Inference(service, bodies)
    route = service.durable.guard.route
    for path in (PREDICT, INFER, INFER_VERSION, "/feedback"):
        metrics.serves(path)
    app = Starlette(
        routes=[
            route(PREDICT, asks.predict, "predict", methods=["POST"]),
            route(INFER, asks.infer, "predict", methods=["POST"]),
            route(INFER_VERSION, asks.infer, "predict", methods=["POST"]),
            route("/feedback", asks.feedback, "feedback", methods=["POST"]),
            route("/metrics", about.metrics),
            route("/openapi.json", about.openapi),
            route("/health/live", about.health(service.live)),
            route("/health/ready", about.health(service.ready)),
            route("/health/startup", about.health(service.startup)),
            route("/health/deep", about.deep, "admin"),
            route("/v2", about.oip_server),
            route("/v2/health/live", about.health(service.live, "live")),
            route("/v2/health/ready", about.health(service.ready, "ready")),
            *(
                route(model + path, endpoint)
                for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
                for path, endpoint in (("", about.oip_model), ("/ready", about.oip_model_ready))
            ),
        ],
    )
    app.router.redirect_slashes = False  # an unknown path is unknown
    # Instead of Starlette's own layers: one fewer, for it handles what is a defect too.
    app.middleware_stack = ExceptionMiddleware(
        app.router, {Problem: refusals.problem, HTTPException: refusals.unrouted, Exception: refusals.defect}
    )
    return Observed(app, service, refusals)


def document() -> dict[str, Any]:
    """The interface as an OpenAPI 3.1 document: what openapi.yaml says, of this release."""
    told = yaml.safe_load(Path(__file__).with_name("openapi.yaml").read_text())
    told["info"]["version"] = __version__
    return told


def as_json(content: object, good: bool = True) -> Response:
    return Response(orjson.dumps(content), 200 if good else 503, media_type="application/json")


class About:
    """What the service says of itself."""

    def __init__(self, service: Service):
        self._service = service
        self._openapi = orjson.dumps(document())  # once: it takes milliseconds to read

    async def metrics(self, request: Request) -> Response:
        if not self._service.metrics.on:
            raise HTTPException(404)
        exposed, content_type = self._service.metrics.expose(", ".join(request.headers.getlist("accept")))
        return Response(exposed, headers={"Content-Type": content_type})

    async def openapi(self, request: Request) -> Response:
        return Response(self._openapi, media_type="application/json")

    def health(self, ask: Callable[[], tuple[bool, dict[str, Any]]], oip_name: str = "") -> Endpoint:
        """The endpoint that answers what `ask` gives: whether all is well, and what there is to say; or, of the Open
        Inference Protocol, the first alone under its name."""

        async def health(request: Request) -> Response:
            good, told = ask()
            return as_json({oip_name: good}, good) if oip_name else _health(good, told)

        return health

    async def deep(self, request: Request) -> Response:
        """GET /health/deep: costs inference, so it is for the role `admin` where there is authentication."""
        self._service.check_started()
        return _health(*await self._service.deep.run())

    async def oip_server(self, request: Request) -> Response:
        return as_json(oip.server())

    async def oip_model(self, request: Request) -> Response:
        self._check_model(request)
        return as_json(oip.model(self._service.model.version, self._service.model.side))

    async def oip_model_ready(self, request: Request) -> Response:
        self._check_model(request)
        good, _ = self._service.ready()
        return as_json({"name": SERVICE, "ready": good}, good)

    def _check_model(self, request: Request) -> None:
        """404 unless the path names the model, and its version where it names one."""
        self._service.check_started()
        try:
            self._service.check_model(request.path_params["name"], request.path_params.get("version"))
        except BadInput as unknown:
            self._service.durable.guard.stray(request.scope, unknown.status, unknown.reason)
            raise


def _health(good: bool, told: dict[str, Any]) -> Response:
    return as_json(told | {"timestamp": now()}, good)
