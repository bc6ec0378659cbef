"""POST /feedback: the truth about an earlier prediction."""

import re

import orjson
from starlette.requests import Request
from starlette.responses import Response

from model_server.classes import CLASSES
from model_server.errors import RETRY, BadInput, Problem
from model_server.http.bodies import Bodies
from model_server.inference.feedback import Shared
from model_server.service import Service
from model_server.storage.records import Unavailable

# How a prediction is named that a label is for: no database is asked for a NUL or half a character.
NAMED_BY = {"prediction_id": re.compile("[0-9a-f]{32}"), "request_id": re.compile("[A-Za-z0-9._:-]{1,128}")}


class Feedback:
    """The endpoint of one service."""

    def __init__(self, service: Service, bodies: Bodies):
        self._service, self._bodies = service, bodies

    async def feedback(self, request: Request) -> Response:
        """POST /feedback {"prediction_id" or "request_id", "label"}: whether that prediction was right."""
        service, ids = self._service, request.scope["correlation"]
        async with self._bodies.read(request) as (body, _):
            named, truth = _told(body)
        try:
            right = await service.durable.label(truth, **named)
        except KeyError:
            raise Problem(404, "no_such_prediction", "unknown, too long ago, or already labelled") from None
        except Shared:
            why = "several predictions have this request id: send the prediction_id of one"
            raise Problem(409, "shared_request_id", why) from None
        except Unavailable as error:
            raise Problem(503, "database_unavailable", str(error), RETRY) from None
        service.metrics.feedback.inc()
        answer = orjson.dumps({"correct": right, "request_id": ids["request_id"]})
        return Response(answer, media_type="application/json")


def _told(body: bytes) -> tuple[dict[str, str], int]:
    """How the prediction is named, and the true class. Raises BadInput."""
    try:
        told = orjson.loads(body)
        truth = CLASSES.index(told["label"])
        [(member, name)] = [(member, told[member]) for member in NAMED_BY if told.get(member) is not None]
        if not isinstance(name, str) or not NAMED_BY[member].fullmatch(name):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        expected = f'expected {{"prediction_id": ..., "label": one of {list(CLASSES)}}}, or "request_id" in its place'
        raise BadInput(422, "bad_feedback", expected) from None
    return {member: name}, truth
