"""Tensors of the Open Inference Protocol (KServe v2, REST): in JSON, or as binary data behind it.

The one input is `pixels`, FP32 [n, side, side], grey levels from 0 to 255, bright = dense; they are rounded to the
eight bits that the network takes, so that a picture gets the same answer as by /predict. The one output is
`probability`, FP32 [n], of pneumonia. A member that is null is absent.
"""

from __future__ import annotations

import itertools
import reprlib
from typing import Any

import numpy as np
import orjson

from model_server import SERVICE, __version__
from model_server.errors import BadInput
from model_server.inference.images import check_content

INPUT, OUTPUT, DATATYPE = "pixels", "probability", "FP32"
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON_BYTES = 2 << 20  # to parse it stops every other request; more goes as binary data
OTHER_VALUES = 1000  # in the JSON of a request, beside its pixels
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

    def __init__(self, header_length: str | None, max_images: int):
        self._header_length, self._max_images = header_length, max_images
        self._id, self._binary = "", False

    def read(self, body: bytes, side: int) -> np.ndarray:
        """The images, uint8 (n, side, side)."""
        told, binary = self._split(body, side)
        self._id = _member(told, "id", "")
        if not isinstance(self._id, str) or len(self._id) > MAX_ID or not self._id.isprintable():
            raise _bad(f"`id` is not a text of at most {MAX_ID} printable characters")
        self._binary = self._wants_binary(told)
        return self._pixels(_only(told.get("inputs"), "inputs", INPUT), binary, side)

    def answer(
        self, probabilities: list[float], version: str, request_id: str, names: list[str]
    ) -> tuple[bytes, dict[str, str]]:
        """Body and headers. `names` are the ids of the predictions; a parameter is no list, so they are one text."""
        output = {"name": OUTPUT, "datatype": DATATYPE, "shape": [len(probabilities)]}
        told = {"model_name": SERVICE, "model_version": version, "id": self._id or request_id, "outputs": [output]}
        told["parameters"] = {"prediction_ids": ",".join(names)}
        if not self._binary:
            output["data"] = probabilities
            return orjson.dumps(told), {"Content-Type": "application/json"}
        data = np.array(probabilities, "<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(data)}
        head = orjson.dumps(told)
        return head + data, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}

    def _split(self, body: bytes, side: int) -> tuple[dict[str, Any], memoryview]:
        """The JSON object, and the binary data behind it."""
        end = len(body)
        if (length := self._header_length) is not None:
            if not (length.isascii() and length.isdigit() and len(length) <= 12 and int(length) <= end):
                raise _bad(f"{HEADER_LENGTH} is not a number of bytes within the body")
            end = int(length)
        if end > MAX_JSON_BYTES:
            raise BadInput(413, "too_much_json", f"at most {MAX_JSON_BYTES} bytes of JSON; send tensors as binary data")
        # Each value takes up to a hundred times its text once it is read, so they are counted before.
        values = sum(body.count(sign, 0, end) for sign in (b",", b"[", b"{"))
        if values > self._max_images * (side + 1) ** 2 + OTHER_VALUES:
            raise _bad(f"the JSON holds more values than {self._max_images} images have")
        content = memoryview(body)
        try:
            told = orjson.loads(content[:end])
        except orjson.JSONDecodeError:
            raise _bad("the body is not JSON, or its binary data is not told by " + HEADER_LENGTH) from None
        if not isinstance(told, dict):
            raise _bad("the body is not a JSON object")
        return told, content[end:]

    def _wants_binary(self, told: dict[str, Any]) -> bool:
        wanted = _member(_parameters(told), "binary_data_output", False)
        if (outputs := _member(told, "outputs", [])) != []:
            output = _parameters(_only(outputs, "outputs", OUTPUT))
            if _is_there(output, "classification") or _is_there(output, "shared_memory_region"):
                raise _bad("neither classification nor shared memory is offered")
            wanted = _member(output, "binary_data", wanted)
        if not isinstance(wanted, bool):
            raise _bad("whether output is binary is true or false")
        return wanted

    def _pixels(self, tensor: dict[str, Any], binary: memoryview, side: int) -> np.ndarray:
        if (datatype := tensor.get("datatype")) != DATATYPE:
            raise _bad(f"{INPUT} is {DATATYPE}, not {reprlib.repr(datatype)}")
        shape = tensor.get("shape")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int for n in shape)):
            raise _bad(f"the shape of {INPUT} is [n, {side}, {side}], not {reprlib.repr(shape)}")
        if shape[1:] != [side, side] or not 1 <= shape[0] <= self._max_images:
            raise _bad(f"the shape of {INPUT} is [1 to {self._max_images}, {side}, {side}], not {reprlib.repr(shape)}")
        values = self._values(tensor, binary, shape)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
            raise _bad(f"{INPUT} are grey levels from 0 to 255")
        images = np.rint(values).astype(np.uint8).reshape(shape)
        for image in images:
            check_content(image)
        return images

    def _values(self, tensor: dict[str, Any], binary: memoryview, shape: list[int]) -> np.ndarray:
        """The numbers of a tensor of that shape, from the JSON or from behind it."""
        parameters, data = _parameters(tensor), tensor.get("data")
        if _is_there(parameters, "shared_memory_region"):
            raise _bad("shared memory is not offered")
        size = shape[0] * shape[1] * shape[2]
        if (told := parameters.get("binary_data_size")) is not None:
            if data is not None:
                raise _bad(f"{INPUT} has both data and binary_data_size")
            if type(told) is not int or told != 4 * size:
                raise _bad(f"binary_data_size is {reprlib.repr(told)}; the shape needs {4 * size}")
            if len(binary) != told:
                raise _bad(f"binary_data_size is {told}, and {len(binary)} bytes came")
            return np.frombuffer(binary, "<f4")
        if len(binary):
            raise _bad(f"{len(binary)} bytes of binary data came that no input asks for")
        if data is None:
            raise _bad(f"{INPUT} has neither data nor binary_data_size")
        return _numbers(data, shape, size)


def _numbers(data: Any, shape: list[int], size: int) -> np.ndarray:
    """What JSON holds of a tensor: its numbers in a row, or in rows as its shape says."""
    values = [data]
    for length in [size] if isinstance(data, list) and len(data) == size else shape:
        if not all(type(row) is list and len(row) == length for row in values):
            raise _bad(f"data is neither {size} numbers nor rows of the shape {shape}")
        values = list(itertools.chain.from_iterable(values))
    if not {*map(type, values)} <= {int, float}:
        raise _bad("data holds something else than numbers")
    return np.array(values, np.float64)


def _only(listed: Any, where: str, name: str) -> dict[str, Any]:
    """The one tensor in a list, which has to be called `name`."""
    if not (isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], dict)):
        raise _bad(f"{where} is not a list of one tensor")
    if listed[0].get("name") != name:
        raise _bad(f"the one tensor of {where} is {name!r}, not {reprlib.repr(listed[0].get('name'))}")
    return listed[0]


def _parameters(told: dict[str, Any]) -> dict[str, Any]:
    parameters = _member(told, "parameters", {})
    if not isinstance(parameters, dict):
        raise _bad("parameters is not an object")
    return parameters


def _is_there(told: dict[str, Any], name: str) -> bool:
    return told.get(name) is not None


def _member(told: dict[str, Any], name: str, otherwise: Any) -> Any:
    """An optional member."""
    return told[name] if _is_there(told, name) else otherwise


def _bad(detail: str) -> BadInput:
    return BadInput(400, "bad_tensor", detail)
