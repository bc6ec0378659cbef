"""Requests for inference, answered in the protocol itself: no task, no routing, no wrapping of one layer in another.

They are what the service is for, and nearly all of its requests; the rest goes the usual way through the application.
Here a request costs the event loop about half of what it costs there (150 to 210 us against 350, unwatched, in a
loaded server; docs/benchmarks.md).
"""

from __future__ import annotations

import functools
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import httptools
import numpy as np
import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from model_server import SERVICE
from model_server.errors import LEFT, MEDIA_TYPE, RETRY, BadInput, Problem, body, internal
from model_server.http import deadline, oip
from model_server.http.bodies import Body, gone, slow
from model_server.http.forms import picture
from model_server.http.head import Head, fields_of
from model_server.http.observe import METHODS
from model_server.inference.batching import Answer, Expired, Job, Saturated
from model_server.inference.images import CLASSES
from model_server.security.guard import NOBODY, name_of
from model_server.telemetry import tracing
from model_server.telemetry.correlation import correlation

if TYPE_CHECKING:
    from model_server.http.protocol import BoundedProtocol
    from model_server.service import Service

ROLE = "predict"
PREDICT, INFER, INFER_VERSION = "/predict", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer"
ROUTES = (PREDICT, INFER, INFER_VERSION)  # each takes POST
NAMES_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")


