"""Errors as RFC 9457 bodies: one shape for all of them."""

from __future__ import annotations

import http
from collections.abc import Mapping

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
LEFT = 499  # the client went away before there was an answer
TITLES = {status.value: status.phrase for status in http.HTTPStatus} | {LEFT: "Client Closed Request"}
RETRY = {"Retry-After": "1"}  # on every 503


class Problem(Exception):
    """An answer that is not a success; `reason` is one of a few words."""

    def __init__(self, status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(detail)
        self.status, self.reason, self.detail, self.headers = status, reason, detail, headers

    def log(self, ids: Mapping[str, str]) -> None:
        """One line. Not the detail: in it a library may quote what was sent."""
        structlog.get_logger().warning("Request refused", **ids, reason=self.reason, status=self.status)


class BadInput(Problem):
    """The sender's fault: a 4xx, and counted under its reason."""


def internal() -> Problem:
    """A defect of ours; what it was is for the log alone."""
    return Problem(500, "internal", "the service failed; its log says more")


def body(problem: Problem, request_id: str, path: str = "") -> dict[str, str | int]:
    """What an error answers, as JSON members."""
    told = {
        "type": "about:blank",
        "title": TITLES[problem.status],
        "status": problem.status,
        "detail": problem.detail,
        "reason": problem.reason,
        "request_id": request_id,
    }
    if path.startswith("/v2"):  # where clients of the Open Inference Protocol look for it
        told["error"] = problem.detail
    return told


async def on_problem(request: Request, problem: Problem) -> JSONResponse:
    problem.log(request.scope["correlation"])
    return _answer(request, problem)


async def on_exception(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, internal())  # logged where the error ends up, with where it came from


def _answer(request: Request, problem: Problem) -> JSONResponse:
    told = body(problem, request.scope["correlation"]["request_id"], request.scope["path"])
    return JSONResponse(told, problem.status, problem.headers, media_type=MEDIA_TYPE)


async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    """Starlette's own: unknown path, wrong method."""
    reason = {404: "no_such_path", 405: "wrong_method"}.get(error.status_code, "refused")
    return await on_problem(request, Problem(error.status_code, reason, error.detail, error.headers))
