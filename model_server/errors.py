"""Errors as RFC 9457 bodies: one shape for all of them."""

import http
from collections.abc import Mapping

import structlog

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
        if self.status == 500:
            structlog.get_logger().error("Request failed", **ids, reason=self.reason, status=500, exc_info=self)
            return
        structlog.get_logger().warning("Request refused", **ids, reason=self.reason, status=self.status)


class BadInput(Problem):
    """The sender's fault: a 4xx, and counted under its reason."""


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
