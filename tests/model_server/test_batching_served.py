"""At the real server: requests that wait together are inferred together, and one alone waits for others for a while."""

import concurrent.futures
import time

import httpx
import pytest
from real_server import ONE_CORE

# Inference stands still while the file is there.
GATED = """
import model_server.inference.model as m, pathlib, time
real, gate = m.Model.predict, pathlib.Path({gate!r})
def predict(*a):
    while gate.exists():
        time.sleep(0.01)
    return real(*a)
m.Model.predict = predict
"""

# Reading stands still while the file is there.
UNREAD = """
import model_server.service as s, pathlib, time
real, gate = s.decode, pathlib.Path({gate!r})
def decode(*a):
    while gate.exists():
        time.sleep(0.01)
    return real(*a)
s.decode = decode
"""


def batches(client) -> tuple[float, float]:
    """How many there were, and how many images in them."""
    return client.metric("inference_batch_size_count"), client.metric("inference_batch_size_sum")


def test_what_waits_together_is_inferred_together_up_to_the_largest_batch(serve, corpus, tmp_path):
    gate = tmp_path / "gate"
    flags, defect = ("--max-batch", "8", "--deadline-s", "300"), GATED.format(gate=str(gate))
    with serve(*flags, defect=defect) as client, concurrent.futures.ThreadPoolExecutor(10) as pool:
        count, images = batches(client)
        decoded = client.metric("ml_preprocessing_duration_seconds_count")
        gate.touch()
        first = pool.submit(client.post, "/predict", content=corpus[0][0])
        client.until(lambda: batches(client) == (count + 1, images + 1))  # it is in the network
        others = [pool.submit(client.post, "/predict", content=corpus[i][0]) for i in range(9)]
        client.until(lambda: client.metric("ml_preprocessing_duration_seconds_count") == decoded + 10)
        gate.unlink()
        assert {answer.result().status_code for answer in (first, *others)} == {200}
        made, inferred = batches(client)
        assert inferred == images + 10 and count + 3 <= made < count + 10  # of nine that waited eight fit at most
        assert client.metric("inference_batch_size_bucket", le="8.0") == made


def test_on_one_core_a_batch_that_takes_long_stops_neither_refusals_nor_probes_and_what_waits_is_next(
    serve, corpus, tmp_path
):
    gate = tmp_path / "gate"
    flags = ("--max-batch", "8", "--max-queue", "7", "--deadline-s", "300")
    defect = ONE_CORE + GATED.format(gate=str(gate))
    with serve(*flags, defect=defect) as client, concurrent.futures.ThreadPoolExecutor(7) as pool:
        count, images = batches(client)
        gate.touch()
        first = pool.submit(client.post, "/predict", content=corpus[0][0])
        client.until(lambda: batches(client) == (count + 1, images + 1))
        others = [pool.submit(client.post, "/predict", content=corpus[i][0]) for i in range(6)]
        client.until(lambda: client.metric("inference_queue_depth") == 7)
        for _ in range(3):
            assert client.post("/predict", content=corpus[0][0]).json()["reason"] == "queue_full"
            assert client.get("/health/live").status_code == 200
        assert client.metric("requests_shed_total") == 3
        assert client.metric("http_requests_total", endpoint="/predict", status="503") == 3
        gate.unlink()
        assert {answer.result().status_code for answer in (first, *others)} == {200}
        assert batches(client) == (count + 2, images + 7)


def test_on_one_core_many_connections_at_once_are_all_taken(serve, corpus):
    with serve(defect=ONE_CORE) as client, concurrent.futures.ThreadPoolExecutor(64) as pool:
        alone = [pool.submit(httpx.post, client.base_url.join("/predict"), content=corpus[0][0]) for _ in range(128)]
        assert {answer.result().status_code for answer in alone} == {200}


def test_a_request_alone_waits_for_others_as_long_as_it_is_told_to(serve, corpus):
    with serve("--max-wait-ms", "400") as client:
        before = client.metric("inference_queue_wait_seconds_sum")
        assert client.post("/predict", content=corpus[0][0]).status_code == 200
        assert client.metric("inference_queue_wait_seconds_sum") - before >= 0.399


@pytest.mark.parametrize("on", ["", ONE_CORE], ids=["all cores", "one core"])
def test_a_picture_that_is_slow_to_read_makes_nobody_restart_the_service(serve, corpus, tmp_path, on):
    gate = tmp_path / "gate"
    flags, defect = ("--wedged-after-s", "0.2", "--deadline-s", "300"), on + UNREAD.format(gate=str(gate))
    with serve(*flags, defect=defect) as client, concurrent.futures.ThreadPoolExecutor(3) as pool:
        gate.touch()
        pending = [pool.submit(client.post, "/predict", content=corpus[i][0]) for i in range(3)]
        client.until(lambda: client.metric("inference_queue_depth") == 3)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert client.get("/health/live").status_code == 200
        gate.unlink()
        assert [answer.result().status_code for answer in pending] == [200] * 3
