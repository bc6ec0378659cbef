"""A request's own deadline: kept, counted, and no work is done for one that is over."""

import concurrent.futures

import pytest

SLOW = """
import model_server.inference.model as m, time
real = m.Model.predict
m.Model.predict = lambda self, pixels: (time.sleep(0.5 * bool(pixels.any())), real(self, pixels))[1]
"""


def timed(client, body: bytes, timeout_ms):
    return client.post("/predict", content=body, headers={"X-Request-Timeout-Ms": str(timeout_ms)})


@pytest.mark.parametrize("told", ["0", "-5", "1.5", "soon", "1e3", "", "9" * 10, "٣"])
def test_a_deadline_that_is_none_is_refused(served, corpus, told):
    answer = served.post("/predict", content=corpus[0][0], headers={"X-Request-Timeout-Ms": told.encode()})
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_timeout")


@pytest.mark.parametrize("told", [("1000", "x"), ("1000", "1000"), ("x", "1000")])
def test_two_deadlines_are_none(served, corpus, told):
    answer = served.post("/predict", content=corpus[0][0], headers=[("X-Request-Timeout-Ms", one) for one in told])
    assert (answer.status_code, answer.json()["reason"]) == (400, "bad_timeout")


def test_one_that_is_long_enough_changes_nothing(served, corpus):
    assert timed(served, corpus[0][0], 999_999_999).status_code == 200


def test_expired_work_is_answered_in_time_and_never_reaches_the_model(serve, corpus):
    with serve("--max-batch", "1", "--max-wait-ms", "0", defect=SLOW) as client:
        done = client.metric("ml_inference_duration_seconds_count")
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            long = [pool.submit(timed, client, corpus[0][0], 20_000) for _ in range(2)]
            client.until(lambda: client.metric("inference_queue_depth") == 2)
            short = [pool.submit(timed, client, corpus[0][0], 100) for _ in range(10)]
            answers = [future.result() for future in short]
            assert {a.status_code for a in answers} == {504} and {a.json()["reason"] for a in answers} == {"deadline"}
            assert all(a.headers["retry-after"] for a in answers)
            assert {future.result().status_code for future in long} == {200}
        client.until(lambda: client.metric("inference_queue_depth") == 0)
        assert client.metric("request_deadlines_missed_total") == 10
        assert client.metric("inference_jobs_dropped_total") == 10
        assert client.metric("ml_inference_duration_seconds_count") == done + 2


def test_every_503_says_when_to_try_again(serve, corpus):
    with serve("--max-queue", "1", "--max-batch", "1", defect=SLOW) as client:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = [future.result() for future in [pool.submit(timed, client, corpus[0][0], 9000) for _ in range(8)]]
        assert {a.status_code for a in answers} == {200, 503}
        assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status_code == 503)
