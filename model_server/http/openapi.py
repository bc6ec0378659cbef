"""The interface as an OpenAPI 3.1 document: what is sent, what is answered, and every way of refusing."""

from __future__ import annotations

from typing import Any

from model_server import SERVICE, __version__
from model_server.classes import CLASSES
from model_server.errors import MEDIA_TYPE
from model_server.http import oip
from model_server.http.deadline import HEADER as TIMEOUT

REFUSALS = {
    400: "Not a request as this document says",
    401: "No key, or none that opens anything",
    403: "The key has not the role that this takes",
    404: "No such thing",
    405: "Not by this method",
    408: "The body did not come in time",
    409: "Another one is running, or the request id is that of several predictions",
    413: "More bytes or pixels than are taken",
    415: "Not a kind of content that is taken",
    422: "A kind that is taken, but this one cannot be used",
    429: "More requests a second than the key may send",
    431: "The request line and headers are too large",
    503: "Not now: starting, or too much is waiting already",
    504: f"No answer within the time allowed, by the service or by {TIMEOUT}",
}
TEXT, COUNT, TRUTH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
CLASS = {"enum": list(CLASSES)}
BYTES = {"type": "string", "format": "binary"}


def document() -> dict[str, Any]:
    """The whole document."""
    paths = {
        "/predict": {"post": _guarded(_predict())},
        "/feedback": {"post": _guarded(_feedback())},
        "/metrics": {"get": _get("metrics", "All metrics, for Prometheus", {"text/plain": {"schema": TEXT}})},
        "/openapi.json": {"get": _get("openapi", "This document", _json({"type": "object"}))},
        "/health/live": {"get": _health("live", "Whether the process can still do its work; else restart it")},
        "/health/ready": {"get": _health("ready", "Whether traffic should come here")},
        "/health/startup": {"get": _health("startup", "Whether the service has started, and how far it is")},
        "/health/deep": {"get": _guarded(_deep())},
        "/v2": {"get": _get("oip_server", "Open Inference Protocol: the server", _json({"type": "object"}))},
        "/v2/health/live": {"get": _oip_health("oip_live", "live")},
        "/v2/health/ready": {"get": _oip_health("oip_ready", "ready")},
    }
    for model, named, suffix in (
        ("/v2/models/{name}", [_path("name", const=SERVICE)], ""),
        (
            "/v2/models/{name}/versions/{version}",
            [_path("name", const=SERVICE), _path("version", type="string")],
            "_version",
        ),
    ):
        described = _get(
            "oip_model" + suffix, "Open Inference Protocol: the model", _json({"type": "object"}), 404, 503
        )
        ready = _oip_health("oip_model_ready" + suffix, "ready", 404)
        paths[model] = {"parameters": named, "get": described}
        paths[f"{model}/ready"] = {"parameters": named, "get": ready}
        paths[f"{model}/infer"] = {"parameters": named, "post": _guarded(_infer("oip_infer" + suffix))}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": SERVICE,
            "version": __version__,
            "description": "Tells NORMAL from PNEUMONIA on a chest radiograph. Every answer carries X-Request-ID.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, "InferenceRequest": INFERENCE_REQUEST},
            "responses": {
                str(status): {"description": about, "content": {MEDIA_TYPE: {"schema": _ref("schemas", "Problem")}}}
                for status, about in REFUSALS.items()
            },
            "parameters": {"RequestId": REQUEST_ID, "Timeout": TIMEOUT_MS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


PROBLEM = {
    "description": "RFC 9457. `reason` is one of a few words; below /v2 `error` repeats `detail`.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason", "request_id"],
    "properties": {
        "type": TEXT, "title": TEXT, "status": COUNT, "detail": TEXT, "reason": TEXT, "request_id": TEXT, "error": TEXT,
    },
}  # fmt: skip
REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "The caller's own id of this request; one is made where it is absent or malformed.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,64}$"},
}
TIMEOUT_MS = {
    "name": TIMEOUT,
    "in": "header",
    "description": "Milliseconds after which nobody waits for the answer any more; the service may allow less.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}
INFERENCE_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": oip.MAX_ID},
        "parameters": {"type": "object", "properties": {"binary_data_output": TRUTH}},
        "inputs": {
            "type": "array", "minItems": 1, "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": {"const": oip.INPUT},
                    "datatype": {"const": oip.DATATYPE},
                    "shape": {"type": "array", "items": COUNT, "minItems": 3, "maxItems": 3},
                    "data": {"type": "array", "items": {"type": ["number", "array"]}},
                    "parameters": {"type": "object", "properties": {"binary_data_size": COUNT}},
                },
            },
        },
        "outputs": {
            "type": "array", "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"const": oip.OUTPUT},
                    "parameters": {"type": "object", "properties": {"binary_data": TRUTH}},
                },
            },
        },
    },
}  # fmt: skip


