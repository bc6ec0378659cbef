"""Errors as answers, each counted and logged once: what there is no room for by one line a second.

At three times its capacity a service refuses two requests for each that it answers. If each of them went a request's
whole way, the refusals would take the processor that the answers need.
"""

import time

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from model_server.errors import MEDIA_TYPE, BadInput, Problem, body
from model_server.service import Service

LOG_EVERY_S = 1.0
UNROUTED = {404: "no_such_path", 405: "wrong_method"}


class Refusals:
    """The handlers of one service's errors."""

    def __init__(self, service: Service):
        self._service = service
        self._told: dict[str, tuple[float, int]] = {}  # reason: when it was last logged, and how many since

    async def problem(self, request: Request, problem: Problem) -> Response:
        ids = request.scope["correlation"]
        if isinstance(problem, BadInput):
            self._service.metrics.invalid.labels(problem.reason).inc()
        if problem.status == 503:
            self._shed(problem.reason)
        else:
            problem.log(ids)
        told = orjson.dumps(body(problem, ids["request_id"], request.scope["path"]))
        return Response(told, problem.status, problem.headers, MEDIA_TYPE)

    async def unrouted(self, request: Request, error: HTTPException) -> Response:
        """Starlette's own: unknown path, wrong method. Recorded, for it may be a search for holes."""
        problem = BadInput(error.status_code, UNROUTED[error.status_code], error.detail, error.headers)
        self._service.durable.guard.stray(request.scope, problem.status, problem.reason)
        return await self.problem(request, problem)

    async def defect(self, request: Request, error: Exception) -> Response:
        """A defect of ours."""
        problem = Problem(500, "internal", "the service failed; its log says more")
        problem.__cause__ = error
        return await self.problem(request, problem)

    def _shed(self, reason: str) -> None:
        logged, since = self._told.get(reason, (float("-inf"), 0))
        now = time.monotonic()
        if now - logged >= LOG_EVERY_S:
            limit = self._service.batcher.limit
            structlog.get_logger().warning("Requests shed", reason=reason, count=since + 1, queue=limit)
            logged, since = now, -1
        self._told[reason] = logged, since + 1
