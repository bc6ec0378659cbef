"""The real server over HTTP: predictions, refusals, metrics, logs."""

import io
import re

import pytest
from PIL import Image

from model_server.training.radiographs import CLASSES


def picture(form: str = "PNG", size=(300, 200), mode: str = "L") -> bytes:
    return saved(Image.linear_gradient("L").resize(size).convert(mode), form)


def saved(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


JPEG = picture("JPEG")
BOMB = saved(Image.new("1", (8000, 8000)), "PNG")


def test_the_corpus_is_balanced_and_told_apart(served, corpus):
    assert sorted({kind for _, kind in corpus}) == list(CLASSES) and len(corpus) == 40
    right = sum(served.post("/predict", content=body).json()["class"] == kind for body, kind in corpus)
    assert right >= 38


def test_an_answer_has_class_probability_version_and_the_callers_request_id(served, corpus):
    answer = served.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "r-1.2:3"})
    body = answer.json()
    assert answer.status_code == 200 and answer.headers["x-request-id"] == "r-1.2:3" == body["request_id"]
    assert body["class"] in CLASSES and 0 <= body["probability"] <= 1 and body["model_version"] == "1.0.0"
    assert (body["class"] == "PNEUMONIA") == (body["probability"] > 0.5)


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'evil"id', "<script>"])
def test_a_malformed_request_id_is_replaced(served, given):
    answer = served.post("/predict", content=JPEG, headers={"X-Request-ID": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(picture("PNG", mode=m), id=f"PNG {m}") for m in ("L", "RGB", "RGBA", "P", "1", "I;16", "LA")),
        *(pytest.param(picture("JPEG", mode=m), id=f"JPEG {m}") for m in ("L", "RGB")),
        pytest.param(picture("JPEG", (4000, 3000)), id="a large JPEG"),
    ],
)
def test_any_depth_and_size_is_taken(served, body):
    assert served.post("/predict", content=body).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        pytest.param(b"", 422, "empty_body", id="nothing"),
        pytest.param(b"hello" * 100, 415, "not_an_image", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", 415, "not_an_image", id="only a PNG's signature"),
        pytest.param(picture("GIF"), 415, "not_an_image", id="another kind of image"),
        pytest.param(picture("PNG")[:-30], 422, "broken_image", id="a PNG cut short"),
        pytest.param(JPEG[: len(JPEG) // 2], 422, "broken_image", id="a JPEG cut short"),
        pytest.param(BOMB, 413, "too_many_pixels", id="a decompression bomb"),
        pytest.param(picture("PNG", (1, 1)), 422, "no_content", id="one pixel"),
        pytest.param(b"x" * (17 << 20), 413, "body_too_large", id="a huge body"),
    ],
)
def test_a_bad_body_is_refused_with_a_problem_and_counted(served, body, status, reason):
    before = served.metric("invalid_input_total", reason=reason) or 0
    answer = served.post("/predict", content=body)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["reason"]) == (status, status, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= problem.keys() and problem["request_id"] == answer.headers["x-request-id"]
    assert served.metric("invalid_input_total", reason=reason) == before + 1


def test_a_body_without_a_declared_length_is_bounded_too(served):
    answer = served.post("/predict", content=(b"x" * (1 << 20) for _ in range(20)))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("GET", "/nothing", 404), ("POST", "/metrics", 405), ("GET", "/../../etc/passwd", 404)],
)
def test_what_does_not_exist_is_a_problem_too(served, method, path, status):
    answer = served.request(method, path)
    assert answer.status_code == answer.json()["status"] == status


def test_a_defect_of_ours_is_a_problem_counted_and_logged_with_its_place(serve, corpus):
    defect = "import model_server.service as s\ns.label_of = lambda probability: 1 / 0"
    with serve(defect=defect) as client:
        failed = client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "defect"})
        assert (failed.status_code, failed.json()["reason"], failed.json()["request_id"]) == (500, "internal", "defect")
        assert failed.headers["content-type"] == "application/problem+json" and "Zero" not in failed.text
        assert client.metric("http_requests_total", endpoint="/predict", status="500") == 1
        assert client.metric("audit_events_total", event_type="prediction", result="failed") == 1
        [line] = client.until(lambda: [line for line in client.log if line["message"] == "Request failed"])
        assert (line["level"], line["request_id"]) == ("ERROR", "defect")
        assert "ZeroDivisionError" in line["context"]["exception"] and "service.py" in line["context"]["exception"]
        assert client.get("/v2").status_code == 200


