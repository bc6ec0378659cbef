"""The Open Inference Protocol, by a client that is not ours, and by requests that no client would send."""

import json
import tracemalloc

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from model_server import SERVICE
from model_server.errors import BadInput
from model_server.http import oip
from model_server.inference.images import decode

SLOW = """
import model_server.inference.model as m, time
real = m.Model.predict
m.Model.predict = lambda self, pixels: (time.sleep(0.3 * bool(pixels.any())), real(self, pixels))[1]
"""
INFER = f"/v2/models/{SERVICE}/infer"


@pytest.fixture
def client(served):
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        yield client


@pytest.fixture(scope="module")
def tensor(corpus) -> np.ndarray:
    """Six radiographs as a tensor."""
    return np.stack([decode(body) for body, _ in corpus[:40:7]]).astype(np.float32)


def given(tensor: np.ndarray, binary: bool, name: str = oip.INPUT, datatype: str = "FP32") -> triton.InferInput:
    return triton.InferInput(name, list(tensor.shape), datatype).set_data_from_numpy(tensor, binary_data=binary)


def test_the_server_and_its_model_describe_themselves(served, client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(SERVICE) and client.is_model_ready(SERVICE, "1.0.0")
    assert not client.is_model_ready("another") and not client.is_model_ready(SERVICE, "0.9")
    server = client.get_server_metadata()
    assert server["name"] == SERVICE and "binary_tensor_data" in server["extensions"]
    model = client.get_model_metadata(SERVICE, "1.0.0")
    assert model["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 64, 64]}]
    assert model["outputs"] == [{"name": "probability", "datatype": "FP32", "shape": [-1]}]
    assert model["name"] == SERVICE and model["versions"] == ["1.0.0"] and model["platform"]


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "JSON in"])
@pytest.mark.parametrize("binary_out", [True, False, None], ids=["binary out", "JSON out", "whatever out"])
@pytest.mark.parametrize("version", ["", "1.0.0"])
def test_tensors_get_the_answers_their_pictures_get(served, client, corpus, tensor, binary_in, binary_out, version):
    wanted = None if binary_out is None else [triton.InferRequestedOutput(oip.OUTPUT, binary_data=binary_out)]
    result = client.infer(SERVICE, [given(tensor, binary_in)], outputs=wanted, model_version=version, request_id="r-7")
    said = result.as_numpy(oip.OUTPUT)
    assert said.shape == (6,) and said.dtype == np.float32
    one_by_one = [served.post("/predict", content=body).json()["probability"] for body, _ in corpus[:40:7]]
    assert said == pytest.approx(one_by_one, abs=1e-4)
    told = result.get_response()
    assert (told["model_name"], told["model_version"], told["id"]) == (SERVICE, "1.0.0", "r-7")


def test_predictions_are_counted_and_each_can_get_its_true_label(served, tensor):
    before = served.metric("ml_prediction_confidence_count")
    body = {"inputs": [{"name": "pixels", "datatype": "FP32", "shape": [2, 64, 64], "data": tensor[:2].tolist()}]}
    answer = served.post(INFER, json=body, headers={"X-Request-ID": "several"})
    assert answer.json()["id"] == "several" and len(answer.json()["outputs"][0]["data"]) == 2
    names = answer.json()["parameters"]["prediction_ids"].split(",")
    assert len({*names}) == 2
    assert served.metric("ml_prediction_confidence_count") == before + 2
    endpoint = "/v2/models/{name}/infer"
    assert served.metric("http_requests_total", method="POST", endpoint=endpoint, status="200") >= 1
    whole = served.post("/feedback", json={"request_id": "several", "label": "NORMAL"})
    assert (whole.status_code, whole.json()["reason"]) == (409, "shared_request_id")
    for named in ({"prediction_id": names[0]}, {"request_id": "several:1"}):
        assert served.post("/feedback", json=named | {"label": "NORMAL"}).status_code == 200
    for named in ({"prediction_id": names[1]}, {"request_id": "several:0"}):
        assert served.post("/feedback", json=named | {"label": "NORMAL"}).status_code == 404  # each counts once


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("name", "shape", "dtype", "said"),
    [
        ("pixels", (1, 64, 63), np.float32, "shape"),
        ("pixels", (64, 64), np.float32, "shape"),
        ("pixels", (33, 64, 64), np.float32, "shape"),
        ("pixels", (0, 64, 64), np.float32, "shape"),
        ("pixels", (1, 64, 64), np.float64, "FP32"),
        ("pixels", (1, 64, 64), np.int32, "FP32"),
        ("image", (1, 64, 64), np.float32, "pixels"),
    ],
)
def test_a_client_sees_what_is_wrong_with_its_tensor(client, binary, name, shape, dtype, said):
    datatype = {np.float32: "FP32", np.float64: "FP64", np.int32: "INT32"}[dtype]
    with pytest.raises(InferenceServerException) as refused:
        client.infer(SERVICE, [given(np.zeros(shape, dtype), binary, name, datatype)])
    assert refused.value.status() == "400" and said in refused.value.message()


