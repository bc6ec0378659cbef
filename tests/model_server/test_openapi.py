"""The OpenAPI document: valid, complete, and true of the server."""

import jsonschema
import jsonschema_rs
import pytest
import schemathesis

from model_server import SERVICE, __version__
from model_server.classes import CLASSES
from model_server.errors import MEDIA_TYPE
from model_server.http import oip
from model_server.http.app import application
from model_server.http.app import document as openapi
from model_server.http.bodies import TIMEOUT
from model_server.http.inference import NAMED_BY
from model_server.service import Service
from model_server.settings import Settings


def test_it_is_valid_and_what_the_server_gives(served):
    told = served.get("/openapi.json").json()
    assert told == openapi() and told["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(told).validate()


def test_a_broken_document_is_told_apart():
    broken = openapi()
    broken["paths"]["/predict"]["post"]["responses"] = 5
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(broken).validate()


def test_it_says_what_the_code_says():
    document = openapi()
    schemas, parameters = document["components"]["schemas"], document["components"]["parameters"]
    asked = schemas["InferenceRequest"]["properties"]
    told = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    tensor, output = (asked[name]["items"]["properties"] for name in ("inputs", "outputs"))
    assert (document["info"]["title"], document["info"]["version"]) == (SERVICE, __version__)
    assert told["properties"]["class"]["enum"] == list(CLASSES)
    assert parameters["Timeout"]["name"] == TIMEOUT and asked["id"]["maxLength"] == oip.MAX_ID
    assert (tensor["name"]["const"], tensor["datatype"]["const"]) == (oip.INPUT, oip.DATATYPE)
    assert output["name"]["const"] == oip.OUTPUT
    for status, refusal in document["components"]["responses"].items():
        assert list(refusal["content"]) == [MEDIA_TYPE], status
    for suffix in ("", "/versions/{version}"):
        [name, *_] = document["paths"][f"/v2/models/{{name}}{suffix}"]["parameters"]
        assert name["schema"] == {"const": SERVICE}
        infer = document["paths"][f"/v2/models/{{name}}{suffix}/infer"]["post"]
        assert oip.HEADER_LENGTH in [parameter.get("name") for parameter in infer["parameters"]]
    label = document["paths"]["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert label["label"]["enum"] == list(CLASSES) and {*label} - {"label"} == {*NAMED_BY}


def test_it_has_every_route_and_no_other():
    service = Service(Settings(auth="off", audit="off", database="off"))
    app = application(service)._app
    service.durable.close()
    routes = {(route.path, method.lower()) for route in app.routes for method in route.methods - {"HEAD"}}
    document = openapi()["paths"]
    told = {(path, method) for path, item in document.items() for method in item if method != "parameters"}
    assert told == routes


def test_answers_are_as_described(served, corpus):
    document = openapi()

    def check(answer, path: str, method: str) -> None:
        told = document["paths"][path][method]["responses"][str(answer.status_code)]
        if "$ref" in told:
            told = document["components"]["responses"][told["$ref"].rsplit("/", 1)[1]]
        schema = told["content"][answer.headers["content-type"].partition(";")[0]]["schema"]
        jsonschema.validate(answer.json(), schema | {"components": document["components"]})

    check(served.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "described"}), "/predict", "post")
    check(served.post("/predict", content=b"x"), "/predict", "post")
    check(served.post("/feedback", json={"request_id": "described", "label": "NORMAL"}), "/feedback", "post")
    check(served.post("/feedback", json={"request_id": "described", "label": "NORMAL"}), "/feedback", "post")
    for kind in ("live", "ready", "startup", "deep"):
        check(served.get(f"/health/{kind}"), f"/health/{kind}", "get")
    check(served.get("/v2"), "/v2", "get")
    check(served.get("/v2/models/pneumonia-detector"), "/v2/models/{name}", "get")
    check(served.get("/v2/models/another"), "/v2/models/{name}", "get")
    check(served.post("/v2/models/pneumonia-detector/infer", json={}), "/v2/models/{name}/infer", "post")
