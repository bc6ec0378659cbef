"""The network behind BentoML: `bentoml serve bento:Classifier`, without its metrics and its access log."""

import bentoml
import numpy as np
from PIL.Image import Image

from model_server.classes import CLASSES
from model_server.inference.images import decode
from model_server.inference.model import ready

MAX_BATCH = 16


@bentoml.service(
    workers=1, threads=1, metrics={"enabled": False}, logging={"access": {"enabled": False}}, traffic={"timeout": 60}
)
class Classifier:
    def __init__(self):
        self.model = ready(max_batch=MAX_BATCH)

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=10_000)
    def predict(self, images: list[Image]) -> list[dict]:
        pixels = np.stack([decode(_body(image)) for image in images])
        return [
            {
                "class": CLASSES[probability > 0.5],
                "probability": round(probability, 6),
                "model_version": self.model.version,
            }
            for probability in self.model.predict(pixels).tolist()
        ]


def _body(image: Image) -> bytes:
    image.fp.seek(0)  # it was only opened yet
    return image.fp.read()