def fields(headers: Mapping[str, str]) -> bytes:
    """Headers as they are sent."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode("latin-1")


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
IS_JSON = fields({"content-type": "application/json"})
SHED = fields({"content-type": MEDIA_TYPE, **RETRY})
CLOSE = fields({"connection": "close"})


class Target(NamedTuple):
    """What a URL asks for: the path, its route, and which model where the path names one."""

    path: str
    route: str
    name: str = SERVICE
    version: str | None = None


@functools.lru_cache(256)  # nearly all requests have one of a few URLs
def target(url: bytes) -> Target | None:
    """Where an inference is asked for; None at any other URL, or what is none."""
    try:
        path = httptools.parse_url(url).path.decode("ascii")
    except (httptools.HttpParserError, UnicodeDecodeError, AttributeError):
        return None
    path = urllib.parse.unquote(path) if "%" in path else path
    if path == PREDICT:
        return Target(path, PREDICT)
    if names := NAMES_MODEL.fullmatch(path):
        return Target(path, INFER if names[2] is None else INFER_VERSION, names[1], names[2])
    return None


class _Unheard:
    """For uvicorn's protocol, which wakes a task that waits for a request's body. Here none does."""

    def set(self) -> None: ...


class Call:
    """One request for inference, whose head a protocol has just read, from there to its answer. It begins when those
    before it on its connection are answered.

    It is told what comes (`add`, `complete`, `left`) and stands where uvicorn's protocol keeps the request it is busy
    with, so it has the attributes that are looked at there.
    """

    __slots__ = (
        "_answers", "_at", "_began", "_body", "_early", "_expects", "_expires", "_head", "_headers", "_ids", "_job",
        "_method", "_principal", "_service", "_trace", "_wire",
        "disconnected", "keep_alive", "more_body", "response_complete",
    )  # fmt: skip
    message_event = _Unheard()

    def __init__(self, service: Service, wire: BoundedProtocol, at: Target):
        parser = wire.parser
        self._service, self._wire, self._at = service, wire, at
        self._method, self._headers = parser.get_method().decode(), wire.headers
        self._expects = wire.expect_100_continue
        self.keep_alive = parser.get_http_version() != "1.0" and parser.should_keep_alive()
        self.more_body, self.response_complete, self.disconnected = True, False, False
        self._began = 0.0
        self._principal = NOBODY
        self._body: Body | None = None
        self._early: list[bytes] | None = None  # what came before it was this request's turn
        self._job: Job | None = None

    def begin(self) -> None:
        """It is this request's turn."""
        if self.disconnected:
            return
        service = self._service
        self._began = time.perf_counter()
        fields = fields_of(self._headers)
        self._ids, parent = correlation(fields)
        self._trace = service.tracer.sampled(self._ids, parent)
        service.metrics.in_flight += 1
        if service.batcher.full and self._method == "POST":  # before anything that costs more
            service.batcher.saturated()
            self._shed()
            return
        address = self._wire.client[0] if self._wire.client else ""
        self._head = Head(self._method, self._at.path, self._headers, fields, address, self._ids)
        try:
            self._admit()
            for chunk in self._early or ():
                self._body.add(chunk)
            if not self.more_body:
                self._infer()
        except Exception as error:
            self._fail(error)

    def add(self, chunk: bytes) -> None:
        """A piece of the body came."""
        if self.response_complete:
            return
        if not self._began:
            self._early = [*(self._early or ()), chunk]
            return
        try:
            self._body.add(chunk)
        except Exception as error:
            self._fail(error)

    def complete(self) -> None:
        """The body is whole."""
        self.more_body = False
        if self._began and not self.response_complete:
            try:
                self._infer()
            except Exception as error:
                self._fail(error)

    def left(self) -> None:
        """Who asked has gone, or what comes from there is no longer HTTP."""
        self.disconnected = True
        if self._began and not self.response_complete and self._job is None:
            self._fail(gone())  # with a job, it ends when that is settled

    def _admit(self) -> None:
        """Raises what the request is to be refused with before its body is read."""
        service, head = self._service, self._head
        if self._method != "POST":
            raise Problem(405, "wrong_method", "Method Not Allowed", {"Allow": "POST"})
        guard = service.durable.guard
        key = guard.caller(head)
        self._principal = name_of(key)
        guard.allow(key, ROLE, self._at.route)
        service.check_started()
        service.check_model(self._at.name, self._at.version)
        self._expires = deadline.expiry(head.field(deadline.FIELD), service.settings.deadline_s)
        self._body = service.bodies.expect(head)
        self._wire.deadline.set(self._expires, self._late)
        if self._expects and self.more_body:
            self._wire.transport.write(CONTINUE)

    def _infer(self) -> None:
        content, service = self._body.whole(), self._service
        if self._at.route == PREDICT:
            said = self._head.field(b"content-type") or ""
            read: Callable[[], np.ndarray] = lambda: service.decoded(picture(content, said))  # noqa: E731
            self._answers = self._predicted
        else:
            length = self._head.field(oip.HEADER_LENGTH.lower().encode())
            asked = oip.Inference(content, length, service.model.side, service.settings.max_batch)
            read, self._answers = asked.read, functools.partial(self._inferred, asked)
        self._job = service.batcher.admit(read, self._settled, self._gone, self._expires, self._trace)

    def _settled(self, outcome: Answer | Exception) -> None:
        """The answer, or why there is none."""
        if self.response_complete:  # it took too long
            return
        try:
            if isinstance(outcome, Exception):
                if self.disconnected:
                    outcome = Problem(LEFT, "left", "the client went away before there was an answer")
                self._fail(outcome)
                return
            token = tracing.CURRENT.set(self._trace)
            try:
                names = self._service.predicted(self._ids, outcome, self._body.size)
                self._service.durable.guard.ended(self._head, ROLE, self._principal)
            finally:
                tracing.CURRENT.reset(token)
            self._finish(200, *self._answers(outcome, names))
        except Exception as error:
            self._fail(error)

    def _gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.disconnected or self.response_complete

    def _predicted(self, answer: Answer, names: list[str]) -> tuple[bytes, bytes]:
        """Of a picture, as JSON: class, probability of pneumonia, version, ids of the prediction and the request."""
        [probability], [name] = answer.probabilities, names
        told = {
            "class": CLASSES[probability > 0.5],
            "probability": round(probability, 6),
            "model_version": self._service.model.version,
            "prediction_id": name,
            "request_id": self._ids["request_id"],
        }
        return orjson.dumps(told), IS_JSON

    def _inferred(self, asked: oip.Inference, answer: Answer, names: list[str]) -> tuple[bytes, bytes]:
        """Of tensors, as they asked for it."""
        version, request_id = self._service.model.version, self._ids["request_id"]
        content, headers = asked.answer(answer.probabilities, version, request_id, names)
        return content, fields(headers)

    def _late(self) -> None:
        """No time is left."""
        if self._job is None:
            self._fail(slow())
        else:
            self._job.gave_up()
            self._fail(Expired())

    def _shed(self) -> None:
        """Refuse for want of room, as cheaply as can be."""
        shedding = self._service.shedding
        shedding.log()
        self._finish(503, shedding.content(self._ids["request_id"], self._at.path), SHED)

    def _fail(self, error: Exception) -> None:
        """Count, log, record and answer what went wrong."""
        service, ids = self._service, self._ids
        token = tracing.CURRENT.set(self._trace)
        try:
            match error:
                case Saturated():
                    self._shed()
                    return
                case Expired():
                    service.metrics.expired.inc()
                    error = Problem(504, "deadline", "no answer within the time allowed", RETRY)
                case BadInput():
                    service.metrics.invalid.labels(error.reason).inc()
                case Problem(status=405):
                    service.durable.guard.stray(self._head, error.status, error.reason)
            problem = error if isinstance(error, Problem) else internal()
            if problem is not error:
                structlog.get_logger().error("Request failed", **ids, status=500, exc_info=error)
            elif problem.status == 503:
                service.shedding.log(problem.reason)
            else:
                problem.log(ids)
            if problem.status != 405:
                service.durable.guard.ended(self._head, ROLE, self._principal, error)
        finally:
            tracing.CURRENT.reset(token)
        if self.disconnected:
            self._finish(problem.status, b"", b"")
            return
        told = body(problem, ids["request_id"], self._at.path)
        headers = {"content-type": MEDIA_TYPE, **(problem.headers or {})}
        if headers.pop("Connection", None):  # only ever to close it
            self.keep_alive = False
        self._finish(problem.status, orjson.dumps(told), fields(headers))

    def _finish(self, status: int, content: bytes, headers: bytes) -> None:
        """Answer, if anybody is there to be told, and give back what the request held."""
        service, wire, ids = self._service, self._wire, self._ids
        self.response_complete = True
        received = 0
        wire.deadline.clear()
        if self._body is not None:
            received = self._body.size
            self._body.release()
        self._job = self._answers = None  # which lead back here: without them no collector has to find this
        service.metrics.in_flight -= 1
        if self.disconnected:
            status, content = LEFT, b""
        elif not wire.transport.is_closing():
            wire.transport.write(
                b"%b%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n\r\n%b"
                % (
                    STATUS_LINE[status], wire.date, headers, b"" if self.keep_alive else CLOSE, len(content),
                    ids["request_id"].encode(), content if self._method != "HEAD" else b"",
                )
            )  # fmt: skip
        method = self._method if self._method in METHODS else "other"
        service.answers.ended(method, self._at.route, status, ids, self._trace, self._began, received, len(content))
        if not self.disconnected:
            if not self.keep_alive:
                wire.hang_up(unread=self.more_body)
            wire.answered(self)
