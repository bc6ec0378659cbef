"""Tensors of the Open Inference Protocol (KServe v2, REST): in JSON, or as binary data behind it.

The one input is `pixels`, FP32 [n, side, side], grey levels from 0 to 255, bright = dense; they are rounded to the
eight bits that the network takes, so that a picture gets the same answer as by /predict. The one output is
`probability`, FP32 [n], of pneumonia. A member that is null is absent.
"""

import contextlib
import math
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_server import SERVICE, __version__
from model_server.errors import BadInput
from model_server.inference.images import check_content, check_range

INPUT, OUTPUT, DATATYPE = "pixels", "probability", "FP32"
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON_BYTES = 2 << 20  # to parse it stops every other request; more goes as binary data
OTHER_VALUES = 1000  # in the JSON of a request, beside its pixels
MAX_ID = 256
Numbers = Annotated[list[float], Field(fail_fast=True)]
Images = Annotated[list[Annotated[list[Numbers], Field(fail_fast=True)]], Field(fail_fast=True)]


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


class _Part(BaseModel):
    """What a request has, as it stands: no text is taken for a number. Members that are not known are passed over."""

    model_config = ConfigDict(strict=True, frozen=True)


class Parameters(_Part):
    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool | None = None
    classification: None = None  # neither is offered
    shared_memory_region: None = None


class Input(_Part):
    name: Literal["pixels"]
    datatype: Literal["FP32"]
    shape: list[int] = Field(min_length=3, max_length=3)
    data: Numbers | Images | None = Field(None, union_mode="left_to_right")
    parameters: Parameters | None = None


class Output(_Part):
    name: Literal["probability"]
    parameters: Parameters | None = None


class Asked(_Part):
    id: str | None = Field(None, max_length=MAX_ID, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]*$")
    parameters: Parameters | None = None
    inputs: list[Input] = Field(min_length=1, max_length=1)
    outputs: list[Output] | None = Field(None, max_length=1)


class Inference:
    """One inference request: `read` what it asks, then `answer` it. What does not fit the model is BadInput: 400, or
    422 for an image without content."""

    def __init__(self, header_length: str | None, max_images: int):
        self._header_length, self._max_images = header_length, max_images
        self._id, self._binary = "", False

    def read(self, body: bytes, side: int) -> np.ndarray:
        """The images, uint8 (n, side, side)."""
        end = self._json_bytes(body, side)
        try:
            asked = Asked.model_validate_json(body[:end])
        except ValidationError as wrong:
            first = wrong.errors(include_url=False, include_context=False, include_input=False)[0]
            raise _bad(f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from None
        self._id, self._binary = asked.id or "", _told(asked).binary_data_output is True
        if asked.outputs and (binary := _told(asked.outputs[0]).binary_data) is not None:
            self._binary = binary
        shape = asked.inputs[0].shape
        if shape[1:] != [side, side] or not 1 <= shape[0] <= self._max_images:
            raise _bad(f"the shape of {INPUT} is [1 to {self._max_images}, {side}, {side}]")
        values = _values(asked.inputs[0], memoryview(body)[end:])
        if not np.isfinite(values).all():
            raise _bad(f"{INPUT} holds something else than finite numbers")
        check_range(values)
        images = np.rint(values).astype(np.uint8).reshape(shape)
        for image in images:
            check_content(image)
        return images

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

    def _json_bytes(self, body: bytes, side: int) -> int:
        """How long the JSON is that the body begins with."""
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
        return end


def _told(part: Asked | Input | Output) -> Parameters:
    return part.parameters or Parameters()


def _values(tensor: Input, binary: memoryview) -> np.ndarray:
    """The numbers of a tensor, from the JSON or from behind it."""
    size, told = math.prod(tensor.shape), _told(tensor).binary_data_size
    if told is None and len(binary):
        raise _bad(f"{len(binary)} bytes of binary data came that no input asks for")
    if (told is None) == (tensor.data is None):
        raise _bad(f"{INPUT} has {'neither data nor' if told is None else 'both data and'} binary_data_size")
    if told is None:
        with contextlib.suppress(ValueError):  # of rows that are not of one length
            values = np.array(tensor.data)
            if values.shape in ((size,), tuple(tensor.shape)):
                return values
        raise _bad(f"data is neither {size} numbers nor rows of the shape {tensor.shape}")
    if not told == len(binary) == 4 * size:
        raise _bad(f"binary_data_size is {told}, and {len(binary)} bytes came; the shape needs {4 * size}")
    return np.frombuffer(binary, "<f4")


def _bad(detail: str) -> BadInput:
    return BadInput(400, "bad_tensor", detail)