def test_unknown_paths_and_methods_share_one_label_value(served):
    strange = ("PROPFIND", "MKCOL", "LOCK", "UNLOCK", "COPY")
    for method in strange:
        served.get(f"/nothing/{method}")
        served.request(method, "/predict")
    exposed = served.get("/metrics").text
    assert "/nothing" not in exposed and not any(method in exposed for method in strange)
    assert served.metric("http_requests_total", method="GET", endpoint="other", status="404") >= 5
    assert served.metric("http_requests_total", method="other", endpoint="/predict", status="405") >= 5


def test_each_request_is_counted_once_and_probes_apart(served, corpus):
    def counts():
        return {
            "requests": served.metric("http_requests_total", method="POST", endpoint="/predict", status="200"),
            "durations": served.metric("http_request_duration_seconds_count", method="POST", endpoint="/predict"),
            "confidences": served.metric("ml_prediction_confidence_count"),
            "predictions": sum(served.metric("ml_predictions_total", prediction=c) for c in CLASSES),
        }

    before = counts()
    for body, _ in corpus[:5]:
        served.post("/predict", content=body)
    served.get("/health/live")
    assert counts() == {name: count + 5 for name, count in before.items()}
    assert served.metric("http_requests_total", endpoint="/health/live") is None
    assert served.metric("probe_requests_total", endpoint="/health/live", status="200") >= 1


def test_the_exposition_has_every_promised_metric(served):
    served.post("/predict", content=JPEG)
    exposed = served.get("/metrics")
    assert exposed.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {line.split("{")[0].split(" ")[0] for line in exposed.text.splitlines() if not line.startswith("#")}
    assert names >= {
        "http_requests_total", "http_request_duration_seconds_bucket", "http_requests_in_flight",
        "ml_predictions_total",
        "ml_inference_duration_seconds_bucket", "ml_prediction_confidence_bucket", "ml_feedback_total", "ml_model_info",
        "ml_model_load_seconds", "inference_queue_depth", "inference_queue_wait_seconds_bucket",
        "inference_batch_size_bucket", "requests_shed_total", "container_memory_usage_bytes",
        "container_spec_memory_limit_bytes", "process_resident_memory_bytes", "process_start_time_seconds",
        "process_open_fds", "service_ready", "build_info",
    }  # fmt: skip
    assert 'http_request_duration_seconds_bucket{endpoint="/predict",le="0.5",method="POST"}' in exposed.text
    assert served.metric("service_ready") == 1


def test_accuracy_is_absent_until_enough_labels_came_and_each_counts_once(serve, corpus):
    with serve() as served:
        for i in range(50):
            assert i % 7 or served.metric("ml_model_accuracy") is None
            answer = served.post("/predict", content=corpus[i % 40][0], headers={"X-Request-ID": f"p{i}"})
            truth = answer.json()["class"]
            label = truth if i % 5 else CLASSES[truth == "NORMAL"]  # one label in five says it was wrong
            told = served.post("/feedback", json={"request_id": f"p{i}", "label": label})
            assert told.json()["correct"] == bool(i % 5)
        assert served.metric("ml_model_accuracy") == 0.8 and served.metric("ml_feedback_total") == 50
        assert served.post("/feedback", json={"request_id": "p1", "label": "NORMAL"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"request_id": "x"}',
        b'{"request_id": "x", "label": "FLU"}',
        b'{"request_id": 5, "label": "NORMAL"}',
        b'{"request_id": "%s", "label": "NORMAL"}' % (b"x" * 1000),
    ],
)
def test_malformed_feedback_is_refused(served, body):
    assert served.post("/feedback", content=body).status_code == 422


def test_each_prediction_is_one_json_line_with_its_ids_and_no_image(served, corpus):
    trace = "0af7651916cd43dd8448eb211c80319c"
    served.post(
        "/predict",
        content=corpus[0][0],
        headers={"X-Request-ID": "logged-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"},
    )
    line = served.until(lambda: next((x for x in served.log if x["request_id"] == "logged-1"), None))
    assert list(line) == [
        "timestamp", "level", "service", "version", "trace_id", "span_id", "request_id", "message", "context",
    ]  # fmt: skip
    assert (line["level"], line["service"], line["trace_id"]) == ("INFO", "pneumonia-detector", trace)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert line["context"].keys() == {
        "deployment", "model_version", "prediction", "confidence", "inference_time_ms",
    }  # fmt: skip
