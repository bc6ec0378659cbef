"""At the real server: requests that wait together are inferred together, and one alone waits for others for a while."""

import concurrent.futures

# Inference stands still while the file is there.
GATED = """
import model_server.model as m, pathlib, time
real, gate = m.Model.predict, pathlib.Path({gate!r})
def predict(*a):
    while gate.exists():
        time.sleep(0.01)
    return real(*a)
m.Model.predict = predict
"""


def batches(client) -> tuple[float, float]:
    """How many there were, and how many images in them."""
    return client.metric("inference_batch_size_count"), client.metric("inference_batch_size_sum")


def test_what_waits_together_is_inferred_together_up_to_the_largest_batch(serve, corpus, tmp_path):
    gate = tmp_path / "gate"
    flags, defect = ("--max-batch", "8", "--decode-threads", "1", "--deadline-s", "300"), GATED.format(gate=str(gate))
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


def test_a_request_alone_waits_for_others_as_long_as_it_is_told_to(serve, corpus):
    with serve("--max-wait-ms", "400") as client:
        before = client.metric("inference_queue_wait_seconds_sum")
        assert client.post("/predict", content=corpus[0][0]).status_code == 200
        assert client.metric("inference_queue_wait_seconds_sum") - before >= 0.399
