"""Who may do what: each route says which role it takes, and every decision leaves an audit record."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from model_server import SERVICE
from model_server.audit.log import AuditLog
from model_server.errors import Problem
from model_server.security.keyring import Key, Keyring, Refused
from model_server.security.limits import Allowance
from model_server.telemetry.correlation import Headers, header
from model_server.telemetry.metrics import Metrics

Endpoint = Callable[[Request], Awaitable[Response]]
EVENTS = {"predict": "prediction", "feedback": "feedback", "admin": "administration"}  # role: what its use is
BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
REFUSALS = {
    "missing": "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY",
    "malformed": "this is no API key",
    "unknown": "this key is not known",
    "expired": "this key has expired",
    "revoked": "this key was revoked",
}
NOBODY = "anonymous"


class Guard:
    """Makes the routes of an application. Without a keyring all may do all, and it is recorded none the less."""

    def __init__(self, metrics: Metrics, audit: AuditLog | None, keyring: Keyring | None, per_s: float):
        self._metrics, self._audit, self._keyring, self._per_s = metrics, audit, keyring, per_s
        self._allowance = Allowance()
        self._failures = metrics.counter("auth_failures_total", "Requests refused 401.", "reason")
        self._denied = metrics.counter("access_denied_total", "Requests refused 403.", "resource")
        self._limited = metrics.counter("rate_limited_total", "Requests refused 429.")
        for reason in REFUSALS:  # from 0, so that a rate sees the first of each
            self._failures.labels(reason)

    def route(self, path: str, endpoint: Endpoint, role: str | None = None, methods: list[str] | None = None) -> Route:
        """A route for callers with this role; None: for everybody, and unrecorded."""
        if role is None:
            return Route(path, endpoint, methods=methods)
        self.protects(path)

        async def guarded(request: Request) -> Response:
            scope, principal, why = request.scope, NOBODY, None
            try:
                key = self.caller(scope["headers"])
                principal = name_of(key)
                self.allow(key, role, path)
                return await endpoint(request)
            except BaseException as error:
                why = error
                raise
            finally:
                self.ended(scope, role, principal, why)

        return Route(path, guarded, methods=methods)

    def protects(self, resource: str) -> None:
        """Say from the start that nobody was denied it."""
        self._denied.labels(resource)

    def ended(self, scope: Scope, role: str, principal: str, why: BaseException | None = None) -> None:
        """Record how the use of a role ended: well, or by an error."""
        if why is None:
            self._record(scope, EVENTS[role], "ok", principal)
        elif not isinstance(why, Problem):
            self._record(scope, EVENTS[role], "failed", principal)
        elif (result := _result(why.status)) != "shed":
            self._record(scope, EVENTS[role], result, principal, status=why.status, reason=why.reason)

    def unrouted(self, scope: Scope, error: HTTPException) -> None:
        """What no route takes: unknown paths, wrong methods. Counted and recorded, for it may be a search for holes."""
        if reason := {404: "no_such_path", 405: "wrong_method"}.get(error.status_code):
            self._metrics.invalid.labels(reason).inc()
            self.stray(scope, error.status_code, reason)

    def stray(self, scope: Scope, status: int, reason: str) -> None:
        """Record what nothing here takes."""
        self._record(scope, "request", "refused", NOBODY, status=status, reason=reason)

    def malformed(self, problem: Problem, remote_address: str, request_id: str) -> None:
        """What never became a request. Counted, logged and recorded like one."""
        self._metrics.invalid.labels(problem.reason).inc()
        problem.log({"request_id": request_id})
        if self._audit is not None:
            self._audit.record(
                "request", "refused", principal=NOBODY, remote_address=remote_address, request_id=request_id,
                status=problem.status, reason=problem.reason,
            )  # fmt: skip

    def caller(self, headers: Headers) -> Key | None:
        """The key of a request; None without a keyring. Raises a Problem, 401."""
        if self._keyring is None:
            return None
        try:
            return self._keyring.find(_sent(headers), time.time())
        except Refused as refused:
            self._failures.labels(refused.reason).inc()
            challenge = f'Bearer realm="{SERVICE}"' + ("" if refused.reason == "missing" else ', error="invalid_token"')
            raise Problem(401, refused.reason, REFUSALS[refused.reason], {"WWW-Authenticate": challenge}) from None

    def allow(self, key: Key | None, role: str, resource: str) -> None:
        """Let the owner of a key use a role. Raises a Problem: 403 or 429."""
        if key is None:
            return
        if wait_s := self._allowance.wait_s(key.id, key.per_s or self._per_s):
            self._limited.inc()
            retry = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "rate_limited", "more requests a second than this key may send", retry)
        if role not in key.roles:
            self._denied.labels(resource).inc()
            raise Problem(403, "under_privileged", f"this key has not the role {role}")

    def _record(self, scope: Scope, event_type: str, result: str, principal: str, **why: object) -> None:
        if self._audit is not None:
            self._audit.record(
                event_type, result,
                principal=principal, resource=scope["path"], action=scope["method"],
                remote_address=scope["client"][0] if scope["client"] else "",
                user_agent=header(scope["headers"], b"user-agent") or "",
                request_id=scope["correlation"]["request_id"], **why,
            )  # fmt: skip


def name_of(key: Key | None) -> str:
    """The principal in the audit log."""
    return key.name if key else NOBODY


def _sent(headers: Headers) -> str:
    """The one key that a request carries. Raises Refused."""
    sent = []
    for name, raw in headers:
        if name == b"x-api-key":
            sent.append(raw.decode("latin-1"))
        elif name == b"authorization":
            value = raw.decode("latin-1")
            form = BEARER.fullmatch(value) if len(value) < 200 else None
            sent.append(form[1] if form else "")
    if not sent:
        raise Refused("missing")
    if len(set(sent)) > 1 or not sent[0].isascii():
        raise Refused("malformed")
    return sent[0]


def _result(status: int) -> str:
    """What the audit log says of an answer that is not a success."""
    if status == 503:
        return "shed"  # nothing was done, and an overload must not become a flood of records
    return {401: "unauthenticated", 403: "denied", 429: "limited"}.get(status, "refused" if status < 500 else "failed")


def warn_if_open(keyring: Keyring | None, host: str) -> None:
    """Say so where anybody on the network may call."""
    if keyring is None and host not in ("127.0.0.1", "::1", "localhost"):
        structlog.get_logger().warning("Authentication is off and the address is not this machine's alone", host=host)
