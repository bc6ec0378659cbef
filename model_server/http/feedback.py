"""POST /feedback: the truth about an earlier prediction."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from model_server.classes import CLASSES
from model_server.durable import REQUEST_ID
from model_server.errors import RETRY, BadInput, Problem
from model_server.http import deadline
from model_server.service import Service
from model_server.storage.records import Unavailable


class Feedback:
    """The endpoint of one service."""

    def __init__(self, service: Service):
        self._service = service

    async def feedback(self, request: Request) -> Response:
        """POST /feedback {"request_id", "label"}: whether that prediction was right."""
        service, ids = self._service, request.scope["correlation"]
        expires = deadline.expiry(request.headers.get(deadline.HEADER), service.settings.deadline_s)
        async with service.bodies.read(request, expires) as body:
            request_id, truth = _told(body)
        try:
            right = await service.durable.label(request_id, truth)
        except KeyError:
            raise Problem(404, "no_such_prediction", "unknown, too long ago, or already labelled") from None
        except Unavailable as error:
            raise Problem(503, "database_unavailable", str(error), RETRY) from None
        service.metrics.feedback.inc()
        answer = orjson.dumps({"correct": right, "request_id": ids["request_id"]})
        return Response(answer, media_type="application/json")


def _told(body: bytes) -> tuple[str, int]:
    """The request id and the true class. Raises BadInput."""
    try:
        told = orjson.loads(body)
        request_id, truth = told["request_id"], CLASSES.index(told["label"])
        if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        expected = f'expected {{"request_id": ..., "label": one of {list(CLASSES)}}}'
        raise BadInput(422, "bad_feedback", expected) from None
    return request_id, truth