@pytest.mark.parametrize(
    ("value", "status", "said"),
    [
        (-1, "422", "from -1 to "),
        (255.25, "422", "to 255.25;"),
        (4095, "422", "to 4095;"),
        (np.nan, "400", "finite"),
        (-np.inf, "400", "finite"),
    ],
)
def test_values_that_are_no_grey_levels_are_refused_naming_their_range(client, tensor, value, status, said):
    wrong = tensor[:1].copy()
    wrong[0, 3, 3] = value
    with pytest.raises(InferenceServerException) as refused:
        client.infer(SERVICE, [given(wrong, True)])
    assert refused.value.status() == status and said in refused.value.message()
    assert status == "400" or "from 0 to 255" in refused.value.message()


def test_what_is_not_offered_is_said(client, tensor):
    for outputs, said in (
        ([triton.InferRequestedOutput("logits")], "probability"),
        ([triton.InferRequestedOutput(oip.OUTPUT, class_count=2)], "classification"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            client.infer(SERVICE, [given(tensor, True)], outputs=outputs)
    shared = triton.InferInput(oip.INPUT, [1, 64, 64], "FP32")
    shared.set_shared_memory("region", 16384)
    with pytest.raises(InferenceServerException, match="shared_memory"):
        client.infer(SERVICE, [shared])
    with pytest.raises(InferenceServerException, match="compressed") as refused:
        client.infer(SERVICE, [given(tensor, True)], request_compression_algorithm="gzip")
    assert refused.value.status() == "415"
    for call in (client.get_model_config, client.get_inference_statistics, client.load_model):
        with pytest.raises(InferenceServerException) as refused:
            call(SERVICE)
        assert refused.value.status() == "404"
    with pytest.raises(InferenceServerException) as refused:
        client.infer("another", [given(tensor, True)])
    assert refused.value.status() == "404" and SERVICE in refused.value.message()


GOOD = {"name": "pixels", "datatype": "FP32", "shape": [1, 64, 64], "data": [0] * 4096}


def asked(**changes) -> bytes:
    tensor = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return json.dumps({"inputs": [tensor]}).encode()


REFUSED = {
    "nothing": (b"", None, 422),
    "no JSON": (b"pixels", None, 400),
    "no object": (b"[]", None, 400),
    "no inputs": (b"{}", None, 400),
    "inputs that are none": (b'{"inputs": {"name": "pixels"}}', None, 400),
    "two inputs": (json.dumps({"inputs": [GOOD, GOOD]}).encode(), None, 400),
    "deep nesting": (b'{"inputs":' + b"[" * 200_000, None, 400),
    "deep data": (asked(data=None)[:-3] + b', "data": ' + b"[" * 900 + b"]" * 900 + b"}]}", None, 400),
    "ragged data": (asked(data=[[1], [2, 3]]), None, 400),
    "texts": (asked(data=["1"] * 4096), None, 400),
    "texts of all lengths": (asked(data=["x" * 20_000] + [""] * 20_000), None, 400),
    "texts beside numbers": (asked(data=[0] * 4095 + ["x" * 100_000]), None, 400),
    "objects": (asked(data=[{"": 0}] * 4096), None, 400),
    "many values": (asked(x=[[]] * 200_000), None, 400),
    "many members": (asked(parameters={f"{i}": 0 for i in range(140_000)}), None, 400),
    "long keys": (asked(**{"k" * 1_000_000: 0, "data": None}), None, 400),
    "rows of another shape": (asked(data=[[0] * 64] * 64), None, 400),
    "rows of one number": (asked(data=[[0]] * 4096), None, 400),
    "a nested shape": (asked(shape="SHAPE").replace(b'"SHAPE"', b"[" * 900 + b"]" * 900), None, 400),
    "a nested name": (asked(name="NAME").replace(b'"NAME"', b"[" * 900 + b"]" * 900), None, 400),
    "truths": (asked(data=[True] * 4096), None, 400),
    "nulls": (asked(data=[None] * 4096), None, 400),
    "too few": (asked(data=[0] * 4095), None, 400),
    "no data": (asked(data=None), None, 400),
    "one number": (asked(data=5), None, 400),
    "JSON in another encoding": (asked().decode().encode("utf-16"), None, 400),
    "a number too large": (asked(data=[10**400] * 4096), None, 400),
    "a number beyond reading": (asked().replace(b"[0, ", b"[" + b"9" * 5000 + b", ", 1), None, 400),
    "NaN": (asked(data=[float("nan")] * 4096), None, 400),
    "a shape of texts": (asked(shape=["1", "64", "64"]), None, 400),
    "a shape of truths": (asked(shape=[True, 64, 64]), None, 400),
    "a huge shape": (asked(shape=[2**62, 64, 64]), None, 400),
    "parameters that are none": (asked(parameters=[1]), None, 400),
    "a size that is a fraction": (
        asked(data=None, parameters={"binary_data_size": 16384.0}) + bytes(16384),
        str(len(asked(data=None, parameters={"binary_data_size": 16384.0}))),
        400,
    ),
    "data twice": (
        asked(parameters={"binary_data_size": 16384}) + bytes(16384),
        str(len(asked(parameters={"binary_data_size": 16384}))),
        400,
    ),
    "a size that is no number": (asked(parameters={"binary_data_size": "x"}, data=None), None, 400),
    "an id that is no text": (b'{"id": 5, "inputs": []}', None, 400),
    "an id beyond Unicode": (b'{"id": "\\ud800", "inputs": []}', None, 400),
    "an endless id": (b'{"id": "%s", "inputs": []}' % (b"x" * 300), None, 400),
    "a head beyond the body": (asked(), "999999", 400),
    "a negative head": (asked(), "-1", 400),
    "a head that is no number": (asked(), "x", 400),
    "no head": (b"\0" * 16384, "0", 400),
    "binary data nobody asked for": (asked() + b"xxxx", str(len(asked())), 400),
    "binary data cut short": (
        asked(data=None, parameters={"binary_data_size": 16384}) + b"xxxx",
        str(len(asked(data=None, parameters={"binary_data_size": 16384}))),
        400,
    ),
    "too much JSON": (asked(data=[0] * 1_000_000), None, 413),
}


@pytest.mark.parametrize(("body", "length", "status"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_is_a_problem_that_clients_of_the_protocol_can_read(served, body, length, status):
    headers = {} if length is None else {oip.HEADER_LENGTH: length}
    answer = served.post(INFER, content=body, headers=headers)
    told = answer.json()
    assert answer.status_code == told["status"] == status, told
    assert told["error"] == told["detail"] and told["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"


PIXELS = {"name": "pixels", "datatype": "FP32", "shape": [1, 64, 64]}
BINARY = {"binary_data_size": 16384}
OPTIONAL = {  # members that are null, and the same request without them
    "an id": ({"id": None}, {}, {}),
    "parameters": ({"parameters": None}, {"parameters": None}, {}),
    "outputs": ({"outputs": None}, {}, {}),
    "what an output may say": (
        {"outputs": [{"name": "probability", "parameters": {"classification": None, "binary_data": None}}]}, {}, {},
    ),
    "how output is wanted": ({"parameters": {"binary_data_output": None}}, {}, {}),
    "a size": ({}, {"parameters": {"binary_data_size": None, "shared_memory_region": None}}, {}),
    "data beside binary data": ({}, {"data": None, "parameters": BINARY}, {"parameters": BINARY}),
}  # fmt: skip


@pytest.mark.parametrize(("around", "within", "without"), OPTIONAL.values(), ids=OPTIONAL)
def test_an_optional_member_that_is_null_is_absent(served, tensor, around, within, without):
    """s04: clients write them so."""
    binary = tensor[:1].astype("<f4").tobytes() if without else b""
    data = {} if without else {"data": tensor[:1].ravel().tolist()}
    said = []
    for request in ({**around, "inputs": [{**PIXELS, **data, **within}]}, {"inputs": [{**PIXELS, **data, **without}]}):
        head = json.dumps(request).encode()
        headers = {oip.HEADER_LENGTH: str(len(head))} if binary else {}
        answer = served.post(INFER, content=head + binary, headers=headers)
        assert answer.status_code == 200, answer.text
        said.append(answer.json()["outputs"])
    assert said[0] == said[1]


def test_rows_as_the_shape_says_are_the_same_as_numbers_in_a_row(tensor):
    def read(data: list) -> np.ndarray:
        body = json.dumps({"inputs": [{**PIXELS, "shape": [2, 64, 64], "data": data}]}).encode()
        return oip.Inference(None, 32).read(body, 64)

    assert (read(tensor[:2].tolist()) == read(tensor[:2].ravel().tolist())).all()


def test_json_takes_no_more_memory_than_its_pixels_may():
    """s07: a text among texts took as much memory as all of them as long as it; 80 kB took 1.6 GB."""
    bodies = [body for body, length, _ in REFUSED.values() if length is None and len(body) > 20_000]
    tracemalloc.start()
    try:
        for body in bodies:
            with pytest.raises(BadInput):
                oip.Inference(None, 32).read(body, 64)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_full_queue_and_a_late_answer_are_those_of_predict(serve, tensor):
    with serve("--max-batch", "2", "--max-queue", "1", "--deadline-s", "20", defect=SLOW) as server:
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=8) as client:
            given_in = [given(tensor[:1], True)]
            results = [client.async_infer(SERVICE, given_in) for _ in range(8)]
            said = []
            for result in results:
                try:
                    said.append(result.get_result().as_numpy(oip.OUTPUT).shape)
                except InferenceServerException as refused:
                    said.append(refused.status())
            assert set(said) == {(1,), "503"}
            with pytest.raises(InferenceServerException) as late:
                client.infer(SERVICE, given_in, headers={"X-Request-Timeout-Ms": "50"})
            assert late.value.status() == "504"
        assert server.metric("requests_shed_total") == said.count("503")


CONTENTLESS = {
    "zeros": np.zeros((1, 64, 64)),
    "one grey": np.full((1, 64, 64), 90.0),
    "from 0 to 1": np.linspace(0, 1, 4096).reshape(1, 64, 64),
    "from 0 to 15": np.linspace(0, 15, 4096).reshape(1, 64, 64),
    "a few pixels": np.eye(1, 4096, 70).reshape(1, 64, 64) * 255,
}


@pytest.mark.parametrize("values", CONTENTLESS.values(), ids=CONTENTLESS)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a good one"])
def test_a_tensor_without_content_gets_no_class_but_the_range_that_it_is_in(client, served, tensor, values, beside):
    before = served.metric("ml_prediction_confidence_count")
    wrong = np.concatenate([tensor[:1], values] if beside else [values]).astype(np.float32)
    with pytest.raises(InferenceServerException, match=r"from \d+ to \d+") as refused:
        client.infer(SERVICE, [given(wrong, True)])
    assert refused.value.status() == "422"
    assert served.metric("ml_prediction_confidence_count") == before
