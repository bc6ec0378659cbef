"""Whose ids a request goes by: the caller's where they are well-formed."""

import re

import pytest

from model_server.telemetry.correlation import Parent, correlation

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_the_callers_trace_is_continued_by_a_span_of_our_own():
    ids, parent = correlation({b"traceparent": f"00-{TRACE}-{SPAN}-01".encode(), b"tracestate": b"a=1,b=2"})
    assert ids["trace_id"] == ids["request_id"] == TRACE and parent == Parent(SPAN, True, "a=1,b=2")
    assert re.fullmatch("[0-9a-f]{16}", ids["span_id"]) and ids["span_id"] != SPAN


def test_ids_of_our_own_are_in_order_of_time_and_never_the_same():
    made = [correlation({})[0]["trace_id"] for _ in range(1000)]
    assert [trace_id[:16] for trace_id in made] == sorted(trace_id[:16] for trace_id in made)
    assert len({trace_id[16:] for trace_id in made}) == 1000 and {len(trace_id) for trace_id in made} == {32}


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_the_last_bit_of_the_flags_says_whether_it_is_sampled(flags, sampled):
    assert correlation({b"traceparent": f"00-{TRACE}-{SPAN}-{flags}".encode()})[1].sampled is sampled


def test_a_later_version_may_say_more():
    assert correlation({b"traceparent": f"01-{TRACE}-{SPAN}-01-more".encode()})[1] == Parent(SPAN, True, "")


@pytest.mark.parametrize(
    "given",
    [
        "", "nonsense", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE[:-1]}-{SPAN}-01",
    ],
)  # fmt: skip
def test_a_malformed_traceparent_is_as_none(given):
    ids, parent = correlation({b"traceparent": given.encode(), b"tracestate": b"a=1"})
    assert parent is None and re.fullmatch("[0-9a-f]{32}", ids["trace_id"]) and ids["trace_id"] != TRACE


@pytest.mark.parametrize("given", ["a" * 64, "r-1.2:3_x"])
def test_a_request_id_is_the_callers(given):
    assert correlation({b"x-request-id": given.encode()})[0]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a\n", 'a"', "é"])
def test_a_malformed_request_id_is_replaced_by_the_trace_id(given):
    ids, _ = correlation({b"x-request-id": given.encode()})
    assert ids["request_id"] == ids["trace_id"]


def test_an_error_body_and_the_log_have_the_id_too(served):
    answer = served.post("/predict", content=b"nonsense", headers={"X-Request-ID": "wrong-1"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "wrong-1"
    line = served.until(lambda: next((x for x in served.log if x["request_id"] == "wrong-1"), None))
    assert (line["level"], line["context"]) == ("WARN", {"reason": "not_an_image", "status": 415})
