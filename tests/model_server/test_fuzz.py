"""Requests made by schemathesis from the OpenAPI document, right ones and wrong ones, against the real server.

FUZZED_REQUESTS=10000 pytest tests/model_server/test_fuzz.py    # many more than `make test` sends
"""

import collections
import os

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from model_server.http.bodies import TIMEOUT
from model_server.http.middleware import PROBE_PATHS
from model_server.training.radiographs import radiographs

REQUESTS = int(os.environ.get("FUZZED_REQUESTS", "200"))
GROWTH_BYTES = 24 << 20


def damaged(good: list[bytes]) -> st.SearchStrategy[bytes]:
    """Pictures, pictures with a wrong byte, cut short or put together, and bytes that are none."""
    picture = st.sampled_from(good)
    wrong = st.builds(
        lambda body, at, byte: body[: at % len(body)] + bytes([byte]) + body[at % len(body) + 1 :],
        picture, st.integers(0, 10**6), st.integers(0, 255),
    )  # fmt: skip
    cut = st.builds(lambda body, at: body[: at % len(body)], picture, st.integers(0, 10**6))
    return picture | wrong | cut | st.binary(max_size=2000)


@pytest.fixture(scope="module")
def schema(served):
    image = next(radiographs(1, 30, 128))
    kinds = {"image/jpeg": [image.jpeg()], "image/png": [image.png()], "application/dicom": [bytes(128) + b"DICM"]}
    for kind, good in kinds.items():
        schemathesis.openapi.media_type(kind, damaged(good))
    schemathesis.openapi.media_type("application/octet-stream", damaged([body for [body] in kinds.values()]))
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{served.port}/openapi.json")


def judge(answer) -> None:
    """Raises AssertionError unless an answer is one the document allows to be given to anything whatever."""
    request_id = answer.headers["x-request-id"][0]
    status, kind = answer.status_code, answer.headers["content-type"][0]
    late = status == 504 and TIMEOUT in answer.request.headers
    assert status < 500 or late, (status, answer.content)
    if status >= 400:
        problem = answer.json()
        assert kind == "application/problem+json" and problem["status"] == status, (kind, problem)
        assert problem["request_id"] == request_id and problem["reason"] and problem["detail"]
        if answer.request.path_url.startswith("/v2"):
            assert problem["error"]


def counted(served) -> tuple[float, float]:
    """Clients' requests, and audit records, so far."""
    lines = served.get("/metrics").text.splitlines()
    return tuple(
        sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))
        for name in ("http_requests_total", "audit_events_total")
    )


@pytest.mark.timeout(3600)
def test_whatever_is_sent_is_answered_or_refused_in_one_shape_and_memory_stays_flat(served, schema):
    operations = [result.ok() for result in schema.get_all_operations()]
    shares = {operation.label: 5 if operation.method == "post" else 1 for operation in operations}
    assert len(operations) == len(schema.raw_schema["paths"]) - 1  # all but the document itself
    statuses, sent, memory = collections.Counter(), collections.Counter(), []
    clients = {label for label in shares if label.split()[1] not in PROBE_PATHS}
    refused = 0  # of those that have to leave an audit record
    before = counted(served)

    cases = {(op.label, mode): op.as_strategy(generation_mode=mode) for op in operations for mode in GenerationMode}

    def fuzz(operation, mode: GenerationMode, seed: int, session: requests.Session) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=-(-REQUESTS * shares[operation.label] // (4 * sum(shares.values()))),
            deadline=None, database=None, phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=cases[operation.label, mode])
        def send(case):
            answer = case.call(session=session)
            judge(answer)
            statuses[answer.status_code] += 1
            sent[operation.label] += 1
            nonlocal refused
            refused += operation.label in clients and 400 <= answer.status_code < 500

        send()

    with requests.Session() as session:
        for half in range(2):
            for mode in GenerationMode:
                for operation in operations:
                    fuzz(operation, mode, half, session)
            memory.append(served.metric("process_resident_memory_bytes"))
    assert served.process.poll() is None and served.get("/health/ready").status_code == 200
    assert statuses.total() >= REQUESTS * 0.9 and sent.keys() == shares.keys(), sent
    assert statuses[200] > REQUESTS / 10 and {400, 404, 415, 422} <= statuses.keys(), statuses
    assert memory[1] - memory[0] < GROWTH_BYTES, memory
    requests_made, records = (after - was for after, was in zip(counted(served), before, strict=True))
    assert requests_made == sum(sent[label] for label in clients), "each is counted once"
    assert records >= refused, "whoever is refused is recorded"
    print(dict(statuses), memory)
