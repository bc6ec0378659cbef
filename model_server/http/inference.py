"""What clients ask for: POST /predict, the Open Inference Protocol's infer, and POST /feedback."""

import re
from collections.abc import Callable

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from model_server import SERVICE
from model_server.classes import CLASSES, label_of
from model_server.errors import LEFT, RETRY, BadInput, Problem
from model_server.http import oip
from model_server.http.bodies import Bodies, combined
from model_server.http.forms import picture
from model_server.inference.batching import Answer, Expired
from model_server.inference.feedback import Shared
from model_server.service import Service
from model_server.storage.records import Unavailable

# How a prediction is named that a label is for: no database is asked for a NUL or half a character.
NAMED_BY = {"prediction_id": re.compile("[0-9a-f]{32}"), "request_id": re.compile("[A-Za-z0-9._:-]{1,128}")}


class Inference:
    """The endpoints of one service."""

    def __init__(self, service: Service, bodies: Bodies):
        self._service, self._bodies = service, bodies

    async def predict(self, request: Request) -> Response:
        """POST /predict with a picture: its class, the probability of pneumonia, and ids."""
        service, kind = self._service, request.headers.get("content-type", "")
        answer, [name] = await self._inferred(request, SERVICE, None, lambda body: service.decoded(picture(body, kind)))
        [probability] = answer.probabilities
        told = {
            "class": CLASSES[label_of(probability)],
            "probability": round(probability, 6),
            "model_version": service.model.version,
            "prediction_id": name,
            "request_id": request.scope["correlation"]["request_id"],
        }
        return Response(orjson.dumps(told), media_type="application/json")

    async def infer(self, request: Request) -> Response:
        """POST /v2/models/{name}/infer with tensors: the probabilities, as they asked for them."""
        service, path = self._service, request.path_params
        asked = oip.Inference(combined(request.headers, oip.HEADER_LENGTH), service.settings.max_batch)
        answer, names = await self._inferred(
            request, path["name"], path.get("version"), lambda body: asked.read(body, service.model.side)
        )
        request_id = request.scope["correlation"]["request_id"]
        content, headers = asked.answer(answer.probabilities, service.model.version, request_id, names)
        return Response(content, headers=headers)

    async def feedback(self, request: Request) -> Response:
        """POST /feedback {"prediction_id" or "request_id", "label"}: whether that prediction was right."""
        service, ids = self._service, request.scope["correlation"]
        async with self._bodies.read(request) as (body, _):
            named, truth = _told(body)
        try:
            right = await service.feedback.label(truth, **named)
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

    async def _inferred(
        self, request: Request, name: str, version: str | None, read: Callable[[bytes], np.ndarray]
    ) -> tuple[Answer, list[str]]:
        """The model's answer to the images that `read` makes of the body, and the ids of its predictions. Raises
        Problem, before the body is read where it need not be."""
        service, client = self._service, request.scope["extensions"]["connection"]
        service.check_started()
        service.check_model(name, version)
        answer = None
        try:
            async with self._bodies.read(request) as (body, expires):
                answer = await service.batcher.submit(lambda: read(body), expires, client)
        except (Expired, TimeoutError):
            pass
        if client.gone:
            raise Problem(LEFT, "left", "the client went away before there was an answer")
        if answer is None:
            service.metrics.expired.inc()
            raise Problem(504, "deadline", "no answer within the time allowed", RETRY)
        return answer, service.predicted(request.scope["correlation"], answer, len(body))


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
