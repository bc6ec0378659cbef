"""The endpoints that ask for inference: POST /predict, and the Open Inference Protocol's infer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from model_server import SERVICE
from model_server.classes import CLASSES, label_of
from model_server.errors import LEFT, RETRY, Problem
from model_server.http import deadline, oip
from model_server.http.bodies import Bodies
from model_server.http.forms import picture
from model_server.http.shedding import full
from model_server.inference.batching import Answer, Expired, Saturated
from model_server.service import Service


class Inference:
    """The endpoints of one service."""

    def __init__(self, service: Service, bodies: Bodies):
        self._service, self._bodies = service, bodies

    async def predict(self, request: Request) -> Response:
        """POST /predict with a picture: its class, the probability of pneumonia, and ids."""
        service, said = self._service, request.headers.get("content-type", "")
        expires = self._admitted(request, SERVICE, None)
        async with self._bodies.read(request, expires) as body:
            read = lambda: service.decoded(picture(body, said))  # noqa: E731
            answer, [name] = await self._inferred(request, read, expires, len(body))
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
        service = self._service
        expires = self._admitted(request, request.path_params["name"], request.path_params.get("version"))
        async with self._bodies.read(request, expires) as body:
            length = request.headers.get(oip.HEADER_LENGTH)
            asked = oip.Inference(body, length, service.model.side, service.settings.max_batch)
            answer, names = await self._inferred(request, asked.read, expires, len(body))
        request_id = request.scope["correlation"]["request_id"]
        content, headers = asked.answer(answer.probabilities, service.model.version, request_id, names)
        return Response(content, headers=headers)

    def _admitted(self, request: Request, name: str, version: str | None) -> float:
        """When (monotonic seconds) a request's time is over. Raises Problem where its body need not be read."""
        service = self._service
        service.check_started()
        service.check_model(name, version)
        return deadline.expiry(request.headers.get(deadline.HEADER), service.settings.deadline_s)

    async def _inferred(
        self, request: Request, read: Callable[[], np.ndarray], expires: float, size: int
    ) -> tuple[Answer, list[str]]:
        """The answer to a request with a body of so many bytes, and the ids of its predictions. Raises Problem."""
        service, client = self._service, request.scope["extensions"]["connection"]
        try:
            async with asyncio.timeout(expires - time.monotonic()):
                answer = await service.batcher.submit(read, expires, client)
        except Saturated as saturated:
            raise full(saturated) from None
        except (Expired, TimeoutError):
            answer = None
        if client.gone:
            raise Problem(LEFT, "left", "the client went away before there was an answer")
        if answer is None:
            service.metrics.expired.inc()
            raise Problem(504, "deadline", "no answer within the time allowed", RETRY)
        return answer, service.predicted(request.scope["correlation"], answer, size)
