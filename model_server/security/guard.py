"""Who may do what: each route says which role it takes, and every decision leaves an audit record."""

import functools
import math
import re
import time
from collections.abc import Awaitable, Callable

import structlog
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from model_server import SERVICE
from model_server.audit.log import AuditLog
from model_server.errors import Problem
from model_server.security.keyring import Key, Keyring, Refused
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
RESULTS = {401: "unauthenticated", 403: "denied", 429: "limited"}
NOBODY = "anonymous"
LONGEST_S = 1e9  # between the requests of one key


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
            return _exact(Route(path, endpoint, methods=methods))
        self._denied.labels(path)

        async def guarded(request: Request) -> Response:
            principal, why = NOBODY, None
            try:
                if self._keyring is not None:
                    key = self._caller(self._keyring, request)
                    principal = key.name
                    self._allow(key, role, path)
                return await endpoint(request)
            except BaseException as error:
                why = error
                raise
            finally:
                self._ended(request.scope, EVENTS[role], principal, why)

        return _exact(Route(path, guarded, methods=methods))

    def stray(self, scope: Scope, status: int, reason: str) -> None:
        """Record what nothing here takes."""
        self._record(scope, "request", "refused", NOBODY, status=status, reason=reason)

    def malformed(self, problem: Problem, remote_address: str, request_id: str) -> None:
        """What never became a request. Counted, logged and recorded like one."""
        ids = {"request_id": request_id}
        self._metrics.invalid.labels(problem.reason).inc()
        problem.log(ids)
        empty = {"path": "", "method": "", "headers": [], "client": (remote_address, 0), "correlation": ids}
        self.stray(empty, problem.status, problem.reason)

    def _caller(self, keyring: Keyring, request: Request) -> Key:
        """Whose key a request carries. Raises a Problem, 401."""
        try:
            return keyring.find(_sent(request.headers), time.time())
        except Refused as refused:
            reason = str(refused)
            self._failures.labels(reason).inc()
            challenge = f'Bearer realm="{SERVICE}"' + ("" if reason == "missing" else ', error="invalid_token"')
            raise Problem(401, reason, REFUSALS[reason], {"WWW-Authenticate": challenge}) from None

    def _allow(self, key: Key, role: str, resource: str) -> None:
        """Let the owner of a key use a role. Raises a Problem: 403 or 429."""
        if wait_s := self._allowance.wait_s(key.id, key.per_s or self._per_s):
            self._limited.inc()
            retry = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "rate_limited", "more requests a second than this key may send", retry)
        if role not in key.roles:
            self._denied.labels(resource).inc()
            raise Problem(403, "under_privileged", f"this key has not the role {role}")

    def _ended(self, scope: Scope, event_type: str, principal: str, why: BaseException | None) -> None:
        """Record how the use of a role ended: well, or by an error."""
        if not isinstance(why, Problem):
            self._record(scope, event_type, "failed" if why else "ok", principal)
        elif why.status != 503:  # then nothing was done, and an overload must not become a flood of records
            result = RESULTS.get(why.status, "refused" if why.status < 500 else "failed")
            self._record(scope, event_type, result, principal, status=why.status, reason=why.reason)

    def _record(self, scope: Scope, event_type: str, result: str, principal: str, **why: object) -> None:
        if self._audit is not None:
            self._audit.record(
                event_type, result,
                principal=principal, resource=scope["path"], action=scope["method"],
                remote_address=scope["client"][0] if scope["client"] else "",
                user_agent=Headers(scope=scope).get("user-agent", ""),
                request_id=scope["correlation"]["request_id"], **why,
            )  # fmt: skip


def _exact(route: Route) -> Route:
    """The route without Starlette's `$`, which takes a path with a line feed behind it, too."""
    route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return route


class Allowance:
    """So many requests a second for each name, or one in so many seconds. A clock that is set back locks nobody out for
    longer than a window: what counts is the window of the time it is."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def wait_s(self, name: str, per_s: float) -> float:
        """0, and the request is counted; else in how many seconds one may be let in again."""
        limit = _limit(per_s)
        if self._limiter.hit(limit, name):
            return 0.0
        # At the very begin of a window the library says that its end is now.
        return max(self._limiter.get_window_stats(limit, name).reset_time - time.time(), 0.001)


@functools.lru_cache(1024)
def _limit(per_s: float) -> RateLimitItem:
    """Whole requests in whole seconds, and never more than `per_s` of them."""
    if per_s >= 1:
        return RateLimitItemPerSecond(int(per_s))
    return RateLimitItemPerSecond(1, math.ceil(min(1 / per_s, LONGEST_S)))


def _sent(headers: Headers) -> str:
    """The one key that a request carries. Raises Refused."""
    sent = headers.getlist("x-api-key")
    for value in headers.getlist("authorization"):
        form = BEARER.fullmatch(value) if len(value) < 200 else None
        sent.append(form[1] if form else "")
    if not sent:
        raise Refused("missing")
    if len(set(sent)) > 1 or not sent[0].isascii():
        raise Refused("malformed")
    return sent[0]


def warn_if_open(keyring: Keyring | None, host: str) -> None:
    """Say so where anybody on the network may call."""
    if keyring is None and host not in ("127.0.0.1", "::1", "localhost"):
        structlog.get_logger().warning("Authentication is off and the address is not this machine's alone", host=host)
