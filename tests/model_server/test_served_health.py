"""The real server's start, health, overload, wedge and end."""

import concurrent.futures
import contextlib
import signal
import socket

import httpx
import pytest
from real_server import ONE_CORE

from model_server.settings import Settings

BEFORE = Settings().max_batch + 1  # batches before the first request: one of each size, and the proof
SLOW = "import model_server.inference.model as m, time\nreal = m.Model.predict\n"
SLOW_LOAD = SLOW + "ready = m.ready\nm.ready = lambda *a: (time.sleep(2), ready(*a))[1]"
# Breaks inference after the proof, from outside: model_server has no switch for it.
THEN = SLOW + f"calls = []\nm.Model.predict = lambda *a: (calls.append(1), len(calls) > {BEFORE} and %s, real(*a))[2]"
WEDGED, FAILING = THEN % "time.sleep(3600)", THEN % "1 / 0"
# As after a CUDA error, once the file is there: whatever comes fails, and only another process could do better.
STICKY = """
import model_server.inference.model as m, pathlib
real, failed = m.Model.predict, pathlib.Path({file!r})
def predict(*a):
    if failed.exists():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return real(*a)
m.Model.predict, m.Model.usable = predict, lambda self: False
"""
# While the file is there, what the network answers is no number.
NOT_FINITE = """
import model_server.inference.model as m, pathlib
real = m.Model.predict
m.Model.predict = lambda *a: real(*a) * (float("nan") if pathlib.Path({file!r}).exists() else 1)
"""
# CUDA's own end waits for a kernel that never ends.
HANGS_AT_THE_END = """
import atexit, model_server.inference.model as m, time
m.Model.device, m.Model.uuid = "cuda", "00000001-0000-0000-0000-000000000000"
atexit.register(time.sleep, 3600)
"""
LOADS_FOR_EVER = "import model_server.inference.model as m, time\nm.ready = lambda *a: time.sleep(3600)"
SLOW_READ = """
import model_server.service as s, time
real = s.decode
s.decode = lambda *a: (time.sleep(1), real(*a))[1]
"""
SLUGGISH = SLOW + "m.Model.predict = lambda *a: (time.sleep(0.15), real(*a))[1]"


def test_startup_is_answered_and_scraped_while_the_model_loads_and_passes_only_after(serve, corpus):
    with serve(defect=SLOW_LOAD, wait=False, fresh=True) as client:
        first = client.until(lambda: client.get("/health/startup"))
        assert first.status_code == 503 and first.json()["status"] == "starting"
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503 and client.metric("service_ready") == 0
        refused = client.post("/predict", content=corpus[0][0])
        assert refused.status_code == 503 and refused.json()["reason"] == "starting" and refused.headers["retry-after"]
        client.until(lambda: client.get("/health/startup").status_code == 200)
        started = client.get("/health/startup").json()
        assert started["status"] == "started" and started["components"]["model"]["seconds"] >= 2
        assert {c["status"] for c in started["components"].values()} == {"started"}
        assert client.get("/health/ready").json()["status"] == "ready" and client.metric("service_ready") == 1


def test_readiness_names_its_checks_as_its_users_know_them(served):
    checks = served.get("/health/ready").json()["checks"]
    assert checks.keys() == {
        "model_loaded", "database_connected", "storage_accessible",
        "worker_alive", "worker_progress", "inference_works", "queue_not_saturated", "not_stopping",
    } and all(checks.values())  # fmt: skip


def test_every_health_answer_has_a_timestamp(served):
    assert all(served.get(f"/health/{kind}").json()["timestamp"].endswith("Z") for kind in ("live", "ready", "startup"))


@pytest.fixture
def many():
    """Sends many predictions at once: `many(client, body, count)` gives their futures."""
    with concurrent.futures.ThreadPoolExecutor(40) as pool:

        def send(client, body, count):
            def one():
                with contextlib.suppress(httpx.TransportError):  # a test may kill the server under them
                    return client.post("/predict", content=body)

            return [pool.submit(one) for _ in range(count)]

        yield send


def test_beyond_the_bound_requests_are_refused_at_once_and_readiness_says_so(serve, corpus, many):
    with serve("--max-queue", "4", "--max-batch", "2", defect=SLUGGISH) as client:
        answers = [f.result() for f in many(client, corpus[0][0], 24)]
        assert {a.status_code for a in answers} == {200, 503}
        refused = next(a for a in answers if a.status_code == 503)
        assert refused.headers["retry-after"] == "1" and refused.json()["reason"] == "queue_full"
        assert client.metric("requests_shed_total") == sum(a.status_code == 503 for a in answers)
        assert client.metric("http_requests_total", status="503", endpoint="/predict") == client.metric(
            "requests_shed_total"
        )
        client.until(lambda: client.get("/health/ready").status_code == 200)


def test_while_requests_are_refused_it_is_live_and_not_ready(serve, corpus, many):
    with serve("--max-queue", "1", defect=SLUGGISH) as client:
        pending = many(client, corpus[0][0], 20)
        client.until(lambda: client.metric("requests_shed_total"))
        ready = client.get("/health/ready")
        assert ready.status_code == 503 and client.get("/health/live").status_code == 200
        assert [name for name, good in ready.json()["checks"].items() if not good] == ["queue_not_saturated"]
        assert {f.result().status_code for f in pending} == {200, 503}


