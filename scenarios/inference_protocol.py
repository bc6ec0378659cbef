"""Clients of the Open Inference Protocol: tensors instead of images, half of them as JSON, half as binary data.

The network is the same, decoding falls away, and bodies are larger; whoever moves here from another server of that
protocol changes nothing but the address.
"""

import json
import math
import struct
from typing import ClassVar

from harness.load.arrivals import poisson
from harness.load.locust import OpenModelUser, Request, Response

MODEL, SIDE = "pneumonia-detector", 64
PATH = f"/v2/models/{MODEL}/infer"


def _input(**more: object) -> dict:
    return {"name": "pixels", "datatype": "FP32", "shape": [1, SIDE, SIDE], **more}


def as_json(values: list[float]) -> Request:
    """One image as numbers in JSON."""
    body = json.dumps({"inputs": [_input(data=values)]}).encode()
    return Request("POST", PATH, (("Content-Type", "application/json"),), body, name="infer, JSON")


def as_binary(values: list[float]) -> Request:
    """The same as the protocol's binary extension has it: a JSON head, then the bytes of the tensor."""
    tensor = struct.pack(f"<{len(values)}f", *values)
    head = json.dumps({"inputs": [_input(parameters={"binary_data_size": len(tensor)})]}).encode()
    headers = (("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", str(len(head))))
    return Request("POST", PATH, headers, head + tensor, name="infer, binary")


class InferenceProtocol(OpenModelUser):
    arrivals = poisson(40, seed=7)
    timeout_s = 5.0
    questions: ClassVar[list[Request]] = []

    @classmethod
    def prepare(cls, options: object) -> None:
        """Two images, a bright and a dark gradient, in both forms."""
        images = [[float((x * step + y) % 256) for y in range(SIDE) for x in range(SIDE)] for step in (1, 3)]
        cls.questions = [form(values) for values in images for form in (as_json, as_binary)]

    def request(self, k: int) -> Request:
        return self.questions[k % len(self.questions)]

    def predicted(self, response: Response) -> tuple[int, float]:
        try:
            probability = float(json.loads(response.body)["outputs"][0]["data"][0])
        except (ValueError, LookupError, TypeError):
            return -1, math.nan
        return int(probability > 0.5), probability