def _guarded(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation that takes an API key, in either way; one without a key is for a server whose keys are off."""
    responses = operation["responses"] | _refusals(401, 403, 429)
    return operation | {"security": [{"bearer": []}, {"header": []}, {}], "responses": responses}


def _predict() -> dict[str, Any]:
    form = {"type": "object", "properties": {"image": BYTES, "file": BYTES}}
    kinds = ("image/png", "image/jpeg", "application/dicom", "application/octet-stream")
    return _post(
        "predict",
        "The class of one radiograph. PNG, JPEG or DICOM: the bytes say which, whatever the content type says",
        {kind: {"schema": BYTES} for kind in kinds} | {"multipart/form-data": {"schema": form}},
        _json(
            _object(
                **{"class": CLASS}, probability=PROBABILITY, model_version=TEXT, prediction_id=TEXT, request_id=TEXT
            )
        ),
        400, 408, 413, 415, 422, 503, 504,
    )  # fmt: skip


def _feedback() -> dict[str, Any]:
    names = {
        "prediction_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "request_id": {"type": "string", "maxLength": 128},
    }
    sent = _object(label=CLASS)
    sent |= {"properties": sent["properties"] | names, "oneOf": [{"required": [name]} for name in names]}
    about = (
        "The true class of an earlier prediction, by the id of it in its answer, or of its request; each counts once"
    )
    return _post(
        "feedback",
        about,
        _json(sent),
        _json(_object(correct=TRUTH, request_id=TEXT)),
        400,
        404,
        408,
        409,
        413,
        415,
        422,
        503,
    )


def _infer(name: str) -> dict[str, Any]:
    length = {
        "name": oip.HEADER_LENGTH,
        "in": "header",
        "description": "Bytes of the JSON, where binary tensor data follows it.",
        "schema": {"type": "integer", "minimum": 0},
    }
    answer = _object(model_name=TEXT, model_version=TEXT, id=TEXT, outputs={"type": "array"})
    operation = _post(
        name,
        "Open Inference Protocol: probabilities of pneumonia for a tensor of grey levels",
        _json(_ref("schemas", "InferenceRequest")) | {"application/octet-stream": {"schema": BYTES}},
        _json(answer) | {"application/octet-stream": {"schema": BYTES}},
        400, 404, 408, 413, 415, 422, 503, 504,
    )  # fmt: skip
    operation["parameters"].append(length)
    return operation


def _deep() -> dict[str, Any]:
    operation = _health("deep", "Inference with known answers, memory, GPU and the whole data path; one at a time")
    return operation | {"responses": operation["responses"] | _refusals(409)}


def _health(kind: str, about: str) -> dict[str, Any]:
    told = _json(_object(status=TEXT, timestamp=TEXT))
    operation = _get(kind, about, told)
    operation["responses"]["503"] = {"description": "No", "content": told | _problem()}
    return operation


def _oip_health(name: str, member: str, *refusals: int) -> dict[str, Any]:
    told = _json(_object(**{member: TRUTH}))
    operation = _get(name, f"Open Inference Protocol: {member}", told, *refusals)
    operation["responses"]["503"] = {"description": "No", "content": told | _problem()}
    return operation


def _get(name: str, about: str, content: dict[str, Any], *refusals: int) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": about,
        "parameters": [_ref("parameters", "RequestId")],
        "responses": {"200": {"description": "The answer", "content": content}} | _refusals(405, 431, *refusals),
    }


def _post(name: str, about: str, sent: dict[str, Any], content: dict[str, Any], *refusals: int) -> dict[str, Any]:
    operation = _get(name, about, content, *refusals)
    operation["parameters"].append(_ref("parameters", "Timeout"))
    return operation | {"requestBody": {"required": True, "content": sent}}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): _ref("responses", str(status)) for status in statuses}


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(members), "properties": members}


def _path(name: str, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _problem() -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": _ref("schemas", "Problem")}}


def _ref(kind: str, name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/{kind}/{name}"}
