"""Whose ids a request goes by: the caller's where they are well-formed."""

import re

import pytest
from opentelemetry import trace

from model_server.telemetry.correlation import parent_of, request_id
from model_server.telemetry.tracing import Tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OFF = Tracer(environ={})


def caller(*values, state=()):
    """The span that traceparent headers name; None where they name none."""
    headers = [(b"traceparent", value.encode()) for value in values] + [(b"tracestate", s.encode()) for s in state]
    context = parent_of(headers)
    return trace.get_current_span(context).get_span_context() if context is not None else None


def test_the_callers_trace_is_continued_by_a_span_of_our_own():
    told = f"00-{TRACE}-{SPAN}-01"
    ids, _ = OFF.begin([(b"traceparent", told.encode())])
    assert ids["trace_id"] == ids["request_id"] == TRACE
    assert re.fullmatch("[0-9a-f]{16}", ids["span_id"]) and ids["span_id"] != SPAN
    assert f"{caller(told).span_id:016x}" == SPAN


def test_a_repeated_tracestate_is_one_list_and_a_repeated_traceparent_is_none():
    told = f"00-{TRACE}-{SPAN}-01"
    assert caller(told, state=["a=1", "b=2"]).trace_state.to_header() == "a=1,b=2"
    assert caller(told, told) is None


def test_ids_of_our_own_are_in_order_of_time_and_never_the_same():
    made = [OFF.begin([])[0]["trace_id"] for _ in range(1000)]
    assert [trace_id[:16] for trace_id in made] == sorted(trace_id[:16] for trace_id in made)
    assert len({trace_id[16:] for trace_id in made}) == 1000 and {len(trace_id) for trace_id in made} == {32}


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_the_last_bit_of_the_flags_says_whether_it_is_sampled(flags, sampled):
    assert caller(f"00-{TRACE}-{SPAN}-{flags}").trace_flags.sampled is sampled


def test_a_later_version_may_say_more():
    assert f"{caller(f'01-{TRACE}-{SPAN}-01-more').trace_id:032x}" == TRACE


@pytest.mark.parametrize(
    "given",
    [
        "", "nonsense", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
    ],
)  # fmt: skip
def test_a_malformed_traceparent_is_as_none(given):
    assert caller(given, state=["a=1"]) is None
    ids, _ = OFF.begin([(b"traceparent", given.encode())])
    assert re.fullmatch("[0-9a-f]{32}", ids["trace_id"]) and ids["trace_id"] != TRACE


@pytest.mark.parametrize("given", ["a" * 64, "r-1.2:3_x"])
def test_a_request_id_is_the_callers(given):
    assert request_id([(b"x-request-id", given.encode())], TRACE) == given


@pytest.mark.parametrize("given", [[""], ["a" * 65], ["a b"], ["a\n"], ['a"'], ["é"], ["one", "two"]])
def test_a_malformed_request_id_is_replaced_by_the_trace_id(given):
    assert request_id([(b"x-request-id", one.encode()) for one in given], TRACE) == TRACE


def test_an_error_body_and_the_log_have_the_id_too(served):
    answer = served.post("/predict", content=b"nonsense", headers={"X-Request-ID": "wrong-1"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "wrong-1"
    line = served.until(lambda: next((x for x in served.log if x["request_id"] == "wrong-1"), None))
    assert (line["level"], line["context"]) == (
        "WARN", {"deployment": "none", "reason": "not_an_image", "status": 415},
    )  # fmt: skip