@pytest.mark.parametrize("on", ["", ONE_CORE], ids=["all cores", "one core"])
def test_a_wedged_worker_is_not_live_while_scrapes_and_refusals_go_on(serve, corpus, many, on):
    with serve("--wedged-after-s", "0.5", "--max-queue", "3", "--deadline-s", "30", defect=on + WEDGED) as client:
        assert client.get("/health/live").status_code == 200
        many(client, corpus[0][0], 3)
        client.until(lambda: client.metric("inference_queue_depth") == 3)
        dead = client.until(lambda: (a := client.get("/health/live")).status_code == 503 and a)
        assert dead.json()["checks"] == {"worker_alive": True, "worker_progress": False}
        assert client.get("/health/ready").json()["checks"]["worker_progress"] is False
        assert client.metric("service_ready") == 0 and client.metric("inference_stalled_seconds") >= 0.5
        assert client.post("/predict", content=corpus[0][0]).status_code == 503
        client.process.kill()


@pytest.mark.parametrize("on", ["", ONE_CORE], ids=["all cores", "one core"])
def test_a_picture_that_takes_long_to_read_makes_it_neither_dead_nor_unready(serve, corpus, many, on):
    with serve("--wedged-after-s", "0.2", "--deadline-s", "60", defect=on + SLOW_READ) as client:
        reading = many(client, corpus[0][0], 2)
        answered = set()
        while not all(one.done() for one in reading):
            answered |= {client.get(f"/health/{kind}").status_code for kind in ("live", "ready")}
        assert answered == {200} == {one.result().status_code for one in reading}
        assert client.metric("ml_preprocessing_duration_seconds_sum") >= 2 * 1.0, "longer than what is a wedged model"


def test_neither_a_model_nor_a_client_may_take_longer_than_the_deadline(serve, corpus):
    with serve("--deadline-s", "1", defect=WEDGED) as client:
        late = client.post("/predict", content=corpus[0][0])
        assert late.status_code == 504 and late.json()["reason"] == "deadline"
        assert client.metric("request_deadlines_missed_total") == 1
        with socket.create_connection(("127.0.0.1", client.port)) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly a part")
            assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_failed_inference_is_a_500_in_the_metrics_and_the_log(serve, corpus):
    with serve(defect=FAILING) as client:
        failed = client.post("/predict", content=corpus[0][0], headers={"X-Request-ID": "failed-1"})
        assert failed.status_code == 500 and "ZeroDivision" not in failed.text
        assert failed.json()["request_id"] == "failed-1" == failed.headers["x-request-id"]
        assert client.metric("http_requests_total", endpoint="/predict", status="500") == 1
        line = client.until(lambda: next((x for x in client.log if x["request_id"] == "failed-1"), None))
        assert line["level"] == "ERROR" and "ZeroDivisionError" in line["context"]["exception"]


def test_after_an_error_that_stays_it_is_not_live_so_that_a_restart_heals(serve, corpus, tmp_path):
    with serve(defect=STICKY.format(file=str(tmp_path / "failed"))) as client:
        assert client.post("/predict", content=corpus[0][0]).status_code == 200
        assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
        (tmp_path / "failed").touch()
        assert client.post("/predict", content=corpus[0][0]).status_code == 500
        dead = client.get("/health/live")
        assert (dead.status_code, dead.json()["status"]) == (503, "dead")
        assert dead.json()["checks"] == {"worker_alive": False, "worker_progress": True}
        checks = client.get("/health/ready").json()["checks"]
        assert [name for name, good in checks.items() if not good] == ["worker_alive"]
        assert client.get("/v2/health/live").status_code == 503 and client.metric("service_ready") == 0
        line = client.until(lambda: next((x for x in client.log if x["message"] == "Inference failed"), None))
        assert line["level"] == "ERROR" and "illegal memory access" in line["context"]["exception"]
        assert client.post("/predict", content=corpus[0][0]).status_code == 500  # answered, not left to wait
        assert client.get("/health/live").status_code == 503


@pytest.mark.parametrize("endpoint", ["/predict", "/v2/models/pneumonia-detector/infer"])
def test_an_answer_that_is_no_number_is_a_500_with_a_reason_and_no_prediction(serve, corpus, tmp_path, endpoint):
    tensor = {"name": "pixels", "shape": [1, 64, 64], "datatype": "FP32", "data": list(range(256)) * 16}
    about = {"content": corpus[0][0]} if endpoint == "/predict" else {"json": {"inputs": [tensor]}}
    with serve(defect=NOT_FINITE.format(file=str(tmp_path / "fails"))) as client:
        (tmp_path / "fails").touch()
        failed = client.post(endpoint, **about, headers={"X-Request-ID": "no-number"})
        assert (failed.status_code, failed.json()["reason"]) == (500, "inference_not_finite")
        assert client.metric("inference_failures_total", kind="not_finite") >= 1
        assert client.metric("ml_predictions_total") == client.metric("ml_prediction_confidence_count") == 0
        line = client.until(lambda: next((x for x in client.log if x["request_id"] == "no-number"), None))
        assert line["level"] == "ERROR" and line["context"]["reason"] == "inference_not_finite"
        assert "NotFinite: 1 of 1 answers" in line["context"]["exception"]
        (tmp_path / "fails").unlink()
        assert client.post(endpoint, **about).status_code == 200


