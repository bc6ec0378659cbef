"""Tensors of the Open Inference Protocol (KServe v2, REST): in JSON, or as binary data behind it.

The one input is `pixels`, FP32 [n, side, side], grey levels from 0 to 255, bright = dense; they are rounded to the
eight bits that the network takes, so that a picture gets the same answer as by /predict. The one output is
`probability`, FP32 [n], of pneumonia.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from model_server import SERVICE, __version__
from model_server.errors import BadInput
from model_server.inference.images import check_content

INPUT, OUTPUT, DATATYPE = "pixels", "probability", "FP32"
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON_BYTES = 2 << 20  # to parse it stops every other request: 30 ms; more goes as binary data
MAX_ID = 256


def server() -> dict[str, Any]:
    """What /v2 says."""
    return {"name": SERVICE, "version": __version__, "extensions": ["binary_tensor_data"]}


def model(version: str, side: int) -> dict[str, Any]:
    """What /v2/models/{name} says."""
    return {
        "name": SERVICE,
        "versions": [version],
        "platform": "pytorch",
        "inputs": [{"name": INPUT, "datatype": DATATYPE, "shape": [-1, side, side]}],
        "outputs": [{"name": OUTPUT, "datatype": DATATYPE, "shape": [-1]}],
    }


class Inference:
    """One inference request: `read` what it asks, then `answer` it. What does not fit the model is BadInput: 400, or
    422 for an image without content."""

    def __init__(self, body: bytes, header_length: str | None, side: int, max_images: int):
        self._body, self._header_length, self._side, self._max_images = body, header_length, side, max_images
        self._id, self._binary = "", False

    def read(self) -> np.ndarray:
        """The images, uint8 (n, side, side)."""
        told, binary = self._split()
        self._id = told.get("id", "")
        if not isinstance(self._id, str) or len(self._id) > MAX_ID or not self._id.isprintable():
            raise _bad(f"`id` is not a text of at most {MAX_ID} printable characters")
        self._binary = self._wants_binary(told)
        return self._pixels(_only(told.get("inputs"), "inputs", INPUT), binary)

    def answer(self, probabilities: list[float], version: str, request_id: str) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        output = {"name": OUTPUT, "datatype": DATATYPE, "shape": [len(probabilities)]}
        told = {"model_name": SERVICE, "model_version": version, "id": self._id or request_id, "outputs": [output]}
        if not self._binary:
            output["data"] = probabilities
            return json.dumps(told).encode(), {"Content-Type": "application/json"}
        data = np.array(probabilities, "<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(data)}
        head = json.dumps(told).encode()
        return head + data, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}

    def _split(self) -> tuple[dict[str, Any], bytes]:
        """The JSON object, and the binary data behind it."""
        end = len(self._body)
        if (length := self._header_length) is not None:
            if not (length.isascii() and length.isdigit() and len(length) <= 12 and int(length) <= end):
                raise _bad(f"{HEADER_LENGTH} is not a number of bytes within the body")
            end = int(length)
        if end > MAX_JSON_BYTES:
            raise BadInput(413, "too_much_json", f"at most {MAX_JSON_BYTES} bytes of JSON; send tensors as binary data")
        try:
            told = json.loads(self._body[:end])
        except (ValueError, RecursionError):
            raise _bad("the body is not JSON, or its binary data is not told by " + HEADER_LENGTH) from None
        if not isinstance(told, dict):
            raise _bad("the body is not a JSON object")
        return told, self._body[end:]

    def _wants_binary(self, told: dict[str, Any]) -> bool:
        wanted = _parameters(told).get("binary_data_output", False)
        if told.get("outputs"):
            output = _parameters(_only(told["outputs"], "outputs", OUTPUT))
            if "classification" in output or "shared_memory_region" in output:
                raise _bad("neither classification nor shared memory is offered")
            wanted = output.get("binary_data", wanted)
        if not isinstance(wanted, bool):
            raise _bad("whether output is binary is true or false")
        return wanted

    def _pixels(self, tensor: dict[str, Any], binary: bytes) -> np.ndarray:
        if (datatype := tensor.get("datatype")) != DATATYPE:
            raise _bad(f"{INPUT} is {DATATYPE}, not {datatype!r:.40}")
        side, shape = self._side, tensor.get("shape")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)):
            raise _bad(f"the shape of {INPUT} is [n, {side}, {side}], not {shape!r:.80}")
        count = shape[0]
        if shape[1:] != [side, side] or not 1 <= count <= self._max_images:
            raise _bad(f"the shape of {INPUT} is [1 to {self._max_images}, {side}, {side}], not {shape!r:.80}")
        size = count * side * side
        values = self._values(tensor, binary, size)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
            raise _bad(f"{INPUT} are grey levels from 0 to 255")
        images = np.rint(values).astype(np.uint8).reshape(count, side, side)
        for image in images:
            check_content(image)
        return images

    def _values(self, tensor: dict[str, Any], binary: bytes, size: int) -> np.ndarray:
        """`size` numbers, from the JSON or from behind it."""
        parameters = _parameters(tensor)
        if "shared_memory_region" in parameters:
            raise _bad("shared memory is not offered")
        told = parameters.get("binary_data_size")
        if told is not None:
            if told != 4 * size or len(binary) != 4 * size or "data" in tensor:
                raise _bad(f"binary_data_size is {told!r:.40} and {len(binary)} bytes came; the shape needs {4 * size}")
            return np.frombuffer(binary, "<f4")
        if binary:
            raise _bad(f"{len(binary)} bytes of binary data came that no input asks for")
        try:
            values = np.asarray(tensor["data"])
        except KeyError:
            raise _bad(f"{INPUT} has neither data nor binary_data_size") from None
        except (ValueError, RecursionError):
            raise _bad("data is not rows of one length") from None
        if values.dtype.kind not in "iuf" or values.size != size:
            raise _bad(f"data is not {size} numbers")
        return values.ravel()


def _only(listed: Any, where: str, name: str) -> dict[str, Any]:
    """The one tensor in a list, which has to be called `name`."""
    if not (isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict)):
        raise _bad(f"{where} is not a list of one tensor")
    if listed[0].get("name") != name:
        raise _bad(f"the one tensor of {where} is {name!r}, not {listed[0].get('name')!r:.80}")
    return listed[0]


def _parameters(told: dict[str, Any]) -> dict[str, Any]:
    parameters = told.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _bad("parameters is not an object")
    return parameters


def _bad(detail: str) -> BadInput:
    return BadInput(400, "bad_tensor", detail)
