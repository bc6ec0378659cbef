"""The endpoints that ask for inference: POST /predict, and the Open Inference Protocol's infer."""

from collections.abc import Callable

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from model_server import SERVICE
from model_server.classes import CLASSES, label_of
from model_server.errors import LEFT, RETRY, Problem
from model_server.http import oip
from model_server.http.bodies import Bodies, combined
from model_server.http.forms import picture
from model_server.inference.batching import Answer, Expired
from model_server.service import Service


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