def test_failures_in_a_row_are_not_ready_and_more_of_a_known_image_too_not_live(serve, corpus, tmp_path):
    flags = ("--unready-after-failures", "2", "--dead-after-failures", "4")
    with serve(*flags, defect=NOT_FINITE.format(file=str(tmp_path / "fails"))) as client:
        (tmp_path / "fails").touch()
        assert client.post("/predict", content=corpus[0][0]).status_code == 500
        client.until(lambda: client.get("/health/live").status_code == 200)  # not while the device is asked
        client.until(lambda: client.get("/health/ready").json()["checks"]["inference_works"] is False)  # by itself
        assert client.get("/health/ready").status_code == 503 and client.metric("service_ready") == 0
        client.until(lambda: client.metric("inference_failures_total", kind="not_finite") >= 4)
        assert client.get("/health/live").status_code == client.get("/v2/health/live").status_code == 503


def test_an_idle_service_finds_out_by_itself_that_its_model_fails_and_that_it_works_again(serve, tmp_path):
    flags = ("--canary-every-s", "0.1", "--unready-after-failures", "1", "--dead-after-failures", "1000")
    with serve(*flags, defect=NOT_FINITE.format(file=str(tmp_path / "fails"))) as client:
        batches = client.metric("inference_batch_size_count")
        (tmp_path / "fails").touch()
        client.until(lambda: client.get("/health/ready").json()["checks"]["inference_works"] is False)
        client.until(lambda: client.get("/health/live").status_code == 200)
        (tmp_path / "fails").unlink()
        client.until(lambda: client.get("/health/ready").status_code == 200)
        assert client.metric("inference_batch_size_count") == batches and client.metric("ml_predictions_total") == 0


@pytest.mark.parametrize(("defect", "wait"), [(HANGS_AT_THE_END, True), (LOADS_FOR_EVER, False)], ids=["CUDA", "load"])
def test_no_end_waits_for_a_call_that_may_never_end(serve, defect, wait):
    with serve(defect=defect, wait=wait, fresh=True) as client:
        loading = {"status": "starting", "seconds": None}
        client.until(lambda: client.get("/health/startup").json()["components"]["model"] == loading or wait)
        client.process.terminate()
        assert client.process.wait(30) == 0
        assert client.log[-1]["message"] == "Service stopped"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_answers_what_it_has_and_exits_0(serve, corpus, many, sig):
    with serve("--max-batch", "1", defect=SLUGGISH) as client:
        pending = many(client, corpus[0][0], 3)
        client.until(lambda: client.metric("inference_queue_depth"))
        client.process.send_signal(sig)
        assert client.process.wait(15) == 0
        answered = [f.result() for f in pending]
        assert any(a is not None and a.status_code == 200 for a in answered)
        assert client.log[-1]["message"] == "Service stopped"


def test_an_address_that_it_cannot_listen_on_is_a_clear_end(serve, served):
    for flags, said in ((("--port", str(served.port)), "in use"), (("--host", "nowhere.invalid"), "nowhere.invalid")):
        with serve(*flags, wait=False) as client:
            assert client.process.wait(60) == 1
            (reason,) = [x["context"]["reason"] for x in client.log if x["message"] == "Service cannot start"]
            assert said in reason and client.log[-1]["message"] == "Service stopped"


def test_asked_to_stop_while_it_loads_it_exits_0_too(serve):
    with serve(wait=False) as client:
        client.until(lambda: client.get("/health/startup"))
        client.process.terminate()
        assert client.process.wait(15) == 0


IN_A_DESTRUCTOR = """
import os, signal
import model_server.service as s
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        [None for _ in range(1000)]  # the handler runs here, and what it raises is ignored
real = s.Service.__init__
s.Service.__init__ = lambda self, *settings: (Dying() and None, real(self, *settings))[1]
"""
WHILE_IT_CLOSES = """
import os, signal
import model_server.durable as d
real = d.Durable.close
d.Durable.close = lambda self: (os.kill(os.getpid(), signal.SIGTERM), real(self))[1]
"""


@pytest.mark.parametrize("defect", [IN_A_DESTRUCTOR, WHILE_IT_CLOSES], ids=["destructor", "end"])
def test_no_signal_is_lost_and_none_cuts_the_end_short(serve, tmp_path, defect):
    with serve("--state-dir", tmp_path, defect=defect, wait=False) as client:
        if defect is WHILE_IT_CLOSES:
            client.until(lambda: client.get("/health/startup").status_code == 200)
            client.process.terminate()
        assert client.process.wait(30) == 0
        assert client.log[-1]["message"] == "Service stopped"
    assert '"stop"' in (tmp_path / "audit.jsonl").read_text().splitlines()[-1]
