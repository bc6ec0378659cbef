from handmade import FAIL, INCONCLUSIVE, PASS, expect, history, phase, table

from harness.checks import Promql
from harness.eventlog import Event

QUEUE = Promql("max(queue_depth)", "below", 5.0)
BEGUN = phase("steady", 0, 30)


def answered(*series, query=QUEUE.query, at=30.0, phase="steady", **more):
    return Event(at, "run", "query", detail={"query": query, "phase": phase, "series": list(series)} | more)


def saw(*events):
    return history(BEGUN, *events)


ONE, A, B = [{}, "4.25"], [{"__name__": "q", "pod": "a"}, "3"], [{"__name__": "q", "pod": "b"}, "7"]
CASES = [
    ("a value below the bound", QUEUE, saw(answered(ONE)), PASS, "4.25 at the end of steady, bound below 5"),
    ("a value of just the bound is not below it", QUEUE, saw(answered([{}, "5"])), FAIL, "5 at the end of steady"),
    ("but at most it", Promql(QUEUE.query, "at_most", 5.0), saw(answered([{}, "5"])), PASS, "bound at most 5"),
    (
        "every series must hold",
        QUEUE,
        saw(answered(A, B)),
        FAIL,
        '7 at the end of steady of q{pod="b"}, the worst of 2',
    ),
    (
        "the lowest is the worst",
        Promql(QUEUE.query, "at_least", 2.0),
        saw(answered(A, B)),
        PASS,
        "3 at the end of steady",
    ),
    ("which is not above it", Promql(QUEUE.query, "above", 3.0), saw(answered(A, B)), FAIL, 'of q{pod="a"}, the worst'),
    ("infinity is a value", QUEUE, saw(answered([{}, "+Inf"])), FAIL, "inf at the end"),
    (
        "but keeps no lower bound",
        Promql(QUEUE.query, "at_least", 2.0),
        saw(answered([{"pod": "a"}, "+Inf"], B)),
        INCONCLUSIVE,
        'the query gave inf at the end of steady for {pod="a"}',
    ),
    ("nor one to be above", Promql(QUEUE.query, "above", 2.0), saw(answered([{}, "+Inf"])), INCONCLUSIVE, "gave inf"),
    ("another series below it fails", Promql(QUEUE.query, "above", 8.0), saw(answered([{}, "+Inf"], B)), FAIL, "7 at"),
    ("the last attempt counts", QUEUE, saw(answered(B, at=-1.0), answered(A)), PASS, "3 at the end"),
    ("no series", QUEUE, saw(answered()), INCONCLUSIVE, "the query gave no series at the end of steady"),
    (
        "no number",
        QUEUE,
        saw(answered([{"pod": "a"}, "NaN"], B)),
        INCONCLUSIVE,
        'NaN at the end of steady for {pod="a"}',
    ),
    ("an error", QUEUE, saw(answered(error="parse error")), INCONCLUSIVE, "did not answer the query: parse error"),
    ("never asked", QUEUE, saw(), INCONCLUSIVE, "no answer of Prometheus to the query is stored for steady"),
    ("asked in another phase", QUEUE, saw(answered(ONE, phase="crash")), INCONCLUSIVE, "no answer"),
    ("another query", QUEUE, saw(answered(ONE, query="up")), INCONCLUSIVE, "no answer"),
    ("an answer of an attempt before", QUEUE, saw(answered(ONE, at=-1.0)), INCONCLUSIVE, "no answer"),
    ("no phase", QUEUE, history(answered(ONE)), INCONCLUSIVE, "does not hold the phase 'steady'"),
]


@table(CASES)
def test_promql(check, record, verdict, says):
    expect(check, record, verdict, says)
